from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.images.open_image import open_image
from pagefault.survey.describe import describe
from pagefault.survey.described import DescribedEntry
from pagefault.survey.difference import MOST_TO_ALIGN, Difference, difference, matched, may_be_user_access, shape
from survey.made_up import BASE, entry, instruction, several

LOAD, STORE, BYTE = "<movq {(%rsi)}, %rax", ">movq %rax, {(%rdi)}", "<movb {(%rsi)}, %al"


def texts(entries: Sequence[DescribedEntry]) -> list[str]:
    return [each.insn.instruction.text for each in entries if each.insn.instruction]


def test_a_kernel_does_not_differ_from_itself() -> None:
    kernel = several("f", LOAD, STORE) + several("g", BYTE, BYTE)
    assert difference(kernel, kernel) == Difference(4, 4, 4, ())


def test_what_came_and_what_went() -> None:
    found = difference(several("f", LOAD, STORE), several("f", LOAD, BYTE))
    assert texts(found.removed) == ["movq %rax, (%rdi)"]
    assert texts(found.added) == ["movb (%rsi), %al"]
    assert (found.unchanged, found.retyped) == (1, ())


def test_where_code_was_placed_does_not_matter() -> None:
    old, new = several("f", LOAD, STORE), several("f", LOAD, STORE, base=BASE + 0x123450)
    assert not difference(old, new).functions


def test_which_registers_and_offsets_were_chosen_does_not_matter() -> None:
    old = several("f", "<movq {0x10(%rsi,%rcx,8)}, %rax", ">movl $0, {(%rdi)}")
    new = several("f", "<movq {(%r14)}, %r10", ">movl $7, {-8(%rbp)}")
    assert not difference(old, new).functions


@pytest.mark.parametrize(
    "name", ["f.isra.0", "f.constprop.3", "f.cold", "f.part.0.cold", "f.llvm.123", "f.isra.0.constprop.0"]
)
def test_what_a_compiler_puts_behind_a_name_does_not_matter(name: str) -> None:
    assert not difference(several("f", LOAD), several(name, LOAD)).functions


@pytest.mark.parametrize("name", ["g", "f_cold", "f.1.table", "__f"])
def test_another_name_is_another_function(name: str) -> None:
    found = difference(several("f", LOAD), several(name, LOAD))
    assert {each.function for each in found.functions} == {"f", name}
    assert (len(found.added), len(found.removed)) == (1, 1)


def test_another_handler_is_no_other_entry() -> None:
    found = difference(several("f", LOAD, BYTE), [*several("f", LOAD), entry("f", BYTE, "imm_reg", at=4)])
    assert [(pair.old.entry.type, pair.new.entry.type) for pair in found.retyped] == [("uaccess", "imm_reg")]
    assert (found.added, found.removed, found.unchanged) == ((), (), 1)


def test_another_number_in_the_data_is_another_handling_and_another_register_is_not() -> None:
    def kernel(register: str, immediate: str) -> list[DescribedEntry]:
        return [entry("f", LOAD, "imm_reg", fields=(("reg", register), ("imm", immediate)))]

    assert not difference(kernel("rax", "-14"), kernel("rcx", "-14")).functions
    assert len(difference(kernel("rax", "-14"), kernel("rax", "0")).retyped) == 1


def test_no_register_is_another_handling_than_some_register() -> None:
    old = [entry("f", LOAD, "uaccess_err_zero", fields=(("err", "w0"), ("zero", "x1")))]
    new = [entry("f", LOAD, "uaccess_err_zero", fields=(("err", "w0"), ("zero", "none")))]
    assert len(difference(old, new).retyped) == 1


def test_a_block_that_moved_within_its_function_is_no_difference() -> None:
    old = several("f", LOAD, LOAD, STORE, BYTE)
    new = several("f", BYTE, LOAD, LOAD, STORE)
    assert not difference(old, new).functions


def test_of_many_that_look_alike_the_one_out_of_order_is_the_new_one() -> None:
    found = difference(several("f", LOAD, BYTE, LOAD), several("f", LOAD, BYTE, LOAD, LOAD))
    assert [each.insn.address for each in found.added] == [BASE + 12]
    found = difference(several("f", BYTE, LOAD), several("f", LOAD, BYTE, LOAD))
    assert [each.insn.address for each in found.added] == [BASE]


def test_entries_in_any_order_are_the_same_table() -> None:
    kernel = several("f", LOAD, STORE, BYTE)
    assert not difference(kernel, kernel[::-1]).functions
    assert difference([], kernel[::-1]).added == tuple(kernel)


def test_modules_and_tables_are_kept_apart() -> None:
    old = [entry("init", LOAD, module="a"), entry("init", LOAD, table="__dbe_table")]
    new = [entry("init", LOAD, module="b"), entry("init", LOAD)]
    found = difference(old, new)
    assert [(each.module, each.table) for each in found.functions] == [
        (None, "__dbe_table"),
        (None, "__ex_table"),
        ("a", "__ex_table"),
        ("b", "__ex_table"),
    ]


