from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
from collections.abc import Callable
from contextlib import suppress

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign_kernel import ForeignKernel
from images.test_utsname import utsname
from pagefault.errors import BadInput
from pagefault.images import boot_image, elf
from pagefault.images.boot_image import Payload, unwrap

NOISE = random.Random(3)
RAW = NOISE.randbytes(6000) + utsname() + NOISE.randbytes(6000)
"""What a kernel looks like as it lies in memory: nothing tells it but its utsname."""
INITRAMFS = gzip.compress(NOISE.randbytes(9000))
"""A sound stream that holds no kernel."""


def elf_file(*, kind: int = 2, machine: int = 62, wide: bool = True, big: bool = False, names: bytes = b"\0") -> bytes:
    """An ELF file whose only section is that of the section names; then whatever is appended to it."""
    order, end = ">" if big else "<", 64 if wide else 52
    section = struct.pack(f"{order}IIQQQQIIQQ" if wide else f"{order}10I", 0, 3, 0, 0, end, len(names), 0, 0, 1, 0)
    form = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
    fields = kind, machine, 1, 0, 0, end + len(names), 0, end, 0, 0, len(section), 1, 0
    identity = bytes([0x7F, *b"ELF", 1 + wide, 1 + big, 1]).ljust(16, b"\0")
    return identity + struct.pack(order + form, *fields) + names + section


VMLINUX = elf_file(names=b"\0.text\0__ex_table\0") + NOISE.randbytes(9000) + utsname()
MODULE = elf_file(kind=1) + NOISE.randbytes(9000) + b"Linux version 6.1.0" + utsname()


def appended(stream: bytes, plain: bytes) -> bytes:
    return stream + struct.pack("<I", len(plain))


def xz(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    return appended(lzma.compress(data, check=lzma.CHECK_CRC32, filters=filters), data)


def lz4_legacy(data: bytes, *, first: int = 0) -> bytes:
    """Two blocks of data, or one."""
    blocks = [lz4.block.compress(part, store_size=False) for part in (data[:first], data[first:]) if part]
    sized = b"".join(struct.pack("<I", len(block)) + block for block in blocks)
    return appended(b"\x02\x21\x4c\x18" + sized, data)


def filled(size: int, *fields: tuple[int, bytes]) -> bytes:
    out = bytearray(size)
    for at, value in fields:
        out[at : at + len(value)] = value
    return bytes(out)


def bzimage(payload: bytes, *, protocol: int = 0x20F, sectors: int = 4, length: int | None = None) -> bytes:
    where = struct.pack("<II", 300, len(payload) if length is None else length)
    header = ((0x1F1, bytes([sectors])), (0x1FE, b"\x55\xaa"), (0x202, b"HdrS" + struct.pack("<H", protocol)))
    return filled(((sectors or 4) + 1) * 512 + 300, *header, (0x248, where)) + payload + b"signature"


def zboot(payload: bytes, name: bytes) -> bytes:
    header = filled(0x200, (0, b"MZ"), (4, b"zimg" + struct.pack("<II", 0x200, len(payload))), (24, name))
    return header + payload + bytes(100)


def zimage(payload: bytes, order: str = "<") -> bytes:
    flag = struct.pack(f"{order}I", 0x04030201)
    return filled(0x800, (0x24, struct.pack("<I", 0x016F2818)), (0x30, flag)) + payload + bytes(100)


def s390(payload: bytes) -> bytes:
    return filled(0x11000, (0x10008, b"S390EP")) + payload + bytes(100)


def uimage(payload: bytes, kind: int = 2) -> bytes:
    name = b"Linux-6.1".ljust(32, b"\0")
    return struct.pack(">7I4B", 0x27051956, 0, 0, len(payload), 0, 0, 0, 5, 2, kind, 1) + name + payload + b"more"


def android(payload: bytes, version: int, page: int) -> bytes:
    size = struct.pack("<I", len(payload))
    return (
        filled(page, (0, b"ANDROID!" + size), (36, struct.pack("<II", page if version < 3 else 0, version)))
        + payload
        + bytes(page)
    )


def image(magic: bytes, *fields: tuple[int, bytes]) -> bytes:
    return filled(0x1000, (0, b"MZ"), (0x38, magic), *fields) + RAW


def opened(data: bytes) -> Payload:
    return unwrap(memoryview(data), "vmlinuz")


def unified(kernel: bytes, *, machine: int = 0x8664, initrd: bytes = b"") -> bytes:
    """What systemd-stub's programs look like: code, an initrd, the kernel."""
    at = 0x400 + len(initrd)
    sections = (b".text", 0x100, 0x200), (b".initrd", len(initrd), 0x400), (b".linux", len(kernel), at)
    headers = [struct.pack("<8sIIII16x", name, size, at, size + 0x10, at) for name, size, at in sections]
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, 0x20, 0)
    front = filled(0x400, (0, b"MZ"), (0x3C, b"\x80"), (0x80, coff), (0xB8, b"".join(headers)))
    return front + initrd + kernel + bytes(0x200)


