"""The documentation page of a rule, in Markdown: an installed pagefault has them beside its code."""

from __future__ import annotations

import re
from pathlib import Path

from ..audit.rule import DOCS, Rule

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "findings", PACKAGE.parents[1] / DOCS)
"""Where an installed pagefault has the pages, and where the repository has them."""
ADVICE = re.compile(r"\*\*What to do\.\*\* (.+?)(?:\n\n|\Z)", re.DOTALL)


def page(rule: Rule) -> str | None:
    """The whole page; None if it was not installed."""
    for folder in FOLDERS:
        try:
            return (folder / f"{rule.code}.md").read_text(encoding="utf-8")
        except OSError:
            continue
    return None


def advice(page: str) -> str | None:
    """What a page says is to be done, in plain words; None if it says nothing of the kind."""
    found = ADVICE.search(page)
    return None if found is None else " ".join(found[1].replace("`", "").split())
