"""One test for each type of entry: what its handler does to the registers, and where the CPU goes on."""

from __future__ import annotations

import pytest
from elftools.elf.elffile import ELFFile

from pagefault.arch import x86_64
from pagefault.arch.x86 import TRAP_GP, TRAP_PF
from pagefault.arch.x86_exception_types import TYPES
from pagefault.arch.x86_instruction import addressed, decode
from pagefault.errors import Unsupported
from pagefault.handler.decision import Answer
from pagefault.handler.fixup import HANDLERS, fixup_exception, gp_fault_address_ok, mov_target
from pagefault.tables.extable import ExceptionTable
from pagefault.vocabulary.effect import Effect, ResetFpu, SetRegister, Warn
from pagefault.vocabulary.exception_entry import ExceptionEntry
from pagefault.vocabulary.fault import Fault
from pagefault.vocabulary.outcome import FixedUp, Oops

IP, LANDING = 0xFFFF_FFFF_8100_1000, 0xFFFF_FFFF_8100_2000
EFAULT = 0xFFFF_FFFF_FFFF_FFF2
EIO = 0xFFFF_FFFF_FFFF_FFFB
REGISTERS = {
    name: 0x1000 + n for n, name in enumerate("rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split())
} | {"rip": IP, "eflags": 2}
GP_WARNING = Warn("General protection fault in user access. Non-canonical address?")
CLEARED = {"clear_ax": SetRegister("rax", 0), "clear_dx": SetRegister("rdx", 0)}


def page_fault(address: int = 0x5000, ip: int = IP, **registers: int) -> Fault:
    return Fault("#PF", TRAP_PF, 0, address, ip, REGISTERS | {"rip": ip} | registers)


def general_protection(address: int | None = None, **registers: int) -> Fault:
    return Fault("#GP", TRAP_GP, 0, address, IP, REGISTERS | registers)


def entry(type_: str, register: str | None = None, immediate: int = 0, *flags: str) -> ExceptionEntry:
    return ExceptionEntry(3, 0, IP, LANDING, type_, 0, register, flags, immediate)


def nothing(address: int, length: int) -> None:
    """Memory that cannot be read."""


def answer(entry: ExceptionEntry, fault: Fault, *, quiet: bool = False) -> Answer:
    found = fixup_exception(entry, fault, nothing, user_gp_is_quiet=quiet, form=x86_64)
    assert found is not None
    return found


def effects(entry: ExceptionEntry, fault: Fault | None = None, *, quiet: bool = False) -> tuple[Effect, ...]:
    """The effects, of a fault that goes on at the entry's fixup."""
    found = answer(entry, fault or page_fault(), quiet=quiet)
    assert found.outcome == FixedUp(entry, LANDING)
    return found.effects


def test_every_type_has_a_handler() -> None:
    assert set(HANDLERS) == {t.name for t in TYPES}


@pytest.mark.parametrize("type_", ["default", "default_mce_safe"])
def test_default(type_: str) -> None:
    assert effects(entry(type_)) == ()
    assert effects(entry(type_, None, 0, "clear_dx")) == (SetRegister("rdx", 0),)
    assert effects(entry(type_), general_protection()) == ()
    assert type_ in answer(entry(type_), page_fault()).because


@pytest.mark.parametrize("type_", ["fault", "fault_mce_safe"])
def test_fault(type_: str) -> None:
    assert effects(entry(type_)) == (SetRegister("rax", 14),)
    assert effects(entry(type_), general_protection()) == (SetRegister("rax", 13),)


def test_fault_sgx() -> None:
    assert effects(entry("fault_sgx")) == (SetRegister("rax", 0x4000_000E),)


def test_uaccess() -> None:
    assert effects(entry("uaccess")) == ()
    assert effects(entry("uaccess", None, 0, "clear_ax", "clear_dx")) == tuple(CLEARED.values())


def test_a_gp_in_uaccess_warns_before_6_4() -> None:
    assert effects(entry("uaccess"), general_protection()) == (GP_WARNING,)
    assert effects(entry("uaccess"), general_protection(), quiet=True) == ()
    assert effects(entry("uaccess"), general_protection(0xDEAD_0000_0000_0000), quiet=True) == (GP_WARNING,)


@pytest.mark.parametrize(
    ("address", "good"),
    [(0, True), (0x0123 << 48, True), ((1 << 63) + 4095, True), ((1 << 63) + 4096, False), ((1 << 64) - 1, False)],
)
def test_the_addresses_a_gp_is_quiet_about(address: int, good: bool) -> None:
    assert gp_fault_address_ok(address) == good


def test_copy() -> None:
    assert effects(entry("copy")) == (SetRegister("rax", 14),)
    for quiet in (False, True):
        assert effects(entry("copy"), general_protection(), quiet=quiet) == (GP_WARNING, SetRegister("rax", 13))


def test_clear_fs() -> None:
    assert effects(entry("clear_fs")) == (SetRegister("fs", 0), SetRegister("fs_base", 0))


def test_fpu_restore() -> None:
    text = "Bad FPU state detected at 0xffffffff81001000, reinitializing FPU registers."
    assert effects(entry("fpu_restore")) == (Warn(text), ResetFpu())


def test_bpf() -> None:
    assert effects(entry("bpf", "rbx", 0, "clear_ax")) == (SetRegister("rbx", 0),)
    assert effects(entry("bpf")) == ()


MSR = {"rcx": 0xFFFF_0000_C000_0080, "rdx": 0x1_0000_0001, "rax": 0xD01}


def test_wrmsr() -> None:
    text = "unchecked MSR access error: WRMSR to 0xc0000080 (tried to write 0x0000000100000d01) at rIP: "
    assert effects(entry("wrmsr"), general_protection(**MSR)) == (Warn(f"{text}{IP:#x}"),)


def test_rdmsr() -> None:
    text = f"unchecked MSR access error: RDMSR from 0xc0000080 at rIP: {IP:#x}"
    assert effects(entry("rdmsr"), general_protection(**MSR)) == (Warn(text), *CLEARED.values())


def test_wrmsr_safe() -> None:
    assert effects(entry("wrmsr_safe", "r12"), general_protection()) == (SetRegister("r12", EIO),)


def test_rdmsr_safe() -> None:
    """The result goes last: the register may be one of those cleared."""
    assert effects(entry("rdmsr_safe", "rax")) == (*CLEARED.values(), SetRegister("rax", EIO))


@pytest.mark.parametrize(
    ("type_", "text"),
    [("wrmsr_in_mce", "WRMSR to 0x1001 (tried to write 0x0000100200001000)"), ("rdmsr_in_mce", "RDMSR from 0x1001")],
)
def test_msr_access_in_mce_panics(type_: str, text: str) -> None:
    found = answer(entry(type_), general_protection())
    assert found.outcome == Oops("Kernel panic - not syncing: MCA architectural violation!")
    assert found.effects == (Warn(f"MSR access error: {text} at rIP: {IP:#x}"),)


def test_imm_reg() -> None:
    assert effects(entry("imm_reg", "rdi", -14, "clear_dx")) == (SetRegister("rdi", EFAULT), CLEARED["clear_dx"])
    assert effects(entry("imm_reg", "r15", 1)) == (SetRegister("r15", 1),)


def test_pop_reg() -> None:
    top = page_fault(rsp=(1 << 64) - 8)
    assert effects(entry("pop_reg", "r8", 0), top) == (SetRegister("rsp", 0), SetRegister("r8", 0))
    assert effects(entry("pop_reg", "r8", -1)) == (SetRegister("rsp", 0x100C), SetRegister("r8", (1 << 64) - 1))


def test_ucopy_len() -> None:
    assert effects(entry("ucopy_len", "rdx", 8), page_fault(rcx=5, rdx=3)) == (SetRegister("rcx", 43),)
    wraps = page_fault(rcx=1 << 61, rax=7)
    assert effects(entry("ucopy_len", "rax", 8), wraps) == (SetRegister("rcx", 7),)
    assert effects(entry("ucopy_len", "rcx", 4), page_fault(rcx=5)) == (SetRegister("rcx", 25),)
    assert effects(entry("ucopy_len", "rdx", 1), general_protection())[1:] == (GP_WARNING,)


@pytest.mark.parametrize(("type_", "why"), [("eretu", "FRED"), ("ext", "uaccess_err"), ("refcount", "memory")])
def test_what_is_not_modelled_says_so(type_: str, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        answer(entry(type_), page_fault())


# --- zeropad

WORD = bytes.fromhex("8877665544332211")
LAST = 0xFFFF_8880_0000_1FF8


def zeropad(code: str, fault_address: int = LAST + 8, length: int | None = None, **registers: int) -> Answer | None:
    """The answer for this instruction, with one readable word at LAST."""
    text = bytes.fromhex(code)
    memory = {IP: text + bytes(32), LAST: WORD}

    def read(address: int, length: int) -> bytes | None:
        assert length <= 15
        held = memory.get(address, b"")
        return held[:length] if 0 < length <= len(held) else None

    landing = IP + (len(text) if length is None else length)
    listed = ExceptionEntry(0, 0, IP, landing, "zeropad", 20)
    return fixup_exception(listed, page_fault(fault_address, **registers), read, user_gp_is_quiet=True, form=x86_64)


@pytest.mark.parametrize(
    ("code", "target", "registers"),
    [
        ("48 8b 07", "rax", {"rdi": LAST + 3}),  # mov (%rdi),%rax
        ("4c 8b 3f", "r15", {"rdi": LAST + 3}),  # mov (%rdi),%r15
        ("49 8b 4c d0 f8", "rcx", {"r8": LAST + 3 - 8, "rdx": 2}),  # mov -0x8(%r8,%rdx,8),%rcx
        ("65 48 8b 07", "rax", {"rdi": 3, "gs_base": LAST}),  # mov %gs:(%rdi),%rax
        ("48 8b 3f", "rdi", {"rdi": LAST + 3}),  # mov (%rdi),%rdi
    ],
)
def test_zeropad(code: str, target: str, registers: dict[str, int]) -> None:
    found = zeropad(code, **registers)
    assert found is not None
    assert found.effects == (SetRegister(target, 0x11_2233_4455),)
    assert isinstance(found.outcome, FixedUp)
    assert found.outcome.landing == IP + len(bytes.fromhex(code))


@pytest.mark.parametrize("offset", range(1, 8))
def test_zeropad_keeps_the_bytes_that_are_there(offset: int) -> None:
    found = zeropad("48 8b 07", rdi=LAST + offset)
    assert found is not None
    assert found.effects == (SetRegister("rax", int.from_bytes(WORD[offset:], "little")),)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("48 8b 07", {"fault_address": LAST + 9}),  # not at the second word's first byte
        ("48 8b 07", {"fault_address": LAST}),  # the word that must be there is not
        ("48 8b 07", {"length": 4}),  # the fixup is not right behind it
        ("48 8b 07", {"length": 2}),
        ("48 8b 07", {"length": 16}),
        ("48 8b 07", {"length": -1}),  # nobody reads 2**64 - 1 bytes of code
        ("48 8b 07", {"length": 0}),
        ("48 8b 07", {"rdi": LAST + 3 + 8, "fault_address": LAST + 16}),  # the first word cannot be read
        ("8b 07", {}),  # 4 bytes only
        ("48 89 07", {}),  # a store
        ("48 03 07", {}),  # an add
        ("48 8b c7", {}),  # no memory operand
        ("0f 8b 00 00 00 00", {}),  # jnp: 8b, but a two-byte opcode
        ("ff ff ff", {}),  # no instruction
    ],
)
def test_zeropad_declines(code: str, changes: dict[str, int]) -> None:
    assert zeropad(code, **({"rdi": LAST + 3} | changes)) is None