LAYERS: dict[str, tuple[bytes, bytes, tuple[str, ...]]] = {
    "bzImage": (
        bzimage(xz(VMLINUX)),
        VMLINUX,
        ("x86 bzImage (boot protocol 2.15)", "xz-compressed payload at 0xb2c, "),
    ),
    "bzImage of 2.08": (bzimage(xz(VMLINUX), protocol=0x208), VMLINUX, ("x86", "xz-compressed payload at 0xb2c, 9.")),
    "bzImage of no setup_sects": (bzimage(xz(VMLINUX), sectors=0), VMLINUX, ("x86", "xz-compressed payload at 0xb2c")),
    "bzImage from before 2.08": (
        bzimage(INITRAMFS + xz(VMLINUX), protocol=0x204),
        VMLINUX,
        ("x86 bzImage (boot protocol 2.04)", f"xz-compressed payload at {0xB2C + len(INITRAMFS):#x}, found by its"),
    ),
    "zboot": (
        zboot(gzip.compress(RAW), b"gzip"),
        RAW,
        ("EFI zboot image (gzip)", "gzip-compressed payload at 0x200, "),
    ),
    "uncompressed in zboot": (
        zboot(image(b"ARMd"), b"none"),
        image(b"ARMd"),
        ("EFI zboot image (none)", "arm64 Image"),
    ),
    "zImage": (
        zimage(xz(RAW)),
        RAW,
        ("arm zImage (little-endian)", "xz-compressed payload at 0x800, found by its magic"),
    ),
    "zImage, lz4": (zimage(lz4_legacy(RAW)), RAW, ("arm zImage (little-endian)", "lz4-compressed payload at 0x800, ")),
    "zImage, uncompressed": (zimage(RAW), zimage(RAW), ("arm zImage (little-endian)",)),
    "s390": (s390(bz2.compress(RAW)), RAW, ("s390 bzImage", "bzip2-compressed payload at 0x11000, found")),
    "unified, bzImage": (
        unified(bzimage(xz(VMLINUX)), initrd=xz(MODULE) * 2 + xz(VMLINUX)),
        VMLINUX,
        ("unified kernel image (section .linux)", "x86 bzImage", "xz-compressed payload at 0x"),
    ),
    "unified, arm64": (
        unified(image(b"ARMd"), machine=0xAA64),
        image(b"ARMd"),
        ("unified kernel image", "arm64 Image"),
    ),
    "unified, loongarch": (
        unified(zboot(gzip.compress(RAW), b"gzip"), machine=0x6264),
        RAW,
        ("unified kernel image", "EFI zboot", "gzip-compressed"),
    ),
    "modules and initramfs in front": (
        zimage((xz(MODULE) + gzip.compress(b"070701" + MODULE)) * 6 + xz(RAW)),
        RAW,
        ("arm zImage", "xz-compressed payload at 0x"),
    ),
    "uImage": (uimage(gzip.compress(RAW)), RAW, ("U-Boot uImage (Linux-6.1)", "gzip-compressed payload at 0x40, ")),
    "uImage of several files": (
        uimage(b"\0\0\0\x09" * 2 + xz(RAW), kind=4),
        RAW,
        ("U-Boot", "xz-compressed payload at 0x48"),
    ),
    "zImage in a uImage": (
        uimage(zimage(xz(RAW))),
        RAW,
        ("U-Boot uImage", "arm zImage", "xz-compressed payload at 0x840"),
    ),
    "Android 0": (android(xz(RAW), 0, 2048), RAW, ("Android boot image", "xz-compressed payload at 0x800, ")),
    "Android 4": (android(xz(RAW), 4, 4096), RAW, ("Android boot image", "xz-compressed payload at 0x1000, ")),
    "gzip": (gzip.compress(VMLINUX), VMLINUX, ("gzip-compressed payload at 0x0, ",)),
    "gzip in xz": (
        xz(gzip.compress(VMLINUX)),
        VMLINUX,
        ("xz-compressed payload at 0x0, ", "gzip-compressed payload at 0x0 of it"),
    ),
    "anything around it": (
        NOISE.randbytes(999) + xz(RAW),
        RAW,
        ("xz-compressed payload at 0x3e7, found by its magic",),
    ),
    "raw": (RAW, RAW, ()),
    "raw, with an initramfs": (RAW + INITRAMFS, RAW + INITRAMFS, ()),
    "vmlinux": (VMLINUX + xz(RAW), VMLINUX + xz(RAW), ()),
    "vmlinux without section headers": (elf_file() + RAW, elf_file() + RAW, ()),
    "a module": (elf_file(kind=1) + xz(RAW), elf_file(kind=1) + xz(RAW), ()),
    "a core": (elf_file(kind=4) + xz(RAW), elf_file(kind=4) + xz(RAW), ()),
}


