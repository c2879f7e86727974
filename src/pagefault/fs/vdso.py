"""The vdso: code of the kernel's that user programs call, and [vvar], the variables it reads."""

from __future__ import annotations

from ..errors import Absent
from ..machine.machine import Machine
from ..mm.unmapped_area import unmapped_area_topdown
from ..tables.address_space import AddressSpace
from ..tables.inode import FileSystem, Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import MAY_ALL, Vma, VmFlag

FIELDS = ("data", "size", "sym_vvar_start", "sym_vvar_page")


def install_vdso(machine: Machine, mm: AddressSpace) -> int:
    """
    Map the image's vdso and its variables; returns its address, 0 if this kernel has none.

    Kernel: arch/x86/entry/vdso/vma.c map_vdso(), v6.1; arch/x86/include/asm/vdso.h struct vdso_image.
    Differs: always where there is room below mmap_base, and not moved against it at random.
    """
    image = machine.booted.image
    symbol = image.symbols.get("vdso_image_64")
    if symbol is None:
        return 0
    try:
        data, size, start, page = (read_field(machine, symbol, name) for name in FIELDS)
    except Absent:
        return 0
    before = -start
    address = unmapped_area_topdown(mm, size + before, mm.mmap_base)
    text, variables = address + before, machine.symbols.get("__vvar_page")
    code = special_inode(machine, "[vdso]", {n: image.physical(data) + n * PAGE for n in range(size >> PAGE_SHIFT)})
    vvar = special_inode(
        machine,
        "[vvar]",
        {} if variables is None else {(page - start) >> PAGE_SHIFT: image.physical(variables)},
    )
    for inode in (code, vvar):
        inode.users += 1
    dirty = VmFlag.SOFTDIRTY | VmFlag.DONTEXPAND
    mm.vmas.insert(Vma(text, text + size, write=False, execute=True, inode=code.number, flags=MAY_ALL | dirty))
    flags = VmFlag.MAYREAD | VmFlag.IO | VmFlag.DONTDUMP | VmFlag.PFNMAP | dirty
    mm.vmas.insert(Vma(address, text, write=False, inode=vvar.number, flags=flags))
    return text


def special_inode(machine: Machine, name: str, frames: dict[int, int]) -> Inode:
    """The pages of one special mapping, made once for all processes."""
    for inode in machine.mm.inodes.values():
        if inode.kind is FileSystem.SPECIAL and inode.name == name:
            return inode
    inode = machine.mm.new_inode(name, FileSystem.SPECIAL, PAGE * (max(frames, default=-1) + 1))
    for index, frame in frames.items():
        machine.mm.pages.refcount[frame >> PAGE_SHIFT] = 1
        inode.cache.set(index, frame)
    return inode


def read_field(machine: Machine, address: int, name: str) -> int:
    """A word of the image's struct vdso_image, signed."""
    offset = machine.booted.image.layout.offset("vdso_image", name)
    return int.from_bytes(machine.read(address + offset, 8), "little", signed=name.startswith("sym_"))
