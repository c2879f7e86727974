"""The reverse check: windows in code that is made up, and every entry of Debian's kernels taken out in turn."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from audit.specimen import ALTERNATIVES, REPLACEMENTS, SMAP, TEXT, Specimen, entry, piece, x86
from pagefault.arch.disassembly import disassemble
from pagefault.arch.platform import ARM64, X86_64
from pagefault.audit import audit
from pagefault.audit.context import AuditContext
from pagefault.audit.module_relocations import ModuleRelocations, Target
from pagefault.audit.reverse import CHECK, x86_surroundings
from pagefault.audit.x86_code import X86Code
from pagefault.audit.x86_user_access import judge
from pagefault.audit.x86_windows import Walk
from pagefault.images.vmlinux import Vmlinux


def found_at(image: Specimen) -> list[int]:
    """Offsets from TEXT of the accesses that lack an entry."""
    findings = [finding for finding in audit(image).findings if finding.code == "PF014"]
    return [(finding.place.address or 0) - TEXT for finding in findings]


# stac; 3: mov (%rdi),%eax; 5: mov (%rsi),%edx; 7: mov %eax,8(%rdi); clac; ret
MIXED = "0f01cb 8b07 8b16 894708 0f01ca c3"
EXIT = 10
JUMPS = TEXT + 0x32_0000


@pytest.mark.parametrize(
    ("code", "covered", "lacking"),
    [
        (MIXED, (3, 7), []),
        (MIXED, (3,), [7]),
        (MIXED, (7,), [3]),
        (MIXED, (), [3, 5, 7]),
        # rsi is used before the window: it is the kernel's
        ("8b16" + MIXED, (), [5, 9]),
        # the stack, %gs and linked addresses are the kernel's
        ("0f01cb 8b0424 65488b042500000000 8b0500000000 0f01ca c3", (), []),
        # outside of a window
        ("8b07 0f01cb 0f01ca 8b07 c3", (), []),
        # lea 8(%rdi),%rcx; the pointer goes on as another register, over a jump, over the stack
        ("0f01cb 8b07 488d4f08 8b11 0f01ca c3", (3,), [9]),
        ("0f01cb 8b07 eb01 cc 8b4708 0f01ca c3", (3,), [8]),
        ("57 0f01cb 8b07 59 8b11 0f01ca c3", (4,), [7]),
        # a loop: 3: movzbl (%rdi),%eax; inc %rdi; dec %esi; jne 3
        ("0f01cb 0fb607 48ffc7 ffce 75f6 0f01ca c3", (3,), []),
        ("0f01cb 0fb607 48ffc7 ffce 75f6 0f01ca c3", (), [3]),
        # either side of a branch: test %esi,%esi; je +4; mov (%rdi),%eax; jmp +2; mov 8(%rdi),%eax (3 bytes)
        ("0f01cb 85f6 7404 8b07 eb03 8b4708 0f01ca c3", (7,), [11]),
        # rep stosb, and its clac far behind
        ("0f01cb 4889f1 f3aa 0f01ca c3", (), [6]),
        ("0f01cb 4889f1 f3aa 0f01ca c3", (6,), []),
        # 3: mov (%rdi),%eax; 5: rep movsb; then one access by rsi, or two: more than there are copies by it
        ("0f01cb 8b07 f3a4 8b16 0f01ca c3", (3, 5), [7]),
        ("0f01cb 8b07 f3a4 8b16 8b5608 0f01ca c3", (3, 5), []),
        # clflush (%rdi) is an access, prefetcht0 (%rdi) is none
        ("0f01cb 0fae3f 0f180f 0f01ca c3", (), [3]),
    ],
)
def test_windows(code: str, covered: tuple[int, ...], lacking: list[int]) -> None:
    length = len(bytes.fromhex(code))
    entries = [entry(at, length - 4) for at in covered]
    assert found_at(x86(("touch", code)).with_entries(*entries)) == lacking


def test_what_the_walk_finds_is_in_its_order() -> None:
    """By hash it would be another one each time, and so would what an audit says of an access in two windows."""
    context = AuditContext(x86(("touch", "0f01cb" + "8b07 8b16" * 8 + "0f01ca c3")))
    walk = Walk(context.x86_code, x86_surroundings(context))
    walk.run(TEXT)
    assert [access.address - TEXT for access in walk.accesses] == list(range(3, 35, 2))


def test_a_call_inside_a_window_is_followed() -> None:
    # touch: stac; call 0x100; clac; ret        inner: mov (%rdi),%eax; mov 8(%rdi),%eax; ret
    made = x86(("touch", "0f01cb e8f8000000 0f01ca c3"), ("inner", "8b07 8b4708 c3"))
    assert found_at(made.with_entries(entry(0x100, 0x105))) == [0x102]
    assert found_at(made.with_entries(entry(0x100, 0x105), entry(0x102, 0x105))) == []
    closed = x86(("touch", "0f01cb 0f01ca e8f5000000 c3"), ("inner", "8b07 8b4708 c3"))
    assert found_at(closed) == []


def test_an_argument_on_the_stack_is_followed() -> None:
    # stac; 3: mov (%rdi),%eax; push %rdi; call inner; pop %rcx; clac; ret     inner: mov 8(%rsp),%rax; mov (%rax),%ecx
    made = x86(("touch", "0f01cb 8b07 57 e8f5000000 59 0f01ca c3"), ("inner", "488b442408 8b08 c3"))
    assert found_at(made.with_entries(entry(3, 12))) == [0x105]


def test_an_access_that_two_windows_reach_is_told_once() -> None:
    outer = "0f01cb e8{:02x}0{}0000 0f01ca c3"
    made = x86(("one", outer.format(0xF8, 1)), ("two", outer.format(0xF8, 0)), ("inner", "8b07 c3"))
    assert found_at(made) == [0x200]


def test_a_fixup_is_part_of_the_window() -> None:
    # stac; 3: mov (%rdi),%eax; 5: clac; ret; 9: mov 8(%rdi),%eax; jmp 5
    made = x86(("touch", "0f01cb 8b07 0f01ca c3 8b4708 ebf7"))
    assert found_at(made.with_entries(entry(3, 9))) == [9]
    assert found_at(made.with_entries(entry(3, 5))) == []


def test_what_is_patched_in_counts_where_it_will_stand() -> None:
    """A no-op and a jump in the file; STAC, and `rep movsb` instead of the jump, in .altinstr_replacement."""
    # 0: nop x3; 3: jmp 8 (5 bytes); 8: mov (%rdi),%eax; nop x3; ret
    code = bytes.fromhex("909090 e900000000 8b07 909090 c3").ljust(256, b"\xcc")
    other = bytes.fromhex("0f01cb 0f01ca f3a4")
    rows = [(0, 0, SMAP, 3, 3), (10, 3, SMAP, 3, 3), (3, 6, 100, 5, 2)]
    table = b""
    for index, (site, start, feature, length, size) in enumerate(rows):
        at = ALTERNATIVES + 12 * index
        table += struct.pack("<iiHBB", TEXT + site - at, REPLACEMENTS + start - at - 4, feature, length, size)
    pieces = (
        piece(".text", TEXT, code),
        piece(".altinstructions", ALTERNATIVES, table, executable=False),
        piece(".altinstr_replacement", REPLACEMENTS, other, discarded=True),
    )
    made = Specimen(pieces, ((TEXT, "touch"), (TEXT + 256, "_etext"), (REPLACEMENTS + 64, "_end")))
    assert found_at(made) == [3, 8]
    assert found_at(made.with_entries(entry(3, 10), entry(8, 10))) == []
    assert found_at(made.with_entries(entry(8, 10))) == [3]


def with_static_branch(code: str, site: int, target: int) -> Specimen:
    """An image with one entry in __jump_table, by offsets from TEXT."""
    table = struct.pack("<iiq", TEXT + site - JUMPS, TEXT + target - JUMPS - 4, 0)
    made = x86(("touch", code))
    return replace(made, pieces=(*made.pieces, piece("__jump_table", JUMPS, table, executable=False)))


def test_a_static_branch_goes_both_ways() -> None:
    # stac; 3: a no-op of 5 bytes; 8: clac; ret; 12: mov (%rdi),%eax; jmp 8
    assert found_at(with_static_branch("0f01cb 0f1f440000 0f01ca c3 8b07 ebf8", 3, 12)) == [12]
    # stac; 3: jmp 14; 8: mov (%rdi),%eax; clac; ret; 14: clac; ret
    assert found_at(with_static_branch("0f01cb e906000000 8b07 0f01ca c3 0f01ca c3", 3, 14)) == [8]
    # a table that leads out of the code is none
    assert found_at(with_static_branch("0f01cb e906000000 8b07 0f01ca c3 0f01ca c3", 3, -(1 << 16))) == []


def test_functions_return_by_a_thunk_too() -> None:
    # touch: stac; call inner; mov (%rdi),%eax; clac; ret       inner: jmp __x86_return_thunk
    made = x86(("touch", "0f01cb e8f8000000 8b07 0f01ca c3"), ("inner", "e9fb000000"), ("__x86_return_thunk", "cc"))
    assert found_at(made) == [8]


def test_a_call_of_ftraces_changes_nothing() -> None:
    # mov (%rdi),%eax; call __fentry__; stac; mov (%rdi),%eax; clac; ret: rdi is the kernel's, before and after
    code = "8b07 e8f9000000 0f01cb 8b07 0f01ca c3"
    assert found_at(x86(("touch", code), ("__fentry__", "c3"))) == []
    assert found_at(x86(("touch", code), ("other", "c3"))) == [10]


def not_checked(image: Specimen) -> dict[str, str]:
    """What of the reverse check was not made, without the words they all begin with, and why."""
    return {what.removeprefix(CHECK).lstrip(", "): why for what, why in audit(image).not_checked}


def test_calls_are_followed_to_a_depth_and_deeper_ones_are_said() -> None:
    chain = [(f"f{number}", "e8fb000000 c3") for number in range(1, 3)]
    made = x86(("touch", "0f01cb e8f8000000 0f01ca c3"), *chain, ("f3", "8b07 e8f9000000 c3"), ("f4", "8b07 c3"))
    assert found_at(made) == [0x300]
    assert not_checked(made) == {"in parts of touch": "calls more than 3 deep with user access open"}


def test_what_calls_itself_is_walked_once() -> None:
    # inner: mov (%rdi),%eax; call inner; ret
    made = x86(("touch", "0f01cb e8f8000000 0f01ca c3"), ("inner", "8b07 e8f9ffffff c3"))
    assert found_at(made) == [0x100]
    assert not_checked(made) == {}


def test_an_indirect_call_in_a_window_is_said() -> None:
    assert not_checked(x86(("touch", "0f01cb ffd0 0f01ca c3"))) == {
        "in parts of touch": "an indirect call with user access open"
    }
    assert not_checked(x86(("touch", "ffd0 0f01cb 0f01ca c3"))) == {}


def test_a_window_that_nothing_leads_to_is_said() -> None:
    assert not_checked(x86(("touch", "c3 0f01cb 8b07 0f01ca c3"))) == {
        "in the window that touch+0x1 opens": "no way there from its function's start"
    }
    # mov $0xcb010f,%eax and six instructions more: its bytes are no STAC
    assert not_checked(x86(("touch", "b80f01cb00 c3 90 90 90 90 90 90"))) == {}
    nameless = x86(("touch", "c3"))
    nowhere = replace(nameless, pieces=(*nameless.pieces, piece(".more", TEXT - 0x1000, bytes.fromhex("0f01cb"))))
    assert not_checked(nowhere) == {
        f"in the window that {TEXT - 0x1000:#x} opens": "a walk begins at a function's first instruction"
    }


def test_accesses_that_are_taken_for_the_kernels_are_counted() -> None:
    image = x86(("touch", MIXED)).with_entries(entry(3, EXIT), entry(7, EXIT))
    [(what, why)] = not_checked(image).items()
    assert what == "by further pointers in a window"
    assert "(accesses: 1)" in why
    # mov %rsp,%rax; cmovne %rdi,%rax; stac; mov (%rax),%ecx
    assert not_checked(x86(("touch", "4889e0 480f45c7 0f01cb 8b08 0f01ca c3"))) == {
        "by pointers of unknown origin": "as at touch+0xa (accesses: 1)"
    }


class Leaving:
    """Relocations by the address of the field: the names of symbols that the kernel has."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names

    def target(self, address: int) -> Target | None:
        return Target(None, self.names[address - TEXT]) if address - TEXT in self.names else None

    def table(self, name: str) -> None:
        return None


