from __future__ import annotations

from pathlib import Path

import pytest

from pagefault.cli.extable_images import Beside, Source, opened
from pagefault.errors import Absent, BadInput
from pagefault.kernels import faulty_module, small_kernel


def quiet(_: str) -> None:
    pass


def test_small_is_the_kernel_that_ships_with_the_package() -> None:
    read = opened("small", Beside(), quiet, Source.NO)
    assert read.path == str(small_kernel())
    assert read.image is not None
    assert sum(table.count for table in read.tables) == len(read.entries) > 30
    assert read.unreadable == []


def test_a_folder_of_modules(tmp_path: Path) -> None:
    """One that is no ELF file at all, and one that is another kind of it: both are told of, neither stops the rest."""
    (tmp_path / "a.ko").write_bytes(b"This is no module." * 100)
    (tmp_path / "b.ko").write_bytes(faulty_module().read_bytes())
    said: list[str] = []
    read = opened(str(tmp_path), Beside(), said.append, Source.NO)
    assert read.image is None
    assert len(read.unreadable) == 2
    assert str(tmp_path / "a.ko") in read.unreadable[0]
    assert read.how == ("a folder of 2 modules, of which 0 have an exception table",)
    assert said[-1].endswith("2 of 2 modules")


def test_a_folder_without_modules(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="modules"):
        opened(str(tmp_path), Beside(), quiet, Source.NO)


@pytest.mark.parametrize("beside", [Beside(system_map="System.map"), Beside(debug="vmlinux")])
def test_a_folder_has_no_file_beside_it(tmp_path: Path, beside: Beside) -> None:
    with pytest.raises(BadInput, match="folder of modules"):
        opened(str(tmp_path), beside, quiet, Source.NO)


def test_source_lines_need_debug_information() -> None:
    pytest.importorskip("drgn")
    with pytest.raises(Absent, match="debug information"):
        opened("small", Beside(), quiet, Source.YES)
