"""Memory cgroups as programs see them: a directory with a file to join by."""

from __future__ import annotations

from errno import ESRCH
from typing import TYPE_CHECKING

from ..fs.cgroup import CgroupProcs
from ..mm.memcg import mem_cgroup_attach, mem_cgroup_create
from ..tables.memory_cgroup import MemoryCgroup

if TYPE_CHECKING:
    from .system import System


def make_cgroup(system: System, directory: str, limit: int | None, swap_limit: int | None = None) -> MemoryCgroup:
    """
    A group with these limits, in pages (None: no limit), and `directory`/cgroup.procs.

    Kernel: kernel/cgroup/cgroup.c cgroup_mkdir(), v6.1.
    """
    group = mem_cgroup_create(system.machine.mm, limit, swap_limit)

    def attach(pid: int) -> int:
        task = system.tasks.get(pid) if pid else system.current
        if task is None:
            return -ESRCH
        mem_cgroup_attach(task.process.mm, group)
        return 0

    system.namespace.add_node(
        f"{directory}/cgroup.procs", lambda path, flags: CgroupProcs(path, flags, access=system.access, attach=attach)
    )
    return group
