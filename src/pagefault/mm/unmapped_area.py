"""Where there is room to map something."""

from __future__ import annotations

from errno import EINVAL, ENOMEM

from ..tables.address_space import MMAP_MIN_ADDR, STACK_GUARD_GAP, AddressSpace
from ..tables.inode import FileSystem, Inode
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vma import Vma
from .memory import Memory

MAP_SHARED, MAP_FIXED, MAP_32BIT = 0x1, 0x10, 0x40
DEFAULT_MAP_WINDOW = (1 << 47) - PAGE
"""Above this line is only for those who ask for it (Kernel: arch/x86/include/asm/page_64_types.h, v6.1)."""
LOW_WINDOW = (0x4000_0000, 0x8000_0000)
"""MAP_32BIT's (Kernel: arch/x86/kernel/sys_x86_64.c find_start_end(), v6.1)."""
PMD_SIZE = 2 << 20


def round_hint_to_min(hint: int) -> int:
    """
    Kernel: mm/mmap.c round_hint_to_min(), v6.1.
    """
    hint &= PAGE_MASK
    return max(hint, MMAP_MIN_ADDR) if hint else 0


def get_unmapped_area(
    memory: Memory, mm: AddressSpace, address: int, length: int, flags: int, inode: Inode | None = None, pgoff: int = 0
) -> int:
    """
    Where to map `length` bytes: at the address asked for if that is free (or MAP_FIXED), else in the highest room below
    mmap_base; or -errno. `flags` are MAP_*.

    Kernel: mm/mmap.c get_unmapped_area(), v6.1; __get_unmapped_area(), v6.12. Root may map below mmap_min_addr.
    """
    limit = memory.task_size_max
    if length > limit:
        return -ENOMEM
    # tmpfs and shared anonymous memory have a function of their own, which asks for no alignment.
    own_function = flags & MAP_SHARED if inode is None else inode.kind is not FileSystem.DISK
    offset = pgoff << PAGE_SHIFT if inode is not None else 0
    found = 0
    if memory.rules.huge_alignment and not own_function and not address and not length % PMD_SIZE:
        found = thp_get_unmapped_area(memory, mm, length, offset, flags)
    found = found or arch_get_unmapped_area_topdown(memory, mm, address, length, flags)
    if found < 0:
        return found
    if found > limit - length:
        return -ENOMEM
    return -EINVAL if found % PAGE else found


def thp_get_unmapped_area(memory: Memory, mm: AddressSpace, length: int, offset: int, flags: int) -> int:
    """
    Room that begins where a huge page may, with the file's huge pages where theirs do; 0 if there is none.

    Kernel: mm/huge_memory.c __thp_get_unmapped_area(), v6.12.
    """
    if flags & MAP_FIXED or offset + length - (offset + PMD_SIZE - 1 & -PMD_SIZE) < PMD_SIZE:
        return 0
    found = arch_get_unmapped_area_topdown(memory, mm, 0, length + PMD_SIZE, flags)
    return 0 if found < 0 else found + ((offset - found) % PMD_SIZE or PMD_SIZE)


def arch_get_unmapped_area_topdown(memory: Memory, mm: AddressSpace, address: int, length: int, flags: int) -> int:
    """
    Kernel: arch/x86/kernel/sys_x86_64.c arch_get_unmapped_area_topdown(), arch_get_unmapped_area(), find_start_end();
    arch/x86/mm/mmap.c mmap_address_hint_valid(), v6.1.
    """
    limit, window = memory.task_size_max, min(memory.task_size_max, DEFAULT_MAP_WINDOW)
    if flags & MAP_FIXED:
        return address
    if flags & MAP_32BIT:
        return hinted(mm, address, length, LOW_WINDOW[1]) or unmapped_area(mm, length, *LOW_WINDOW)
    if address <= limit - length and (address > window) == (address + length > window):
        found = hinted(mm, address, length, limit)
        if found:
            return found
    top = mm.mmap_base + (limit - window if address > window else 0)
    found = unmapped_area_topdown(mm, length, top)
    if found >= 0:
        return found
    end = limit if address > window else window
    return hinted(mm, address, length, end) or unmapped_area(mm, length, window // 3 + PAGE - 1 & PAGE_MASK, end)


def hinted(mm: AddressSpace, address: int, length: int, end: int) -> int:
    """The address asked for, if there is one and it is free; else 0."""
    above = mm.vmas.find_vma(address)
    free = address and address + length <= end and (above is None or address + length <= start_gap(above))
    return address if free else 0


def unmapped_area_topdown(mm: AddressSpace, length: int, top: int) -> int:
    """
    The highest gap of `length` bytes below `top`.

    Kernel: mm/mmap.c unmapped_area_topdown(), v6.1.
    """
    end = top
    for vma in mm.vmas.below(top + STACK_GUARD_GAP):
        if vma.end <= end - length:
            break
        end = min(end, start_gap(vma))
    return end - length if end - length >= PAGE else -ENOMEM


def unmapped_area(mm: AddressSpace, length: int, start: int, end: int) -> int:
    """
    The lowest gap of `length` bytes in start..end.

    Kernel: mm/mmap.c unmapped_area(), v6.1.
    """
    for vma in mm.vmas:
        if vma.end > start:
            if start_gap(vma) >= start + length:
                break
            start = vma.end
    return start if start + length <= end else -ENOMEM


def start_gap(vma: Vma) -> int:
    """
    Where an area begins for its neighbours: a stack keeps a gap below itself.

    Kernel: include/linux/mm.h vm_start_gap(), v6.1.
    """
    return max(vma.start - STACK_GUARD_GAP, 0) if vma.grows_down else vma.start
