from __future__ import annotations

from dataclasses import replace

import pytest

from pagefault.machine.event import FaultEvent
from pagefault.machine.kernel_memory import KERNEL_ROX
from pagefault.machine.machine import Machine
from pagefault.report.fault_story import Surroundings, fault_story, walk_end
from pagefault.report.page import plain
from pagefault.scenes import Played
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.entry import Entry
from pagefault.vocabulary.walk import NonCanonical, Reserved, Unreadable

LABELS = ("instruction", "access", "walk", "error code", "handler", "outcome", "state after")


def event_of(played: Played, act: int = 0, fault: int = 0) -> FaultEvent:
    return played.acts[act].result.events[fault]


def told(played: Played, act: int = 0, fault: int = 0) -> str:
    around = Surroundings(played.machine.symbols, played.acts[act].vmas)
    return plain(fault_story(event_of(played, act, fault), around))


def part(text: str, label: str) -> str:
    """What stands beside a label."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"     {label}"))
    more = lines[start + 1 :]
    stop = next((i for i, line in enumerate(more) if line[5:6] != " "), len(more))
    return "\n".join(line[19:] for line in (lines[start], *more[:stop]))


def test_every_fault_of_every_scene_has_every_part(played: dict[str, Played]) -> None:
    count = 0
    for play in played.values():
        for act in play.acts:
            for event in act.result.events:
                text = plain(fault_story(event, Surroundings(play.machine.symbols, act.vmas)))
                labels = [line[5:19].strip() for line in text.splitlines() if line[5:6] != " "]
                wanted = [label for label in LABELS if label != "state after" or label in labels]
                assert labels == wanted
                assert max(map(len, text.splitlines())) <= 100
                count += 1
    assert count > 30


def test_a_null_read(played: dict[str, Played]) -> None:
    text = told(played["null-read"])
    assert part(text, "instruction").startswith("movq (%rdi), %rax    # 48 8b 07\nat rd+0x")
    assert part(text, "access").startswith("the kernel reads 0x10\nuser space: the first page")
    assert "EFLAGS.AC is clear" in part(text, "access")
    assert "-> empty\nends here: the pgd entry is not present" in part(text, "walk")
    assert part(text, "error code") == (
        "0x0000: supervisor read, not present\nP=0 not present  W=0 no write  U=0 supervisor  RSVD=0  I=0  PK=0"
    )
    assert "yes  Did the kernel touch a user address outside a user-access window?" in part(text, "handler")
    assert "because CR4.SMAP is set and EFLAGS.AC is clear" in part(text, "handler")
    assert "arch/x86/mm/fault.c do_user_addr_fault(), v6.1" in part(text, "handler")


def test_a_refused_write_names_the_permission(played: dict[str, Played]) -> None:
    text = told(played["text-write"])
    assert "SUP ro ACC DRT GLB x" in part(text, "walk")
    assert part(text, "walk").endswith("refused: a write to a read-only page")
    assert part(text, "error code").startswith(
        "0x0003 = P + W: supervisor write, protection violation\nP=1 present  W=1 a write"
    )


def test_a_refused_fetch_was_not_executed(played: dict[str, Played]) -> None:
    assert "it could not be fetched" in part(told(played["exec-data"]), "instruction")
    assert "0x0011 = P + I: supervisor instruction fetch" in part(told(played["exec-data"]), "error code")


def test_a_non_canonical_address_has_no_walk(played: dict[str, Played]) -> None:
    text = told(played["non-canonical"])
    assert part(text, "walk") == "none: the CPU walks no tables for a non-canonical address"
    assert "a #GP reports no address" in part(text, "error code")


def test_a_new_page_is_shown_in_the_walk_after(played: dict[str, Played]) -> None:
    after = part(told(played["demand-paging"]), "state after")
    assert after.startswith("the walk is now\npgd[")
    assert "USR RW ACC DRT NX" in after
    assert "permits the access" in after


def test_a_fixup_shows_the_registers_it_changed(played: dict[str, Played]) -> None:
    text = told(played["get-user"], act=1)
    assert part(text, "outcome").startswith("fixed up: entry ")
    assert "execution goes on at " in part(text, "outcome")
    assert "the page tables are as they were" in part(text, "state after")


def test_a_stack_is_placed_as_it_was_before_it_grew(played: dict[str, Played]) -> None:
    assert "no area, 0xa000 bytes below 7fffffffd000-7ffffffff000 rw-p [stack]" in told(played["stack-growth"])


def test_a_second_fault_does_not_repeat_the_first_ones_answers(played: dict[str, Played]) -> None:
    play = played["strncpy-from-user"]
    around = Surroundings(play.machine.symbols, play.acts[1].vmas)
    first, second = play.acts[1].result.events
    assert first.decision.trail[-1] != second.decision.trail[-1]
    text = plain(fault_story(second, around, first))
    same = len(first.decision.trail) - 1
    assert f"the first {same} questions and answers are those of the last fault" in text
    assert part(text, "handler").count("?") == 1
    assert "P=0" not in text


def test_a_citation_is_given_once(played: dict[str, Played]) -> None:
    play = played["null-read"]
    around = Surroundings(play.machine.symbols)
    again = (plain(fault_story(event_of(play), around)) for _ in range(2))
    assert ["do_user_addr_fault()" in text for text in again] == [True, False]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (Reserved("pmd", 1 << 51), "ends here: the pmd entry has reserved bits set (0x8000000000000)"),
        (Unreadable("pud", 0xABC000), "ends here: the pud entry at 0xabc000 is outside of RAM"),
        (NonCanonical(), "none: the CPU walks no tables for a non-canonical address"),
    ],
)
def test_how_a_walk_ends(played: dict[str, Played], end: Reserved | Unreadable | NonCanonical, words: str) -> None:
    event = event_of(played["null-read"])
    assert walk_end(replace(event.before, end=end), event) == words


def test_a_reserved_bit_is_flagged_in_its_entry(played: dict[str, Played]) -> None:
    event = event_of(played["null-read"])
    walk = replace(event.before, entries=(Entry("pgd", 0x1000, 0, 0x2067 | 1 << 7),), end=Reserved("pgd", 1 << 7))
    fault = replace(event.fault, error_code=9, protection=True, reserved=True)
    text = plain(
        fault_story(replace(event, before=walk, fault=fault), Surroundings(played["null-read"].machine.symbols))
    )
    assert "RESERVED 0x80" in text
    assert "0x0009 = P + RSVD" in text
    assert "RSVD=1 reserved bit" in text


def test_code_that_cannot_be_read_is_said_to_be(machine: Machine, played: dict[str, Played]) -> None:
    event = replace(event_of(played["null-read"]), code=b"")
    text = plain(fault_story(event, Surroundings(machine.symbols)))
    assert "its bytes are no instruction: they cannot be read" in text


def test_a_stale_translation_is_told_beside_what_the_tables_hold(played: dict[str, Played]) -> None:
    play = played["spurious"]
    event = replace(event_of(play), stale=True)
    before = replace(event.before, entries=tuple(replace(e, value=e.value & ~2) for e in event.after.entries))
    event = replace(event, before=before)
    text = plain(fault_story(event, Surroundings(play.machine.symbols)))
    walk = part(text, "walk")
    assert walk.startswith("the translation this CPU's TLB still holds\npgd[")
    held, now = walk.split("\nthe tables now hold\n")
    assert " ro " in held.splitlines()[-2]
    assert " RW " in now.splitlines()[-1]
    assert "the page tables are as they were" in part(text, "state after")
    fresh = plain(fault_story(replace(event, stale=False), Surroundings(play.machine.symbols)))
    assert "TLB still holds" not in fresh


def test_the_guard_page_at_the_end_of_user_space_is_behind_smap_too(machine: Machine) -> None:
    result = machine.run("memset", machine.area.task_size_max, 0, 8)
    access = part(plain(fault_story(result.events[0], Surroundings(machine.symbols))), "access")
    assert "the guard page at the end of user space" in access
    assert "EFLAGS.AC is clear" in access


def test_a_fault_that_is_about_no_memory_is_told_so() -> None:
    machine = Machine.boot()
    at = machine.area.modules_start + 0x80000
    machine.memory.map_pages(at, bytes(64) + bytes.fromhex("8ed8c3") + bytes(64), PAGE, KERNEL_ROX)  # mov %eax, %ds
    result = machine.run(at + 64, rax=0x1230)
    text = plain(fault_story(result.events[-1], Surroundings(machine.symbols)))
    assert "no memory: the CPU objects to something else" in text
    assert "none: no address is at fault" in text
    assert "0x1230" in text
