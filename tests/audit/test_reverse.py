"""The reverse check: windows in code that is made up, and every entry of Debian's kernels taken out in turn."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from audit.specimen import ALTERNATIVES, REPLACEMENTS, SMAP, TEXT, Specimen, entry, piece, x86
from pagefault.arch.platform import ARM64
from pagefault.audit import audit
from pagefault.audit.context import AuditContext
from pagefault.audit.reverse import x86_surroundings
from pagefault.audit.x86_user_access import uncovered
from pagefault.audit.x86_windows import Walk
from pagefault.images.vmlinux import Vmlinux


def found_at(image: Specimen) -> list[int]:
    """Offsets from TEXT of the accesses that lack an entry."""
    findings = [finding for finding in audit(image).findings if finding.code == "PF014"]
    return [(finding.place.address or 0) - TEXT for finding in findings]


# stac; 3: mov (%rdi),%eax; 5: mov (%rsi),%edx; 7: mov %eax,8(%rdi); clac; ret
MIXED = "0f01cb 8b07 8b16 894708 0f01ca c3"
EXIT = 10


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
    ],
)
def test_windows(code: str, covered: tuple[int, ...], lacking: list[int]) -> None:
    length = len(bytes.fromhex(code))
    entries = [entry(at, length - 4) for at in covered]
    assert found_at(x86(("touch", code)).with_entries(*entries)) == lacking


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
                if any(each.address == address for each in uncovered(walk)):
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
def test_debians_kernels_have_no_finding(kernel: str, request: pytest.FixtureRequest) -> None:
    found = audit(Vmlinux.open(request.getfixturevalue(kernel)))
    assert found.unexplained == ()
    first = found.findings[0]
    assert first.code == "PF007"
    assert first.place.symbol is not None
    assert first.place.symbol.name == "csum_partial_copy_generic"
