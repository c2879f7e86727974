"""
The CPU: how each run ends, and that no translation outlives what it went by.

`oracle/test_mmu_agrees.py` compares it with the emulator's own MMU on random tables.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagefault.arch import x86, x86_64
from pagefault.arch.x86 import CpuState
from pagefault.errors import Unsupported
from pagefault.machine.cpu import Halted, MemoryFault, OutOfBudget, Reached, Stop, Trapped
from pagefault.machine.machine import Machine
from pagefault.machine.mmu import Mmu
from pagefault.machine.unicorn_cpu import UnicornCpu
from pagefault.memory.ram import FrameAllocator, Ram
from pagefault.tables.pagetable import PageTables
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped, NonCanonical, NotPresent

CODE, DATA, TABLE, USER, USER_CODE = (
    0xFFFF_FFFF_8100_0000,
    0xFFFF_8880_0000_0000,
    0xFFFF_8880_0000_1000,
    0x40_0000,
    0x50_0000,
)
ONE, TWO = 0x1111, 0x2222
RW = x86.PRESENT | x86.WRITABLE
NOP = b"\x90"
LOAD, STORE = bytes.fromhex("488b07"), bytes.fromhex("488907")  # mov (%rdi),%rax; mov %rax,(%rdi)
LOAD_RBX = bytes.fromhex("488b1f")  # mov (%rdi),%rbx
SET_ENTRY = bytes.fromhex("488916")  # mov %rdx,(%rsi)
INVLPG = bytes.fromhex("0f013f")  # invlpg (%rdi)
STAC, CLAC = bytes.fromhex("0f01cb"), bytes.fromhex("0f01ca")
WRPKRU = bytes.fromhex("4489c0 31c9 31d2 0f01ef")  # mov %r8d,%eax; xor %ecx,%ecx; xor %edx,%edx; wrpkru
TO_USER = bytes.fromhex("480f07")  # sysretq


def write_cr(number: int, register: int) -> bytes:
    """mov %r9,%crN or mov %r10,%crN"""
    return bytes([0x41, 0x0F, 0x22, 0xC0 | number << 3 | register - 8])


class Bench:
    """A CPU with a page of code, a page of data and its table where the guest can write it, and a user page."""

    def __init__(self, cr4: int = 0, user_flags: int = RW | x86.USER) -> None:
        self.ram = Ram(4 << 20)
        frames = FrameAllocator(PAGE, self.ram.size)
        state = CpuState()
        state = replace(state, cr4=state.cr4 | cr4)
        self.tables = PageTables(self.ram, state, frames.take)
        self.root = frames.take()
        self.one, self.two, self.user_code = (frames.take() for _ in range(3))
        self.code = frames.take_contiguous(4 * PAGE)
        self.tables.map_range(self.root, CODE, self.code, 4 * PAGE, x86.PRESENT)
        self.start = CODE
        self.tables.map(self.root, DATA, self.one, RW)
        self.tables.map(self.root, USER, self.one, user_flags)
        self.tables.map(self.root, USER_CODE, self.user_code, x86.PRESENT | x86.USER)
        self.slot = self.tables.entry_slot(self.root, DATA)
        self.tables.map(self.root, TABLE, self.slot & -PAGE, RW)
        self.ram.write_u64(self.one, ONE)
        self.ram.write_u64(self.two, TWO)
        self.mmu = Mmu(self.ram)
        self.cpu = UnicornCpu(self.ram, self.mmu, replace(state, cr3=self.root))

    def run(self, *code: bytes, budget: int = 1000, **registers: int) -> Stop:
        """Run these instructions, with rdi at the data and rsi at its entry, from a place where no others were."""
        program = b"".join(code)
        self.start += 64
        self.ram.write(self.code + self.start - CODE, program + NOP)
        defaults = {"rdi": DATA, "rsi": TABLE + self.slot % PAGE, "rax": 0, "rbx": 0}
        self.cpu.write_many({**defaults, **registers})
        return self.cpu.run(self.start, self.start + len(program), budget)

    def faulted(self, stop: Stop, code: int, at: int) -> None:
        """`stop` is a refusal that raises this error code, at this offset of the program."""
        assert isinstance(stop, MemoryFault), stop
        fault = x86_64.fault(stop.walk, stop.access, stop.state, self.cpu.registers())
        assert fault is not None
        assert (fault.error_code, fault.ip - self.start) == (code, at)


def test_a_run_reaches_its_end() -> None:
    bench = Bench()
    assert bench.run(LOAD) == Reached()
    assert bench.cpu.read("rax") == ONE
    assert bench.cpu.read("rip") == bench.start + 3


def test_a_refused_access_leaves_the_instruction_undone() -> None:
    bench = Bench()
    stop = bench.run(NOP, STORE, rdi=0x1238, rax=7)
    assert isinstance(stop, MemoryFault)
    assert stop.access == Access(0x1238, AccessKind.WRITE)
    assert stop.walk.end == NotPresent("pmd")
    assert bench.cpu.read("rip") == bench.start + 1
    bench.tables.map(bench.root, 0x1000, bench.two, RW)
    assert bench.cpu.run(bench.start + 1, bench.start + 4, 10) == Reached(), "absence is never cached"
    assert bench.ram.read_u64(bench.two + 0x238) == 7


def test_the_second_page_of_an_access_is_named_by_its_start() -> None:
    bench = Bench()
    stop = bench.run(LOAD, rdi=USER + PAGE - 3)
    assert isinstance(stop, MemoryFault)
    assert stop.access.address == USER + PAGE


def test_a_non_canonical_address() -> None:
    stop = Bench().run(LOAD, rdi=1 << 62)
    assert isinstance(stop, MemoryFault)
    assert stop.walk.end == NonCanonical()


@pytest.mark.parametrize(
    ("code", "stop"),
    [
        (b"\xf4", Halted("the CPU executed HLT")),
        (b"\x0f\x0b", Trapped(6, "invalid opcode: BUG(), WARN(), or an instruction that this CPU lacks")),
        (b"\xcc", Trapped(3, "int3")),
        (b"\xcd\x80", Trapped(0x80, "exception or interrupt 128")),
        (b"\x31\xc9\xf7\xf1", Trapped(0, "divide error")),
        (b"\xeb\xfe", OutOfBudget(1000)),
    ],
)
def test_other_ends(code: bytes, stop: Stop) -> None:
    bench = Bench()
    assert bench.run(code, NOP) == stop
    assert bench.run(LOAD) == Reached(), "the CPU goes on after it"


def test_registers_by_name() -> None:
    bench = Bench()
    bench.cpu.write_many({"r15": 1 << 63, "gs_base": 0xFFFF_8880_0000_1234, "cr2": 5})
    registers = bench.cpu.registers()
    assert (registers["r15"], registers["gs_base"], registers["cr2"]) == (1 << 63, 0xFFFF_8880_0000_1234, 5)
    assert registers["cr3"] == bench.root
    assert {name: bench.cpu.read(name) for name in registers} == registers


def test_a_mistake_of_ours_in_a_fill_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def broken(*_: object) -> None:
        raise Unsupported("this", why="a test")

    monkeypatch.setattr(bench.mmu, "translate", broken)
    with pytest.raises(Unsupported, match="a test"):
        bench.run(LOAD)


def test_accessed_and_dirty_bits_are_written_when_used() -> None:
    bench = Bench()
    bits = x86.ACCESSED | x86.DIRTY
    assert (bench.ram.read_u64(bench.slot) or 0) & bits == 0
    bench.run(LOAD)
    assert (bench.ram.read_u64(bench.slot) or 0) & bits == x86.ACCESSED
    bench.run(LOAD, STORE)
    assert (bench.ram.read_u64(bench.slot) or 0) & bits == bits


def test_a_write_after_a_read_still_sets_the_dirty_bit() -> None:
    """In one run: the read's translation must not serve the write."""
    bench = Bench()
    assert bench.run(LOAD, LOAD, STORE) == Reached()
    assert (bench.ram.read_u64(bench.slot) or 0) & x86.DIRTY


