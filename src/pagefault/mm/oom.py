"""Memory runs out: what can be reclaimed is, and then somebody has to go."""

from __future__ import annotations

from collections.abc import Iterable

from ..memory.pages import HUGE_FRAMES
from ..tables.address_space import AddressSpace
from ..vocabulary.vma import VmFlag
from .huge_memory import huge_pmds
from .memory import Memory
from .munmap import entries, tables, zap_page_range
from .reclaim import try_to_free_pages


def make_room(memory: Memory, mm: AddressSpace | None) -> bool:
    """
    No frame could be had, or no charge, for `mm`. True: try again; False: `mm` itself has to go, or nobody can.

    Kernel: mm/page_alloc.c __alloc_pages_slowpath(); mm/memcontrol.c try_charge_memcg(), v6.1.
    Differs: a victim gets none of the memory that is kept for emergencies.
    """
    return try_to_free_pages(memory, limiting_group(memory, mm)) or memory.out_of_memory(mm)


def room_for(memory: Memory, mm: AddressSpace, count: int) -> bool:
    """Are there so many frames, for something that `mm`'s process asks the kernel for? What can be reclaimed is."""
    while memory.frames.free < count:
        if not memory.make_room(mm):
            return False
    return True


def limiting_group(memory: Memory, mm: AddressSpace | None) -> int:
    """The memory cgroup that leaves less room than RAM does (0: none)."""
    group = memory.cgroups.get(mm.cgroup) if mm is not None else None
    room = group.room if group is not None else None
    return group.number if group is not None and room is not None and room < memory.frames.free else 0


def oom_badness(memory: Memory, mm: AddressSpace) -> int:
    """
    How many pages would be free without it: its own, its swapped ones, its tables.

    Kernel: mm/oom_kill.c oom_badness(), v6.1 (with oom_score_adj 0).
    """
    points = len(mm.deposited)
    for vma in mm.vmas:
        points += len(entries(memory, mm, vma.start, vma.end)) + len(tables(memory, mm, vma.start, vma.end))
        points += HUGE_FRAMES * len(huge_pmds(memory, mm, vma.start, vma.end))
    return points


def select_bad_process(memory: Memory, spaces: Iterable[AddressSpace], group: int) -> AddressSpace | None:
    """
    The worst of these address spaces, of those in the group if it is the group that ran out.

    Kernel: mm/oom_kill.c select_bad_process(), oom_evaluate_task(), v6.1.
    """
    eligible = [mm for mm in spaces if not group or mm.cgroup == group]
    return max(eligible, key=lambda mm: oom_badness(memory, mm), default=None)


def oom_reap(memory: Memory, mm: AddressSpace) -> bool:
    """
    Take a victim's private memory, before it gets to die by itself. Says whether that freed anything.

    Kernel: mm/oom_kill.c __oom_reap_task_mm(), v6.1.
    """
    before = memory.frames.free
    for vma in mm.vmas:
        if not vma.flags & (VmFlag.LOCKED | VmFlag.PFNMAP) and (vma.anonymous or not vma.shared):
            zap_page_range(memory, mm, vma, vma.start, vma.end)
    memory.flush()
    return memory.frames.free > before
