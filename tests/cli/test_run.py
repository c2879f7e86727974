from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from pagefault.cli.run import feature_list, scene_named
from pagefault.errors import Absent, BadInput
from pagefault.scenes import SCENES, Played, Scene, Theatre

Run = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]


def test_all_scenes_are_told_and_listed_at_the_end(run: Run) -> None:
    result = run("run")
    assert result.exit_code == 0
    assert result.stderr == ""
    story, _, table = result.stdout.rpartition("\nscene ")
    for name, scene in SCENES.items():
        assert f"{name}: {scene.title}\n" in story
        assert f"\n{name} " in table
    assert "USR user" in story
    assert "not played" not in table


def test_named_scenes_are_played_in_the_order_asked_for(run: Run) -> None:
    text = run("run", "get-user", "null-read").stdout
    assert text.index("get-user: ") < text.index("null-read: ")
    assert "copy-from-user" not in text


def test_an_oops_is_told_in_the_kernels_words_too(run: Run) -> None:
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000010" in run("run", "null-read").stdout


def test_small_is_the_default(run: Run) -> None:
    assert run("run", "--kernel", "small", "get-user").stdout == run("run", "get-user").stdout


def test_only_the_table(run: Run) -> None:
    text = run("run", "--table", "get-user").stdout
    assert text.startswith("scene ")
    assert len(text.splitlines()) == 5


def test_the_list(run: Run) -> None:
    result = run("run", "--list")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:] if line[0] != " "] == list(SCENES)
    listed = json.loads(run("run", "--list", "--json").stdout)
    assert [scene["scene"] for scene in listed["scenes"]] == list(SCENES)


def test_one_document_of_all(run: Run) -> None:
    result = run("run", "--json", "null-read", "get-user")
    document = json.loads(result.stdout)
    assert [scene["scene"] for scene in document["scenes"]] == ["null-read", "get-user"]
    assert document["scenes"][0]["acts"][0]["call"]["oops"][0].startswith("BUG: ")
    assert document["scenes"][1]["acts"][0]["call"]["oops"] == []


def test_features_reach_the_machine(run: Run) -> None:
    assert "a CPU with WP and without SMEP, SMAP, NX" in run("run", "--features", "none", "get-user").stdout
    assert "5-level tables" in run("run", "--features", "nx,smep,smap,la57", "get-user").stdout


def test_feature_lists() -> None:
    assert feature_list("erms, smap") == {"erms", "smap"}
    assert feature_list("none") == frozenset()
    assert feature_list("") == frozenset()


@pytest.mark.parametrize(
    ("typed", "near"), [("null-reed", "null-read"), ("vmalloc", "vmalloc-"), ("spurios", "spurious")]
)
def test_an_unknown_scene_is_met_with_near_ones(typed: str, near: str) -> None:
    with pytest.raises(BadInput, match=near):
        scene_named(typed, SCENES)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_scene_that_cannot_be_played_does_not_end_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    play = Theatre.play

    def without_get_user(theatre: Theatre, scene: Scene) -> Played:
        if scene.name == "get-user":
            raise Absent("symbol '__get_user_4'", where="vmlinux")
        return play(theatre, scene)

    monkeypatch.setattr(Theatre, "play", without_get_user)
    result = run("run", "get-user", "null-read", *arguments)
    assert result.exit_code == 1
    assert "no symbol '__get_user_4'" in result.stdout
    assert "null-read" in result.stdout


def test_as_a_process_in_a_pipe_there_is_no_decoration(process: Process) -> None:
    done = process("run", "null-read")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "│" not in done.stdout


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_debian_s_kernels_play_every_scene(run: Run, request: pytest.FixtureRequest, kernel: str) -> None:
    path: Path = request.getfixturevalue(kernel)
    result = run("run", "--table", "--kernel", path)
    assert result.exit_code == 0
    assert "not played" not in result.stdout
    assert "stopped:" not in result.stdout
