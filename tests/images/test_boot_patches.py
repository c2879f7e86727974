"""Patching whole images: small ones written here, and Debian's, whose patched code is disassembled."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from images.elf_writer import AX, DATA, TEXT, WA, A, Piece, elf, save, symbol_pieces
from pagefault.arch.x86_instruction import decode
from pagefault.errors import Absent, BadInput, Unsupported
from pagefault.images.boot_patches import Patches, boot_patches
from pagefault.images.vmlinux import Vmlinux

REPLACEMENTS = TEXT + 0x8000
SMAP, LA57, ALWAYS = 308, 528, 117
STAC, NOP3 = b"\x0f\x01\xcb", b"\x0f\x1f\x00"

Entry = tuple[int, int, int, int, int, int]
"""Site, replacement, feature, flags, length, length of the replacement; addresses absolute."""


def row(entry: Entry, at: int, size: int) -> bytes:
    site, other, feature, flags, length, other_length = entry
    places = struct.pack("<ii", site - at, other - at - 4)
    if size == 14:
        return places + struct.pack("<HHBB", feature, flags, length, other_length)
    return places + struct.pack("<HBB", feature | flags << 15, length, other_length).ljust(size - 8, b"\0")


def image(
    tmp_path: Path,
    code: bytes = bytes(64),
    *,
    other: bytes = b"\xcc",
    entries: Iterable[Entry] = (),
    size: int = 12,
    more: Iterable[Piece] = (),
    symbols: Iterable[tuple[str, int]] = (),
) -> Vmlinux:
    table = b"".join(row(entry, DATA + index * size, size) for index, entry in enumerate(entries))
    pieces = [Piece(".text", code, TEXT, AX), Piece(".altinstr_replacement", other, REPLACEMENTS, AX)]
    pieces += [Piece(".altinstructions", table, DATA, A)] if table else []
    pieces += more
    pieces += symbol_pieces(list(symbols), len(pieces) + 1)
    return Vmlinux.open(save(tmp_path / "vmlinux", elf(pieces)))


def patched(of: Vmlinux, features: Iterable[str] = (), address: int = TEXT, length: int = 64) -> bytes:
    buffer = bytearray(of.read(address, length))
    boot_patches(of, frozenset(features)).write_into(buffer, address)
    return bytes(buffer)


@pytest.mark.parametrize("size", [12, 13, 14])
def test_the_layout_is_chosen_by_evidence(tmp_path: Path, size: int) -> None:
    sites = [(TEXT + 4 * place, REPLACEMENTS, SMAP, 0, 3, 3) for place in range(12 * 13 * 14 // size)]
    found = image(tmp_path, b"\x90\x90\x90\xc3" * 182, other=STAC, entries=sites, size=size)
    with_smap, without = patched(found, ["smap"], length=8), patched(found, length=8)
    assert with_smap == (STAC + b"\xc3") * 2
    assert without == (NOP3 + b"\xc3") * 2


@pytest.mark.parametrize("size", [12, 14])
def test_not(tmp_path: Path, size: int) -> None:
    entry = (TEXT, REPLACEMENTS, SMAP, 1, 3, 3)
    found = image(tmp_path, b"\x90" * 3 + bytes(61), other=STAC, entries=[entry], size=size)
    assert patched(found)[:3] == STAC
    assert patched(found, ["smap"])[:3] == NOP3


@pytest.mark.parametrize("size", [12, 14])
def test_a_later_entry_overwrites_an_earlier_one(tmp_path: Path, size: int) -> None:
    entries = [(TEXT, REPLACEMENTS, SMAP, 0, 3, 3), (TEXT, REPLACEMENTS + 3, LA57, 0, 3, 1)]
    found = image(tmp_path, b"\x90" * 3 + bytes(61), other=STAC + b"\xf8", entries=entries, size=size)
    assert patched(found, ["smap", "la57"])[:3] == b"\xf8\x66\x90"


def test_v612_pads_nested_alternatives_to_the_longest(tmp_path: Path) -> None:
    entries = [(TEXT, REPLACEMENTS, SMAP, 0, 6, 3), (TEXT, REPLACEMENTS + 3, LA57, 0, 3, 1)]
    found = image(tmp_path, b"\x90" * 6 + bytes(58), other=STAC + b"\xf8", entries=entries, size=14)
    assert patched(found, ["smap"])[:6] == STAC + NOP3
    assert patched(found, ["smap", "la57"])[:6] == b"\xf8\x0f\x1f\x44\0\0"


@pytest.mark.parametrize(
    ("pointer", "code"),
    [(TEXT + 0x40, b"\xe8\x3b\0\0\0\x90"), (0, b"\xe8\x2b\0\0\0\x90"), (TEXT + 0x20, b"\x66\x0f\x1f\x44\0\0")],
)
def test_v612_makes_indirect_calls_direct(tmp_path: Path, pointer: int, code: bytes) -> None:
    bug = TEXT + 0x30
    call = b"\xff\x15" + (DATA + 0x1000 - TEXT - 6).to_bytes(4, "little")
    other = b"\xe8" + (bug - REPLACEMENTS - 5).to_bytes(4, "little", signed=True)
    found = image(
        tmp_path,
        call + bytes(58),
        other=other,
        entries=[(TEXT, REPLACEMENTS, ALWAYS, 2, 6, 5)],
        size=14,
        more=[Piece(".data", pointer.to_bytes(8, "little"), DATA + 0x1000, WA)],
        symbols=[("BUG_func", bug), ("nop_func", TEXT + 0x20)],
    )
    assert patched(found)[:6] == code


@pytest.mark.parametrize(
    "entry",
    [
        (TEXT + 0x10000, REPLACEMENTS, SMAP, 0, 3, 3),
        (TEXT, DATA, SMAP, 0, 3, 3),
        (TEXT, REPLACEMENTS, SMAP, 0, 2, 3),
        (TEXT, REPLACEMENTS, 2000, 0, 3, 3),
        (TEXT + 62, REPLACEMENTS, SMAP, 0, 3, 3),
    ],
)
def test_a_table_that_makes_no_sense(tmp_path: Path, entry: Entry) -> None:
    with pytest.raises(BadInput, match=r"\.altinstructions"):
        patched(image(tmp_path, entries=[entry], other=STAC, size=14))


def test_unknown_and_unmodelled_features(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="erms"):
        patched(image(tmp_path), ["emrs"])
    with pytest.raises(Unsupported, match="call_depth"):
        patched(image(tmp_path), ["call_depth"])


def table_of(places: Iterable[int], at: int) -> bytes:
    return b"".join((place - at - 4 * i).to_bytes(4, "little", signed=True) for i, place in enumerate(places))


def jump(opcode: int, place: int, target: int) -> bytes:
    return bytes((opcode,)) + (target - place - 5).to_bytes(4, "little", signed=True)


def test_returns(tmp_path: Path) -> None:
    thunk, its = TEXT + 0x60, TEXT + 0x70
    code = jump(0xE9, TEXT, thunk) + jump(0xE9, TEXT + 5, TEXT + 0x40)
    code = code.ljust(0x20, b"\0") + jump(0xE9, TEXT + 0x20, thunk)
    found = image(
        tmp_path,
        code.ljust(0x80, b"\0"),
        more=[Piece(".return_sites", table_of([TEXT, TEXT + 5, TEXT + 0x20], DATA), DATA, A)],
        symbols=[("__x86_return_thunk", thunk), ("its_return_thunk", its), ("srso_return_thunk", TEXT + 0x78)],
    )
    plain = b"\xc3\xcc\xcc\xcc\xcc"
    assert patched(found)[:10] == plain + code[5:10]
    assert patched(found)[0x20:0x25] == plain
    assert patched(found, ["rethunk", "srso"])[:5] == jump(0xE9, TEXT, TEXT + 0x78)
    only_its = patched(found, ["rethunk"])
    assert only_its[:5] == jump(0xE9, TEXT, its)
    assert only_its[0x20:0x25] == plain


@pytest.mark.parametrize(
    ("site", "register", "plain", "fenced"),
    [
        ("e8", 0, "ffd00f1f00", "0faee8ffd0"),
        ("e8", 11, "41ffd36690", None),
        ("e9", 2, "ffe2cc6690", "0faee8ffe2"),
        ("2ee8", 11, "41ffd30f1f00", "0faee841ffd3"),
        ("2ee9", 8, "41ffe0cc6690", "0faee841ffe0"),
        ("0f84", 1, "7504ffe1cc90", None),
    ],
)
def test_retpolines(tmp_path: Path, site: str, register: int, plain: str, fenced: str | None) -> None:
    thunks, opcode = TEXT + 0x100, bytes.fromhex(site)
    length = len(opcode) + 4
    code = opcode + (thunks + 32 * register - TEXT - length).to_bytes(4, "little")
    found = image(
        tmp_path,
        code.ljust(64, b"\0"),
        more=[Piece(".retpoline_sites", table_of([TEXT], DATA), DATA, A)],
        symbols=[("__x86_indirect_thunk_array", thunks)],
    )
    assert patched(found)[:length].hex() == plain
    assert patched(found, ["retpoline"])[:length] == code
    assert patched(found, ["retpoline", "retpoline_lfence"])[:length].hex() == (fenced or code.hex())


def test_paravirt_calls(tmp_path: Path) -> None:
    rows = b"".join(
        struct.pack("<QBB6x", TEXT + at, kind, length) for at, kind, length in ((0, 0, 7), (8, 1, 6), (16, 2, 6))
    )
    operations = struct.pack("<QQQ", TEXT + 0x40, TEXT + 0x50, 0)
    found = image(
        tmp_path,
        more=[Piece(".parainstructions", rows, DATA, A), Piece(".data", operations, DATA + 0x1000, WA)],
        symbols=[("pv_ops", DATA + 0x1000), ("_paravirt_nop", TEXT + 0x50), ("paravirt_BUG", TEXT + 0x60)],
    )
    code = patched(found)
    assert code[:7] == jump(0xE8, TEXT, TEXT + 0x40) + b"\x66\x90"
    assert code[8:14] == b"\x66\x0f\x1f\x44\0\0"
    assert code[16:22] == jump(0xE8, TEXT + 16, TEXT + 0x60) + b"\x90"


def test_ftrace_sites_endbr_seals_and_runtime_constants(tmp_path: Path) -> None:
    fentry, constant = TEXT + 0x30, b"\xef\xcd\xab\x89\x67\x45\x23\x01"
    code = b"\xf3\x0f\x1e\xfa" + jump(0xE8, TEXT + 4, fentry) + jump(0xE8, TEXT + 9, TEXT) + b"\x48\xb8" + constant
    found = image(
        tmp_path,
        code.ljust(64, b"\0"),
        more=[
            Piece(".init.data", struct.pack("<QQQ", TEXT + 4, 0, TEXT + 9), DATA, WA),
            Piece(".ibt_endbr_seal", table_of([TEXT, TEXT + 4], DATA + 0x1000), DATA + 0x1000, A),
            Piece("runtime_ptr_USER_PTR_MAX", table_of([TEXT + 16], DATA + 0x2000), DATA + 0x2000, A),
            Piece(".data", bytes(12), DATA + 0x3000, WA),
        ],
        symbols=[
            ("__start_mcount_loc", DATA),
            ("__stop_mcount_loc", DATA + 24),
            ("__fentry__", fentry),
            ("USER_PTR_MAX", DATA + 0x3000),
            ("__pgtable_l5_enabled", DATA + 0x3008),
        ],
    )
    assert patched(found)[:16] == b"\x66\x0f\x1f\0" + b"\x0f\x1f\x44\0\0" + code[9:16]
    for features, highest, five in (([], 0x7FFFFFFFF000, 0), (["la57"], 0xFFFFFFFFFFF000, 1)):
        assert patched(found, features)[16:24] == highest.to_bytes(8, "little")
        variables = patched(found, features, DATA + 0x3000, 12)
        assert variables == struct.pack("<QI", highest, five)


def test_runs_and_buffers_tell_the_same(tmp_path: Path) -> None:
    entries = [(TEXT + at, REPLACEMENTS, SMAP, 0, 3, 3) for at in (0, 3, 8)]
    found = image(tmp_path, b"\x90" * 64, other=STAC, entries=entries)
    patches = boot_patches(found, frozenset({"smap"}))
    assert list(patches.runs()) == [(TEXT, STAC * 2), (TEXT + 8, STAC)]
    assert len(patches) == 9
    part = bytearray(5)
    patches.write_into(part, TEXT + 4)
    assert part == STAC[1:] + b"\0\0" + STAC[:1]


def test_sections_that_overlap_are_patched_once(tmp_path: Path) -> None:
    code = b"\x90" * 64
    pieces = [
        Piece(".text", code, TEXT, AX),
        Piece(".text.a", code, TEXT, AX),
        Piece(".text.b", code[:1], TEXT + 8, AX),
    ]
    pieces += [Piece(".alt", STAC, REPLACEMENTS, AX)]
    pieces += [Piece(".altinstructions", row((TEXT, REPLACEMENTS, SMAP, 0, 3, 3), DATA, 12), DATA, A)]
    overlapping = Vmlinux.open(save(tmp_path / "vmlinux", elf(pieces)))
    assert list(boot_patches(overlapping, frozenset({"smap"})).runs()) == [(TEXT, STAC)]


def test_nothing_to_patch(tmp_path: Path) -> None:
    patches = boot_patches(image(tmp_path), frozenset({"smap"}))
    assert len(patches) == 0
    assert list(patches.runs()) == []


def test_tables_that_lead_outside_the_code(tmp_path: Path) -> None:
    for name in (".return_sites", ".retpoline_sites", ".ibt_endbr_seal", "runtime_ptr_USER_PTR_MAX"):
        more = [Piece(name, table_of([DATA], DATA), DATA, A)]
        with pytest.raises(BadInput, match=name):
            patched(image(tmp_path, more=more))
    with pytest.raises(Absent, match="__x86_return_thunk"):
        patched(image(tmp_path, more=[Piece(".return_sites", table_of([TEXT], DATA), DATA, A)]))


# ------------------------------------------------------------------------------------------------------- real kernels


def listing(kernel: Vmlinux, patches: Patches, function: str) -> list[str]:
    """The patched function: mnemonics and operands, branch targets by name."""
    start = kernel.symbols.find(function)
    found = kernel.symbols.at(start)
    assert found is not None
    code = bytearray(kernel.read(start, found.size))
    patches.write_into(code, start)
    lines, at = [], 0
    while at < len(code) and (each := decode(bytes(code[at : at + 15]))):
        text = each.text
        if each.mnemonic in ("call", "jmp") and " 0x" in text:
            target = start + at + int(text.split()[-1], 16)
            text = f"{each.mnemonic} {kernel.symbols.format(target % (1 << 64))}"
        lines.append(text)
        at += each.length
    return lines


Listing = Callable[[str, str], list[str]]


@pytest.fixture(scope="module")
def v61(vmlinux_61: Path) -> Listing:
    kernel = Vmlinux.open(vmlinux_61)
    return lambda function, features: listing(kernel, boot_patches(kernel, frozenset(features.split())), function)


@pytest.fixture(scope="module")
def v612(vmlinux_612: Path) -> Listing:
    kernel = Vmlinux.open(vmlinux_612)
    return lambda function, features: listing(kernel, boot_patches(kernel, frozenset(features.split())), function)


@pytest.mark.parametrize(
    ("features", "routine"),
    [
        ("", "copy_user_generic_unrolled"),
        ("rep_good", "copy_user_generic_string"),
        ("erms", "copy_user_enhanced_fast_string"),
        ("rep_good erms fsrm", "copy_user_enhanced_fast_string"),
        ("smap", "copy_user_generic_unrolled"),
    ],
)
def test_v61_copy_from_user_calls_the_routine_for_the_cpu(v61: Listing, features: str, routine: str) -> None:
    code = v61("_copy_from_user", features)
    assert any(line.startswith(f"call {routine}+0x0/") for line in code)
    assert "retq" in code
    assert not any("thunk" in line or "__fentry__" in line for line in code)
    assert any("$0x7ffffffff000" in line for line in code)


def test_v61_la57_widens_user_space(v61: Listing) -> None:
    assert any("$0xfffffffffff000" in line for line in v61("_copy_from_user", "la57"))


@pytest.mark.parametrize("routine", ["copy_user_generic_string", "__get_user_4"])
def test_v61_smap_opens_and_closes_user_memory(v61: Listing, routine: str) -> None:
    assert "stac" in v61(routine, "smap")
    assert "clac" in v61(routine, "smap")
    assert not {"stac", "clac"} & set(v61(routine, ""))


def test_v61_fsrm_skips_the_test_for_short_copies(v61: Listing) -> None:
    assert "cmpl $0x40, %edx" in v61("copy_user_enhanced_fast_string", "erms")
    assert "cmpl $0x40, %edx" not in v61("copy_user_enhanced_fast_string", "erms fsrm")


def test_v61_no_call_through_pv_ops_is_left(vmlinux_61: Path) -> None:
    kernel = Vmlinux.open(vmlinux_61)
    text, sites = kernel.section(".text"), kernel.section(".parainstructions")
    assert text is not None
    assert sites is not None
    code = bytearray(text[1])
    places = [place - text[0] for place, _, _ in struct.iter_unpack("<QB7s", sites[1])]
    inside = [place for place in places if 0 <= place < len(code)]
    indirect = b"\xff\x15"
    assert all(code[place : place + 2] == indirect for place in inside)
    boot_patches(kernel, frozenset()).write_into(code, text[0])
    assert not any(code[place : place + 2] == indirect for place in inside)


@pytest.mark.parametrize(("features", "inlined"), [("", False), ("fsrm", True), ("erms fsrm smap", True)])
def test_v612_copy_from_user(v612: Listing, features: str, inlined: bool) -> None:
    code = v612("_copy_from_user", features)
    assert any("rep movsb" in line for line in code) is inlined
    assert any("rep_movs_alternative" in line for line in code) is not inlined
    assert ("stac" in code) is ("smap" in features)
    assert any("$0x7ffffffff000" in line for line in code)


@pytest.mark.parametrize(("features", "highest"), [("", "$0x7ffffffff000"), ("la57", "$0xfffffffffff000")])
def test_v612_get_user_compares_with_user_ptr_max(v612: Listing, features: str, highest: str) -> None:
    code = v612("__get_user_4", features)
    assert any(highest in line for line in code)
    assert not any("0x123456789abcdef" in line for line in code)


@pytest.mark.parametrize("fixture", ["v61", "v612"])
def test_la57_sets_the_variables_that_say_so(request: pytest.FixtureRequest, fixture: str) -> None:
    kernel = Vmlinux.open(request.getfixturevalue(f"vmlinux_{fixture[1:]}"))
    address = kernel.symbols.find("page_offset_base")
    for features, base in ((frozenset[str](), 0xFFFF888000000000), (frozenset({"la57"}), 0xFF11000000000000)):
        word = bytearray(kernel.read(address, 8))
        boot_patches(kernel, features).write_into(word, address)
        assert int.from_bytes(word, "little") == base
