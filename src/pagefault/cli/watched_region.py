"""What `--watch` names: a range of addresses, or areas of memory by their name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from ..errors import BadInput
from ..report.maps_line import area
from ..vocabulary.fault_record import FaultRecord

RANGE = re.compile(r"(?:0x)?([0-9a-fA-F]{1,16})-(?:0x)?([0-9a-fA-F]{1,16})")


@dataclass(frozen=True, slots=True)
class WatchedRegion:
    """Addresses `start` <= a < `end`, or areas with this `name`: [heap], [stack], a file's path, or its last part."""

    start: int = 0
    end: int = 0
    name: str | None = None

    @classmethod
    def of(cls, text: str) -> WatchedRegion:
        """
        START-END, hexadecimal as in /proc/PID/maps, or a name.

        Errors: BadInput for an empty range or name.
        """
        found = RANGE.fullmatch(text)
        if found is None:
            if not text:
                raise BadInput("--watch", expected="START-END, or an area's name such as [heap]", got="nothing")
            return cls(name=text)
        start, end = int(found[1], 16), int(found[2], 16)
        if start >= end:
            raise BadInput("--watch", expected="a range that ends above its start", got=text)
        return cls(start, end)

    def holds(self, record: FaultRecord) -> bool:
        """Did it fault here?"""
        if self.name is None:
            return self.start <= record.address < self.end
        where = area(record.vma)
        return where is not None and self.name in (where.name, PurePath(where.name).name)
