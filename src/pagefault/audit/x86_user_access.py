"""
The reverse check on x86: which accesses of a STAC..CLAC window touch user memory and have no entry.

In a window the kernel reads its own memory too: `unsafe_put_user(stat->size, &user->size, …)`. An access is taken for
one of user memory if its pointer is the one that an entry of the function covers an access through (or is computed from
it), or if no access of its window has an entry and the function never uses that pointer while user access is closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .x86_values import IMAGE, Value
from .x86_windows import CLOSED, Access, Walk

KERNELS_OWN = frozenset({("stack",), IMAGE})


class Uncovered(NamedTuple):
    """An access of user memory without an entry; `like` is a covered one through the same pointer, if there is one."""

    address: int
    window: int
    like: int | None


def uncovered(walk: Walk) -> Iterator[Uncovered]:
    """The accesses of one function's walk that lack an entry, each address once."""
    roots: dict[Value, frozenset[Value]] = {}
    for access in walk.accesses:
        if access.value not in roots:
            roots[access.value] = walk.phis.roots(access.value)
    inside = sorted((access for access in walk.accesses if access.window != CLOSED), key=lambda each: each[0])
    kernel = {
        root
        for access in walk.accesses
        if access.window == CLOSED and not access.covered
        for root in roots[access.value]
    }
    covered = user_pointers(inside, roots)
    windows = {access.window for access in inside if access.covered}
    seen: set[int] = set()
    for access in inside:
        mine = roots[access.value]
        if access.covered or access.address in seen or not mine or mine & KERNELS_OWN:
            continue
        alike = [covered[root].address for root in mine if root in covered]
        if alike or (access.window not in windows and not mine & kernel):
            seen.add(access.address)
            yield Uncovered(access.address, access.window, min(alike, default=None))


def user_pointers(inside: list[Access], roots: dict[Value, frozenset[Value]]) -> dict[Value, Access]:
    """
    The origins of user pointers, each with a covered access through it.

    A string copy has one entry for both its pointers. If one of them is known for the user's, the other is the kernel's
    where more of its accesses lack an entry than there are such copies.
    """
    found: dict[Value, Access] = {}
    touched = Counter(access.address for access in inside)
    copies = [access for access in inside if access.covered and touched[access.address] > 1]
    for access in inside:
        if access.covered and touched[access.address] == 1:
            for root in roots[access.value]:
                found.setdefault(root, access)
    single = frozenset(found)
    for access in copies:
        mine = roots[access.value]
        other = [each for each in copies if each.address == access.address and each is not access]
        if not mine & single and any(roots[each.value] & single for each in other):
            bare = {each.address for each in inside if not each.covered and roots[each.value] & mine}
            if len(bare) > len({each.address for each in copies if roots[each.value] & mine}):
                continue
        for root in mine:
            found.setdefault(root, access)
    return found