def walked_module(code: str, names: dict[int, str]) -> tuple[list[int], bool]:
    """Offsets of what lacks an entry in a module's function, and whether a window leads out of it."""
    context = AuditContext(x86(("touch", code)))
    relocations = cast(ModuleRelocations, Leaving(names))
    made = X86Code(context.image, lambda code, address: disassemble(X86_64, code, address), relocations)
    walk = Walk(made, x86_surroundings(context))
    walk.run(TEXT)
    return [each.address - TEXT for each in judge(walk).uncovered], walk.left


@pytest.mark.parametrize(
    ("code", "names", "lacking", "left"),
    [
        # mov (%rdi),%eax; call f; stac; mov (%rdi),%ecx; clac; ret: __fentry__ is a no-op, another function is not
        ("8b07 e800000000 0f01cb 8b0f 0f01ca c3", {3: "__fentry__"}, [], False),
        ("8b07 e800000000 0f01cb 8b0f 0f01ca c3", {3: "ktime_get"}, [10], False),
        # stac; call f; mov (%rdi),%ecx; clac; ret
        ("0f01cb e800000000 8b0f 0f01ca c3", {4: "copy_user_generic"}, [8], True),
        # stac; jmp f, for good
        ("0f01cb e900000000", {4: "copy_user_generic"}, [], True),
        ("0f01cb e900000000", {4: "__x86_return_thunk"}, [], False),
        # stac; je f; mov (%rdi),%ecx; clac; ret
        ("0f01cb 0f8400000000 8b0f 0f01ca c3", {5: "copy_user_generic"}, [9], True),
    ],
)
def test_what_leads_out_of_a_module(code: str, names: dict[int, str], lacking: list[int], left: bool) -> None:
    assert walked_module(code, names) == (lacking, left)


