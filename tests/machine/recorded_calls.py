"""
A recording's system calls again, as far as they touch user memory: the copies that Linux makes, by `UserAccess`.

The program does not run. Its memory is laid out as the recording says (file mappings as anonymous memory), what it
touched itself is brought in, and each system call makes its accesses to it. Nothing is opened: a file is a length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from errno import EFAULT

from lab.recording import Enter, Fault, Fork, Leave, Recording

from pagefault import PAGE, Machine
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_futex import FutexAccess
from pagefault.machine.user_access_iter import IovIter

RECORDED_CPU = frozenset({"nx", "smep", "smap", "rep_good", "erms", "la57", "xsave", "pku", "ospke"})
"""What of QEMU's -cpu max the kernel's user accesses are chosen by."""
EMBEDDED_NAME_MAX = 4096 - 32
DATA_SIZE = 64 * PAGE + 100
MAP_ANONYMOUS, MAP_GROWSDOWN, MADV_DONTNEED = 0x20, 0x100, 4
FIRST_MMAP = 0x1000_0000
"""The programs' own areas lie below what they map (lab/programs/lab.h CLEAR)."""
TO_USER = {"getrlimit": (1, 16), "clock_gettime": (1, 16), "getrusage": (1, 144), "uname": (0, 390), "pipe": (0, 8)}
"""System calls that fill one structure: the argument that points to it, and its size."""
FROM_USER = {"setrlimit": (1, 16), "nanosleep": (0, 16)}
Step = tuple[int, int, str]
Transfer = Callable[[int, list[tuple[int, int]], int], int | None]


