"""Bad pointers from user space: the exception table turns each into an error code."""

from __future__ import annotations

from ..vocabulary.address import PAGE
from .stage import Stage, scene

BAD_POINTER = "a bad user pointer"
NOWHERE = 0x1000
"""A user address that nothing is mapped at, below mmap_min_addr."""
TEXT = b"the quick brown fox jumps over the lazy dog "


def two_pages(stage: Stage, *, hole: bool = True, protection: str = "rw") -> int:
    """
    Two user pages full of text, the second one unmapped again if there is to be a hole; returns the first one's end.
    """
    start = stage.user.mmap(2 * PAGE, protection=protection, content=TEXT * (2 * PAGE // len(TEXT)), name="[buffer]")
    if hole:
        stage.user.munmap(start + PAGE, PAGE)
    return start + PAGE


def kernel_address(stage: Stage) -> int:
    """An address of the kernel's that user space must not get at."""
    return stage.machine.kmalloc(64, b"secret")


@scene("copy-from-user", "copy_from_user() from a bad pointer", BAD_POINTER)
def copy_from_user(stage: Stage) -> None:
    """
    The contract: the return value is the number of bytes *not* copied, and what was not copied is zeroed in the
    destination. Nothing is ever copied from a kernel address: up to 6.11 the range check refuses it before any access;
    later kernels move such a pointer to the page at the end of user space, where nothing can be mapped, and let it
    fault.
    """
    end, dst = two_pages(stage), stage.machine.kmalloc(64, b"\xff" * 64)
    stage.call("64 bytes that begin 40 bytes before a hole", "_copy_from_user", dst, end - 40, 64)
    got = stage.machine.read(dst, 64)
    stage.after(f"dst holds 40 bytes of the user's, then {got[40:].count(0)} zeros.")
    stage.call("64 bytes from an address with nothing mapped", "_copy_from_user", dst, NOWHERE, 64)
    stage.call("64 bytes from a kernel address", "_copy_from_user", dst, kernel_address(stage), 64)


@scene("copy-to-user", "copy_to_user() to a bad pointer", BAD_POINTER)
def copy_to_user(stage: Stage) -> None:
    """The same in the other direction; a page without write permission is as good as none, present or not."""
    end, src = two_pages(stage), stage.machine.kmalloc(64, TEXT)
    stage.call("64 bytes that begin 40 bytes before a hole", "_copy_to_user", end - 40, src, 64)
    stage.call("64 bytes to an address with nothing mapped", "_copy_to_user", NOWHERE, src, 64)
    stage.call("64 bytes to a kernel address", "_copy_to_user", kernel_address(stage), src, 64)
    read_only = two_pages(stage, hole=False)
    stage.user.mprotect(read_only - PAGE, PAGE, "r")
    stage.call("64 bytes to a page that is there, but read-only", "_copy_to_user", read_only - PAGE, src, 64)


@scene("get-user", "get_user() from a bad pointer", BAD_POINTER)
def get_user(stage: Stage) -> None:
    """
    __get_user_4() has a calling convention of its own: the pointer comes in rax, the error leaves in rax and the value
    in rdx, zeroed on failure.
    """
    end = two_pages(stage)
    stage.call("four bytes of a good page", "__get_user_4", rax=end - 4)
    stage.call("four bytes where nothing is mapped", "__get_user_4", rax=NOWHERE)
    stage.call("eight bytes that run four bytes into a hole", "__get_user_8", rax=end - 4)
    stage.call("four bytes of a kernel address", "__get_user_4", rax=kernel_address(stage))


@scene("put-user", "put_user() to a bad pointer", BAD_POINTER)
def put_user(stage: Stage) -> None:
    """__put_user_4() takes the pointer in rcx and the value in rax, and leaves the error in rcx."""
    end = two_pages(stage)
    stage.call("four bytes where nothing is mapped", "__put_user_4", rcx=NOWHERE, rax=42)
    stage.user.mprotect(end - PAGE, PAGE, "r")
    stage.call("four bytes to a read-only page", "__put_user_4", rcx=end - PAGE, rax=42)
    stage.call("four bytes to a kernel address", "__put_user_4", rcx=kernel_address(stage), rax=42)


@scene("clear-user", "clear_user() of a bad pointer", BAD_POINTER)
def clear_user(stage: Stage) -> None:
    """
    Zeroes user memory and returns the number of bytes it could not reach. A kernel that inlines it everywhere is asked
    through the read() of /dev/zero, which does nothing else and returns the bytes it did reach.
    """
    end = two_pages(stage)
    clear(stage, "64 bytes that begin 40 bytes before a hole", end - 40, 64)
    stage.after(f"The page's last 40 bytes are {'' if stage.user.read(end - 40, 40) == bytes(40) else 'not '}all zero.")
    clear(stage, "64 bytes where nothing is mapped", NOWHERE, 64)
    stage.user.mprotect(end - PAGE, PAGE, "r")
    clear(stage, "64 bytes of a read-only page", end - PAGE, 64)
    clear(stage, "64 bytes of a kernel address", kernel_address(stage), 64)


def clear(stage: Stage, text: str, address: int, length: int) -> None:
    if stage.has("clear_user"):
        stage.call(text, "clear_user", address, length)
    else:
        stage.call(f"{text}, by /dev/zero's read()", "read_zero", stage.machine.kmalloc(512), address, length, 0)


@scene("strncpy-from-user", "strncpy_from_user() from a bad pointer", BAD_POINTER)
def strncpy_from_user(stage: Stage) -> None:
    """
    Reads a word at a time, and byte by byte once a word cannot be read: a string that ends just before a hole is fine,
    one that runs into it is -EFAULT.
    """
    end, dst = two_pages(stage), stage.machine.kmalloc(64)
    stage.user.write(end - 6, b"/etc/\0")
    stage.call("a string that ends with the page", "strncpy_from_user", dst, end - 6, 64)
    stage.after(f"dst holds {stage.machine.read(dst, 6)!r}.")
    stage.user.write(end - 6, b"/etc/x")
    stage.call("a string that runs into the hole", "strncpy_from_user", dst, end - 6, 64)
    stage.call("a string where nothing is mapped", "strncpy_from_user", dst, NOWHERE, 64)
    stage.call("a string at a kernel address", "strncpy_from_user", dst, kernel_address(stage), 64)


@scene("strnlen-user", "strnlen_user() of a bad pointer", BAD_POINTER)
def strnlen_user(stage: Stage) -> None:
    """Returns the length with the final NUL, more than the limit if there is none within it, and 0 on a fault."""
    end = two_pages(stage)
    stage.user.write(end - 6, b"/etc/\0")
    stage.call("a string that ends with the page", "strnlen_user", end - 6, 64)
    stage.user.write(end - 6, b"/etc/x")
    stage.call("a string that runs into the hole", "strnlen_user", end - 6, 64)
    stage.call("a string where nothing is mapped", "strnlen_user", NOWHERE, 64)
    stage.call("a string at a kernel address", "strnlen_user", kernel_address(stage), 64)
