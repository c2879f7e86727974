"""
The machine: a kernel image in RAM, one CPU, processes, and the handler around them.

    machine = Machine.boot("vmlinux")
    src = machine.user.mmap(length=2 * PAGE, populate=True)
    left = machine.call("_copy_from_user", machine.kmalloc(64), src + 2 * PAGE - 40, 64)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from ..arch import x86
from ..arch.architectures import RUNNABLE
from ..arch.x86 import CpuState
from ..arch.x86_eras import KernelProfile, profile
from ..arch.x86_instruction import MAX_INSTRUCTION
from ..errors import BadInput, DidNotReturn, Unsupported
from ..handler import Context
from ..handler.mm_eras import mm_rules
from ..images.boot_patches import boot_patches
from ..images.elf import Segment
from ..images.vmlinux import Vmlinux
from ..kernels import small_kernel
from ..memory.pages import Pages
from ..mm.memory import Memory
from ..mm.oom import make_room
from ..tables.address_space import AddressSpace
from ..tables.extable import ExceptionTables
from ..tables.pagetable import read_linear, walk
from ..tables.symbols import SymbolTable
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.fault import Fault
from ..vocabulary.mm_settings import MmSettings
from ..vocabulary.outcome import Oops, Outcome
from ..vocabulary.vm_fault import VmFault
from ..vocabulary.walk import Mapped, Walk
from .absent import gates
from .boot import DEFAULT_FEATURES, UNKNOWN_TO_THE_KERNEL, Booted, boot
from .cpu import Cpu
from .event import CallResult, Died, FaultEvent, HandledFault, Returned, Stopped
from .kernel_memory import KERNEL_ROX
from .mmu import Mmu
from .pgd import arch_sync_kernel_mappings, pgd_ctor
from .process import Process
from .run import run_call
from .task import Tasks
from .unicorn_cpu import UnicornCpu

DEFAULT_RAM = 256 << 20
DEFAULT_BUDGET = 50_000_000
"""Instructions of one call: a copy of 4 MiB by bytes, ten times over; about a second."""
ENTRY_FRAME = 256
"""Room at the top of a kernel stack, where a system call's pt_regs would be."""
MAX_ARGUMENTS = 6
REMEMBERED_FAULTS = 4096
"""A machine remembers its latest faults; each call's result has all of its own."""


