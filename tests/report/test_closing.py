from __future__ import annotations

from pagefault.machine.machine import Machine
from pagefault.report.closing import closing_table, handlers, not_played_row, outcome, play_rows
from pagefault.report.page import aligned
from pagefault.scenes import SCENES, Played


def test_every_scene_has_a_row_for_each_act(played: dict[str, Played]) -> None:
    rows = [row for play in played.values() for row in play_rows(play)]
    assert [row[0] for row in rows if row[0]] == list(SCENES)
    assert len(rows) == sum(len(play.acts) for play in played.values())


def test_the_table_fits_a_pipe(played: dict[str, Played]) -> None:
    lines = list(aligned(closing_table([row for play in played.values() for row in play_rows(play)])))
    assert lines[0].split() == ["scene", "cause", "handled", "by", "outcome"]
    assert max(map(len, lines)) <= 100


def test_rows_say_what_handled_it_and_how_it_ended(played: dict[str, Played]) -> None:
    rows = list(play_rows(played["copy-from-user"]))
    assert rows[0] == ("copy-from-user", "bad user pointer", "exception table (uaccess)", "24 bytes not copied")
    assert rows[2] == ("", "", "no fault", "64 bytes not copied")
    assert list(play_rows(played["null-read"])) == [("null-read", "bug", "nobody", "oops: SMAP violation")]


def test_faults_of_one_kind_are_counted(played: dict[str, Played]) -> None:
    assert handlers(played["demand-paging"].acts[0].result) == "demand paging x2"


def test_a_call_that_stopped(machine: Machine) -> None:
    result = machine.run("memset", machine.kmalloc(4096), 0, 4096, budget=3)
    assert outcome(result).startswith("stopped: out of budget")


def test_a_scene_that_was_not_played() -> None:
    row = not_played_row(SCENES["get-user"], "no symbol '__get_user_4'")
    assert row == ("get-user", "bad user pointer", "", "not played: no symbol '__get_user_4'")
