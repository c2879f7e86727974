"""
What a module is built against: Debian's linux-headers of a kernel, and the build's own tools (linux-kbuild).

$PAGEFAULT_LAB_HEADERS names a folder of unpacked packages ({usr/src,usr/lib}); without it they are fetched with apt
into the cache that the tests have, and never installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.guest import NoGuestError
from lab.kernels import TESTS, Kernel


def headers(kernel: Kernel) -> Path:
    """The folder in which a module for this kernel is built. Raises NoGuestError."""
    named = os.environ.get("PAGEFAULT_LAB_HEADERS")
    folder = Path(named) if named else fetched(kernel)
    found = folder / "usr" / "src" / f"linux-headers-{kernel.release}"
    if not found.is_dir():
        raise NoGuestError(f"{folder} has no headers of {kernel.release}")
    return found


def makefile(headers: Path) -> Path:
    """The kernel's own: the package's includes it by the place that it has when it is installed."""
    included = re.search(r"^include \S*/([^/\s]+)/Makefile", (headers / "Makefile").read_text(), re.MULTILINE)
    assert included, f"{headers / 'Makefile'} is not the one of Debian's packages"
    return headers.parent / included[1] / "Makefile"


def fetched(kernel: Kernel) -> Path:
    sys.path.append(str(TESTS))
    from debian_kernel import NoKernelError, cache_folder, locked, ran
    from foreign_kernel import APT

    here = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    cache = cache_folder() / "headers"
    folder = cache / kernel.release
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock"):
        if folder.is_dir():
            return folder
        try:
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                work = Path(temporary)
                theirs = apt(cache, kernel.architecture, APT)
                name = f"linux-headers-{kernel.release}"
                depends = ask(["apt-cache", "depends", name], theirs)
                others = re.findall(r"Depends: (linux-(?:headers|kbuild)-[^\s:]+)", depends)
                if not others:
                    raise NoGuestError(f"apt has no {name} for {kernel.architecture}")
                for package in [name, *others]:
                    # The build's tools are programs that run here; all else is the kernel's.
                    architecture = here if package.startswith("linux-kbuild") else kernel.architecture
                    config = apt(cache, architecture, APT)["APT_CONFIG"]
                    command = ["env", f"APT_CONFIG={config}", "apt-get", "download", package]
                    ran(command, work, f"downloading {package}")
                for deb in work.glob("*.deb"):
                    ran(["dpkg-deb", "-x", str(deb), str(work / "tree")], work, f"unpacking {deb.name}")
                (work / "tree").rename(folder)
        except NoKernelError as reason:
            raise NoGuestError(str(reason)) from reason
    return folder


def apt(cache: Path, architecture: str, template: str) -> dict[str, str]:
    """The environment in which apt knows this architecture's packages, by lists of its own."""
    folder = cache / f"apt-{architecture}"
    new = not folder.is_dir()
    for needed in ("lists/partial", "archives/partial"):
        (folder / needed).mkdir(parents=True, exist_ok=True)
    (folder / "apt.conf").write_text(template.format(architecture=architecture, folder=folder))
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
    if new:
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False, env=environment)
    return environment


def ask(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout
