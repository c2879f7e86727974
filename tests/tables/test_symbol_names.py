from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.errors import BadInput
from pagefault.tables.symbol_names import MAX_NAME, Names

STRINGS = b"\0__pfx_copy_from_user\0memcpy\0"


def names(*starts: int, strings: bytes = STRINGS) -> Names:
    return Names(strings, np.array(starts, np.int64), where="vmlinux")


def test_names_may_share_their_tails() -> None:
    found = names(1, 7, 22)
    assert [found.name(i) for i in range(3)] == ["__pfx_copy_from_user", "copy_from_user", "memcpy"]
    assert found.indices("copy_from_user") == [1]
    assert found.indices("from_user") == []
    assert found.indices("memcpy") == [2]


@pytest.mark.parametrize("name", ["", "memcp", "memcpyy", "mem\0cpy", "a" * 99])
def test_what_is_no_name_is_nowhere(name: str) -> None:
    assert names(1, 7, 22).indices(name) == []


@given(
    st.lists(st.text(st.sampled_from("ab."), max_size=24), min_size=1, max_size=20),
    st.text(st.sampled_from("ab."), min_size=1, max_size=20),
)
def test_beginnings_and_parts_are_what_strings_say(each: list[str], part: str) -> None:
    strings = "".join(f"{name}\0" for name in each).encode()
    starts = np.cumsum([0, *(len(name) + 1 for name in each[:-1])])
    found = Names(strings, starts, where="vmlinux")
    assert found.starting(part.encode()).tolist() == [name.startswith(part) for name in each]
    assert found.starting(part.encode() + b"\0").tolist() == [name == part for name in each]
    assert found.containing(part.encode()).tolist() == [part in name for name in each]
    assert found.containing(part.encode() + b"\0").tolist() == [name.endswith(part) for name in each]


def test_a_part_in_front_of_a_shared_tail_is_not_in_it() -> None:
    assert names(1, 7).containing(b"pfx").tolist() == [True, False]
    assert names(1, 7).containing(b"from").tolist() == [True, True]


def test_a_name_is_cut_where_the_kernel_cuts_it() -> None:
    assert names(0, strings=b"a" * 600 + b"\0").name(0) == "a" * MAX_NAME


def test_near() -> None:
    assert names(1, 22).near("memcyp", 3) == ["memcpy"]


@pytest.mark.parametrize(
    ("starts", "strings"), [((28,), STRINGS + b"x"), ((29,), STRINGS), ((-1,), STRINGS), ((0,), b"")]
)
def test_names_outside_the_strings(starts: tuple[int, ...], strings: bytes) -> None:
    with pytest.raises(BadInput):
        names(*starts, strings=strings)
