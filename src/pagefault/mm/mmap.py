"""mmap(): a promise is made, merged with its neighbours where it continues them."""

from __future__ import annotations

from errno import EACCES, EEXIST, EINVAL, ENOMEM, EOPNOTSUPP, EOVERFLOW

from ..tables.address_space import AddressSpace
from ..tables.inode import MAX_LFS_FILESIZE, FileSystem, Inode
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vma import MAY_ALL, Vma, VmFlag
from .memory import Memory
from .munmap import do_munmap
from .pkeys import execute_only_pkey
from .seals import check_seals_mmap
from .unmapped_area import get_unmapped_area, round_hint_to_min
from .vma_merge import MAX_MAP_COUNT, insert_merged

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_TYPE = 0x1, 0x2, 0x3, 0xF
MAP_FIXED, MAP_ANONYMOUS, MAP_32BIT, MAP_GROWSDOWN, MAP_LOCKED = 0x10, 0x20, 0x40, 0x100, 0x2000
MAP_NORESERVE, MAP_POPULATE, MAP_NONBLOCK, MAP_STACK = 0x4000, 0x8000, 0x10000, 0x20000
MAP_HUGETLB, MAP_FIXED_NOREPLACE = 0x40000, 0x100000
"""Kernel: include/uapi/asm-generic/mman-common.h, mman.h, v6.1."""
LEGACY_MAP_MASK = 0x7C07_F973
"""What MAP_SHARED_VALIDATE lets pass (Kernel: include/linux/mman.h LEGACY_MAP_MASK, v6.1)."""


def do_mmap(
    memory: Memory,
    mm: AddressSpace,
    address: int,
    length: int,
    protection: int,
    flags: int,
    inode: Inode | None = None,
    pgoff: int = 0,
    *,
    readable: bool = True,
    writable: bool = True,
    name: str = "",
) -> int:
    """
    Map `length` bytes and return where, or -errno. `protection` and `flags` are PROT_* and MAP_*; `readable` and
    `writable` say how the file is open. Nothing is populated: that is the caller's, as the lock is given back first.

    Kernel: mm/mmap.c do_mmap(), mmap_region(), v6.1.
    Differs: MAP_DROPPABLE (v6.12) is refused. Everybody is root: what is locked has no limit.
    """
    if not length:
        return -EINVAL
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    address = address if flags & MAP_FIXED else round_hint_to_min(address)
    length = length + PAGE - 1 & PAGE_MASK
    if length >> 64:
        return -ENOMEM
    if pgoff + (length >> PAGE_SHIFT) >> 64:
        return -EOVERFLOW
    if len(mm.vmas) > MAX_MAP_COUNT:
        return -ENOMEM
    address = get_unmapped_area(memory, mm, address, length, flags, inode, pgoff)
    if address < 0:
        return address
    if flags & MAP_FIXED_NOREPLACE and mm.vmas.overlapping(address, address + length):
        return -EEXIST
    key = max(execute_only_pkey(memory, mm), 0) if protection == PROT_EXEC else 0
    error = check_type(flags, protection, length, inode, pgoff, readable, writable)
    if error:
        return error
    shared = flags & MAP_TYPE != MAP_PRIVATE
    vm_flags = calc_vm_flag_bits(memory, mm, flags, shared)
    # A file that is not open for writing is shared in name only (VM_MAYSHARE).
    truly_shared = shared and writable
    if shared and not writable:
        vm_flags &= ~VmFlag.MAYWRITE
    if truly_shared and inode is not None:
        sealed = check_seals_mmap(memory.rules, inode, write=bool(protection & PROT_WRITE))
        if sealed < 0:
            return sealed
        vm_flags &= ~VmFlag.MAYWRITE if sealed else ~VmFlag(0)
    data = bool(protection & PROT_WRITE) and not truly_shared and not flags & MAP_GROWSDOWN
    if not mm.may_expand_vm((length >> PAGE_SHIFT) - replaced(mm, address, address + length), data=data):
        return -ENOMEM
    error = do_munmap(memory, mm, address, length)
    if error:
        return -ENOMEM
    if accountable_mapping(truly_shared, protection, vm_flags):
        if not vm_enough_memory(memory, length >> PAGE_SHIFT):
            return -ENOMEM
        vm_flags |= VmFlag.ACCOUNT
    if inode is None:
        pgoff = 0 if shared else address >> PAGE_SHIFT
    if shared and inode is None:
        inode = shmem_zero_setup(memory, length)
    vma = Vma(
        address,
        address + length,
        bool(protection & PROT_READ),
        bool(protection & PROT_WRITE),
        bool(protection & PROT_EXEC),
        grows_down=bool(flags & MAP_GROWSDOWN),
        protection_key=key,
        name=name,
        shared=truly_shared,
        inode=inode.number if inode is not None else 0,
        pgoff=pgoff,
        flags=vm_flags | VmFlag.SOFTDIRTY,
    )
    if inode is not None:
        inode.users += 1
    insert_merged(memory, mm, vma)
    return address


