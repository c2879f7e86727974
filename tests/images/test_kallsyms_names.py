from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.arch.platform import S390, X86_64
from pagefault.errors import BadInput
from pagefault.images.kallsyms_names import TokenTable, expand, names_before, token_tables, walk

TOKENS = [
    f"<{code}>" if chr(code) not in "0123456789abcdefghijklmnopqrstuvwxyzT_" else chr(code) for code in range(256)
]
TEXT = b"".join(token.encode() + b"\0" for token in TOKENS)
STARTS = [0, *np.cumsum([len(token) + 1 for token in TOKENS])[:-1].tolist()]


def index(order: str) -> bytes:
    return struct.pack(f"{order}256H", *STARTS)


def tokens() -> TokenTable:
    found = TokenTable.of(memoryview(TEXT), memoryview(index("<")), X86_64)
    assert found is not None
    return found


def packed(*names: bytes) -> bytes:
    return b"".join(
        (bytes([len(name)]) if len(name) < 128 else bytes([len(name) & 127 | 128, len(name) >> 7])) + name
        for name in names
    )


@pytest.mark.parametrize("padding", [0, 1, 7])
def test_the_index_tells_where_the_table_starts_and_in_which_byte_order(padding: int) -> None:
    data = memoryview(b"junk" + TEXT + bytes(padding) + index(">"))
    assert [(start, at) for start, at, _ in token_tables(data, S390)] == [(4, 4 + len(TEXT) + padding)]
    assert list(token_tables(data, X86_64)) == []
    assert list(token_tables(data[:-1], S390)) == []


def test_an_index_of_other_strings_is_refused() -> None:
    assert TokenTable.of(memoryview(TEXT[1:]), memoryview(index("<")), X86_64) is None
    assert TokenTable.of(memoryview(TEXT[:-5]), memoryview(index("<")), X86_64) is None


def test_markers_are_where_every_256th_name_begins() -> None:
    names = packed(*(b"Tx" for _ in range(300)))
    assert walk(names, 300, np.array([0, 768], np.uint32)) is not None
    assert walk(names, 300, np.array([0, 769], np.uint32)) is None
    found = walk(names, 300)
    assert found is not None
    assert found[1] == len(names)
    assert walk(names, 301) is None
    assert walk(names[:-1], 300) is None


@given(st.lists(st.binary(min_size=1, max_size=150).map(lambda name: b"T" + name), min_size=1, max_size=20))
def test_each_byte_stands_for_its_token(names: list[bytes]) -> None:
    written = [b"".join(TOKENS[code].encode() for code in name) for name in names]
    data = packed(*names)
    walked = walk(data, len(names))
    assert walked is not None
    if max(map(len, written)) > 512 or sum(map(len, written)) > 16 * len(data) - len(names):
        with pytest.raises(BadInput):
            expand(data, *walked, tokens(), "image")
        return
    text, starts = expand(data, *walked, tokens(), "image")
    assert text == b"\0" + b"\0".join(written) + b"\0"
    assert [text[start : text.index(0, start)] for start in starts.tolist()] == written


def test_a_symbol_without_a_name_is_refused() -> None:
    data = packed(b"Tx", b"T")
    walked = walk(data, 2)
    assert walked is not None
    with pytest.raises(BadInput, match="names of 1 to 2 bytes"):
        expand(data, *walked, tokens(), "image")


def test_no_names_in_front_of_a_table() -> None:
    for length in (0, 3, 4, 4096):
        assert names_before(memoryview(bytes(length)), length, X86_64) is None
