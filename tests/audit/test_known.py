"""The exceptions: each has a rule, a reason with its source, and is no wider than it says."""

from __future__ import annotations

import re

import pytest

from pagefault.audit import Finding, Place, Severity
from pagefault.audit.known import KNOWN, Known, explain
from pagefault.audit.rules import RULES
from pagefault.tables.symbols import Symbol

PREFETCH = "entry 1 is for f+0x8, `prefetcht0 0x140(%rdi)`, which cannot fault"
ISB = "entry 1 is for f+0x8, `isb`, which cannot fault"
MOVES = "entry 1 is for f+0x8, `movl %ecx, %eax`, which cannot fault"
NO_OP = "entry 1 is for f+0x8, `bcr 0, %r7`, which cannot fault"
SAME = "entries 0 and 1 both name f+0x8, and say the same"
DIFFER = "entries 0 and 1 both name f+0x8, and differ"


def finding(code: str, function: str, message: str = PREFETCH) -> Finding:
    place = Place("vmlinux", symbol=Symbol(function, 0x1000, 0x100, 8))
    return Finding(code, Severity.WARNING, place, message, "It matters.")


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known.code} {known.function}")
def test_an_exception_has_a_rule_and_a_source(known: Known) -> None:
    assert known.code in {rule.code for rule in RULES}
    re.compile(known.function)
    assert known.reason.endswith(".")
    re.compile(known.says)
    assert known.says or known.code == "PF012", "a whole function is never excused"
    assert re.search(r"Kernel: arch/\S+.*v6\.1|\w+\(\)", known.reason)


def test_an_exception_is_for_its_function_on_its_machine() -> None:
    assert explain(finding("PF007", "csum_partial_copy_generic"), "EM_X86_64")
    assert explain(finding("PF007", "__kvm_nvhe_abort_guest_exit_start", ISB), "EM_AARCH64")
    assert explain(finding("PF012", "anything"), "EM_MIPS")
    assert explain(finding("PF007", "csum_partial_copy_generic"), "EM_386") is None
    assert explain(finding("PF014", "csum_partial_copy_generic"), "EM_X86_64") is None
    assert explain(finding("PF007", "my_csum_partial_copy_generic"), "EM_X86_64") is None
    assert explain(finding("PF007", "sys_sysmips"), "EM_MIPS") is None


@pytest.mark.parametrize(
    ("code", "function", "machine", "right", "wrong"),
    [
        ("PF007", "csum_partial_copy_generic", "EM_X86_64", PREFETCH, MOVES),
        ("PF007", "__copy_user_ll", "EM_386", MOVES, PREFETCH),
        ("PF007", "abort_guest_exit_start", "EM_AARCH64", ISB, MOVES),
        ("PF007", "sie64a", "EM_S390", NO_OP, ISB),
        ("PF002", "__strncpy_from_user_asm", "EM_MIPS", SAME, DIFFER),
    ],
)
def test_an_exception_is_for_its_instruction(code: str, function: str, machine: str, right: str, wrong: str) -> None:
    assert explain(finding(code, function, right), machine)
    assert explain(finding(code, function, wrong), machine) is None
