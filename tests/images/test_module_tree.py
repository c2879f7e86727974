from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from foreign_kernel import ForeignKernel
from images.elf_writer import save
from images.test_module import module_file
from pagefault.errors import Absent, BadInput, PagefaultError, Unsupported
from pagefault.images.module import Module
from pagefault.images.module_tree import AT_ONCE, find_modules, load_tree


def entries(module: Module) -> tuple[str, int, int]:
    """The work: the process it was done in, too."""
    return module.path, sum(len(found.table) for found in module.exception_tables), os.getpid()


def refuse(module: Module) -> int:
    if module.path.endswith("3.ko"):
        raise Absent("nothing", where=module.path, hint="at all")
    return len(module.sections)


def die(module: Module) -> str:
    if module.path.endswith("5.ko"):
        os.kill(os.getpid(), signal.SIGKILL)
    return module.path


def tree(tmp_path: Path, count: int) -> Path:
    """A /lib/modules/VERSION of so many modules in two folders."""
    folder = tmp_path / "6.1.0"
    for number in range(count):
        home = folder / "kernel" / ("fs" if number % 2 else "drivers")
        home.mkdir(parents=True, exist_ok=True)
        save(home / f"m{number:03}.ko", module_file())
    return folder


def test_every_module_in_the_order_of_paths(tmp_path: Path) -> None:
    folder, seen = tree(tmp_path, 5 * AT_ONCE), []
    found = list(load_tree(folder, entries, lambda done, total: seen.append((done, total))))
    paths = [loaded.path for loaded in found]
    assert paths == sorted(str(path) for path in folder.rglob("*.ko"))
    assert [loaded.value and loaded.value[:2] for loaded in found] == [(path, 1) for path in paths]
    assert all(loaded.error is None for loaded in found)
    assert seen == [(done, len(paths)) for done in range(1, len(paths) + 1)]
    others = {loaded.value[2] for loaded in found if loaded.value}
    assert os.getpid() not in others or len(os.sched_getaffinity(0)) == 1


def test_a_few_are_read_right_here(tmp_path: Path) -> None:
    assert {loaded.value[2] for loaded in load_tree(tree(tmp_path, 3), entries) if loaded.value} == {os.getpid()}


def test_broken_ones_do_not_stop_the_rest(tmp_path: Path) -> None:
    folder = tree(tmp_path, 3 * AT_ONCE)
    save(folder / "kernel" / "fs" / "m004.ko", module_file()[:100])
    save(folder / "kernel" / "fs" / "m006.ko", b"")
    found = {Path(loaded.path).name: loaded for loaded in load_tree(folder, refuse)}
    errors: dict[str, PagefaultError] = {name: loaded.error for name, loaded in found.items() if loaded.error}
    assert errors.keys() == {"m003.ko", "m004.ko", "m006.ko", "m013.ko", "m023.ko", "m033.ko", "m043.ko"}
    assert isinstance(errors["m004.ko"], BadInput)
    assert "truncated" in str(errors["m004.ko"])
    assert isinstance(errors["m003.ko"], Absent)
    assert errors["m003.ko"].hint == "at all"
    assert found["m006.ko"].value is None
    assert found["m007.ko"].value == 5


def test_a_folder_that_cannot_be_read_does_not_stop_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever runs the tests: to root, no folder is closed."""
    folder, scandir, seen = tree(tmp_path, 4), os.scandir, list[tuple[int, int]]()

    def guarded(path: str) -> object:
        if path.endswith("/fs"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = list(load_tree(folder, entries, lambda done, total: seen.append((done, total))))
    assert [Path(loaded.path).name for loaded in found] == ["m000.ko", "m002.ko", "fs"]
    assert [loaded.value is not None for loaded in found] == [True, True, False]
    assert isinstance(found[2].error, BadInput)
    assert str(found[2].error) == f"{folder}/kernel/fs: expected a folder that can be read, got Permission denied"
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for name in ("m000.ko", "m002.ko"):
        (folder / "kernel" / "drivers" / name).unlink()
    assert [loaded.path for loaded in load_tree(folder, entries)] == [f"{folder}/kernel/fs"]


def test_a_module_that_takes_its_process_down(tmp_path: Path) -> None:
    folder = tree(tmp_path, 2 * AT_ONCE)
    found = list(load_tree(folder, die))
    lost = {Path(loaded.path).name for loaded in found if loaded.error}
    assert lost == ({"m005.ko", "m015.ko", "m025.ko"})
    assert all(isinstance(loaded.error, Unsupported) for loaded in found if loaded.value is None)
    assert [loaded.path for loaded in found] == find_modules(folder)[0]


def test_whoever_stops_asking_keeps_what_there_was(tmp_path: Path) -> None:
    results = load_tree(tree(tmp_path, 20 * AT_ONCE), entries)
    first = [next(results) for _ in range(3)]
    results.close()  # type: ignore[attr-defined]
    assert [loaded.value is not None for loaded in first] == [True] * 3
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_no_link_is_followed(tmp_path: Path) -> None:
    folder, outside = tree(tmp_path, 2), tmp_path / "outside"
    outside.mkdir()
    save(outside / "secret.ko", module_file())
    (folder / "kernel" / "away").symlink_to(outside)
    (folder / "kernel" / "one.ko").symlink_to(outside / "secret.ko")
    (folder / "kernel" / "round").symlink_to(folder)
    (folder / "build").mkdir()
    save(folder / "build" / "object.ko", module_file())
    (folder / "source").symlink_to(outside)
    assert [Path(path).name for path in find_modules(folder)[0]] == ["m000.ko", "m001.ko"]
    (tmp_path / "latest").symlink_to(folder)
    assert len(find_modules(tmp_path / "latest")[0]) == 2


def test_every_suffix_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.ko", "b.ko.gz", "c.ko.xz", "d.ko.zst", "e.ko.bak", "f.o", "ko", "g.ko\n"):
        save(tmp_path / name, b"x")
    (tmp_path / "h.ko").mkdir()
    os.mkfifo(tmp_path / "i.ko")
    assert [Path(path).name for path in find_modules(tmp_path)[0]] == ["a.ko", "b.ko.gz", "c.ko.xz", "d.ko.zst"]


def test_a_deep_tree(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # deeper than Python's stack
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        assert find_modules(tmp_path) == ([], [])
    finally:
        save(tmp_path / "stop", b"")
        os.removedirs(tmp_path / "/".join("d" * 1500))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="no modules"):
        load_tree(tmp_path, entries)
    for place in (tmp_path / "none", save(tmp_path / "file", b""), Path("nul\0")):
        with pytest.raises(BadInput, match="a folder that can be read"):
            load_tree(place, entries)


def test_debian_s(foreign_kernel: Callable[[str], ForeignKernel]) -> None:
    found = list(load_tree(foreign_kernel("s390x").modules, entries))
    assert len(found) > 1000
    assert not [loaded.error for loaded in found if loaded.error]
    assert sum(loaded.value[1] > 0 for loaded in found if loaded.value) > 50
