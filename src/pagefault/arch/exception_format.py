"""
The form of an exception table, which every architecture fills in: how an entry is laid out in each era, and what the
types of its entries mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ThirdWord(Enum):
    """What follows the two addresses of an entry."""

    NONE = "nothing"
    HANDLER = "the relative address of a handler function"
    TYPE = "a plain type number"
    DATA = "type, register, flags and immediate"


@dataclass(frozen=True, slots=True)
class Layout:
    """One era. `size` is an entry's bytes; the era begins with `since` and ends before `until` (None: not yet)."""

    name: str
    size: int
    third: ThirdWord
    since: tuple[int, int]
    until: tuple[int, int] | None
    kernel: str

    def covers(self, version: tuple[int, int]) -> bool:
        """Does the unpatched kernel of this version use the layout?"""
        return self.since <= version and (self.until is None or version < self.until)

    def __str__(self) -> str:
        if self.until is None:
            releases = f"from {self.since[0]}.{self.since[1]} on"
        else:
            releases = f"before {self.until[0]}.{self.until[1]}"
        return f"{self.name} ({self.size} bytes an entry, x86 {releases})"


@dataclass(frozen=True, slots=True)
class ExceptionType:
    """
    One way to handle a fault at a listed instruction. `name` is the kernel's EX_TYPE_ name in small letters. `number`
    is its number since 5.17, `number_5_16` the one before, `handlers` the functions that were the same thing from 4.6
    to 5.15. `operands` says that the data word's register and immediate belong to the type.
    """

    name: str
    number: int | None
    number_5_16: int | None
    handlers: tuple[str, ...]
    meaning: str
    kernel: str
    operands: bool = False


@dataclass(frozen=True, slots=True)
class ExceptionFormat:
    """An architecture's exception table: `layouts` newest first."""

    architecture: str
    layouts: tuple[Layout, ...]
