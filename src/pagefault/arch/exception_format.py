"""
The form of an exception table, which every architecture fills in: how an entry is laid out in each era, and what the
types of its entries mean.

An entry is two addresses, the instruction's and the fixup's, and in some eras a third word. That word is kept in one
form everywhere, the *data word* of 32 bits: of two halves, the type is the lower one and its data the upper one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class ThirdWord(Enum):
    """What follows the two addresses of an entry."""

    NONE = "nothing"
    HANDLER = "the relative address of a handler function"
    TYPE = "a plain type number"
    DATA = "type, register, flags and immediate"
    TYPE_AND_DATA = "a type and its data, 16 bits each"
    ERR_OPCODE = "an instruction that names the register for the error"


class Addressing(Enum):
    """What an entry's addresses count from."""

    ABSOLUTE = "nothing: they are addresses"
    OWN_FIELD = "the field itself, signed, 32 bits"
    TABLE = "the table's start, signed, 32 bits"
    NEXTINSN = "the field itself, and for the fixup the instruction: 16 signed bits of a word with two registers above"


class FixupMark(Enum):
    """How an entry without a type says in its fixup word that it is a special one."""

    UACCESS_ERR = "a value that is no address: note uaccess_err, and go on a few bytes on"
    EFAULT = "bit 0: put -EFAULT into a register"


@dataclass(frozen=True, slots=True)
class DataField:
    """
    Bits of the data word. They number one of `names`, or are a number (signed if `signed`). `none` is the value that
    stands for no register at all.
    """

    name: str
    shift: int
    bits: int
    names: tuple[str, ...] = ()
    signed: bool = False
    none: int | None = None

    @property
    def mask(self) -> int:
        """Its bits of the data word."""
        return (1 << self.bits) - 1 << self.shift

    def value(self, word: int) -> int:
        """The field's number."""
        value = (word & self.mask) >> self.shift
        return value - (value >> self.bits - 1 << self.bits) if self.signed else value

    def text(self, word: int) -> str:
        """The field in words: a register by its name; one that does not exist by its number and a question mark."""
        value = self.value(word)
        if value == self.none:
            return "none"
        if not self.names:
            return str(value)
        return self.names[value] if value < len(self.names) else f"{value}?"


@dataclass(frozen=True, slots=True)
class ExceptionType:
    """
    One way to handle a fault at a listed instruction. `name` is the kernel's EX_TYPE_ name in small letters, "default"
    where it has none. `number` is its number in the newest layout (None: not there), `handlers` are the functions that
    were the same thing in the layouts that name functions. `fields` are the parts of the data word that belong to it.
    """

    name: str
    number: int | None
    handlers: tuple[str, ...]
    meaning: str
    kernel: str
    fields: tuple[DataField, ...] = ()


@dataclass(frozen=True, slots=True)
class BpfFixup:
    """
    How a BPF JIT packs an entry's fixup word where it is no address: `distance` bits that say how far the fixup lies
    after the instruction (or, if `back`, before the fixup word), and above them a register, by `registers`; other
    values there mean nothing. `skips` are the lengths of a skipped instruction, empty if any may be.
    """

    distance: int
    back: bool
    registers: Mapping[int, str | None] = field(hash=False, compare=False)
    skips: tuple[int, ...] = ()


TYPE_MASKS = {ThirdWord.DATA: 0xFF, ThirdWord.TYPE_AND_DATA: 0xFFFF, ThirdWord.TYPE: 0xFFFF_FFFF}


def no_numbers() -> Mapping[int, str]:
    """For layouts without type numbers."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Layout:
    """
    One era. `size` is an entry's bytes; the era begins with `since` and ends before `until` (None: not yet).

    `numbers` are its type numbers, each with the type's name; `default` is the type of an entry that has neither a
    number nor a handler. Handlers take `handler_bytes`; if `handler_optional`, a 0 stands for no handler.

    `mark` is how a fixup word says that the entry is a special one. With UACCESS_ERR, the CPU goes on fewer than
    `mark_skip` bytes on: an absolute fixup is that number of bytes, to a relative one `mark_bias` is added.

    `opcode` (mask, value) are the bits that the word with the registers has in every entry, for it is an instruction:
    the third word, or with Addressing.NEXTINSN the second.
    """

    name: str
    size: int
    third: ThirdWord
    since: tuple[int, int]
    until: tuple[int, int] | None
    kernel: str
    architecture: str = "x86"
    addresses: Addressing = Addressing.OWN_FIELD
    numbers: Mapping[int, str] = field(default_factory=no_numbers, hash=False, compare=False)
    default: str = "default"
    handler_bytes: int = 4
    handler_optional: bool = False
    mark: FixupMark | None = None
    mark_skip: int = 0
    opcode: tuple[int, int] | None = None

    @property
    def mark_bias(self) -> int:
        """A number so large that no fixup is that far away; with less than `mark_skip` added, it is still signed."""
        return (1 << 31) - self.mark_skip

    @property
    def type_mask(self) -> int:
        """The bits of the data word that are the type's number."""
        return TYPE_MASKS.get(self.third, 0)

    def covers(self, version: tuple[int, int]) -> bool:
        """Does the unpatched kernel of this version use the layout?"""
        return self.since <= version and (self.until is None or version < self.until)

    def __str__(self) -> str:
        since = f"from {self.since[0]}.{self.since[1]} on" if self.since > (0, 0) else ""
        until = f"before {self.until[0]}.{self.until[1]}" if self.until is not None else ""
        releases = ", ".join(filter(None, (since, until)))
        return f"{self.name} ({self.size} bytes an entry, {' '.join(filter(None, (self.architecture, releases)))})"


@dataclass(frozen=True, slots=True)
class ExceptionFormat:
    """
    An architecture's exception table: `layouts` newest first, and the `types` of all of them.

    `sorted_since` is the first release known to sort __ex_table when it builds the kernel; None: it is sorted at boot,
    and the file has it as the linker left it. `flags` are the names of the data word's flag bits, 12 and up;
    `immediate` is its part that an entry of any type may have.
    `sensible(type's name, data word, instruction's bytes or None)` says no if an entry of that type would not be
    written so: asked only to tell readings apart that fit otherwise.
    """

    architecture: str
    layouts: tuple[Layout, ...]
    types: tuple[ExceptionType, ...]
    sorted_since: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()
    immediate: DataField | None = None
    bpf: BpfFixup | None = None
    sensible: Callable[[str, int, bytes | None], bool] | None = None

    def type_named(self, name: str) -> ExceptionType | None:
        """The type of that name; None for "unknown"."""
        return next((type_ for type_ in self.types if type_.name == name), None)

    def sorted_at_build(self, version: tuple[int, int] | None) -> bool:
        """Is a kernel's table in order in its file? Without a version: is that of kernels today?"""
        return self.sorted_since is not None and (version is None or version >= self.sorted_since)


def newest_numbers(types: tuple[ExceptionType, ...]) -> Mapping[int, str]:
    """The type numbers of the newest layout."""
    return MappingProxyType({type_.number: type_.name for type_ in types if type_.number is not None})
