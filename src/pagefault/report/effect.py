"""What is done for a fault, effect by effect, in words."""

from __future__ import annotations

from typing import assert_never

from ..arch.architectures import architecture_of
from ..arch.x86 import CpuState
from ..memory.pages import PageFlag
from ..vocabulary.address import PAGE
from ..vocabulary.effect import (
    AddToPageCache,
    AddToSwapCache,
    ChangePage,
    CopyFrame,
    DeleteFromSwapCache,
    DepositTable,
    Effect,
    FlushPage,
    FreeSwap,
    GetPage,
    GrowStack,
    MemoryEffect,
    NewAnonPage,
    NewHugeAnonPage,
    NewHugeZeroPage,
    PrepareAnonVma,
    PutPage,
    ReadSwap,
    ResetFpu,
    SetReadahead,
    SetRegister,
    SplitHugePmd,
    SwapInShmem,
    TakeFrame,
    TakeHugePage,
    Warn,
    WriteEntry,
    ZeroFrame,
)
from ..vocabulary.entry import Entry
from .returned import error_name, signed


def effect_words(effect: Effect, cpu: CpuState) -> str:
    """One effect as a line."""
    match effect:
        case SetRegister(name=name, value=value):
            return f"{name} := {register_value(value)}"
        case ResetFpu():
            return "put the FPU into its initial state"
        case Warn(text=text):
            return f"warn: {text}"
        case _:
            return memory_effect_words(effect, cpu)


def memory_effect_words(effect: MemoryEffect, cpu: CpuState) -> str:
    """One effect on memory as a line."""
    match effect:
        case TakeFrame(frame=frame, use=use):
            return f"take the free frame {frame:#x} for a {use}"
        case ZeroFrame(frame=frame):
            return f"fill {frame:#x} with zeros"
        case CopyFrame(source=source, frame=frame):
            return f"copy the page at {source:#x} to {frame:#x}"
        case NewAnonPage(frame=frame, index=index):
            return f"{frame:#x} is a private page of this process alone, page {index:#x} of its area's memory"
        case TakeHugePage(frame=frame):
            return f"take 2 MiB of free frames at {frame:#x}, filled with zeros"
        case NewHugeAnonPage(frame=frame, index=index):
            return f"the 2 MiB at {frame:#x} are one private page of this process alone, from page {index:#x} on"
        case NewHugeZeroPage(frame=frame):
            return f"the 2 MiB at {frame:#x} are the huge zero page"
        case DepositTable(frame=frame):
            return f"keep {frame:#x} as the table for when the huge page is split"
        case SplitHugePmd(slot=slot, address=address):
            return f"split the huge page around {address:#x}, mapped at {slot:#x}, into a table of pages"
        case ReadSwap(slot=slot, frame=frame):
            return f"read swap slot {slot} into {frame:#x}"
        case AddToSwapCache(slot=slot, frame=frame):
            return f"{frame:#x} is the page of swap slot {slot} from now on"
        case FreeSwap(slot=slot):
            return f"one user of swap slot {slot} less"
        case DeleteFromSwapCache(frame=frame):
            return f"the swap cache gives {frame:#x} up"
        case SwapInShmem(inode=inode, index=index, frame=frame):
            return f"bring page {index} of inode {inode} back from swap, into {frame:#x}"
        case GetPage(frame=frame):
            return f"one more entry maps {frame:#x}"
        case PutPage(frame=frame):
            return f"one entry less maps {frame:#x}"
        case ChangePage(frame=frame, set=given, clear=taken):
            words = [f"set {flag_names(given)}"] if given else []
            words += [f"clear {flag_names(taken)}"] if taken else []
            return f"{' and '.join(words) or 'change nothing'} on the page at {frame:#x}"
        case AddToPageCache(inode=inode, index=index, frame=frame, read=read):
            return f"{'read' if read else 'make'} page {index} of inode {inode} in the page cache, at {frame:#x}"
        case SetReadahead(inode=inode):
            return f"remember how far inode {inode} was read ahead"
        case PrepareAnonVma(address=address):
            return f"the area at {address:#x} has private pages from now on"
        case WriteEntry(level=level, physical=physical, value=value, size=size):
            entry = Entry(level, physical, physical % PAGE // size, value)
            return f"write {level}[{entry.index}] at {physical:#x} := {value:#x} -> {flags_of(entry, cpu)}"
        case FlushPage(address=address):
            return f"flush {address & ~0xFFF:#x} from the TLB"
        case GrowStack(old_start=old, new_start=new):
            return f"grow the stack's area down from {old:#x} to {new:#x}"
    assert_never(effect)


def flag_names(flags: int) -> str:
    """The page's flags by name."""
    return " ".join(flag.name or "" for flag in PageFlag if flag & flags)


def flags_of(entry: Entry, cpu: CpuState) -> str:
    """An entry's flags, the kernel's names."""
    return " ".join(architecture_of(cpu).entry_flags(entry, cpu))


def register_value(value: int) -> str:
    """A register's value; an error by its name, another small number in decimal as well."""
    number = signed(value)
    if -4096 < number < 0:
        return f"{value:#x} ({error_name(value)})"
    return f"{value:#x} ({number})" if 9 < number < 1 << 20 else f"{value:#x}"
