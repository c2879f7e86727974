"""A kernel in miniature for the handler's tests: RAM, a master table, one process, one exception-table entry."""

from __future__ import annotations

from dataclasses import replace

from handler.world_32 import World32
from pagefault.arch import x86, x86_64
from pagefault.arch.x86 import CpuState
from pagefault.arch.x86_eras import KernelProfile, profile
from pagefault.arch.x86_exception_types import BY_NAME, DATA
from pagefault.handler import Context
from pagefault.handler.mm_eras import mm_rules
from pagefault.handler.vmf import Plan, Vmf
from pagefault.memory.pages import Pages
from pagefault.memory.ram import FrameAllocator, Ram
from pagefault.mm.apply import apply
from pagefault.mm.memory import Memory
from pagefault.tables.address_space import AddressSpace
from pagefault.tables.extable import ExceptionTable, ExceptionTables
from pagefault.tables.extable_build import TableEntry, encode
from pagefault.tables.pagetable import PageTables
from pagefault.vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from pagefault.vocabulary.effect import CpuEffect, Effect
from pagefault.vocabulary.fault import Fault
from pagefault.vocabulary.mm_settings import MmSettings
from pagefault.vocabulary.vm_fault import FaultFlag
from pagefault.vocabulary.vma import Vma

TEXT = 0xFFFF_FFFF_8100_0000
LISTED, LANDING, UNLISTED = TEXT + 0x100, TEXT + 0x800, TEXT + 0x200
"""An instruction with an entry in the exception table, its fixup, and an instruction without."""
RO = x86.PRESENT | x86.ACCESSED | x86.GLOBAL
RW = RO | x86.WRITABLE | x86.DIRTY
AREA = x86_64.LAYOUT_4_LEVEL
STACK = (AREA.vmalloc_start + 0x10_0000, AREA.vmalloc_start + 0x10_4000)
MMAP_BASE = 0x7FFF_F7FF_F000
DATA_PAGE, RO_PAGE, USER_AREA = AREA.page_offset + 0x1000, AREA.page_offset + 0x2000, 0x40_0000


class World:
    """Mutable, for a test to arrange; `context` is what a decision gets to see of it."""

    def __init__(self, version: tuple[int, int] = (6, 1), cr4: int = 0, *, ram: int = 256 * PAGE) -> None:
        self.profile: KernelProfile = profile(version)
        self.ram = Ram(ram)
        frames = FrameAllocator(8 * PAGE, ram)
        base = CpuState()
        self.cpu = replace(base, cr4=base.cr4 | cr4, eflags=x86.EFLAGS_FIXED | x86.EFLAGS_AC)
        self.tables = PageTables(self.ram, self.cpu, frames.take)
        self.init_mm_root, self.zero_page = frames.take(), frames.take()
        self.flushes = 0
        self.memory = Memory(
            ram=self.ram,
            frames=frames,
            pages=Pages(ram // PAGE),
            tables=self.tables,
            form=x86_64,
            cpu=self.cpu,
            zero_page=self.zero_page,
            rules=mm_rules(version),
            settings=MmSettings(),
            task_size_max=x86_64.address_map(self.cpu).task_size_max,
            flush=self._flush,
            context=lambda mm: replace(self.context, mm=mm),
        )
        self.tables.map(self.init_mm_root, TEXT, 0, RO)
        self.tables.map(self.init_mm_root, DATA_PAGE, PAGE, RW | x86.EXECUTE_DISABLE)
        self.tables.map(self.init_mm_root, RO_PAGE, 2 * PAGE, RO | x86.EXECUTE_DISABLE)
        self.mm: AddressSpace | None = AddressSpace(frames.take(), mmap_base=MMAP_BASE)
        self.ram.write(self.mm.root + PAGE // 2, self.ram.read(self.init_mm_root + PAGE // 2, PAGE // 2) or b"")
        self.cpu = replace(self.cpu, cr3=self.mm.root)
        self.faulthandler_disabled = False
        word = BY_NAME["uaccess"].number or 0
        raw = encode([TableEntry(LISTED, LANDING, word)], TEXT + 0x2000, DATA)
        table = ExceptionTable.from_bytes(
            raw, TEXT + 0x2000, where="a test", executable=[(TEXT, TEXT + PAGE)], version=(6, 1)
        )
        self.extables = ExceptionTables(table)

    def _flush(self) -> None:
        self.flushes += 1

    @property
    def frames(self) -> FrameAllocator:
        return self.memory.frames

    @frames.setter
    def frames(self, frames: FrameAllocator) -> None:
        self.memory.frames = frames

    @property
    def user(self) -> AddressSpace:
        assert self.mm is not None
        return self.mm

    def area(self, start: int = USER_AREA, pages: int = 4, **rights: bool | int | str) -> Vma:
        """Promise the process an area."""
        vma = Vma(start, start + pages * PAGE, **{"pgoff": start >> PAGE_SHIFT} | rights)  # type: ignore[arg-type]
        self.user.vmas.insert(vma)
        return vma

    @property
    def context(self) -> Context:
        return Context(
            profile=self.profile,
            cpu=self.cpu,
            memory=self.ram,
            init_mm_root=self.init_mm_root,
            mm=self.mm,
            extables=self.extables,
            faulthandler_disabled=self.faulthandler_disabled,
            frames=self.frames,
            zero_page=self.zero_page,
            pages=self.memory.pages,
            inodes=self.memory.inodes,
            rules=self.memory.rules,
            settings=self.memory.settings,
            huge_zero_page=self.memory.huge_zero_page,
            swap=self.memory.swap,
            cgroups=self.memory.cgroups,
            userfaults=self.memory.userfaults,
            stack=STACK,
        )

    def snapshot(self) -> object:
        """Everything a decision could change."""
        areas = tuple(self.mm.vmas) if self.mm else ()
        pages = self.memory.pages
        known = (pages.refcount, pages.mapcount, pages.inode, pages.swap, pages.index, pages.flags)
        caches = {number: dict(inode.cache.items()) for number, inode in self.memory.inodes.items()}
        return (
            *(self.ram.read(0, self.ram.size), areas, self.frames.free, self.frames.peek(40)),
            *(array.tobytes() for array in known),
            caches,
        )

    def apply(self, effects: tuple[Effect, ...]) -> None:
        """Carry effects out, as `machine.run` does; a frame may be taken only if it is the next free one."""
        for effect in effects:
            assert not isinstance(effect, CpuEffect), effect
            apply(self.memory, self.user, effect)


NONE = FaultFlag(0)


def vmf_of(
    world: World | World32, vma: Vma, address: int, flags: FaultFlag = NONE, *, value: int = 0, slot: int = 0
) -> Vmf:
    """A fault whose way down has come to the pte at `slot`, which holds `value`."""
    context = world.context
    return Vmf(context, world.user, vma, address & PAGE_MASK, flags, Plan(context), slot, value, "pte")


def page_fault(address: int, code: int, *, user_mode: bool = False, ip: int = UNLISTED) -> Fault:
    """A #PF with this error code, as the CPU hands it over."""
    selector = x86_64.USER_CS if user_mode else x86_64.KERNEL_CS
    return x86_64.page_fault(address, code, {"rip": ip, "cs": selector, "rsp": STACK[1] - 64})
