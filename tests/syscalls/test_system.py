"""A running system: what unknown calls and traps are answered with, what is counted, and how it ends."""

from __future__ import annotations

import io
from errno import ENOSYS
from pathlib import Path

import pytest

from pagefault.errors import Unsupported
from pagefault.syscalls.execution import add_file, boot_system, execute, start_program
from pagefault.syscalls.observer import Observer
from pagefault.syscalls.system import KERNEL_WORK
from pagefault.syscalls.task import UserTask
from syscalls.programs import built
from syscalls.saying import said


def test_an_unknown_call_is_told_once(tmp_path: Path) -> None:
    output = io.BytesIO()
    body = (
        'for (int i = 0; i < 3; i++) say("", syscall6(999, 1, 2, 3, 4, 5, 6)); say("", syscall6(-1, 0, 0, 0, 0, 0, 0));'
    )
    ended = execute(built(tmp_path, body), stdout=output, thp="never")
    assert output.getvalue().startswith(b" = -38\n" * 4)
    assert -ENOSYS == -38
    assert [note.split(":")[0] for note in ended.notes] == [
        "system call 999 is unknown here",
        "system call 18446744073709551615 is unknown here",
    ]


def test_a_call_leaves_all_registers_but_three(tmp_path: Path) -> None:
    body = """
    long r[15];
    asm volatile("mov $0x1111, %%rbx; mov $0x2222, %%rdx; mov $0x3333, %%rsi; mov $0x4444, %%rdi; mov $0x5555, %%r8;"
                 "mov $0x6666, %%r9; mov $0x7777, %%r10; mov $0x8888, %%r12; mov $0x9999, %%r13; mov $0xaaaa, %%r14;"
                 "stc; mov $39, %%eax; syscall; 1: mov %%rbx, (%0); mov %%rdx, 8(%0); mov %%rsi, 16(%0);"
                 "mov %%rdi, 24(%0); mov %%r8, 32(%0); mov %%r9, 40(%0); mov %%r10, 48(%0); mov %%r12, 56(%0);"
                 "mov %%r13, 64(%0); mov %%r14, 72(%0); mov %%r11, 80(%0); pushf; pop %%rbx; mov %%rbx, 96(%0);"
                 "lea 1b(%%rip), %%rbx; sub %%rbx, %%rcx; mov %%rcx, 88(%0)" : : "r"(r)
                 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "memory");
    for (int i = 0; i < 10; i++) say("", r[i]);
    say("", r[10] & 1); say("", r[11]); say("", r[12] & 1);
    """
    assert said(tmp_path, body) == [0x1111 * index for index in range(1, 11)] + [1, 0, 1]


def test_vector_registers_are_each_tasks_own(tmp_path: Path) -> None:
    body = """
    long got = 0; unsigned control = 0x9fc0;
    asm volatile("movq %0, %%xmm9; fld1" : : "r"(0x1234l)); asm volatile("ldmxcsr %0" : : "m"(control));
    if (!sys(fork)) {
        asm volatile("movq %%xmm9, %0" : "=r"(got)); say("", got);
        asm volatile("movq %0, %%xmm9; fstp %%st(0); fldz" : : "r"(0x5678l)); control = 0x1f80;
        asm volatile("ldmxcsr %0" : : "m"(control));
        sys(sched_yield);
        asm volatile("movq %%xmm9, %0" : "=r"(got)); say("", got); sys(exit_group, 0);
    }
    for (int i = 0; i < 4; i++) sys(sched_yield);
    asm volatile("movq %%xmm9, %0" : "=r"(got)); say("", got);
    asm volatile("stmxcsr %0" : "=m"(control)); say("", control);
    asm volatile("fistpll %0" : "=m"(got)); say("", got);
    sys(wait4, -1, 0, 0, 0);
    """
    assert said(tmp_path, body) == [0x1234, 0x5678, 0x1234, 0x9FC0, 1]


@pytest.mark.parametrize(
    ("instruction", "signal"),
    [
        ("ud2", "SIGILL"),
        ("int3", "SIGTRAP"),
        ("hlt", "SIGSEGV"),
        ("xor %ecx, %ecx; div %ecx", "SIGFPE"),
        ("mov $1, %rax; shl $63, %rax; mov (%rax), %al", "SIGSEGV"),
        ("mov %eax, 16", "SIGSEGV"),
        ("jmp *%rsp", "SIGSEGV"),
    ],
)
def test_a_trap_is_a_signal(tmp_path: Path, instruction: str, signal: str) -> None:
    ended = execute(built(tmp_path, f'asm volatile("{instruction}");'), thp="never", ram=64 << 20)
    assert (ended.signal, ended.exit_status, ended.stopped) == (signal, None, "")


