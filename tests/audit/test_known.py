"""The exceptions: each has a rule, a reason with its source, and is no wider than it says."""

from __future__ import annotations

import re

import pytest

from pagefault.audit import Finding, Place, Severity
from pagefault.audit.known import KNOWN, Known, explain
from pagefault.audit.rules import RULES
from pagefault.tables.symbols import Symbol


def finding(code: str, function: str) -> Finding:
    place = Place("vmlinux", symbol=Symbol(function, 0x1000, 0x100, 8))
    return Finding(code, Severity.WARNING, place, "It is so.", "It matters.")


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known.code} {known.function}")
def test_an_exception_has_a_rule_and_a_source(known: Known) -> None:
    assert known.code in {rule.code for rule in RULES}
    re.compile(known.function)
    assert known.reason.endswith(".")
    assert re.search(r"Kernel: arch/\S+.*v6\.1|\w+\(\)", known.reason)


def test_an_exception_is_for_its_function_on_its_machine() -> None:
    assert explain(finding("PF007", "csum_partial_copy_generic"), "EM_X86_64")
    assert explain(finding("PF007", "__kvm_nvhe_abort_guest_exit_start"), "EM_AARCH64")
    assert explain(finding("PF012", "anything"), "EM_MIPS")
    assert explain(finding("PF007", "csum_partial_copy_generic"), "EM_386") is None
    assert explain(finding("PF014", "csum_partial_copy_generic"), "EM_X86_64") is None
    assert explain(finding("PF007", "my_csum_partial_copy_generic"), "EM_X86_64") is None
    assert explain(finding("PF007", "sys_sysmips"), "EM_MIPS") is None