def test_a_module_without_a_window_is_checked_whole() -> None:
    found = audit(replace(x86(("plain", "8b07c3")), module="tried").with_entries(entry(0, 2)))
    assert not any(what.startswith(CHECK) for what, _ in found.not_checked)


def test_a_kernel_without_smap_is_not_checked() -> None:
    found = audit(x86(("plain", "8b07c3")).with_entries(entry(0, 2)))
    assert found.findings == ()
    assert "built without SMAP" in dict(found.not_checked)["accesses of user memory without an entry"]


def test_code_that_is_lost_is_said() -> None:
    found = audit(x86(("lost", "0f01cb ffe0")))
    assert dict(found.not_checked) == {"accesses of user memory without an entry, in parts of lost": "an indirect jump"}


def arm64(*words: int, alternatives: bytes = b"", other: bytes = b"") -> Specimen:
    code = b"".join(word.to_bytes(4, "little") for word in words).ljust(64, b"\0")
    pieces = (
        piece(".text", TEXT, code),
        piece(".altinstructions", ALTERNATIVES, alternatives, executable=False),
        piece(".altinstr", REPLACEMENTS, other),
    )
    return Specimen(pieces, ((TEXT, "touch"), (TEXT + 64, "_etext"), (REPLACEMENTS + 64, "_end")), platform=ARM64)


