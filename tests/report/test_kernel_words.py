from __future__ import annotations

from pagefault.kernels import faulty_module
from pagefault.machine.machine import Machine
from pagefault.report.kernel_words import kernel_words


def test_an_oops_is_printed_as_the_kernel_prints_it(machine: Machine) -> None:
    machine.load_module(faulty_module(), "faulty")
    lines = kernel_words(machine.run("rd", 0x10))
    assert lines[0] == "BUG: kernel NULL pointer dereference, address: 0000000000000010"
    assert any(line.startswith("RIP: 0010:rd+0x") for line in lines)


def test_a_return_is_not_commented_on(machine: Machine) -> None:
    assert kernel_words(machine.run("memset", machine.kmalloc(8), 0, 8)) == []
