from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from pagefault.cli.call import version
from pagefault.errors import BadInput

Run = Callable[..., Result]
COPY = (
    "_copy_from_user",
    "dst",
    "src+1p-40",
    "64",
    "--user",
    "src=2p",
    "--hole",
    "src+1p:1p",
    "--kernel-buffer",
    "dst=64",
)


def test_a_copy_into_a_hole_returns_what_is_left(run: Run) -> None:
    result = run("call", "small", *COPY, "--data", "src+1p-40=hello", "--show", "dst")
    assert result.exit_code == 0
    assert "returned 24 = 24 bytes not copied" in result.stdout
    assert "exception table (uaccess)" in result.stdout
    assert "68 65 6c 6c 6f 00" in result.stdout
    assert "hello..." in result.stdout


def test_the_same_as_json(run: Run) -> None:
    document = json.loads(run("call", "small", *COPY, "--data", "src+1p-40=hello", "--show", "dst", "--json").stdout)
    call = document["call"]
    assert call["result"] == {"register": "rax", "value": "0x18", "number": 24, "meaning": "24 bytes not copied"}
    assert call["faults"][-1]["decision"]["outcome"]["is"] == "FixedUp"
    assert [region["name"] for region in document["memory"]] == ["src", "dst"]
    assert document["shown"][0]["pieces"][0]["hex"].startswith(b"hello".hex())
    assert call["arguments"]["rdi"] == document["memory"][1]["start"]


def test_told_as_a_story(run: Run) -> None:
    text = run("call", "small", *COPY, "-v").stdout
    assert "Are we prepared to handle this kernel fault?" in text
    assert "in the area" not in text
    assert "no area, just past" in text


def test_a_register_convention(run: Run) -> None:
    result = run(
        "call", "small", "__get_user_4", "rax=src:end-4", "--user", "src=1p", "--data", "src:end-4=hex:2a000000"
    )
    assert "returned 0 = no error, and the value 0x2a in rdx" in result.stdout
    assert "-EFAULT" in run("call", "small", "__get_user_4", "rax=0x1000").stdout


def test_lazy_pages_come_with_the_first_touch(run: Run) -> None:
    arguments = ("_copy_from_user", "dst", "src", "64", "--kernel-buffer", "dst=64")
    assert "demand paging" in run("call", "small", *arguments, "--user", "src=1p:lazy").stdout
    assert "without a fault" in run("call", "small", *arguments, "--user", "src=1p").stdout


def test_a_read_only_page_stays_so_although_it_was_filled(run: Run) -> None:
    arguments = (
        "_copy_to_user",
        "src",
        "dst",
        "8",
        "--user",
        "src=1p:r",
        "--kernel-buffer",
        "dst=8",
        "--data",
        "src=text",
    )
    assert "8 bytes not copied" in run("call", "small", *arguments).stdout


def test_a_routine_that_leaves_stac_to_its_caller(run: Run, vmlinux_612: Path) -> None:
    memory = ("--user", "src=1p", "--kernel-buffer", "dst=64")
    arguments = ("call", vmlinux_612, "rep_movs_alternative", "rdi=dst", "rsi=src", "rcx=64", *memory)
    assert "SMAP violation" in run(*arguments).stdout
    assert "returned 0 in rcx = everything was copied, without a fault" in run(*arguments, "--user-access").stdout


def test_a_negative_argument_is_not_an_option(run: Run) -> None:
    assert "memset(0, -1, 0)" in run("call", "small", "memset", "0", "-1", "0").stdout


def test_an_oops_is_printed_and_is_status_1(run: Run) -> None:
    result = run("call", "small", "memset", "0xffffe8fffffff000", "0", "8")
    assert result.exit_code == 1
    assert "BUG: unable to handle page fault for address: ffffe8fffffff000" in result.stdout
    assert "did not return: oops:" in result.stdout


def test_a_budget_is_kept(run: Run) -> None:
    result = run("call", "small", "memset", "dst", "0", "4k", "--kernel-buffer", "dst=4k", "--budget", "3")
    assert result.exit_code == 1
    assert "stopped: out of budget" in result.stdout


def test_registers_are_shown(run: Run) -> None:
    assert "\nr15 " in run("call", "small", *COPY, "--registers").stdout


def test_other_rules(run: Run) -> None:
    document = json.loads(run("call", "small", *COPY, "--rules", "5.7", "--json").stdout)
    assert document["rules"] == "Linux 5.7"
    assert version("6.12") == (6, 12)
    with pytest.raises(BadInput):
        version("6")


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
@pytest.mark.parametrize("features", ["none", "nx,smep,smap,erms,fsrm,la57"])
def test_debian_s_kernels(run: Run, request: pytest.FixtureRequest, kernel: str, features: str) -> None:
    path: Path = request.getfixturevalue(kernel)
    result = run("call", path, *COPY, "--features", features)
    assert result.exit_code == 0
    assert "returned 24 = 24 bytes not copied" in result.stdout


def test_the_examples_of_the_help_work(run: Run) -> None:
    text = run("call", "--help").stdout
    examples = text.replace("\\\n", " ").split("pagefault call vmlinux ")[1:]
    assert len(examples) == 3
    for example in examples:
        import shlex

        arguments = shlex.split(example.splitlines()[0])
        assert run("call", "small", *arguments).exit_code == 0


def test_only_versions_whose_rules_are_known(run: Run) -> None:
    assert version("3.0") == (3, 0)
    assert version("6.99") == (6, 99)
    for text in ("2.6", "2.99", "7.0", "99.1"):
        with pytest.raises(BadInput, match=r"from 3\.0 to 6\.x .* up to 6\.12"):
            version(text)


def test_regions_are_listed_with_rights_and_options(run: Run) -> None:
    memory = ("--user", "s=1p:r:lazy:stack", "--kernel-buffer", "d=8")
    text = run("call", "small", "memset", "d", "0", "8", *memory).stdout
    assert [line.split()[:-3] for line in text.splitlines()[1:3]] == [
        ["s", "user", "r", "lazy", "stack"],
        ["d", "kernel"],
    ]
    document = json.loads(run("call", "small", "memset", "d", "0", "8", *memory, "--json").stdout)
    assert [region["kind"] for region in document["memory"]] == ["user", "kernel"]
    assert [region["options"] for region in document["memory"]] == [["r", "lazy", "stack"], []]


def test_a_warning_is_told_once(run: Run) -> None:
    arguments = (
        "call",
        "small",
        "copy_user_generic_unrolled",
        "d",
        "0xdead000000000000",
        "8",
        "--kernel-buffer",
        "d=8",
    )
    warning = "General protection fault in user access. Non-canonical address?"
    faults = json.loads(run(*arguments, "--json").stdout)["call"]["faults"]
    assert f"the kernel warned: {warning} ({len(faults)} times)\n" in run(*arguments).stdout
    story = run(*arguments, "-v").stdout
    assert "the kernel warned" not in story
    assert story.count(f"warn: {warning}") == len(faults)
    assert json.loads(run(*arguments, "--json").stdout)["warnings"] == [warning] * len(faults)
    assert json.loads(run("call", "small", "memset", "0", "0", "0", "--json").stdout)["warnings"] == []


def test_a_warning_that_the_story_left_out_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagefault.report.call.TOLD_IN_FULL", 0)
    arguments = ("copy_user_generic_unrolled", "d", "0xdead000000000000", "8", "--kernel-buffer", "d=8", "-v")
    assert "the kernel warned: General protection fault" in run("call", "small", *arguments).stdout
