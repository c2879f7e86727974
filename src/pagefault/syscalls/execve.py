"""execve(): a task gets another program."""

from __future__ import annotations

from errno import E2BIG, EACCES, EFAULT, ENOENT, ENOEXEC, ENOMEM
from typing import TYPE_CHECKING

from ..arch import x86_64
from ..errors import BadInput
from ..fs.exec import MAX_ARG_STRLEN, Bprm, Layout, load_elf_binary, new_registers
from ..fs.program import Program, read_program
from ..machine.process import Process
from ..mm.memory import Memory
from ..mm.oom import room_for
from ..mm.pkeys import INIT_PKRU
from ..tables.inode import Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT
from .exit import drop_process, mm_release, wake_threads
from .names import getname
from .signal_sending import SIG_DFL, SIG_IGN, force_signal
from .table import system_call
from .task import SI_KERNEL, SIGSEGV, SigInfo, UserTask

if TYPE_CHECKING:
    from .system import System

Strings = list[bytes] | int
"""Strings of the kernel's, each with its NUL; or the address of an array of pointers to the user's."""


@system_call(59, "execve")
def execve(system: System, task: UserTask, path: int, argv: int, envp: int) -> int:
    """
    Kernel: fs/exec.c SYSCALL_DEFINE3(execve), v6.1.
    """
    name = getname(system, path)
    return name if isinstance(name, int) else exec_program(system, task, name, None, argv, envp)


def exec_program(system: System, task: UserTask, name: str, inode: Inode | None, argv: Strings, envp: Strings) -> int:
    """
    Give the task a new program: `inode`, or the one that has this name. 0, or -errno; once the old memory is gone an
    error is a SIGSEGV too.

    Kernel: fs/exec.c do_execveat_common(), bprm_execve(), v6.1.
    Differs: no scripts.
    """
    machine = system.machine
    if not room_for(machine.mm, task.process.mm, machine.tasks.frames_needed()):
        return -ENOMEM
    found: Inode | int = inode if inode is not None else -ENOENT
    if inode is None and machine.mm.rules.execve_opens_first:
        found = open_exec(system, name)
        if isinstance(found, int):
            return found
    limit = task.rlimits[3][0]
    process = machine.spawn(task.comm)
    mm, old = process.mm, task.process.mm
    mm.stack_rlimit, mm.rlimit_memlock = limit, old.rlimit_memlock
    mm.rlimit_as, mm.rlimit_data = old.rlimit_as, old.rlimit_data
    mm.cgroup, mm.thp_disabled = old.cgroup, old.thp_disabled
    bprm = Bprm(machine, process, Layout.make(machine.area.task_size_max, limit, system.seed))
    error = copy_strings(system, bprm, name, argv, envp, limit)
    if not error and isinstance(found, int):
        found = open_exec(system, name)
    program = None if error or isinstance(found, int) else program_of(machine.mm, found, name)
    if error or isinstance(found, int) or program is None:
        drop_process(system, process)
        return error or (found if isinstance(found, int) else -ENOEXEC)
    begin_new_exec(system, task, process, name)
    entry = load_elf_binary(bprm, system.access, program, found)
    if entry < 0:
        task.handlers[SIGSEGV] = (SIG_DFL, 0, 0, 0)
        force_signal(task, SigInfo(SIGSEGV, SI_KERNEL))
        return entry
    names = (*x86_64.GENERAL_REGISTERS, "fs_base", "gs_base")
    task.registers = new_registers(entry, bprm.p, names)
    machine.cpu.reset_fpu()
    return 0


def open_exec(system: System, name: str) -> Inode | int:
    """
    The program's file, or -errno.

    Kernel: fs/exec.c do_open_execat(); fs/namei.c generic_permission() (MAY_EXEC of root needs one x bit), v6.1.
    """
    inode = system.namespace.lookup(name)
    if inode is not None:
        return inode if inode.mode & 0o111 else -EACCES
    return -EACCES if system.namespace.is_directory(name) or system.namespace.is_device(name) else -ENOENT


