from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pagefault.audit.rules import RULES
from pagefault.report import finding_pages
from pagefault.report.finding_pages import advice, page


def test_every_rule_has_its_page() -> None:
    for rule in RULES:
        found = page(rule)
        assert found is not None
        assert found.startswith(f"# {rule.code}: {rule.title}\n")
        assert rule.why in " ".join(found.split())


def test_what_to_do_is_a_paragraph_of_the_page() -> None:
    assert advice("# A\n\n**What to do.** Run `sort`\nagain.\n\nMore.\n") == "Run sort again."
    assert advice("# A\n\n**What to do.** Nothing.\n") == "Nothing."
    assert advice("# A\n") is None


def test_a_page_beside_the_code_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "PF001.md").write_text("installed")
    monkeypatch.setattr(finding_pages, "FOLDERS", (tmp_path, *finding_pages.FOLDERS[1:]))
    assert page(RULES[0]) == "installed"
    assert page(RULES[1]) != "installed"
    assert page(replace(RULES[0], code="PF999")) is None
