from __future__ import annotations

from dataclasses import replace

from pagefault.machine.machine import Machine
from pagefault.report.explain import (
    argument_text,
    call_story,
    call_text,
    cpu_words,
    end_line,
    legend,
    returned_briefly,
    returned_text,
    scene_story,
    version_words,
)
from pagefault.report.fault_story import Surroundings
from pagefault.report.kernel_words import kernel_words
from pagefault.report.page import plain
from pagefault.scenes import Played
from pagefault.vocabulary.address import PAGE


def test_every_scene_is_told_whole_within_the_width_and_without_decoration(played: dict[str, Played]) -> None:
    for name, play in played.items():
        text = plain(scene_story(play))
        assert text.startswith(f"{name}: {play.scene.title}\n===")
        assert f"\ncause    {play.scene.cause}\n" in text
        assert "\nmachine  Linux 6.1" in text
        for number, act in enumerate(play.acts, 1):
            assert f"\n{number}. {act.text}\n" in text
            assert f"\n   {call_text(act.result)}\n" in text
        kernels_own = {f"     {line}" for act in play.acts for line in kernel_words(act.result)}
        assert max(len(line) for line in text.splitlines() if line not in kernels_own) <= 100
        assert "\x1b" not in text
        assert not set(text) & set("─│┌╭╮╯╰━┃")


def test_a_machine_that_changes_between_acts_is_mentioned(played: dict[str, Played]) -> None:
    text = plain(scene_story(played["user-touch"]))
    assert "machine  Linux 6.1; a CPU with SMEP, SMAP, NX, WP, 4-level tables" in text
    assert "\n   on a CPU with SMEP, NX, WP and without SMAP, 4-level tables\n" in text


def test_other_rules_are_mentioned(played: dict[str, Played]) -> None:
    assert version_words(played["vmalloc-other"].machine) == "Linux 6.1 by the rules of Linux 5.7"
    assert version_words(played["vmalloc-shared"].machine) == "Linux 6.1"


def test_a_cpu_without_anything() -> None:
    machine = Machine.boot(features=())
    assert cpu_words(machine.cpu.state()) == "a CPU with WP and without SMEP, SMAP, NX, 4-level tables"


def test_calls_read_like_c(played: dict[str, Played], bad_copy: tuple[Machine, int, int]) -> None:
    machine, dst, end = bad_copy
    assert (
        call_text(machine.run("_copy_from_user", dst, end - 40, 64)) == f"_copy_from_user({dst:#x}, {end - 40:#x}, 64)"
    )
    assert call_text(played["get-user"].acts[1].result) == "__get_user_4(rax = 4096)"
    assert argument_text((1 << 64) - 1) == "-1"


def test_what_came_back(played: dict[str, Played]) -> None:
    results = [act.result for act in played["get-user"].acts]
    assert returned_text(results[1]) == "-EFAULT, and the value 0x0 in rdx"
    assert returned_briefly(results[1]) == "-EFAULT"
    copy = played["copy-from-user"].acts[0].result
    assert returned_text(copy) == "24 = 24 bytes not copied"
    assert returned_briefly(copy) == "24 bytes not copied"
    assert returned_text(played["put-user"].acts[0].result) == "-EFAULT in rcx"
    touch = played["user-touch"].acts[1].result
    assert returned_text(touch) == returned_briefly(touch).removeprefix("returned ")


def test_a_call_without_a_fault_says_so(played: dict[str, Played]) -> None:
    text = plain(
        call_story(played["copy-from-user"].acts[2].result, Surroundings(played["copy-from-user"].machine.symbols))
    )
    assert text.endswith("returned 64 = 64 bytes not copied, without a fault")


def test_a_call_that_ran_out_of_its_budget(machine: Machine) -> None:
    result = machine.run("memset", machine.kmalloc(4096), 0, 4096, budget=3)
    assert "stopped: out of budget" in plain(call_story(result, Surroundings(machine.symbols)))


def test_many_faults_are_counted_after_a_dozen(machine: Machine) -> None:
    src = machine.user.mmap(20 * PAGE)
    result = machine.run("_copy_from_user", machine.kmalloc(20 * PAGE), src, 20 * PAGE)
    assert len(result.events) == 20
    text = plain(call_story(result, Surroundings(machine.symbols)))
    assert "#PF 12 of 20" in text
    assert "#PF 13 of 20" not in text
    assert "and 8 faults more" in text


def test_the_kernels_own_words_come_before_the_end_and_not_twice(played: dict[str, Played]) -> None:
    text = plain(scene_story(played["null-read"]))
    assert "what the kernel prints:\n     BUG: kernel NULL pointer dereference, address: 0000000000000010" in text
    assert text.index("BUG:") < text.index("did not return: oops:")
    assert text.count("RIP: 0010:rd+") == 1
    assert "once more" in text


def test_each_act_that_oopses_has_the_kernels_words(played: dict[str, Played]) -> None:
    text = plain(scene_story(played["user-touch"]))
    assert text.count("BUG: unable to handle page fault") == 1
    assert text.index("BUG:") < text.index("\n2. ")


def test_remarks_and_sentences_are_told(played: dict[str, Played]) -> None:
    play = played["copy-from-user"]
    text = plain(scene_story(replace(play, remarks=("A remark about it all.",))))
    assert text.endswith("A remark about it all.")
    assert f"   {play.acts[0].after[0]}" in text


def test_the_legend_knows_the_flags_that_walks_show(played: dict[str, Played]) -> None:
    words = plain(legend())
    for flag in "USR SUP RW ro x NX ACC DRT GLB PSE PWT PCD".split():
        assert flag in words


def test_registers_are_arguments_only_without_a_gap_from_rdi_on(played: dict[str, Played], machine: Machine) -> None:
    assert call_text(played["put-user"].acts[0].result) == "__put_user_4(rcx = 4096, rax = 42)"
    result = machine.run("memset", machine.kmalloc(8), 1, rcx=2, r15=3)
    assert call_text(result).endswith(", 1, rcx = 2, r15 = 3)")
    assert call_text(machine.run("memset", rdx=0, rsi=1)) == "memset(rdx = 0, rsi = 1)"
    assert call_text(machine.run("memset", rsi=1, rdx=0, rdi=5)) == "memset(5, 1, 0)"


def test_the_end_has_the_kernel_s_own_headline_where_it_differs(played: dict[str, Played], machine: Machine) -> None:
    def last(name: str) -> str:
        play = played[name]
        return plain([end_line(play.acts[0].result, play.machine.symbols)])

    assert last("null-read") == (
        "did not return: oops: SMAP violation (the kernel says: kernel NULL pointer dereference)"
    )
    assert last("text-write") == "did not return: oops: unable to handle page fault"
    assert "kernel says" not in last("non-canonical")
    below_stack = machine.run("memset", machine.current.task.stack[0] - 8, 0, 8)
    assert plain([end_line(below_stack, machine.symbols)]).endswith("oops: stack guard page was hit")
