from __future__ import annotations

from pagefault.kernels import faulty_module
from pagefault.machine.machine import Machine
from pagefault.report.call import TOLD, call_summary, faults, memory_table, registers, warnings
from pagefault.report.page import Table, aligned, plain
from pagefault.vocabulary.address import PAGE


def text_of(machine: Machine, *arguments: int, function: str = "_copy_from_user") -> str:
    lines = []
    for item in call_summary(machine.run(function, *arguments), machine.symbols):
        lines += (
            list(aligned(item))
            if isinstance(item, Table)
            else ["".join(map(str, (getattr(p, "text", p) for p in item)))]
        )
    return "\n".join(lines)


def test_a_fault_is_a_row(bad_copy: tuple[Machine, int, int]) -> None:
    machine, dst, end = bad_copy
    text = text_of(machine, dst, end - 40, 64)
    assert text.startswith(f"_copy_from_user({dst:#x}, {end - 40:#x}, 64)")
    assert f"the kernel reads {end:#x}" in text
    assert "exception table (uaccess)" in text
    assert text.endswith("returned 24 = 24 bytes not copied")


def test_no_fault_no_table(bad_copy: tuple[Machine, int, int]) -> None:
    machine, dst, end = bad_copy
    text = text_of(machine, dst, end - 64, 64)
    assert "handled by" not in text
    assert text.endswith("returned 0 = everything was copied, without a fault")


def test_the_oops_stands_before_the_end(machine: Machine) -> None:
    machine.load_module(faulty_module(), "faulty")
    text = text_of(machine, 0x10, function="rd")
    assert "BUG: kernel NULL pointer dereference" in text
    assert text.index("BUG:") < text.index("did not return")


def test_too_many_faults_are_counted(machine: Machine) -> None:
    pages = TOLD + 5
    src = machine.user.mmap(pages * PAGE)
    text = text_of(machine, machine.kmalloc(pages * PAGE), src, pages * PAGE)
    assert "and 5 faults more" in text
    assert len(faults(machine.run("memset", machine.kmalloc(8), 0, 8), machine.symbols).rows) == 0


def test_registers_are_all_there_and_signed() -> None:
    values = dict.fromkeys("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split(), 0)
    table = registers(values | {"rax": (1 << 64) - 14})
    assert table.rows[0] == ("rax", "0xfffffffffffffff2", "-14")
    assert len(table.rows) == 16
    table = registers(dict.fromkeys("eax ebx ecx edx esi edi ebp esp".split(), (1 << 32) - 14))
    assert table.rows[0] == ("eax", "0xfffffff2", "-14")
    assert len(table.rows) == 8


def test_memory_is_listed_with_its_end() -> None:
    assert memory_table([("dst", "kernel", 0x1000, 64)]).rows == [("dst", "kernel", "0x1000", "0x1040", "64")]


def test_the_kernel_s_warnings_are_told_and_counted(bad_copy: tuple[Machine, int, int]) -> None:
    machine, dst, end = bad_copy
    items = list(
        call_summary(machine.run("_copy_from_user", dst, end - 40, 64), machine.symbols, ["one", "two", "one"])
    )
    text = plain([item for item in items if not isinstance(item, Table)])
    assert "the kernel warned: one (2 times)\nthe kernel warned: two\n" in text
    assert text.index("warned") < text.index("returned")


def test_a_warning_that_a_story_tells_is_not_told_twice(machine: Machine) -> None:
    result = machine.run("copy_user_generic_unrolled", machine.kmalloc(8), 0xDEAD << 48, 8)
    assert list(machine.log)
    assert plain(warnings(machine.log)).startswith("the kernel warned: General protection fault in user access.")
    assert list(warnings(machine.log, result)) == []
    assert plain(warnings(["another"], result)) == "the kernel warned: another"
