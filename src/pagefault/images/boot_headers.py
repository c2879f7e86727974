"""
What a boot loader reads at the front of a kernel: one function a format, which finds its own and says where in it the
kernel is.

Each takes the file (or what came out of the layer around it) and returns a `Layer`, or None if it is not of its format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..arch.platform import ByteOrder
from ..errors import BadInput

Machine = tuple[str, int, ByteOrder]
"""What `arch.platform.platform_of` asks for: the name of the ELF machine, the width of a pointer, the byte order."""
Holds = Literal["the image", "the next layer", "it somewhere"]
SECTOR = 512
ALIGNMENT = 0x20_0000
UIMAGE_HEADER = 64
UIMAGE_KERNEL = 2
PE_HEADER, PE_SECTION, MOST_PE_SECTIONS = 24, 40, 96
"""Sizes of the PE signature with the COFF header, and of a section header; Windows' loader takes 96 sections."""


@dataclass(frozen=True, slots=True)
class Layer:
    """
    `how` is what was recognised, in words. The kernel is at `start` up to `end`: `holds` says whether it is the image
    itself there, or the next layer, or whether that must be searched for. The image is linked to `text_offset` bytes
    behind a multiple of 2 MiB, where its header says so.
    """

    how: str
    start: int
    end: int
    holds: Holds
    machine: Machine | None = None
    text_offset: int = 0


def number(data: memoryview, at: int, form: str = "<I") -> int:
    """The field at `at`; 0 past the end of the data, which no magic is."""
    size = struct.calcsize(form)
    return int(struct.unpack_from(form, data, at)[0]) if at + size <= len(data) else 0


def has(data: memoryview, at: int, magic: bytes) -> bool:
    return data[at : at + len(magic)] == magic


def unified_kernel_image(data: memoryview) -> Layer | None:
    """
    An EFI program that has a boot image in one section, and an initrd in another, which may come first.

    Manual: UAPI Group, "Unified Kernel Image (UKI)", section .linux; Microsoft PE Format, "COFF File Header" and
    "Section Table".
    """
    pe = number(data, 0x3C)
    if not has(data, 0, b"MZ") or not has(data, pe, b"PE\0\0"):
        return None
    first = pe + PE_HEADER + number(data, pe + 20, "<H")
    for header in range(first, first + PE_SECTION * min(number(data, pe + 6, "<H"), MOST_PE_SECTIONS), PE_SECTION):
        if has(data, header, b".linux\0\0"):
            held, stored, start = (number(data, header + at) for at in (8, 16, 20))
            return Layer("unified kernel image (section .linux)", start, start + min(held, stored), "the next layer")
    return None


def x86_bzimage(data: memoryview) -> Layer | None:
    """
    Real-mode setup code in sectors, then protected-mode code that holds the payload.

    Kernel: Documentation/x86/boot.rst ("The Real-Mode Kernel Header": setup_sects, payload_offset), v6.1.
    """
    if not has(data, 0x202, b"HdrS") or number(data, 0x1FE, "<H") != 0xAA55:
        return None
    protocol = number(data, 0x206, "<H")
    how = f"x86 bzImage (boot protocol {protocol >> 8}.{protocol & 0xFF:02})"
    protected = ((number(data, 0x1F1, "B") or 4) + 1) * SECTOR
    if protocol < 0x208:  # from then on the header says where the payload is
        return Layer(how, protected, len(data), "it somewhere")
    start = protected + number(data, 0x248)
    return Layer(how, start, start + number(data, 0x24C), "the next layer")


def efi_zboot(data: memoryview) -> Layer | None:
    """
    An EFI program that decompresses its payload (arm64, loongarch, riscv), since v6.1.

    Kernel: drivers/firmware/efi/libstub/zboot-header.S, v6.1.
    """
    if not has(data, 0, b"MZ") or not has(data, 4, b"zimg"):
        return None
    start, size = number(data, 8), number(data, 12)
    name = bytes(data[24:56]).partition(b"\0")[0].decode("ascii", "backslashreplace")
    return Layer(f"EFI zboot image ({name})", start, start + size, "the next layer")


def arm64_image(data: memoryview) -> Layer | None:
    """
    The kernel as it lies in memory, with a header in its first 64 bytes.

    Kernel: Documentation/arm64/booting.rst, arch/arm64/include/asm/image.h, v6.1. Where the header's image_size is 0,
    text_offset is 0x80000, in either byte order.
    """
    if not has(data, 0x38, b"ARM\x64"):
        return None
    flags = number(data, 24, "<Q")
    order: ByteOrder = "big" if flags & 1 else "little"
    pages = ("pages of unstated size", "4 KiB pages", "16 KiB pages", "64 KiB pages")[flags >> 1 & 3]
    text_offset = number(data, 8, "<Q") if number(data, 16, "<Q") else 0x80000
    how = f"arm64 Image ({order}-endian, {pages})"
    return Layer(how, 0, len(data), "the image", ("EM_AARCH64", 64, order), text_offset % ALIGNMENT)


