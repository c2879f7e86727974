"""
User memory as a system call reaches it: by the booted image's own code, with real faults and the real exception table.

Each method runs the kernel's routine of that name in the current process and gives back what its caller would see.
A count "left" is of bytes that were not reached; 0 is success. A pointer into the kernel's half is refused by the
image's own range check, without a fault; 6.12's __get_user_N(), __put_user_N() and strings turn it into one to where
nothing can be (the end of the user's half, the last byte of all), and fault there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import DidNotReturn
from ..vocabulary.address import PAGE
from .event import Returned

if TYPE_CHECKING:
    from .machine import Machine

SMALLEST_BUFFER = 256
IOVEC = struct.Struct("<QQ")
"""Kernel: include/uapi/linux/uio.h struct iovec, v6.1: base, length."""
UIO_MAXIOV = 1024
"""Kernel: include/uapi/linux/uio.h UIO_MAXIOV, v6.1."""


class UserAccess:
    """
    The user copies of one machine.

    The image chooses its routines for the CPU when it boots. What the recordings in `lab/` show is chosen by erms
    without fsrm and fsrs (DEFAULT_FEATURES, with la57 for five levels): copy_user_enhanced_fast_string, from there
    copy_user_short_string below 64 bytes, and clear_user_erms in 6.1; rep_movs_alternative and rep_stos_alternative in
    6.12.

    `charge` is called before each of them with the number of bytes that it is to copy, and may raise what ends the
    system call.

    Errors: DidNotReturn if the kernel's code did not come back: an oops, or no progress.
    """

    def __init__(self, machine: Machine, charge: Callable[[int], None] = lambda _: None) -> None:
        self.machine, self._charge = machine, charge
        self._free: dict[int, list[int]] = {}
        self._has_clear_user = machine.symbols.get("clear_user") is not None

    def run(
        self, function: str, *arguments: int, pagefault_disabled: bool = False, size: int = 0, **registers: int
    ) -> dict[str, int]:
        """Call a routine that copies `size` bytes, and return the registers it leaves."""
        self._charge(size)
        result = self.machine.run(
            function, *arguments, user_access=False, pagefault_disabled=pagefault_disabled, **registers
        )
        if isinstance(result.end, Returned):
            return result.registers
        raise DidNotReturn(result.function, self.machine.why(result), result=result)

    def call(self, function: str, *arguments: int, pagefault_disabled: bool = False, size: int = 0) -> int:
        """Call a function and return its value as a signed number: a length, or a negative errno."""
        return signed(self.run(function, *arguments, pagefault_disabled=pagefault_disabled, size=size)["rax"], 64)

    @contextmanager
    def buffer(self, size: int) -> Iterator[int]:
        """
        Kernel memory for one access. A task may sleep in a fault and another one copy meanwhile, so nobody else gets
        it until it is given back.
        """
        room = max(SMALLEST_BUFFER, 1 << max(0, size - 1).bit_length())
        free = self._free.setdefault(room, [])
        address = free.pop() if free else self.machine.kmalloc(room)
        try:
            yield address
        finally:
            free.append(address)

    def copy_from_user(self, source: int, length: int) -> tuple[bytes, int]:
        """
        What could be read, and how many bytes are left.

        Kernel: lib/usercopy.c _copy_from_user(), v6.1, v6.12.
        """
        with self.buffer(length) as to:
            left = self.call("_copy_from_user", to, source, length, size=length)
            return self.machine.read(to, length - left), left

    def copy_to_user(self, to: int, data: bytes) -> int:
        """
        Write to user memory; returns the bytes left. What comes before a fault is written.

        Kernel: lib/usercopy.c _copy_to_user(), v6.1, v6.12.
        """
        with self.buffer(len(data)) as source:
            self.machine.write(source, data)
            return self.call("_copy_to_user", to, source, len(data), size=len(data))

    def copy_kernel_to_user(self, to: int, source: int, length: int) -> int:
        """
        The same from memory that the kernel has at `source`: of one round of a copy out of a page.

        Kernel: lib/iov_iter.c copyout() (v6.1), copy_to_user_iter() (v6.12): they inline _copy_to_user()'s check and
        call the same copy routine.
        """
        return self.call("_copy_to_user", to, source, length, size=length)

    def copy_user_to_kernel(self, to: int, source: int, length: int, *, atomic: bool = False) -> int:
        """
        Copy to `to` in the kernel, and leave alone what is there beyond the bytes copied; returns the bytes left.
        `atomic` brings no page in, as between kmap_atomic() and kunmap_atomic().

        Kernel: lib/iov_iter.c copyin() (v6.1), copy_from_user_iter() (v6.12).
        Differs: the kernel calls the copy routine without _copy_from_user() around it, which ends the buffer with
        zeros; those are taken back here.
        """
        before = self.machine.read(to, length)
        left = self.call("_copy_from_user", to, source, length, pagefault_disabled=atomic, size=length)
        if left:
            self.machine.write(to + length - left, before[length - left :])
        return left

    def fault_in_readable(self, pointer: int, size: int) -> int:
        """
        Read a byte of each page, to bring them in; returns the bytes left.

        Kernel: mm/gup.c fault_in_readable(), v6.1, v6.12.
        """
        return self.call("fault_in_readable", pointer, size)

    def fault_in_writeable(self, pointer: int, size: int) -> int:
        """
        Write a zero to each page, to bring them in for writing; returns the bytes left.

        Kernel: mm/gup.c fault_in_writeable(), v6.1, v6.12.
        """
        return self.call("fault_in_writeable", pointer, size)

    def get_user(self, pointer: int, size: int, *, checked: bool = True) -> int | None:
        """
        A number of 1, 2, 4 or 8 bytes; None for -EFAULT. Not `checked` is __get_user(): the caller has checked the
        range.

        Kernel: arch/x86/lib/getuser.S __get_user_4(), __get_user_nocheck_4(), v6.1, v6.12.
        """
        registers = self.run(f"__get_user_{size}" if checked else f"__get_user_nocheck_{size}", rax=pointer)
        return None if signed(registers["rax"], 32) else registers["rdx"]

    def put_user(self, pointer: int, value: int, size: int, *, checked: bool = True) -> bool:
        """
        Write a number of 1, 2, 4 or 8 bytes; False for -EFAULT.

        Kernel: arch/x86/lib/putuser.S __put_user_4(), __put_user_nocheck_4(), v6.1, v6.12.
        """
        function = f"__put_user_{size}" if checked else f"__put_user_nocheck_{size}"
        return signed(self.run(function, rcx=pointer, rax=value)["rcx"], 32) == 0

    def strncpy_from_user(self, pointer: int, count: int) -> bytes | int:
        """
        A string without its NUL; `count` bytes of it if it has no NUL in so many; or the negative errno.

        Kernel: lib/strncpy_from_user.c strncpy_from_user(), v6.1, v6.12.
        """
        with self.buffer(count) as to:
            length = self.call("strncpy_from_user", to, pointer, count)
            return length if length < 0 else self.machine.read(to, length)

    def strnlen_user(self, pointer: int, count: int) -> int:
        """
        The length of a string with its NUL; more than `count` if it has none in so many bytes; 0 where it cannot be
        read.

        Kernel: lib/strnlen_user.c strnlen_user(), v6.1, v6.12.
        """
        return self.call("strnlen_user", pointer, count)

    def clear_user(self, to: int, length: int) -> int:
        """
        Zero user memory; returns the bytes left.

        Kernel: arch/x86/include/asm/uaccess_64.h clear_user(), v6.1, v6.12: inlined wherever it is used. The code that
        runs is that in /dev/zero's read_zero() (drivers/char/mem.c), which adds only a round for each 4096 bytes.
        """
        if self._has_clear_user:
            return self.call("clear_user", to, length, size=length)
        cleared = self.call("read_zero", 0, to, length, 0, size=length)
        return length - max(cleared, 0)

    def copy_iovec_from_user(self, pointer: int, count: int) -> list[tuple[int, int]] | int:
        """
        An array of struct iovec as (base, length) pairs, or -EFAULT, or -EINVAL for a negative length or more than
        1024 of them.

        Kernel: lib/iov_iter.c iovec_from_user(), copy_iovec_from_user(), v6.1, v6.12. The first copies the array in one
        go, the second reads each length, then its base.
        """
        with self.buffer(min(count, UIO_MAXIOV) * IOVEC.size) as to:
            result = self.call("iovec_from_user", pointer, count, count, to, 0)
            if -PAGE < result < 0:
                return result
            return list(IOVEC.iter_unpack(self.machine.read(to, count * IOVEC.size)))


def signed(value: int, bits: int) -> int:
    """The low `bits` of a register as a number in two's complement."""
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)
