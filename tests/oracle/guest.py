"""
A real Linux under QEMU: Debian's kernel with a busybox of the host's, a few files and a script; then its memory.
dumped.

    with Guest(vmlinuz, files={"/evdev.ko": path}, script="insmod /evdev.ko") as guest:
        guest.dump(path)            # an ELF vmcore
        guest.serial                # what the kernel and the script printed
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
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
sh /script 2>&1
echo '{READY}'
sleep 100000
"""


class NoGuestError(Exception):
    """No guest can be had here; the text says why, and what would help."""


class Guest:
    """One boot. `serial` is everything printed so far."""

    def __init__(
        self, vmlinuz: Path, *, files: dict[str, Path], script: str, memory: int = 256, options: str = ""
    ) -> None:
        for tool, package in (
            ("qemu-system-x86_64", "qemu-system-x86"),
            ("cpio", "cpio"),
            ("busybox", "busybox-static"),
        ):
            if shutil.which(tool) is None:
                raise NoGuestError(f"there is no {tool} here (Debian: apt-get install {package})")
        self._folder = tempfile.TemporaryDirectory(prefix="pagefault-guest-")
        work = Path(self._folder.name)
        self._serial = work / "serial.log"
        initrd = work / "initrd"
        pack(work / "root", files, script, initrd)
        arguments = f"-m {memory} -smp 2 -cpu max -device vmcoreinfo -display none -no-reboot".split()
        arguments += ["-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", f"console=ttyS0 quiet {options}"]
        arguments += ["-serial", f"file:{self._serial}", "-qmp", f"unix:{work / 'qmp'},server,nowait"]
        self._process = subprocess.Popen(["qemu-system-x86_64", *arguments], stdin=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while READY not in self.serial:
            if self._process.poll() is not None or time.monotonic() > end:
                self.close()
                raise NoGuestError(f"the guest did not come up; it said:\n{self.serial[-2000:]}")
            time.sleep(0.1)

    @property
    def serial(self) -> str:
        return self._serial.read_text(errors="replace") if self._serial.exists() else ""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._folder.cleanup()


def pack(root: Path, files: dict[str, Path], script: str, initrd: Path) -> None:
    """The initial file system: busybox, the script, and `files` (places in the guest -> files or folders here)."""
    for folder in ("bin", "proc", "sys", "dev", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin" / "busybox")
    (root / "script").write_text(script)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    for place, source in files.items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    with initrd.open("wb") as archive:
        names = "\n".join(sorted(os.path.relpath(path, root) for path in root.rglob("*")))
        command = ["cpio", "--create", "--format=newc", "--quiet"]
        subprocess.run(command, input=names.encode(), stdout=archive, cwd=root, check=True)
