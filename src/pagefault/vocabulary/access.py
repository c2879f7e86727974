"""What the CPU wanted to do with memory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class AccessKind(Enum):
    READ = "read"
    WRITE = "write"
    FETCH = "instruction fetch"


@dataclass(frozen=True, slots=True)
class Access:
    """
    One access to one linear address. `user` is the privilege of the access (CPL 3), which is not always that of the
    code: an `implicit` access (to a descriptor table, say) is a supervisor's whatever runs.
    """

    address: int
    kind: AccessKind
    user: bool = False
    implicit: bool = False
