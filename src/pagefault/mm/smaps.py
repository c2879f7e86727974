"""What /proc/PID/smaps, maps, pagemap and kpageflags say of an address space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..arch import x86
from ..handler.vmf import SPECIAL
from ..memory.pages import HUGE_FRAMES, PageFlag
from ..tables.address_space import AddressSpace
from ..tables.inode import FileSystem
from ..tables.swap_space import is_swap_entry, slot_of
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .memory import Memory

KIB = 1 << 10
MNEMONICS = (
    ("um", VmFlag.UFFD_MISSING),
    ("pf", VmFlag.PFNMAP),
    ("lo", VmFlag.LOCKED),
    ("io", VmFlag.IO),
    ("sr", VmFlag.SEQ_READ),
    ("rr", VmFlag.RAND_READ),
    ("dc", VmFlag.DONTCOPY),
    ("de", VmFlag.DONTEXPAND),
    ("lf", VmFlag.LOCKONFAULT),
    ("ac", VmFlag.ACCOUNT),
    ("nr", VmFlag.NORESERVE),
    ("wf", VmFlag.WIPEONFORK),
    ("dd", VmFlag.DONTDUMP),
    ("sd", VmFlag.SOFTDIRTY),
    ("mm", VmFlag.MIXEDMAP),
    ("hg", VmFlag.HUGEPAGE),
    ("nh", VmFlag.NOHUGEPAGE),
    ("mg", VmFlag.MERGEABLE),
)
"""In the order of the kernel's bits (Kernel: fs/proc/task_mmu.c show_smap_vma_flags(), v6.1)."""
COUNTS = (
    "Rss",
    "Pss",
    "Pss_Dirty",
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
    "LazyFree",
    "AnonHugePages",
    "ShmemPmdMapped",
    "FilePmdMapped",
    "Swap",
    "SwapPss",
    "Locked",
)
"""
What smaps counts, in its order; what hugetlbfs and KSM would have is 0.

Kernel: fs/proc/task_mmu.c __show_smap(), v6.1.
"""


@dataclass(frozen=True, slots=True)
class PageRun:
    """Pages that look alike: `words` are pagemap's and kpageflags' names for what is set."""

    address: int
    count: int
    words: tuple[str, ...]


def vma_name(memory: Memory, mm: AddressSpace, vma: Vma) -> str:
    """
    The last column of /proc/PID/maps: a file's name, or what the area is known as.

    Kernel: fs/proc/task_mmu.c show_map_vma(), v6.1; include/linux/mm.h vma_is_initial_heap(), v6.12.
    """
    if vma.inode:
        return memory.inodes[vma.inode].path
    if memory.rules.heap_is_inside:
        heap = vma.start < mm.brk and vma.end > mm.start_brk
    else:
        heap = vma.start <= mm.brk and vma.end >= mm.start_brk
    if heap:
        return "[heap]"
    return "[stack]" if vma.start <= mm.start_stack <= vma.end else vma.name


def vma_rights(vma: Vma) -> str:
    """
    rwxp, or s for what may be shared (Kernel: fs/proc/task_mmu.c show_vma_header_prefix(), v6.1).
    """
    letters = "".join(c if on else "-" for c, on in (("r", vma.read), ("w", vma.write), ("x", vma.execute)))
    return letters + ("s" if vma.flags & VmFlag.MAYSHARE else "p")


def vma_offset(memory: Memory, vma: Vma) -> int:
    """The offset in the file, in bytes; 0 where there is none (Kernel: fs/proc/task_mmu.c show_map_vma(), v6.1)."""
    real = vma.inode and memory.inodes[vma.inode].kind is not FileSystem.SPECIAL
    return vma.pgoff << PAGE_SHIFT if real else 0


def vm_flags(memory: Memory, vma: Vma) -> list[str]:
    """
    Two letters a flag of an area.

    Kernel: fs/proc/task_mmu.c show_smap_vma_flags(), v6.1.
    """
    may, unknown = vma.flags, not memory.rules.shows_lockonfault
    first = (
        ("rd", vma.read),
        ("wr", vma.write),
        ("ex", vma.execute),
        ("sh", vma.shared),
        ("mr", may & VmFlag.MAYREAD),
        ("mw", may & VmFlag.MAYWRITE),
        ("me", may & VmFlag.MAYEXEC),
        ("ms", may & VmFlag.MAYSHARE),
        ("gd", vma.grows_down),
    )
    rest = [("??" if word == "lf" and unknown else word) for word, flag in MNEMONICS if may & flag]
    return [word for word, on in first if on] + rest


