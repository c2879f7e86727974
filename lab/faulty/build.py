"""
faulty.ko for a real kernel, the program that asks for its bugs, and the same code for the machine.

The code is the package's own (kernel/faulty.c, with kernel/Makefile's flags), so that in the guest and in the machine
the same bytes run: the kernel's build adds main.c only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from lab.guest import NoGuestError
from lab.headers import headers, makefile
from lab.kernels import Kernel

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "kernel"
LINKED_32 = HERE / "faulty.32.elf"
"""The x86-32 code as the machine loads it; x86-64's is in the package. `python -m lab.faulty.build` makes it."""
INIT = "-Os -static -nostdlib -ffreestanding -fno-builtin -fno-pie -no-pie -fno-stack-protector -fno-ident".split()
INIT += "-fno-asynchronous-unwind-tables -fcf-protection=none -mno-sse -Wall -Wextra -Werror".split()
INIT += ["-Wl,--build-id=none", "-Wl,-z,noexecstack"]
TO_32 = {"-mcmodel=kernel": "-m32", "-mno-red-zone": "-mregparm=3"}
"""What x86-64's flags are on x86-32."""


def build_module(kernel: Kernel, folder: Path) -> Path:
    """
    faulty.ko, built in `folder`. Raises NoGuestError.

    bugs.o comes to the kernel's build as an object; it takes one that has a .cmd file for its own. Unwinding through
    the code needs ORC entries. Where the build does not write them for the whole module at its end (which it does with
    IBT), it has to be asked for them.
    """
    tools = headers(kernel)
    folder.mkdir(parents=True)
    for name in ("main.c", "Kbuild"):
        shutil.copy(HERE / name, folder)
    bugs = compile_bugs(folder, bits(kernel), flags_in_alternatives=kernel.series == "6.12")
    (folder / ".bugs.o.cmd").touch()
    if bits(kernel) == 64 and "CONFIG_X86_KERNEL_IBT=y" not in (tools / ".config").read_text():
        run([str(tools / "tools" / "objtool" / "objtool"), "--orc", "--module", str(bugs)], folder)
    # No BTF: it would need the kernel's own, and pahole.
    make = ["make", "-s", "-C", str(tools), "-f", str(makefile(tools)), f"M={folder}", "CONFIG_DEBUG_INFO_BTF_MODULES="]
    run([*make, "modules"], folder)
    return folder / "faulty.ko"


def build_init(kernel: Kernel, folder: Path) -> Path:
    """The guest's first process."""
    there = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
    target = folder / "init"
    flags = [f"-m{bits(kernel)}", *INIT, "-idirafter", f"/usr/include/{there}"]
    run(["gcc", *flags, "-o", str(target), str(HERE / "init.c")], folder)
    return target


def compile_bugs(folder: Path, bits: int, *, flags_in_alternatives: bool = False) -> Path:
    """
    bugs.o: the package's module for 32 or 64 bits.

    `flags_in_alternatives`: a struct alt_instr has its flags in a word of their own.
    Kernel: arch/x86/include/asm/alternative.h struct alt_instr, v6.12.
    """
    include = folder / "include"
    shutil.copytree(SOURCE / "include", include, dirs_exist_ok=True)
    if flags_in_alternatives:
        macros = (include / "macros.s").read_text()
        (include / "macros.s").write_text(macros.replace("\t.word\t\\feature\n", "\t.word\t\\feature, 0\n"))
    flags = [TO_32.get(flag, flag) if bits == 32 else flag for flag in package_flags()]
    run(["gcc", *flags, f"-I{include}", f"-Wa,-I{include}", "-c", "-o", "faulty_c.o", str(SOURCE / "faulty.c")], folder)
    emulation = "elf_i386" if bits == 32 else "elf_x86_64"
    run(["ld", "-m", emulation, "-r", "-T", str(HERE / "bugs.lds"), "-o", "bugs.o", "faulty_c.o"], folder)
    return folder / "bugs.o"


def package_flags() -> list[str]:
    """CFLAGS of the package's own build."""
    found = re.search(r"^CFLAGS\t= ((?:.*\\\n)*.*)$", (SOURCE / "Makefile").read_text(), re.MULTILINE)
    assert found, "kernel/Makefile sets CFLAGS"
    return [flag for flag in found[1].replace("\\\n", " ").split() if "Iinclude" not in flag]


def link_32(folder: Path) -> Path:
    """The x86-32 code with addresses: text, constants and data a page each."""
    bugs = compile_bugs(folder, 32)
    target = folder / "faulty.elf"
    run(["ld", "-m", "elf_i386", "-T", str(HERE / "faulty.32.lds"), "-o", str(target), str(bugs)], folder)
    run(["strip", "--strip-debug", "--discard-locals", str(target)], folder)
    return target


def bits(kernel: Kernel) -> int:
    return 32 if kernel.architecture == "i386" else 64


def run(command: list[str], folder: Path) -> None:
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise NoGuestError(f"there is no {missing.filename} here") from missing
    if ran.returncode:
        raise NoGuestError(f"{command[0]} failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        shutil.copy(link_32(Path(temporary)), LINKED_32)
