"""
The MMU: what the CPU asks for each translation it has not cached.

It walks the guest's own tables, checks the access, and writes accessed and dirty bits as hardware does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ..arch.architectures import architecture_of
from ..arch.x86 import CpuState
from ..memory.ram import Ram
from ..tables.pagetable import walk
from ..vocabulary.access import Access, AccessKind
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.walk import Mapped, Walk


@dataclass(frozen=True, slots=True)
class Translation:
    """A permitted access: the page's physical address, and every right the asking mode has on it for now."""

    frame: int
    read: bool
    write: bool
    fetch: bool


class Mmu:
    """
    Translates through tables in `ram`.

    A TLB may hold a translation that the tables no longer give, until it is flushed (Intel SDM vol. 3A, 4.10.4). Ours
    holds none by itself: `hold` puts one in on purpose, for showing what a stale one does. A fault on its page drops
    it, and so does a write to CR0, CR3 or CR4.

    Differs: a guest's INVLPG does not drop what `hold` put in: Unicorn drops its own copy, but tells nobody.
    """

    def __init__(self, ram: Ram) -> None:
        self._ram = ram
        self._held: dict[int, Walk] = {}
        self._held_under = (0, 0, 0)

    def hold(self, address: int, state: CpuState) -> None:
        """Keep the present translation of this page, whatever becomes of the tables."""
        self._held[address & PAGE_MASK] = walk(self._ram, state.root, address & PAGE_MASK, state)
        self._held_under = (state.cr0, state.cr3, state.cr4)

    def flush(self) -> None:
        """Drop all that is held."""
        self._held.clear()

    def holds(self, address: int) -> bool:
        """Is a translation of this page held?"""
        return address & PAGE_MASK in self._held

    def drop(self, address: int) -> None:
        """Drop what is held for one page."""
        self._held.pop(address & PAGE_MASK, None)

    def look(self, address: int, state: CpuState) -> Walk:
        """The translation the CPU would use."""
        if self._held and self._held_under != (state.cr0, state.cr3, state.cr4):
            self._held.clear()
        if held := self._held.get(address & PAGE_MASK):
            end = held.end
            if isinstance(end, Mapped):
                end = replace(end, physical=end.physical | address & PAGE - 1)
            return replace(held, address=address, end=end)
        return walk(self._ram, state.root, address, state)

    def translate(self, access: Access, state: CpuState) -> tuple[Walk, Translation | None]:
        """
        The walk, and the translation if the access is permitted. Then A and D are set as hardware sets them; the right
        to write is given only to a page whose D bit is set, so that the first write asks again.
        """
        way = self.look(access.address, state)
        mapped, form = way.end, architecture_of(state)
        if not isinstance(mapped, Mapped):
            return way, None
        page = mapped.user, mapped.writable, mapped.executable, mapped.protection_key
        rights = permitted(page, access.user, access.implicit, state)
        if access.kind not in rights:
            return way, None
        held = access.address & PAGE_MASK in self._held
        if not held:
            for entry, value in form.accessed_dirty(way, access, state):
                self._ram.write_entry(entry.physical, value, form.geometry(state).entry_size)
        frame = mapped.physical & PAGE_MASK
        if frame + PAGE > self._ram.size:
            return way, None
        dirty = mapped.dirty or access.kind is AccessKind.WRITE
        write = dirty and AccessKind.WRITE in rights
        return way, Translation(frame, AccessKind.READ in rights, write, AccessKind.FETCH in rights)


@lru_cache(1 << 12)
def permitted(page: tuple[bool, bool, bool, int], user: bool, implicit: bool, state: CpuState) -> frozenset[AccessKind]:
    """
    What may be done with a page that has these rights and this protection key. The same few are asked for again and
    again.
    """
    mapped, violation = Mapped(0, PAGE, *page, dirty=False), architecture_of(state).violation
    return frozenset(kind for kind in AccessKind if violation(mapped, Access(0, kind, user, implicit), state) is None)
