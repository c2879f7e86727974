"""An exception that the CPU raised over a memory access, as the handler receives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Registers = Mapping[str, int]
"""A register file by the manual's small names: rax … r15, rip, eflags, cs, ss, …"""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    `trap` is the exception's name in the manual ("#PF", "#GP"), `vector` its number. `address` is what the CPU reported
    (CR2); a #GP reports none. The booleans are `error_code` decoded: `protection` (a permission was violated, as
    opposed to: nothing was there), `write`, `from_user` (a user-mode access), `reserved`, `fetch`, `protection_key`.
    `user_mode` is the privilege of the interrupted *code*, which the error code does not tell.
    """

    trap: str
    vector: int
    error_code: int
    address: int | None
    ip: int
    registers: Registers
    user_mode: bool = False
    protection: bool = False
    write: bool = False
    from_user: bool = False
    reserved: bool = False
    fetch: bool = False
    protection_key: bool = False
