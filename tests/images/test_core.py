"""
A kernel's memory, of any architecture: a made-up kernel, and what a dump would say of it. (Real dumps, and what drgn
makes of them: oracle/test_memory_of_a_kernel.py.)
"""

from __future__ import annotations

from pathlib import Path

import pytest

from images.elf_writer import symbol_pieces
from pagefault.arch.platform import ARM64, S390, X86_32, X86_64, ByteOrder, Platform, platform_of
from pagefault.errors import Absent, BadInput, Unsupported
from pagefault.images import core, open_image
from pagefault.images.core import KDUMP_MACHINE, Core, kdump_platform, platform_of_program
from pagefault.images.kernel_tables import MOST_BYTES
from pagefault.images.loaded_modules import LoadedModule
from pagefault.tables.symbols import SymbolTable
from tables.table_image import CODE, SIZE, TABLE, TableImage, table_image

ADDRESSES = [(X86_64, 0xFFFFFFFF81000000), (X86_32, 0xC1000000), (ARM64, 0xFFFF800008000000), (S390, 0x100000)]
MOVED = 0x19E0_0000


class Memory:
    """What `image` has in memory `moved` bytes from where it was linked."""

    def __init__(self, platform: Platform, image: TableImage, *, moved: int = 0, vmcoreinfo: str = "") -> None:
        self.platform, self.image, self.start = platform, image, image.address + moved
        self.vmcoreinfo = f"OSRELEASE=6.1.0\n{vmcoreinfo}"

    def read(self, address: int, length: int) -> bytes:
        at = address - self.start
        if not 0 <= at <= at + length <= SIZE:
            raise Absent(f"{length} bytes at {address:#x}", where="dump", hint="not there")
        return bytes(self.image.data[at : at + length])


def size_of(platform: Platform, image: TableImage) -> int:
    return platform.exceptions.layouts[0].size * len(image.insns)


def symbols_of(platform: Platform, image: TableImage, **more: int) -> SymbolTable:
    start = image.address
    names = {
        "per_cpu": 0x40,
        "_stext": start + CODE,
        "_etext": start + 0x20_0000,
        "_sinittext": start + 0x20_0000,
        "_einittext": start + TABLE - 0x1000,
        "__init_end": start + TABLE,
        "__start___ex_table": image.table,
        "__stop___ex_table": image.table + size_of(platform, image),
        **more,
    }
    table, strings = symbol_pieces(list(names.items()), 1)
    return SymbolTable.from_elf(table.data, strings.data, where="System.map", kernel_half=platform.kernel_half)


@pytest.mark.parametrize(("platform", "address"), ADDRESSES)
def test_a_dump_of_any_architecture(platform: Platform, address: int) -> None:
    image = table_image(platform, 60, address=address)
    dump = Core("dump", Memory(platform, image), ("ELF core",), symbols=symbols_of(platform, image))
    found = dump.exception_tables[0]
    assert (found.table.platform, found.found) == (platform, "the symbols __start___ex_table and __stop___ex_table")
    assert [(e.insn, e.fixup) for e in found.table] == list(zip(image.insns, image.fixups, strict=True))
    assert [(section.name, section.discarded) for section in dump.sections] == [
        (".text", False),
        (".init.text", True),
        ("__ex_table", False),
    ]


def test_a_system_map_is_moved_as_kaslr_moved_the_kernel() -> None:
    image = table_image(X86_64, 60, address=0xFFFFFFFF81000000)
    linked = symbols_of(X86_64, image)
    ran = f"SYMBOL(_stext)={image.address + CODE + MOVED:x}"
    for said in (f"KERNELOFFSET={MOVED:x}", ran):
        memory = Memory(X86_64, image, moved=MOVED, vmcoreinfo=said)
        dump = Core("dump", memory, ("ELF core",), symbols=linked)
        assert [e.insn for e in dump.exception_tables[0].table] == [insn + MOVED for insn in image.insns]
        assert (dump.symbols.get("per_cpu"), linked.get("_stext")) == (0x40, image.address + CODE)
        assert dump.how[1] == f"symbols from System.map, moved by {MOVED:#x}, as KASLR did"
    moved = Core("dump", Memory(X86_64, image, moved=MOVED, vmcoreinfo=ran), (), symbols=linked.moved(MOVED))
    assert moved.how[0] == "symbols from System.map"
    assert len(moved.exception_tables[0].table) == 60


