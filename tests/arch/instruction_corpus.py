"""The instructions in tests/corpus/instructions, one file for each architecture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pagefault.arch.platform import ARM, ARM64, MIPS, MIPS64, POWERPC64, S390, X86_32, X86_64

CORPUS = Path(__file__).parents[1] / "corpus" / "instructions"
PLATFORM = {each.name: each for each in (X86_64, X86_32, ARM64, ARM, MIPS, MIPS64, POWERPC64, S390)}


@dataclass(frozen=True, slots=True)
class Specimen:
    """One line: `memory` is the memory operand's text, `access` has an r and a w, `causes` are names of `Cause`."""

    platform: str
    address: int
    code: bytes
    objdump: str | None
    memory: str | None
    access: str
    causes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.platform}-{self.code.hex()}"


@cache
def specimens() -> tuple[Specimen, ...]:
    """All of them."""
    found = []
    for path in sorted(CORPUS.iterdir()):
        for line in path.read_text("ascii").splitlines():
            if line.startswith("#"):
                continue
            place, objdump, memory, access, causes = line.split(" | ")
            address, code = place.split()
            found.append(
                Specimen(
                    path.stem,
                    int(address, 16),
                    bytes.fromhex(code),
                    None if objdump == "-" else objdump,
                    None if memory == "-" else memory,
                    access.strip("-"),
                    tuple(causes.replace("-", "").split()),
                )
            )
    return tuple(found)
