"""The platforms: found by their ELF header, each once; the tables beside __ex_table."""

from __future__ import annotations

import pytest

from pagefault.arch.platform import ARM64, MIPS, MIPS64, PLATFORMS, S390, X86_32, X86_64, ByteOrder, platform_of


def test_an_elf_header_means_one_platform() -> None:
    headers = [(platform.elf_machine, platform.bits, platform.byte_order) for platform in PLATFORMS]
    assert len(set(headers)) == len(headers)
    for platform in PLATFORMS:
        assert platform_of(platform.elf_machine, platform.bits, platform.byte_order) is platform


@pytest.mark.parametrize(
    ("machine", "bits", "order", "name"),
    [
        ("EM_X86_64", 64, "little", "x86_64"),
        ("EM_386", 32, "little", "x86_32"),
        ("EM_AARCH64", 64, "little", "arm64"),
        ("EM_ARM", 32, "little", "arm"),
        ("EM_MIPS", 32, "little", "mips"),
        ("EM_MIPS", 64, "little", "mips64"),
        ("EM_MIPS", 64, "big", "mips64"),
        ("EM_PPC64", 64, "little", "powerpc64"),
        ("EM_PPC64", 64, "big", "powerpc64"),
        ("EM_PPC", 32, "big", "powerpc"),
        ("EM_S390", 64, "big", "s390"),
        ("EM_RISCV", 64, "little", "riscv64"),
        ("EM_RISCV", 32, "little", "riscv32"),
        ("EM_LOONGARCH", 64, "little", "loongarch64"),
        ("EM_PARISC", 32, "big", "parisc"),
        ("EM_ALPHA", 64, "little", "alpha"),
        ("EM_SPARCV9", 64, "big", "sparc64"),
    ],
)
def test_platforms_by_header(machine: str, bits: int, order: ByteOrder, name: str) -> None:
    found = platform_of(machine, bits, order)
    assert found is not None
    assert (found.name, found.bits, found.byte_order) == (name, bits, order)


def test_other_headers_mean_none() -> None:
    assert platform_of("EM_X86_64", 32, "little") is None, "x32 is no kernel"
    assert platform_of("EM_S390", 32, "big") is None
    assert platform_of("EM_68K", 32, "big") is None


def test_widths() -> None:
    assert (X86_64.pointer, X86_64.address_mask) == (8, 2**64 - 1)
    assert (X86_32.pointer, X86_32.address_mask) == (4, 2**32 - 1)
    for platform in PLATFORMS:
        assert platform.kernel_half <= platform.address_mask


def test_where_kernels_begin() -> None:
    """The lowest PAGE_OFFSET, __PAGE_OFFSET or KERNBASE that each architecture's kernels can be configured for."""
    halves = {platform.name: platform.kernel_half for platform in PLATFORMS}
    wide = dict.fromkeys(("x86_64", "arm64", "mips64", "riscv64", "loongarch64", "alpha"), 0x8000_0000_0000_0000)
    assert halves == wide | {
        "x86_32": 0x4000_0000,
        "arm": 0x3F00_0000,
        "mips": 0x8000_0000,
        "powerpc": 0x8000_0000,
        "powerpc64": 0xC000_0000_0000_0000,
        "s390": 0,
        "riscv32": 0x8000_0000,
        "parisc": 0x1000_0000,
        "parisc64": 0x4000_0000,
        "sparc": 0xF000_0000,
        "sparc64": 0x40_0000,
    }


def test_parisc_had_pointers_until_4_6() -> None:
    for platform, size in (("parisc", 8), ("parisc64", 16)):
        (exceptions,) = (each.exceptions for each in PLATFORMS if each.name == platform)
        sizes = [
            next(layout.size for layout in exceptions.layouts if layout.covers(version))
            for version in ((4, 5), (4, 6), (6, 7), (6, 8))
        ]
        assert sizes == [size, 8, 8, 12]


def test_the_vdsos_with_tables() -> None:
    assert {platform.name for platform in PLATFORMS if platform.vdsos} == {"x86_64", "x86_32"}
    assert X86_64.vdsos is not None
    assert X86_64.vdsos.images == ("vdso_image_64", "vdso_image_x32", "vdso_image_32")


def test_the_tables_beside() -> None:
    assert [extra.section for extra in S390.extra_tables] == [".amode31.ex_table"]
    assert S390.extra_tables[0].format is None, "its entries are as __ex_table's"
    assert [extra.start for extra in (*MIPS.extra_tables, *MIPS64.extra_tables)] == ["__start___dbe_table"] * 2
    (kvm,) = ARM64.extra_tables
    assert kvm.format is not None
    assert [layout.size for layout in kvm.format.layouts] == [8]
