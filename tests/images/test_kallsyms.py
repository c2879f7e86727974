from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debian_kernel import system_map
from foreign_kernel import ForeignKernel
from pagefault.arch.platform import ARM64, PLATFORMS, S390, X86_64, Platform
from pagefault.errors import Absent, BadInput, PagefaultError
from pagefault.images.boot_image import unwrap
from pagefault.images.kallsyms import Kallsyms, find_kallsyms, read_kallsyms
from pagefault.images.system_map import read_system_map

ARM = next(each for each in PLATFORMS if (each.name, each.byte_order) == ("arm", "little"))
MIPS_BE = next(each for each in PLATFORMS if (each.name, each.bits, each.byte_order) == ("mips", 32, "big"))
FORMATS = [X86_64, ARM64, S390, ARM, MIPS_BE]
TABLES = ("offsets", "relative_base", "num_syms", "names", "markers", "seqs", "token_table", "token_index")
LONG = "_RNv" + "long_name_" * 30


def symbols(platform: Platform, count: int = 700) -> list[tuple[int, str, str]]:
    """Symbols from 64 KiB past the lowest address an image may be linked to."""
    start = image_start(platform) + 0x10000
    places = [(start, "T", "_stext"), (start, "T", "do_one"), (start + 4, "t", LONG)]
    return places + [(start + 16 * i, "tTwd"[i % 4], f"function_{i}") for i in range(1, count - 2)]


def image_start(platform: Platform) -> int:
    return max(platform.kernel_half, 1 << 20) + (1 << 21) * (platform.kernel_half > 0)


class Writer:
    """Kallsyms' tables as scripts/kallsyms.c writes them, behind `before` bytes of something else."""

    def __init__(
        self,
        platform: Platform,
        listed: list[tuple[int, str, str]],
        *,
        since_64: bool = False,
        form: str = "relative",
        base_stored: bool = True,
        wide: bool = False,
        before: int = 0x348,
    ) -> None:
        self.platform, self.end = platform, ">" if platform.byte_order == "big" else "<"
        self.pointer = "Q" if platform.bits == 64 else "I"
        self.at: dict[str, int] = {}
        self.data = bytearray(b"\x55" * before)
        base = min(value for value, letter, _ in listed if letter != "A")
        values = [value for value, _, _ in listed]
        place = image_start(platform)
        tokens = {code: chr(code) for code in range(0x20, 0x7F)} | {1: "function_", 2: "long_name_", 0xFF: "do_"}
        text = [tokens.get(code, "x") for code in range(256)]
        names, markers = b"", []
        for i, (_, letter, name) in enumerate(listed):
            if not i % 256:
                markers.append(len(names))
            packed = (letter + name).replace("function_", "\x01").replace("long_name_", "\x02").encode()
            packed = packed.replace(b"\x02" * 30, b"long_name_" * 30)
            size = bytes([len(packed)]) if len(packed) < 128 else bytes([len(packed) & 127 | 128, len(packed) >> 7])
            names += size + packed
        starts = [0]
        for each in text[:-1]:
            starts.append(starts[-1] + len(each) + 1)

        def addresses() -> None:
            match form:
                case "relative":
                    self.table("offsets", "I", [value - base for value in values])
                    self.table("relative_base", self.pointer, [base if base_stored else 0])
                case "percpu":
                    self.table(
                        "offsets", "i", [value if letter == "A" else base - value - 1 for value, letter, _ in listed]
                    )
                    self.table("relative_base", self.pointer, [base])
                case "places":
                    self.align()
                    here = place + len(self.data)
                    self.table("offsets", "i", [value - here - 4 * i for i, value in enumerate(values)])
                case _:
                    self.table("addresses", self.pointer, values)

        if not since_64:
            addresses()
        self.table("num_syms", self.pointer if wide else "I", [len(listed)])
        self.table("names", "s", names)
        self.table("markers", self.pointer if wide else "I", markers)
        seqs = random.Random(1).sample(range(len(listed)), len(listed))
        if not since_64:
            self.table("seqs", "s", b"".join(seq.to_bytes(3, "big") for seq in seqs))
        self.table("token_table", "s", b"".join(each.encode() + b"\0" for each in text))
        self.table("token_index", "H", starts)
        if since_64:
            addresses()
            self.table("seqs", "s", b"".join(seq.to_bytes(3, "big") for seq in seqs))
        self.align()

    def align(self) -> None:
        self.data += bytes(-len(self.data) % self.platform.pointer)

    def table(self, name: str, kind: str, values: list[int] | bytes) -> None:
        self.align()
        self.at[name] = len(self.data)
        if isinstance(values, bytes):
            self.data += values
        else:
            self.data += struct.pack(f"{self.end}{len(values)}{kind}", *values)

    def found(self, *, flat: bool = False) -> Kallsyms:
        start = image_start(self.platform)
        known = (lambda offset: start + offset) if flat else None
        return find_kallsyms(memoryview(self.data), self.platform, where="image", address_at=known)


