"""What a kernel calls itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foreign_kernel import ForeignKernel
from pagefault.arch.platform import PLATFORMS
from pagefault.images import utsname as module
from pagefault.images.boot_image import unwrap
from pagefault.images.elf import map_file
from pagefault.images.utsname import Utsname, find_utsname


def utsname(
    machine: str = "x86_64", *, release: str = "6.1.0-test", host: str = "(none)", system: str = "Linux"
) -> bytes:
    """init_uts_ns as it is in a kernel."""
    fields = system, host, release, "#1 SMP Debian 6.1.0-1 (2023-01-01)", machine, "(none)"
    return b"".join(field.encode().ljust(65, b"\0") for field in fields)


def found(data: bytes) -> Utsname | None:
    return find_utsname(memoryview(data))


@pytest.mark.parametrize("host", ["(none)", "", "a" * 64])
def test_it_is_found_among_other_things(host: str) -> None:
    data = b"Linux version 6.1" + b"Linux" + bytes(400) + utsname("aarch64", host=host) + bytes(9)
    assert found(data) == Utsname("6.1.0-test", "aarch64")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Linux version 6.1.0-50-cloud-arm64 (debian-kernel@lists.debian.org)",
        b"Linux" + bytes(1000),
        utsname(system="Linus"),
        utsname(release="new"),
        utsname(machine=""),
        utsname()[:265],
        utsname()[:5] + utsname()[6:],
    ],
)
def test_what_is_none(data: bytes) -> None:
    assert found(data) is None


def test_it_is_not_looked_for_beyond_any_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEARCHED", 1000)
    assert found(bytes(1000 - 325) + utsname()[:325]) is not None
    assert found(bytes(1000) + utsname()) is None


@pytest.mark.parametrize(
    "architecture", ["amd64", "i386", "arm64", "armhf", "armel", "mips64el", "mipsel", "ppc64el", "s390x"]
)
def test_every_kernel_has_it(architecture: str, foreign_kernel: Callable[[str], ForeignKernel]) -> None:
    kernel = foreign_kernel(architecture)
    uts = find_utsname(unwrap(memoryview(map_file(str(kernel.boot))), str(kernel.boot)).data)
    assert uts is not None
    assert uts.release == kernel.release
    assert uts.machine in {platform.uts_machine for platform in PLATFORMS}


def test_debian_6_12(vmlinux_612: Path) -> None:
    uts = find_utsname(memoryview(map_file(str(vmlinux_612))))
    assert uts is not None
    assert (uts.release[:4], uts.machine) == ("6.12", "x86_64")