# No stale translation answers. Each with the access before, which fills the CPU's cache, and both ways.


def test_invlpg_after_an_entry_was_redirected() -> None:
    bench = Bench()
    assert bench.run(LOAD, SET_ENTRY, INVLPG, LOAD_RBX, rdx=bench.two | RW) == Reached()
    assert (bench.cpu.read("rax"), bench.cpu.read("rbx")) == (ONE, TWO)
    assert bench.run(LOAD, SET_ENTRY, INVLPG, LOAD_RBX, rdx=bench.one | RW) == Reached()
    assert (bench.cpu.read("rax"), bench.cpu.read("rbx")) == (TWO, ONE)


def test_invlpg_after_an_entry_was_emptied_or_made_read_only() -> None:
    bench = Bench()
    bench.faulted(bench.run(LOAD, SET_ENTRY, INVLPG, LOAD_RBX, rdx=0), code=0, at=9)
    bench = Bench()
    bench.faulted(bench.run(STORE, SET_ENTRY, INVLPG, STORE, rdx=bench.one | x86.PRESENT), code=3, at=9)
    assert bench.run(SET_ENTRY, INVLPG, STORE, rdx=bench.one | RW) == Reached()


def test_a_write_of_cr3() -> None:
    """To another table, and to the same one after a change."""
    bench = Bench()
    other = bench.ram.size - PAGE
    bench.ram.write(other, bench.ram.read(bench.root, PAGE) or b"")
    bench.ram.write_u64(other + 8 * (DATA >> 39 & 511), 0)
    to_other, back = write_cr(3, 9), write_cr(3, 10)
    roots = {"r9": other, "r10": bench.root}
    bench.faulted(bench.run(LOAD, to_other, LOAD_RBX, **roots), code=0, at=7)
    bench.cpu.write("cr3", bench.root)
    assert bench.run(LOAD, to_other, back, LOAD_RBX, **roots) == Reached()
    assert bench.cpu.read("rbx") == ONE
    assert bench.run(LOAD, SET_ENTRY, back, LOAD_RBX, rdx=bench.two | RW, **roots) == Reached()
    assert bench.cpu.read("rbx") == TWO


