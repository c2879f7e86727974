"""The answers of handle_mm_fault() in words."""

from __future__ import annotations

import pytest

from pagefault.vocabulary.vm_fault import VmFault


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (VmFault(0), "ok"),
        (VmFault.NOPAGE, "NOPAGE"),
        (VmFault.RETRY | VmFault.MAJOR, "MAJOR|RETRY"),
        (VmFault.COMPLETED | VmFault.WRITE, "WRITE|COMPLETED"),
    ],
)
def test_words_are_in_the_order_of_the_bits(result: VmFault, words: str) -> None:
    assert result.words() == words
