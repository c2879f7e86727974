from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import lz4.block
import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lzallright import LZOCompressor

from pagefault.errors import BadInput
from pagefault.images.compression import candidates, decompress, identify, output_limit, pieces

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KERNEL = random.Random(6).randbytes(300_000) + b"Linux version 6.1.0 (a small one) " * 20_000
BLOCK, LEGACY_BLOCK = 256 << 10, 8 << 20

SMALL = b"Linux version 6.1.0 " * 9 + bytes(range(60))
LZOP = (
    "894c5a4f000d0a1a0a104020a0094003090300000d000000006b034849000000000027530275000000f00000005acf2b409c254c696e7578"
    "2076657273696f6e20362e312e3020207f4c00002a000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122"
    "232425262728292a2b2c2d2e2f303132333435363738393a3b11000000000000"
)
BY_THE_TOOLS = {
    "lzop -9": LZOP,
    "lzop -9 --crc32": (
        "894c5a4f000d0a1a0a104020a0100103090300110c000000006b0348490000000000acb94d00000000f00000005af06bd8fd254c696e75"
        "782076657273696f6e20362e312e3020207f4c00002a000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
        "2122232425262728292a2b2c2d2e2f303132333435363738393a3b11000000000000"
    ),
    "lz4 -l -9": (
        "02214c1857000000ff054c696e75782076657273696f6e20362e312e302014008df02d000102030405060708090a0b0c0d0e0f10111213"
        "1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b"
    ),
    "lzma -9": (
        "5d00000004ffffffffffffffff00261a49c78955b31f4735d21f2e2d85d0121dd4eebce9290c764814a998c2d3cad3ca573a486d0c8295"
        "9337daa525b3c93eb8a56b6b974db700a6e693de087d57808baac58271d2e82df8822f6abfaffa06fd4bfffc6af000"
    ),
}


def lzop(data: bytes, block: int = BLOCK) -> bytes:
    """As lzop writes it: a block that does not get smaller is stored."""
    out = bytes.fromhex(LZOP)[:0x26]
    for at in range(0, len(data), block):
        plain = data[at : at + block]
        packed = min(LZOCompressor().compress(plain), plain, key=len)
        out += struct.pack(">III", len(plain), len(packed), zlib.adler32(plain)) + packed
    return out + bytes(4)


def lz4_legacy(data: bytes) -> bytes:
    out = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), LEGACY_BLOCK):
        packed = lz4.block.compress(data[at : at + LEGACY_BLOCK], store_size=False)
        out += struct.pack("<I", len(packed)) + packed
    return out


def zstd_stream(data: bytes) -> bytes:
    """As from a pipe: without the size of the content."""
    compressor = zstd.ZstdCompressor()
    return compressor.compress(data) + compressor.flush()


def xz(data: bytes, filter_id: int | None = None) -> bytes:
    filters = [{"id": filter_id}] if filter_id else []
    return lzma.compress(
        data, check=lzma.CHECK_CRC32, filters=[*filters, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 25}]
    )


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "bzip2": ("bzip2", bz2.compress),
    "xz": ("xz", xz),
    "xz for x86": ("xz", lambda data: xz(data, lzma.FILTER_X86)),
    "xz for arm": ("xz", lambda data: xz(data, lzma.FILTER_ARM)),
    "xz for powerpc": ("xz", lambda data: xz(data, lzma.FILTER_POWERPC)),
    "lzma": ("lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
    "lzo": ("lzo", lzop),
    "lz4, legacy": ("lz4", lz4_legacy),
    "lz4": ("lz4", lz4.frame.compress),
    "zstd": ("zstd", zstd.compress),
    "zstd, size unknown": ("zstd", zstd_stream),
}
packed = pytest.mark.parametrize(("name", "pack"), PACKERS.values(), ids=PACKERS)


def undone(data: bytes, limit: int = 1 << 30) -> bytes:
    return decompress(memoryview(data), "x", limit=limit)


@packed
@pytest.mark.parametrize("behind", [b"", struct.pack("<I", len(KERNEL)), b"a device tree" * 1000], ids=len)
def test_what_was_packed_comes_out_whatever_follows(name: str, pack: Callable[[bytes], bytes], behind: bytes) -> None:
    data = pack(KERNEL)
    assert identify(memoryview(b"??" + data), 2) == name
    assert undone(data + behind) == KERNEL


