"""
Which era a table is of, on every architecture: by what it holds, and where that leaves a choice, by the version. And
tables that are broken, read all the same for an audit. (x86's eras are in test_extable.py.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.arch.exception_format import Addressing, Layout, ThirdWord
from pagefault.arch.parisc_exception_types import OR_ZEROES
from pagefault.arch.platform import (
    ALPHA,
    ARM,
    ARM64,
    LOONGARCH64,
    PARISC,
    PLATFORMS,
    POWERPC64,
    RISCV64,
    S390,
    X86_32,
    X86_64,
    Platform,
)
from pagefault.errors import Absent, BadInput, PagefaultError, Unsupported
from pagefault.tables import extable_layout
from pagefault.tables.extable import ExceptionTable
from pagefault.tables.extable_build import TableEntry, encode, sort_table

FAR = 0x2_0000
ZEROPAD = 4 | 1 << 5
"""arm64's data of `ldr x4, [x1]`."""
VERSIONS = [None, (3, 2), (4, 9), (5, 10), (5, 16), (5, 18), (6, 1), (6, 12), (6, 15)]


def text(platform: Platform) -> int:
    """Where made-up code of the platform's begins; its table lies FAR behind."""
    return platform.kernel_half + 0x10_0000


def table(raw: bytes, platform: Platform, **hints: object) -> ExceptionTable:
    code = [(text(platform), text(platform) + 0x1_0000)]
    where, hints = "image", {"platform": platform, "executable": code, **hints}
    return ExceptionTable.from_bytes(raw, text(platform) + FAR, where=where, **hints)  # type: ignore[arg-type]


def some(platform: Platform, layout: Layout, *words: int) -> bytes:
    """Entries 0x40 apart, each with its fixup 4 bytes on, and these data words."""
    start = text(platform)
    built = [TableEntry(start + 0x40 * n, start + 0x40 * n + 4, word) for n, word in enumerate(words)]
    return encode(built, start + FAR, layout, platform)


def layout(platform: Platform, name: str) -> Layout:
    return next(layout for layout in platform.exceptions.layouts if layout.name == name)


def typed(type_: int, data: int = 0) -> int:
    """The data word of a type and its data."""
    return type_ | data << 16


# --- arm64's renumberings


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "words", "types"),
    [
        ("data-5.16", [typed(1), typed(3, 0x3E0), typed(4, ZEROPAD)], ["fixup", "uaccess_err_zero", "zeropad"]),
        ("data-6.0", [typed(2, 0x3E0), typed(4, ZEROPAD)], ["uaccess_err_zero", "zeropad"]),
        (
            "data-6.15",
            [typed(2, 0x3E0), typed(4, 1), typed(5, ZEROPAD)],
            ["uaccess_err_zero", "uaccess_cpy", "zeropad"],
        ),
    ],
)
def test_arm64s_numberings_tell_themselves_apart(
    version: tuple[int, int] | None, name: str, words: list[int], types: list[str]
) -> None:
    found = table(some(ARM64, layout(ARM64, name), *words), ARM64, version=version)
    assert found.layout.name == name
    assert [entry.type.removeprefix("load_unaligned_") for entry in found] == types


def test_a_number_that_may_be_a_copy_or_a_load_is_told_by_its_instruction() -> None:
    """Both x0, [x0] and "the user's half is the read" are data 0."""
    words = some(ARM64, layout(ARM64, "data-6.0"), typed(2, 0x3E0), typed(4, 0))
    asked: list[int] = []

    def code(opcode: int) -> Callable[[int, int], bytes]:
        def read(address: int, length: int) -> bytes:
            asked.append(address)
            return opcode.to_bytes(length, "little")

        return read

    load, copy = code(0xF940_0000), code(0x1902_0401)
    assert table(words, ARM64, code=load, version=(6, 15))[1].type == "load_unaligned_zeropad"
    assert table(words, ARM64, code=copy, version=(6, 12))[1].type == "uaccess_cpy"
    assert set(asked) == {text(ARM64) + 0x40}, "only where the readings differ"
    assert table(words, ARM64, version=(6, 15))[1].type == "uaccess_cpy"
    found = table(words, ARM64, version=(6, 12))
    assert found[1].type == "load_unaligned_zeropad"
    assert "data-6.15 would fit too, told apart by the version" in found.how


