from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.errors import Absent, BadInput, Unsupported
from pagefault.images.btf import Btf
from pagefault.images.vmlinux import Vmlinux

INT, ARRAY, STRUCT, UNION, TYPEDEF, CONST, FWD, ENUM = 1, 3, 4, 5, 8, 10, 7, 6


class Types:
    """A writer of BTF: each call adds a type and returns its number."""

    def __init__(self) -> None:
        self.strings, self.records, self.count = b"\0", b"", 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, kind: int, name: str, size_or_type: int, extra: bytes = b"", vlen: int = 0, flag: int = 0) -> int:
        info = flag << 31 | kind << 24 | vlen
        self.records += struct.pack("<III", self.name(name), info, size_or_type) + extra
        self.count += 1
        return self.count

    def struct(self, name: str, size: int, *members: tuple[str, int, int], kind: int = STRUCT, flag: int = 0) -> int:
        rows = b"".join(struct.pack("<III", self.name(called), type_, place) for called, type_, place in members)
        return self.add(kind, name, size, rows, len(members), flag)

    def data(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.records), len(self.records), len(self.strings))
        return header + self.records + self.strings


def example() -> bytes:
    types = Types()
    integer = types.add(INT, "unsigned long", 8, struct.pack("<I", 64))
    types.add(ARRAY, "", 0, struct.pack("<III", integer, integer, 4))
    thread = types.struct("thread_struct", 32, ("sp", integer, 64), ("cr2", integer, 128))
    alias = types.add(TYPEDEF, "thread_t", types.add(CONST, "", thread))
    types.add(FWD, "task_struct", 0)
    types.add(ENUM, "colour", 4, struct.pack("<Ii", types.name("RED"), -1), vlen=1)
    inner = types.struct("", 16, ("first", integer, 0), ("second", integer, 64))
    either = types.struct("", 16, ("word", integer, 0), ("", inner, 0), kind=UNION)
    types.struct("task_struct", 96, ("state", integer, 0), ("thread", alias, 256), ("", either, 640))
    types.struct("bits", 8, ("low", integer, 3 << 24 | 0), ("high", integer, 64), flag=1)
    return types.data()


EXAMPLE = Btf(example(), where="vmlinux .BTF")


@pytest.mark.parametrize(
    ("path", "offset"),
    [("state", 0), ("thread", 32), ("thread.sp", 40), ("thread.cr2", 48), ("word", 80), ("first", 80), ("second", 88)],
)
def test_offsets(path: str, offset: int) -> None:
    assert EXAMPLE.offset("task_struct", path) == offset


def test_sizes_are_of_the_structure_not_of_its_forward_declaration() -> None:
    assert EXAMPLE.size("task_struct") == 96


def test_bit_fields() -> None:
    with pytest.raises(Unsupported, match="bit-field"):
        EXAMPLE.offset("bits", "low")
    assert EXAMPLE.offset("bits", "high") == 8


@pytest.mark.parametrize("path", ["nothing", "thread.nothing", "state.low", "", "thread."])
def test_no_such_member(path: str) -> None:
    with pytest.raises(Absent, match="struct task_struct"):
        EXAMPLE.offset("task_struct", path)


@pytest.mark.parametrize("name", ["nothing", "", "colour", "thread_t", "struct"])
def test_no_such_structure(name: str) -> None:
    with pytest.raises(Absent):
        EXAMPLE.size(name)


def test_a_name_that_ends_another_is_not_mistaken_for_it() -> None:
    types = Types()
    types.struct("my_task", 8)
    types.struct("task", 16)
    assert Btf(types.data(), where="x").size("task") == 16


def test_an_anonymous_member_that_is_its_own_structure_ends() -> None:
    types = Types()
    types.struct("a", 8, *(("", 1, 0),) * 200)
    with pytest.raises(Absent):
        Btf(types.data(), where="x").offset("a", "b")


def test_a_typedef_of_itself_is_refused() -> None:
    types = Types()
    types.add(TYPEDEF, "t", 1)
    types.struct("a", 8, ("b", 1, 0))
    with pytest.raises(BadInput, match="a type for b"):
        Btf(types.data(), where="x").offset("a", "b.c")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x9f\xeb\x01",
        b"\xeb\x9f" + example()[2:],
        b"\x9f\xeb\x02" + example()[3:],
        example()[:-1],
        example()[:12] + b"\xff\xff\xff\xff" + example()[16:],
        example()[:12] + b"\x02" + example()[13:],
    ],
)
def test_headers_that_do_not_fit(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"vmlinux \.BTF"):
        Btf(data, where="vmlinux .BTF")


def test_an_unknown_kind_is_refused() -> None:
    types = Types()
    types.add(25, "x", 0)
    with pytest.raises(BadInput, match="known kinds"):
        Btf(types.data(), where="x").size("a")


def test_no_types_at_all() -> None:
    with pytest.raises(Absent):
        Btf(Types().data(), where="x").size("a")


@given(st.lists(st.tuples(st.integers(0, len(example()) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_damaged_btf_answers_or_says_why(damage: list[tuple[int, int]]) -> None:
    data = bytearray(example())
    for at, byte in damage:
        data[at] = byte
    with contextlib.suppress(BadInput, Absent, Unsupported):
        Btf(bytes(data), where="x").offset("task_struct", "second")


@pytest.mark.parametrize("fixture", ["vmlinux_61", "vmlinux_612"])
def test_the_real_layout_agrees_with_the_real_data(request: pytest.FixtureRequest, fixture: str) -> None:
    image = Vmlinux.open(request.getfixturevalue(fixture))
    layout, symbols = image.layout, image.symbols
    init_task, init_mm = symbols.find("init_task"), symbols.find("init_mm")
    assert image.read(init_task + layout.offset("task_struct", "comm"), 8) == b"swapper\0"
    pgd = image.read(init_mm + layout.offset("mm_struct", "pgd"), 8)
    assert int.from_bytes(pgd, "little") == symbols.find("init_top_pgt")
    assert layout.offset("task_struct", "thread_info.flags") == layout.offset("task_struct", "thread_info")
    assert layout.offset("task_struct", "thread.sp") > layout.offset("task_struct", "pagefault_disabled") > 0
    stack = image.read(init_task + layout.offset("task_struct", "stack"), 8)
    assert int.from_bytes(stack, "little") == symbols.find("init_stack")
