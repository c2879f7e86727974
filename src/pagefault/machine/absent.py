"""
What a booted kernel has and this machine has not: where a call stops, and why, instead of going on into structures that
nobody set up.

The functions are the gates that everything of the kind goes through; names of 6.1 and 6.12.
"""

from __future__ import annotations

from ..tables.symbols import SymbolTable

GATES = {
    "scheduler: nothing else can run, so nothing can be waited for": ("__schedule",),
    "slab allocator: give it memory of machine.kmalloc() (--kernel-buffer) instead": (
        *("__kmalloc", "__kmalloc_node", "__kmalloc_node_track_caller", "kmalloc_trace", "kmalloc_node_trace"),
        *("kmem_cache_alloc", "kmem_cache_alloc_lru", "kmem_cache_alloc_node", "kmalloc_large"),
        *("__kmalloc_noprof", "__kmalloc_node_noprof", "__kmalloc_node_track_caller_noprof"),
        *("__kmalloc_cache_noprof", "__kmalloc_cache_node_noprof", "___kmalloc_large_node"),
        *("kmem_cache_alloc_noprof", "kmem_cache_alloc_lru_noprof", "kmem_cache_alloc_node_noprof"),
    ),
    "page allocator: nothing of its zones was set up": ("__alloc_pages", "__alloc_pages_noprof"),
    "vmalloc() of the kernel's own: machine.vmalloc() is there instead": (
        *("__vmalloc_node_range", "__vmalloc_node_range_noprof"),
    ),
    "per-CPU allocator": ("pcpu_alloc", "pcpu_alloc_noprof"),
    "timekeeping: no clock runs": (
        *("ktime_get", "ktime_get_raw", "ktime_get_with_offset", "ktime_get_ts64", "ktime_get_real_ts64"),
        "ktime_get_coarse_real_ts64",
    ),
    "RCU: nobody ends a grace period": ("call_rcu", "synchronize_rcu"),
    "work queues: nobody would do the work": ("__queue_work",),
    "signals of the kernel's own: what is pending, and for whom": (
        *("get_signal", "signal_setup_done", "fpu__clear_user_states"),
    ),
    "vmas that the kernel's code could read: the fault handler here has its own": ("fault_in_user_writeable",),
}
"""What is missing, and the functions that lead to it."""


def gates(symbols: SymbolTable) -> dict[int, str]:
    """The addresses of this kernel's gates, each with what lies behind it."""
    found = {}
    for what, names in GATES.items():
        for name in names:
            address = symbols.get(name)
            if address is not None:
                found[address] = what
    return found
