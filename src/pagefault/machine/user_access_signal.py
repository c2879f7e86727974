"""
Signal frames: what the kernel writes to the user's stack before a handler runs, and reads back after it, by the booted
image's own code.

The kernel's way to a frame begins in arch_do_signal_or_restart(). It is run from there, with the signal put where
get_signal() would have put it, up to where the frame is done: there the machine stops it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import DidNotReturn
from .event import CallResult, Returned, Stopped
from .run import run_call
from .user_access import UserAccess, signed

PT_REGS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8"),
    *("rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss"),
)
"""Kernel: arch/x86/include/asm/ptrace.h struct pt_regs, in order, v6.1."""
KERNEL_SIGINFO = 48
"""Kernel: include/linux/signal_types.h struct kernel_siginfo: the bytes of a siginfo_t that are in use, v6.1."""
XSTATE_PKRU = 9
"""Kernel: arch/x86/include/asm/fpu/types.h XFEATURE_PKRU, v6.1."""
FPSSE, PKRU = 3, 1 << XSTATE_PKRU
"""Components of the state, as in XCR0: x87 and SSE; PKRU."""
FXREGS, XSTATE_HEADER, XSTATE_PKRU_OFFSET = 512, 64, 2688
"""
Sizes of the legacy part and the header, and where PKRU lies.

Manual: Intel SDM vol. 1, 13.4; CPUID leaf 0Dh of the emulated CPU and of QEMU's -cpu max.
"""
CPUID_1_ECX, XSAVE = 4, 1 << 26
"""Kernel: arch/x86/include/asm/cpufeatures.h: the word of X86_FEATURE_XSAVE, and its bit in it, v6.1."""
BUDGET = 1_000_000


@dataclass(frozen=True, slots=True)
class SigAction:
    """Kernel: include/linux/signal_types.h struct sigaction of x86-64, v6.1."""

    handler: int
    flags: int
    restorer: int
    mask: int


@dataclass(frozen=True, slots=True)
class SignalStack:
    """The task's sigaltstack: where, how large, SS_ flags."""

    sp: int
    size: int
    flags: int


@dataclass(frozen=True, slots=True)
class LastFault:
    """What a frame tells of the fault that the signal is for: trap number, error code, address."""

    trap_nr: int = 0
    error_code: int = 0
    cr2: int = 0


