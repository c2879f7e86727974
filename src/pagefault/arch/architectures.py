"""Which form goes with a CPU's state, and with an image's platform. The only place that knows them all."""

from __future__ import annotations

from collections.abc import Container

from . import x86_32, x86_64
from .architecture import Architecture
from .x86 import EFER_LMA, CpuState

RUNNABLE: dict[str, Architecture] = {"x86_64": x86_64, "x86_32": x86_32}
"""The platforms (`platform.Platform.name`) whose code a machine can run, each with its form."""


def architecture_with(registers: Container[str]) -> Architecture:
    """The form whose registers these are: by the name of the first general one."""
    return next(form for form in RUNNABLE.values() if form.pt_regs["ax"] in registers)


def architecture_of(cpu: CpuState) -> Architecture:
    """
    Manual: Intel SDM vol. 3A, 4.1.1 (EFER.LMA tells 4-level and 5-level paging from 32-bit and PAE paging).
    """
    return x86_64 if cpu.efer & EFER_LMA else x86_32
