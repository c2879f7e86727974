from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.cli.memory_layout import content_bytes, lay_out, place_and_length, to_show
from pagefault.errors import BadInput
from pagefault.machine.machine import Machine
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped


@pytest.fixture
def machine() -> Machine:
    return Machine.boot()


def mapped(machine: Machine, address: int) -> bool:
    return isinstance(machine.walk(address).end, Mapped)


def test_a_region_gets_what_it_asks_for(machine: Machine) -> None:
    texts = ["a=2p", "b=100:r:lazy", "c=1p:none", "d=1p:rwx@0x400000", "e=1p:stack"]
    regions = lay_out(machine, texts, [], [], [])
    vmas = {name: machine.user.mm.vmas.vma_lookup(region.address) for name, region in regions.items()}
    assert all(vmas.values())
    rights = {name: (vma.read, vma.write, vma.execute) for name, vma in vmas.items() if vma}
    assert rights == {
        "a": (True, True, False),
        "b": (True, False, False),
        "c": (False, False, False),
        "d": (True, True, True),
        "e": (True, True, False),
    }
    assert regions["b"].size == PAGE
    assert regions["d"].address == 0x400000
    assert [name for name, vma in vmas.items() if vma and vma.grows_down] == ["e"]
    assert [name for name, region in regions.items() if mapped(machine, region.address)] == ["a", "d", "e"]


def test_buffers_are_the_kernels(machine: Machine) -> None:
    regions = lay_out(machine, [], ["dst=64"], ["dst+8=hex:0102"], [])
    assert regions["dst"].address >= machine.area.page_offset
    assert machine.read(regions["dst"].address, 64) == bytes(8) + b"\1\2" + bytes(54)


def test_holes_come_last(machine: Machine) -> None:
    regions = lay_out(machine, ["src=3p"], [], ["src:end-4=text"], ["src+1p:1p"])
    start = regions["src"].address
    assert [mapped(machine, start + index * PAGE) for index in range(3)] == [True, False, True]
    assert machine.read(regions["src"].end - 4, 4) == b"text"


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ("text", b"text"),
        (r"/etc/\0", b"/etc/\0"),
        (r"a\n\t\\b\x41", b"a\n\t\\bA"),
        ("hex:00ff 10", b"\0\xff\x10"),
        ("hex:", b""),
        ("é", "é".encode()),
        ("", b""),
    ],
)
def test_contents(content: str, data: bytes) -> None:
    assert content_bytes(content) == data


def test_a_file_s_content(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"\0\1\2")
    assert content_bytes(f"@{path}") == b"\0\1\2"
    for bad in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match="readable file"):
            content_bytes(f"@{bad}")


@given(st.text(max_size=20))
def test_any_content_is_bytes_or_our_error(content: str) -> None:
    try:
        content_bytes("hex:" + content)
        content_bytes(content.lstrip("@"))
    except BadInput:
        pass


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("src", ("src", None)),
        ("src:8", ("src", 8)),
        ("src:end", ("src:end", None)),
        ("src:end-6", ("src:end-6", None)),
        ("src:end-6:4", ("src:end-6", 4)),
    ],
)
def test_the_colon_of_an_end_is_not_a_length(text: str, parts: tuple[str, int | None]) -> None:
    assert place_and_length(text, "--show") == parts


def test_what_is_shown(machine: Machine) -> None:
    regions = lay_out(machine, ["src=1p"], ["dst=64"], [], [])
    assert to_show(machine, regions, "dst") == (regions["dst"].address, 64)
    assert to_show(machine, regions, "src:end-6:4") == (regions["src"].end - 6, 4)
    assert to_show(machine, regions, "src+8") == (regions["src"].address + 8, 64)


@pytest.mark.parametrize("content", [r"\q", r"\x4", r"\xg0", "a\\", "\\\n", r"\\\1"])
def test_an_unknown_escape_is_refused(content: str) -> None:
    with pytest.raises(BadInput, match="escape"):
        content_bytes(content)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("dst=" + "a" * 64, True),
        ("dst=" + "a" * 65, False),
        ("dst+60=abcd", True),
        ("dst+60=abcde", False),
        ("dst:end-2=ab", True),
        ("dst:end=a", False),
        ("dst-1=a", False),
        ("src:end-1=ab", False),
    ],
)
def test_data_stays_inside_its_region(machine: Machine, text: str, fits: bool) -> None:
    if fits:
        lay_out(machine, ["src=1p"], ["dst=64"], [text], [])
    else:
        with pytest.raises(BadInput, match=r"inside region (dst, which has 64|src, which has 4096)"):
            lay_out(machine, ["src=1p"], ["dst=64"], [text], [])


def test_at_most_a_mebibyte_is_shown(machine: Machine) -> None:
    regions = lay_out(machine, ["src=2m:lazy"], [], [], [])
    assert to_show(machine, regions, "src:1m")[1] == 1 << 20
    for text in ("src:0x100001", "src", "0:9999g"):
        with pytest.raises(BadInput, match="at most 1 MiB"):
            to_show(machine, regions, text)


def test_a_region_knows_its_options(machine: Machine) -> None:
    regions = lay_out(machine, ["a=1p", "b=1p:r:lazy:stack"], ["c=8"], [], [])
    assert [region.options for region in regions.values()] == [("rw",), ("r", "lazy", "stack"), ()]
