"""
Debian's kernels to boot: the image and its modules. x86-64 is the cloud flavour, x86-32 686 (two levels) and 686-pae.

$PAGEFAULT_LAB_61, …_612, …_61_686 and …_61_686_PAE name folders of unpacked linux-image packages ({boot,lib/modules}).
Without them the packages are fetched with apt into the cache that the tests have (tests/foreign_kernel.py), never
installed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.guest import NoGuestError

TESTS = Path(__file__).resolve().parent.parent / "tests"
FLAVOURS = {
    "6.1": ("amd64", "cloud-amd64"),
    "6.12": ("amd64", "6.12-cloud-amd64"),
    "6.1-686": ("i386", "686"),
    "6.1-686-pae": ("i386", "686-pae"),
}
"""Debian's architecture, and what its meta-package is called after linux-image-."""
QEMU = {"amd64": "qemu-system-x86_64", "i386": "qemu-system-i386"}


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked package: `series` is a key of FLAVOURS, `release` is what `uname -r` says when it runs."""

    series: str
    release: str
    folder: Path

    @property
    def boot(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def architecture(self) -> str:
        return FLAVOURS[self.series][0]

    @property
    def qemu(self) -> str:
        return QEMU[self.architecture]

    def module(self, name: str) -> Path:
        """A module's file, NAME.ko or NAME.ko.xz."""
        return next((self.folder / "lib" / "modules" / self.release).rglob(f"{name}.ko*"))


def kernel(series: str) -> Kernel:
    """Raises NoGuestError if the kernel cannot be had."""
    variable = "PAGEFAULT_LAB_" + series.replace(".", "").replace("-", "_").upper()
    if named := os.environ.get(variable):
        maps = sorted(Path(named).glob("boot/System.map-*"))
        if not maps:
            raise NoGuestError(f"{variable} names {named}, which is not an unpacked kernel package")
        return Kernel(series, maps[-1].name.removeprefix("System.map-"), Path(named))
    sys.path.append(str(TESTS))
    from debian_kernel import NoKernelError
    from foreign_kernel import foreign_kernel

    try:
        found = foreign_kernel(*FLAVOURS[series])
    except NoKernelError as reason:
        raise NoGuestError(str(reason)) from reason
    return Kernel(series, found.release, found.folder)
