"""
The reverse check on x86: which accesses of a STAC..CLAC window touch user memory and have no entry.

In a window the kernel reads its own memory too: `unsafe_put_user(stat->size, &user->size, …)`. An access is taken for
one of user memory if its pointer is the one that an entry of the function covers an access through (or is computed from
it), or if no access of its window has an entry and the function never uses that pointer while user access is closed. So
a second user pointer in a window is not told from a kernel one if every access through it lacks its entry.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from .x86_values import IMAGE, Value
from .x86_windows import CLOSED, Access, Walk

KERNELS_OWN = frozenset({("stack",), IMAGE})


class Uncovered(NamedTuple):
    """An access of user memory without an entry; `like` is a covered one through the same pointer, if there is one."""

    address: int
    window: int
    like: int | None


class Judged(NamedTuple):
    """
    The accesses without an entry in one function's windows. Each address is in one of these: an access of user memory;
    one `taken` for the kernel's own memory, as no entry is for its pointer; one by a pointer whose origin is `unknown`,
    or which may be the stack's. Those that are the kernel's for certain are in none.
    """

    uncovered: tuple[Uncovered, ...]
    taken: frozenset[int]
    unknown: frozenset[int]


def judge(walk: Walk) -> Judged:
    """Judge the accesses of one function's walk."""
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
    users: dict[int, Uncovered] = {}
    taken: set[int] = set()
    unknown: set[int] = set()
    for access in inside:
        mine = roots[access.value]
        if access.covered or access.value == IMAGE or (mine and mine <= KERNELS_OWN):
            continue
        if not mine or mine & KERNELS_OWN:
            unknown.add(access.address)
            continue
        alike = [covered[root].address for root in mine if root in covered]
        if alike or (access.window not in windows and not mine & kernel):
            users.setdefault(access.address, Uncovered(access.address, access.window, min(alike, default=None)))
        else:
            taken.add(access.address)
    return Judged(tuple(users.values()), frozenset(taken - users.keys()), frozenset(unknown - users.keys() - taken))


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
