"""The futex word: every operation and comparison, on the small kernel and inside Debian's futex_wake_op()."""

from __future__ import annotations

import operator
from collections.abc import Callable
from errno import EFAULT

import pytest

from machine.recorded_calls import RECORDED_CPU, steps
from pagefault import PAGE, Machine
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_futex import FutexAccess

ENOSYS = 38
OPERATIONS: dict[int, Callable[[int, int], int]] = {
    0: lambda _, operand: operand,
    1: operator.add,
    2: operator.or_,
    3: lambda old, operand: old & ~operand,
    4: operator.xor,
}
COMPARISONS: dict[int, Callable[[int, int], bool]] = {
    0: operator.eq, 1: operator.ne, 2: operator.lt, 3: operator.le, 4: operator.gt, 5: operator.ge,
}  # fmt: skip
SHIFTED = 8
U32 = (1 << 32) - 1


class Bench:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.access = machine, UserAccess(machine)
        self.futexes = FutexAccess(self.access)
        self.word = machine.user.mmap(2 * PAGE, address=0x1000_0000) + PAGE - 4
        machine.user.munmap(self.word + 4, PAGE)

    def value(self) -> int:
        return int.from_bytes(self.machine.user.read(self.word, 4), "little")

    def set(self, value: int) -> None:
        self.machine.user.write(self.word, (value & U32).to_bytes(4, "little"))


@pytest.fixture(scope="module", params=[None, "vmlinux_61", "vmlinux_612"])
def bench(request: pytest.FixtureRequest) -> Bench:
    kernel = request.getfixturevalue(request.param) if request.param else None
    return Bench(Machine.boot(kernel, features=RECORDED_CPU))


def encoded(operation: int, operand: int, comparison: int, other: int) -> int:
    return operation << 28 | comparison << 24 | (operand & 0xFFF) << 12 | other & 0xFFF


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_an_operation_changes_the_word_and_compares_the_old_value(
    bench: Bench, operation: int, comparison: int
) -> None:
    for old in (0, 5, -5, 100):
        for operand in (0, 1, 0x7FF, -1):
            for other in (5, -5):
                bench.set(old)
                result = bench.futexes.atomic_op(encoded(operation, operand, comparison, other), bench.word)
                assert result == COMPARISONS[comparison](old, other)
                assert bench.value() == OPERATIONS[operation](old, operand) & U32
    bench.set(1)
    assert bench.futexes.atomic_op(encoded(operation | SHIFTED, 9, 0, 1), bench.word) == 1
    assert bench.value() == OPERATIONS[operation](1, 1 << 9) & U32


def test_what_is_no_operation_or_comparison(bench: Bench) -> None:
    bench.set(7)
    assert bench.futexes.atomic_op(encoded(5, 1, 0, 7), bench.word) == -ENOSYS
    assert bench.value() == 7
    assert bench.futexes.atomic_op(encoded(0, 1, 6, 7), bench.word) == -ENOSYS
    assert bench.value() == 1, "the word is changed before the comparison is looked at"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_page_that_is_not_there_is_not_brought_in(bench: Bench, operation: int) -> None:
    fresh = bench.machine.user.mmap(PAGE)
    bench.machine.events.clear()
    for _ in range(2):
        assert bench.futexes.get_value(fresh) is None
        assert bench.futexes.atomic_op(encoded(operation, 1, 0, 0), fresh) == -EFAULT
    # Those that compute read the word first.
    errors = [2, 2] if operation < 2 else [0, 0]
    assert [(address, error) for address, error, _ in steps(bench.machine)] == [
        (fresh, 0), (fresh, errors[0]), (fresh, 0), (fresh, errors[1]),
    ]  # fmt: skip
    assert bench.access.get_user(fresh, 4) == 0
    assert bench.futexes.get_value(fresh) == 0
    assert bench.futexes.atomic_op(encoded(operation, 1, 0, 0), fresh) == -EFAULT, "the zero page is not the process's"
    bench.machine.user.write(fresh, b"\5")
    assert bench.futexes.get_value(fresh) == 5
    assert bench.futexes.atomic_op(encoded(operation, 1, 0, 5), fresh) == 1


def test_another_process_has_words_of_its_own(bench: Bench) -> None:
    first = bench.machine.current
    other = bench.machine.spawn("other")
    bench.machine.switch_to(other)
    word = other.mmap(PAGE, address=0x1000_0000, content=b"\3") + 0
    assert bench.futexes.atomic_op(encoded(1, 1, 0, 3), word) == 1
    assert bench.futexes.get_value(word) == 4
    bench.machine.switch_to(first)
    bench.set(1)
    assert bench.futexes.atomic_op(encoded(1, 1, 0, 1), bench.word) == 1


def test_two_users_of_one_machine_do_not_disturb_each_other(bench: Bench) -> None:
    others = FutexAccess(bench.access)
    bench.set(1)
    for futexes in (others, bench.futexes, others):
        assert futexes.atomic_op(encoded(0, 1, 0, 1), bench.word) == 1


def test_a_pointer_into_the_kernel_is_refused_without_a_fault(bench: Bench) -> None:
    bench.machine.events.clear()
    assert bench.futexes.atomic_op(encoded(1, 1, 0, 0), 0xFFFF_FFFF_8100_0000) == -EFAULT
    assert not bench.machine.events