def replaced(mm: AddressSpace, start: int, end: int) -> int:
    """How many pages of a range are mapped already (Kernel: mm/mmap.c count_vma_pages_range(), v6.1)."""
    return sum(min(end, vma.end) - max(start, vma.start) for vma in mm.vmas.overlapping(start, end)) >> PAGE_SHIFT


def check_type(
    flags: int, protection: int, length: int, inode: Inode | None, pgoff: int, readable: bool, writable: bool
) -> int:
    """
    May this be mapped in this way? 0, or -errno.

    Kernel: mm/mmap.c do_mmap(), file_mmap_ok(), v6.1.
    """
    kind = flags & MAP_TYPE
    if inode is None:
        if kind not in (MAP_SHARED, MAP_PRIVATE) or (kind == MAP_SHARED and flags & MAP_GROWSDOWN):
            return -EINVAL
        return 0
    if length + (pgoff << PAGE_SHIFT) > MAX_LFS_FILESIZE:
        return -EOVERFLOW
    if kind not in (MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE):
        return -EINVAL
    if kind == MAP_SHARED_VALIDATE and flags & ~LEGACY_MAP_MASK:
        return -EOPNOTSUPP
    if kind != MAP_PRIVATE and protection & PROT_WRITE and not writable:
        return -EACCES
    if not readable:
        return -EACCES
    return -EINVAL if flags & MAP_GROWSDOWN else 0


def calc_vm_flag_bits(memory: Memory, mm: AddressSpace, flags: int, shared: bool) -> VmFlag:
    """
    Kernel: include/linux/mman.h calc_vm_flag_bits(); mm/mmap.c do_mmap(), v6.1.
    """
    vm_flags = MAY_ALL | mm.def_flags
    vm_flags |= VmFlag.LOCKED if flags & MAP_LOCKED else VmFlag(0)
    vm_flags |= VmFlag.MAYSHARE if shared else VmFlag(0)
    if flags & MAP_STACK and memory.rules.stack_without_huge_pages:
        vm_flags |= VmFlag.NOHUGEPAGE
    return vm_flags | (VmFlag.NORESERVE if flags & MAP_NORESERVE else VmFlag(0))


def accountable_mapping(shared: bool, protection: int, flags: VmFlag) -> bool:
    """
    Does this count as memory that was promised? Private and writable, and not MAP_NORESERVE.

    Kernel: mm/mmap.c accountable_mapping(), v6.1.
    """
    return bool(protection & PROT_WRITE) and not shared and not flags & VmFlag.NORESERVE


def vm_enough_memory(memory: Memory, pages: int) -> bool:
    """
    May so much more be promised at once? Not more than there is, RAM and swap together.

    Kernel: mm/util.c __vm_enough_memory(), OVERCOMMIT_GUESS, v6.1.
    """
    swap = memory.swap.total if memory.swap is not None else 0
    return pages <= memory.ram.size // PAGE + swap


def shmem_zero_setup(memory: Memory, length: int) -> Inode:
    """
    Shared anonymous memory is a file that has no name.

    Kernel: mm/shmem.c shmem_zero_setup(), v6.1.
    """
    inode = memory.new_inode("/dev/zero", FileSystem.SHMEM, length)
    inode.links = 0
    return inode
