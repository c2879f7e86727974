"""
A real Linux under QEMU: a kernel, an initial file system of busybox and a few files, and a script that runs as root.

    with Guest(vmlinuz, files={"/evdev.ko": path}, script="insmod /evdev.ko") as guest:
        guest.dump(path)            # an ELF vmcore
        guest.serial                # what the kernel and the script printed
        guest.console               # what programs in it wrote to port 0xe9: bytes, without a driver in between

With `init`, a program of our own, there is no busybox and no script: it says READY when it has done its work.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

READY = "the guest is ready"
PATIENCE = 240.0
"""Seconds. A guest is up in three; with a busy machine around it, later."""
INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
sh /script 2>&1
echo '{READY}'
sleep 100000
"""


class NoGuestError(Exception):
    """No guest can be had here; the text says why, and what would help."""


class Guest:
    """One boot, up when the script has ended. Raises NoGuestError."""

    def __init__(
        self,
        vmlinuz: Path,
        *,
        files: Mapping[str, Path],
        script: str = "",
        init: Path | None = None,
        qemu: str = "qemu-system-x86_64",
        memory: int = 256,
        cpus: str = "1",
        cpu: str = "max",
        options: str = "",
        patience: float = PATIENCE,
    ) -> None:
        for tool, package in {qemu: "qemu-system-x86", **TOOLS}.items():
            if shutil.which(tool) is None and not (tool == "busybox" and init):
                raise NoGuestError(f"there is no {tool} here (Debian: apt-get install {package})")
        self._folder = tempfile.TemporaryDirectory(prefix="pagefault-guest-")
        work = Path(self._folder.name)
        self._serial, self._console = work / "serial", work / "console"
        if init is None:
            busybox(work / "root", script)
        else:
            files = {**files, "/init": init}
        pack(work / "root", files, work / "initrd")
        arguments = f"-m {memory} -smp {cpus} -cpu {cpu} -device vmcoreinfo -display none -no-reboot -accel tcg".split()
        arguments += ["-kernel", str(vmlinuz), "-initrd", str(work / "initrd")]
        arguments += ["-append", f"console=ttyS0 quiet {options}", "-serial", f"file:{self._serial}"]
        arguments += ["-debugcon", f"file:{self._console}", "-qmp", f"unix:{work / 'qmp'},server,nowait"]
        self._process = subprocess.Popen([qemu, *arguments], stdin=subprocess.DEVNULL)
        try:
            self._wait(patience)
        except BaseException:
            self.close()
            raise

    def _wait(self, patience: float) -> None:
        end = time.monotonic() + patience
        while READY not in self.serial:
            if self._process.poll() is not None or time.monotonic() > end:
                raise NoGuestError(f"the guest did not come up; it said:\n{self.serial[-2000:]}")
            time.sleep(0.1)

    @property
    def serial(self) -> str:
        return self._serial.read_text(errors="replace") if self._serial.exists() else ""

    @property
    def console(self) -> bytes:
        return self._console.read_bytes()

    def dump(self, path: Path, **arguments: object) -> None:
        """The guest's memory as a vmcore; `arguments` are those of QMP's dump-guest-memory (`format`)."""
        self.ask("dump-guest-memory", paging=False, protocol=f"file:{path}", **arguments)

    def ask(self, command: str, **arguments: object) -> Any:
        """One QMP command, answered."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(Path(self._folder.name) / "qmp"))
            stream = channel.makefile("rw")
            stream.readline()
            for each in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(each) + "\n")
                stream.flush()
                while "event" in (answer := json.loads(stream.readline())):
                    pass
                assert "error" not in answer, answer
            return answer["return"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


TOOLS = {"cpio": "cpio", "busybox": "busybox-static"}
"""What has to be here, and Debian's packages that have it."""


def busybox(root: Path, script: str) -> None:
    """A first process of busybox that runs the script."""
    (root / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
    (root / "script").write_text(script)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)


def pack(root: Path, files: Mapping[str, Path], initrd: Path) -> None:
    """The initial file system: what `root` has, and `files` (places in the guest -> files or folders here).

    A file NAME.xz goes in unpacked when its place does not end so: newer kernels' modules are stored that way.
    """
    for folder in ("proc", "sys", "dev", "tmp"):
        (root / folder).mkdir(parents=True)
    for place, source in files.items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.suffix == ".xz" and target.suffix != ".xz":
            target.write_bytes(lzma.decompress(source.read_bytes()))
        else:
            shutil.copy(source, target)
    with initrd.open("wb") as archive:
        names = "\n".join(sorted(os.path.relpath(path, root) for path in root.rglob("*")))
        command = ["cpio", "--create", "--format=newc", "--quiet"]
        subprocess.run(command, input=names.encode(), stdout=archive, cwd=root, check=True)
