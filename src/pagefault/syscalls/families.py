"""Every family of system calls, loaded: each file's functions enter themselves into the table."""

from __future__ import annotations

from importlib import import_module

FAMILIES = (
    "files",
    "poll",
    "file_size",
    "page_cache",
    "memfd",
    "names",
    "identity",
    "time",
    "memory",
    "advice",
    "processes",
    "execve",
    "signals",
    "futex",
    "remote_memory",
    "userfaultfd",
)


def load() -> None:
    """Import them all."""
    for name in FAMILIES:
        import_module(f".{name}", __package__)
