"""Pages on their way to the swap space and back."""

from __future__ import annotations

from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..tables.swap_space import SWP_EXCLUSIVE, SWP_SOFT_DIRTY, is_swap_entry, slot_of, swap_entry
from ..vocabulary.address import PAGE_SHIFT
from ..vocabulary.vma import Vma
from .memory import Memory
from .munmap import entries
from .rmap import Mapping


def read_swap(memory: Memory, slot: int, frame: int) -> None:
    """
    Kernel: mm/page_io.c swap_readpage(), v6.1.
    """
    assert memory.swap is not None
    memory.ram.write(frame, memory.swap.read(slot))


def add_to_swap_cache(memory: Memory, slot: int, frame: int, index: int) -> None:
    """
    A frame whose one user the swap cache is holds the page of this slot.

    Kernel: mm/swap_state.c add_to_swap_cache(), v6.1.
    """
    assert memory.swap is not None
    number = frame >> PAGE_SHIFT
    memory.swap.cache[slot] = frame
    memory.pages.swap[number], memory.pages.index[number] = slot + 1, index
    memory.pages.set(frame, PageFlag.SWAPCACHE | PageFlag.ANON)


def add_to_swap(memory: Memory, frame: int) -> int | None:
    """
    Give a page a slot, and put it into the swap cache; None if there is no slot for it.

    Kernel: mm/swap_state.c add_to_swap(); mm/memcontrol.c __mem_cgroup_try_charge_swap(), v6.1.
    """
    swap, number = memory.swap, frame >> PAGE_SHIFT
    group = int(memory.pages.cgroup[number])
    if swap is None or (group and not memory.cgroups[group].may_swap):
        return None
    slot = swap.allocate()
    if slot is None:
        return None
    if group:
        memory.cgroups[group].swap += 1
        swap.groups[slot] = group
    swap.cache[slot] = frame
    memory.pages.swap[number] = slot + 1
    memory.pages.refcount[number] += 1
    memory.pages.set(frame, PageFlag.SWAPCACHE | PageFlag.DIRTY)
    return slot


def unmap_to_swap(memory: Memory, mapping: Mapping, frame: int, slot: int) -> None:
    """
    A pte names the page's slot instead of the page.

    Kernel: mm/rmap.c try_to_unmap_one(), v6.1.
    """
    assert memory.swap is not None
    pages, value = memory.pages, swap_entry(slot)
    if pages.has(frame, PageFlag.EXCLUSIVE):
        pages.clear(frame, PageFlag.EXCLUSIVE)
        value |= SWP_EXCLUSIVE
    if mapping.value & memory.form.soft_dirty:
        value |= SWP_SOFT_DIRTY
    memory.swap.count[slot] += 1
    memory.tables.write(mapping.slot, value)
    pages.mapcount[frame >> PAGE_SHIFT] -= 1
    memory.put_page(frame)


def copy_swap_entry(memory: Memory, value: int) -> int:
    """
    fork(): two have the slot now, neither alone. Returns the entry that both have.

    Kernel: mm/memory.c copy_nonpresent_pte(), v6.1.
    """
    assert memory.swap is not None
    memory.swap.count[slot_of(value)] += 1
    return value & ~SWP_EXCLUSIVE


def madvise_willneed(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    Bring what is swapped out into the swap cache, where the next touch finds it. (Files on a device: mm.filemap.)

    Kernel: mm/madvise.c madvise_willneed(), swapin_walk_pmd_entry(), force_shm_swapin_readahead(), v6.1.
    """
    for slot, index in swapped_in_range(memory, mm, vma, start, end):
        assert memory.swap is not None
        if memory.swap.cache.get(slot) is None and memory.frames.free:
            frame = memory.new_page()
            read_swap(memory, slot, frame)
            add_to_swap_cache(memory, slot, frame, index)
            memory.charge(mm, frame)
    return 0


def swapped_in_range(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> list[tuple[int, int]]:
    """(slot, page index) of each page of a range that is in the swap space."""
    if memory.swap is None:
        return []
    first, last = vma.linear_page_index(start), vma.linear_page_index(end - 1)
    inode = memory.inodes.get(vma.inode)
    if inode is not None:
        return [(slot, index) for index, slot in sorted(inode.swapped.items()) if first <= index <= last]
    return [
        (slot_of(value), vma.linear_page_index(address))
        for _, value, address in entries(memory, mm, start, end)
        if is_swap_entry(value)
    ]
