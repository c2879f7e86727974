"""
Debian's kernel packages of every architecture, as they are installed: boot image, System.map, modules.

They are fetched with apt, whatever architecture this machine has: apt gets lists of its own in the cache folder, so the
system's configuration stays as it is. A package is unpacked, never installed:

    foreign/arm64/linux-image-6.1.0-50-cloud-arm64_6.1.176-1/{boot,lib/modules}

$PAGEFAULT_FOREIGN names a folder that has them already, as ARCHITECTURE-FLAVOUR/{boot,lib/modules}.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from debian_kernel import NoKernelError, cache_folder, locked, ran, say, size

FLAVOURS = {
    "amd64": "cloud-amd64",
    "i386": "686-pae",
    "arm64": "cloud-arm64",
    "armhf": "armmp",
    "armel": "rpi",
    "mips64el": "5kc-malta",
    "mipsel": "4kc-malta",
    "ppc64el": "powerpc64le",
    "s390x": "s390x",
}
"""Every architecture that Debian 12 has a kernel for, and the flavour we take: the smallest."""
APT = """
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "{folder}";
Dir::State::status "/dev/null";
Dir::Cache "{folder}";
"""


@dataclass(frozen=True, slots=True)
class ForeignKernel:
    """An unpacked package; `release` is what `uname -r` says when it runs."""

    architecture: str
    release: str
    folder: Path

    @property
    def boot(self) -> Path:
        """The boot image: vmlinuz, or vmlinux where the architecture boots that."""
        return next(path for path in sorted((self.folder / "boot").iterdir()) if path.name.startswith("vmlinu"))

    @property
    def system_map(self) -> Path:
        return self.folder / "boot" / f"System.map-{self.release}"

    @property
    def modules(self) -> Path:
        """/lib/modules/RELEASE."""
        return self.folder / "lib" / "modules" / self.release


@cache
def foreign_kernel(architecture: str, flavour: str | None = None) -> ForeignKernel:
    """The newest kernel of `architecture` (a key of FLAVOURS) that this Debian has. Raises NoKernelError."""
    flavour = flavour or FLAVOURS[architecture]
    if named := os.environ.get("PAGEFAULT_FOREIGN"):
        return unpacked(architecture, Path(named) / f"{architecture}-{flavour}")
    for tool in ("apt-cache", "apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NoKernelError(f"Debian's {architecture} kernel is fetched with apt, and there is no {tool} here")
    folder = cache_folder() / "foreign" / architecture
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            return unpacked(architecture, cached_or_fetched(architecture, flavour, folder))
    except OSError as error:
        raise NoKernelError(f"the kernel cache {folder} cannot be used: {error}") from error


def cached_foreign_kernels() -> list[ForeignKernel]:
    """Those that are there without fetching anything, the newest of each architecture."""
    found = []
    for architecture, flavour in FLAVOURS.items():
        if named := os.environ.get("PAGEFAULT_FOREIGN"):
            folders = [Path(named) / f"{architecture}-{flavour}"]
        else:
            folders = sorted((cache_folder() / "foreign" / architecture).glob("linux-image-*_*"), key=mtime)
        with contextlib.suppress(NoKernelError, IndexError):
            found.append(unpacked(architecture, folders[-1]))
    return found


def mtime(path: Path) -> float:
    return path.stat().st_mtime


def unpacked(architecture: str, folder: Path) -> ForeignKernel:
    maps = sorted((folder / "boot").glob("System.map-*")) if folder.is_dir() else []
    if not maps:
        raise NoKernelError(f"{folder} holds no unpacked kernel package")
    return ForeignKernel(architecture, maps[-1].name.removeprefix("System.map-"), folder)


def cached_or_fetched(architecture: str, flavour: str, folder: Path) -> Path:
    """The current version's folder, fetched if need be; an older one if the current one cannot be had."""
    try:
        return fetched(architecture, flavour, folder)
    except NoKernelError as reason:
        older = [path for path in folder.glob(f"linux-image-*-{flavour}*_*") if path.is_dir()]
        if not older:
            raise
        newest = max(older, key=mtime)
        say(f"{reason}; using {newest}")
        return newest


def fetched(architecture: str, flavour: str, folder: Path) -> Path:
    apt = folder / "apt"
    for needed in ("lists/partial", "archives/partial"):
        (apt / needed).mkdir(parents=True, exist_ok=True)
    (apt / "apt.conf").write_text(APT.format(architecture=architecture, folder=apt))
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "LC_ALL": "C"}
    name, version, total = current(architecture, flavour, environment)
    place = folder / f"{name}_{version}"
    if place.is_dir():
        return place
    for left in folder.glob("fetching-*"):  # by a run that was killed: we hold the lock
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=folder) as temporary:
        work = Path(temporary)
        download = ["env", f"APT_CONFIG={apt / 'apt.conf'}", "apt-get", "download", f"{name}={version}"]
        ran(download, work, f"downloading {name}", total, lambda: sum(map(size, work.rglob("*"))))
        (deb,) = work.glob("*.deb")
        ran(["dpkg-deb", "-x", str(deb), str(work / "tree")], work, f"unpacking {name}")
        (work / "tree").rename(place)
    return place


def current(architecture: str, flavour: str, environment: dict[str, str]) -> tuple[str, str, int]:
    """Name, version and size of the package that the flavour's meta-package depends on."""

    def ask(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout

    for attempt in range(2):
        depends = ask("apt-cache", "depends", f"linux-image-{flavour}")
        if found := re.search(r"^\s+Depends: (linux-image-\d[^\s:]*)", depends, re.MULTILINE):
            record = ask("apt-cache", "show", "--no-all-versions", found[1])
            fields = dict(re.findall(r"^(Version|Size): (\S+)$", record, re.MULTILINE))
            if "Version" in fields and "Size" in fields:
                return found[1], fields["Version"], int(fields["Size"])
        if attempt == 0:
            say(f"fetching Debian's list of {architecture} packages")
            # One archive's list that cannot be had is no reason to stop: another may have the kernel.
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False, env=environment)
    raise NoKernelError(f"apt has no linux-image-{flavour} for {architecture}")