def listing(found: Kallsyms) -> list[tuple[int, str, str]]:
    ends = [found.strings.index(0, start) for start in found.starts.tolist()]
    names = [found.strings[a:b].decode() for a, b in zip(found.starts.tolist(), ends, strict=True)]
    return list(zip(found.addresses.tolist(), map(chr, found.types.tolist()), names, strict=True))


@pytest.mark.parametrize("platform", FORMATS, ids=lambda each: f"{each.name}-{each.byte_order}")
@pytest.mark.parametrize("since_64", [False, True])
@pytest.mark.parametrize("form", ["relative", "absolute"])
@pytest.mark.parametrize("wide", [False, True])
def test_every_width_order_and_era(platform: Platform, since_64: bool, form: str, wide: bool) -> None:
    listed = symbols(platform)
    image = Writer(platform, listed, since_64=since_64, form=form, wide=wide)
    found = image.found()
    assert listing(found) == listed
    assert found.base == (listed[0][0] if form == "relative" else None)
    assert found.how == f"700 symbols from the image's own kallsyms at offset {image.at['names']:#x}"
    table = found.symbols()
    assert table.find(LONG) == listed[2][0]
    assert table.format(listed[5][0] + 3) == "function_3+0x3/0x10"


@pytest.mark.parametrize("count", [257, 511, 512, 513, 769])
def test_the_last_block_of_names_may_be_of_any_length(count: int) -> None:
    listed = symbols(X86_64, count)
    assert listing(Writer(X86_64, listed).found()) == listed


@pytest.mark.parametrize("since_64", [False, True])
def test_percpu_symbols_are_absolute(since_64: bool) -> None:
    listed = [(0, "A", "__per_cpu_start"), (0x1FB80, "A", "current_task"), *symbols(X86_64)]
    found = Writer(X86_64, listed, since_64=since_64, form="percpu").found()
    assert listing(found) == listed
    assert found.symbols().find("current_task") == 0x1FB80
    assert found.symbols().at(0x1FB80) is None
    assert Writer(X86_64, symbols(X86_64), form="percpu").found().base == symbols(X86_64)[0][0]


def test_offsets_from_their_own_places_need_the_address_of_the_image() -> None:
    image = Writer(X86_64, symbols(X86_64), since_64=True, form="places", before=0x20000)
    assert listing(image.found(flat=True)) == symbols(X86_64)
    with pytest.raises(Absent, match="address of kallsyms_offsets"):
        image.found()


@pytest.mark.parametrize(
    ("platform", "info", "addend"), [(ARM64, 1027, 0), (S390, 12, 0), (S390, 22 | 5 << 32, -(1 << 20))]
)
@pytest.mark.parametrize("flat", [False, True])
def test_a_base_that_only_a_relocation_holds(platform: Platform, info: int, addend: int, flat: bool) -> None:
    listed = symbols(platform)
    image = Writer(platform, listed, base_stored=False)
    target = image_start(platform) + image.at["relative_base"]
    # Another relocation for such an offset, and one of such an address, but not both.
    entries = [(target + (3 << 19), info, listed[9][0]), (target + 8, info, listed[0][0])]
    entries.insert(1, (target, info, listed[0][0] + addend))
    image.data += b"".join(struct.pack(f"{image.end}QQq", at, i, v - (v >> 63 << 64)) for at, i, v in entries)
    assert image.found(flat=flat).base == listed[0][0]


def test_no_base_is_not_a_base_of_zero() -> None:
    for platform in (ARM64, S390):
        with pytest.raises(Absent, match="base of kallsyms' addresses"):
            Writer(platform, symbols(platform), base_stored=False).found()


@pytest.mark.parametrize("form", ["relative", "percpu", "absolute", "places"])
def test_from_memory_by_the_addresses_in_vmcoreinfo(form: str) -> None:
    listed = symbols(X86_64)
    image = Writer(X86_64, listed, form=form, before=0x20000)
    start = image_start(X86_64)
    addresses = {f"kallsyms_{name}": start + offset for name, offset in image.at.items()}
    read = lambda address, length: bytes(image.data[address - start : address - start + length])  # noqa: E731
    assert listing(read_kallsyms(addresses, read, X86_64, where="vmcore")) == listed
    with pytest.raises(Absent, match="no kallsyms_names"):
        read_kallsyms({}, read, X86_64, where="vmcore")
    with pytest.raises(BadInput, match="one behind the other"):
        read_kallsyms({**addresses, "kallsyms_names": 0}, read, X86_64, where="vmcore")
    with pytest.raises(BadInput):
        read_kallsyms(addresses, lambda address, length: bytes(length), X86_64, where="vmcore")


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"a\0" * 4096, bytes(range(256)) * 16, b"0\0001\0002\0" * 999])
def test_no_kallsyms(data: bytes) -> None:
    with pytest.raises(Absent, match="CONFIG_KALLSYMS"):
        find_kallsyms(memoryview(data), X86_64, where="image")


