"""
Any architecture's instructions in words, by capstone: text, and what of it is memory.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disassembled:
    """
    One instruction of `length` bytes, `code`, at `address`, as objdump prints it: `mnemonic` and `operands`. `memory`
    is the part of `operands` that is a memory operand, as a range of characters (start, end); None if it has none that
    is written out. `reads` and `writes` say what it does with memory, also through operands that are not written out.
    """

    address: int
    code: bytes
    mnemonic: str
    operands: str
    memory: tuple[int, int] | None
    reads: bool
    writes: bool

    @property
    def length(self) -> int:
        """In bytes."""
        return len(self.code)

    @property
    def text(self) -> str:
        """Mnemonic and operands."""
        return f"{self.mnemonic} {self.operands}".rstrip()
