"""This Python, with what pagefault needs of it, as files for a guest's memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path

import pagefault

PACKAGES = ("numpy", "capstone", "pyelftools", "drgn", "click", "rich")
LEFT_OUT = re.compile(r"(^|/)(tests?|__pycache__|idlelib|ensurepip|lib2to3|tkinter|config-[^/]*|[^/]*-packages)(/|$)")
"""Of Python's library and the packages: what a program does not import."""
PLACE = "/python"


def python_files() -> dict[str, Path]:
    """Places in the guest -> files here. `run` says how to start it."""
    interpreter = Path(sys.executable).resolve()
    library = Path(os.__file__).parent
    found = {str(interpreter): interpreter, f"{PLACE}/pagefault": Path(pagefault.__file__).parent}
    found |= {str(path): path for path in plain_files(library)}
    for package in PACKAGES:
        for file in files(package) or ():
            source = Path(str(file.locate()))
            if source.is_file() and file.parts[0] != ".." and not LEFT_OUT.search(str(file)):
                found[f"{PLACE}/{file}"] = source
    native = [path for path in found.values() if ".so" in path.name]
    for shared in shared_libraries([interpreter, *native]):
        found.setdefault(str(shared), shared.resolve())
    return found


def run(arguments: str) -> str:
    """A shell command for the guest that runs Python."""
    return f"PYTHONPATH={PLACE} PYTHONDONTWRITEBYTECODE=1 {Path(sys.executable).resolve()} {arguments}"


def plain_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not LEFT_OUT.search(str(path.relative_to(folder))):
            yield path


def shared_libraries(programs: Iterable[Path]) -> set[Path]:
    """What the dynamic linker loads with them, outside of their own packages."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    loaded = {Path(path) for path in re.findall(r"(/\S+) \(0x", said)}
    inside = Path(str(find_spec("numpy").origin)).parent.parent  # type: ignore[union-attr]
    return {path for path in loaded if not path.resolve().is_relative_to(inside)}
