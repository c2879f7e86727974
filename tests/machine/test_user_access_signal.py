"""Signal frames by the kernel's code: what they hold, where they fault first, and the FPU state taken out again."""

from __future__ import annotations

import struct

import pytest

from machine.recorded_calls import RECORDED_CPU, steps
from pagefault import PAGE, Machine
from pagefault.errors import DidNotReturn
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_signal import PT_REGS, LastFault, SigAction, SignalAccess, SignalStack

MEMORY = 0x1000_0000
SA_SIGINFO, SA_RESTORER, SA_ONSTACK, SA_RESTART = 4, 0x0400_0000, 0x0800_0000, 0x1000_0000
HANDLER, RESTORER = 0x40_1180, 0x40_1200
ERESTARTSYS, EINTR = 512, 4
SIGCONTEXT = 8 + 40
GENERAL = (*(f"r{n}" for n in range(8, 16)), "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip", "eflags")
"""Kernel: arch/x86/include/uapi/asm/sigcontext.h struct sigcontext_64, v6.1."""
XSTATE = 2696


class Bench:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.cpu.reset_fpu()
        self.signals = SignalAccess(UserAccess(machine))
        self.user = machine.user
        self.user.mmap(16 * PAGE, address=MEMORY)
        self.registers = {name: 0x1000 + index for index, name in enumerate(PT_REGS)}
        self.registers |= {"orig_rax": -1, "cs": 0x33, "ss": 0x2B, "eflags": 0x746, "rsp": MEMORY + 8 * PAGE}

    def deliver(self, flags: int = 0, *, rsp: int | None = None, **more: int) -> dict[str, int] | None:
        registers = self.registers | {"rsp": rsp or self.registers["rsp"]} | more
        action = SigAction(HANDLER, flags | SA_RESTORER, RESTORER, 0)
        info = struct.pack("<iiiiQ", 11, 0, 1, 0, 0xDEAD)
        stack = SignalStack(MEMORY + 12 * PAGE, 4 * PAGE, 0)
        return self.signals.setup_rt_frame(
            11, info, action, registers, blocked=0x77, stack=stack, fault=LastFault(14, 6, 0xDEAD)
        )

    def word(self, address: int) -> int:
        return int.from_bytes(self.user.read(address, 8), "little")


def booted(request: pytest.FixtureRequest, features: frozenset[str]) -> Bench:
    kernel = request.getfixturevalue(request.param) if request.param else None
    return Bench(Machine.boot(kernel, features=features))


