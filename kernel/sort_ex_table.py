# SPDX-License-Identifier: MIT
"""Sort the exception table of a linked ELF file in place, by the package's own builder: the kernel's own link step."""

from __future__ import annotations

import sys
from pathlib import Path

from pagefault.arch.x86_exception_types import DATA
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.extable_build import sort_table

for path in map(Path, sys.argv[1:]):
    image = Vmlinux.open(path)
    found = image.section("__ex_table")
    assert found is not None, f"{path} has no section __ex_table"
    _, table = found
    with path.open("r+b") as file:
        file.seek(image.file_offset(table))
        file.write(sort_table(bytes(table), DATA))