def test_s390s_code_below_2_gib_is_where_vmcoreinfo_says() -> None:
    image = table_image(S390, 60, address=0x100000)
    stale, at = 0x30_8000, 0x34_0000
    start = image.address + stale
    entry = bytes(image.data[TABLE : TABLE + 12])
    first = int.from_bytes(entry[:4], "big", signed=True) + TABLE - at
    second = int.from_bytes(entry[4:8], "big", signed=True) + TABLE - at
    image.put(at, b"".join(word.to_bytes(4, "big", signed=True) for word in (first, second)) + entry[8:])
    symbols = symbols_of(
        S390,
        image,
        _samode31=start,
        _start_amode31_ex_table=start,
        _stop_amode31_ex_table=start + 12,
        _eamode31=start + 0x1000,
    )
    memory = Memory(S390, image, vmcoreinfo=f"SAMODE31={image.address + at:x}")
    _, found = Core("dump", memory, (), symbols=symbols).exception_tables
    assert (found.name, found.table.address) == (".amode31.ex_table", image.address + at)
    assert [(e.insn, e.fixup) for e in found.table] == [(image.insns[0], image.fixups[0])]


def test_a_module_s_table_is_read_by_the_kernels_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    image = table_image(X86_64, 60, address=0xFFFFFFFF81000000)
    module = LoadedModule("fine", (), image.table, 1, None)
    monkeypatch.setattr(core, "loaded_modules", lambda *_, **__: iter([module]))
    monkeypatch.setattr(Core, "_layout_of", lambda *_: None)
    dump = Core("dump", Memory(X86_64, image), (), symbols=symbols_of(X86_64, image))
    kernel, modules = dump.exception_tables
    assert (modules.module, modules.table.layout) == ("fine", kernel.table.layout)
    assert [e.insn for e in modules.table] == [image.insns[0]]
    assert "would fit" not in modules.table.how


def test_a_broken_table_is_read_if_need_be() -> None:
    image = table_image(X86_64, 60, address=0xFFFFFFFF81000000)
    image.put(TABLE + 8, b"\x63")
    symbols = symbols_of(X86_64, image)
    with pytest.raises(Unsupported, match="99"):
        _ = Core("dump", Memory(X86_64, image), (), symbols=symbols).exception_tables
    (found,) = Core("dump", Memory(X86_64, image), (), symbols=symbols, strict=False).exception_tables
    assert [e.type for e in found.table][:1] == ["unknown"]


def test_a_table_larger_than_any_kernels_is_not_read_at_all() -> None:
    image = table_image(X86_64, 60, address=0xFFFFFFFF81000000)
    stop = image.table + MOST_BYTES + 12
    dump = Core("dump", Memory(X86_64, image), (), symbols=symbols_of(X86_64, image, __stop___ex_table=stop))
    with pytest.raises(BadInput, match="at most 4,194,304 bytes"):
        _ = dump.exception_tables


def test_open_image_hands_all_of_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And /proc/kcore is known by another name too: it cannot be mapped."""
    link, seen = tmp_path / "link", []
    link.symlink_to("/proc/kcore")
    monkeypatch.setattr(Core, "open", lambda where, **options: seen.append((where, options)))
    open_image.open_image(link, system_map="map", strict=False)
    assert seen == [(str(link), {"system_map": "map", "strict": False})]


def test_a_dump_whose_symbols_do_not_tell() -> None:
    image = table_image(S390, 60, address=0x100000)
    table, strings = symbol_pieces([("_stext", 0x100000)], 1)
    symbols = SymbolTable.from_elf(table.data, strings.data, where="map", kernel_half=0)
    dump = Core("dump", Memory(S390, image), ("ELF core",), symbols=symbols)
    assert dump.how[-1].startswith(".amode31.ex_table not looked for: ")
    with pytest.raises(Absent, match="__start___ex_table"):
        _ = dump.exception_tables


@pytest.mark.parametrize(
    ("machine", "elf", "bits", "order"),
    [
        ("x86_64", "EM_X86_64", 64, "little"),
        ("i686", "EM_386", 32, "little"),
        ("aarch64", "EM_AARCH64", 64, "little"),
        ("ppc64le", "EM_PPC64", 64, "little"),
        ("s390x", "EM_S390", 64, "big"),
        ("riscv64", "EM_RISCV", 64, "little"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"makedumpfile".ljust(4096 + 16, b"\0")], ids=["kdump", "flattened"])
def test_a_kdump_says_its_machine(machine: str, elf: str, bits: int, order: ByteOrder, before: bytes) -> None:
    drgn = pytest.importorskip("drgn")
    head = before + b"KDUMP   ".ljust(KDUMP_MACHINE, b"\6") + machine.encode() + b"\0"
    found = platform_of_program(drgn.Program(kdump_platform(head)), "dump")
    assert found == platform_of(elf, bits, order)


@pytest.mark.parametrize("head", [b"", b"\x7fELF", b"KDUMP   ", b"KDUMP   ".ljust(KDUMP_MACHINE, b"\0") + b"vax\0"])
def test_what_says_no_machine_is_left_to_drgn(head: bytes) -> None:
    pytest.importorskip("drgn")
    assert kdump_platform(head) is None
