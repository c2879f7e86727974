from __future__ import annotations

import pytest

from pagefault.cli.extable_choice import NAMED, ORDERS, Choice
from pagefault.survey.described import DescribedEntry, SourceLine
from survey.made_up import BASE, entry

LOAD = "<movq {(%rsi)}, %rax"
ENTRIES = [
    entry(
        "copy_user.isra.0",
        LOAD,
        "uaccess",
        at=8,
        index=0,
        source=(SourceLine("get", "a.c", 1), SourceLine("f", "b.c", 2)),
    ),
    entry("rdmsr_safe", "rdmsr", "rdmsr", at=4, index=1, section=".init.text", source=(SourceLine("f", "a.c", 9),)),
    entry("init", LOAD, "uaccess", at=0, index=2, table="__dbe_table", module="ext4"),
    entry(None, LOAD, "default", at=12, index=3, section=None),
]


def chosen(choice: Choice) -> list[int]:
    return [each.entry.index for each in choice.of(ENTRIES)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"function": ("copy_user.isra.0",)}, [0]),
        ({"function": ("copy_user",)}, [0]),
        ({"function": ("copy",)}, []),
        ({"function": ("copy*", "in?t")}, [0, 2]),
        ({"function": ("COPY*",)}, []),
        ({"type": ("uaccess",)}, [0, 2]),
        ({"type": ("uaccess",), "section": (".init.text",)}, []),
        ({"section": (".text",)}, [0, 2]),
        ({"table": ("__dbe_*",)}, [2]),
        ({"module": ("ext4",)}, [2]),
        ({"module": ("",)}, [0, 1, 3]),
        ({"type": (), "function": ()}, [0, 1, 2, 3]),
    ],
)
def test_what_is_wanted(names: dict[str, tuple[str, ...]], expected: list[int]) -> None:
    assert chosen(Choice(names)) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("table", [0, 1, 3, 2]),
        ("address", [1, 0, 3, 2]),
        ("function", [3, 0, 2, 1]),
        ("type", [3, 1, 0, 2]),
        ("section", [3, 1, 0, 2]),
        ("source", [2, 3, 1, 0]),
    ],
)
def test_orders(order: str | None, expected: list[int]) -> None:
    assert chosen(Choice({}, order)) == expected


def test_every_order_has_a_test() -> None:
    assert set(ORDERS) == {"table", "address", "function", "type", "section", "source"}
    assert set(NAMED) == {"table", "module", "function", "type", "section"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"type": ("uacess",)}, "no entry has --type uacess; did you mean uaccess?"),
        ({"function": ("user",)}, "did you mean copy_user"),
        ({"type": ("xyzzy",)}, "there are: default, rdmsr, uaccess"),
        ({"type": ("a", "b")}, "no entry has --type a or b;"),
        ({"type": ("rdmsr",), "section": (".text",)}, "no entry has all of these at once"),
    ],
)
def test_why_nothing_is_left(names: dict[str, tuple[str, ...]], words: str) -> None:
    assert words in Choice(names).why_none(ENTRIES)


def test_why_nothing_is_left_of_many() -> None:
    many = [entry(f"function_{i}", LOAD, at=i) for i in range(100)]
    assert "--sort function" in Choice({"function": ("xyzzy",)}).why_none(many)
    nothing: list[DescribedEntry] = []
    assert "there are: none" in Choice({"function": ("x",)}).why_none(nothing)


def test_only_names_narrow() -> None:
    assert Choice({"type": ("x",)}).narrows
    assert not Choice({"type": ()}, "address", 3).narrows
    assert ENTRIES[0].insn.address == BASE + 8