@pytest.mark.parametrize(("data", "kernel", "how"), LAYERS.values(), ids=LAYERS)
def test_what_is_in_it_and_how_it_was_got(data: bytes, kernel: bytes, how: tuple[str, ...]) -> None:
    payload = opened(data)
    assert payload.data == kernel
    assert len(payload.how) == len(how)
    assert all(said.startswith(start) for said, start in zip(payload.how, how, strict=True)), payload.how
    assert payload.kind == ("elf" if kernel[:4] == b"\x7fELF" else "raw")


def test_it_says_how_much_came_out() -> None:
    data = bytes(8_000_000)
    stream = gzip.compress(VMLINUX + NOISE.randbytes(200_000) + data)
    small, large = f"{len(stream) / 1e6:.1f}", f"{(len(VMLINUX) + 8_200_000) / 1e6:.1f}"
    assert opened(bzimage(stream)).how[1] == f"gzip-compressed payload at 0xb2c, {small} MB -> {large} MB"


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (bzimage(xz(VMLINUX)), 0xB2C),
        (zimage(xz(RAW)), 0x800),
        (uimage(zimage(gzip.compress(zimage(xz(RAW))))), 0x840),
        (uimage(gzip.compress(zimage(xz(RAW)))), 0x40),
        (gzip.compress(uimage(RAW)), 0),
        (uimage(RAW), 0x40),
        (image(b"ARMd"), 0),
    ],
)
def test_where_it_is_in_the_file(data: bytes, offset: int) -> None:
    assert opened(data).offset == offset


@pytest.mark.parametrize(
    ("data", "how", "machine"),
    [
        (image(b"ARMd", (24, b"\x0a")), "arm64 Image (little-endian, 4 KiB pages)", ("EM_AARCH64", 64, "little")),
        (image(b"ARMd", (24, b"\x07")), "arm64 Image (big-endian, 64 KiB pages)", ("EM_AARCH64", 64, "big")),
        (image(b"RSC\x05", (10, b"\x20")), "riscv Image (64-bit)", ("EM_RISCV", 64, "little")),
        (image(b"RSC\x05", (10, b"\x40")), "riscv Image (32-bit)", ("EM_RISCV", 32, "little")),
        (
            image(b"\xcd\x23\x82\x81\x40", (0x40, b"PE\0\0\x64\x62")),
            "loongarch Image (64-bit)",
            ("EM_LOONGARCH", 64, "little"),
        ),
        (zimage(xz(RAW)), "arm zImage (little-endian)", ("EM_ARM", 32, "little")),
        (zimage(xz(RAW), ">"), "arm zImage (big-endian)", ("EM_ARM", 32, "big")),
        (zimage(xz(uimage(RAW))), "arm zImage (little-endian)", ("EM_ARM", 32, "little")),
        (
            filled(0x800, (0x24, b"\x01\x6f\x28\x18"), (0x30, b"\4\3\2\1")) + xz(RAW),
            "arm zImage (big-endian)",  # BE32, before ARMv6
            ("EM_ARM", 32, "big"),
        ),
        (s390(xz(RAW)), "s390 bzImage", ("EM_S390", 64, "big")),
        (elf_file(machine=8) + xz(RAW), "ELF executable around a kernel", ("EM_MIPS", 64, "little")),
        (elf_file(machine=8, wide=False, big=True) + xz(RAW), "ELF exec", ("EM_MIPS", 32, "big")),
        (elf_file(machine=62) + xz(RAW), "ELF executable around a kernel", None),
    ],
)
def test_what_a_header_says_of_a_raw_image(data: bytes, how: str, machine: object) -> None:
    payload = opened(data)
    assert (payload.kind, payload.machine) == ("raw", machine)
    assert payload.how[0].startswith(how)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("big", [True, False])
