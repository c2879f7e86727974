"""Debian's kernels of every architecture: what an audit says of them is what docs/findings says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from foreign_kernel import ForeignKernel
from pagefault.audit import audit
from pagefault.images.module import Module
from pagefault.images.open_image import open_image

EXPLAINED = {
    "arm64": {"PF007": 2},
    "armel": {},
    "armhf": {},
    "i386": {"PF007": 2, "PF012": 1},
    "mips64el": {"PF002": 1},
    "mipsel": {"PF002": 1},
    "ppc64el": {"PF012": 1},
    "s390x": {"PF007": 2, "PF012": 1},
}
MOST_MODULES = 60


@pytest.mark.parametrize("architecture", EXPLAINED)
def test_a_kernel(architecture: str, foreign_kernel: Callable[[str], ForeignKernel]) -> None:
    found = audit(open_image(foreign_kernel(architecture).boot, strict=False))
    assert found.unexplained == ()
    assert Counter(finding.code for finding in found.findings) == EXPLAINED[architecture]


@pytest.mark.parametrize("architecture", EXPLAINED)
def test_its_modules(architecture: str, foreign_kernel: Callable[[str], ForeignKernel]) -> None:
    looked_at = 0
    for path in sorted(Path(foreign_kernel(architecture).modules).rglob("*.ko*")):
        image = Module.open(path, strict=False)
        if looked_at < MOST_MODULES and image.exception_tables:
            looked_at += 1
            assert audit(image).unexplained == (), path.name
