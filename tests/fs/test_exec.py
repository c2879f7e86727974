"""What execve() makes: the stack with what a program is told, its areas, and where they are with a seed and without."""

from __future__ import annotations

import struct
from errno import E2BIG
from random import Random

import pytest
from lab.build import BINARIES

from pagefault import PAGE, Machine
from pagefault.arch import x86
from pagefault.fs.exec import (
    AT_CLKTCK,
    AT_ENTRY,
    AT_EXECFN,
    AT_NULL,
    AT_PAGESZ,
    AT_PHDR,
    AT_PHENT,
    AT_PHNUM,
    AT_PLATFORM,
    AT_RANDOM,
    AT_SYSINFO_EHDR,
    Bprm,
    Layout,
    get_sigframe_size,
    new_registers,
    setup_arg_pages,
)
from pagefault.fs.program import read_program
from pagefault.syscalls.execution import add_file, boot_system, start_program
from pagefault.syscalls.observer import Observer
from pagefault.syscalls.task import UserTask

TASK_SIZE_MAX = (1 << 47) - PAGE
PROGRAM = BINARIES / "anonymous"


class Started(Observer):
    """Looks at a program before its first instruction."""

    def leave(self, task: UserTask, name: str, result: int) -> None:
        if name == "execve":
            self.registers, self.top = dict(task.registers), max(vma.end for vma in task.process.mm.vmas)
            self.mm = task.process.mm
            self.areas = [(vma.start, vma.end, vma.write, vma.execute) for vma in task.process.mm.vmas]
            sp = self.registers["rsp"]
            self.stack = task.process.read(sp, self.top - sp)

    def word(self, index: int) -> int:
        return int(struct.unpack_from("<Q", self.stack, 8 * index)[0])

    def text(self, address: int) -> str:
        return self.stack[address - self.registers["rsp"] :].split(b"\0")[0].decode()


def started(arguments: list[str], environment: dict[str, str], seed: int | None = None) -> Started:
    seen = Started()
    system = boot_system(None, seen, ram=64 << 20, seed=seed)
    start_program(system, "/bin/it", arguments, environment, add_file(system.namespace, "/bin/it", PROGRAM))
    system.budget = 200_000
    system.scheduler.run()
    return seen


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_program_finds_what_it_is_told_on_its_stack(seed: int | None) -> None:
    seen = started(["it", "", "two words"], {"A": "1", "PATH": "/bin"}, seed)
    assert seen.registers["rsp"] % 16 == 0
    assert seen.word(0) == 3
    assert [seen.text(seen.word(index)) for index in (1, 2, 3)] == ["it", "", "two words"]
    assert seen.word(4) == 0
    assert [seen.text(seen.word(index)) for index in (5, 6)] == ["A=1", "PATH=/bin"]
    assert seen.word(7) == 0
    pairs, at = {}, 8
    while seen.word(at) != AT_NULL:
        assert seen.word(at) not in pairs
        pairs[seen.word(at)] = seen.word(at + 1)
        at += 2
    program = read_program(PROGRAM.read_bytes(), "it")
    assert (pairs[AT_ENTRY], pairs[AT_PAGESZ], pairs[AT_CLKTCK]) == (program.entry, 4096, 100)
    assert pairs[AT_ENTRY] == seen.registers["rip"]
    assert (pairs[AT_PHDR], pairs[AT_PHENT], pairs[AT_PHNUM]) == (
        program.headers_address(0),
        56,
        program.header_count,
    )
    assert seen.text(pairs[AT_EXECFN]) == "/bin/it"
    assert seen.text(pairs[AT_PLATFORM]) == "x86_64"
    assert AT_SYSINFO_EHDR not in pairs, "the small kernel has no vdso"
    random = seen.stack[pairs[AT_RANDOM] - seen.registers["rsp"] :][:16]
    assert (random == bytes(range(16))) is (seed is None)
    assert at + 2 <= (pairs[AT_RANDOM] - seen.registers["rsp"]) // 8


def test_strings_lie_in_order_up_to_the_top() -> None:
    seen = started(["first", "second"], {"B": "2"})
    assert seen.top == TASK_SIZE_MAX
    assert seen.stack.endswith(b"first\0second\0B=2\0/bin/it\0" + bytes(8))
    assert seen.mm.arguments == (seen.word(1), seen.word(1) + len("first\0second\0"))
    assert seen.mm.environment == (seen.mm.arguments[1], seen.mm.arguments[1] + len("B=2\0"))


def test_no_arguments_are_one_empty_one() -> None:
    seen = started([], {})
    assert (seen.word(0), seen.text(seen.word(1)), seen.word(2), seen.word(3)) == (1, "", 0, 0)


