"""System calls that tell a program about itself and its system, or set what it is known by."""

from __future__ import annotations

import struct
from errno import EBUSY, EFAULT, EINVAL, EPERM, ESRCH
from typing import TYPE_CHECKING

from .files import MAX_RW_COUNT, RLIMIT_NOFILE, in_user_space
from .table import signed, system_call
from .task import RLIM_INFINITY, UserTask

if TYPE_CHECKING:
    from .system import System

UTS_FIELD = 65
RUSAGE_SELF, RUSAGE_THREAD, RUSAGE_CHILDREN = 0, 1, -1
RLIM_NLIMITS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK, RLIMIT_AS = 16, 2, 3, 8, 9
ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004
PR_SET_NAME, PR_GET_NAME = 15, 16
PR_SET_THP_DISABLE, PR_GET_THP_DISABLE = 41, 42
TASK_COMM_LEN = 16
NR_OPEN = 4096
RSEQ_SIZE, RSEQ_UNREGISTER = 32, 1


def put(system: System, pointer: int, data: bytes) -> int:
    """Copy a structure to the user: 0, or -EFAULT."""
    return -EFAULT if system.access.copy_to_user(pointer, data) else 0


def take(system: System, pointer: int, length: int) -> bytes | int:
    """A structure from the user, or -EFAULT."""
    data, left = system.access.copy_from_user(pointer, length)
    return -EFAULT if left else data


@system_call(39, "getpid")
def getpid(system: System, task: UserTask) -> int:
    """
    Kernel: kernel/sys.c SYSCALL_DEFINE0(getpid), v6.1.
    """
    return task.tgid


@system_call(186, "gettid")
def gettid(system: System, task: UserTask) -> int:
    """
    Kernel: kernel/sys.c SYSCALL_DEFINE0(gettid), v6.1.
    """
    return task.pid


@system_call(110, "getppid")
def getppid(system: System, task: UserTask) -> int:
    """
    Kernel: kernel/sys.c SYSCALL_DEFINE0(getppid), v6.1. Whoever started the first program is process 1.
    """
    return task.parent.tgid if task.parent is not None else 1


def zero(system: System, task: UserTask) -> int:
    """
    Everything is root's.

    Kernel: kernel/sys.c SYSCALL_DEFINE0(getuid) and its kin, v6.1.
    """
    return 0


for _number, _name in ((102, "getuid"), (104, "getgid"), (107, "geteuid"), (108, "getegid")):
    system_call(_number, _name)(zero)


def set_id(system: System, task: UserTask, number: int) -> int:
    """
    Root stays root here.

    Kernel: kernel/sys.c __sys_setuid(), __sys_setgid(), v6.1.
    Differs: any other user is refused.
    """
    return 0 if number == 0 else -EPERM


for _number, _name in ((105, "setuid"), (106, "setgid")):
    system_call(_number, _name)(set_id)