def test_mov_target() -> None:
    assert mov_target(bytes.fromhex("f2 64 4c 8b 1f")) == "r11"
    assert [mov_target(bytes.fromhex(code)) for code in ("8b", "48", "", "48 48 8b 07")] == [None] * 4


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_zeropad_at_every_such_entry_of_a_real_kernel(kernel: str, request: pytest.FixtureRequest) -> None:
    """Whatever addressing the compiler chose: with the operand three bytes into LAST, each loads what is there."""
    with request.getfixturevalue(kernel).open("rb") as file:
        elf = ELFFile(file)
        sections = [s for s in elf.iter_sections() if s.name in (".text", ".init.text", "__ex_table")]
        held = {s.name: (s["sh_addr"], s.data()) for s in sections}
    raw_address, raw = held.pop("__ex_table")
    code = [(start, start + len(data)) for start, data in held.values()]
    listed = [
        found
        for found in ExceptionTable.from_bytes(raw, raw_address, where=kernel, executable=code)
        if found.type == "zeropad"
    ]
    assert listed
    for found in listed:
        start, data = next(piece for piece in held.values() if 0 <= found.insn - piece[0] < len(piece[1]))
        text = data[found.insn - start : found.fixup - start]
        zeros = page_fault(ip=found.insn, **dict.fromkeys(REGISTERS.keys() - {"rip"}, 0))
        operand = addressed(text, zeros.registers)
        assert operand is not None
        base = decode(text).memory[0].base  # type: ignore[union-attr]
        assert base is not None
        registers = {**zeros.registers, base: LAST + 3 - operand[0] & (1 << 64) - 1}
        fault = page_fault(LAST + 8, found.insn, **registers)

        def read(address: int, length: int, insn: int = found.insn, text: bytes = text) -> bytes | None:
            return {insn: text, LAST: WORD}.get(address)

        found_answer = fixup_exception(found, fault, read, user_gp_is_quiet=True, form=x86_64)
        assert found_answer is not None
        assert isinstance(found_answer.effects[0], SetRegister)
        assert found_answer.effects[0].value == 0x11_2233_4455