def smap_gather_stats(memory: Memory, mm: AddressSpace, vma: Vma) -> dict[str, int]:
    """
    What smaps counts of an area, by its names: KiB, rounded down.

    Kernel: fs/proc/task_mmu.c smap_gather_stats(), smaps_account(), smaps_page_accumulate(), v6.1.
    """
    counts: dict[str, float] = dict.fromkeys(COUNTS, 0)
    for _, value, size in leaves(memory, mm, vma.start, vma.end):
        if is_swap_entry(value):
            users = int(memory.swap.count[slot_of(value)]) if memory.swap is not None else 1
            counts["Swap"] += size
            counts["SwapPss"] += size / max(users, 1)
        elif not value & SPECIAL and frame_of(value, size) != memory.huge_zero_page:
            smaps_account(memory, vma, counts, value, size)
    counts["Swap"] += shmem_swap_usage(memory, mm, vma) * PAGE
    return {name: int(count) // KIB for name, count in counts.items()}


def smaps_account(memory: Memory, vma: Vma, counts: dict[str, float], value: int, size: int) -> None:
    """Count one page, small or huge, that an entry maps (Kernel: fs/proc/task_mmu.c smaps_account(), v6.1)."""
    pages, frame = memory.pages, frame_of(value, size)
    head = pages.folio(frame).start << PAGE_SHIFT
    anon, dirty = pages.has(head, PageFlag.ANON), bool(value & x86.DIRTY) or pages.has(head, PageFlag.DIRTY)
    counts["Rss"] += size
    if anon:
        counts["Anonymous"] += size
        counts["LazyFree"] += size if pages.has(head, PageFlag.LAZYFREE) and not dirty else 0
    if value & x86.ACCESSED or pages.has(head, PageFlag.REFERENCED):
        counts["Referenced"] += size
    if size > PAGE:
        inode = memory.inodes.get(int(pages.inode[head >> PAGE_SHIFT]))
        kind = "ShmemPmdMapped" if inode is not None and inode.swap_backed else "FilePmdMapped"
        counts["AnonHugePages" if anon else kind] += size
    for one in range(frame, frame + size, PAGE):
        mapped = pages.page_mapcount(one)
        share = PAGE / max(mapped, 1)
        counts["Pss"] += share
        counts["Pss_Dirty"] += share if dirty else 0
        counts["Locked"] += share if vma.flags & VmFlag.LOCKED else 0
        counts[("Private_" if mapped < 2 else "Shared_") + ("Dirty" if dirty else "Clean")] += PAGE


def shmem_swap_usage(memory: Memory, mm: AddressSpace, vma: Vma) -> int:
    """
    How many of the pages of shared memory that the area shows are swapped out: they have no entries here. What a
    private area has copied is another page.

    Kernel: mm/shmem.c shmem_swap_usage(); fs/proc/task_mmu.c smaps_pte_hole(), v6.1.
    """
    inode = memory.inodes.get(vma.inode)
    if inode is None or not inode.swapped:
        return 0
    last = vma.linear_page_index(vma.end)
    swapped = {index for index in inode.swapped if vma.pgoff <= index < last}
    if not vma.shared and vma.write:
        swapped -= {vma.linear_page_index(address) for address, _, _ in leaves(memory, mm, vma.start, vma.end)}
    return len(swapped)


def pagemap(memory: Memory, mm: AddressSpace) -> Iterator[PageRun]:
    """
    Every page that has an entry, in runs; but for pages that are no memory of the process's (VM_PFNMAP).

    Kernel: mm/pagewalk.c walk_page_test(); fs/proc/task_mmu.c pte_to_pagemap_entry(), pagemap_pmd_range();
    fs/proc/page.c stable_page_flags(), v6.1.
    """
    run: PageRun | None = None
    for vma in mm.vmas:
        if vma.flags & VmFlag.PFNMAP:
            continue
        for start, value, size in leaves(memory, mm, vma.start, vma.end):
            for address in range(start, start + size, PAGE):
                words = page_words(memory, vma, value, size, address - start)
                if run is not None and run.words == words and run.address + run.count * PAGE == address:
                    run = PageRun(run.address, run.count + 1, words)
                    continue
                if run is not None:
                    yield run
                run = PageRun(address, 1, words)
    if run is not None:
        yield run


def page_words(memory: Memory, vma: Vma, value: int, size: int, offset: int) -> tuple[str, ...]:
    """What is said of the page `offset` bytes into what an entry maps."""
    if is_swap_entry(value):
        return ("swapped",)
    frame, pages = frame_of(value, size) + offset, memory.pages
    zero = frame == memory.zero_page or frame - offset == memory.huge_zero_page
    if value & SPECIAL or zero:
        return ("present", "zero") if zero else ("present",)
    head = pages.folio(frame).start << PAGE_SHIFT
    anon = pages.has(head, PageFlag.ANON)
    facts = (
        ("present", True),
        ("shared", not anon),
        ("exclusive", pages.page_mapcount(frame) == 1),
        ("anon", anon),
        ("swapcache", pages.has(head, PageFlag.SWAPCACHE)),
        ("unevictable", locked(memory, vma, frame)),
        ("huge", pages.is_huge(frame)),
    )
    return tuple(word for word, true in facts if true)


def locked(memory: Memory, vma: Vma, frame: int) -> bool:
    """
    Is the page in an area that is locked, this one or another process's?

    Kernel: mm/mlock.c mlock_folio() (PG_mlocked, PG_unevictable and the mlock_count), v6.1.
    """
    if vma.flags & VmFlag.LOCKED or memory.pages.has(frame, PageFlag.UNEVICTABLE):
        return True
    if memory.pages.page_mapcount(frame) < 2:
        return False
    return any(
        frame_of(value, size) <= frame < frame_of(value, size) + size
        for mm in memory.spaces
        for area in mm.vmas
        if area.flags & VmFlag.LOCKED
        for _, value, size in leaves(memory, mm, area.start, area.end)
        if not is_swap_entry(value)
    )


def leaves(memory: Memory, mm: AddressSpace, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(address, value, size) of every entry in a range that is not empty and leads to no further table."""
    size, reach, at = memory.tables.entry_size, HUGE_FRAMES * PAGE, start
    while at < end:
        table, covered = memory.tables.table_or_reach(mm.root, at)
        stop = min((at // covered + 1) * covered if table is None else (at // reach + 1) * reach, end)
        if table is not None:
            first = table + (at // PAGE % memory.tables.levels[-1].entries) * size
            run = memory.words(first, (stop - at) // PAGE)
            for place in run.nonzero()[0].tolist():
                yield at + place * PAGE, int(run[place]), PAGE
        elif (entry := memory.tables.entry(mm.root, at)) is not None:
            yield at, entry.value, covered
        at = stop


def frame_of(value: int, size: int) -> int:
    """The first frame that an entry maps."""
    return value & x86.PHYSICAL_MASK & -size