@dataclass
class Replay:
    """One process on one machine. `files` says of each descriptor what it is: data, out, zero or null."""

    machine: Machine
    files: dict[int, str]
    chunk: int
    """How much write(2) brings in at once: a page, or what the file's largest folio holds."""
    before: Callable[[Enter], None] = lambda call: None
    """Is told of each system call that comes: to write what the program wrote and no fault tells of."""
    positions: dict[int, int] = field(default_factory=dict)
    access: UserAccess = field(init=False)
    futexes: FutexAccess = field(init=False)
    page_cache: int = field(init=False)

    def __post_init__(self) -> None:
        self.access = UserAccess(self.machine)
        self.futexes = FutexAccess(self.access)
        self.page_cache = self.machine.kmalloc(128 * PAGE)

    def compare(self, recording: Recording) -> Iterator[tuple[Enter, list[Step], list[Step], int | None, int]]:
        """Of each system call that we know: the call, its faults there and here, its result here and there."""
        self._image(recording)
        entered: Enter | None = None
        recorded: list[Step] = []
        for event in recording.events:
            match event:
                case Fork():
                    return
                case Enter():
                    entered, recorded = event, []
                case Fault(kernel=False, results=results) if results:
                    self._touch(event.address, write=bool(event.error_code & 2))
                case Fault(kernel=True) if entered:
                    recorded.append((event.address, event.error_code, event.symbol))
                case Leave(result=result) if entered:
                    if entered.name == "mmap" and not entered.arguments[3] & MAP_ANONYMOUS:
                        return
                    if not self._changes_memory(entered, result):
                        self.before(entered)
                        known, value, here = self.call(entered)
                        if known:
                            yield entered, recorded, here, value, result
                    entered = None

    def call(self, call: Enter) -> tuple[bool, int | None, list[Step]]:
        """Do we know this system call, what does it return (None: we cannot say), and which faults did it take?"""
        self.machine.events.clear()
        method: Callable[..., int | None] | None = getattr(self, f"_{call.name}", None)
        if call.name in TO_USER:
            argument, size = TO_USER[call.name]
            value: int | None = self._all(self.access.copy_to_user(call.arguments[argument], bytes(size)))
        elif call.name in FROM_USER:
            argument, size = FROM_USER[call.name]
            value = self._all(self.access.copy_from_user(call.arguments[argument], size)[1])
        elif method is not None:
            value = method(*call.arguments)
        else:
            return False, None, []
        return True, value, steps(self.machine)

    def _image(self, recording: Recording) -> None:
        """The program's own areas, which execve made."""
        for line in recording.vmas:
            span, rights, _, *name = line.split(" |")[0].split(" ")
            start, end = (int(word, 16) for word in span.split("-"))
            if start < FIRST_MMAP or name == ["[stack]"]:
                self.machine.user.mmap(end - start, address=start, protection=rights[:3].replace("-", ""))
            if name == ["[stack]"]:
                self._touch(end - PAGE, write=True)

    def _touch(self, address: int, *, write: bool) -> None:
        user = self.machine.user
        if write:
            user.write(address, user.read(address, 1))
        user.read(address, 1)

    def _changes_memory(self, call: Enter, result: int) -> bool:
        user, arguments = self.machine.user, call.arguments
        if call.name == "mmap":
            user.mmap(arguments[1], address=result, protection=letters(arguments[2]))
        elif call.name == "munmap":
            user.munmap(*arguments)
        elif call.name == "mprotect":
            user.mprotect(arguments[0], arguments[1], letters(arguments[2]))
        elif call.name == "madvise" and arguments[2] == MADV_DONTNEED:
            start, end = arguments[0], arguments[0] + arguments[1]
            for vma in list(user.mm.vmas.overlapping(start, end)):
                low, high = max(start, vma.start), min(end, vma.end)
                rights = "r" * vma.read + "w" * vma.write + "x" * vma.execute
                user.mmap(high - low, address=low, protection=rights)
        else:
            return False
        return True

    def _all(self, left: int) -> int:
        return -EFAULT if left else 0

    def _path(self, pointer: int) -> int | None:
        """getname(): what the path then leads to, we cannot say."""
        name = self.access.strncpy_from_user(pointer, EMBEDDED_NAME_MAX)
        if isinstance(name, bytes) and len(name) == EMBEDDED_NAME_MAX:
            name = self.access.strncpy_from_user(pointer, PAGE)
        return name if isinstance(name, int) else None

    def _open(self, path: int, *_: int) -> int | None:
        return self._path(path)

    _access = _open

    def _execve(self, path: int, argv: int, _: int) -> int | None:
        value = self._path(path)
        if value is None and argv:
            value = -EFAULT if self.access.get_user(argv, 8) is None else None
        return value

    def _stat(self, path: int, statbuf: int) -> int | None:
        return self._path(path) or self._all(self.access.copy_to_user(statbuf, bytes(144)))

    def _rt_sigaction(self, _: int, new: int, old: int, __: int) -> int:
        if new and self.access.copy_from_user(new, 32)[1]:
            return -EFAULT
        return self._all(self.access.copy_to_user(old, bytes(32))) if old else 0

    def _mincore(self, _: int, length: int, vector: int) -> int:
        return self._all(self.access.copy_to_user(vector, bytes(length // PAGE)))

    def _read(self, fd: int, buffer: int, length: int) -> int | None:
        return self._at_position(fd, self._read_file, [(buffer, length)])

    def _pread64(self, fd: int, buffer: int, length: int, at: int) -> int:
        return self._read_file(fd, [(buffer, length)], at)

    def _write(self, fd: int, buffer: int, length: int) -> int | None:
        return self._at_position(fd, self._write_file, [(buffer, length)])

    def _pwrite64(self, fd: int, buffer: int, length: int, at: int) -> int | None:
        return self._write_file(fd, [(buffer, length)], at)

    def _readv(self, fd: int, vector: int, count: int) -> int | None:
        segments = self.access.copy_iovec_from_user(vector, count)
        return segments if isinstance(segments, int) else self._at_position(fd, self._read_file, segments)

    def _writev(self, fd: int, vector: int, count: int) -> int | None:
        segments = self.access.copy_iovec_from_user(vector, count)
        return segments if isinstance(segments, int) else self._at_position(fd, self._write_file, segments)

    def _at_position(self, fd: int, transfer: Transfer, segments: list[tuple[int, int]]) -> int | None:
        at = self.positions.setdefault(fd, 0)
        done = transfer(fd, segments, at)
        self.positions[fd] = at + max(done or 0, 0)
        return done

    def _in_user_half(self, segments: list[tuple[int, int]]) -> bool:
        return all(base + length <= self.machine.area.task_size_max for base, length in segments)

    def _read_file(self, fd: int, segments: list[tuple[int, int]], at: int) -> int:
        """Kernel: mm/shmem.c shmem_file_read_iter(), drivers/char/mem.c read_zero(), v6.1."""
        if not self._in_user_half(segments):
            return -EFAULT
        to, done = IovIter(self.access, segments), 0
        while to.count:
            zero = self.files[fd] == "zero"
            size = min(PAGE if zero else PAGE - at % PAGE, to.count if zero else DATA_SIZE - at)
            size = min(size, to.count)
            if size <= 0:
                break
            copied = to.zero(size) if zero else to.copy_page_to(self.page_cache + at, size)
            done, at = done + copied, at + copied
            if copied < size:
                return done or -EFAULT
        return done

    def _write_file(self, fd: int, segments: list[tuple[int, int]], at: int) -> int | None:
        """Kernel: mm/filemap.c generic_perform_write(), v6.1, v6.12."""
        if fd not in self.files:
            return None
        if not self._in_user_half(segments):
            return -EFAULT
        source, done = IovIter(self.access, segments), 0
        if self.files[fd] == "null":
            return source.count
        while source.count:
            wanted = min(self.chunk - at % self.chunk, source.count)
            if source.fault_in_readable(wanted) == wanted:
                return done or -EFAULT
            copied = source.copy_page_from_atomic(self.page_cache + at, min(wanted, PAGE - at % PAGE))
            done, at = done + copied, at + copied
        return done

    def _futex(self, word: int, operation: int, value: int, _: int, other: int, encoded: int) -> int | None:
        """Kernel: kernel/futex/waitwake.c futex_wait_setup(), futex_wake_op(), v6.1."""
        if operation == 0x80:
            seen = self.futexes.get_value(word)
            if seen is None:
                if self.access.get_user(word, 4) is None:
                    return -EFAULT
                seen = self.futexes.get_value(word)
            return -11 if seen != value else None
        if operation != 0x85:
            return None
        if self.futexes.atomic_op(encoded, other) == -EFAULT:
            vma = self.machine.user.mm.vmas.vma_lookup(other)
            if vma is None or not vma.write:
                return -EFAULT
            self._touch(other, write=True)
            assert self.futexes.atomic_op(encoded, other) in (0, 1)
        return 0


def letters(protection: int) -> str:
    return "".join(letter for bit, letter in enumerate("rwx") if protection >> bit & 1)


def steps(machine: Machine) -> list[Step]:
    """The faults since the events were last cleared, as a recording has them."""
    return [
        (event.fault.address or 0, event.fault.error_code, machine.symbols.format(event.fault.ip).rpartition("/")[0])
        for event in machine.events
    ]
