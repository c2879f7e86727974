"""
What changed in memory management from kernel to kernel, one field a difference, each with its commit.

`arch.x86_eras` is the same for what belongs to the architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..arch.architecture import Version


@dataclass(frozen=True, slots=True)
class MmRules:
    """
    The rules of one kernel version. Where v6.1 and v6.12 are cited without a commit or a release, the versions between
    them were not looked up: the change counts from after 6.1 on.

    `iovec_after_mode`: readv() and its kin look at how the file is open before they fetch the buffers: fs/read_write.c
    vfs_readv() in v6.12, do_iter_read() in v6.1 does not.

    `reports_write`: handle_mm_fault() says VM_FAULT_WRITE when it made a private page writable. Until Linux kernel
    commit cb8d86331343 ("mm: remove VM_FAULT_WRITE") (in v6.2).

    `mprotect_makes_writable`: mprotect() gives the right to write at once to pages that a write fault would only reuse.
    Since Linux kernel commit 64fe24a3e05e ("mm/mprotect: try avoiding write faults for exclusive anonymous pages when
    changing protection") (in v6.0).

    `mprotect_makes_clean_writable`: private ones even if they are clean. Since Linux kernel commit d84887739d5c
    ("mm/mprotect: allow clean exclusive anon pages to be writable") (in v6.2).

    `stack_without_huge_pages`: MAP_STACK means VM_NOHUGEPAGE. Since Linux kernel commit c4608d1bf7c6 ("mm: mmap: map
    MAP_STACK to VM_NOHUGEPAGE") (in v6.7).

    `merges_upwards_first`: mmap() joins a new area with the one above it before it looks at the one below:
    mm/mmap.c __mmap_region(), v6.1, as against mm/vma.c vma_merge_new_range(), v6.12 (new there).

    `huge_alignment`: anonymous mappings of whole huge pages begin where a huge page may: mm/mmap.c
    __get_unmapped_area(), v6.12; v6.1 does not (since v6.7).

    `unaccounts_untouched`: mprotect() that takes the right to write from anonymous memory without a private page gives
    back what was promised (no VM_ACCOUNT): mm/mprotect.c mprotect_fixup(), v6.12; v6.1 does not.

    `populate_stops_at_holes`: MADV_POPULATE_* brings in nothing above the first hole: mm/madvise.c do_madvise(), v6.12;
    in v6.1 it goes on, as all other advice does.

    `heap_is_inside`: an area is [heap] if part of it is in start_brk..brk: include/linux/mm.h vma_is_initial_heap(),
    v6.12. In v6.1 (fs/proc/task_mmu.c show_map_vma()) it is enough that it touches that.

    `shows_lockonfault`: smaps has a word for VM_LOCKONFAULT: fs/proc/task_mmu.c show_smap_vma_flags(), v6.12; in v6.1
    it says "??".

    `execve_opens_first`: execve() opens the file before it copies the strings. Since Linux kernel commit 978ffcbf00d8
    ("execve: open the executable file before doing anything else") (in v6.8).

    `altstack_restored_first`: rt_sigreturn() restores the alternate stack before the registers. Since Linux kernel
    commit d10b554919d4 ("x86/pkeys: Restore altstack access in sigreturn()") (in v6.12).

    `rseq_in_auxv`: execve() tells the program about rseq in the auxiliary vector. Since Linux kernel commit
    317c8194e6ae ("rseq: Introduce feature size and alignment ELF auxiliary vector entries") (in v6.3).

    `per_vma_lock`: faults of user code first take their vma's own lock; what needs more says VM_FAULT_RETRY. Since
    Linux kernel commit 0bff0aaea03e ("x86/mm: try VMA lock-based page fault handling first") (in v6.4).

    `ondemand_readahead`: what a read without its page does and what the mark in the page cache does are decided in one
    place, ondemand_readahead(): mm/readahead.c, v6.1; page_cache_sync_ra() and page_cache_async_ra(), v6.12 (since
    v6.11).

    `tmpfs_opens_direct`: files of tmpfs can be opened with O_DIRECT: mm/shmem.c shmem_file_open(), v6.12, as against
    v6.1 (since v6.6).

    `direct_io_pins`: O_DIRECT pins what it writes from, so that a page shared after fork() is unshared first:
    block/bio.c __bio_iov_iter_get_pages(), v6.12 (iov_iter_extract_pages()), as against v6.1 (iov_iter_get_pages2())
    (since v6.3).

    `sealed_files_map_read_only`: a memfd that is sealed against writing can be mapped shared by one who has it open for
    writing, if only to be read: mm/memfd.c memfd_check_seals_mmap(), v6.12, as against v6.1 (since v6.7).

    `writes_by_folio`: write(2) brings in as much of the user's buffer at once as a folio of the file may be large, 2
    MiB in tmpfs: mm/filemap.c generic_perform_write(), v6.12, as against v6.1 (since v6.11).

    `memfd_exec_flags`: memfd_create() knows MFD_NOEXEC_SEAL and MFD_EXEC: include/uapi/linux/memfd.h, v6.12, as against
    v6.1 (since v6.3).

    `split_keeps_dirty`: the ptes that a huge page is split into are dirty if it was: mm/huge_memory.c
    __split_huge_pmd_locked(), v6.12, as against v6.1 (which marks the page instead).

    `mprotect_makes_huge_writable`: what mprotect_makes_writable is for ptes: mm/huge_memory.c change_huge_pmd(), v6.12,
    as against v6.1.

    `reuses_part_of_huge`: the last user of one page out of a huge page takes it over where a write would copy it:
    mm/memory.c do_wp_page(), v6.1, as against wp_can_reuse_anon_folio(), v6.12.

    `swapin_makes_writable`: a page that comes back from swap, and is of one process alone, is mapped writable even for
    a read: mm/memory.c do_swap_page(), v6.12, as against v6.1.
    """

    version: Version
    iovec_after_mode: bool
    reports_write: bool
    rseq_in_auxv: bool
    execve_opens_first: bool
    altstack_restored_first: bool
    per_vma_lock: bool
    mprotect_makes_writable: bool
    mprotect_makes_clean_writable: bool
    stack_without_huge_pages: bool
    ondemand_readahead: bool
    tmpfs_opens_direct: bool
    direct_io_pins: bool
    memfd_exec_flags: bool
    writes_by_folio: bool
    sealed_files_map_read_only: bool
    merges_upwards_first: bool
    huge_alignment: bool
    unaccounts_untouched: bool
    populate_stops_at_holes: bool
    heap_is_inside: bool
    shows_lockonfault: bool
    split_keeps_dirty: bool
    mprotect_makes_huge_writable: bool
    reuses_part_of_huge: bool
    swapin_makes_writable: bool


def mm_rules(version: Version) -> MmRules:
    """The rules of this version, as (major, minor)."""
    return MmRules(
        version=version,
        iovec_after_mode=version > (6, 1),
        reports_write=version < (6, 2),
        rseq_in_auxv=version >= (6, 3),
        execve_opens_first=version >= (6, 8),
        altstack_restored_first=version >= (6, 12),
        per_vma_lock=version >= (6, 4),
        mprotect_makes_writable=version >= (6, 0),
        mprotect_makes_clean_writable=version >= (6, 2),
        stack_without_huge_pages=version >= (6, 7),
        ondemand_readahead=version < (6, 11),
        tmpfs_opens_direct=version >= (6, 6),
        direct_io_pins=version >= (6, 3),
        memfd_exec_flags=version >= (6, 3),
        writes_by_folio=version >= (6, 11),
        sealed_files_map_read_only=version >= (6, 7),
        merges_upwards_first=version < (6, 12),
        huge_alignment=version >= (6, 7),
        unaccounts_untouched=version > (6, 1),
        populate_stops_at_holes=version > (6, 1),
        heap_is_inside=version > (6, 1),
        shows_lockonfault=version > (6, 1),
        split_keeps_dirty=version > (6, 1),
        mprotect_makes_huge_writable=version > (6, 1),
        reuses_part_of_huge=version <= (6, 1),
        swapin_makes_writable=version > (6, 1),
    )
