"""
How the kernel rewrites instructions when it moves them to another place: no-ops joined, relative operands re-aimed.

Everything here takes and gives bytes. Where v6.1 and v6.12 differ there are two functions, and the text that they give
is the same to the byte as the kernel's.

Kernel: arch/x86/kernel/alternative.c, v6.1 and v6.12; arch/x86/include/asm/nops.h.
"""

from __future__ import annotations

from ..arch.x86_instruction import decode

NOP, INT3, CALL, JMP32, JMP8, RET = 0x90, 0xCC, 0xE8, 0xE9, 0xEB, 0xC3
NOPS = tuple(
    bytes.fromhex(code)
    for code in (
        "",
        "90",
        "66 90",
        "0f 1f 00",
        "0f 1f 40 00",
        "0f 1f 44 00 00",
        "66 0f 1f 44 00 00",
        "0f 1f 80 00 00 00 00",
        "0f 1f 84 00 00 00 00 00",
        "2e 0f 1f 84 00 00 00 00 00",
        "66 2e 0f 1f 84 00 00 00 00 00",
        "66 66 2e 0f 1f 84 00 00 00 00 00",
    )
)
"""The no-op of each length in 64-bit code. Kernel: arch/x86/include/asm/nops.h, v6.12."""
NOPS_32 = tuple(
    bytes.fromhex(code)
    for code in (
        "",
        "90",
        "89 f6",
        "8d 76 00",
        "8d 74 26 00",
        "3e 8d 74 26 00",
        "8d b6 00 00 00 00",
        "8d b4 26 00 00 00 00",
        "3e 8d b4 26 00 00 00 00",
    )
)
"""In 32-bit code. Kernel: arch/x86/include/asm/nops.h, v6.1 and v6.12."""
NOPS_OF = {64: NOPS, 32: NOPS_32}
LONGEST_61 = 8
"""ASM_NOP_MAX of v6.1; v6.12 has 11."""
LEGACY_PREFIXES = frozenset(b"\x66\x67\x2e\x36\x3e\x26\x64\x65\xf0\xf2\xf3")
REPEAT = 0xF3


def instruction(code: bytes, at: int, bits: int) -> tuple[int, int] | None:
    """Length of the instruction at `at`, and how far into it the opcode is; None if it is none. The usual ones fast."""
    first = code[at]
    if first == NOP:
        return 1, 0
    if first in (CALL, JMP32):
        return 5, 0
    if first == JMP8 or first & 0xF0 == 0x70:
        return 2, 0
    found = decode(code[at:], bits)
    if found is None:
        return None
    opcode = at
    while code[opcode] in LEGACY_PREFIXES:
        opcode += 1
    if bits == 64 and code[opcode] & 0xF0 == 0x40:  # REX
        opcode += 1
    return found.length, opcode - at


def nops_61(length: int, bits: int = 64) -> bytes:
    """As many bytes of no-ops. Kernel: add_nops(), v6.1."""
    whole, rest = divmod(length, LONGEST_61)
    return NOPS_OF[bits][LONGEST_61] * whole + NOPS_OF[bits][rest]


def nops_612(length: int, bits: int = 64) -> bytes:
    """One instruction that does nothing, or a jump over the rest. Kernel: add_nop(), v6.12."""
    if length < len(NOPS_OF[bits]):
        return NOPS_OF[bits][length]
    jump = bytes((JMP8, length - 2)) if length < 128 else bytes((JMP32,)) + (length - 5).to_bytes(4, "little")
    return jump.ljust(length, bytes((INT3,)))


def optimize_nops_61(code: bytes, bits: int = 64) -> bytes:
    """Runs of one-byte no-ops, joined. Kernel: optimize_nops(), v6.1."""
    if NOP not in code:
        return code
    better, at = bytearray(code), 0
    while at < len(code):
        if code[at] == NOP:
            end = at
            while end < len(code) and code[end] == NOP:
                end += 1
            better[at:end] = nops_61(end - at, bits)
            at = end
        elif (found := instruction(code, at, bits)) is None:
            break
        else:
            at += found[0]
    return bytes(better)