def riscv_image(data: memoryview) -> Layer | None:
    """
    As on arm64; only the load offset tells a 32-bit kernel. It is one of physical addresses: the image is linked to
    KERNEL_LINK_ADDR itself.

    Kernel: Documentation/riscv/boot-image-header.rst, arch/riscv/kernel/head.S and vmlinux.lds.S LOAD_OFFSET, v6.1.
    """
    if not has(data, 0x38, b"RSC\x05"):
        return None
    bits = 32 if number(data, 8, "<Q") == 0x400000 else 64
    return Layer(f"riscv Image ({bits}-bit)", 0, len(data), "the image", ("EM_RISCV", bits, "little"))


def loongarch_image(data: memoryview) -> Layer | None:
    """
    As on arm64, but for the magic: the PE header's machine (0x6232 or 0x6264) tells it.

    Kernel: arch/loongarch/kernel/head.S, efi-header.S, v6.1; include/linux/pe.h IMAGE_FILE_MACHINE_LOONGARCH64.
    """
    pe = number(data, 0x3C)
    machine = number(data, pe + 4, "<H")
    if not has(data, 0, b"MZ") or not has(data, pe, b"PE\0\0") or machine not in (0x6232, 0x6264):
        return None
    bits = 64 if machine == 0x6264 else 32
    return Layer(f"loongarch Image ({bits}-bit)", 0, len(data), "the image", ("EM_LOONGARCH", bits, "little"))


def arm_zimage(data: memoryview) -> Layer | None:
    """
    A decompressor with the compressed kernel in its data; the header says where all of it ends.

    Kernel: arch/arm/boot/compressed/head.S start, vmlinux.lds.S, v6.1.
    Differs: the table at the end has the place of the payload's size only, so the payload is searched for.
    """
    orders: tuple[ByteOrder, ...] = ("little", "big")
    order = next((o for o in orders if int.from_bytes(data[0x24:0x28], o) == 0x016F2818), None)
    if order is None:
        return None
    flag = int.from_bytes(data[0x30:0x34], "little")
    if flag in (0x04030201, 0x01020304):  # the byte order of data; that of code is always little from ARMv6 on
        order = "little" if flag == 0x04030201 else "big"
    return Layer(f"arm zImage ({order}-endian)", 0, len(data), "it somewhere", ("EM_ARM", 32, order))


def s390_bzimage(data: memoryview) -> Layer | None:
    """
    A decompressor as it lies in memory, with the compressed kernel at its end.

    Kernel: arch/s390/boot/head.S EP_STRING, vmlinux.lds.S .rodata.compressed, v6.1.
    """
    if not has(data, 0x10008, b"S390EP"):
        return None
    return Layer("s390 bzImage", 0, len(data), "it somewhere", ("EM_S390", 64, "big"))


def u_boot(data: memoryview) -> Layer | None:
    """
    U-Boot's legacy image (uImage): 64 bytes, big-endian, in front of the kernel.

    Kernel: scripts/Makefile.lib cmd_uimage, v6.1. Manual: U-Boot include/image.h, struct legacy_img_hdr.
    """
    if not has(data, 0, b"\x27\x05\x19\x56"):
        return None
    size, kind = number(data, 12, ">I"), number(data, 30, "B")
    name = bytes(data[32:64]).rstrip(b"\0").decode("ascii", "backslashreplace")
    holds: Holds = "the next layer" if kind == UIMAGE_KERNEL else "it somewhere"
    return Layer(f"U-Boot uImage ({name})", UIMAGE_HEADER, UIMAGE_HEADER + size, holds)


def android_boot(data: memoryview) -> Layer | None:
    """
    Android's boot image: a page of header, then the kernel.

    Manual: Android boot image header, versions 0 to 4 (system/tools/mkbootimg/include/bootimg/bootimg.h).
    """
    if not has(data, 0, b"ANDROID!"):
        return None
    version = number(data, 40)
    page = 4096 if version in (3, 4) else number(data, 36)
    return Layer("Android boot image", page, page + number(data, 8), "the next layer")


HEADERS: tuple[Callable[[memoryview], Layer | None], ...] = (
    unified_kernel_image,
    x86_bzimage,
    efi_zboot,
    arm64_image,
    riscv_image,
    loongarch_image,
    arm_zimage,
    s390_bzimage,
    u_boot,
    android_boot,
)


def recognise(data: memoryview, where: str) -> Layer | None:
    """
    The header at the front of `data`, or None.

    Errors: BadInput if there is one, and the kernel is not inside `data` where it says.
    """
    layer = next((layer for header in HEADERS if (layer := header(data))), None)
    if layer and not 0 <= layer.start < layer.end <= len(data):
        got = f"{layer.end - layer.start} bytes of {len(data)} (cut off?)"
        raise BadInput(where, offset=layer.start, expected=f"what the header of the {layer.how} promises", got=got)
    return layer