def test_an_elf_file_with_an_exception_table_is_a_kernel_whatever_is_in_it(
    wide: bool, big: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_image, "SECTION_NAMES", 16)
    data = elf_file(machine=21, wide=wide, big=big, names=b"\0__ex_table\0" + bytes(500)) + xz(RAW)
    assert opened(data) == Payload(memoryview(data), (), 0, "elf")


def test_any_other_program_is_handed_back() -> None:
    data = elf_file() + INITRAMFS
    assert opened(data) == Payload(memoryview(data), (), 0, "elf")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "a kernel: ELF, a boot image, or compressed, got nothing"),
        (b"hello, world", "got 68 65 6c 6c, and no kernel behind it"),
        (NOISE.randbytes(100_000) + INITRAMFS, "no kernel behind it"),
        (zimage(b"no kernel"), r"vmlinuz, in arm zImage \(little-endian\) at offset 0x0: .* no kernel behind it"),
        (bzimage(b"no kernel"), r"vmlinuz, in x86 bzImage .*: expected a kernel"),
        (bzimage(xz(VMLINUX)[:5000]), "in x86 bzImage .*: expected sound xz data, got .*cut off"),
        (bzimage(xz(VMLINUX))[:5000], "at offset 0xb2c: .* header of the x86 bzImage .* promises, got .*cut off"),
        (bzimage(xz(VMLINUX), length=0), "promises, got 0 bytes"),
        (bzimage(xz(VMLINUX), length=0xFFFFFFFF), "promises, got 4294967295 bytes of"),
        (bzimage(b"", protocol=0x204)[:0x300], "promises"),
        (zboot(b"", b"gzip"), r"header of the EFI zboot image \(gzip\) promises, got 0 bytes"),
        (uimage(RAW)[:500], "header of the U-Boot uImage .* promises"),
        (android(RAW, 2, 2048)[:2500], "header of the Android boot image promises"),
        (gzip.compress(bytes(20 << 20)), "bomb"),
    ],
)
def test_what_is_no_kernel(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        opened(data)


def test_layers_end() -> None:
    data = RAW
    for _ in range(boot_image.MOST_LAYERS + 1):
        data = gzip.compress(data)
    with pytest.raises(BadInput, match="at most 8 wrappers"):
        opened(data)
    assert opened(gzip.decompress(gzip.decompress(data))).data == RAW


def test_a_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = RAW.hex().encode() + utsname()
    for streams, found in ((3, True), (4, False)):  # of MOST_OPENED, which each are a kernel's worth
        data = zimage(INITRAMFS * streams + xz(kernel))
        if found:
            assert opened(data).data == kernel
        else:
            with pytest.raises(BadInput, match="no kernel in the 4 compressed streams that were opened, with more beh"):
                opened(data)
    monkeypatch.setattr(boot_image, "MOST_FOUND", len(kernel))
    assert opened(zimage(xz(kernel))).data == kernel
    monkeypatch.setattr(boot_image, "MOST_FOUND", len(kernel) - 1)
    with pytest.raises(BadInput, match="no kernel behind it; the xz stream at 0x800 is broken: more"):
        opened(zimage(xz(kernel)))
    monkeypatch.undo()
    monkeypatch.setattr(boot_image, "MOST_TRIES", 2)
    assert opened(zimage(gzip.compress(b"small") + xz(kernel))).data == kernel
    with pytest.raises(BadInput, match="no kernel in the 0 compressed streams"):
        opened(zimage(gzip.compress(b"small") * 2 + xz(kernel)))


def test_a_search_passes_over_what_is_too_small() -> None:
    assert opened(zimage(gzip.compress(utsname()) + xz(RAW))).data == RAW


def test_what_only_mentions_a_kernel_is_none() -> None:
    program = elf_file() + NOISE.randbytes(9000) + b"Linux version 6.1.0 (somebody)"
    assert opened(zimage(xz(program) + xz(RAW))).data == RAW
    with pytest.raises(BadInput, match="no kernel behind it"):
        opened(b"Linux version 6.1.0 (somebody)" + NOISE.randbytes(9000))


@pytest.mark.parametrize("pack", [lambda data: lz4_legacy(data, first=8 << 20), xz], ids=["lz4", "xz"])
def test_a_damaged_kernel_is_not_taken_for_a_flat_one(pack: Callable[[bytes], bytes]) -> None:
    """lz4 leaves most of a banner readable, but no utsname."""
    kernel = b"Linux version 6.1.0" + NOISE.randbytes(9 << 20) + RAW
    stream = bytearray(pack(kernel))
    assert opened(zimage(bytes(stream))).data == kernel
    stream[-9000:-4000] = b"\xff" * 5000
    with pytest.raises(BadInput, match=r"no kernel behind it; the (lz4|xz) stream at 0x800 is broken: "):
        opened(zimage(bytes(stream)))


def test_where_an_arm64_image_is_linked_to() -> None:
    """Image headers: text_offset at 8, image_size at 16."""
    for fields, text_offset in (
        (struct.pack("<QQ", 0x80000, 0x100_0000), 0x80000),
        (struct.pack("<QQ", 0, 0x100_0000), 0),
        (struct.pack("<QQ", 0x280000, 0x100_0000), 0x80000),
        (bytes(16), 0x80000),
    ):
        assert opened(image(b"ARMd", (8, fields))).text_offset == text_offset
    assert opened(image(b"RSC\x05", (8, struct.pack("<QQ", 0x20_0000, 1)))).text_offset == 0


def test_a_debug_kernel_is_too_large_to_be_searched_for_and_any_other_is_not() -> None:
    assert 100 << 20 < boot_image.MOST_FOUND < 512 << 20


def test_a_search_passes_over_bombs_and_broken_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_image, "MOST_FOUND", 1 << 20)
    broken = bytearray(xz(RAW))
    broken[-40] ^= 0xFF
    assert opened(zimage(gzip.compress(bytes(2 << 20)) + bytes(broken) + xz(RAW))).data == RAW


