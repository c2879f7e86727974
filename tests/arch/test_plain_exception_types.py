"""Tables of two addresses and nothing else."""

from __future__ import annotations

import pytest

from pagefault.arch.exception_format import Addressing, ExceptionFormat
from pagefault.arch.plain_exception_types import (
    ARM_EXCEPTIONS,
    MIPS64_EXCEPTIONS,
    MIPS_EXCEPTIONS,
    POWERPC64_EXCEPTIONS,
    POWERPC_EXCEPTIONS,
    SPARC_EXCEPTIONS,
    pointers,
)


def test_who_sorts_from_when() -> None:
    assert ARM_EXCEPTIONS.sorted_since == POWERPC64_EXCEPTIONS.sorted_since == (5, 4)
    assert MIPS_EXCEPTIONS.sorted_at_build((5, 4))
    assert not MIPS_EXCEPTIONS.sorted_at_build((5, 3))
    assert SPARC_EXCEPTIONS.sorted_since is None


def test_pointers() -> None:
    assert (pointers("m68k", 32, "").size, pointers("m68k", 64, "").size) == (8, 16)
    assert pointers("m68k", 32, "").addresses is Addressing.ABSOLUTE


@pytest.mark.parametrize(
    ("form", "version", "absolute", "size"),
    [
        (ARM_EXCEPTIONS, (6, 12), True, 8),
        (MIPS_EXCEPTIONS, (6, 12), True, 8),
        (MIPS64_EXCEPTIONS, (6, 12), True, 16),
        (SPARC_EXCEPTIONS, (6, 12), True, 8),
        (POWERPC_EXCEPTIONS, (6, 12), False, 8),
        (POWERPC64_EXCEPTIONS, (6, 12), False, 8),
        (POWERPC_EXCEPTIONS, (4, 9), True, 8),
        (POWERPC64_EXCEPTIONS, (4, 9), True, 16),
    ],
)
def test_layouts(form: ExceptionFormat, version: tuple[int, int], *, absolute: bool, size: int) -> None:
    (layout,) = [layout for layout in form.layouts if layout.covers(version)]
    assert (layout.addresses is Addressing.ABSOLUTE, layout.size) == (absolute, size)
