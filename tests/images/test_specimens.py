"""
riscv64 and loongarch64, of which there may be no kernel at hand: small ones made by the real assembler and linker
(`specimens/`), as a module, an ELF file and an Image, read through to every entry of both eras.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pagefault.images.elf import Elf
from pagefault.images.kernel_image import KernelImage
from pagefault.images.open_image import open_image
from pagefault.vocabulary.exception_entry import ExceptionEntry

SPECIMENS = Path(__file__).parent / "specimens"
Fields = tuple[tuple[str, str], ...]

NAMED: dict[tuple[str, str], dict[str, tuple[str, Fields]]] = {
    ("riscv64", "data"): {
        "plain": ("fixup", ()),
        "user_load": ("uaccess_err_zero", (("err", "a5"), ("zero", "a4"))),
        "user_store": ("uaccess_err_zero", (("err", "a5"), ("zero", "zero"))),
        "word": ("load_unaligned_zeropad", (("data", "a0"), ("addr", "a1"))),
    },
    ("riscv64", "absolute"): dict.fromkeys(("plain", "user_load", "user_store", "word"), ("default", ())),
    ("loongarch64", "data"): {
        "plain": ("fixup", ()),
        "user_load": ("uaccess_err_zero", (("err", "$a5"), ("zero", "$a4"))),
        "user_store": ("uaccess_err_zero", (("err", "$a5"), ("zero", "$zero"))),
    },
    ("loongarch64", "absolute"): dict.fromkeys(("plain", "user_load", "user_store"), ("default", ())),
}
"""The entries with a name for their instruction: type and fields."""
FILLERS = 36
WHICH = pytest.mark.parametrize(("architecture", "era"), NAMED)


def entries_of(image: KernelImage) -> list[ExceptionEntry]:
    (found,) = image.exception_tables
    return list(found.table)


def check(
    entries: list[ExceptionEntry], places: dict[str, int], text: int, architecture: str, era: str, *, module: bool
) -> None:
    """Every entry as the source has it, in the source's order. `places` are the addresses of the source's names."""
    named = NAMED[architecture, era]
    plain, _ = named["plain"]
    wanted = [(places[name], places[f"after_{name}"], *what) for name, what in named.items()]
    last = max(places[f"after_{name}"] for name in named)
    start = text + (last + 4 - text + 127) // 128 * 128
    wanted += [(start + 128 * n, places["after_plain"], plain, ()) for n in range(FILLERS)]
    wanted.append((places["early"], places["after_plain"], plain, ()))
    if module:
        wanted.append(wanted.pop(0))
    assert [(entry.insn, entry.fixup, entry.type, entry.fields) for entry in entries] == wanted


def addresses(image: KernelImage, architecture: str, era: str) -> dict[str, int]:
    places = {}
    for name in NAMED[architecture, era]:
        for each in (name, f"after_{name}"):
            place = image.symbols.find(each)
            assert place is not None
            places[each] = place
    early = image.symbols.find("early")
    assert early is not None
    return places | {"early": early}


def text_of(image: KernelImage) -> int:
    """Where .text begins: at the first of its names."""
    start = image.symbols.find("plain")
    assert start is not None
    return start


@WHICH
def test_a_module(architecture: str, era: str) -> None:
    """Its table is all relocations, and out of order."""
    path = SPECIMENS / f"{architecture}-{era}.ko"
    section = Elf.open(path).section("__ex_table")
    assert section is not None
    assert era == "absolute" or not any(section.data[:8])
    image = open_image(path)
    check(entries_of(image), addresses(image, architecture, era), text_of(image), architecture, era, module=True)
    (found,) = image.exception_tables
    assert not found.table.in_order
    assert found.table.layout.name == era


@WHICH
def test_a_kernel_as_elf(architecture: str, era: str) -> None:
    image = open_image(SPECIMENS / f"{architecture}-{era}.vmlinux")
    check(entries_of(image), addresses(image, architecture, era), text_of(image), architecture, era, module=False)
    assert image.exception_tables[0].table.in_order


@WHICH
def test_a_boot_image(architecture: str, era: str) -> None:
    """Flat, without sections or symbols: the table is found by its shape, at the addresses it has as ELF."""
    elf = open_image(SPECIMENS / f"{architecture}-{era}.vmlinux")
    image = open_image(SPECIMENS / f"{architecture}-{era}.Image")
    check(entries_of(image), addresses(elf, architecture, era), text_of(elf), architecture, era, module=False)
    assert image.exception_tables[0].table.layout.name == era
