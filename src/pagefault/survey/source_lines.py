"""
Where in the source an instruction was written, through all the functions inlined there, from DWARF.

    SourceLines.open(image).at(address)          # (SourceLine("fault_in_readable", "mm/gup.c", 1870), …)

DWARF is drgn's to read. It indexes one compilation unit at a time, so a few hundred addresses of a vmlinux of 590 MB
take a second. Nothing is asked of the network (debuginfod): debug information is in the image, in the file that
`debug` names, or where the distribution installs it (/usr/lib/debug, by build ID or .gnu_debuglink).
"""

from __future__ import annotations

import posixpath
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Absent, BadInput
from ..images.kernel_image import KernelImage
from .described import SourceLine

if TYPE_CHECKING:
    from drgn import Program

BUILD_FOLDER = re.compile(r"/.*?/linux[^/]*/(?!linux)")
"""Where the kernel was built, as distributions do: /build/…/linux-6.1.176/arch/x86/entry/entry_64.S."""


class SourceLines:
    """The lines of one image. `file` is where they come from."""

    def __init__(self, program: Program, file: str) -> None:
        self.program, self.file = program, file

    @classmethod
    def open(cls, image: KernelImage, *, debug: str | Path | None = None) -> SourceLines:
        """
        The debug information of an image: its own, or that of the file `debug`, which must be of the same build.

        Errors: Absent if there is none, or drgn is not installed; BadInput if `debug` is no regular file.
        """
        try:
            import drgn
        except ImportError:
            hint = "install drgn, which reads it: pip install drgn"
            raise Absent("reader of debug information", where=image.path, hint=hint) from None
        program = drgn.Program(platform_of(image))
        program.set_enabled_debug_info_finders(["standard"])
        file = str(image.path if debug is None else debug)
        if debug is not None and not Path(debug).is_file():
            raise BadInput(file, expected="a file with debug information", got="no regular file")
        with suppress(Exception):  # drgn fails in many ways on a file that is none of its own: each means no lines
            module = kernel_module(program, image)
            module.try_file(file, force=True)
            if module.debug_file_status is not drgn.ModuleFileStatus.HAVE:
                program.load_module_debug_info(module)
            if module.debug_file_status is drgn.ModuleFileStatus.HAVE:
                return cls(program, module.debug_file_path or file)
        hint = "Debian has it in the packages whose names end in -dbg, Fedora in kernel-debuginfo"
        raise Absent("debug information", where=file, hint=hint)

    def at(self, address: int) -> tuple[SourceLine, ...]:
        """
        The chain of functions at an address, the innermost inlined one first; empty if no line is known for it.
        """
        try:
            found = self.program.source_location(address)
        except Exception:  # noqa: BLE001 -- LookupError where there is no line, drgn's own where DWARF is broken
            return ()
        return tuple(
            SourceLine(function=each.name() or "", file=within_source(each.filename), line=each.line) for each in found
        )


def platform_of(image: KernelImage) -> Any:
    """drgn's name for the image's platform: lines are the same on all architectures of a width and byte order."""
    from drgn import Architecture, Platform, PlatformFlags

    flags = PlatformFlags(0)
    if image.platform.bits == 64:
        flags |= PlatformFlags.IS_64_BIT
    if image.platform.byte_order == "little":
        flags |= PlatformFlags.IS_LITTLE_ENDIAN
    return Platform(Architecture.UNKNOWN, flags)


def kernel_module(program: Program, image: KernelImage) -> Any:
    """
    What drgn calls a module: the kernel where it was linked to be, or a relocatable module with its sections where the
    image puts them.
    """
    if image.module is None:
        module = program.extra_module(image.path, 0, create=True)
        # Given two ranges instead of one, drgn takes addresses as they are in the file.
        half = 1 << image.platform.bits - 1
        module.address_ranges = [(0, half), (half, 2 * half - 1)]
        return module
    relocatable = program.relocatable_module(image.module, image.sections[0].address, create=True)
    relocatable.address_range = (image.sections[0].address, image.sections[-1].end)
    for section in image.sections:
        relocatable.section_addresses[section.name] = section.address
    return relocatable


def within_source(file: str) -> str:
    """A file's name from the top of the kernel's source on, as far as one can tell."""
    return posixpath.normpath(BUILD_FOLDER.sub("", file, count=1)) if file else ""
