"""Which architecture's kernel a flat image is, and where it is linked to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foreign_kernel import ForeignKernel
from images import test_kallsyms
from images.test_utsname import utsname
from pagefault.arch.platform import (
    ALPHA,
    ARM,
    ARM64,
    LOONGARCH64,
    MIPS,
    MIPS64,
    PLATFORMS,
    POWERPC64,
    RISCV64,
    S390,
    X86_32,
    X86_64,
    Platform,
)
from pagefault.errors import BadInput, Unsupported
from pagefault.images import flat_identity
from pagefault.images.boot_headers import Machine
from pagefault.images.boot_image import Payload, unwrap
from pagefault.images.elf import Elf, map_file
from pagefault.images.flat_identity import find_address, identify
from pagefault.images.system_map import parse_system_map
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.symbols import SymbolTable
from tables.table_image import LOADS, SIZE, TABLE, table_image

NONE = SymbolTable.empty("it")
BIG_MIPS = replace(MIPS, byte_order="big")


def payload(data: bytes | bytearray, machine: Machine | None = None, text_offset: int = 0) -> Payload:
    return Payload(memoryview(bytes(data)), (), 0, "raw", machine, text_offset)


def header(platform: Platform) -> Machine:
    return platform.elf_machine, platform.bits, platform.byte_order


def at(image: bytes | bytearray, platform: Platform, text_offset: int = 0, **symbols: int) -> tuple[int, str]:
    lines = "".join(f"{address:0{platform.bits // 4}x} T {name}\n" for name, address in symbols.items())
    known = parse_system_map(lines.encode(), platform, where="it") if lines else NONE
    address, words = find_address(memoryview(bytes(image)), platform, known, text_offset)
    return address, " ".join(words)


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: f"{p.name} {p.byte_order}")
def test_every_kernel_names_its_architecture(platform: Platform) -> None:
    """Two byte orders have one name on arm and MIPS."""
    named = [other for other in PLATFORMS if other.uts_machine == platform.uts_machine]
    if len(named) == 1:
        identity = identify(payload(bytes(5000) + utsname(platform.uts_machine) + bytes(5000)), "it")
        assert identity.platform == platform
        assert identity.address == platform.linked[0]
        assert identity.how[0] == f"{platform.name}, by its utsname ({platform.uts_machine})"
        assert identity.how[1].startswith("no symbols (it: ")
        assert identity.how[2].endswith("as kernels of this architecture are (assumed)")
    else:
        assert [(other.bits, other.kernel_half) for other in named] == [(platform.bits, platform.kernel_half)] * 2
        assert platform.elf_machine in ("EM_ARM", "EM_MIPS")


@pytest.mark.parametrize("platform", [MIPS, BIG_MIPS, MIPS64, ARM], ids=lambda p: f"{p.name} {p.byte_order}")
def test_the_table_tells_the_byte_order(platform: Platform) -> None:
    image = table_image(platform, 100, address=platform.linked[2])
    image.put(0x3F_0000, utsname(platform.uts_machine))
    identity = identify(payload(image.data), "it")
    assert (identity.platform, identity.address) == (platform, platform.linked[2])
    assert identity.how[1] == f"{platform.byte_order}-endian, by the shape of an exception table of 100 entries"


@pytest.mark.parametrize("platform", [MIPS, BIG_MIPS], ids=["little", "big"])
def test_kallsyms_tell_the_byte_order(platform: Platform) -> None:
    made = test_kallsyms.Writer(platform, test_kallsyms.symbols(platform))
    identity = identify(payload(bytes(made.data) + utsname("mips")), "it")
    assert identity.platform == platform
    assert identity.how[1] == f"{platform.byte_order}-endian, as its kallsyms are"
    assert len(identity.symbols)


def test_what_nothing_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    of_sh: Machine = "EM_SH", 32, "little"
    for data, machine, said in (
        (bytes(0x10000), None, "a flat image without a header .* no utsname"),
        (bytes(0x10000), of_sh, "an image for EM_SH"),
        (bytes(0x10000) + utsname("m68k"), None, "an image for m68k, as its utsname says"),
        (bytes(0x10000) + utsname("mips"), None, "neither symbols nor an exception table tell its byte order"),
    ):
        with pytest.raises(Unsupported, match=said):
            identify(payload(data, machine), "it")
    image = table_image(MIPS, 100, address=MIPS.linked[0])
    image.put(0x3F_0000, utsname("mips"))
    monkeypatch.setattr(flat_identity, "MOST_SHAPED", SIZE)
    assert identify(payload(image.data), "it").platform == MIPS
    monkeypatch.setattr(flat_identity, "MOST_SHAPED", SIZE - 1)
    with pytest.raises(Unsupported, match="its byte order"):
        identify(payload(image.data), "it")


def test_a_header_in_front_of_another_kernel() -> None:
    with pytest.raises(BadInput, match="a kernel for s390x, as the header in front of it says, got one for s390"):
        identify(payload(bytes(0x1000) + utsname("s390"), header(S390)), "it")
    assert identify(payload(bytes(0x1000) + utsname("s390x"), header(S390)), "it").platform == S390


@pytest.mark.parametrize(
    ("platform", "address"),
    [(ARM, 0xC0008000), (ARM, 0x80208000), (MIPS, 0x80001000), (MIPS64, 0xFFFFFFFF81100000)],
)
def test_absolute_entries_tell_the_address(platform: Platform, address: int) -> None:
    image = table_image(platform, 100, address=address)
    words = f"linked to {address:#x}, where the instructions of 100 entries may fault"
    assert at(image.data, platform) == (address, words)
    assert at(image.data, platform, _stext=address + 0x400) == (address, words)


@pytest.mark.parametrize("address", [0xD0123000, 0xC0148000])
def test_a_place_nobody_links_to_is_not_guessed(address: int) -> None:
    image = table_image(ARM, 100, address=address)
    assert at(image.data, ARM) == (0xC0008000, "linked to 0xc0008000, as kernels of this architecture are (assumed)")


def test_where_every_instruction_may_fault_the_longest_table_tells_the_address() -> None:
    start, insns = 0xC0308000, range(0xC0308400, 0xC0308400 + 200 * 0x5000, 0x5000)
    data = bytearray(LOADS["EM_ARM"] * (SIZE // 4))
    data[TABLE : TABLE + 1600] = b"".join(struct.pack("<2I", insn, insn - 16) for insn in insns)
    assert at(data, ARM) == (start, f"linked to {start:#x}, where the instructions of 200 entries may fault")


@pytest.mark.parametrize(
    ("platform", "address"),
    [
        (X86_64, 0xFFFFFFFF81000000),
        (X86_32, 0xC1000000),
        (ARM64, 0xFFFF800008000000),
        (RISCV64, 0xFFFFFFFF80000000),
        (LOONGARCH64, 0x9000000000200000),
        (POWERPC64, 0xC000000000000000),
        (S390, 0x100000),
        (ALPHA, 0xFFFFFC0001010000),
    ],
)
def test_relative_entries_do_not(platform: Platform, address: int) -> None:
    words = f"linked to {address:#x}, as kernels of this architecture are (assumed)"
    assert at(bytes(SIZE), platform) == (address, words)


@pytest.mark.parametrize(
    ("platform", "text_offset", "stext", "address"),
    [
        (ARM64, 0, 0xFFFF800080010000, 0xFFFF800080000000),
        (ARM64, 0x80000, 0xFFFF000008081000, 0xFFFF000008080000),
        (ARM64, 0x80000, 0xFFFF800008081000, 0xFFFF800008080000),
        (ARM, 0, 0xC0300000, 0xC0208000),
        (MIPS, 0, 0x80100400, 0x80100000),
        (S390, 0x80000, 0x1000, 0),
    ],
)
def test_stext_tells_it(platform: Platform, text_offset: int, stext: int, address: int) -> None:
    """In vain without a table; arm64's and riscv's kernels lie a header's text_offset behind a boundary."""
    found, words = at(bytes(SIZE), platform, text_offset, _stext=stext)
    assert (found, words) == (address, f"linked to {address:#x}, the last usual place before _stext (assumed)")


