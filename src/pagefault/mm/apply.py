"""A decision's effects on memory, carried out. What changes the CPU is `machine.run`'s to do."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from ..memory.pages import HUGE_FRAMES, PageFlag
from ..memory.ram import HUGE
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.effect import (
    AddToPageCache,
    AddToSwapCache,
    ChangePage,
    CopyFrame,
    DeleteFromSwapCache,
    DepositTable,
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
    SetReadahead,
    SplitHugePmd,
    SwapInShmem,
    TakeFrame,
    TakeHugePage,
    WriteEntry,
    ZeroFrame,
)
from .anon_vma import anon_vma_prepare
from .huge_memory import split_huge_pmd
from .memcg import charge_anon_vma
from .memory import Memory
from .swap import add_to_swap_cache, read_swap


def apply(memory: Memory, mm: AddressSpace, effect: MemoryEffect) -> None:
    """Carry out one effect in an address space."""
    pages = memory.pages
    match effect:
        case TakeFrame(frame=frame):
            memory.frames.take(frame)
            pages.refcount[frame >> PAGE_SHIFT] = 1
            memory.charge(mm, frame)
        case TakeHugePage(frame=frame):
            memory.frames.take_huge(frame)
            memory.ram.fill(frame, HUGE)
        case NewHugeAnonPage(frame=frame, index=index):
            pages.new_huge(frame, index)
            memory.charge(mm, frame, HUGE_FRAMES)
        case NewHugeZeroPage(frame=frame):
            pages.refcount[frame >> PAGE_SHIFT] = 1
            memory.huge_zero_page = frame
        case DepositTable(frame=frame):
            mm.deposited.append(frame)
        case SplitHugePmd(slot=slot, address=address):
            split_huge_pmd(memory, mm, slot, address)
        case ReadSwap(slot=slot, frame=frame):
            read_swap(memory, slot, frame)
        case AddToSwapCache(slot=slot, frame=frame, index=index):
            add_to_swap_cache(memory, slot, frame, index)
        case FreeSwap(slot=slot):
            memory.free_swap(slot)
        case DeleteFromSwapCache(frame=frame):
            memory.delete_from_swap_cache(frame)
        case SwapInShmem(inode=number, index=index, frame=frame):
            memory.swap_in_shmem(memory.inodes[number], index, frame)
        case ZeroFrame(frame=frame):
            memory.ram.fill(frame, PAGE)
        case CopyFrame(source=source, frame=frame):
            memory.ram.write(frame, memory.ram.read(source, PAGE) or b"")
        case NewAnonPage(frame=frame, index=index):
            number = frame >> PAGE_SHIFT
            pages.mapcount[number], pages.index[number] = 1, index
            pages.flags[number] = PageFlag.ANON | PageFlag.EXCLUSIVE
        case GetPage(frame=frame):
            pages.refcount[frame >> PAGE_SHIFT] += 1
            pages.mapcount[frame >> PAGE_SHIFT] += 1
        case PutPage(frame=frame):
            memory.remove_rmap(frame)
        case ChangePage(frame=frame, set=flags, clear=cleared):
            pages.set(frame, PageFlag(flags))
            pages.clear(frame, PageFlag(cleared))
        case AddToPageCache(inode=number, index=index, frame=frame):
            memory.add_to_page_cache(memory.inodes[number], index, frame)
        case SetReadahead(inode=number, state=state):
            memory.inodes[number].readahead = state
        case PrepareAnonVma(address=address):
            anon_vma_prepare(memory, mm, address)
            charge_anon_vma(memory, mm)
        case WriteEntry(physical=physical, value=value, size=size):
            memory.ram.write_entry(physical, value, size)
        case FlushPage():
            memory.flush()
        case GrowStack(old_start=old, new_start=new):
            vma = mm.vmas.vma_lookup(old)
            if vma is not None:
                grown = (old - new) >> PAGE_SHIFT
                mm.vmas.replace(vma, replace(vma, start=new, pgoff=vma.pgoff - grown))
        case _:
            assert_never(effect)