@pytest.mark.parametrize("tool", BY_THE_TOOLS)
def test_what_the_tools_of_the_kernels_build_write(tool: str) -> None:
    assert undone(bytes.fromhex(BY_THE_TOOLS[tool]) + struct.pack("<I", len(SMALL))) == SMALL


@packed
def test_cut_off(name: str, pack: Callable[[bytes], bytes]) -> None:
    data = pack(KERNEL)
    for end in (len(data) // 2, len(data) - 1, 20):
        with pytest.raises(BadInput, match=f"sound {name} data, got .*cut off"):
            undone(data[:end])


@packed
def test_no_more_comes_out_than_is_allowed(name: str, pack: Callable[[bytes], bytes]) -> None:
    data = pack(KERNEL)
    assert undone(data, limit=len(KERNEL)) == KERNEL
    with pytest.raises(BadInput, match=f"at most {len(KERNEL) - 1} bytes .* bomb"):
        undone(data, limit=len(KERNEL) - 1)


@packed
def test_a_bomb_is_undone_piece_by_piece(name: str, pack: Callable[[bytes], bytes]) -> None:
    sizes = [len(piece) for piece in pieces(memoryview(pack(bytes(9 << 20))), "x")]
    assert sum(sizes) == 9 << 20
    assert max(sizes) <= LEGACY_BLOCK


def test_the_limit() -> None:
    assert output_limit(10_000) == 640_000
    assert output_limit(100 << 20) == 1 << 30


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\x7fELF\x02\x01\x01", b"]\0\0\0\x04" + bytes(3)], ids=bytes.hex)
def test_other_data_is_not_compressed(data: bytes) -> None:
    assert identify(memoryview(data)) is None
    with pytest.raises(BadInput, match="expected compressed data"):
        undone(data)


@cache
def packed_once(pack: Callable[[bytes], bytes]) -> bytes:
    return pack(KERNEL[299_000:303_000])


@packed
@given(st.data())
def test_damage(name: str, pack: Callable[[bytes], bytes], data: st.DataObject) -> None:
    """Whatever is wrong with it, it is BadInput or goes unnoticed where the format has no checksum."""
    broken = bytearray(packed_once(pack))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(broken) - 1), st.integers(0, 255)), max_size=4)):
        broken[at] = value
    with suppress(BadInput):
        undone(bytes(broken), limit=100_000)


def test_candidates_are_found_in_order_and_across_the_steps_of_the_search() -> None:
    filled = bytearray(4 << 20)
    places = {(1 << 20) - 3: xz(b"1"), (2 << 20) - 1: zstd.compress(b"2"), 3 << 20: gzip.compress(b"3")}
    for at, stream in places.items():
        filled[at : at + len(stream)] = stream
    filled[77:80] = b"BZh"
    assert list(candidates(memoryview(bytes(filled)))) == sorted(places)


def xz_that_asks_for(dictionary: int) -> bytes:
    """An xz file whose block header states this code of a dictionary size, with its checksum made right."""
    data = bytearray(xz(b"kernel"))
    size = (data[12] + 1) * 4
    at = data.index(b"\x21\x01", 12) + 2
    data[at] = dictionary
    data[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(data[12 : 12 + size - 4]))
    return bytes(data)


def test_a_dictionary_is_not_allocated_because_a_header_says_so() -> None:
    assert undone(xz_that_asks_for(30)) == b"kernel"  # 128 MiB, as since v6.12
    with pytest.raises(BadInput, match="Memory usage limit"):
        undone(xz_that_asks_for(40))  # 4 GiB


