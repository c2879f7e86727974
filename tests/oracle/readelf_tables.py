"""
Exception tables as binutils reads them: the bytes by `readelf -x`, taken apart here and by nobody else's code.

Run as a program it records what the -dbg package's vmlinux has, so that the same kernel's boot image, which has
neither sections nor symbols, can be held to it without a download of half a gigabyte:

    python tests/oracle/readelf_tables.py s390x /usr/lib/debug/boot/vmlinux-6.1.0-50-s390x >>
    tests/corpus/extable/recorded.txt
"""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RECORDED = Path(__file__).resolve().parent.parent / "corpus" / "extable" / "recorded.txt"
TABLES = ("__ex_table", "__dbe_table", "__kvm_ex_table", ".amode31.ex_table")
ENTRIES = {
    "amd64": "<iiI",
    "i386": "<iiI",
    "arm64": "<iihh",
    "s390x": ">iihh",
    "ppc64el": "<ii",
    "armhf": "<II",
    "armel": "<II",
    "mipsel": "<II",
    "mips64el": "<QQ",
}
"""Debian's architectures and an entry of __ex_table in 6.1, as in each one's include/asm/extable.h."""
BITS = {"i386": 32, "armhf": 32, "armel": 32, "mipsel": 32}


def section(path: Path, name: str) -> tuple[int, bytes] | None:
    """Address and bytes of a section, by readelf; None if there is none."""
    dump = subprocess.run(["readelf", "-W", "-x", name, path], capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"^  0x([0-9a-f]+) ((?:[0-9a-f]{2,8} ){1,4})", dump, re.MULTILINE)
    if not lines:
        return None
    return int(lines[0][0], 16), bytes.fromhex("".join(words for _, words in lines))


def entries(architecture: str, address: int, raw: bytes) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Instruction, fixup and what follows them, of every entry."""
    form, mask = ENTRIES[architecture], (1 << BITS.get(architecture, 64)) - 1
    for index, (insn, fixup, *rest) in enumerate(struct.iter_unpack(form, raw)):
        here = address + index * struct.calcsize(form) if "i" in form else 0
        yield here + insn & mask, here + (4 if "i" in form else 0) + fixup & mask, tuple(rest)


def recorded() -> dict[tuple[str, str, str], tuple[int, int, str]]:
    """(architecture, release, table) -> address, size, SHA-256, of every line of the recording."""
    rows = (line.split() for line in RECORDED.read_text().splitlines() if line and not line.startswith("#"))
    return {(row[0], row[1], row[2]): (int(row[3], 16), int(row[4]), row[5]) for row in rows}


def main(architecture: str, vmlinux: Path) -> None:
    for table in TABLES:
        found = section(vmlinux, table)
        if found is not None:
            address, raw = found
            release = vmlinux.name.removeprefix("vmlinux-")
            print(architecture, release, table, f"{address:#x}", len(raw), hashlib.sha256(raw).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