class FileContent:
    """The bytes of a file as its pages are now; only what is looked at is brought into the page cache."""

    def __init__(self, memory: Memory, inode: Inode) -> None:
        self._memory, self._inode = memory, inode

    def __len__(self) -> int:
        return self._inode.size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._inode.size)
        first, last = start >> PAGE_SHIFT, -(-stop // PAGE)
        frames = (self._memory.page_cache_page(self._inode, index) for index in range(first, last))
        data = b"".join(self._memory.ram.read(frame, PAGE) or b"" for frame in frames)
        return data[start - first * PAGE : stop - first * PAGE]


def program_of(memory: Memory, inode: Inode, name: str) -> Program | None:
    """What the file's headers say, or None for -ENOEXEC."""
    try:
        return read_program(FileContent(memory, inode), name)
    except BadInput:
        return None


def copy_strings(system: System, bprm: Bprm, name: str, argv: Strings, envp: Strings, limit: int) -> int:
    """
    The file's name, the environment and the arguments, onto the new stack: 0, or -errno. An empty argument list gets
    one empty string.

    Kernel: fs/exec.c do_execveat_common(), count(), copy_strings(), v6.1.
    """
    most = max(limit // 4, MAX_ARG_STRLEN) // 8 + 1
    counts = []
    for strings in (argv, envp):
        number = len(strings) if isinstance(strings, list) else count(system, strings, most)
        if number < 0:
            return number
        counts.append(number)
    if bprm.set_limits(limit, max(counts[0], 1) + counts[1]):
        return -E2BIG
    bprm.filename = bprm.copy_string_kernel(name.encode("utf-8", "surrogateescape") + b"\0")
    if bprm.filename < 0:
        return bprm.filename
    for strings, number, into in ((envp, counts[1], bprm.environment), (argv, counts[0], bprm.arguments)):
        for index in reversed(range(number)):
            got = (
                bprm.copy_string_kernel(strings[index])
                if isinstance(strings, list)
                else copy_user_string(system, bprm, strings + 8 * index)
            )
            if got < 0:
                return got
            into.insert(0, got)
    if not bprm.arguments:
        bprm.arguments.append(bprm.copy_string_kernel(b"\0"))
    return min(0, bprm.arguments[0])


def count(system: System, pointer: int, most: int) -> int:
    """
    How many strings an array has, or -EFAULT; -E2BIG for more than can have room.

    Kernel: fs/exec.c count(), v6.1.
    Differs: it goes on to the array's end, or to its first page that is not there, before it says so.
    """
    number = 0
    while pointer:
        value = system.access.get_user(pointer + 8 * number, 8)
        if value is None:
            return -EFAULT
        if not value:
            break
        number += 1
        if number > most:
            return -E2BIG
    return number


def copy_user_string(system: System, bprm: Bprm, slot: int) -> int:
    """
    One string of the user's, to whose pointer `slot` points: where it is on the new stack, or -errno.

    Kernel: fs/exec.c copy_strings(), v6.1.
    """
    access, direct_map = system.access, system.machine.area.page_offset
    pointer = access.get_user(slot, 8)
    length = 0 if pointer is None else access.strnlen_user(pointer, MAX_ARG_STRLEN)
    if pointer is None or not length:
        return -EFAULT
    if length > MAX_ARG_STRLEN:
        return -E2BIG

    def put(physical: int, offset: int, size: int) -> bool:
        return access.copy_user_to_kernel(direct_map + physical, pointer + offset, size) == 0

    return bprm.copy_string(length, put)


def begin_new_exec(system: System, task: UserTask, process: Process, name: str) -> None:
    """
    The point of no return: the task is alone, and its old memory is gone.

    Kernel: fs/exec.c begin_new_exec(), exec_mmap(); kernel/signal.c flush_signal_handlers(), v6.1.
    """
    machine = system.machine
    de_thread(system, task)
    mm_release(system, task)
    old, task.process = task.process, process
    machine.switch_to(process)
    machine.mm.write_pkru(INIT_PKRU)
    drop_process(system, old)
    task.comm = name.rsplit("/", 1)[-1][:15]
    if any(other.files is task.files for other in system.tasks.values() if other is not task):
        task.files = task.files.copy()
    task.files.do_close_on_exec()
    system.observer.exec(task)
    task.handlers = {number: (SIG_IGN, 0, 0, 0) for number, action in task.handlers.items() if action[0] == SIG_IGN}
    task.altstack = (0, 0, task.altstack[2])
    task.rseq = 0


def de_thread(system: System, task: UserTask) -> None:
    """
    The other threads end, and this one takes over the process's name.

    Kernel: fs/exec.c de_thread(), v6.1.
    """
    group = task.signal
    if len(group.threads) > 1:
        group.exec_task = task
        wake_threads(system, task)
        system.scheduler.wait_event(group.changed, lambda: len(group.threads) == 1)
        group.exec_task = None
    if task.leader:
        return
    leader = system.tasks.pop(task.tgid)
    del system.tasks[task.pid]
    task.pid = task.tgid
    system.tasks[task.pid] = task
    if task.parent is not None:
        task.parent.children[:] = [task if child is leader else child for child in task.parent.children]
    for child in task.children:
        child.parent = task