def test_a_token_table_alone_is_broken() -> None:
    image = Writer(X86_64, symbols(X86_64))
    with pytest.raises(BadInput, match="names in front of its token table"):
        find_kallsyms(memoryview(image.data)[image.at["token_table"] :], X86_64, where="image")


@pytest.mark.parametrize("table", ["offsets", "num_syms", "names", "markers"])
def test_tables_that_do_not_agree(table: str) -> None:
    image = Writer(X86_64, symbols(X86_64))
    at = image.at[table] + (4 if table == "offsets" else 0)
    image.data[at : at + 4] = b"\xff\xff\xff\x7f"
    with pytest.raises(BadInput):
        image.found()


def test_names_that_grow_without_end() -> None:
    """Tokens of 500 bytes each, as the compressed names of a bomb would use them."""
    image = Writer(X86_64, symbols(X86_64))
    text = bytes(image.data[image.at["token_table"] : image.at["token_index"]])
    tokens = text.split(b"\0")[:256]
    tokens[1] = b"a" * 500
    starts = np.cumsum([0, *(len(token) + 1 for token in tokens[:-1])])
    bomb = image.data[: image.at["token_table"]] + b"".join(token + b"\0" for token in tokens)
    bomb += bytes(-len(bomb) % 8) + struct.pack("<256H", *starts)
    with pytest.raises(BadInput, match="kallsyms names of 2 to 512 bytes"):
        find_kallsyms(memoryview(bomb), X86_64, where="image")


def test_what_pads_the_names_is_zeros() -> None:
    image = Writer(X86_64, symbols(X86_64))
    assert not any(image.data[image.at["markers"] - 2 : image.at["markers"]])
    image.data[image.at["markers"] - 1] = 1
    with pytest.raises(BadInput):
        image.found()


@settings(max_examples=200)
@given(st.sampled_from([*TABLES, ""]), st.integers(0, 600), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_damaged_image_raises_our_errors_only(table: str, offset: int, damage: bytes, since_64: bool) -> None:
    image = Writer(X86_64, symbols(X86_64), since_64=since_64)
    if table:
        at = image.at[table] + offset
        image.data[at : at + len(damage)] = damage
    else:
        del image.data[len(image.data) * offset // 600 :]
    try:
        found = image.found()
    except PagefaultError:
        return
    assert len(found.addresses) == len(found.starts) == 700


@pytest.mark.parametrize("series", ["vmlinux_61", "vmlinux_612"])
def test_debian_s_kernel_agrees_with_its_system_map(series: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(series)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        found = find_kallsyms(memoryview(bytes(image[: 100 << 20])), X86_64, where=str(path))
    lines = [line.split() for line in system_map(path).read_text().splitlines()]
    theirs = {(int(value, 16), name) for value, letter, name in lines if letter != "A"}
    ours = {(value, name) for value, _, name in listing(found)}
    assert ours <= theirs
    # _end lies in no section; lld's and the assembler's own symbols vary from pass to pass.
    assert {name for _, name in theirs - ours} <= {f"kallsyms_{table}" for table in (*TABLES, "seqs_of_names")}
    named = read_system_map(str(system_map(path)), X86_64)
    symbols = found.symbols()
    for value in found.addresses[found.addresses > 1 << 63][::97].tolist():
        assert symbols.format(value + 1) == named.format(value + 1)


STARTS = {
    "amd64": 0xFFFFFFFF81000000,
    "i386": 0xC1000000,
    "arm64": 0xFFFF800008010000,
    "armhf": 0xC0300000,
    "armel": 0xC0100000,
    "mips64el": 0xFFFFFFFF80100400,
    "mipsel": 0x80100400,
    "ppc64el": 0xC000000000000000,
    "s390x": 0x100000,
}
"""Where each of Debian's 6.1 kernels has _stext."""
NAMES = {"amd64": "x86_64", "i386": "x86_32", "arm64": "arm64", "armhf": "arm", "armel": "arm", "mips64el": "mips64"}
NAMES |= {"mipsel": "mips", "ppc64el": "powerpc64", "s390x": "s390"}


@pytest.mark.parametrize("architecture", STARTS)
def test_every_architecture_s_kernel(architecture: str, foreign_kernel: Callable[[str], ForeignKernel]) -> None:
    boot = foreign_kernel(architecture).boot
    order = "big" if architecture == "s390x" else "little"
    platform = next(each for each in PLATFORMS if (each.name, each.byte_order) == (NAMES[architecture], order))
    found = find_kallsyms(unwrap(memoryview(boot.read_bytes()), str(boot)).data, platform, where=str(boot))
    table = found.symbols()
    assert table.find("_stext") == STARTS[architecture] == found.base
    assert 30_000 < len(table) < 120_000
    assert all(a <= b for a, b in pairwise(found.addresses.tolist()))
    place = table.find("do_exit")
    assert table.format(place + 4).startswith("do_exit+0x4/0x")
