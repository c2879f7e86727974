"""
Instructions that stand in kernels' exception tables and that capstone 5 does not know.
"""

from __future__ import annotations

Beyond = tuple[int, str, str]
"""Length in bytes, mnemonic, operands."""


def decode_beyond(elf_machine: str, byte_order: str, code: bytes) -> Beyond | None:
    """The instruction at the start of `code`, or None if it is not one of these."""
    match elf_machine:
        case "EM_PPC64" if len(code) >= 4:
            return powerpc(int.from_bytes(code[:4], "little" if byte_order == "little" else "big"))
        case "EM_S390" if len(code) >= 4:
            return s390(code)
        case "EM_X86_64" if len(code) >= 4:
            return x86(code)
    return None


def powerpc(word: int) -> Beyond | None:
    """Manual: Power ISA 3.0, lq (primary opcode 56), stq (62), lqarx, stqcx. (31), slbia with its hint (31)."""
    target, base, index = word >> 21 & 31, word >> 16 & 31, word >> 11 & 31
    displacement = ((word & 0xFFFC) ^ 0x8000) - 0x8000
    match word >> 26, word & 0x7FF:
        case 56, _ if not word & 0xF:
            return 4, "lq", f"r{target}, {displacement}(r{base})"
        case 62, _ if word & 3 == 2:
            return 4, "stq", f"r{target}, {displacement}(r{base})"
        case 31, low if low & ~1 == 276 << 1:
            return 4, "lqarx", f"r{target}, {indexed(base)}, r{index}"
        case 31, low if low == 182 << 1 | 1:
            return 4, "stqcx.", f"r{target}, {indexed(base)}, r{index}"
        case 31, low if low == 498 << 1:
            return 4, "slbia", str(target & 7)
    return None


def indexed(base: int) -> str:
    """Register 0 as a base means no base."""
    return f"r{base}" if base else "0"


S390_RSY = {0xEB00000000D0: "pcistb", 0xEB00000000D1: "sic", 0xEB00000000D4: "pcistbi"}
S390_RRE = {
    0xB220: "servc", 0xB25F: "chsc", 0xB2AF: "pqap", 0xB9A0: "clp", 0xB9AB: "essa", 0xB9D0: "pcistg", 0xB9D2: "pcilg",
    0xB9D3: "rpcit", 0xB9D4: "pcistgi", 0xB9D6: "pcilgi",
}  # fmt: skip


def s390(code: bytes) -> Beyond | None:
    """
    The instructions of PCI, channels, crypto cards, and the service processor, by the kernel's names for them.

    Kernel: arch/s390/pci/pci_insn.c, pci_mmio.c and pci_clp.c (each `.insn`), arch/s390/include/asm/ap.h ap_qci(),
    arch/s390/mm/page-states.c cmma_test_essa(), drivers/s390/char/sclp.h sclp_service_call(), v6.1.
    """
    if (name := S390_RRE.get(int.from_bytes(code[:2], "big"))) is not None:
        return 4, name, f"%r{code[3] >> 4}, %r{code[3] & 15}"
    word = int.from_bytes(code[:6], "big")
    name = S390_RSY.get(word & 0xFF00000000FF) if len(code) >= 6 else None
    if name is None:
        return None
    displacement = (word >> 16 & 0xFFF) | (word >> 8 & 0xFF) << 12
    displacement = (displacement ^ 1 << 19) - (1 << 19)
    return 6, name, f"%r{word >> 36 & 15}, %r{word >> 32 & 15}, {displacement}(%r{word >> 28 & 15})"


def x86(code: bytes) -> Beyond | None:
    """
    LKGS, which loads GS's hidden base the way the kernel wants it, with its operand in a register.

    Manual: Intel FRED specification, LKGS (F2 0F 00 /6). Kernel: arch/x86/include/asm/gsseg.h native_lkgs(), v6.12.
    """
    if code[:3] != b"\xf2\x0f\x00" or code[3] & 0xF8 != 0xF0:
        return None
    return 4, "lkgs", "%" + ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")[code[3] & 7]
