"""What a return value means, for the functions whose contract is known."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..arch import x86_64
from ..arch.architecture import Architecture

U64 = (1 << 64) - 1
ERRNO = (
    "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST "
    "EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE"
).split()
"""Error numbers from 1 on. Kernel: include/uapi/asm-generic/errno-base.h, v6.1."""
MAX_ERRNO = 4095
"""Kernel: include/linux/err.h MAX_ERRNO, v6.1."""

RESULT_IN_RCX = re.compile(r"__put_user_(nocheck_)?\d+|rep_(movs|stos)_alternative|clear_user_(original|rep_good|erms)")
"""
Routines whose result is in rcx. Kernel: arch/x86/lib/putuser.S, arch/x86/lib/clear_page_64.S, v6.1;
arch/x86/lib/copy_user_64.S, v6.12.
"""
BYTES_LEFT = re.compile(
    r"_*copy_(from|to|in)_user(_inatomic|_nocache|_flushcache)?|raw_copy_\w+|_*clear_user(_\w+)?|__copy_user_\w+|"
    r"copy_user_\w+|copy_mc_\w+|rep_(movs|stos)_alternative"
)
ERROR = re.compile(r"__(get|put)_user_(nocheck_)?\d+|(copy_(from|to)_(user|kernel)|strncpy_from_kernel)_nofault")


def signed(value: int, bits: int = 64) -> int:
    """The low `bits` of a register, as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def error_name(value: int) -> str:
    """The name (-EFAULT) of a negative error number that is in a register as an int or a long; else empty."""
    for bits in (64, 32):
        if value >> bits == 0 and -MAX_ERRNO <= (number := signed(value, bits)) < 0:
            return "-" + (ERRNO[-number - 1] if -number <= len(ERRNO) else f"errno {-number}")
    return ""


def number(value: int) -> int:
    """What a register says as a number: signed, also where an int was returned and its upper half is zero."""
    return signed(value, 32) if value >> 32 == 0 and error_name(value) else signed(value)


def result_register(function: str, form: Architecture = x86_64) -> str:
    """The register in which a function leaves its result: rax (eax), but for a few routines."""
    return form.pt_regs["cx" if RESULT_IN_RCX.fullmatch(function) else "ax"]


def meaning(function: str, value: int, arguments: Mapping[str, int]) -> str:
    """
    What `value` says when `function` returns it; empty if we do not know. `arguments` are the registers at the call.
    """
    error = error_name(value)
    if BYTES_LEFT.fullmatch(function):
        cleared = "clear" in function or "stos" in function
        verb = "cleared" if cleared else "copied"
        return f"{value} bytes not {verb}" if value else f"everything was {verb}"
    if function in ("strncpy_from_user", "strncpy_from_kernel_nofault") and not error:
        full = value == arguments.get("rdx")
        return f"{value} bytes copied, and no NUL among them" if full else f"a string of {value} bytes"
    if function in ("strnlen_user", "strnlen_user_nofault"):
        if not value:
            return "the string cannot be read"
        limit = arguments.get("rsi", U64)
        return f"no NUL within {limit} bytes" if value > limit else f"{value} bytes with the final NUL"
    if function == "read_zero" and not error:
        return f"{value} bytes cleared"
    if ERROR.fullmatch(function) and not value:
        return "no error"
    return error
