"""
What a kernel calls itself: init_uts_ns, which `uname` prints, in the data of every kernel.

    find_utsname(data)          # Utsname(release="6.1.0-50-cloud-arm64", machine="aarch64")

Six fields of 65 bytes, most of them zeros: no text that only mentions a kernel has that form, and no compressed stream
leaves it readable. So it is also what tells a flat kernel from anything else.

Kernel: init/version-timestamp.c init_uts_ns, include/uapi/linux/utsname.h struct new_utsname, v6.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SYSNAME_NODENAME_RELEASE_VERSION_MACHINE = re.compile(
    rb"Linux\0{60}.{65}(?=(\d+\.\d[^\0]{0,61})\0).{130}([!-~]{1,64})\0", re.DOTALL
)
SEARCHED = 256 << 20
"""How far it is looked for; real kernels are below 100 MB."""


@dataclass(frozen=True, slots=True)
class Utsname:
    """`release` is what `uname -r` says, `machine` what UTS_MACHINE was when the kernel was built."""

    release: str
    machine: str


def find_utsname(data: memoryview) -> Utsname | None:
    """The first in `data`, if there is one. The second that most kernels have, for linking, says the same."""
    found = SYSNAME_NODENAME_RELEASE_VERSION_MACHINE.search(data[:SEARCHED])
    if found is None:
        return None
    release, machine = (field.decode("ascii", "backslashreplace") for field in found.groups())
    return Utsname(release, machine)