class TestLzop:
    HEADER = bytes.fromhex(LZOP)[:0x26]

    def test_blocks_that_are_stored_and_blocks_that_are_not(self) -> None:
        assert undone(lzop(KERNEL, 1000)) == KERNEL

    def test_a_wrong_checksum(self) -> None:
        data = bytearray(lzop(KERNEL))
        data[0x26 + 8] ^= 1
        with pytest.raises(BadInput, match="checksums"):
            undone(bytes(data))

    @pytest.mark.parametrize("sizes", [(BLOCK + 1, 10), (10, 11), (10, 0), (0xFFFFFFFF, 0xFFFFFFFF)], ids=str)
    def test_a_block_of_a_size_that_none_has(self, sizes: tuple[int, int]) -> None:
        with pytest.raises(BadInput, match="a block of"):
            undone(self.HEADER + struct.pack(">III", *sizes, 0) + bytes(100))

    def test_a_block_that_holds_more_than_it_says(self) -> None:
        plain = bytes(1000)
        packed = LZOCompressor().compress(plain)
        with pytest.raises(BadInput, match="its size and checksums"):
            undone(self.HEADER + struct.pack(">III", 900, len(packed), zlib.adler32(plain)) + packed)

    def test_the_oldest_header_and_one_with_everything_in_it(self) -> None:
        magic, blocks = self.HEADER[:9], lzop(KERNEL)[0x26:]
        flags = 0x1 | 0x2 | 0x40 | 0x800
        # version, library, (needed,) method; flags, filter, mode, time; name, checksum; extra field
        old = struct.pack(">HHHB", 0x900, 0x900, 0x900, 1) + struct.pack(">III", 1, 0, 0) + b"\x02ab" + bytes(4)
        assert undone(magic + old + blocks) == KERNEL
        new = struct.pack(">HHHBB", 0x1040, 0x20A0, 0x940, 3, 9) + struct.pack(">IIIII", flags, 1, 0, 0, 0) + b"\0"
        extra = bytes(4) + struct.pack(">I", 3) + b"abc" + bytes(4)
        packed = LZOCompressor().compress(bytes(1000))
        block = struct.pack(">IIII", 1000, len(packed), zlib.adler32(bytes(1000)), 0xBAD) + packed
        assert undone(magic + new + extra + block + bytes(4)) == bytes(1000)


class TestLz4Legacy:
    def test_it_ends_at_the_appended_size_even_if_that_could_be_a_block(self) -> None:
        whole = bytes(LEGACY_BLOCK)
        assert undone(lz4_legacy(whole) + struct.pack("<I", LEGACY_BLOCK) + bytes(9)) == whole
        assert undone(lz4_legacy(whole) + struct.pack("<I", 0) + bytes(9)) == whole
        assert undone(lz4_legacy(whole)) == whole

    def test_several_blocks(self) -> None:
        data = bytes(LEGACY_BLOCK) + KERNEL
        assert undone(lz4_legacy(data) + struct.pack("<I", len(data))) == data

    @pytest.mark.parametrize("size", [0, 8_421_521, 0xFFFFFFFF])
    def test_a_block_of_a_size_that_none_has(self, size: int) -> None:
        with pytest.raises(BadInput, match=f"a block of {size} bytes"):
            undone(b"\x02\x21\x4c\x18" + struct.pack("<I", size) + bytes(100))

    def test_a_block_that_holds_too_much(self) -> None:
        packed = lz4.block.compress(bytes(LEGACY_BLOCK + 1), store_size=False)
        with pytest.raises(BadInput, match="does not decompress"):
            undone(b"\x02\x21\x4c\x18" + struct.pack("<I", len(packed)) + packed)


@pytest.mark.parametrize(("code", "taken"), [(30, True), (34, False)], ids=["128 MiB", "512 MiB"])
def test_a_dictionary_may_be_as_large_as_the_kernels_build_makes_them(code: int, taken: bool) -> None:
    """
    The dictionary's size in xz's first block header, 2**(code / 2 + 12). Manual: The .xz File Format, 3.1 and 5.3.1.
    """
    packed = bytearray(lzma.compress(b"kernel" * 99, check=lzma.CHECK_CRC32))
    size = 4 * packed[12] + 4
    assert packed[14:16] == b"\x21\x01"
    packed[16] = code
    packed[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(packed[12 : 12 + size - 4]))
    if taken:
        assert decompress(memoryview(packed), "it", limit=1000) == b"kernel" * 99
    else:
        with pytest.raises(BadInput, match=r"sound xz data, got .*[Mm]emory"):
            decompress(memoryview(packed), "it", limit=1000)