@given(st.sampled_from(sorted(LAYERS)), st.data())
def test_damage(name: str, data: st.DataObject) -> None:
    broken = bytearray(LAYERS[name][0])
    header = st.integers(0, min(len(broken), 0x300) - 1)
    where = header | st.integers(0, len(broken) - 1)
    for at, value in data.draw(st.lists(st.tuples(where, st.binary(min_size=1, max_size=4)), max_size=4)):
        broken[at : at + len(value)] = value
    cut = data.draw(st.none() | st.integers(0, len(broken)))
    with suppress(BadInput):
        payload = opened(bytes(broken[:cut]))
        assert payload.kind in ("elf", "raw")
        assert 0 <= payload.offset < len(broken)


REAL = {
    "amd64": (["x86 bzImage (boot protocol 2.15)", "-compressed payload at 0x"], "elf", None),
    "i386": (["x86 bzImage (boot protocol 2.15)", "-compressed payload at 0x"], "elf", None),
    "arm64": (["arm64 Image (little-endian, 4 KiB pages)"], "raw", ("EM_AARCH64", 64, "little")),
    "armhf": (["arm zImage (little-endian)", "xz-compressed payload at 0x"], "raw", ("EM_ARM", 32, "little")),
    "armel": (["arm zImage (little-endian)", "xz-compressed payload at 0x"], "raw", ("EM_ARM", 32, "little")),
    "mips64el": (["ELF executable around a kernel", "xz-compressed payload at"], "raw", ("EM_MIPS", 64, "little")),
    "mipsel": (["ELF executable around a kernel", "xz-compressed payload at"], "raw", ("EM_MIPS", 32, "little")),
    "ppc64el": ([], "elf", None),
    "s390x": (["s390 bzImage", "xz-compressed payload at 0x"], "raw", ("EM_S390", 64, "big")),
}


@pytest.mark.parametrize("architecture", REAL)
def test_debians_kernels(architecture: str, foreign_kernel: Callable[[str], ForeignKernel]) -> None:
    """Each comes out whole: its own checksum is right, and it says which release it is."""
    kernel = foreign_kernel(architecture)
    payload = unwrap(memoryview(elf.map_file(str(kernel.boot))), str(kernel.boot))
    how, kind, machine = REAL[architecture]
    assert len(payload.how) == len(how)
    assert all(part in said for said, part in zip(payload.how, how, strict=True)), payload.how
    assert (payload.kind, payload.machine) == (kind, machine)
    data = bytes(payload.data)
    assert data.startswith(b"\x7fELF") == (kind == "elf")
    assert f"Linux version {kernel.release} (".encode() in data