def test_no_more_code_is_looked_at_than_tells_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of any length takes a moment."""
    monkeypatch.setattr(extable_layout, "LOOKED_AT", 10)
    words = some(ARM64, layout(ARM64, "data-6.0"), *[typed(4, 0)] * 20)
    asked: list[int] = []

    def read(address: int, length: int) -> bytes:
        asked.append(address)
        return (0xF940_0000).to_bytes(length, "little")

    table(words, ARM64, code=read)
    assert len(set(asked)) == 10


def test_code_that_is_not_there_tells_nothing() -> None:
    def read(address: int, length: int) -> bytes:
        raise Absent("code", where="image")

    words = some(ARM64, layout(ARM64, "data-6.0"), typed(4, 0))
    assert table(words, ARM64, code=read, version=(6, 12)).layout.name == "data-6.0"


# --- s390


def test_s390s_first_types_hold_a_register_and_nothing_else() -> None:
    later = some(S390, layout(S390, "data-6.1"), typed(1), typed(3, 0x22))
    assert table(later, S390, version=(5, 18)).layout.name == "data-6.14"
    assert table(later, S390, version=(6, 1)).layout.name == "data-6.1"
    first = some(S390, layout(S390, "data-5.18"), typed(1), typed(3, 0x2))
    assert [table(first, S390, version=version).layout.name for version in ((6, 1), (5, 18), None)] == ["data-5.18"] * 3
    assert table(first, S390)[1].fields == (("reg", "%r2"),)


def test_s390s_dropped_and_added_types() -> None:
    assert table(some(S390, layout(S390, "data-6.1"), typed(4, 0x112)), S390, version=(6, 15)).layout.name == "data-6.1"
    added = some(S390, layout(S390, "data-6.14"), typed(9), typed(3, 0x22))
    found = table(added, S390, version=(6, 1))
    assert [entry.type for entry in found] == ["ua_mvcos_to", "ua_fault"]


# --- any architecture


def eras() -> list[tuple[Platform, Layout]]:
    return [(platform, era) for platform in PLATFORMS for era in platform.exceptions.layouts]


def words_of(platform: Platform, era: Layout) -> list[int]:
    """Data words such as a kernel of that era has."""
    match era.third:
        case ThirdWord.HANDLER:
            return [text(platform) + 0x800] if era.size == 12 else [0]
        case ThirdWord.TYPE:
            return [1, 7]
        case ThirdWord.DATA:
            return [1, 9, 0xFFF2_0011]
        case ThirdWord.TYPE_AND_DATA:
            return {
                "data-5.16": [typed(1), typed(3, 0x3E0)],
                "data-6.0": [typed(2, 0x3E0), typed(4, ZEROPAD)],
                "data-6.15": [typed(2, 0x3E0), typed(5, ZEROPAD)],
                "data-5.18": [typed(1), typed(3, 2)],
                "data-6.1": [typed(3, 0x22), typed(4, 0x25A)],
                "data-6.14": [typed(3, 0x22), typed(9)],
                "data": [typed(1), typed(2, 0x3E4) if platform is LOONGARCH64 else typed(3, 0x3E4)],
            }[era.name]
        case ThirdWord.ERR_OPCODE:
            return [OR_ZEROES | 28]
        case ThirdWord.NONE:
            return [0x08 << 26 | 1 << 21] if era.addresses is Addressing.NEXTINSN else [0]


@given(st.sampled_from(eras()), st.lists(st.integers(0, 0x1000), min_size=4, max_size=30, unique=True), st.data())
def test_an_era_is_recognised_whatever_the_version_says(
    case: tuple[Platform, Layout], places: list[int], data: st.DataObject
) -> None:
    platform, era = case
    start, words = text(platform), words_of(platform, era)
    bit = int(era.third is ThirdWord.ERR_OPCODE)
    built = [
        TableEntry(start + 4 * n, start + 0x5000 + 4 * n + bit, words[i % len(words)]) for i, n in enumerate(places)
    ]
    raw = sort_table(encode(built, start + FAR, era, platform), era, platform)
    version = data.draw(st.sampled_from(VERSIONS))
    handlers = {start + 0x800: "ex_handler_default"}
    found = table(raw, platform, version=version, handler_symbol=handlers.get)
    assert found.in_order
    assert [(entry.insn, entry.fixup) for entry in found] == sorted((e.insn, e.fixup & ~bit) for e in built)
    assert "unknown" not in {entry.type for entry in found}
    if {era.third, found.layout.third} != {ThirdWord.TYPE, ThirdWord.DATA}:
        assert found.layout == era


def test_relative_and_absolute_pairs_of_one_size() -> None:
    for name in ("relative", "absolute"):
        era = layout(X86_32, name)
        assert table(some(X86_32, era, 0, 0, 0), X86_32, version=(6, 1)).layout == era


# --- broken tables


@pytest.mark.parametrize(
    ("platform", "name", "word", "named"),
    [
        (ARM64, "data-6.0", typed(9, 3), r"type 9 \(data word 0x30009\)"),
        (S390, "data-6.1", typed(77), "type 77"),
        (PARISC, "err_opcode", 0x0800_0000, "word 0x8000000"),
        (ALPHA, "nextinsn", 0x09 << 26, r"word 0x2400\d+"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_is_not_known_is_named(platform: Platform, name: str, word: int, named: str) -> None:
    good = words_of(platform, layout(platform, name))[0]
    with pytest.raises(Unsupported, match=rf"{named}.*entry 1 of image.*{platform.exceptions.architecture}"):
        table(some(platform, layout(platform, name), good, word), platform)


def test_another_numbering_is_no_excuse() -> None:
    """LoongArch's BPF number is RISC-V's user access: a table of the one is no table of the other."""
    raw = some(RISCV64, layout(RISCV64, "data"), typed(3, 0x3E4))
    with pytest.raises(BadInput, match="outside the image's code"):
        table(raw, LOONGARCH64)


def test_a_broken_table_is_read_for_an_audit() -> None:
    """A type that nobody knows, an instruction outside of code, and half an entry."""
    start = text(X86_64)
    built = [TableEntry(start + 0x40 * n, start + 0x40 * n + 4, 3) for n in range(6)]
    built[2] = replace(built[2], data=99)
    built[4] = replace(built[4], insn=start + 0x1_0000, fixup=start - 4)
    raw = encode(built, start + FAR, layout(X86_64, "data"))
    with pytest.raises(PagefaultError):
        table(raw, X86_64)
    found = table(raw + b"\1\2\3\4\5", X86_64, strict=False, version=(4, 4))
    assert found.layout.name == "data"
    assert [entry.type for entry in found] == ["uaccess", "uaccess", "unknown", "uaccess", "uaccess", "uaccess"]
    assert (found[2].number, found[2].fields, found[2].insn) == (99, (), start + 0x80)
    assert (found[4].insn, found[4].fixup) == (start + 0x1_0000, start - 4)
    assert found.how == "6 entries, 2 of which make no sense: the nearest layout; the last 5 bytes are no whole entry"
    assert found.search(start + 0x80) == found[2]


def test_a_sound_table_is_read_the_same_way_either_way() -> None:
    raw = some(ARM64, layout(ARM64, "data-6.0"), typed(2, 0x3E0), typed(4, ZEROPAD))
    strict, lenient = table(raw, ARM64), table(raw, ARM64, strict=False)
    assert (lenient.how, list(lenient)) == (strict.how, list(strict))


def test_the_nearest_numbering_is_told_by_the_sound_entries() -> None:
    words = [typed(2, 0x3E0), typed(4, ZEROPAD), typed(77)]
    found = table(some(ARM64, layout(ARM64, "data-6.0"), *words), ARM64, strict=False, version=(6, 15))
    assert [entry.type for entry in found] == ["uaccess_err_zero", "load_unaligned_zeropad", "unknown"]


def test_handlers_without_symbols_are_unknown() -> None:
    start = text(X86_64)
    raw = some(X86_64, layout(X86_64, "handler"), *[start + 0x800] * 4)
    for version in ((5, 10), (3, 18), None):
        found = table(raw, X86_64, strict=False, version=version)
        assert (found.layout.name, found[0].type, found[0].number) == ("handler", "unknown", start + 0x800)


def test_of_a_broken_table_too_the_version_has_the_last_say() -> None:
    raw = some(X86_64, layout(X86_64, "type"), 3, 12, 99)
    for version, known in (((5, 16), "default_mce_safe"), ((5, 17), "wrmsr_in_mce"), (None, "wrmsr_in_mce")):
        found = table(raw, X86_64, strict=False, version=version)
        assert [entry.type for entry in found] == ["uaccess", known, "unknown"]


def test_a_register_that_does_not_exist_stays_to_be_seen() -> None:
    raw = some(X86_32, layout(X86_32, "data"), 1 | 3 << 16, 0xFFF2_0D11)
    assert table(raw, X86_32)[1].fields == (("reg", "13?"), ("imm", "-14"))


@given(st.sampled_from(PLATFORMS), st.binary(max_size=200), st.integers(0, 2**64 - 1), st.sampled_from(VERSIONS))
def test_any_bytes_are_read_for_an_audit(
    platform: Platform, raw: bytes, address: int, version: tuple[int, int] | None
) -> None:
    executable = [(0, 2**63), (text(platform), 2**64)]
    hints = {"platform": platform, "where": "image", "executable": executable, "version": version}
    found = ExceptionTable.from_bytes(raw, address, strict=False, **hints)  # type: ignore[arg-type]
    assert len(found) == len(raw) // found.layout.size
    for entry in found:
        assert 0 <= entry.insn <= platform.address_mask
        assert 0 <= entry.fixup <= platform.address_mask
        assert found.search(entry.insn) is not None
    try:
        strict = ExceptionTable.from_bytes(raw, address, **hints)  # type: ignore[arg-type]
    except PagefaultError:
        return
    assert list(strict) == list(found)


def test_half_an_entry_is_an_empty_table() -> None:
    found = table(b"\1\2\3", ARM, strict=False)
    assert (len(found), found.search(0)) == (0, None)
    assert found.how.endswith("the last 3 bytes are no whole entry")


# --- a real one


def test_debians_powerpc(foreign_kernel: Callable[[str], object]) -> None:
    """Its boot image is the vmlinux itself: read here with struct, and by the layout."""
    from pagefault.images.elf import Elf

    elf = Elf.open(foreign_kernel("ppc64el").boot)  # type: ignore[attr-defined]
    section = elf.section("__ex_table")
    assert section is not None
    code = [(s.address, s.address + len(s.data)) for s in elf.sections if s.executable]
    raw = bytes(section.data)
    found = ExceptionTable.from_bytes(raw, section.address, where="vmlinux", executable=code, platform=POWERPC64)
    assert found.in_order
    assert found.layout.name == "relative"
    pairs = list(struct.iter_unpack("<ii", raw))
    assert len(found) == len(pairs) > 5000
    for n, (insn, fixup) in enumerate(pairs):
        here = section.address + 8 * n
        assert (found[n].insn, found[n].fixup) == (here + insn, here + 4 + fixup)
