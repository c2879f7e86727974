"""
What a decision does to the machine, as data: the handler returns effects, `machine.run` applies them in order.

Everything is concrete: a new page's frame number was looked up (not taken) when the decision was made.
"""

from __future__ import annotations

from dataclasses import dataclass

from .readahead import Readahead


@dataclass(frozen=True, slots=True)
class TakeFrame:
    """Take this free frame: for a page, or for a page table (`use` says which)."""

    frame: int
    use: str = "page"


@dataclass(frozen=True, slots=True)
class ZeroFrame:
    """Fill this frame with zeros."""

    frame: int


@dataclass(frozen=True, slots=True)
class CopyFrame:
    """Copy one whole frame to another."""

    source: int
    frame: int


@dataclass(frozen=True, slots=True)
class NewAnonPage:
    """
    This frame is a private page now, of one process alone, made at page `index`, mapped once.

    Kernel: mm/rmap.c page_add_new_anon_rmap(), v6.1.
    """

    frame: int
    index: int


@dataclass(frozen=True, slots=True)
class TakeHugePage:
    """Take these 2 MiB of free frames for one page, and fill them with zeros."""

    frame: int


@dataclass(frozen=True, slots=True)
class NewHugeAnonPage:
    """
    These 2 MiB, just taken, are one private page now, of one process alone, made at page `index`, mapped once.

    Kernel: mm/rmap.c page_add_new_anon_rmap(), v6.1.
    """

    frame: int
    index: int


@dataclass(frozen=True, slots=True)
class NewHugeZeroPage:
    """These 2 MiB, just taken, are the huge zero page (Kernel: mm/huge_memory.c get_huge_zero_page(), v6.1)."""

    frame: int


@dataclass(frozen=True, slots=True)
class DepositTable:
    """
    Keep this frame, just taken, for the day on which a huge page is split.

    Kernel: mm/pgtable-generic.c pgtable_trans_huge_deposit(), v6.1.
    """

    frame: int


@dataclass(frozen=True, slots=True)
class SplitHugePmd:
    """
    The entry at `slot`, which maps 2 MiB around `address`, becomes a table of ptes that map the same.

    Kernel: mm/huge_memory.c __split_huge_pmd(), v6.1.
    """

    slot: int
    address: int


@dataclass(frozen=True, slots=True)
class ReadSwap:
    """Fill this frame with what the swap space has in this slot (Kernel: mm/page_io.c swap_readpage(), v6.1)."""

    slot: int
    frame: int


@dataclass(frozen=True, slots=True)
class AddToSwapCache:
    """
    This frame, just taken and read, is the page of that slot; it was made at page `index`.

    Kernel: mm/swap_state.c add_to_swap_cache(), v6.1.
    """

    slot: int
    frame: int
    index: int


@dataclass(frozen=True, slots=True)
class FreeSwap:
    """One user of this slot less (Kernel: mm/swapfile.c swap_free(), v6.1)."""

    slot: int


@dataclass(frozen=True, slots=True)
class DeleteFromSwapCache:
    """The swap cache gives this page up (Kernel: mm/swapfile.c folio_free_swap(), v6.1)."""

    frame: int


@dataclass(frozen=True, slots=True)
class SwapInShmem:
    """
    Page `index` of a file that is memory alone comes back into the page cache, in this frame; its slot is free.

    Kernel: mm/shmem.c shmem_swapin_folio(), v6.1.
    """

    inode: int
    index: int
    frame: int


@dataclass(frozen=True, slots=True)
class GetPage:
    """One more page-table entry maps this frame (Kernel: mm/rmap.c page_add_file_rmap(), v6.1)."""

    frame: int


@dataclass(frozen=True, slots=True)
class PutPage:
    """
    One page-table entry less maps this frame; the last user's going frees it.

    Kernel: mm/rmap.c page_remove_rmap(); include/linux/mm.h put_page(), v6.1.
    """

    frame: int


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Set and clear flags (`memory.pages.PageFlag`) of this frame."""

    frame: int
    set: int = 0
    clear: int = 0


@dataclass(frozen=True, slots=True)
class AddToPageCache:
    """This frame, just taken, holds page `index` of a file from now on. With `read`, its content is read first."""

    inode: int
    index: int
    frame: int
    read: bool


@dataclass(frozen=True, slots=True)
class SetReadahead:
    """What is remembered of reading ahead in a file (Kernel: include/linux/fs.h struct file_ra_state, v6.1)."""

    inode: int
    state: Readahead


@dataclass(frozen=True, slots=True)
class PrepareAnonVma:
    """The vma that holds `address` gets its first private page (Kernel: mm/rmap.c anon_vma_prepare(), v6.1)."""

    address: int


@dataclass(frozen=True, slots=True)
class WriteEntry:
    """Set the page-table entry of `size` bytes at `physical` (called `level`) to `value`; it mapped `address`."""

    level: str
    physical: int
    value: int
    address: int
    size: int = 8


@dataclass(frozen=True, slots=True)
class FlushPage:
    """Forget any cached translation of the page at `address`."""

    address: int


@dataclass(frozen=True, slots=True)
class GrowStack:
    """Move the start of the vma that starts at `old_start` down to `new_start`."""

    old_start: int
    new_start: int


@dataclass(frozen=True, slots=True)
class SetRegister:
    """Set a register, by its small name, in the interrupted context."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class ResetFpu:
    """Put the FPU's registers into their initial state."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Print a warning (WARN_ONCE and its kin) and go on."""

    text: str


MemoryEffect = (
    TakeFrame
    | ZeroFrame
    | CopyFrame
    | NewAnonPage
    | TakeHugePage
    | NewHugeAnonPage
    | NewHugeZeroPage
    | DepositTable
    | SplitHugePmd
    | ReadSwap
    | AddToSwapCache
    | FreeSwap
    | DeleteFromSwapCache
    | SwapInShmem
    | GetPage
    | PutPage
    | ChangePage
    | AddToPageCache
    | SetReadahead
    | PrepareAnonVma
    | WriteEntry
    | FlushPage
    | GrowStack
)
"""What is done to memory and its tables (`mm.apply`)."""
CpuEffect = SetRegister | ResetFpu | Warn
"""What is done to the interrupted context (`machine.run`)."""
Effect = MemoryEffect | CpuEffect
