"""The rules where they depend on the machine, the file or what is patched: each finds its case, and no more."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from audit.specimen import (
    ALTERNATIVES,
    IMM_REG,
    REPLACEMENTS,
    SMAP,
    TEXT,
    UCOPY_LEN,
    Specimen,
    entry,
    piece,
    x86,
)
from pagefault.arch.platform import ARM64, LOONGARCH64, MIPS64, RISCV64, S390, Platform
from pagefault.audit import audit
from pagefault.audit.boundaries import boundary
from pagefault.audit.context import AuditContext, TableEntry
from pagefault.audit.families import ASSEMBLY, fixup_elsewhere
from pagefault.audit.handler_types import ONLY_JIT, cannot_fault, misfit, misfits
from pagefault.audit.order import duplicate
from pagefault.audit.places import fixup_is_insn, fixup_not_code, not_a_boundary
from pagefault.images.open_image import open_image
from pagefault.kernels import small_kernel
from pagefault.tables import extable_build

LOAD = "8b07 c3 90909090"
"""0: mov (%rdi),%eax; 2: ret"""
BASE = {"arm64": TEXT, "s390": 0x10_0000, "riscv64": 0xFFFF_FFFF_8000_0000, "loongarch64": 0xFFFF_FFFF_8000_0000}


def codes(image: Specimen) -> list[str]:
    return [finding.code for finding in audit(image).unexplained]


def functions(*names: str) -> Specimen:
    return x86(*((name, LOAD) for name in names))


def of(platform: Platform, layout: str, code: str, *entries: tuple[int, int, int]) -> Specimen:
    """Code of another machine in a function and a half, with entries by offsets."""
    base = BASE[platform.name]
    data = bytes.fromhex(code)
    return Specimen(
        (piece(".text", base, data),),
        ((base, "touch"), (base + len(data), "_end")),
        tuple(extable_build.TableEntry(base + insn, base + fixup, word) for insn, fixup, word in entries),
        platform=platform,
        layout=next(each for each in platform.exceptions.layouts if each.name == layout),
    )


@pytest.mark.parametrize(
    ("names", "fixup", "expected"),
    [
        (("first", "second"), 256, ["PF005"]),
        (("second", "first"), 258, ["PF005"]),
        (("first", "first.cold"), 256, []),
        (("first.isra.0", "first.part.3"), 256, []),
        (("__get_user_1", "__get_user_nocheck_8"), 258, []),
        (("__get_user_1", "__put_user_nocheck_8"), 258, ["PF005"]),
        (("get_user_pages", "get_user_pages_fast"), 258, ["PF005"]),
        (("__get_user_nocheck_8", "__get_user_1"), 258, ["PF005"]),
        (("csum_partial_copy_nocheck", "csum_partial_copy_from_user"), 256, ["PF005"]),
    ],
)
def test_a_fixup_belongs_to_its_function(names: tuple[str, str], fixup: int, expected: list[str]) -> None:
    image = functions("before", *names)
    assert codes(image.with_entries(entry(256, 256 + fixup))) == expected


@pytest.mark.parametrize(
    ("back", "expected"),
    [("e9fbfeffff", ["PF005"]), ("e9fdfeffff", []), ("e9fbffffff", ["PF005"]), ("e900000080", ["PF005"])],
    ids=["to its start", "into it", "to itself", "to nowhere"],
)
def test_a_collected_fixup_leads_back(back: str, expected: list[str]) -> None:
    image = x86(("touch", LOAD), ("collected", back))
    assert codes(image.with_entries(entry(0, 256))) == expected


@pytest.mark.parametrize(("jump", "found"), [("01000408", False), ("81000408", True)])
def test_a_mips64_jump_has_the_upper_half_of_its_own_address(jump: str, found: bool) -> None:
    # lbu $v0, 0($a0); nop; … and at 0x100 of the file li $v1, -14; j
    base = 0xFFFF_FFFF_8010_0000
    code = bytes.fromhex("00008290").ljust(256, b"\0") + bytes.fromhex("f2ff0324") + bytes.fromhex(jump) + bytes(504)
    names = ((base, "touch"), (base + 256, "collected"), (base + 512, "other"), (base + len(code), "_end"))
    image = Specimen((piece(".text", base, code),), names, platform=MIPS64)
    image = image.with_entries(extable_build.TableEntry(base, base + 256))
    assert bool(list(fixup_elsewhere(AuditContext(image)))) is found


def test_names_are_whole_names_of_one_machine() -> None:
    for each in ASSEMBLY:
        assert each.machines
        assert not each.insn.fullmatch("get_user_pages")
        assert not each.fixup.fullmatch("")


def test_where_the_decoder_is_out_of_step_nothing_is_said() -> None:
    inside = "b88b07c306"  # mov $0x6c3078b,%eax
    believed, doubted = x86(("f", inside + "90" * 8)), x86(("f", inside + "060606" + "90" * 8))
    assert boundary(AuditContext(believed), TEXT + 1) == TEXT
    assert boundary(AuditContext(doubted), TEXT + 1) is None


def test_lengths_stand_in_the_first_bits() -> None:
    # riscv: c.nop, then nops of four bytes; s390: larl of six bytes, lr of two
    riscv = AuditContext(of(RISCV64, "data", "0100" + "13000000" * 9))
    base = BASE["riscv64"]
    assert [boundary(riscv, base + at) for at in (0, 2, 4, 6)] == [None, None, base + 2, None]
    s390 = AuditContext(of(S390, "data-6.1", "c04000000000" + "1834" * 9))
    base = BASE["s390"]
    assert [boundary(s390, base + at) for at in (0, 2, 4, 6)] == [None, base, base, None]


def patched(original: str, replacement: str) -> Specimen:
    """A function that begins with a place that is patched."""
    image = x86(("touch", original + LOAD))
    code, length = bytes.fromhex(replacement), len(bytes.fromhex(original))
    table = struct.pack("<iiHBB", TEXT - ALTERNATIVES, REPLACEMENTS - ALTERNATIVES - 4, SMAP, length, len(code))
    more = (
        piece(".altinstructions", ALTERNATIVES, table, executable=False),
        piece(".altinstr_replacement", REPLACEMENTS, code, discarded=True),
    )
    return replace(image, pieces=(*image.pieces, *more))


def test_no_entry_points_into_what_is_patched_in() -> None:
    # nop; nop; nop, and CLAC over them
    clac = patched("909090", "0f01ca")
    for at, expected in ((0, None), (1, TEXT), (2, TEXT), (3, None)):
        assert boundary(AuditContext(clac), TEXT + at) == expected
    # two instructions over one, and one over two: all that begin in either are right
    two = patched("8b4710", "8b0790")
    assert [boundary(AuditContext(two), TEXT + at) for at in (1, 2)] == [TEXT, None]
    short = patched("89c8909090", "f3a4")
    assert [boundary(AuditContext(short), TEXT + at) for at in (1, 2, 3)] == [TEXT, None, TEXT + 2]
    shorter = patched("8b4710", "c3")
    assert [boundary(AuditContext(shorter), TEXT + at) for at in (1, 2)] == [None, TEXT + 1]
    one = patched("8b0789c8", "0f01ca90")
    assert [boundary(AuditContext(one), TEXT + at) for at in (1, 2, 3)] == [TEXT, None, None]


def test_an_instruction_that_is_copied_before_it_runs_needs_its_entry_elsewhere() -> None:
    image = patched("9090", "8b07")
    image = replace(image, names=(*image.names, (REPLACEMENTS, "spare")))
    there = extable_build.TableEntry(REPLACEMENTS, REPLACEMENTS, 3)
    [finding] = [each for each in audit(image.with_entries(there)).findings if each.code == "PF003"]
    assert "lies in .altinstr_replacement, from where it is copied" in finding.message


def test_a_fixup_that_is_its_own_instruction() -> None:
    # mov (%rdi),%eax; mov %eax,%fs; lkgs %eax; pop %rax
    image = x86(("touch", "8b07 8ee0 f20f00f0 58 c3"))
    assert codes(image.with_entries(entry(0, 0))) == ["PF015"]
    assert codes(image.with_entries(entry(2, 2))) == ["PF015"]
    for at, register, found in ((2, 0, False), (2, 1, True), (0, 0, True), (4, 0, False), (8, 0, True)):
        made = image.with_entries(entry(at, at, IMM_REG, register=register))
        assert bool(list(fixup_is_insn(AuditContext(made)))) is found, (at, register)


def test_on_s390_what_follows_a_suppressed_instruction_may_be_where_it_goes_on() -> None:
    # lr …; 8: diag %r2,%r4,0x26c; 12: sam64; lr …
    code = "1834 1834 1834 1834 8324026c 010e 1834 1834 1834 1834 07fe"
    assert codes(of(S390, "data-6.1", code, (12, 12, 1))) == []
    assert codes(of(S390, "data-6.1", code, (8, 8, 1))) == ["PF015"]


def test_on_s390_what_follows_an_access_may_be_reported() -> None:
    # lr …; 8: l %r1,0(%r2); 12: lr; 14: lr …
    code = "1834 1834 1834 1834 58102000 1834 1834 1834 1834 07fe"
    assert codes(of(S390, "data-6.1", code, (12, 14, 1))) == []
    assert codes(of(S390, "data-6.1", code, (14, 16, 1))) == ["PF007"]


def test_on_s390_no_handler_writes_r15() -> None:
    code = "58102000 1834 07fe"
    assert codes(of(S390, "data-6.1", code, (0, 6, 3 | 15 << 16))) == ["PF010"]
    assert codes(of(S390, "data-6.1", code, (0, 6, 3 | 14 << 16))) == []


@pytest.mark.parametrize(
    ("data", "address", "expected"), [(1, 0, []), (0, 1, ["PF009"]), (1, 2, ["PF009"]), (2, 0, ["PF009"])]
)
def test_arm64_zeropad_names_the_registers_of_its_load(data: int, address: int, expected: list[str]) -> None:
    # ldr x1, [x0]; ret
    assert codes(of(ARM64, "data-6.0", "010040f9 c0035fd6", (0, 4, 4 | (address << 5 | data) << 16))) == expected


def test_a_finding_is_at_the_entry_and_its_instruction() -> None:
    image = functions("first", "second").with_entries(entry(0, 2), entry(259, 258))
    [found] = audit(image).unexplained
    assert found.message.startswith("entry 1 is for second+0x3, `nop`, which cannot fault")
    assert (found.place.address, found.place.table, found.place.entry) == (TEXT + 259, "__ex_table", 1)


def test_what_needs_a_decoder_is_skipped_without_one() -> None:
    context = AuditContext(of(LOONGARCH64, "data", "00" * 16, (0, 8, 1)))
    found = [*misfit(context), *cannot_fault(context), *not_a_boundary(context)]
    assert not found
    assert context.skipped == [
        ("whether types fit their instructions", "no decoder for loongarch64"),
        ("whether instructions of entries can fault", "no decoder for loongarch64"),
        ("whether entries point at instructions", "no decoder for loongarch64"),
    ]


def test_only_a_jit_writes_bpf_entries() -> None:
    context = AuditContext(functions("first", "second").with_entries(entry(0, 256)))
    [made] = context.entries
    bpf = TableEntry(made.table, replace(made.entry, type="bpf", fixup=0))
    assert misfits(context, bpf) == ONLY_JIT
    vars(context)["entries"] = (bpf,)
    assert not [*fixup_not_code(context), *fixup_elsewhere(context), *fixup_is_insn(context)]


def test_only_the_main_table_is_sorted_when_the_kernel_is_built() -> None:
    image = functions("first", "second").with_entries(entry(256, 258), entry(0, 2))
    assert codes(image) == ["PF001"]
    assert codes(replace(image, table_name="__other_table")) == []


def test_two_tables_may_both_name_an_instruction() -> None:
    context = AuditContext(functions("first").with_entries(entry(0, 2)))
    [made] = context.entries
    other = replace(made, table=replace(made.table, name="__other_table"))
    vars(context)["entries"] = (made, other)
    assert not list(duplicate(context))
    vars(context)["entries"] = (made, made, replace(made))
    assert len(list(duplicate(context))) == 1


def test_a_symbol_does_not_reach_into_the_next_section() -> None:
    image = functions("first")
    data = piece(".data", TEXT + 256, bytes(64), executable=False)
    image = replace(image, pieces=(*image.pieces, data), names=((TEXT, "first"), (TEXT + 4096, "_end")))
    context = AuditContext(image)
    assert context.name(TEXT + 2) == "first+0x2"
    assert context.symbol(TEXT + 260) is None


@pytest.mark.parametrize(
    ("code", "factor", "words"),
    [
        ("f348a5 c3", 8, None),
        ("f348a5 c3", 4, "cx counts units of 8 bytes, and the handler multiplies it by 4"),
        ("488907 4883c708 48ffc9 75f4 c3", 8, None),
        ("488907 4883c708 e2f7 c3", 8, None),
        ("488907 4883c708 48ffca 75f4 c3", 8, "neither it nor a loop around it counts cx down"),
        ("488907 48ffc9 7503 c3", 8, "neither it nor a loop around it counts cx down"),
        ("488907 48ffc9 c3", 8, "neither it nor a loop around it counts cx down"),
    ],
    ids=["rep movsq", "wrong unit", "a loop", "loop", "of rdx", "forward", "no loop"],
)
def test_what_is_left_is_computed_from_a_count_in_cx(code: str, factor: int, words: str | None) -> None:
    image = x86(("copy", code)).with_entries(entry(0, 3, UCOPY_LEN, register=2, immediate=factor))
    messages = [each.message for each in audit(image).unexplained if each.code == "PF009"]
    assert len(messages) == (words is not None)
    assert words is None or words in messages[0]


def test_this_projects_own_kernel_is_clean() -> None:
    assert audit(open_image(small_kernel(), strict=False)).findings == ()
