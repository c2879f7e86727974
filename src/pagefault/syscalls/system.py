"""A running system: a machine, its files and its tasks; and the loop that each task is in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from errno import ENOMEM, ENOSYS
from functools import partial
from random import Random
from typing import BinaryIO

from ..arch import x86
from ..errors import DidNotReturn, Unsupported
from ..fs.file_table import FileTable
from ..fs.namespace import Namespace
from ..fs.userfault_file import UserfaultFile
from ..machine.cpu import Arrived, Halted, MemoryFault, OutOfBudget, Reached, Trapped
from ..machine.cpu import SystemCall as SyscallInstruction
from ..machine.event import HandledFault
from ..machine.machine import Machine
from ..machine.process import Process
from ..machine.run import take
from ..machine.scheduler import Killed, Scheduler
from ..machine.user_access import UserAccess
from ..machine.user_access_futex import FutexAccess
from ..machine.user_access_signal import SignalAccess
from ..memory.ram import NoFrame
from ..mm.oom import limiting_group, oom_reap, select_bad_process
from ..tables.address_space import AddressSpace
from ..vocabulary.outcome import Oops, OutOfMemory, Resolved, Signal, Spurious
from ..vocabulary.vm_fault import FaultFlag, VmFault
from . import families
from .futex import FutexQ
from .observer import Observer
from .signal_delivery import deliver_signals
from .signal_sending import force_signal, send_signal
from .table import TABLE, signed, unsigned
from .task import SigInfo, UserTask
from .userfaultfd import wait_in_fault, wait_in_gup

TRAP_SIGNALS = {
    0: (8, 1),
    1: (5, 1),
    3: (5, 128),
    4: (11, 128),
    5: (11, 128),
    6: (4, 2),
    16: (8, 0),
    17: (7, 1),
    19: (8, 0),
}
"""Vector -> signal, si_code (Kernel: arch/x86/kernel/traps.c, v6.1)."""
FIRST_PID = 1000
NOT_COUNTED = VmFault.RETRY | VmFault.SIGBUS | VmFault.SIGSEGV | VmFault.OOM
USER_SLICE = 50_000_000
"""Instructions that a task may run while others want to."""
KERNEL_WORK = 1000
"""
What a system call, and each routine in it that reaches for user memory, counts for in the budget of instructions. Each
byte that such a routine copies counts as one more.
"""


@dataclass(eq=False)
class System:
    """
    `budget` bounds the instructions of all tasks together (and the kernel's work for them: KERNEL_WORK), `fault_limit`
    their faults and the pages brought in without one; `stopped` says which bound ended the run, if one did.
    `instructions` are user code's. `notes` are what the user should know: each unknown system call once.
    """

    machine: Machine
    observer: Observer
    seed: Random | None = None
    stdout: BinaryIO | None = None
    stderr: BinaryIO | None = None
    budget: int = 10_000_000_000
    fault_limit: int = 10_000_000
    on_end: Callable[[UserTask], None] = lambda _: None
    notes: list[str] = field(default_factory=list)
    stopped: str = ""
    instructions: int = 0
    faults: int = 0
    spent: int = 0

    def __post_init__(self) -> None:
        self.access = UserAccess(self.machine, self.charge)
        self.signals, self.futexes = SignalAccess(self.access), FutexAccess(self.access)
        self.futex_queue: list[FutexQ] = []
        self.userfault_files: dict[int, UserfaultFile] = {}
        self.machine.wait_for_userfault = partial(wait_in_fault, self)
        self.machine.mm.wait_for_userfault = partial(wait_in_gup, self)
        self.scheduler = Scheduler(self.machine.cpu)
        self.namespace = Namespace(self.machine.mm, self.machine.area.page_offset)
        self.tasks: dict[int, UserTask] = {}
        self.next_pid = FIRST_PID
        self.random = Random(0) if self.seed is None else self.seed
        self.current: UserTask | None = None
        families.load()
        self.machine.on_fault, self.machine.remembers = self._faulted, False
        self.machine.mm.populated = self._populated
        self.machine.mm.out_of_memory = self._oom_kill

    def new_task(self, comm: str, process: Process, parent: UserTask | None, registers: dict[str, int]) -> UserTask:
        """A task with the next pid, not running yet."""
        files = FileTable() if parent is None else parent.files
        task = UserTask(self.next_pid, comm, process, files, registers, parent)
        task.tgid = task.pid
        self.next_pid += 1
        self.tasks[task.pid] = task
        task.signal.threads.append(task)
        return task

    def start(self, task: UserTask, first: Callable[[], None] = lambda: None) -> None:
        """Let a task run: `first` in the kernel, then its user code."""

        def run() -> None:
            with suppress(Killed):
                first()
            while not self.stopped and not task.exiting:
                with suppress(Killed):
                    self.user_loop(task)

        def resume() -> None:
            self.current = task
            self.machine.switch_to(task.process)

        task.thread = self.scheduler.start(f"{task.comm}[{task.pid}]", run, resume)
        task.thread.signalled, task.thread.killed = task.signal_pending, task.fatal_signal_pending

    def run(self) -> None:
        """Let everybody run until nobody can, or until `stopped` says why they may not."""
        try:
            self.scheduler.run()
        except (DidNotReturn, Unsupported) as error:
            self.stopped = str(error)

    def user_loop(self, task: UserTask) -> None:
        """
        User code, and what it enters the kernel for, until the task ends.

        Kernel: kernel/entry/common.c exit_to_user_mode_loop(), v6.1.
        """
        machine, cpu, intact = self.machine, self.machine.cpu, False
        while not self.stopped:
            if not intact or task.signal_pending():
                deliver_signals(self, task)
                if task.exiting:
                    return
                cpu.enter_user(task.registers)
            intact = False
            left = self.budget - self.spent
            stop = cpu.run(task.registers["rip"], machine.return_address, min(left, USER_SLICE))
            self.instructions += cpu.executed
            self.spent += cpu.executed
            self.scheduler.now += cpu.executed
            task.registers, task.orig_rax = cpu.registers(), -1
            match stop:
                case SyscallInstruction():
                    self.system_call(task)
                case MemoryFault() | Trapped(vector=x86.TRAP_GP):
                    event = take(machine, stop, task.registers)
                    if isinstance(event, HandledFault):
                        # Nothing has run that changes what the CPU holds of user code: it goes on as it is.
                        intact = isinstance(event.decision.outcome, Resolved | Spurious)
                        self._answered(task, event)
                    else:
                        self.stopped = event.why
                case Trapped(vector=vector, error_code=error_code):
                    number, code = TRAP_SIGNALS.get(vector, (11, 128))
                    address = task.registers["rip"] if vector in (0, 6) else 0
                    task.fault = (vector, error_code, task.fault[2])
                    force_signal(task, SigInfo(number, code, address))
                case OutOfBudget():
                    self.check_bounds()
                    self.scheduler.yield_()
                case Halted() | Arrived() | Reached():
                    force_signal(task, SigInfo(11, 128))

    def _answered(self, task: UserTask, event: HandledFault) -> None:
        """What a decided fault of user code means for its task."""
        match event.decision.outcome:
            case Signal(name=name, code=code, address=address):
                task.fault = self._archinfo(task, event)
                vma = task.process.mm.vmas.vma_lookup(address) if code == "SEGV_PKUERR" else None
                info = SigInfo.of(name, code, address)
                force_signal(task, info if vma is None else replace(info, key=vma.protection_key))
            case OutOfMemory():
                self.out_of_memory(task)
            case Oops(reason=reason):
                self.stopped = f"oops: {reason}"
            case _:
                pass

    def _archinfo(self, task: UserTask, event: HandledFault) -> tuple[int, int, int]:
        """
        What a signal frame tells of a fault: trap number, error code, cr2. Nobody learns what the kernel's half maps.

        Kernel: arch/x86/mm/fault.c set_signal_archinfo(), sanitize_error_code(), v6.1.
        """
        fault = event.fault
        if fault.address is None:
            return fault.vector, fault.error_code, task.fault[2]
        kernel_half = fault.address >= self.machine.area.task_size_max
        return fault.vector, fault.error_code | (x86.PF_PROT if kernel_half else 0), fault.address

    def out_of_memory(self, task: UserTask) -> None:
        """
        A fault of user code found no memory, and nobody else had to go for it.

        Kernel: mm/oom_kill.c pagefault_out_of_memory(), v6.1.
        """
        if not task.fatal_signal_pending():
            send_signal(self, task, SigInfo(9, 128))

    def _oom_kill(self, mm: AddressSpace | None) -> bool:
        """
        Kill the process with the most memory. True if that is not the one that asked, and something is free now.

        Kernel: mm/oom_kill.c out_of_memory(), oom_kill_process(), v6.1.
        """
        memory = self.machine.mm
        living = {id(task.process.mm): task for task in self.tasks.values() if not task.fatal_signal_pending()}
        living = {key: task for key, task in living.items() if not task.exiting}
        group = limiting_group(memory, mm)
        victim = select_bad_process(memory, (task.process.mm for task in living.values()), group)
        if victim is None:
            return False
        send_signal(self, living[id(victim)], SigInfo(9, 128))
        return victim is not mm and oom_reap(memory, victim)

    def system_call(self, task: UserTask) -> None:
        """
        Kernel: arch/x86/entry/common.c do_syscall_64(), v6.1. SYSCALL leaves the return address in rcx, the flags in
        r11.
        """
        registers = task.registers
        registers["rcx"], registers["r11"] = registers["rip"], registers["eflags"]
        self.charge()
        number = registers["rax"]
        task.orig_rax = signed(number)
        arguments = tuple(registers[name] for name in ("rdi", "rsi", "rdx", "r10", "r8", "r9"))
        call = TABLE.get(number)
        if call is None:
            self.note(f"system call {number} is unknown here: -ENOSYS")
            self.observer.enter(task, f"syscall_{number}", arguments)
            result = -ENOSYS
        else:
            self.observer.enter(task, call.name, arguments[: call.arity])
            try:
                result = call.function(self, task, *arguments[: call.arity])
            except NoFrame:
                # The kernel had to have a page, and there is nobody else left to take it from.
                self.out_of_memory(task)
                result = -ENOMEM
        if task.exiting:
            return
        self.observer.leave(task, call.name if call else f"syscall_{number}", result)
        task.registers["rax"] = unsigned(result)

    def charge(self, size: int = 0) -> None:
        """
        The kernel works for a task, and copies `size` bytes. Raises Killed in the middle of a system call that goes on
        and on.
        """
        self.spent += KERNEL_WORK + size
        self.check_bounds()
        if self.stopped:
            raise Killed

    def check_bounds(self) -> None:
        """Has a bound been reached?"""
        if self.spent >= self.budget:
            counted = f"of which a system call counts as {KERNEL_WORK:,}"
            self.stopped = f"out of budget: {self.budget:,} instructions, {counted}"
        elif self.faults >= self.fault_limit:
            self.stopped = f"out of budget: {self.fault_limit:,} faults"

    def note(self, text: str) -> None:
        """Say something to the user, once."""
        if text not in self.notes:
            self.notes.append(text)

    def _faulted(self, event: HandledFault) -> None:
        task = self.current
        if task is None:
            return
        self._count(task, event.results)
        self.faults += 1
        self.check_bounds()
        self.observer.fault(task, event)

    def _populated(self, mm: AddressSpace, address: int, flags: FaultFlag, results: tuple[VmFault, ...]) -> None:
        if self.current is not None:
            self._count(self.current, results)
            self.faults += 1
            self.check_bounds()
            if self.stopped:
                raise Killed
            self.observer.populate(self.current, address, flags, results)

    @staticmethod
    def _count(task: UserTask, results: tuple[VmFault, ...]) -> None:
        """
        Kernel: mm/memory.c mm_account_fault(), v6.1.
        """
        if not results or results[-1] & NOT_COUNTED:
            return
        if any(result & VmFault.MAJOR for result in results):
            task.major += 1
        else:
            task.minor += 1