@system_call(98, "getrusage")
def getrusage(system: System, task: UserTask, who: int, usage: int) -> int:
    """
    struct rusage is two timevals and fourteen longs, of which ru_minflt and ru_majflt are the fifth and sixth.

    Kernel: kernel/sys.c getrusage(), v6.1.
    """
    if signed(who, 32) not in (RUSAGE_SELF, RUSAGE_THREAD, RUSAGE_CHILDREN):
        return -EINVAL
    words = [0] * 18
    words[0], words[1] = divmod(system.scheduler.now // 1000, 1_000_000)
    group = task.signal
    if signed(who, 32) == RUSAGE_SELF:
        threads = [one for one in system.tasks.values() if one.signal is group]
        words[8] = group.minor + sum(one.minor for one in threads)
        words[9] = group.major + sum(one.major for one in threads)
    elif signed(who, 32) == RUSAGE_THREAD:
        words[8], words[9] = task.minor, task.major
    else:
        words[8], words[9] = group.cminor, group.cmajor
    return put(system, usage, struct.pack("<18Q", *words))


@system_call(63, "uname")
def uname(system: System, task: UserTask, name: int) -> int:
    """
    Kernel: kernel/sys.c SYSCALL_DEFINE1(newuname), v6.1.
    """
    image = system.machine.booted.image
    version = "#" + image.banner.partition("#")[2]
    fields = ("Linux", "(none)", image.release, version, "x86_64", "(none)")
    return put(system, name, b"".join(field.encode()[: UTS_FIELD - 1].ljust(UTS_FIELD, b"\0") for field in fields))


@system_call(99, "sysinfo")
def sysinfo(system: System, task: UserTask, info: int) -> int:
    """
    Kernel: kernel/sys.c do_sysinfo(), SYSCALL_DEFINE1(sysinfo), v6.1.
    """
    machine = system.machine
    uptime = system.scheduler.now // 1_000_000_000
    words = struct.pack("<q3Q6Q", uptime, 0, 0, 0, machine.ram.size, machine.frames.free << 12, 0, 0, 0, 0)
    return put(system, info, (words + struct.pack("<HHxxxxQQI", len(system.tasks), 0, 0, 0, 1)).ljust(112, b"\0"))


@system_call(97, "getrlimit")
def getrlimit(system: System, task: UserTask, resource: int, limit: int) -> int:
    """
    Kernel: kernel/sys.c SYSCALL_DEFINE2(getrlimit), v6.1.
    """
    resource &= 0xFFFFFFFF
    if resource >= RLIM_NLIMITS:
        return -EINVAL
    return put(system, limit, struct.pack("<QQ", *task.rlimits[resource]))


@system_call(160, "setrlimit")
def setrlimit(system: System, task: UserTask, resource: int, limit: int) -> int:
    """
    Kernel: kernel/sys.c SYSCALL_DEFINE2(setrlimit), v6.1.
    """
    new = take(system, limit, 16)
    return new if isinstance(new, int) else do_setrlimit(task, resource & 0xFFFFFFFF, new)


@system_call(302, "prlimit64")
def prlimit64(system: System, task: UserTask, pid: int, resource: int, new_limit: int, old_limit: int) -> int:
    """
    Kernel: kernel/sys.c SYSCALL_DEFINE4(prlimit64), v6.1.
    """
    new = take(system, new_limit, 16) if new_limit else b""
    if isinstance(new, int):
        return new
    other = system.tasks.get(signed(pid, 32)) if signed(pid, 32) else task
    if other is None:
        return -ESRCH
    if resource & 0xFFFFFFFF >= RLIM_NLIMITS:
        return -EINVAL
    old = other.rlimits[resource & 0xFFFFFFFF]
    error = do_setrlimit(other, resource & 0xFFFFFFFF, new) if new else 0
    return error or (put(system, old_limit, struct.pack("<QQ", *old)) if old_limit else 0)


def do_setrlimit(task: UserTask, resource: int, data: bytes) -> int:
    """
    Kernel: kernel/sys.c do_prlimit(), v6.1. Root may raise them.
    Differs: fs.nr_open is 4096.
    """
    current, highest = struct.unpack("<QQ", data)
    if resource >= RLIM_NLIMITS or current > highest:
        return -EINVAL
    if resource == RLIMIT_NOFILE and highest > NR_OPEN:
        return -EPERM
    task.rlimits[resource] = (current, highest)
    if resource == RLIMIT_STACK:
        task.process.mm.stack_rlimit = min(current, RLIM_INFINITY)
    if resource == RLIMIT_MEMLOCK:
        task.process.mm.rlimit_memlock = current
    if resource == RLIMIT_AS:
        task.process.mm.rlimit_as = current
    if resource == RLIMIT_DATA:
        task.process.mm.rlimit_data = current
    return 0


@system_call(318, "getrandom")
def getrandom(system: System, task: UserTask, buffer: int, length: int, flags: int) -> int:
    """
    Up to 32 bytes in one copy, more in blocks of 64.

    Kernel: drivers/char/random.c SYSCALL_DEFINE3(getrandom), get_random_bytes_user(), v6.1.
    """
    if flags & ~7 or flags & 6 == 6:
        return -EINVAL
    length = min(length, MAX_RW_COUNT)
    if not in_user_space(system, buffer, length):
        return -EFAULT
    done = 0
    while done < length:
        size = length if length <= 32 else min(64, length - done)
        left = system.access.copy_to_user(buffer + done, system.random.randbytes(size))
        done += size - left
        if left:
            break
    return done if done or not length else -EFAULT


@system_call(158, "arch_prctl")
def arch_prctl(system: System, task: UserTask, option: int, address: int) -> int:
    """
    Kernel: arch/x86/kernel/process_64.c do_arch_prctl_64(), v6.1.
    """
    register = {ARCH_SET_FS: "fs_base", ARCH_GET_FS: "fs_base", ARCH_SET_GS: "gs_base", ARCH_GET_GS: "gs_base"}
    name = register.get(option & 0xFFFFFFFF)
    if name is None:
        return -EINVAL
    if option & 0xFFFFFFFF in (ARCH_GET_FS, ARCH_GET_GS):
        return 0 if system.access.put_user(address, task.registers[name], 8) else -EFAULT
    if address >= system.machine.area.task_size_max:
        return -EPERM
    task.registers[name] = address
    return 0


@system_call(157, "prctl")
def prctl(system: System, task: UserTask, option: int, a: int, b: int, c: int, d: int) -> int:
    """
    The task's name, and whether its process wants no huge pages.

    Kernel: kernel/sys.c SYSCALL_DEFINE5(prctl), v6.1.
    """
    match option & 0xFFFFFFFF:
        case x if x == PR_SET_NAME:
            name = system.access.strncpy_from_user(a, TASK_COMM_LEN - 1)
            if isinstance(name, int):
                return -EFAULT
            task.comm = name.decode("utf-8", "replace")
            return 0
        case x if x == PR_GET_NAME:
            return put(system, a, task.comm.encode()[: TASK_COMM_LEN - 1].ljust(TASK_COMM_LEN, b"\0"))
        case x if x == PR_SET_THP_DISABLE and not (b or c or d):
            task.process.mm.thp_disabled = bool(a)
            return 0
        case x if x == PR_GET_THP_DISABLE and not (a or b or c or d):
            return int(task.process.mm.thp_disabled)
        case _:
            return -EINVAL


@system_call(218, "set_tid_address")
def set_tid_address(system: System, task: UserTask, pointer: int) -> int:
    """
    Kernel: kernel/fork.c SYSCALL_DEFINE1(set_tid_address), v6.1.
    """
    task.clear_child_tid = pointer
    return task.pid


@system_call(273, "set_robust_list")
def set_robust_list(system: System, task: UserTask, head: int, length: int) -> int:
    """
    Kernel: kernel/futex/syscalls.c SYSCALL_DEFINE2(set_robust_list), v6.1.
    """
    if length != 24:
        return -EINVAL
    task.robust_list = head
    return 0


@system_call(334, "rseq")
def rseq(system: System, task: UserTask, area: int, length: int, flags: int, signature: int) -> int:
    """
    Register the area in which the kernel tells a program its CPU; it is filled on the way back to the program.

    Kernel: kernel/rseq.c SYSCALL_DEFINE4(rseq), v6.1, v6.12.
    """
    if flags & RSEQ_UNREGISTER:
        if task.rseq != area or not area:
            return -EINVAL
        task.rseq = 0
        return 0
    if flags:
        return -EINVAL
    if task.rseq:
        return -EBUSY if task.rseq == area else -EINVAL
    if area % RSEQ_SIZE or length & 0xFFFFFFFF != RSEQ_SIZE:
        return -EINVAL
    if not in_user_space(system, area, RSEQ_SIZE):
        return -EFAULT
    if system.access.get_user(area + 8, 8) is None:
        return -EFAULT
    task.rseq = area
    return rseq_update(system, task)


def rseq_update(system: System, task: UserTask) -> int:
    """
    Look for a critical section (there is none to restart: the task was not preempted), and write CPU 0 and node 0.

    Kernel: kernel/rseq.c __rseq_handle_notify_resume(), rseq_update_cpu_node_id(), v6.1, v6.12.
    Differs: the writes are inlined there, and in functions of their own here.
    """
    fields = [0, 4] + ([20, 24] if system.machine.mm.rules.rseq_in_auxv else [])
    if system.access.get_user(task.rseq + 8, 8) is None:
        return -EFAULT
    done = all(system.access.put_user(task.rseq + offset, 0, 4) for offset in fields)
    return 0 if done else -EFAULT
