"""
Debian's cloud kernels, with symbols: found in a cache folder, or fetched with apt.

The cache is $PAGEFAULT_CACHE, else $XDG_CACHE_HOME/pagefault, else ~/.cache/pagefault. A folder in it is one version:

    6.1.192-2/vmlinux-6.1.0-56-cloud-amd64      (about 600 MB, out of a package of 300 MB, which is not kept)
    6.1.192-2/System.map-6.1.0-56-cloud-amd64   (out of the same package)

A package's name carries the kernel's version, which moves: a meta-package says which is the current one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class NoKernelError(Exception):
    """The kernel cannot be had here; the text says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of debug symbols: `name`, `version`, and `size` in bytes to download."""

    name: str
    version: str
    size: int

    @property
    def release(self) -> str:
        """What `uname -r` says when this kernel runs."""
        return self.name.removeprefix("linux-image-").removesuffix("-dbg")

    def path(self, cache: Path) -> Path:
        return cache / self.version / f"vmlinux-{self.release}"

    def is_in(self, cache: Path) -> bool:
        return self.path(cache).exists() and system_map(self.path(cache)).exists()


def vmlinux(series: str) -> Path:
    """The newest `vmlinux` of `series` ("6.1", "6.12") that this Debian has. Raises NoKernelError."""
    variable = "PAGEFAULT_KERNEL_" + series.replace(".", "")
    if named := os.environ.get(variable):
        if not Path(named).is_file():
            raise NoKernelError(f"{variable} names {named}, which is not a file")
        return Path(named)
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock"):
            return cached_or_fetched(series, cache)
    except OSError as error:
        raise NoKernelError(f"the kernel cache {cache} cannot be used: {error}") from error


def system_map(path: Path) -> Path:
    """The System.map beside the vmlinux at `path`, as the package and the cache have them."""
    return path.with_name(path.name.replace("vmlinux", "System.map"))


def cached_vmlinux(series: str) -> Path | None:
    """What is there without fetching anything."""
    if named := os.environ.get("PAGEFAULT_KERNEL_" + series.replace(".", "")):
        return Path(named)
    here = cache_folder().glob(f"*/vmlinux-{series}.*-cloud-amd64")
    return max(here, key=lambda path: path.stat().st_mtime, default=None)


def cache_folder() -> Path:
    if named := os.environ.get("PAGEFAULT_CACHE"):
        return Path(named)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "pagefault"
    home = os.environ.get("HOME")
    return Path(home) / ".cache" / "pagefault" if home else REPOSITORY / ".cache"


def cached_or_fetched(series: str, cache: Path) -> Path:
    """The current version, fetched if need be; an older one if the current one cannot be had."""
    try:
        package = current_package(series)
        if not package.is_in(cache):
            fetch(package, cache)
        return package.path(cache)
    except NoKernelError as reason:
        older = cached_vmlinux(series)
        if older is None:
            raise
        say(f"{reason}; using {older}")
        return older


def current_package(series: str) -> Package:
    """What a meta-package depends on: the one for this series, or the Debian release's default."""
    for tool in ("apt-cache", "apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            raise NoKernelError(f"Linux {series} is fetched with apt, and there is no {tool} here")
    package = candidate(series)
    if package is None and os.geteuid() == 0:
        say("apt knows no such kernel: running apt-get update")
        ran(["apt-get", "update"])
        package = candidate(series)
    if package is None:
        raise NoKernelError(
            f"apt has no linux-image-{series}…-cloud-amd64-dbg (on Debian, apt-get update may be needed)"
        )
    return package


def candidate(series: str) -> Package | None:
    names = rf"^\s+Depends: (linux-image-{re.escape(series)}\.\S+-cloud-amd64-dbg)$"
    for meta in (f"linux-image-{series}-cloud-amd64-dbg", "linux-image-cloud-amd64-dbg"):
        found = re.search(names, output(["apt-cache", "depends", meta]), re.MULTILINE)
        if not found:
            continue
        record = output(["apt-cache", "show", "--no-all-versions", found[1]])
        fields = dict(re.findall(r"^(Version|Size): (\S+)$", record, re.MULTILINE))
        if "Version" in fields and "Size" in fields:
            return Package(found[1], fields["Version"], int(fields["Size"]))
    return None


def fetch(package: Package, cache: Path) -> None:
    """Download the package, take the two files out of it, and put each into its place in one step."""
    for left in cache.glob("fetching-*"):  # by a run that was killed: we hold the lock
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=cache) as folder:
        work = Path(folder)
        download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", f"{package.name}={package.version}"]
        ran(download, work, f"downloading {package.name}", package.size, lambda: sum(map(size, work.rglob("*"))))
        (deb,) = work.glob("*.deb")
        path, packed = package.path(cache), "usr/lib/debug/boot"
        names = [path.name, system_map(path).name]
        unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -xm "${@:2}"'
        members = [f"./{packed}/{name}" for name in names]
        command = ["bash", "-c", f"set -o pipefail; {unpack}", "unpack", str(deb), *members]
        ran(command, work, f"unpacking {path.name}", 0, lambda: size(work / packed / path.name))
        path.parent.mkdir(exist_ok=True)
        for name in names:
            (work / packed / name).rename(path.with_name(name))


def ran(
    command: list[str], folder: Path | None = None, doing: str = "", total: int = 0, done: Callable[[], int] = int
) -> None:
    """Run a command to its end, saying every few seconds how many bytes are `done` if it takes longer than one."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait = 1.0
            while True:
                try:
                    status = process.wait(wait)
                    break
                except subprocess.TimeoutExpired:
                    wait = 5.0
                    if doing:
                        say(f"{doing}: {done() >> 20} MiB" + (f" of {total >> 20}" if total else ""))
        finally:
            process.kill()
            process.wait()
        if status:
            log.seek(0)
            last = (log.read().strip().splitlines() or ["no message"])[-1]
            raise NoKernelError(f"{command[0]} failed with status {status}: {last}")


def output(command: list[str]) -> str:
    """What a query prints; nothing if it fails (apt-cache does for a name it has never heard of)."""
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    ).stdout


def size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # apt renames while we look
        return 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time: others wait here until the first has fetched."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run to finish fetching ({path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
