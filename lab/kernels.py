"""
Debian's cloud kernels to boot: the image and its modules.

$PAGEFAULT_LAB_61 and $PAGEFAULT_LAB_612 name folders of unpacked linux-image packages ({boot,lib/modules}). Without
them the packages are fetched with apt into the cache that the tests have (tests/foreign_kernel.py), never installed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.guest import NoGuestError

TESTS = Path(__file__).resolve().parent.parent / "tests"
FLAVOURS = {"6.1": "cloud-amd64", "6.12": "6.12-cloud-amd64"}
"""Debian's meta-packages' names: the release's own kernel, and the newer one."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked package; `release` is what `uname -r` says when it runs."""

    series: str
    release: str
    folder: Path

    @property
    def boot(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    def module(self, name: str) -> Path:
        """A module's file, NAME.ko or NAME.ko.xz."""
        return next((self.folder / "lib" / "modules" / self.release).rglob(f"{name}.ko*"))


def kernel(series: str) -> Kernel:
    """Raises NoGuestError if the kernel cannot be had."""
    variable = "PAGEFAULT_LAB_" + series.replace(".", "")
    if named := os.environ.get(variable):
        maps = sorted(Path(named).glob("boot/System.map-*"))
        if not maps:
            raise NoGuestError(f"{variable} names {named}, which is not an unpacked kernel package")
        return Kernel(series, maps[-1].name.removeprefix("System.map-"), Path(named))
    sys.path.append(str(TESTS))
    from debian_kernel import NoKernelError
    from foreign_kernel import foreign_kernel

    try:
        found = foreign_kernel("amd64", FLAVOURS[series])
    except NoKernelError as reason:
        raise NoGuestError(str(reason)) from reason
    return Kernel(series, found.release, found.folder)
