"""The kernel's last words, by cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import AREA, STACK, TEXT, UNLISTED, World, page_fault
from pagefault.arch import x86_64
from pagefault.handler.page_fault_oops import general_protection_oops, page_fault_oops, stack_guard_page
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.outcome import Oops

LOW, HIGH = STACK


@pytest.mark.parametrize(
    ("address", "hit"),
    [(LOW - PAGE - 1, False), (LOW - PAGE, True), (LOW - 8, True), (LOW, False), (HIGH, False), (0, False)],
)
def test_the_stack_s_guard_page(address: int, hit: bool) -> None:
    answer = stack_guard_page(page_fault(address, 0), World().context)
    assert (answer is not None) is hit
    if answer is not None:
        assert answer.outcome == Oops("stack guard page was hit")


def test_a_stack_outside_vmalloc_space_has_no_guard_page() -> None:
    """The boot stack lies in the kernel image."""
    context = replace(World().context, stack=(TEXT + 0x4000, TEXT + 0x8000))
    assert stack_guard_page(page_fault(TEXT + 0x3FF8, 0), context) is None
    assert stack_guard_page(page_fault(LOW - 8, 0), replace(context, stack=None)) is None


def test_a_user_s_fault_is_no_stack_overflow() -> None:
    assert stack_guard_page(page_fault(LOW - 8, 0, user_mode=True), World().context) is None


@pytest.mark.parametrize(
    ("address", "user_mode", "reason"),
    [
        (0, False, "kernel NULL pointer dereference"),
        (PAGE - 1, False, "kernel NULL pointer dereference"),
        (PAGE, False, "unable to handle page fault"),
        (AREA.vmalloc_start, False, "unable to handle page fault"),
        (0, True, "unable to handle page fault"),
    ],
)
def test_null_is_the_first_page_of_a_kernel_access(address: int, user_mode: bool, reason: str) -> None:
    answer = page_fault_oops(page_fault(address, 0, user_mode=user_mode), World().context)
    assert answer is not None
    assert answer.outcome == Oops(reason)


def gp_reason(code: bytes, error_code: int = 0, **registers: int) -> str:
    world = World()
    world.ram.write(UNLISTED - TEXT, code.ljust(16, b"\x90"))
    values = {"rip": UNLISTED, "cs": x86_64.KERNEL_CS, **registers}
    answer = general_protection_oops(x86_64.general_protection(values, error_code), world.context)
    assert answer is not None
    assert isinstance(answer.outcome, Oops)
    return answer.outcome.reason


LOAD = b"\x48\x8b\x07"  # mov (%rdi),%rax


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        (0xDEAD_0000_0000_0000, "probably for non-canonical address 0xdead000000000000"),
        (0x0000_8000_0000_0000, "probably for non-canonical address 0x800000000000"),
        (0x0000_7FFF_FFFF_FFF9, "probably for non-canonical address 0x7ffffffffff9"),  # by its last byte
        (0x0000_7FFF_FFFF_FFF8, "maybe for address 0x7ffffffffff8"),
        (0xFFFF_7FFF_FFFF_FFFE, "probably for non-canonical address 0xffff7ffffffffffe"),
        (0xFFFF_8000_0000_0000, "maybe for address 0xffff800000000000"),
    ],
)
def test_a_gp_s_address_is_read_from_the_instruction(address: int, hint: str) -> None:
    assert gp_reason(LOAD, rdi=address) == f"general protection fault, {hint}"


def test_a_segment_error_code() -> None:
    assert gp_reason(LOAD, error_code=0x18, rdi=1 << 60) == "segment-related general protection fault"


def test_an_instruction_that_cannot_be_read_gives_no_hint() -> None:
    values = {"rip": TEXT + (1 << 21), "cs": x86_64.KERNEL_CS}
    answer = general_protection_oops(x86_64.general_protection(values, 0), World().context)
    assert answer is not None
    assert answer.outcome == Oops("general protection fault")
