"""Whatever is done to a file, a reader reads it or says what is wrong with it: nothing else comes out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreign_kernel import ForeignKernel
from fuzz.mutations import mutated
from fuzz.readers import ALLOWED, READERS, attempt, file_of
from fuzz.specimens import kdump, modules_of, specimens
from pagefault.arch.platform import X86_64
from pagefault.errors import Absent
from pagefault.images.core import Core

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "fuzz"
FOUND = sorted(CORPUS.glob("*.gz"))
SLOW = {"image": 2, "raw_image": 2, "exception_table": 3, "lenient_table": 4, "core": 20, "by_shape": 6, "kallsyms": 6}
"""How many copies of each specimen are damaged, where a reader takes its time; 15 elsewhere."""
ARCHITECTURES = ("i386", "arm64", "armhf", "mips64el", "ppc64el", "s390x")
SEED = 1


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_specimen_is_read_or_refused(name: str) -> None:
    for specimen in specimens()[name]:
        attempt(name, specimen)
        for data in mutated(specimen, seed=SEED, count=SLOW.get(name, 15)):
            attempt(name, data)


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"core", "image", "raw_image", "exception_table"}))
@given(st.data())
@settings(max_examples=25)
def test_any_bytes_put_anywhere_are_read_or_refused(name: str, data: st.DataObject) -> None:
    specimen = bytearray(data.draw(st.sampled_from(specimens()[name])))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(specimen)))
        specimen[at : at + data.draw(st.integers(0, 16))] = data.draw(st.binary(max_size=16))
    attempt(name, bytes(specimen[: data.draw(st.integers(0, len(specimen)))] if data.draw(st.booleans()) else specimen))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_damaged_module_of_debian_s_is_read_or_refused(
    foreign_kernel: Callable[[str], ForeignKernel], architecture: str
) -> None:
    for specimen in modules_of(foreign_kernel(architecture)):
        for name, count in (("module", 30), ("relocations", 30), ("image", 3)):
            for data in mutated(specimen, seed=SEED, count=count):
                attempt(name, data)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(path: Path) -> None:
    """READER-WHAT.gz"""
    attempt(path.name.partition("-")[0], gzip.decompress(path.read_bytes()))


def test_a_kdump_that_is_whole_is_read_in_another_process() -> None:
    with file_of(kdump()) as path:
        dump = Core.open(path)
        assert [len(found.table) for found in dump.exception_tables] == [40]
        assert dump.platform is X86_64
        with pytest.raises(Absent):
            dump.read(0xFFFF_8880_0000_0000, 8)


@pytest.mark.parametrize("size", [4096, 8192, 12_000, 16_500, 20_000])
def test_a_kdump_that_is_cut_off_ends_no_process_of_ours(size: int) -> None:
    with file_of(kdump()[:size]) as path, pytest.raises(ALLOWED):
        _ = Core.open(path).exception_tables
