from __future__ import annotations

import pytest

from pagefault.evidence.oops_report import OopsStyle, style, taint_letters


@pytest.mark.parametrize(
    ("letters", "text"),
    [
        ("OE", "G           OE     "),
        ("D", "G      D           "),
        ("PDOE", "P      D    OE     "),
        ("N", "G                 N"),
        ("", None),
    ],
)
def test_taints_have_their_places(letters: str, text: str | None) -> None:
    assert taint_letters(letters) == text


@pytest.mark.parametrize(
    ("version", "expected"),
    [((6, 1), OopsStyle()), ((6, 8), OopsStyle()), ((6, 11), OopsStyle(True, True, True)), ((7, 0), style((6, 12)))],
)
def test_the_words_changed_between_6_8_and_6_11(version: tuple[int, int], expected: OopsStyle) -> None:
    assert style(version) == expected