def test_the_end_of_a_program(tmp_path: Path) -> None:
    for body, status in (("sys(exit_group, 0x1ff);", 255), ("sys(exit, 7);", 7), ("", 0)):
        ended = execute(built(tmp_path, body), thp="never", ram=64 << 20)
        assert (ended.exit_status, ended.signal, ended.stopped) == (status, None, "")


class Told(Observer):
    """Notes the calls of each task, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str, tuple[int, ...] | int]] = []

    def enter(self, task: UserTask, name: str, arguments: tuple[int, ...]) -> None:
        self.calls.append((task.pid, name, arguments))

    def leave(self, task: UserTask, name: str, result: int) -> None:
        self.calls.append((task.pid, name, result))


def test_the_observer_hears_each_call_with_its_own_arguments(tmp_path: Path) -> None:
    told = Told()
    system = boot_system(None, told, ram=64 << 20)
    path = built(tmp_path, "sys(close, 77); if (!sys(fork)) sys(exit, 3); sys(wait4, -1, 0, 0, 0); sys(exit_group, 0);")
    start_program(system, "program", ["program"], {}, add_file(system.namespace, "/program", path))
    system.scheduler.run()
    names = [(pid, name, what) for pid, name, what in told.calls if name != "getrusage"]
    assert names == [
        (1000, "execve", 0),
        (1000, "close", (77,)),
        (1000, "close", -9),
        (1000, "fork", ()),
        (1000, "fork", 1001),
        (1000, "wait4", ((1 << 64) - 1, 0, 0, 0)),
        (1001, "fork", 0),
        (1001, "exit", (3,)),
        (1000, "wait4", 1001),
        (1000, "exit_group", (0,)),
    ]
    assert system.tasks == {}
    assert 0 < system.instructions < system.spent
    assert system.spent - system.instructions >= len(names) // 2 * KERNEL_WORK


def test_nothing_is_left_when_all_have_ended(tmp_path: Path) -> None:
    system = boot_system(None, Observer(), ram=64 << 20)
    body = """
    for (int i = 0; i < 5; i++) {
        byte *p = map(64 * PAGE, RW, ANONYMOUS, -1, 0); fill(p, 1, 64 * PAGE);
        if (!sys(fork)) { fill(p, 2, 64 * PAGE); sys(exit_group, 0); }
        int ends[2]; sys(pipe2, ends, 0); sys(write, ends[1], p, 5000);
        sys(wait4, -1, 0, 0, 0);
    }
    """
    inode = add_file(system.namespace, "/program", built(tmp_path, body))
    free, spaces = [], len(system.machine.mm.spaces)
    for _ in range(3):
        start_program(system, "program", ["program"], {}, inode)
        system.scheduler.run()
        free.append(system.machine.frames.free)
        assert system.tasks == {}
        assert len(system.machine.mm.spaces) == spaces
    assert free[1] == free[2], "the first one brings in what stays: kernel buffers and their tables"


def test_the_output_is_said_as_it_was_written(tmp_path: Path) -> None:
    output, errors = io.BytesIO(), io.BytesIO()
    body = """
    byte *p = map(3 * PAGE, RW, ANONYMOUS, -1, 0); fill(p, 'a', 3 * PAGE); sys(munmap, p + 2 * PAGE, PAGE);
    long first = sys(write, 1, p + 100, 3 * PAGE), second = sys(write, 2, "bad\\n", 4);
    sys(exit_group, first == 2 * PAGE - 100 && second == 4 && sys(write, 1, 16, 1) == -14);
    """
    ended = execute(built(tmp_path, body), stdout=output, stderr=errors, thp="never")
    assert ended.exit_status == 1
    assert output.getvalue() == b"a" * (2 * 4096 - 100)
    assert errors.getvalue() == b"bad\n"


def test_what_cannot_be_done_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = boot_system(None, Observer(), ram=64 << 20)
    start_program(system, "program", ["program"], {}, add_file(system.namespace, "/program", built(tmp_path, "")))

    def refuses() -> None:
        raise Unsupported("this", why="it is a test")

    monkeypatch.setattr(system, "check_bounds", refuses)
    system.run()
    assert "it is a test" in system.stopped
