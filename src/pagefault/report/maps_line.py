"""An area of memory as a line of /proc/PID/maps has it, without device and inode: "start-end rwxp offset name"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ([r-][w-][x-][ps]) ([0-9a-f]+)(?: +(.*))?")


@dataclass(frozen=True, slots=True)
class Area:
    """Addresses `start` <= a < `end`; `permissions` "rw-p", `offset` into the file `name` ("" if it has none)."""

    start: int
    end: int
    permissions: str
    offset: int
    name: str

    @property
    def label(self) -> str:
        """What a person calls it; areas that were split or have grown keep theirs."""
        return f"{self.permissions} {self.name or 'anonymous'}"


@lru_cache(1 << 14)
def area(line: str) -> Area | None:
    """The area of a line; None for an empty one: there is no area."""
    found = LINE.fullmatch(line)
    if found is None:
        return None
    return Area(int(found[1], 16), int(found[2], 16), found[3], int(found[4], 16), found[5] or "")
