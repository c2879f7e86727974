"""Whatever is wrong with the input: one line on standard error, nothing on standard output, exit status 2."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from pagefault.images.vmlinux import Vmlinux
from pagefault.kernels import small_kernel

Run = Callable[..., Result]
Maker = Callable[[Path], Path]
E_MACHINE, EM_AARCH64 = 0x12, 183


def changed(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def missing(folder: Path) -> Path:
    return folder / "no-such-file"


def directory(folder: Path) -> Path:
    return folder


def empty(folder: Path) -> Path:
    return written(folder / "empty", b"")


def text(folder: Path) -> Path:
    return written(folder / "text", b"This is no kernel.\n" * 10)


def truncated(folder: Path) -> Path:
    return written(folder / "truncated", small_kernel().read_bytes()[:5000])


def truncated_header(folder: Path) -> Path:
    return written(folder / "truncated-header", small_kernel().read_bytes()[:40])


def wrong_architecture(folder: Path) -> Path:
    data = changed(small_kernel().read_bytes(), E_MACHINE, EM_AARCH64.to_bytes(2, "little"))
    return written(folder / "arm64", data)


def without_table(folder: Path) -> Path:
    image = Vmlinux.open(small_kernel())
    section = image.section("__ex_table")
    assert section is not None
    # Its bytes as well: a table that nothing names is found by its shape.
    data = changed(small_kernel().read_bytes(), image.file_offset(section[1]), bytes(len(section[1])))
    assert data.count(b"__ex_table") > 2
    return written(folder / "without-table", data.replace(b"__ex_table", b"__no_table"))


def offset_of_table() -> int:
    image = Vmlinux.open(small_kernel())
    section = image.section("__ex_table")
    assert section is not None
    return image.file_offset(section[1])


def entries_outside(folder: Path) -> Path:
    offset = offset_of_table()
    data = changed(small_kernel().read_bytes(), offset + 2 * 12, (0x7000_0000).to_bytes(4, "little"))
    return written(folder / "entries-outside", data)


def unknown_type(folder: Path) -> Path:
    offset = offset_of_table()
    data = changed(small_kernel().read_bytes(), offset + 8, bytes([99]))
    return written(folder / "unknown-type", data)


BAD_IMAGES: dict[str, tuple[Maker, str]] = {
    "missing": (missing, "expected a file, got nothing of that name"),
    "directory": (directory, "expected a regular file, got a directory"),
    "empty": (empty, "expected an ELF file, got an empty file"),
    "text": (text, "at offset 0x0: expected an ELF file (7f 45 4c 46), got text"),
    "truncated": (truncated, "got a file that ends at 0x1388 (truncated?)"),
    "truncated-header": (truncated_header, "at offset 0x28: expected an ELF header of 64 bytes"),
    "wrong-architecture": (
        wrong_architecture,
        "at offset 0x12: expected an x86 ELF (EM_X86_64 or EM_386), got EM_AARCH64",
    ),
    "without-table": (without_table, "no exception table"),
    "entries-outside": (entries_outside, "outside the image's code"),
    "unknown-type": (unknown_type, "type 99"),
}
"""What is wrong with the file -> how to make it, and what the error must say."""

READS_MORE = {
    "directory": "no file below it ends in .ko, .ko.gz, .ko.xz or .ko.zst",
    "text": "at offset 0x0: expected a kernel: ELF, a boot image, or compressed, got 54 68 69 73",
    "wrong-architecture": "with the instruction at",
}
"""What `extable` says instead, which reads folders, boot images and every architecture."""

COMMANDS = {
    "extable": ("extable", "IMAGE"),
    "extable-json": ("extable", "IMAGE", "--json"),
    "call": ("call", "IMAGE", "_copy_from_user", "0", "0", "0"),
    "run": ("run", "--kernel", "IMAGE"),
    "run-json": ("run", "--kernel", "IMAGE", "--json"),
}


def check(result: Result, *words: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("pagefault: ")
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("bad", BAD_IMAGES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_image(run: Run, tmp_path: Path, command: str, bad: str) -> None:
    make, expected = BAD_IMAGES[bad]
    path = make(tmp_path)
    if command.startswith("extable"):
        expected = READS_MORE.get(bad, expected)
    arguments = [str(path) if word == "IMAGE" else word for word in COMMANDS[command]]
    check(run(*arguments), str(path), expected)


@pytest.mark.parametrize("cut", range(0, small_kernel().stat().st_size, 997))
def test_a_truncated_image_never_ends_in_a_traceback(run: Run, tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "cut", small_kernel().read_bytes()[:cut])
    check(run("extable", path), str(path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("call", "small", "_copy_from_usr"), ("no symbol '_copy_from_usr'", "did you mean", "_copy_from_user")),
        (("call", "small", "memset", "12x"), ("argument 1", "'12x'")),
        (("call", "small", "memset", "dst+"), ("argument 1", "'dst+'")),
        (("call", "small", "memset", "0", "nowhere"), ("no symbol 'nowhere'",)),
        (("call", "small", "memset", "1", "2", "3", "4", "5", "6", "7"), ("at most 6",)),
        (("call", "small", "memset", "rxx=1"), ("register", "rxx")),
        (("call", "small", "memset", "budget=1"), ("register", "'budget'")),
        (("call", "small", "memset", "rax=abc="), ("argument 1",)),
        (("call", "small", "memset", "0x1ffffffffffffffff"), ("a value that fits 64 bits",)),
        (("call", "small", "memset", "--usr", "a=1"), ("option --usr", "--help")),
        (("call", "small", "memset", "--user", "src"), ("--user", "NAME=SIZE")),
        (("call", "small", "memset", "--user", "src=abc"), ("--user src", "'abc'")),
        (("call", "small", "memset", "--user", "src=1p:sloppy"), ("--user src", "'sloppy'", "populate")),
        (("call", "small", "memset", "--user", "src=1p@0x1001"), ("page-aligned",)),
        (("call", "small", "memset", "--user", "src=0"), ("mmap length",)),
        (("call", "small", "memset", "--user", "a=1p", "--user", "a=1p"), ("'a' twice",)),
        (("call", "small", "memset", "--kernel-buffer", "dst"), ("--kernel-buffer", "NAME=SIZE")),
        (("call", "small", "memset", "--kernel-buffer", "dst=8m"), ("kmalloc", "4 MiB")),
        (("call", "small", "memset", "--data", "dst"), ("--data", "PLACE=TEXT")),
        (("call", "small", "memset", "--data", "0x1000=abc"), ("user address", "0x1000")),
        (("call", "small", "memset", "--user", "a=1p", "--data", "a=hex:0"), ("--data", "hexadecimal")),
        (("call", "small", "memset", "--user", "a=1p", "--data", "a=@/no/such"), ("/no/such", "No such file")),
        (("call", "small", "memset", "--hole", "0x1000"), ("--hole", "PLACE:LENGTH")),
        (("call", "small", "memset", "--user", "a=2p", "--hole", "a+8:1p"), ("page-aligned",)),
        (("call", "small", "memset", "--show", "nothing"), ("no symbol 'nothing'",)),
        (("call", "small", "memset", "--rules", "new"), ("--rules", "5.7", "'new'")),
        (("call", "small", "memset", "--rules", "2.6"), ("--rules", "from 3.0 to 6.x", "2.6")),
        (("call", "small", "memset", "--show", "0:2m"), ("--show 0", "at most 1 MiB", "2097152")),
        (("call", "small", "memset", "--kernel-buffer", "a=1", "--data", "a=xy"), ("--data a", "region a", "has 1")),
        (("call", "small", "memset", "--user", "a=1p", "--data", r"a=\q"), ("--data", "escape")),
        (("call", "small", "init_task"), ("function init_task", "a symbol of code", ".data")),
        (("call", "small", "linux_banner"), ("function linux_banner", ".rodata")),
        (("call", "small", "memset", "--", "-1", "--budget", "4"), ("--budget", "options before `--`")),
        (("call", "small", "memset", "--", "-1", "--budget=4"), ("--budget=4", "options before `--`")),
        (("call", "small", "memset", "--", "-v"), ("-v", "options before `--`")),
        (("call", "small", "memset", "--features", "nonsense"), ("nonsense",)),
        (("call", "small", "memset", "--budget", "0"), ("--budget", "--help")),
        (("call", "small"), ("FUNCTION", "--help")),
        (("extable", "small", "--at", "_copy_from_usr"), ("no symbol", "_copy_from_user")),
        (("extable", "small", "--at", "a b"), ("--at", "SYMBOL+OFFSET", "'a b'")),
        (("extable", "small", "--at", "999999999999999999999"), ("--at", "below 2**64")),
        (("extable", "small", "--at", "_copy_from_user+zz"), ("--at",)),
        (("extable",), ("IMAGE", "--help")),
        (("run", "null-reed"), ("SCENE", "null-read", "'null-reed'")),
        (("run", "xyzzy"), ("SCENE", "--list")),
        (("run", "--features", "nonsense"), ("nonsense",)),
        (("no-such-command",), ("no-such-command",)),
    ],
    ids=" ".join,
)
def test_bad_arguments(run: Run, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    check(run(*arguments), *words)


def test_control_characters_do_not_reach_the_terminal(run: Run) -> None:
    result = run("extable", "no\x1b[31m\nsuch")
    check(result, r"no\x1b[31m\nsuch")


def test_the_same_as_a_process(process: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = process("extable", "no-such-file")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pagefault: no-such-file: expected a file, got nothing of that name\n"


@pytest.mark.parametrize("number", ["1__0", "0x_", "_1", "0x", "9" * 5000, "0x" + "f" * 5000])
def test_an_unreadable_number_is_one_line(run: Run, number: str) -> None:
    result = run("call", "small", "_copy_from_user", number)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_data_from_a_pipe_is_refused_without_waiting(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = run("call", "small", "_copy_from_user", "1", "--user", "s=1p", "--data", f"s=@{tmp_path / 'pipe'}")
    assert result.exit_code == 2
    assert "regular file" in result.stderr