def test_functions_that_gained_and_lost_user_access() -> None:
    old = several("lost", LOAD) + several("both", LOAD) + several("msr", "rdmsr", handler="rdmsr")
    new = several("gained", STORE) + several("both", LOAD, STORE) + several("other", "wrmsr", handler="wrmsr")
    by_name = {each.function: each for each in difference(old, new).functions}
    assert [name for name, each in by_name.items() if each.gained_user_access] == ["gained"]
    assert [name for name, each in by_name.items() if each.lost_user_access] == ["lost"]
    assert (by_name["both"].before, by_name["both"].after) == (1, 2)
    assert (by_name["both"].user_before, by_name["both"].user_after) == (1, 2)


@pytest.mark.parametrize(
    ("text", "handler", "may"),
    [
        (LOAD, "uaccess", True),
        (STORE, "default", True),
        ("rdmsr", "default", False),
        (LOAD, "zeropad", False),
        (LOAD, "kaccess_err_zero", False),
        (None, "uaccess", True),
    ],
)
def test_what_may_be_user_access(text: str | None, handler: str, may: bool) -> None:
    assert may_be_user_access(entry("f", text, handler)) is may


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<movq {0x30(%rdi)}, %r10", "movq M, r"),
        (">movl $0x10, {(%rax, %rcx, 8)}", "movl n, M"),
        ("<movl {%gs:0x10(%rax)}, %edx", "movl gs:M, r"),
        ("movl %edi, %fs", "movl r, fs"),
        ("<ldtr x3, {[x1]}", "ldtr r, M"),
        ("<ldtr w3, {[x1, #8]}", "ldtr w, M"),
        (">sttr wzr, {[x1]}", "sttr w, M"),
        ("<lwz r9, {0(r10)}", "lwz r, M"),
        (">stw 9, {0(10)}", "stw n, M"),
        ("rdmsr", "rdmsr"),
        ("<mvcos {0(%r2,%r1)}, 0(%r3), %r4", "mvcos M, n(r), r"),
    ],
)
def test_shapes(text: str, expected: str) -> None:
    assert shape(instruction(text)) == expected


def test_an_instruction_that_cannot_be_read_has_a_shape_too() -> None:
    assert shape(None) == "?"
    assert not difference([entry("f", None)], [entry("f", None)]).functions


def test_without_symbols_a_whole_table_is_compared() -> None:
    old = [entry(None, LOAD), entry(None, STORE, at=8)]
    found = difference(old, [*old, entry(None, BYTE, at=16)])
    assert [(each.function, len(each.added)) for each in found.functions] == [(None, 1)]


def test_huge_functions_are_counted_and_not_aligned() -> None:
    many = int(MOST_TO_ALIGN**0.5) + 2
    old, new = [entry("f", LOAD, at=i) for i in range(many)], [entry("f", LOAD, at=i) for i in range(many + 1)]
    found = difference(old, new)
    assert (found.unchanged, len(found.added), len(found.removed)) == (many, 1, 0)


kernels = st.lists(
    st.builds(
        lambda function, text, handler, at: entry(function, text, handler, at=at),
        st.sampled_from(("f", "g", "h.isra.0", None)),
        st.sampled_from((LOAD, STORE, BYTE)),
        st.sampled_from(("uaccess", "imm_reg")),
        st.integers(0, 255),
    ),
    max_size=12,
)


@given(kernels, kernels)
def test_every_entry_is_told_of_once(old: list[DescribedEntry], new: list[DescribedEntry]) -> None:
    found = difference(old, new)
    assert found.unchanged + len(found.retyped) + len(found.removed) == len(old) == found.before
    assert found.unchanged + len(found.retyped) + len(found.added) == len(new) == found.after
    turned = difference(new, old)
    assert (turned.unchanged, len(turned.retyped)) == (found.unchanged, len(found.retyped))


@given(kernels)
def test_order_is_stable(kernel: list[DescribedEntry]) -> None:
    assert difference(kernel, []) == difference([replace(each) for each in kernel], [])


def test_pairs_come_in_order() -> None:
    old, new = several("f", LOAD, STORE, BYTE), several("f", BYTE, LOAD, STORE)
    pairs, gone, come = matched(old, new, lambda each: shape(each.insn.instruction))
    assert [one.insn.address - BASE for one, _ in pairs] == [0, 4, 8]
    assert (gone, come) == ([], [])


def test_from_6_1_to_6_12(vmlinux_61: Path, vmlinux_612: Path) -> None:
    """Linux kernel commits 3639a535587d, 427fda2c8a49, 577e6a7fd50d and 034ff37d3407 (in v6.4)."""
    old, new = (list(describe(open_image(path))) for path in (vmlinux_61, vmlinux_612))
    assert not difference(old, old).functions
    found = difference(old, new)
    gained = {each.function for each in found.functions if each.gained_user_access}
    lost = {each.function for each in found.functions if each.lost_user_access}
    assert {"rep_movs_alternative", "rep_stos_alternative", "_copy_from_user", "copy_to_nontemporal"} <= gained
    assert {
        "copy_user_generic_unrolled",
        "copy_user_generic_string",
        "copy_user_enhanced_fast_string",
        "__copy_user_nocache",
        "clear_user_erms",
    } <= lost
    retyped = {each.function for each in found.functions if each.retyped}
    assert {"strncpy_from_user", "strnlen_user", "copy_from_kernel_nofault"} <= retyped
    assert not any(each.function and each.function.startswith("__get_user_") for each in found.functions)
