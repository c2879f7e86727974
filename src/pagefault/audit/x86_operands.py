"""
An x86 instruction in AT&T words, taken apart: what it does to which register, and which memory it addresses.

Only what following a pointer through a function needs is told apart; registers have their 64-bit names in either mode.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ..arch.disassembly import Disassembled
from ..arch.faulting import HINT

PREFIXES = frozenset("rep repz repnz repe repne lock bnd notrack data16 data32 addr32 cs ds es ss fs gs rex.w".split())
STRING = re.compile(r"(movs|stos|lods|cmps|scas|ins|outs)[bwlqd]?$")
MEMORY = re.compile(r"\*?(?:%([c-gs]s):)?(-?(?:0x[0-9a-f]+|\d+))?(?:\(([^()]*)\))?$")
LEGACY = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
FULL_NAMES = {
    **{name: f"r{name}" for name in LEGACY},
    **{f"e{name}": f"r{name}" for name in LEGACY},
    **{f"r{name}": f"r{name}" for name in LEGACY},
    **{f"{name[0]}l": f"r{name}" for name in LEGACY[:4]},
    **{f"{name[0]}h": f"r{name}" for name in LEGACY[:4]},
    **{f"{name}l": f"r{name}" for name in LEGACY[4:]},
    **{f"r{number}{width}": f"r{number}" for number in range(8, 16) for width in ("", "d", "w", "b")},
    "rip": "rip",
    "eip": "rip",
}
JUMP = re.compile(r"(j[a-z]{1,4}|loop(?:n?e)?|jrcxz|jecxz)$")
OUTSIDE = -1
"""The target of a branch that leaves the module: the kernel, or another one."""
TARGET = re.compile(r"\$?(0x[0-9a-f]+|[0-9a-f]+)$")


class Memory(NamedTuple):
    """segment:displacement(base, scaled, scale)"""

    segment: str | None
    base: str | None
    scaled: str | None
    displacement: int


class Step(NamedTuple):
    """
    One instruction. `name` has neither prefixes nor, where a register tells the size, a suffix that matters;
    `operands` are its operands as written, sources first. `accesses` is the memory it reads or writes, without the
    stack of a push, pop, call or return. `target` is where a direct branch goes, which may be
    OUTSIDE.
    """

    address: int
    length: int
    name: str
    operands: tuple[str, ...]
    accesses: tuple[Memory, ...]
    target: int | None

    @property
    def end(self) -> int:
        """The address of what follows."""
        return self.address + self.length

    @property
    def conditional(self) -> bool:
        """Is it a jump that may fall through?"""
        return self.name not in ("jmp", "jmpq", "jmpl") and JUMP.match(self.name) is not None

    @property
    def jumps(self) -> bool:
        return self.name.startswith("jmp")

    @property
    def calls(self) -> bool:
        return self.name.startswith("call")

    @property
    def returns(self) -> bool:
        return self.name.startswith(("ret", "iret", "sysret", "sysexit"))


def step(instruction: Disassembled) -> Step:
    """Take one instruction apart."""
    words = instruction.mnemonic.split()
    name = next((word for word in words if word not in PREFIXES), "")
    operands = split(instruction.operands.partition("#")[0])
    target = None
    if name.startswith(("call", "jmp")) or JUMP.match(name):
        written = TARGET.match(operands[0].split()[0]) if operands and not operands[0].startswith("*") else None
        target = int(written[1], 16) if written else None
    accesses: tuple[Memory, ...] = ()
    if STRING.match(name) and not (operands and "xmm" in instruction.operands):
        accesses = string_accesses(name)
    elif HINT.match(name) is None and target is None:
        accesses = tuple(found for each in operands if (found := memory(each)) is not None)
    return Step(instruction.address, instruction.length, name, operands, accesses, target)


def string_accesses(name: str) -> tuple[Memory, ...]:
    """What a string instruction addresses: rsi is its source, rdi its destination."""
    source, destination = Memory(None, "rsi", None, 0), Memory(None, "rdi", None, 0)
    if name.startswith(("movs", "cmps")):
        return source, destination
    return (source,) if name.startswith(("lods", "outs")) else (destination,)


@lru_cache(maxsize=8192)
def split(operands: str) -> tuple[str, ...]:
    """The operands one by one; a comma inside brackets separates none."""
    return tuple(each.strip() for each in re.split(r",(?![^(]*\))", operands) if each.strip())


@lru_cache(maxsize=8192)
def register(operand: str) -> str | None:
    """The full register that the operand is (or is part of), or None."""
    return FULL_NAMES.get(operand[1:]) if operand.startswith("%") else None


@lru_cache(maxsize=8192)
def memory(operand: str) -> Memory | None:
    """The operand as memory, or None if it is a register or an immediate."""
    found = MEMORY.match(operand)
    if found is None or operand in ("", "*") or operand.startswith("$"):
        return None
    parts = [part.strip().lstrip("%") for part in (found[3] or "").split(",")]
    base = FULL_NAMES.get(parts[0])
    index = FULL_NAMES.get(parts[1]) if len(parts) > 1 else None
    return Memory(found[1], base, index, int(found[2], 0) if found[2] else 0)
