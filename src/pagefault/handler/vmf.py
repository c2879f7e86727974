"""A fault on its way down to one entry of the page tables: struct vm_fault, and the plan that grows on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..arch import x86
from ..arch.architecture import Level
from ..memory.pages import HUGE_FRAMES
from ..memory.ram import HUGE
from ..tables.address_space import AddressSpace
from ..vocabulary.effect import Effect, FlushPage, TakeFrame, TakeHugePage, WriteEntry, ZeroFrame
from ..vocabulary.vm_fault import FaultFlag
from ..vocabulary.vma import Vma, VmFlag
from .context import Context

SPECIAL = 1 << 9
"""
A software bit: a page without a struct page of its own (the zero page).

Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_SPECIAL, v6.1.
"""
PAGE_NONE = 1 << 8
"""A present page of a PROT_NONE area (Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_PROTNONE, v6.1)."""


@dataclass(slots=True)
class Plan:
    """
    The effects of one decision in the making. Frames are looked up, not taken: `needed` of them so far. When there are
    not enough, `frame` says 0, and the decision is out of memory whatever else it says.
    """

    context: Context
    effects: list[Effect] = field(default_factory=list)
    needed: int = 0
    out_of_frames: bool = False

    def frame(self, use: str = "page") -> int:
        """Take the next free frame."""
        self.needed += 1
        free = self.context.frames.peek(self.needed)
        if len(free) < self.needed or not self.chargeable(0):
            self.out_of_frames = True
            return 0
        self.effects.append(TakeFrame(free[-1], use))
        return free[-1]

    def chargeable(self, more: int) -> bool:
        """May the group of the address space have what is needed so far, and `more` pages?"""
        mm = self.context.mm
        room = self.context.cgroups[mm.cgroup].room if mm is not None and mm.cgroup else None
        return room is None or self.needed + more <= room

    def huge_frame(self) -> int | None:
        """Take 2 MiB of free frames, filled with zeros; None if there are none, or they may not be had."""
        start = self.context.frames.peek_huge()
        taken = (effect.frame for effect in self.effects if isinstance(effect, TakeFrame))
        if start is None or not self.chargeable(HUGE_FRAMES) or any(start <= frame < start + HUGE for frame in taken):
            return None
        self.effects.append(TakeHugePage(start))
        return start

    def spare_frame(self) -> int | None:
        """
        Take the next free frame for something that can be done without; None if then there would not be one each for
        the page that is wanted and for a copy of it.

        Differs: those two frames are our number. The kernel asks for all memory with GFP_KERNEL and stops at the zone's
        watermarks, which there are none of here.
        """
        enough = self.needed + 3
        if len(self.context.frames.peek(enough)) < enough:
            return None
        return self.frame()

    def do(self, *effects: Effect) -> None:
        """Then this."""
        self.effects += effects


@dataclass(slots=True)
class Vmf:
    """
    `address` is the page's. `slot` is the physical address of the entry that the way down has come to, at `level`, and
    `value` what it holds; it is in the table at `table`, `depth` levels below the top, which this fault makes if it is
    `fresh`.

    Kernel: include/linux/mm.h struct vm_fault, v6.1.
    """

    context: Context
    mm: AddressSpace
    vma: Vma
    address: int
    flags: FaultFlag
    plan: Plan
    slot: int = 0
    value: int = 0
    level: str = "pgd"
    depth: int = 0
    table: int = 0
    fresh: bool = False

    @property
    def write(self) -> bool:
        return bool(self.flags & FaultFlag.WRITE)

    @property
    def frame(self) -> int:
        """The frame that the entry maps."""
        return self.value & x86.PHYSICAL_MASK

    @property
    def index(self) -> int:
        """The page of the file, or of the anonymous memory."""
        return self.vma.linear_page_index(self.address)

    def set(self, value: int) -> None:
        """Write the entry."""
        size = self.context.form.geometry(self.context.cpu).entry_size
        self.plan.do(WriteEntry(self.level, self.slot, value, self.address, size))

    def flush(self) -> None:
        self.plan.do(FlushPage(self.address))

    def down_to(self, level: str) -> None:
        """
        Go on down to the entry at `level`, making the tables that are missing. Stops above it at an entry that maps a
        large page.

        Kernel: mm/memory.c __handle_mm_fault() (p4d_alloc(), pud_alloc(), pmd_alloc()), __pte_alloc(), v6.1.
        """
        form, shape = self.context.form, self.context.form.geometry(self.context.cpu)
        size, self.table = shape.entry_size, self.table or self.mm.root
        for at in shape.levels[self.depth :]:
            self.level = at.name
            self.slot = self.table + (self.address >> at.shift & at.entries - 1) * size
            self.value = 0 if self.fresh else self.context.memory.read_entry(self.slot, size) or 0
            if at.name == level or form.is_leaf(at, self.value):
                return
            if not self.value & x86.PRESENT:
                self.value, self.fresh = self._new_table(at, shape.levels[self.depth + 1]), True
            self.table = self.value & x86.PHYSICAL_MASK
            self.depth += 1

    def _new_table(self, above: Level, below: Level) -> int:
        frame = self.plan.frame(f"{below.name} table")
        value = self.context.form.table_entry(above, frame)
        self.plan.do(ZeroFrame(frame))
        self.set(value)
        return value


def page_protection(vma: Vma, context: Context) -> int:
    """
    The bits of a pte in this vma: vma->vm_page_prot. Private pages get the right to write when they are written; shared
    ones have it from the start, unless the file system wants to know of the first write.

    Kernel: arch/x86/mm/pgprot.c protection_map[], vm_get_page_prot(); mm/mmap.c vma_set_page_prot(), v6.1.
    """
    if not vma.accessible:
        return PAGE_NONE | x86.ACCESSED | vma.protection_key << x86.PROTECTION_KEY_SHIFT
    bits = x86.PRESENT | x86.USER | x86.ACCESSED
    bits |= vma.protection_key << x86.PROTECTION_KEY_SHIFT
    bits |= x86.WRITABLE if vma.shared and vma.write and not wants_writenotify(vma, context) else 0
    return bits | (0 if vma.execute else x86.EXECUTE_DISABLE & context.form.supported_pte_mask(context.cpu))


def wants_writenotify(vma: Vma, context: Context) -> bool:
    """
    Must the first write to a shared page be noticed? Files on a device count their dirty pages.

    Kernel: mm/mmap.c vma_wants_writenotify(), v6.1.
    """
    if not (vma.shared and vma.write) or vma.flags & VmFlag.PFNMAP:
        return False
    inode = context.inodes.get(vma.inode)
    return inode is not None and not inode.swap_backed


def write_bit(vma: Vma) -> int:
    """The right to write, if the vma gives it (Kernel: include/linux/mm.h maybe_mkwrite(), v6.1)."""
    return x86.WRITABLE if vma.write else 0


def dirty_bits(context: Context) -> int:
    """Kernel: arch/x86/include/asm/pgtable.h pte_mkdirty(), v6.1."""
    return x86.DIRTY | context.form.soft_dirty