def test_cr0_wp() -> None:
    bench = Bench()
    bench.ram.write_u64(bench.slot, bench.one | x86.PRESENT)
    wp = bench.cpu.read("cr0")
    clear, restore = write_cr(0, 9), write_cr(0, 10)
    registers = {"r9": wp & ~x86.CR0_WP, "r10": wp}
    bench.faulted(bench.run(LOAD, STORE), code=3, at=3)
    assert bench.run(clear, STORE, restore, LOAD, **registers) == Reached()
    bench.faulted(bench.run(clear, STORE, restore, STORE, **registers), code=3, at=11)
    bench.cpu.write("cr0", registers["r9"])
    assert bench.run(STORE) == Reached()
    bench.cpu.write("cr0", wp)
    bench.faulted(bench.run(STORE), code=3, at=0)


def test_stac_and_clac() -> None:
    bench = Bench(x86.CR4_SMAP)
    flags = x86.EFLAGS_FIXED
    bench.faulted(bench.run(LOAD, rdi=USER, eflags=flags), code=1, at=0)
    assert bench.run(STAC, LOAD, CLAC, STAC, LOAD, CLAC, rdi=USER, eflags=flags) == Reached()
    bench.faulted(bench.run(STAC, LOAD, CLAC, LOAD, rdi=USER, eflags=flags), code=1, at=9)
    bench.faulted(bench.run(STAC, STORE, CLAC, STORE, rdi=USER, eflags=flags), code=3, at=9)
    assert bench.run(LOAD, rdi=USER, eflags=flags | x86.EFLAGS_AC) == Reached()
    bench.faulted(bench.run(LOAD, rdi=USER, eflags=flags), code=1, at=0)


def test_smap_switched_on_and_off() -> None:
    bench = Bench()
    off = bench.cpu.read("cr4")
    switch_on, switch_off = write_cr(4, 9), write_cr(4, 10)
    registers = {"rdi": USER, "r9": off | x86.CR4_SMAP, "r10": off, "eflags": x86.EFLAGS_FIXED}
    bench.faulted(bench.run(LOAD, switch_on, LOAD, **registers), code=1, at=7)
    assert bench.run(switch_on, switch_off, LOAD, **registers) == Reached()


def test_smep() -> None:
    jump = b"\xff\xe7"  # jmp *%rdi
    for cr4, smep in ((0, False), (x86.CR4_SMEP, True)):
        bench = Bench(cr4)
        bench.ram.write(bench.user_code, b"\xcc")
        stop = bench.run(jump, rdi=USER_CODE)
        if smep:
            assert isinstance(stop, MemoryFault)
            assert stop.access == Access(USER_CODE, AccessKind.FETCH)
            assert bench.cpu.read("rip") == USER_CODE
        else:
            assert stop == Trapped(3, "int3")


def key_bench() -> Bench:
    return Bench(x86.CR4_PKE, RW | x86.USER | 1 << x86.PROTECTION_KEY_SHIFT)


