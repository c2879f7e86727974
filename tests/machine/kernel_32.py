"""Debian's 32-bit kernels with all their symbols: the vmlinux of the linux-image-…-686-dbg packages."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pagefault import Machine

VARIABLES = {"two levels": "PAGEFAULT_KERNEL_686", "PAE": "PAGEFAULT_KERNEL_686_PAE"}
"""
Each names a vmlinux. The boot image is not enough: its kallsyms lists functions only. No test fetches the packages
that have one, for their size.
"""
PACKAGES = {"two levels": "linux-image-686-dbg", "PAE": "linux-image-686-pae-dbg"}


def machine_32(mode: str, features: set[str], **options: Any) -> Machine:
    """A machine running Debian's 686 kernel (two levels) or its 686-pae kernel; skips if it is not there."""
    path = os.environ.get(VARIABLES[mode])
    if path is None:
        pytest.skip(f"needs the vmlinux of Debian's {PACKAGES[mode]} (762 MB), which ${VARIABLES[mode]} would name")
    return Machine.boot(path, features=features, **options)
