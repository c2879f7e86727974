"""Bombs and lies take no more memory than images/open_image.py states, and end; a tree of modules keeps us inside."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from fuzz.bombs import BOMBS
from images.test_module import module_file
from pagefault.errors import BadInput
from pagefault.images.module import Module
from pagefault.images.module_tree import load_tree
from pagefault.images.open_image import open_image

PEAK = Path(__file__).parent / "peak.py"
BY_ITSELF, TIMES = 32 << 20, 40
watched: list[bool] = []
"""Not empty while a test watches what the process opens."""


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if watched and event in ("open", "os.scandir", "os.listdir"):
        os.write(LOG, f"{arguments[0]}\n".encode())  # a descriptor, which forked processes share


LOG = os.memfd_create("opened")
sys.addaudithook(hook)


def peak(reader: str, path: str) -> int:
    ran = subprocess.run([sys.executable, str(PEAK), reader, path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{reader}: {ran.returncode}, {ran.stderr[-500:]}"  # SIGXCPU is a hang
    return int(ran.stdout.split()[0])


@cache
def of_nothing() -> int:
    return peak("nothing", "-")


@pytest.mark.parametrize("name", BOMBS)
def test_memory_stays_within_what_is_stated(name: str, tmp_path: Path) -> None:
    reader, made = BOMBS[name]
    path = tmp_path / "bomb"
    path.write_bytes(data := made())
    assert peak(reader, str(path)) - of_nothing() < BY_ITSELF + TIMES * len(data)


def test_nothing_outside_of_a_tree_is_opened(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for folder in (tree / "kernel" / "net", outside / "deeper"):
        folder.mkdir(parents=True)
    (outside / "secret.ko").write_bytes(module_file())
    (tree / "kernel" / "net" / "real.ko").write_bytes(module_file())
    (tree / "kernel" / "to_a_file.ko").symlink_to(outside / "secret.ko")
    (tree / "kernel" / "to_a_folder").symlink_to(outside)
    (tree / "kernel" / "loop").symlink_to(tree)
    (tree / "kernel" / "itself.ko").symlink_to("itself.ko")
    (tree / "kernel" / "a_device.ko").symlink_to("/dev/zero")
    (tree / "build").symlink_to(outside)
    (tree / "kernel" / "folder.ko").mkdir()
    os.mkfifo(tree / "kernel" / "pipe.ko")
    os.ftruncate(LOG, 0)
    watched.append(True)
    try:
        loaded = [each.path for each in load_tree(tree, name_of)]
    finally:
        watched.clear()
    opened = os.pread(LOG, 1 << 20, 0).decode().splitlines()
    assert loaded == [str(tree / "kernel" / "net" / "real.ko")]
    assert loaded[0] in opened
    assert not [path for path in opened if str(tmp_path) in path and not path.startswith(str(tree))]
    assert not [
        path for path in opened if path.endswith(("pipe.ko", "to_a_file.ko", "itself.ko", "a_device.ko", "loop"))
    ]


def name_of(module: Module) -> str:
    return module.module


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "loop", "/dev/zero", "/dev/null", tmp_path / "none"):
        with pytest.raises(BadInput):
            open_image(path)