def test_unprivileged_loads_and_stores_need_an_entry() -> None:
    # ldtr x1, [x0]; ldr x1, [x0]; sttrb w1, [x0, #1]; ret
    made = arm64(0xF8400801, 0xF9400001, 0x38001801, 0xD65F03C0)
    assert found_at(made) == [0, 8]
    assert found_at(made.with_entries(replace(entry(0, 12), data=2))) == [8]


def test_ordinary_ones_need_one_where_pan_is_off() -> None:
    """nop; ldr x1, [x0]; str x1, [sp]; cbz x1, 24; prfm [x0]; nop; ret: the two no-ops become msr pan, #0 and #1."""
    table = b""
    for index, site in enumerate((4, 24)):
        at = ALTERNATIVES + 12 * index
        table += struct.pack("<iiHBB", TEXT + site - at, REPLACEMENTS + 4 * index - at - 4, 4, 4, 4)
    other = (0xD500409F).to_bytes(4, "little") + (0xD500419F).to_bytes(4, "little")
    words = (0xF9400001, 0xD503201F, 0xF9400001, 0xF90003E1, 0xB4000041, 0xF9800000, 0xD503201F, 0xF9400002, 0xD65F03C0)
    made = arm64(*words, alternatives=table, other=other)
    assert found_at(made) == [8]
    assert found_at(made.with_entries(replace(entry(8, 24), data=2))) == []


