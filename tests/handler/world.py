"""A kernel in miniature for the handler's tests: RAM, a master table, one process, one exception-table entry."""

from __future__ import annotations

from dataclasses import replace

from pagefault.arch import x86, x86_64
from pagefault.arch.x86 import CpuState
from pagefault.arch.x86_eras import KernelProfile, profile
from pagefault.arch.x86_exception_types import BY_NAME, DATA
from pagefault.handler import Context
from pagefault.memory.ram import FrameAllocator, Ram
from pagefault.tables.address_space import AddressSpace
from pagefault.tables.extable import ExceptionTable, ExceptionTables
from pagefault.tables.extable_build import TableEntry, encode
from pagefault.tables.pagetable import PageTables
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.effect import CopyFrame, Effect, FlushPage, GrowStack, TakeFrame, WriteEntry, ZeroFrame
from pagefault.vocabulary.fault import Fault
from pagefault.vocabulary.vma import Vma

TEXT = 0xFFFF_FFFF_8100_0000
LISTED, LANDING, UNLISTED = TEXT + 0x100, TEXT + 0x800, TEXT + 0x200
"""An instruction with an entry in the exception table, its fixup, and an instruction without."""
RO = x86.PRESENT | x86.ACCESSED | x86.GLOBAL
RW = RO | x86.WRITABLE | x86.DIRTY
AREA = x86_64.LAYOUT_4_LEVEL
STACK = (AREA.vmalloc_start + 0x10_0000, AREA.vmalloc_start + 0x10_4000)
DATA_PAGE, RO_PAGE, USER_AREA = AREA.page_offset + 0x1000, AREA.page_offset + 0x2000, 0x40_0000


class World:
    """Mutable, for a test to arrange; `context` is what a decision gets to see of it."""

    def __init__(self, version: tuple[int, int] = (6, 1), cr4: int = 0, *, ram: int = 256 * PAGE) -> None:
        self.profile: KernelProfile = profile(version)
        self.ram = Ram(ram)
        self.frames = FrameAllocator(8 * PAGE, ram)
        base = CpuState()
        self.cpu = replace(base, cr4=base.cr4 | cr4, eflags=x86.EFLAGS_FIXED | x86.EFLAGS_AC)
        self.tables = PageTables(self.ram, self.cpu, self.frames.take)
        self.init_mm_root, self.zero_page = self.frames.take(), self.frames.take()
        self.tables.map(self.init_mm_root, TEXT, 0, RO)
        self.tables.map(self.init_mm_root, DATA_PAGE, PAGE, RW | x86.EXECUTE_DISABLE)
        self.tables.map(self.init_mm_root, RO_PAGE, 2 * PAGE, RO | x86.EXECUTE_DISABLE)
        self.mm: AddressSpace | None = AddressSpace(self.frames.take())
        self.ram.write(self.mm.root + PAGE // 2, self.ram.read(self.init_mm_root + PAGE // 2, PAGE // 2) or b"")
        self.cpu = replace(self.cpu, cr3=self.mm.root)
        self.faulthandler_disabled = False
        word = BY_NAME["uaccess"].number or 0
        raw = encode([TableEntry(LISTED, LANDING, word)], TEXT + 0x2000, DATA)
        table = ExceptionTable.from_bytes(
            raw, TEXT + 0x2000, where="a test", executable=[(TEXT, TEXT + PAGE)], version=(6, 1)
        )
        self.extables = ExceptionTables(table)

    @property
    def user(self) -> AddressSpace:
        assert self.mm is not None
        return self.mm

    def area(self, start: int = USER_AREA, pages: int = 4, **rights: bool | int | str) -> Vma:
        """Promise the process an area."""
        vma = Vma(start, start + pages * PAGE, **rights)  # type: ignore[arg-type]
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
            stack=STACK,
        )

    def snapshot(self) -> object:
        """Everything a decision could change."""
        areas = tuple(self.mm.vmas) if self.mm else ()
        return self.ram.read(0, self.ram.size), areas, self.frames.free, self.frames.peek(40)

    def apply(self, effects: tuple[Effect, ...]) -> None:
        """Carry effects out, as `machine.run` does; a frame may be taken only if it is the next free one."""
        for effect in effects:
            match effect:
                case TakeFrame(frame=frame):
                    assert self.frames.take(frame) == frame
                case ZeroFrame(frame=frame):
                    self.ram.fill(frame, PAGE)
                case CopyFrame(source=source, frame=frame):
                    self.ram.write(frame, self.ram.read(source, PAGE) or b"")
                case WriteEntry(physical=physical, value=value):
                    self.ram.write_u64(physical, value)
                case GrowStack(old_start=old, new_start=new):
                    vma = self.user.vmas.vma_lookup(old)
                    assert vma is not None
                    self.user.vmas.replace(vma, replace(vma, start=new))
                case FlushPage():
                    pass  # nothing is cached here
                case _:
                    raise AssertionError(effect)


def page_fault(address: int, code: int, *, user_mode: bool = False, ip: int = UNLISTED) -> Fault:
    """A #PF with this error code, as the CPU hands it over."""
    selector = x86_64.USER_CS if user_mode else x86_64.KERNEL_CS
    return x86_64.page_fault(address, code, {"rip": ip, "cs": selector, "rsp": STACK[1] - 64})