class Machine:
    """
    A booted kernel that functions can be called in. Make one with `Machine.boot`.

    `modules` are the names of the loaded ones in order, `die_counter` counts oopses and `first_oops` is the first;
    `events` are the latest faults (only what oopsed, unless it `remembers`), `log` the kernel's warnings; `user` is the
    current process.
    """

    def __init__(
        self, booted: Booted, kernel_profile: KernelProfile, features: frozenset[str], settings: MmSettings
    ) -> None:
        self.booted, self.profile, self.features = booted, kernel_profile, features
        self.form, self.names = booted.form, booted.form.pt_regs
        self.ram, self.frames, self.tables = booted.ram, booted.frames, booted.tables
        self.memory, self.area = booted.memory, booted.area
        self.symbols: SymbolTable = booted.image.symbols
        self.extables = ExceptionTables(booted.image.exception_table)
        self.mmu = Mmu(self.ram)
        # Not the page's first byte: Unicorn looks at the one before the address it is to stop at.
        self.return_address = self.area.modules_end - PAGE // 2
        self.memory.map_pages(self.area.modules_end - PAGE, b"\xf4" * PAGE, PAGE, KERNEL_ROX)
        self.cpu: Cpu = UnicornCpu(self.ram, self.mmu, replace(booted.state, cr3=booted.init_mm_root))
        self.cpu.enter_kernel_segments(booted.gdt, booted.percpu)
        self.mm = Memory(
            ram=self.ram,
            frames=self.frames,
            pages=Pages(self.ram.size // PAGE),
            tables=self.tables,
            form=self.form,
            cpu=booted.state,
            zero_page=booted.zero_page,
            rules=mm_rules(kernel_profile.version),
            settings=settings,
            task_size_max=self.area.task_size_max,
            flush=self.cpu.flush,
            write_pkru=lambda value: self.cpu.write("pkru", value),
            context=lambda mm: self.context(self.cpu.state(), mm),
        )
        self.mm.make_room = partial(make_room, self.mm)
        self.frames.make_room = lambda: self.mm.make_room(None)
        self.gates = gates(self.symbols)
        self.cpu.stop_at(self.gates)
        self.events: deque[FaultEvent] = deque(maxlen=REMEMBERED_FAULTS)
        self.log: deque[str] = deque(maxlen=REMEMBERED_FAULTS)
        self.modules: list[str] = []
        self.on_fault: Callable[[HandledFault], None] = lambda _: None
        self.remembers = True
        self.wait_for_userfault: Callable[[Fault, int], bool] = nobody_answers
        self.die_counter, self.first_oops = 0, cast("FaultEvent | None", None)
        self._addresses: dict[str, int] = {}
        self._settable = frozenset(self.form.general_registers) - {self.names["sp"]}
        self.tasks = Tasks(booted)
        self.processes: list[Process] = []
        self.current = self.spawn("pagefault")
        self.switch_to(self.current)

    @classmethod
    def boot(
        cls,
        kernel: str | Path | Vmlinux | None = None,
        *,
        features: Iterable[str] = DEFAULT_FEATURES,
        ram: int = DEFAULT_RAM,
        kernel_profile: KernelProfile | None = None,
        settings: MmSettings | None = None,
    ) -> Machine:
        """
        A machine running `kernel` (a vmlinux; by default the small kernel in this package) on a CPU with `features`
        (X86_FEATURE_ names in small letters). `kernel_profile` overrides the rules that go with the image's version;
        `settings` is what an administrator may set.
        """
        image = kernel if isinstance(kernel, Vmlinux) else Vmlinux.open(kernel or small_kernel())
        image.check_runnable()
        rules = kernel_profile or profile(image.version, RUNNABLE[image.platform.name])
        chosen = frozenset(features)
        booted = boot(image, chosen, ram, preallocate_vmalloc=rules.vmalloc_preallocated)
        return cls(booted, rules, chosen, settings or MmSettings())

    def __repr__(self) -> str:
        return f"<Machine {self.booted.image.path} under the rules of {self.profile}, {len(self.processes)} processes>"

    @property
    def user(self) -> Process:
        """The current process, whose memory mmap() and its kin change."""
        return self.current

    @property
    def faults(self) -> list[Outcome]:
        """How the latest faults ended."""
        return [event.decision.outcome for event in self.events]

    def spawn(self, comm: str = "pagefault") -> Process:
        """
        A new process: its own top-level table, whose kernel half is a copy of init_mm's as it is now.

        Kernel: arch/x86/mm/pgtable.c pgd_alloc(), v6.1.
        """
        root = self.frames.take()
        # The stack first: its own table must map it under every version's rules, or no fault could be delivered.
        task = self.tasks.new(root, comm)
        pgd_ctor(self.booted, root)
        process = Process(task, AddressSpace(root), self.mm)
        self.mm.spaces.append(process.mm)
        self.processes.append(process)
        return process

    def switch_to(self, process: Process) -> None:
        """Make `process` current: its table in CR3, its task in the per-CPU area."""
        self.current = process
        self.cpu.write("cr3", process.mm.root)
        self.tasks.make_current(process.task)

    def call(
        self,
        function: str | int,
        *arguments: int,
        budget: int = DEFAULT_BUDGET,
        user_access: bool = False,
        **registers: int,
    ) -> int:
        """
        Call a function of the kernel in the current process, and return what it returns (rax).

        Arguments go by the kernel's convention (x86-64: six in registers; x86-32: three, and the rest on the stack),
        and what returns is in rax (eax); `registers` sets others by name, for routines with a convention of
        their own (`machine.call("__get_user_4", rax=pointer)`). `user_access` calls it inside a user-access window
        (EFLAGS.AC), as the callers of rep_movs_alternative() do. Raises DidNotReturn if it does not return.
        """
        result = self.run(
            function,
            *arguments,
            budget=budget,
            user_access=user_access,
            pagefault_disabled=False,
            **registers,
        )
        if isinstance(result.end, Returned):
            return result.end.value
        raise DidNotReturn(result.function, self.why(result), result=result)

    def run(
        self,
        function: str | int,
        *arguments: int,
        budget: int = DEFAULT_BUDGET,
        user_access: bool = False,
        pagefault_disabled: bool = False,
        **registers: int,
    ) -> CallResult:
        """
        Like `call`, but the whole story: how it ended, whatever that was, with every fault on the way.
        `pagefault_disabled` calls it between pagefault_disable() and pagefault_enable(): no user page is brought in.
        """
        names, word, highest = self.names, self.form.bits // 8, (1 << self.form.bits) - 1
        by_register = self.form.argument_registers
        if len(arguments) > MAX_ARGUMENTS:
            raise BadInput("arguments", expected="at most 6 (those passed in registers)", got=str(len(arguments)))
        start = self.address_of(function) if isinstance(function, str) else function
        unknown = registers.keys() - self._settable
        if unknown:
            expected = ", ".join(self.form.general_registers)
            raise BadInput("register", expected=expected, got=", ".join(sorted(unknown)))
        self.settle()
        if pagefault_disabled:
            self.tasks.pagefault_disable(self.current.task)
        sp = self.current.task.stack[1] - ENTRY_FRAME - word
        pushed = (self.return_address, *(value & highest for value in arguments[len(by_register) :]))
        frame = b"".join(value.to_bytes(word, "little") for value in pushed)
        self.ram.write(self.current.task.stack_page + sp % PAGE, frame)
        given = {name: value & highest for name, value in zip(by_register, arguments, strict=False)}
        given |= {name: value & highest for name, value in registers.items()}
        eflags = x86.EFLAGS_FIXED | x86.EFLAGS_IF | (x86.EFLAGS_AC if user_access else 0)
        self.cpu.enter({**given, "eflags": eflags, names["sp"]: sp})
        name = function if isinstance(function, str) else self.symbols.format(function)
        result = run_call(self, name, given, start, budget)
        if pagefault_disabled:
            self.tasks.make_current(self.current.task)
        return result

    def settle(self) -> None:
        """Put the CPU and the task into the state in which kernel code starts, whatever the last call left of it."""
        self.tasks.make_current(self.current.task)
        state, wanted = self.cpu.state(), self.booted.state
        if (state.cr0, state.cr3, state.cr4) != (wanted.cr0, self.current.mm.root, wanted.cr4):
            self.cpu.write_many({"cr0": wanted.cr0, "cr3": self.current.mm.root, "cr4": wanted.cr4})
        if state.cpl:
            self.cpu.enter_kernel_segments(self.booted.gdt, self.booted.percpu)
        self.cpu.set_percpu_base(self.booted.percpu)

    def address_of(self, name: str) -> int:
        """The address of a kernel symbol; asked again and again for the same few functions."""
        if name not in self._addresses:
            self._addresses[name] = self.symbols.find(name)
        return self._addresses[name]

    def why(self, result: CallResult) -> str:
        """In one line, how a call ended."""
        match result.end:
            case Returned(value=value):
                return f"it returned {value:#x}"
            case Died(outcome=outcome):
                last = result.events[-1].fault
                at = "" if last.address is None else f" at address {last.address:#x}"
                what = f"oops: {outcome.reason}" if isinstance(outcome, Oops) else f"{outcome.name} ({outcome.code})"
                return f"{what}{at}, at {self.symbols.format(last.ip)}"
            case Stopped(why=why, at=at_ip):
                return f"{why}, at {self.symbols.format(at_ip)}"

    def context(self, state: CpuState, mm: AddressSpace | None = None, *, tried: tuple[VmFault, ...] = ()) -> Context:
        """What the handler may look at, as things stand; `mm` if it is not the current process's memory."""
        current = self.current
        return Context(
            profile=self.profile,
            cpu=state,
            memory=self.ram,
            init_mm_root=self.booted.init_mm_root,
            mm=mm or current.mm,
            extables=self.extables,
            faulthandler_disabled=self.tasks.faulthandler_disabled(current.task),
            frames=self.frames,
            zero_page=self.booted.zero_page,
            pages=self.mm.pages,
            inodes=self.mm.inodes,
            rules=self.mm.rules,
            settings=self.mm.settings,
            stack=current.task.stack,
            tried=tried,
            userfaults=self.mm.userfaults,
            huge_zero_page=self.mm.huge_zero_page,
            swap=self.mm.swap,
            cgroups=self.mm.cgroups,
        )

    def load_module(self, path: str | Path, name: str) -> None:
        """
        Load an ELF linked at module addresses: its pages with their rights, its symbols, its exception table.

        Differs: a real module is relocatable and placed at load time; this one is already linked.
        """
        image = Vmlinux.open(path)
        image.check_runnable()
        patches = boot_patches(image, self.features - UNKNOWN_TO_THE_KERNEL)
        for segment in image.segments:
            start = segment.virtual & PAGE_MASK
            data = bytearray(segment.virtual - start) + segment.data
            patches.write_into(data, start)
            length = segment.virtual - start + segment.memory_size
            self.memory.map_pages(start, bytes(data), length, segment_flags(segment))
        self._addresses.clear()
        self.modules.append(name)
        self.symbols = self.symbols.with_module(image.symbols, name)
        self.extables = replace(self.extables, others=(*self.extables.others, image.exception_table))

    def kmalloc(self, size: int, content: bytes = b"") -> int:
        """Zeroed kernel memory in the direct map, starting with `content`; returns its address."""
        address = self.memory.kmalloc(max(size, len(content), 1))
        self.write(address, content)
        return address

    def vmalloc(self, size: int, *, start: int | None = None, sync: bool = True) -> int:
        """
        Kernel memory in vmalloc space, written to the master table; a guard page follows it. Versions that have
        arch_sync_kernel_mappings() write it to every process's table too; `sync=False` leaves that out, as it is
        for as long as another CPU is between the two.

        Kernel: mm/vmalloc.c vmap_range_noflush(), v6.1.
        """
        address = self.memory.vmalloc(size, start=start)
        if self.profile.vmalloc_synced and sync:
            roots = [process.mm.root for process in self.processes]
            arch_sync_kernel_mappings(self.booted, roots, address, address + size)
        return address

    def vfree(self, address: int) -> None:
        """Give a vmalloc area back, and flush what the CPU still holds of it."""
        self.memory.vfree(address)
        self.cpu.flush()

    def read(self, address: int, length: int) -> bytes:
        """Guest memory, kernel's or user's, whatever the rights on it; user pages are brought in."""
        if address < self.area.task_size_max:
            return self.current.read(address, length)
        return b"".join(self.ram.read(physical, size) or b"" for physical, size in self._kernel_pieces(address, length))

    def write(self, address: int, data: bytes) -> None:
        """Write guest memory, kernel's or user's, whatever the rights on it."""
        if address < self.area.task_size_max:
            self.current.write(address, data)
        else:
            done = 0
            for physical, size in self._kernel_pieces(address, len(data)):
                self.ram.write(physical, data[done : done + size])
                done += size
        if getattr(self.walk(address).end, "executable", False):
            self.cpu.forget_code()

    def walk(self, address: int) -> Walk:
        """The walk of an address through the current process's tables."""
        state = self.cpu.state()
        return walk(self.ram, state.root, address, state)

    def read_code(self, address: int) -> bytes:
        """Up to 15 bytes of code at a linear address: as many as are mapped."""
        state = self.cpu.state()
        return read_linear(self.ram, state.root, address, MAX_INSTRUCTION, state)

    def _kernel_pieces(self, address: int, length: int) -> list[tuple[int, int]]:
        """(physical, size) of each page's part of a range of kernel memory, through the master table."""
        pieces, state = [], self.cpu.state()
        while length > 0:
            size = min(length, PAGE - address % PAGE)
            match walk(self.ram, self.booted.init_mm_root, address, state).end:
                case Mapped(physical=physical):
                    pieces.append((physical, size))
                case end:
                    raise BadInput(
                        "kernel address", expected="a mapped one", got=f"{address:#x} ({type(end).__name__})"
                    )
            address, length = address + size, length - size
        return pieces


def nobody_answers(_fault: Fault, _userfault: int) -> bool:
    """What waiting for a userfaultfd's reader comes to where no program runs."""
    raise Unsupported("userfaultfd", why="only a running program can answer a fault")


def segment_flags(segment: Segment) -> int:
    """Page flags for a segment's rights."""
    value = KERNEL_ROX if segment.execute else KERNEL_ROX | x86.EXECUTE_DISABLE
    return value | x86.WRITABLE if segment.write else value