def test_the_first_symbol_tells_it_for_certain() -> None:
    assert at(bytes(SIZE), ARM64, 0x80000, _text=0xFFFF000010080000) == (0xFFFF000010080000, "")
    assert at(bytes(SIZE), RISCV64, _start=0xFFFFFFFF80000000, _text=0xFFFFFFFF80002000)[0] == 0xFFFFFFFF80000000


@pytest.mark.parametrize("text_offset", [0, 0x80000])
def test_an_old_arm64_image_without_symbols(text_offset: int) -> None:
    """Before v5.8 it is linked to 512 KiB behind the boundary; a table of relative addresses is found anyway."""
    image = table_image(ARM64, 60, address=0xFFFF800008000000 + text_offset)
    image.put(0, b"MZ".ljust(8, b"\0") + struct.pack("<QQ", text_offset, SIZE))
    image.put(0x38, b"ARM\x64")
    found = identify(unwrap(memoryview(bytes(image.data)), "Image"), "Image")
    assert found.address == image.address
    assert found.address + TABLE == image.table


def flat(image: Vmlinux) -> bytes:
    """What `objcopy -O binary` makes of a vmlinux."""
    segments = sorted((s for s in image.segments if len(s.data)), key=lambda s: s.virtual)
    start = next(s.virtual for s in segments if s.virtual >= max(image.platform.kernel_half, 0x1000))
    out = bytearray()
    for segment in segments:
        if segment.virtual >= start:
            out[segment.virtual - start : segment.virtual - start + len(segment.data)] = segment.data
    return bytes(out)


def check(image: Vmlinux, monkeypatch: pytest.MonkeyPatch) -> None:
    data = flat(image)
    with_symbols = identify(unwrap(memoryview(data), "flat"), "flat")
    monkeypatch.setattr(flat_identity, "own_symbols", lambda *_: (NONE, "no symbols"))
    without = identify(unwrap(memoryview(data), "flat"), "flat")
    start = image.platform.linked[0]
    assert with_symbols.platform == without.platform == image.platform
    assert with_symbols.address == without.address == start
    assert len(with_symbols.symbols)


@pytest.mark.parametrize("architecture", ["amd64", "i386", "ppc64el"])
def test_debians_kernels_flattened(
    architecture: str, foreign_kernel: Callable[[str], ForeignKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(foreign_kernel(architecture).boot)
    unwrapped = unwrap(memoryview(map_file(where)), where)
    check(Vmlinux(Elf.from_bytes(unwrapped.data, where)), monkeypatch)


def test_debian_6_12_flattened(vmlinux_612: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(Vmlinux.open(vmlinux_612), monkeypatch)
