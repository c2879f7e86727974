"""What a userfaultfd does to memory: ranges are registered, and pages put where nothing is yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from errno import EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, EPERM

from ..handler.vmf import SPECIAL, dirty_bits, page_protection, write_bit
from ..memory.pages import PageFlag
from ..tables.address_space import MMAP_MIN_ADDR, AddressSpace
from ..tables.userfaultfd import UserfaultfdCtx
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .anon_vma import anon_vma_prepare
from .huge_memory import huge_pmds
from .memory import Memory
from .vma_merge import isolate, remerge

Fill = Callable[[int, int], bool]
"""Write a page's content to a frame: (frame, offset in the range)."""


def validate_range(memory: Memory, start: int, length: int) -> int:
    """
    0 or -EINVAL.

    Kernel: fs/userfaultfd.c validate_range(), v6.1.
    """
    fits = length and not start % PAGE and not length % PAGE and MMAP_MIN_ADDR <= start < memory.task_size_max
    return 0 if fits and length <= memory.task_size_max - start else -EINVAL


def can_userfault(memory: Memory, vma: Vma) -> bool:
    """Memory that is nothing but memory (Kernel: include/linux/userfaultfd_k.h vma_can_userfault(), v6.1)."""
    return vma.anonymous or (bool(vma.inode) and memory.inodes[vma.inode].swap_backed)


def covered(memory: Memory, mm: AddressSpace, start: int, end: int) -> list[Vma] | int:
    """
    The areas of a range, if userfaults are possible in all of them; or -errno.

    Kernel: fs/userfaultfd.c userfaultfd_register(), userfaultfd_unregister(), v6.1.
    """
    first = mm.vmas.find_vma(start)
    if first is None:
        return -ENOMEM
    found = mm.vmas.overlapping(start, end)
    return found if found and all(can_userfault(memory, vma) for vma in found) else -EINVAL


def register(memory: Memory, ctx: UserfaultfdCtx, start: int, length: int) -> int:
    """
    Let first touches of a range wait for an answer: 0, or -errno.

    Kernel: fs/userfaultfd.c userfaultfd_register(), v6.1.
    """
    found = covered(memory, ctx.mm, start, start + length)
    if isinstance(found, int):
        return found
    for vma in found:
        if not vma.flags & VmFlag.MAYWRITE:
            return -EPERM
        if vma.userfault not in (0, ctx.number):
            return -EBUSY
    change(memory, ctx.mm, start, start + length, ctx.number)
    return 0


def unregister(memory: Memory, ctx: UserfaultfdCtx, start: int, length: int) -> int:
    """
    First touches of a range are ordinary ones again: 0, or -errno.

    Kernel: fs/userfaultfd.c userfaultfd_unregister(), v6.1.
    """
    found = covered(memory, ctx.mm, start, start + length)
    if isinstance(found, int):
        return found
    change(memory, ctx.mm, start, start + length, 0)
    return 0


def release(memory: Memory, ctx: UserfaultfdCtx) -> None:
    """
    The userfaultfd is closed.

    Kernel: fs/userfaultfd.c userfaultfd_release(), v6.1.
    """
    for vma in [area for area in ctx.mm.vmas if area.userfault == ctx.number]:
        change(memory, ctx.mm, vma.start, vma.end, 0)
    del memory.userfaults[ctx.number]


def change(memory: Memory, mm: AddressSpace, start: int, end: int, number: int) -> None:
    """Give the areas of a range to a userfaultfd, or to none (0)."""
    isolate(memory, mm, start, end)
    at = start
    while (vma := mm.vmas.find_vma(at)) is not None and vma.start < end:
        at = vma.end
        if vma.userfault != number:
            flags = vma.flags | VmFlag.UFFD_MISSING if number else vma.flags & ~VmFlag.UFFD_MISSING
            changed = replace(vma, flags=flags, userfault=number)
            mm.vmas.replace(vma, changed)
            at = remerge(memory, mm, changed).end


def mfill_atomic(memory: Memory, ctx: UserfaultfdCtx, start: int, length: int, fill: Fill | None) -> int:
    """
    Put pages where none are: with a content (`fill`), or the zero page. Bytes done, or -errno if there were none.

    Kernel: mm/userfaultfd.c __mcopy_atomic(), mfill_atomic_pte(), v6.1; mfill_atomic(), v6.12.
    """
    mm = ctx.mm
    vma = mm.vmas.vma_lookup(start)
    if vma is None or start + length > vma.end or not vma.userfault:
        return -ENOENT
    if not can_userfault(memory, vma):
        return -EINVAL
    if not vma.shared:
        anon_vma_prepare(memory, mm, start)
    for offset in range(0, length, PAGE):
        # A content may be waited for, and areas change meanwhile.
        now = mm.vmas.vma_lookup(start + offset)
        error = -ENOENT if now is None else mfill_page(memory, mm, now, start + offset, offset, fill)
        if error:
            return offset or error
    return length


def mfill_page(memory: Memory, mm: AddressSpace, vma: Vma, address: int, offset: int, fill: Fill | None) -> int:
    """
    One page: 0, or -errno.

    Kernel: mm/userfaultfd.c mcopy_atomic_pte(), mfill_zeropage_pte(), mfill_atomic_install_pte(), v6.1; mm/shmem.c
    shmem_mfill_atomic_pte().
    """
    if memory.frames.free < len(memory.tables.levels) + 1:
        return -ENOMEM
    if huge_pmds(memory, mm, address, address + PAGE):
        return -EEXIST
    context = memory.context(mm)
    protection = page_protection(vma, context)
    if fill is None and not vma.shared:
        slot = memory.pte_slot(mm, address)
        if memory.words(slot, 1)[0]:
            return -EEXIST
        memory.tables.write(slot, memory.zero_page | protection | SPECIAL)
        return 0
    frame = memory.new_page()
    memory.ram.fill(frame, PAGE)
    if fill is not None and not fill(frame, offset):
        memory.put_page(frame)
        return -EFAULT
    slot, inode = memory.pte_slot(mm, address), memory.inodes.get(vma.inode) if vma.shared else None
    index = vma.linear_page_index(address)
    taken = bool(memory.words(slot, 1)[0])
    taken |= inode is not None and (inode.cache.get(index) is not None or index in inode.swapped)
    if taken or (inode is not None and index >= inode.pages):
        memory.put_page(frame)
        return -EEXIST if taken else -EFAULT
    number = frame >> PAGE_SHIFT
    memory.charge(mm, frame)
    memory.pages.mapcount[number], memory.pages.index[number] = 1, index
    if inode is None:
        memory.pages.flags[number] = PageFlag.ANON | PageFlag.EXCLUSIVE
    else:
        inode.cache.set(index, frame)
        memory.pages.inode[number], memory.pages.refcount[number] = inode.number, 2
        memory.pages.set(frame, PageFlag.DIRTY)
    memory.tables.write(slot, frame | protection | dirty_bits(context) | write_bit(vma))
    return 0
