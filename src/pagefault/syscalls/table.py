"""The table of system calls: number -> name, how many arguments, and the function that serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any


@dataclass(frozen=True, slots=True)
class SystemCall:
    """`function(system, task, *arguments)` returns a value or -errno."""

    number: int
    name: str
    arity: int
    function: Callable[..., int]


TABLE: dict[int, SystemCall] = {}


def system_call(number: int, name: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """
    Register a function as this system call of x86-64. It takes the system, the task, and the arguments by their
    numbers.

    Kernel: arch/x86/entry/syscalls/syscall_64.tbl, v6.1.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        arity = len(signature(function).parameters) - 2
        TABLE[number] = SystemCall(number, name, arity, function)
        return function

    return register


def signed(value: int, bits: int = 64) -> int:
    """A register as a signed number of so many bits: what `int` and `long` arguments are."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def unsigned(value: Any) -> int:
    """A result as it lies in rax."""
    return int(value) & (1 << 64) - 1
