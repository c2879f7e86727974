"""What the machine needs of a CPU: run until something happens, and say what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..arch.x86 import CpuState
from ..vocabulary.access import Access
from ..vocabulary.walk import Walk


@dataclass(frozen=True, slots=True)
class Reached:
    """The instruction pointer came to the address the run was to end at."""


@dataclass(frozen=True, slots=True)
class MemoryFault:
    """An access was refused; the instruction has not happened. `walk` and `state` are what the refusal went by."""

    access: Access
    walk: Walk
    state: CpuState


@dataclass(frozen=True, slots=True)
class Trapped:
    """
    The CPU raised an exception or interrupt of its own: its vector, what it usually means, and its error code (0 for
    those that have none).
    """

    vector: int
    meaning: str
    error_code: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """The CPU is about to execute the instruction at an address that it was told to stop at."""

    address: int


@dataclass(frozen=True, slots=True)
class SystemCall:
    """User code executed SYSCALL; the instruction pointer is behind it."""


@dataclass(frozen=True, slots=True)
class OutOfBudget:
    """The run executed its whole budget of instructions."""

    budget: int


@dataclass(frozen=True, slots=True)
class Halted:
    """The CPU executed HLT, or the emulator gave up with this message."""

    why: str


Stop = Reached | MemoryFault | Trapped | Arrived | SystemCall | OutOfBudget | Halted


class Cpu(Protocol):
    """A CPU with its own caches of translations, asking an MMU of ours for each it lacks."""

    @property
    def executed(self) -> int:
        """How many instructions the last run executed, each round of a repeated one counted."""

    def run(self, start: int, until: int, budget: int) -> Stop:
        """Execute from `start`; never past `until`, never more than `budget` instructions."""

    def stop_at(self, addresses: Iterable[int]) -> None:
        """End a run before the instruction at any of these addresses."""

    def registers(self) -> dict[str, int]:
        """Every register by its small name: the general ones, rip (eip), eflags, segments and bases, cr0 … cr4."""

    def read(self, name: str) -> int:
        """One register."""

    def write(self, name: str, value: int) -> None:
        """Set one register."""

    def write_many(self, values: Mapping[str, int]) -> None:
        """Set several."""

    def enter_kernel_segments(self, gdt: int, percpu: int) -> None:
        """Load the segment registers that kernel code has, from the descriptor table at `gdt` where they need one."""

    def set_percpu_base(self, percpu: int) -> None:
        """Set the base of the segment that leads to the CPU's own area, where it is no descriptor's."""

    def enter(self, values: Mapping[str, int]) -> None:
        """Set all general registers and eflags at once; what is not named becomes 0."""

    def enter_user(self, values: Mapping[str, int]) -> None:
        """Set the registers that user code has, and the segments of user mode."""

    def identify(self, leaves: Mapping[tuple[int, int], tuple[int, int, int, int]]) -> None:
        """What CPUID says: (leaf, subleaf) -> eax, ebx, ecx, edx. What is missing is 0."""

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """What CPUID says in eax, ebx, ecx, edx: as `identify` has it, or else the emulated CPU itself."""

    def save(self) -> object:
        """All of the CPU's state, the FPU's too, to be given to `restore`."""

    def restore(self, saved: object) -> None:
        """Put back what `save` returned."""

    def state(self) -> CpuState:
        """The registers that decide a fault."""

    def flush(self) -> None:
        """Forget every cached translation."""

    def forget_code(self) -> None:
        """Forget every translation of code into the host's: code was written from outside."""

    def reset_fpu(self) -> None:
        """Put the FPU into its initial state."""
