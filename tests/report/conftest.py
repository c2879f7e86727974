"""A small kernel that was played on, once for all tests here."""

from __future__ import annotations

import pytest

from pagefault.machine.machine import Machine
from pagefault.scenes import SCENES, Played, Theatre
from pagefault.vocabulary.address import PAGE


@pytest.fixture(scope="session")
def played() -> dict[str, Played]:
    """Every scene, played on the small kernel."""
    theatre = Theatre()
    return {name: theatre.play(scene) for name, scene in SCENES.items()}


@pytest.fixture
def machine() -> Machine:
    """A machine of one's own."""
    return Machine.boot()


@pytest.fixture
def bad_copy(machine: Machine) -> tuple[Machine, int, int]:
    """A machine with two user pages of which the second is unmapped again: destination and the first page's end."""
    src = machine.user.mmap(2 * PAGE, populate=True, name="[src]")
    machine.user.munmap(src + PAGE, PAGE)
    return machine, machine.kmalloc(64), src + PAGE
