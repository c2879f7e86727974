"""x86-64's system calls that the programs make: number -> name and how many arguments it takes.

Kernel: arch/x86/entry/syscalls/syscall_64.tbl, v6.1.
"""

from __future__ import annotations

SYSTEM_CALLS = {
    0: ("read", 3), 1: ("write", 3), 2: ("open", 3), 3: ("close", 1), 4: ("stat", 2), 5: ("fstat", 2),
    6: ("lstat", 2), 7: ("poll", 3), 8: ("lseek", 3), 9: ("mmap", 6), 10: ("mprotect", 3), 11: ("munmap", 2),
    12: ("brk", 1), 13: ("rt_sigaction", 4), 14: ("rt_sigprocmask", 4), 15: ("rt_sigreturn", 0), 16: ("ioctl", 3),
    17: ("pread64", 4), 18: ("pwrite64", 4), 19: ("readv", 3), 20: ("writev", 3), 21: ("access", 2), 22: ("pipe", 1),
    24: ("sched_yield", 0), 25: ("mremap", 5), 26: ("msync", 3), 27: ("mincore", 3), 28: ("madvise", 3),
    32: ("dup", 1), 33: ("dup2", 2), 35: ("nanosleep", 2), 39: ("getpid", 0), 40: ("sendfile", 4), 56: ("clone", 5),
    57: ("fork", 0), 58: ("vfork", 0), 59: ("execve", 3), 60: ("exit", 1), 61: ("wait4", 4), 62: ("kill", 2),
    63: ("uname", 1), 72: ("fcntl", 3), 74: ("fsync", 1), 77: ("ftruncate", 2), 79: ("getcwd", 2), 87: ("unlink", 1),
    89: ("readlink", 3), 96: ("gettimeofday", 2), 97: ("getrlimit", 2), 98: ("getrusage", 2), 99: ("sysinfo", 1), 102:
    ("getuid", 0), 104: ("getgid", 0), 105: ("setuid", 1), 106: ("setgid", 1), 107: ("geteuid", 0), 108: ("getegid", 0),
    110: ("getppid", 0), 131: ("sigaltstack", 2), 149: ("mlock", 2), 150: ("munlock", 2), 151: ("mlockall", 1),
    152: ("munlockall", 0), 157: ("prctl", 5), 158: ("arch_prctl", 2), 160: ("setrlimit", 2), 186: ("gettid", 0),
    200: ("tkill", 2), 202: ("futex", 6), 216: ("remap_file_pages", 5), 217: ("getdents64", 3),
    218: ("set_tid_address", 1), 221: ("fadvise64", 4), 228: ("clock_gettime", 2), 230: ("clock_nanosleep", 4),
    231: ("exit_group", 1), 234: ("tgkill", 3), 257: ("openat", 4), 262: ("newfstatat", 4), 267: ("readlinkat", 4),
    273: ("set_robust_list", 2), 285: ("fallocate", 4), 292: ("dup3", 3), 293: ("pipe2", 2), 302: ("prlimit64", 4),
    310: ("process_vm_readv", 6), 311: ("process_vm_writev", 6), 318: ("getrandom", 3), 319: ("memfd_create", 2),
    323: ("userfaultfd", 1), 325: ("mlock2", 3), 329: ("pkey_mprotect", 4), 330: ("pkey_alloc", 2),
    331: ("pkey_free", 1), 334: ("rseq", 4), 435: ("clone3", 2), 439: ("faccessat2", 4), 440: ("process_madvise", 5),
}  # fmt: skip


def named(number: int) -> tuple[str, int]:
    """Name and number of arguments; `syscall_NNN` with six for one that is not in the table."""
    return SYSTEM_CALLS.get(number, (f"syscall_{number}", 6))