def test_the_first_registers() -> None:
    seen = started(["it"], {})
    expected = new_registers(seen.registers["rip"], seen.registers["rsp"], list(seen.registers))
    assert seen.registers == expected
    assert expected["eflags"] == x86.EFLAGS_FIXED | x86.EFLAGS_IF
    assert not any(value for name, value in expected.items() if name not in ("rip", "rsp", "eflags"))


def test_segments_and_stack_have_their_rights() -> None:
    seen = started(["it"], {})
    program = read_program(PROGRAM.read_bytes(), "it")
    text = next(area for area in seen.areas if area[0] <= program.entry < area[1])
    assert text[2:] == (False, True)
    stack = seen.areas[-1]
    assert stack[1] - stack[0] == 33 * PAGE
    assert stack[2:] == (True, False)
    assert (
        seen.mm.brk == seen.mm.start_brk == -(-max(s.address + s.memory_size for s in program.segments) // PAGE) * PAGE
    )


def test_layout() -> None:
    fixed = Layout.make(TASK_SIZE_MAX, 8 << 20, None)
    assert (fixed.stack_top, fixed.stack_offset, fixed.brk_gap) == (TASK_SIZE_MAX, 0, 0)
    assert fixed.mmap_base == TASK_SIZE_MAX - (128 << 20), "as on a real kernel with norandmaps, less its gap"
    assert Layout.make(TASK_SIZE_MAX, 1 << 63, None).mmap_base == TASK_SIZE_MAX - TASK_SIZE_MAX // 6 * 5
    one, same, other = (Layout.make(TASK_SIZE_MAX, 8 << 20, Random(seed)) for seed in (1, 1, 2))
    assert one == same != other
    for layout in (one, other):
        assert layout.stack_top % PAGE == layout.mmap_base % PAGE == layout.brk_gap % PAGE == 0
        assert TASK_SIZE_MAX - (16 << 30) <= layout.stack_top <= TASK_SIZE_MAX
        assert layout.stack_offset < 8192
        assert layout.mmap_base < layout.stack_top - (8 << 20)


def bprm(rlimit: int = 8 << 20) -> Bprm:
    machine = Machine.boot()
    process = machine.spawn("it")
    process.mm.stack_rlimit = rlimit
    return Bprm(machine, process, Layout.make(TASK_SIZE_MAX, rlimit, None))


def test_strings_are_put_one_below_the_other() -> None:
    made = bprm()
    assert made.set_limits(8 << 20, 2) == 0
    long = bytes(range(1, 256)) * 40 + b"\0"
    first, second = made.copy_string_kernel(b"one\0"), made.copy_string_kernel(long)
    assert (first, second) == (TASK_SIZE_MAX - 8 - 4, first - len(long))
    assert made.process.read(second, len(long) + 4) == long + b"one\0"
    assert made.mm.vmas.vma_lookup(second) is not None


def test_there_is_a_limit_to_strings() -> None:
    made = bprm()
    assert made.set_limits(8 << 20, 2) == 0
    assert TASK_SIZE_MAX - 8 - made.limit == (2 << 20) - 16
    assert bprm().set_limits(8 << 20, (2 << 20) // 8) == -E2BIG
    made = bprm()
    made.set_limits(0, 1)
    assert TASK_SIZE_MAX - 8 - made.limit == 131072 - 8, "there is always that much room"
    assert made.copy_string(131072, lambda *_: True) == -E2BIG
    made = bprm(2 * PAGE)
    made.set_limits(2 * PAGE, 1)
    assert made.copy_string_kernel(bytes(3 * PAGE)) == -E2BIG, "the stack itself has a limit"


def test_a_stack_that_programs_may_execute() -> None:
    made = bprm()
    made.copy_string_kernel(bytes(10))
    setup_arg_pages(made, executable=True)
    (stack,) = made.mm.vmas
    assert (stack.execute, stack.write, stack.grows_down, stack.end - stack.start) == (True, True, True, 33 * PAGE)
    assert made.mm.start_stack == made.p


def test_the_largest_signal_frame_follows_cpuid() -> None:
    cpu = Machine.boot(ram=64 << 20).cpu
    cpu.identify({(1, 0): (0, 0, 1 << 26, 0), (13, 0): (0, 0, 2696, 0)})
    assert get_sigframe_size(cpu) == 3632, "as recorded"
    cpu.identify({(1, 0): (0, 0, 0, 0)})
    assert get_sigframe_size(cpu) == 1440, "FXSAVE only"
