"""
The Linux kernel's page-fault path, executable.

    from pagefault import PAGE, Machine

    machine = Machine.boot("vmlinux")
    src = machine.user.mmap(length=2 * PAGE, populate=True)
    machine.user.munmap(src + PAGE, PAGE)
    left = machine.call("_copy_from_user", machine.kmalloc(64), src + PAGE - 40, 64)      # 24
    machine.faults[-1]                                                                    # FixedUp(entry=…, landing=…)

    execution = execute("./hello", kernel="vmlinux")           # a static program, with all its page faults
    [fault.action for fault in execution.log]                  # ['mapped with 3 neighbours', 'own page', …]

What brings in the CPU emulator or numpy is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import Absent, BadInput, DidNotReturn, PagefaultError, Unsupported
from .vocabulary.address import PAGE
from .vocabulary.exception_entry import ExceptionEntry
from .vocabulary.outcome import FixedUp, Oops, Outcome, OutOfMemory, Resolved, Retry, Signal, Spurious

if TYPE_CHECKING:
    from .images.open_image import open_image
    from .images.vmlinux import Vmlinux
    from .machine.machine import Machine
    from .syscalls.execution import Execution, GivenFile, execute

__version__ = "0.1.0"
__all__ = [
    "PAGE",
    "Absent",
    "BadInput",
    "DidNotReturn",
    "ExceptionEntry",
    "Execution",
    "FixedUp",
    "GivenFile",
    "Machine",
    "Oops",
    "OutOfMemory",
    "Outcome",
    "PagefaultError",
    "Resolved",
    "Retry",
    "Signal",
    "Spurious",
    "Unsupported",
    "Vmlinux",
    "__version__",
    "execute",
    "open_image",
]
LATER = {
    "Execution": ".syscalls.execution",
    "GivenFile": ".syscalls.execution",
    "Machine": ".machine.machine",
    "Vmlinux": ".images.vmlinux",
    "execute": ".syscalls.execution",
    "open_image": ".images.open_image",
}


def __getattr__(name: str) -> Any:
    """Import what is expensive on first use."""
    if name in LATER:
        return getattr(import_module(LATER[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
