"""
`current`: the task_struct that the kernel's code finds through its per-CPU area, and the few fields of it that matter
to a fault.

Where the fields lie is read from the image's BTF. An image without BTF runs all the same, but then has no
pagefault_disabled and no mm that its code could see.
"""

from __future__ import annotations

from ..arch.x86 import PHYSICAL_MASK
from ..errors import Absent
from ..images.vmlinux import Vmlinux
from ..memory.ram import Ram
from ..vocabulary.address import PAGE
from .boot import PREEMPT_ENABLED, Booted
from .process import Task

THREAD_SIZE = {64: 4 * PAGE, 32: 2 * PAGE}
"""Kernel: arch/x86/include/asm/page_64_types.h (without KASAN), page_32_types.h THREAD_SIZE, v6.1."""
STACK_END_MAGIC = 0x57AC6E9D
"""Kernel: include/uapi/linux/magic.h STACK_END_MAGIC, v6.1."""


class Tasks:
    """Makes tasks, and reads and writes the current one's fields in guest memory."""

    def __init__(self, booted: Booted) -> None:
        self._booted = booted
        self._image: Vmlinux = booted.image
        self._ram: Ram = booted.ram
        self._word, self._mask = booted.form.bits // 8, (1 << booted.form.bits) - 1
        self._fields = {name: self._offset("task_struct", name) for name in FIELDS}
        self._current = self._per_cpu("current_task", "current_task")
        self._preempt_count = self._per_cpu("__preempt_count", "preempt_count")
        self._loaded_mm = self._member_of("cpu_tlbstate", "tlb_state", "loaded_mm")
        self._pids = 0

    def new(self, root: int, comm: str) -> Task:
        """
        A task with a kernel stack of its own, and an mm whose pgd is `root`. The stack is in vmalloc space on x86-64
        only (Kernel: arch/x86/Kconfig HAVE_ARCH_VMAP_STACK, v6.1).
        """
        memory, size = self._booted.memory, THREAD_SIZE[self._booted.form.bits]
        low = memory.vmalloc(size) if self._booted.form.bits == 64 else memory.kmalloc(size)
        self._write(low, STACK_END_MAGIC.to_bytes(self._word, "little"))
        self._pids += 1
        address = self._copy_of_init_task()
        mm = memory.kmalloc(self._size("mm_struct", 4096))
        task = Task(address, mm, (low, low + size), comm[:15], self._pids, self._at(low + size - PAGE))
        pgd = self._offset("mm_struct", "pgd")
        if pgd is not None:
            self._write(mm + pgd, (self._booted.area.page_offset + root).to_bytes(self._word, "little"))
        for name, value in (("stack", low), ("mm", mm), ("active_mm", mm)):
            self._set(task, name, value, self._word)
        self._set(task, "pid", task.pid, 4)
        self._set(task, "tgid", task.pid, 4)
        if (offset := self._fields["comm"]) is not None:
            self._write(address + offset, task.comm.encode("utf-8", "replace")[:15].ljust(16, b"\0"))
        return task

    def frames_needed(self) -> int:
        """
        How many frames a new process takes at most: what `new` allocates, a top-level table, and a table at each level
        for where the stack is mapped.
        """
        structures = self._size("task_struct", 2 * PAGE), self._size("mm_struct", 4096)
        sizes = (*structures, THREAD_SIZE[self._booted.form.bits])
        return sum(1 << (-(-size // PAGE) - 1).bit_length() for size in sizes) + 1 + len(self._booted.tables.levels)

    def free(self, task: Task) -> None:
        """
        A task that ended gives its memory back; it must not be the current one.

        Kernel: kernel/fork.c free_task(), free_thread_stack(), __mmdrop(), v6.1.
        """
        memory = self._booted.memory
        (memory.vfree if self._booted.form.bits == 64 else memory.kfree)(task.stack[0])
        memory.kfree(task.mm)
        memory.kfree(task.address)

    def make_current(self, task: Task) -> None:
        """Let the kernel's code find this task, at rest: faults enabled, preemption enabled."""
        if self._current is not None:
            self._ram.write_entry(self._current, task.address, self._word)
        if self._loaded_mm is not None:
            self._ram.write_entry(self._loaded_mm, task.mm, self._word)
        self._set(task, "pagefault_disabled", 0, 4)
        if self._preempt_count is not None:
            self._ram.write(self._preempt_count, PREEMPT_ENABLED.to_bytes(4, "little"))

    def pagefault_disable(self, task: Task) -> None:
        """
        Let no user page be brought in until the task is made current again.

        Kernel: include/linux/uaccess.h pagefault_disable(), v6.1; an image that does not say where its counter is gets
        what kmap_atomic() adds to it, a preempt count (include/linux/highmem-internal.h, v6.1).
        """
        if self._fields["pagefault_disabled"] is not None:
            self._set(task, "pagefault_disabled", 1, 4)
        elif self._preempt_count is not None:
            self._ram.write(self._preempt_count, (PREEMPT_ENABLED + 1).to_bytes(4, "little"))

    def faulthandler_disabled(self, task: Task) -> bool:
        """
        Kernel: include/linux/uaccess.h faulthandler_disabled(): pagefault_disabled() || in_atomic(), v6.1.
        """
        offset = self._fields["pagefault_disabled"]
        if offset is not None and self._read_u32(self._physical(task.address + offset)):
            return True
        count = None if self._preempt_count is None else self._read_u32(self._preempt_count)
        return count is not None and bool(count & ~PREEMPT_ENABLED)

    def field(self, task: Task, name: str) -> int:
        """The linear address of a field of this task; Absent if the image does not say where it is."""
        offset = self._fields[name]
        if offset is None:
            raise Absent(f"BTF for task_struct.{name}", where=str(self._image.path))
        return task.address + offset

    def _copy_of_init_task(self) -> int:
        size = self._size("task_struct", 2 * PAGE)
        address = self._booted.memory.kmalloc(size)
        template = self._image.symbols.get("init_task")
        if template is not None:
            self._write(address, self._ram.read(self._image.physical(template), size) or b"")
        return address

    def _per_cpu(self, symbol: str, member: str) -> int | None:
        """
        The physical address of a per-CPU variable of its own, or of its place in pcpu_hot.

        Since Linux kernel commit e57ef2ed97c1 ("x86: Put hot per CPU variables into a struct") (in v6.2), these live in
        one structure.
        """
        address = self._image.symbols.get(symbol)
        if address is None:
            return self._member_of("pcpu_hot", "pcpu_hot", member)
        return self._physical(self._booted.percpu + address & self._mask)

    def _member_of(self, symbol: str, structure: str, member: str) -> int | None:
        """The physical address of a member of a per-CPU structure; None if this kernel has no such thing."""
        address, offset = self._image.symbols.get(symbol), self._offset(structure, member)
        if address is None or offset is None:
            return None
        return self._physical(self._booted.percpu + address + offset & self._mask)

    def _offset(self, structure: str, member: str) -> int | None:
        try:
            return self._image.layout.offset(structure, member)
        except Absent:
            return None

    def _size(self, structure: str, otherwise: int) -> int:
        try:
            return self._image.layout.size(structure)
        except Absent:
            return otherwise

    def _physical(self, address: int) -> int:
        """Of an address in the direct map."""
        return address - self._booted.area.page_offset

    def _read_u32(self, physical: int) -> int:
        return int.from_bytes(self._ram.read(physical, 4) or b"", "little")

    def _set(self, task: Task, name: str, value: int, size: int) -> None:
        offset = self._fields[name]
        if offset is not None:
            self._write(task.address + offset, value.to_bytes(size, "little"))

    def _write(self, address: int, data: bytes) -> None:
        self._ram.write(self._at(address), data)

    def _at(self, address: int) -> int:
        """The physical address of a kernel address in the direct map or in vmalloc space."""
        area = self._booted.area
        if area.vmalloc_start <= address < area.vmalloc_end:
            return (self._booted.memory.entry(address).value & PHYSICAL_MASK) + address % PAGE
        return self._physical(address)


FIELDS = ("stack", "mm", "active_mm", "pagefault_disabled", "pid", "tgid", "comm")
