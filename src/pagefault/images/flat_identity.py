"""
Which architecture's kernel a flat image is, where it is linked to, and its symbols: all that its bytes do not say by
their place.

    identity = identify(unwrap(data, path), path)
    identity.how        # ("arm, by its utsname", "little-endian, as its kallsyms are", "45,665 symbols from …", …)

Of the architecture are asked, in this order, a header that was in front of the image; init_uts_ns, which names it; and
where that leaves two byte orders, kallsyms and then the shape of the exception table. Of the address: the first symbol;
a table of absolute addresses, which fits one place only; and last the places where such kernels are linked to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..arch.exception_format import Addressing
from ..arch.platform import PLATFORMS, Platform, platform_of
from ..errors import Absent, BadInput, Unsupported
from ..tables.extable_shape import by_shape
from ..tables.symbols import SymbolTable
from .boot_image import Payload
from .kallsyms import find_kallsyms
from .system_map import read_system_map
from .utsname import find_utsname

FIRST_SYMBOLS = ("_start", "_text")
"""
What lies at the image's first byte: _start on riscv, whose _text comes a page later, _text elsewhere.

Kernel: arch/*/kernel/vmlinux.lds.S, v6.1.
"""
ALIGNMENT = 0x20_0000
BOOT_CODE = 0x40_0000
"""The most that lies between the first byte and _stext: arm aligns .text to 2 MiB at most."""
MOST_SHAPED = 64 << 20
"""The largest image whose exception table is looked for by its shape to tell what the image is."""
ENOUGH = 0.8
"""The share of a table's instructions that may fault, at the right address; at a wrong one it is half or less."""
FEWEST = 32
"""A table with fewer entries does not tell the address."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`address` is that of the image's first byte; `how` says in words how each of the three is known."""

    platform: Platform
    address: int
    symbols: SymbolTable
    how: tuple[str, ...]


class Fit(NamedTuple):
    """How well a table of absolute addresses fits an image that is linked to `address`."""

    score: float
    address: int
    entries: int


def identify(payload: Payload, where: str, system_map: str | None = None) -> Identity:
    """
    What the flat image in `payload` is. Its symbols are those of the file `system_map`, or its own.

    Errors: Unsupported if the architecture is not known; BadInput if the image says another one than its header; what
    `read_system_map` raises.
    """
    platform, told = platform_of_payload(payload, where)
    symbols, whose = symbols_of(payload.data, platform, where, system_map)
    address, words = find_address(payload.data, platform, symbols, payload.text_offset)
    return Identity(platform, address, symbols, (*told, whose, *words))


def platform_of_payload(payload: Payload, where: str) -> tuple[Platform, tuple[str, ...]]:
    """The platform, and in words how it is known; nothing for a header, which `payload.how` has told of."""
    uts = find_utsname(payload.data)
    if payload.machine is not None:
        platform = platform_of(*payload.machine)
        if platform is None:
            machine, bits, order = payload.machine
            feature = f"an image for {machine} ({bits} bits, {order}-endian)"
            raise Unsupported(feature, why=f"{where}: no exception table of that architecture is known here")
        if uts is not None and uts.machine != platform.uts_machine:
            expected = f"a kernel for {platform.uts_machine}, as the header in front of it says"
            raise BadInput(where, expected=expected, got=f"one for {uts.machine}")
        return platform, ()
    if uts is None:
        raise Unsupported("a flat image without a header", why=f"{where}: there is no utsname in it that tells whose")
    named = [platform for platform in PLATFORMS if platform.uts_machine == uts.machine]
    if not named:
        why = f"{where}: no exception table of that architecture is known here"
        raise Unsupported(f"an image for {uts.machine}, as its utsname says", why=why)
    said = f"{named[0].name}, by its utsname ({uts.machine})"
    if len(named) == 1:
        return named[0], (said,)
    platform, words = one_of(named, payload.data, where)
    return platform, (said, words)


def one_of(platforms: list[Platform], data: memoryview, where: str) -> tuple[Platform, str]:
    """Which of two platforms that differ in their byte order only? Errors: Unsupported if nothing tells it."""
    for platform in platforms:
        if len(own_symbols(data, platform, where)[0]):
            return platform, f"{platform.byte_order}-endian, as its kallsyms are"
    fits = [(fit, platform) for platform in platforms if (fit := address_by_shape(data, platform, platform.linked))]
    if not fits:
        why = f"{where}: neither symbols nor an exception table tell its byte order"
        raise Unsupported(f"a flat image for {platforms[0].name}", why=why)
    fit, platform = max(fits, key=lambda each: each[0])
    return platform, f"{platform.byte_order}-endian, by the shape of an exception table of {fit.entries} entries"


def symbols_of(data: memoryview, platform: Platform, where: str, system_map: str | None) -> tuple[SymbolTable, str]:
    """The symbols of the file `system_map`, or else the image's own; and in words whose, or why there are none."""
    if system_map is not None:
        return read_system_map(system_map, platform), f"symbols from {system_map}"
    return own_symbols(data, platform, where)


def own_symbols(data: memoryview, platform: Platform, where: str) -> tuple[SymbolTable, str]:
    """The symbols of the image's kallsyms; none if it cannot be read, and the reason."""
    try:
        kallsyms = find_kallsyms(data, platform, where=where)
        return kallsyms.symbols(), kallsyms.how
    except (Absent, BadInput) as error:
        return SymbolTable.empty(where), f"no symbols ({error})"


def find_address(
    data: memoryview, platform: Platform, symbols: SymbolTable, text_offset: int = 0
) -> tuple[int, tuple[str, ...]]:
    """
    The address of the first byte, and in words how it is known; nothing if a symbol says it. `text_offset` is how far
    from a multiple of 2 MiB a header says the image begins.

    In front of _stext is nothing but the code that boots. Where entries are relative, kernels are linked to a multiple
    of 2 MiB, or so far from one.
    """
    for name in FIRST_SYMBOLS:
        if (address := symbols.get(name)) is not None:
            return address, ()
    stext = symbols.get("_stext")
    linked = tuple(address + text_offset for address in platform.linked)
    near = tuple(address for address in linked if stext is None or 0 <= stext - address < BOOT_CODE)
    if fit := address_by_shape(data, platform, near or linked):
        return fit.address, (f"linked to {fit.address:#x}, where the instructions of {fit.entries} entries may fault",)
    if stext is None:
        return linked[0], (f"linked to {linked[0]:#x}, as kernels of this architecture are (assumed)",)
    address = max((0, (stext - text_offset & -ALIGNMENT) + text_offset, *near))
    return address, (f"linked to {address:#x}, the last usual place before _stext (assumed)",)


def address_by_shape(data: memoryview, platform: Platform, linked: tuple[int, ...]) -> Fit | None:
    """
    Of the addresses in `linked` the one at which a table of absolute addresses is longest and its instructions may
    fault. None for a relative table, which reads the same at any address.
    """
    absolute = any(layout.addresses is Addressing.ABSOLUTE for layout in platform.exceptions.layouts)
    if not absolute or len(data) > MOST_SHAPED:
        return None
    found = []
    for address in linked:
        best = next(iter(by_shape([(address, data)], platform)), None)
        if best is None or best.entries < FEWEST or best.faulting is None or best.faulting < ENOUGH:
            continue
        if best.layout.addresses is not Addressing.ABSOLUTE:
            return None
        found.append(Fit(best.score, address, best.entries))
    return max(found, default=None)
