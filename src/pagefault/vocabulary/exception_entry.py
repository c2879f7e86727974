"""One entry of the exception table, decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExceptionEntry:
    """
    `index` is the place in the table, `address` where the entry itself lies. The instruction at `insn` may fault; the
    CPU then goes on at `fixup`, after the handler `type` has done its work. `type` is the kernel's name in small
    letters (`uaccess`, `ucopy_len`, …); `number` is the raw type number, or the handler's address in the eras that had
    functions. `register`, `flags` and `immediate` are x86's data fields of 5.17 and later. `fields` are the data fields
    that the type uses, named and in words, on every architecture: (("reg", "rax"), ("imm", "-14")).
    """

    index: int
    address: int
    insn: int
    fixup: int
    type: str = "default"
    number: int = 0
    register: str | None = None
    flags: tuple[str, ...] = ()
    immediate: int = 0
    fields: tuple[tuple[str, str], ...] = ()