def test_wrpkru() -> None:
    bench = key_bench()
    deny, deny_write = 1 << 2, 2 << 2
    at = len(LOAD + WRPKRU)
    assert bench.run(LOAD, rdi=USER) == Reached()
    bench.faulted(bench.run(LOAD, WRPKRU, LOAD_RBX, rdi=USER, r8=deny), code=0x21, at=at)
    assert bench.cpu.read("pkru") == bench.cpu.state().pkru == deny
    bench.faulted(bench.run(LOAD, rdi=USER), code=0x21, at=0)
    assert bench.run(WRPKRU, LOAD, rdi=USER, r8=0) == Reached()
    bench.faulted(bench.run(STORE, WRPKRU, STORE, rdi=USER, r8=deny_write), code=0x23, at=at)
    assert bench.run(LOAD, rdi=USER) == Reached()


def test_the_host_sets_pkru_and_nothing_else() -> None:
    bench = key_bench()
    before = bench.cpu.registers()
    assert bench.run(LOAD, rdi=USER) == Reached()
    bench.cpu.write("pkru", 0x5555_5554)
    assert bench.cpu.read("pkru") == 0x5555_5554
    bench.faulted(bench.run(LOAD, rdi=USER), code=0x21, at=0)
    bench.cpu.write("pkru", 0)
    bench.cpu.write_many({name: before[name] for name in ("rdi", "rsi", "rax", "rbx", "rip")})
    assert bench.cpu.registers() == before


def test_pkru_is_what_the_cpu_was_made_with() -> None:
    bench = Bench()
    state = replace(bench.cpu.state(), cr4=bench.cpu.state().cr4 | x86.CR4_PKE, pkru=0x5555_5554)
    assert UnicornCpu(bench.ram, bench.mmu, state).state().pkru == 0x5555_5554


def test_the_kernel_s_translations_do_not_serve_user_code() -> None:
    bench = Bench()
    bench.ram.write(bench.user_code, LOAD)
    stop = bench.run(LOAD, TO_USER, rcx=USER_CODE, r11=x86.EFLAGS_FIXED)
    assert isinstance(stop, MemoryFault)
    assert stop.access == Access(DATA, AccessKind.READ, user=True)
    assert stop.state.cpl == 3
    assert isinstance(stop.walk.end, Mapped)


def test_a_flush_by_the_host() -> None:
    bench = Bench()
    bench.run(LOAD)
    bench.ram.write_u64(bench.slot, bench.two | RW)
    bench.cpu.flush()
    bench.run(LOAD)
    assert bench.cpu.read("rax") == TWO


def test_the_fpu_is_reset() -> None:
    bench = Bench()
    assert bench.run(bytes.fromhex("66480f6ec7 d9e8")) == Reached()  # movq %rdi,%xmm0; fld1
    read = bytes.fromhex("dfe0 66480f7ec3")  # fnstsw %ax; movq %xmm0,%rbx
    assert bench.run(read) == Reached()
    assert (bench.cpu.read("rax"), bench.cpu.read("rbx")) == (7 << 11, DATA)
    bench.cpu.reset_fpu()
    assert bench.run(read) == Reached()
    assert (bench.cpu.read("rax"), bench.cpu.read("rbx")) == (0, 0)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine.boot()


def left(machine: Machine, source: int) -> int:
    return machine.call("_copy_from_user", machine.kmalloc(64), source, 64)


def test_munmap_and_mmap_are_seen_at_once(machine: Machine) -> None:
    source = machine.user.mmap(PAGE, populate=True)
    assert left(machine, source) == 0
    machine.user.munmap(source, PAGE)
    assert left(machine, source) == 64
    machine.user.mmap(PAGE, address=source, content=b"new", populate=True)
    assert left(machine, source) == 0


def test_mprotect_is_seen_at_once(machine: Machine) -> None:
    page = machine.user.mmap(PAGE, populate=True)
    kernel = machine.kmalloc(64)
    for protection, read_left, write_left in (("rw", 0, 0), ("r", 0, 64), ("none", 64, 64), ("r", 0, 64), ("rw", 0, 0)):
        machine.user.mprotect(page, PAGE, protection)
        assert left(machine, page) == read_left, protection
        assert machine.call("_copy_to_user", page, kernel, 64) == write_left, protection


def test_a_switch_of_processes_is_seen_at_once(machine: Machine) -> None:
    first, page = machine.current, machine.user.mmap(PAGE, populate=True)
    assert left(machine, page) == 0
    machine.switch_to(machine.spawn("other"))
    assert left(machine, page) == 64
    machine.switch_to(first)
    assert left(machine, page) == 0


def test_read_only_memory_with_content_is_read_only(machine: Machine) -> None:
    page = machine.user.mmap(PAGE, protection="r", content=b"constant", populate=True)
    assert machine.call("_copy_to_user", page, machine.kmalloc(64), 64) == 64
    assert machine.user.read(page, 8) == b"constant"
