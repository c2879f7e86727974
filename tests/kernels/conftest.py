from __future__ import annotations

import pytest

from kernels.bench import CPUS, PAGE, USER, USER_FRAMES, Bench, machine


@pytest.fixture(params=CPUS, ids=lambda features: features or "plain")
def bench(request: pytest.FixtureRequest) -> Bench:
    """Two user pages at USER: the first is there, the second is not."""
    bench = machine(request.param)
    bench.unmap(USER + PAGE)
    bench.map(USER, USER_FRAMES, "rwu")
    return bench
