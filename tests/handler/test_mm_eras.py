"""What changed, and in which version: each field's own words against what it is on both sides of them."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from pagefault.handler.mm_eras import MmRules, mm_rules

NAMES = [field.name for field in fields(MmRules) if field.name != "version"]
TEXT = " ".join((MmRules.__doc__ or "").split())


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_changes_with_the_version_that_its_commit_came_in(name: str) -> None:
    said = re.search(rf"`{name}`: [^`]*?Linux kernel commit [0-9a-f]{{12}} \(\".*?\"\) \(in v(\d+)\.(\d+)\)", TEXT)
    if said is None:
        words = TEXT.split(f"`{name}`: ")[1].split("`")[0]
        assert {"v6.1", "v6.12"} <= set(re.findall(r"v\d+\.\d+", words)), f"no commit, nor two kernels, for {name}"
        assert getattr(mm_rules((6, 1)), name) != getattr(mm_rules((6, 12)), name)
        return
    major, minor = int(said[1]), int(said[2])
    before = (major, minor - 1) if minor else (major - 1, 20)
    assert getattr(mm_rules((major, minor)), name) != getattr(mm_rules(before), name)


def test_the_two_kernels_of_the_recordings() -> None:
    old, new = mm_rules((6, 1)), mm_rules((6, 12))
    assert [
        (rules.version, rules.reports_write, rules.mprotect_makes_writable, rules.mprotect_makes_clean_writable)
        for rules in (old, new)
    ] == [((6, 1), True, True, False), ((6, 12), False, True, True)]
    assert (old.stack_without_huge_pages, new.stack_without_huge_pages) == (False, True)
