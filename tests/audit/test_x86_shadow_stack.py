"""WRUSS: found by its bytes where a function decodes to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.specimen import TEXT, entry, x86
from pagefault.audit import audit
from pagefault.audit.context import AuditContext
from pagefault.audit.x86_shadow_stack import shadow_stack_stores
from pagefault.images.vmlinux import Vmlinux


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("90 66480f38f50f c3", [1]),  # wrussq %rcx,(%rdi)
        ("90 660f38f50f c3", [1]),  # wrussd
        ("90 480f38f60f c3", []),  # wrssq: by the kernel's own rights
        ("b80f38f500 c3", []),  # the bytes are a number
    ],
)
def test_where_they_are(code: str, found: list[int]) -> None:
    context = AuditContext(x86(("touch", code)))
    assert [address - TEXT for address in shadow_stack_stores(context)] == found


def test_each_needs_an_entry() -> None:
    made = x86(("touch", "66480f38f50f c3"))
    [finding] = [each for each in audit(made).findings if each.code == "PF014"]
    assert finding.place.address == TEXT
    assert "shadow stack" in finding.message
    assert audit(made.with_entries(entry(0, 6))).findings == ()


def test_those_of_612_have_one(vmlinux_612: Path) -> None:
    context = AuditContext(Vmlinux.open(vmlinux_612))
    found = list(shadow_stack_stores(context))
    assert len(found) == 4
    assert set(found) <= context.by_instruction.keys()
