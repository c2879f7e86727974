"""Each difference between kernels, on both sides of its release."""

from __future__ import annotations

import pytest

from pagefault.arch.x86_eras import NEWEST_READ, profile


@pytest.mark.parametrize(
    ("field", "last_before", "first", "before"),
    [
        ("vmalloc_faulting", (5, 7), (5, 8), True),
        ("vmalloc_preallocated", (5, 7), (5, 8), False),
        ("smap_violation_oopses", (5, 11), (5, 12), False),
        ("kernel_fetch_oopses", (5, 11), (5, 12), False),
        ("user_gp_is_quiet", (6, 3), (6, 4), False),
    ],
)
def test_a_rule_changes_with_its_release(
    field: str, last_before: tuple[int, int], first: tuple[int, int], before: bool
) -> None:
    assert getattr(profile((2, 6)), field) is before
    assert getattr(profile(last_before), field) is before
    assert getattr(profile(first), field) is not before
    assert getattr(profile(NEWEST_READ), field) is not before


def test_versions_compare_as_numbers() -> None:
    assert not profile((5, 10)).vmalloc_faulting
    assert profile((4, 19)).vmalloc_faulting


def test_a_profile_says_its_version() -> None:
    assert str(profile((6, 12))) == "Linux 6.12"
