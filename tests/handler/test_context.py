"""What a decision may look at."""

from __future__ import annotations

from handler.world import DATA_PAGE, RO_PAGE, USER_AREA, World
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped, NotPresent


def test_walks_go_through_the_table_in_use_or_the_master_table() -> None:
    world = World()
    world.tables.map(world.user.root, USER_AREA, 3 * PAGE, 7)
    assert isinstance(world.context.walk(USER_AREA).end, Mapped)
    assert world.context.init_mm_walk(USER_AREA).end == NotPresent("pgd")
    assert world.context.init_mm_walk(DATA_PAGE).root == world.init_mm_root
    assert world.context.walk(DATA_PAGE).root == world.user.root


def test_kernel_bytes_are_all_there_or_none() -> None:
    world = World()
    world.ram.write(2 * PAGE - 2, b"abcd")  # the data page's end, and the read-only page behind it
    assert world.context.read_kernel(DATA_PAGE + PAGE - 2, 4) == b"abcd"
    assert world.context.read_kernel(RO_PAGE + PAGE - 2, 4) is None