@pytest.fixture(params=[None, "vmlinux_61", "vmlinux_612"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return booted(request, RECORDED_CPU)


@pytest.fixture(params=[None, "vmlinux_61", "vmlinux_612"])
def without_xsave(request: pytest.FixtureRequest) -> Bench:
    return booted(request, RECORDED_CPU - {"xsave", "pku", "ospke"})


@pytest.fixture(params=["vmlinux_61", "vmlinux_612"])
def debian(request: pytest.FixtureRequest) -> Bench:
    return booted(request, RECORDED_CPU)


CLEAR = {False: "clear_user_erms+0xa", True: "rep_stos_alternative+0x40"}
TAIL = {False: [], True: ["rep_stos_alternative+0x13"]}


def test_the_first_touch_is_that_of_the_recordings(debian: Bench) -> None:
    """lab/recordings: signal-frame (a fresh stack; one that ends) and signals (an alternate stack)."""
    newer = debian.machine.profile.version >= (6, 12)
    assert debian.deliver() is not None
    assert steps(debian.machine) == [(0x1000_76C0, 2, CLEAR[newer])]
    debian.user.munmap(MEMORY + 6 * PAGE, PAGE)
    debian.machine.events.clear()
    assert debian.deliver(rsp=MEMORY + 7 * PAGE + 200) is None
    assert steps(debian.machine) == [(0x1000_6780, 2, at) for at in (CLEAR[newer], *TAIL[newer])]
    debian.machine.events.clear()
    assert debian.deliver(SA_ONSTACK) is not None
    assert steps(debian.machine) == [(0x1000_F740, 2, CLEAR[newer])]


def test_the_state_and_the_frame_on_two_fresh_pages_each(debian: Bench) -> None:
    newer = debian.machine.profile.version >= (6, 12)
    own = "x64_setup_rt_frame" if newer else "arch_do_signal_or_restart"
    debian.deliver(rsp=MEMORY + 4 * PAGE + 128 + 2752 + 0x100)
    first, second = steps(debian.machine)
    assert first[:2] == (MEMORY + 4 * PAGE + 0x300, 2)
    # The frame's first word is written after the one behind it.
    assert second[:2] == (MEMORY + 4 * PAGE + 0x100 - 440 - 8 & -16, 2)
    assert second[2].startswith(own)
    debian.machine.events.clear()
    debian.deliver(rsp=MEMORY + 10 * PAGE + 128 + 1024)
    assert [symbol.partition("+")[0] for _, _, symbol in steps(debian.machine)] == [
        CLEAR[newer].partition("+")[0], "copy_fpstate_to_sigframe", CLEAR[newer].partition("+")[0],
    ]  # fmt: skip


def test_what_a_frame_holds(bench: Bench) -> None:
    start = bench.deliver(SA_SIGINFO)
    assert start is not None
    frame = start["rsp"]
    assert frame % 16 == 8
    expected = {"rip": HANDLER, "rdi": 11, "rsi": frame + 312, "rdx": frame + 8, "rax": 0, "cs": 0x33, "ss": 0x2B}
    assert start == bench.registers | expected | {"rsp": frame, "eflags": 0x246, "orig_rax": (1 << 64) - 1}
    uc_flags, link, sp, flags, size = struct.unpack("<QQQIxxxxQ", bench.user.read(frame + 8, 40))
    assert (uc_flags, link, sp, flags, size) == (7, 0, MEMORY + 12 * PAGE, 0, 4 * PAGE)
    assert bench.word(frame) == RESTORER
    for index, name in enumerate(GENERAL):
        assert bench.word(frame + SIGCONTEXT + 8 * index) == bench.registers[name], name
    assert bench.word(frame + SIGCONTEXT + 144) == 0x33 | 0x2B << 48
    trap = [bench.word(frame + SIGCONTEXT + at) for at in (152, 160, 168, 176)]
    assert trap == [6, 14, 0x77, 0xDEAD]
    assert bench.word(frame + SIGCONTEXT + 256) == 0x77
    assert bench.user.read(frame + 312, 24) == struct.pack("<iiiiQ", 11, 0, 1, 0, 0xDEAD)
    assert bench.user.read(frame + 336, 104) == bytes(104)
    state = bench.word(frame + SIGCONTEXT + 184)
    assert state % 64 == 0
    assert state + XSTATE + 4 <= bench.registers["rsp"] - 128
    about = struct.unpack("<IIQI", bench.user.read(state + 464, 20))
    assert about == (0x4650_5853, XSTATE + 4, 0x203, XSTATE)
    assert bench.user.read(state + XSTATE, 4) == struct.pack("<I", 0x4650_5845)


def test_without_siginfo_it_is_left_out(bench: Bench) -> None:
    bench.user.write(MEMORY + 7 * PAGE, b"\xcc" * PAGE)
    start = bench.deliver()
    assert start is not None
    assert bench.user.read(start["rsi"], 128) == b"\xcc" * 128


def test_a_handler_without_restorer_or_room_gets_no_frame(bench: Bench) -> None:
    action = SigAction(HANDLER, 0, RESTORER, 0)
    assert bench.signals.setup_rt_frame(10, b"", action, bench.registers) is None
    small = SignalStack(MEMORY + 4 * PAGE, 1000, 0)
    on_stack = SigAction(HANDLER, SA_RESTORER | SA_ONSTACK, RESTORER, 0)
    assert bench.signals.setup_rt_frame(10, b"", on_stack, bench.registers, stack=small) is None


def test_a_system_call_is_cut_short_or_made_again(bench: Bench) -> None:
    call = {"orig_rax": 35, "rax": -ERESTARTSYS, "rip": 0x40_1002}
    for flags, rax, rip in ((0, -EINTR, 0x40_1002), (SA_RESTART, 35, 0x40_1000)):
        start = bench.deliver(flags, **call)
        assert start is not None
        saved = [bench.word(start["rsp"] + SIGCONTEXT + 8 * GENERAL.index(name)) for name in ("rax", "rip")]
        assert saved == [rax & (1 << 64) - 1, rip]


def test_the_fpu_state_goes_into_the_frame_and_comes_back(bench: Bench) -> None:
    start = bench.deliver()
    assert start is not None
    state = bench.word(start["rsp"] + SIGCONTEXT + 184)
    assert struct.unpack("<HxxxxxxxxxxxxxxxxxxxxxxI", bench.user.read(state, 28)) == (0x37F, 0x1F80)
    bench.user.write(state, struct.pack("<H", 0x27F))
    assert bench.signals.restore_fpu(state)
    again = bench.deliver()
    assert again is not None
    assert bench.user.read(state, 2) == struct.pack("<H", 0x27F)
    assert bench.signals.restore_fpu(0)
    assert bench.deliver() is not None
    assert bench.user.read(state, 2) == struct.pack("<H", 0x37F)


def test_an_fpu_state_that_cannot_be_read_or_loaded(bench: Bench) -> None:
    bench.machine.events.clear()
    assert not bench.signals.restore_fpu(0x2000_0000)
    assert {address for address, _, _ in steps(bench.machine)} == {0x2000_0000 + 464}
    assert not bench.signals.restore_fpu(0xFFFF_8880_0000_0000)
    start = bench.deliver()
    assert start is not None
    state = bench.word(start["rsp"] + SIGCONTEXT + 184)
    bench.user.write(state + 512, b"\x23")  # a component that the CPU has not
    assert not bench.signals.restore_fpu(state)


def test_a_cpu_without_xsave_saves_the_legacy_state(without_xsave: Bench) -> None:
    b = without_xsave
    start = b.deliver()
    assert start is not None
    state = b.word(start["rsp"] + SIGCONTEXT + 184)
    assert state == b.registers["rsp"] - 128 - 512
    assert b.word(start["rsp"] + 8) == 6
    assert struct.unpack("<IIQI", b.user.read(state + 464, 20)) == (0x4650_5853, 516, 3, 512)
    b.user.write(state, struct.pack("<H", 0x27F))
    assert b.signals.restore_fpu(state)
    b.deliver()
    assert b.user.read(state, 2) == struct.pack("<H", 0x27F)


def test_a_run_that_ends_elsewhere_is_told(debian: Bench) -> None:
    result = debian.machine.run("get_signal", 0)
    with pytest.raises(DidNotReturn, match="get_signal"):
        debian.signals._expect(result, "signal_setup_done")