def is_nop(code: bytes, at: int, opcode: int) -> bool:
    """Kernel: insn_is_nop(), v6.12."""
    first, second = code[at + opcode], code[at + opcode + 1 : at + opcode + 2]
    return (first == NOP and not (opcode and code[at] == REPEAT)) or (first == 0x0F and second == b"\x1f")


def optimize_nops_612(code: bytes, bits: int = 64) -> bytes:
    """Runs of no-ops, joined, unless the last one is alone. Kernel: optimize_nops(), v6.12."""
    if NOP not in code and b"\x0f\x1f" not in code:
        return code
    better, at = bytearray(code), 0
    while at < len(code) and (found := instruction(code, at, bits)):
        end = at + found[0]
        if is_nop(code, at, found[1]):
            if end == len(code):
                break
            while end < len(code):
                if code[end] == NOP:
                    end += 1
                elif (following := instruction(code, end, bits)) and is_nop(code, end, following[1]):
                    end += following[0]
                else:
                    break
            better[at:end] = nops_612(end - at, bits)
        at = end
    return bytes(better)


def relocate_61(code: bytes, source: int, destination: int, bits: int = 64) -> bytes:
    """
    A replacement of five bytes that is one call or jump, moved from `source` to `destination`; anything else as it is.

    Kernel: apply_alternatives() and recompute_jump(), v6.1.
    """
    if len(code) != 5 or code[0] not in (CALL, JMP32):
        return code
    target = source + 5 + int.from_bytes(code[1:], "little", signed=True)
    if code[0] == JMP32 and 0 <= target - destination <= 129:
        return bytes((JMP8, target - destination - 2 & 0xFF)) + NOPS_OF[bits][3]
    return code[:1] + displacement(target - destination - 5, 4)


def relocate_612(code: bytes, source: int, destination: int, bits: int = 64) -> bytes:
    """
    A replacement, moved from `source` to `destination`: every relative branch and RIP-relative operand that leads out
    of it.

    Kernel: __apply_relocation(), v6.12. A jump is made short where it can be, even one inside the replacement.
    """
    moved, at, distance = bytearray(code), 0, source - destination
    while at < len(code) and (found := instruction(code, at, bits)):
        length, opcode = found
        end = at + length
        if end > len(code):
            break
        first, second = code[at + opcode], code[at + opcode + 1 : at + opcode + 2]
        wide = first in (CALL, JMP32) or (first == 0x0F and second[:1] and second[0] & 0xF0 == 0x80)
        short = first == JMP8 or first & 0xF0 == 0x70
        if wide or short:
            size = 4 if wide else 1
            value = int.from_bytes(code[end - size : end], "little", signed=True)
            if not 0 <= end + value <= len(code):
                moved[end - size : end] = displacement(value + distance, size)
            if first == JMP32 and -128 <= value + distance + 3 <= 127:
                moved[at:end] = bytes((JMP8, value + distance + 3 & 0xFF)).ljust(length, bytes((INT3,)))
        elif bits == 64 and (operand := rip_relative(code[at:])) is not None and not 0 <= end + operand <= len(code):
            place = code.index(displacement(operand, 4), at + opcode, end)
            moved[place : place + 4] = displacement(operand + distance, 4)
        at = end
    return bytes(moved)


def rip_relative(code: bytes) -> int | None:
    """The displacement of the first instruction's RIP-relative operand, counted from its end, if it has one."""
    found = decode(code)
    if found is not None:
        for operand in found.memory:
            if operand.base == "rip":
                return operand.displacement - found.length
    return None


def displacement(value: int, size: int) -> bytes:
    """A signed displacement as `size` bytes; what does not fit is cut, where the kernel would stop with a BUG."""
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def branch(opcode: int, source: int, target: int) -> bytes:
    """A five-byte call or jump from `source` to `target`."""
    return bytes((opcode,)) + displacement(target - source - 5, 4)