def instead(fixups: dict[int, int | None], otherwise: Callable[[int], int | None], address: int) -> int | None:
    return fixups[address] if address in fixups else otherwise(address)


def taken_out(path: Path) -> tuple[int, list[str], list[str]]:
    """How many entries lie in windows, and which of them are not missed when they are taken out, or moved on by one."""
    context = AuditContext(Vmlinux.open(path))
    code, around = context.x86_code, x86_surroundings(context)
    for each in context.entries:
        code.lead(each.entry.fixup)
    users: dict[int, set[int]] = defaultdict(set)
    for start, _ in context.functions_of(iter(code.stac_sites)):
        walk = Walk(code, around)
        walk.run(start)
        for access in walk.accesses:
            if access.window and access.covered:
                users[access.address].add(start)
    lost: dict[bool, list[str]] = {False: [], True: []}
    for address, starts in users.items():
        for moved in (False, True):
            following = code.step(address)
            assert following is not None
            fixups: dict[int, int | None] = {address: None}
            if moved and around.fixup(following.end) is None:
                fixups[following.end] = around.fixup(address)
            changed = replace(around, fixup=partial(instead, fixups, around.fixup))
            for start in starts:
                walk = Walk(code, changed)
                walk.run(start)
                if any(each.address == address for each in judge(walk).uncovered):
                    break
            else:
                lost[moved].append(context.name(address))
    return len(users), lost[False], lost[True]


def test_every_entry_of_61_that_is_taken_out_is_missed(vmlinux_61: Path) -> None:
    count, lost, lost_moved = taken_out(vmlinux_61)
    assert count > 300
    assert lost == []
    assert lost_moved == []


def test_every_entry_of_612_that_is_taken_out_is_missed(vmlinux_612: Path) -> None:
    count, lost, lost_moved = taken_out(vmlinux_612)
    assert count > 350
    assert lost == []
    assert lost_moved == []


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_every_window_of_debians_kernels_is_opened(kernel: str, request: pytest.FixtureRequest) -> None:
    context = AuditContext(Vmlinux.open(request.getfixturevalue(kernel)))
    opened: set[int] = set()
    watched: set[str] = set()
    for start, _ in context.functions_of(iter(context.x86_code.stac_sites)):
        walk = Walk(context.x86_code, x86_surroundings(context))
        walk.run(start)
        opened |= walk.opened
        watched |= {context.name(access.address).partition("+")[0] for access in walk.accesses if access.window}
        assert walk.lost == set()
    assert opened == set(context.x86_code.stac_sites)
    assert watched >= {"copy_mc_enhanced_fast_string", "put_cmsg", "strncpy_from_user"}
    assert ("copy_mc_fragile" in watched) == (kernel == "vmlinux_612")


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_debians_kernels_have_no_finding(kernel: str, request: pytest.FixtureRequest) -> None:
    found = audit(Vmlinux.open(request.getfixturevalue(kernel)))
    assert found.unexplained == ()
    first = found.findings[0]
    assert first.code == "PF007"
    assert first.place.symbol is not None
    assert first.place.symbol.name == "csum_partial_copy_generic"