class SignalAccess:
    """
    The signal frames of one machine.

    How large they are goes by the CPU's features: the recordings' CPU has xsave, pku and ospke.
    """

    def __init__(self, access: UserAccess) -> None:
        self._access, self._machine = access, access.machine
        self._layout = access.machine.booted.image.layout
        xsave, pku = ("xsave" in access.machine.features), ("ospke" in access.machine.features)
        self._xfeatures = FPSSE | PKRU if xsave and pku else FPSSE
        self._size = XSTATE_PKRU_OFFSET + 8 if xsave and pku else FXREGS + XSTATE_HEADER if xsave else FXREGS
        self._prepare_kernel()

    def setup_rt_frame(
        self,
        signal: int,
        siginfo: bytes,
        action: SigAction,
        registers: dict[str, int],
        *,
        blocked: int = 0,
        stack: SignalStack | None = None,
        fault: LastFault | None = None,
    ) -> dict[str, int] | None:
        """
        Write the frame of one signal to the user's stack. `registers` is the interrupted user context by PT_REGS's
        names (orig_rax: the number of the system call that the signal interrupts, or -1), `siginfo` begins a siginfo_t,
        `blocked` is the mask that the frame saves. Returns the registers that the handler starts with, or None: the
        kernel then sends SIGSEGV.

        The handler starts with FPU and PKRU in their initial state, which is the caller's to do (`Cpu.reset_fpu`).

        Kernel: arch/x86/kernel/signal.c arch_do_signal_or_restart(), handle_signal(), __setup_rt_frame(), v6.1;
        arch/x86/kernel/signal_64.c x64_setup_rt_frame(), v6.12; arch/x86/kernel/fpu/signal.c
        copy_fpstate_to_sigframe().
        """
        machine = self._machine
        self._prepare_task(blocked, stack or SignalStack(0, 0, 0), fault or LastFault())
        ksignal = struct.pack("<QQQQ", action.handler, action.flags, action.restorer, action.mask)
        ksignal += siginfo[:KERNEL_SIGINFO].ljust(KERNEL_SIGINFO, b"\0") + struct.pack("<i", signal)
        with self._access.buffer(8 * len(PT_REGS)) as regs:
            values = (registers[name] & (1 << 64) - 1 for name in PT_REGS)
            machine.write(regs, struct.pack(f"<{len(PT_REGS)}Q", *values))
            if not self._handle_signal(regs, ksignal):
                return None
            return dict(
                zip(PT_REGS, struct.unpack(f"<{len(PT_REGS)}Q", machine.read(regs, 8 * len(PT_REGS))), strict=True)
            )

    def _handle_signal(self, regs: int, ksignal: bytes) -> bool:
        """Run the kernel's code over a struct pt_regs and a struct ksignal; False if the frame could not be written."""
        machine = self._machine
        if machine.symbols.get("handle_signal") is not None:
            with self._access.buffer(len(ksignal)) as signal:
                machine.write(signal, ksignal)
                return signed(self._access.run("handle_signal", signal, regs)["rax"], 32) == 0
        result = machine.run("arch_do_signal_or_restart", regs)
        self._expect(result, "get_signal")
        # get_signal() returns true, with the signal in its argument.
        machine.write(result.registers["rdi"], ksignal)
        stack = result.registers["rsp"]
        back = int.from_bytes(machine.read(stack, 8), "little")
        machine.cpu.write_many({"rax": 1, "rsp": stack + 8})
        result = run_call(machine, "arch_do_signal_or_restart", {"rdi": regs}, back, BUDGET)
        return self._expect(result, "fpu__clear_user_states", "signal_setup_done") == "fpu__clear_user_states"

    def restore_fpu(self, frame: int) -> bool:
        """
        Load the CPU's FPU state from a frame's fpstate (0: the initial state). False: the kernel sends SIGSEGV; the
        state is then the initial one.

        Kernel: arch/x86/kernel/fpu/signal.c fpu__restore_sig(), v6.1, v6.12.
        """
        machine = self._machine
        if frame:
            self._prepare_fpu()
            result = machine.run("fpu__restore_sig", frame, 0)
            if isinstance(result.end, Returned) and result.registers["rax"] & 1:
                return True
            if not isinstance(result.end, Returned):
                self._expect(result, "fpu__clear_user_states")
        machine.cpu.reset_fpu()
        return frame == 0

    def _prepare_kernel(self) -> None:
        """
        What the kernel has found out about its CPU.

        Kernel: arch/x86/kernel/fpu/xstate.c fpu__init_system_xstate(), setup_xstate_cache(), v6.1, v6.12.
        """
        machine = self._machine
        if machine.symbols.get("fpu_kernel_cfg") is None:
            return
        if self._size > FXREGS:
            word = self._layout.offset("cpuinfo_x86", "x86_capability") + 4 * CPUID_1_ECX
            at = machine.address_of("boot_cpu_data") + word
            known = int.from_bytes(machine.read(at, 4), "little")
            machine.write(at, (known | XSAVE).to_bytes(4, "little"))
        features = self._layout.offset("fpu_state_config", "max_features")
        for config in ("fpu_kernel_cfg", "fpu_user_cfg"):
            machine.write(machine.address_of(config) + features, self._xfeatures.to_bytes(8, "little"))
        offsets = machine.address_of("xstate_offsets")
        machine.write(offsets + 4 * XSTATE_PKRU, XSTATE_PKRU_OFFSET.to_bytes(4, "little"))

    def _prepare_task(self, blocked: int, stack: SignalStack, fault: LastFault) -> None:
        """What of the task the kernel's code reads on its way."""
        task, offset = self._machine.current.task.address, self._layout.offset
        thread = task + offset("task_struct", "thread")
        for at, value in (
            (task + offset("task_struct", "blocked"), blocked),
            (task + offset("task_struct", "sas_ss_sp"), stack.sp),
            (task + offset("task_struct", "sas_ss_size"), stack.size),
            (thread + offset("thread_struct", "trap_nr"), fault.trap_nr),
            (thread + offset("thread_struct", "error_code"), fault.error_code),
            (thread + offset("thread_struct", "cr2"), fault.cr2),
        ):
            self._machine.write(at, value.to_bytes(8, "little"))
        flags = task + offset("task_struct", "sas_ss_flags")
        self._machine.write(flags, stack.flags.to_bytes(4, "little"))
        self._prepare_fpu()

    def _prepare_fpu(self) -> None:
        """The task's fpstate: sizes and features; its registers are those in the CPU."""
        offset = self._layout.offset
        fpu = self._machine.current.task.address + offset("task_struct", "thread") + offset("thread_struct", "fpu")
        fpstate = fpu + offset("fpu", "__fpstate")
        self._machine.write(fpu + offset("fpu", "fpstate"), fpstate.to_bytes(8, "little"))
        for member, value, size in (
            ("size", self._size, 4),
            ("user_size", self._size, 4),
            ("xfeatures", self._xfeatures, 8),
            ("user_xfeatures", self._xfeatures, 8),
        ):
            self._machine.write(fpstate + offset("fpstate", member), value.to_bytes(size, "little"))

    def _expect(self, result: CallResult, *functions: str) -> str:
        """At which of these functions the run stopped."""
        for name in functions:
            if isinstance(result.end, Stopped) and result.end.at == self._machine.address_of(name):
                return name
        raise DidNotReturn(result.function, self._machine.why(result), result=result)
