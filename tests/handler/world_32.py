"""A 32-bit kernel in miniature: a master table and a process's, by two levels or by PAE."""

from __future__ import annotations

from dataclasses import replace

from pagefault.arch import x86, x86_32
from pagefault.arch.x86 import CpuState
from pagefault.arch.x86_eras import profile
from pagefault.handler import Context
from pagefault.handler.mm_eras import mm_rules
from pagefault.memory.pages import Pages
from pagefault.memory.ram import FrameAllocator, Ram
from pagefault.mm.apply import apply
from pagefault.mm.memory import Memory
from pagefault.tables.address_space import AddressSpace
from pagefault.tables.extable import ExceptionTable, ExceptionTables
from pagefault.tables.pagetable import PageTables
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.effect import CpuEffect, Effect, WriteEntry
from pagefault.vocabulary.fault import Fault
from pagefault.vocabulary.mm_settings import MmSettings
from pagefault.vocabulary.vma import Vma

KERNEL_RW = 0x163
STATES = {
    "two levels": CpuState(cr4=x86.CR4_PSE, efer=0),
    "PAE": CpuState(cr4=x86.CR4_PSE | x86.CR4_PAE, efer=x86.EFER_NXE),
}


class World32:
    """
    `mode` is a key of STATES. A process's table has copies of the master's pmd entries, as they were when it was made:
    with PAE in pages of its own, as with page-table isolation (SHARED_KERNEL_PMD is 0).
    """

    def __init__(self, mode: str, version: tuple[int, int] = (6, 1)) -> None:
        self.profile = profile(version, x86_32)
        self.cpu = STATES[mode]
        self.area = x86_32.address_map(self.cpu)
        self.ram = Ram(512 * PAGE)
        self.frames = FrameAllocator(PAGE, self.ram.size)
        self.tables = PageTables(self.ram, self.cpu, self.frames.take)
        self.zero_page = self.frames.take()
        self.memory = Memory(
            ram=self.ram,
            frames=self.frames,
            pages=Pages(self.ram.size // PAGE),
            tables=self.tables,
            form=x86_32,
            cpu=self.cpu,
            zero_page=self.zero_page,
            rules=mm_rules(version),
            settings=MmSettings(),
            task_size_max=self.area.task_size_max,
            flush=lambda: None,
            context=lambda mm: replace(self.context, mm=mm),
        )
        self.init_mm_root, root = self.frames.take(), self.frames.take()
        self.mm = AddressSpace(root)
        self.tables.map(self.init_mm_root, self.area.page_offset, 0, KERNEL_RW)
        self.tables.map(self.init_mm_root, self.area.vmalloc_start - PAGE, 0, KERNEL_RW)
        slot = self.slot(self.init_mm_root, self.area.page_offset)
        table = slot & -PAGE
        own = self.slot(root, self.area.page_offset) & -PAGE
        if mode == "PAE":
            self.ram.write(own, self.ram.read(table, PAGE) or b"")
        else:
            self.ram.write(slot - table + own, self.ram.read(slot, PAGE - slot % PAGE) or b"")
        self.cpu = replace(self.cpu, cr3=root)

    def slot(self, root: int, address: int) -> int:
        """Where the entry that a vmalloc fault copies lies."""
        return self.tables.entry_slot(root, address, x86_32.vmalloc_level(self.cpu))

    @property
    def user(self) -> AddressSpace:
        return self.mm

    @property
    def entry_size(self) -> int:
        return x86_32.geometry(self.cpu).entry_size

    @property
    def context(self) -> Context:
        table = ExceptionTable.from_bytes(b"", 0, where="a test", executable=[])
        return Context(
            profile=self.profile,
            cpu=self.cpu,
            memory=self.ram,
            init_mm_root=self.init_mm_root,
            mm=self.mm,
            extables=ExceptionTables(table),
            faulthandler_disabled=False,
            frames=self.frames,
            zero_page=self.zero_page,
            pages=self.memory.pages,
            inodes=self.memory.inodes,
            rules=self.memory.rules,
            settings=self.memory.settings,
            huge_zero_page=self.memory.huge_zero_page,
            swap=self.memory.swap,
            cgroups=self.memory.cgroups,
        )

    def add(self, start: int, pages: int) -> None:
        """Promise the process an area."""
        self.mm.vmas.insert(Vma(start, start + pages * PAGE, pgoff=start >> PAGE_SHIFT))

    def apply(self, effects: tuple[Effect, ...]) -> None:
        """Carry effects out, as `machine.run` does."""
        for effect in effects:
            assert not isinstance(effect, WriteEntry) or effect.size == self.entry_size
            assert not isinstance(effect, CpuEffect), effect
            apply(self.memory, self.mm, effect)


def page_fault_32(address: int, code: int, *, user_mode: bool = False) -> Fault:
    """A #PF with this error code, as the CPU hands it over."""
    selector = x86_32.USER_CS if user_mode else x86_32.KERNEL_CS
    return x86_32.page_fault(address, code, {"eip": 0xC000_0100, "cs": selector, "esp": 0xC000_0F00})
