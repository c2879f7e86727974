"""
The kernel that ships with the package: a `vmlinux` of a few KiB and a module full of bugs, as built from `kernel/`.

Both are ordinary files to the rest of the package: they are loaded by the code that loads a distribution's kernel.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def small_kernel() -> Path:
    """The small kernel's `vmlinux`: ELF, x86-64, not stripped, with BTF."""
    return Path(str(files(__name__) / "vmlinux"))


def faulty_module() -> Path:
    """The module `faulty`: ELF, x86-64, linked at the address it is loaded at. It needs no symbol of the kernel."""
    return Path(str(files(__name__) / "faulty.elf"))
