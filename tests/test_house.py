"""
The laws of the house that are cheap to test.

Others are held elsewhere: who may import whom by import-linter (pyproject.toml), form and types by ruff and mypy.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SRC = REPOSITORY / "src" / "pagefault"
MODULES = sorted(SRC.rglob("*.py"))
PYTHON_FILES = [*MODULES, *sorted(REPOSITORY.glob("tests/**/*.py")), *sorted(REPOSITORY.glob("bench/*.py"))]

WITHOUT_A_TEST_FILE = {
    "__main__.py": "one call of cli.main; tests of the command line run it",
    "arch/architectures.py": "arch/test_x86_32.py asks it for every mode",
    "arch/x86.py": "the rules of both modes: arch/test_x86_64.py and arch/test_x86_32.py test them in each",
    "machine/cpu.py": "the contract only: machine/test_unicorn_cpu.py tests who keeps it",
    "machine/pgd.py": "machine/test_vmalloc_32.py: a process's first table, and who writes to it later",
    "memory/physical.py": "the contract only: memory/test_ram.py tests who keeps it",
    **dict.fromkeys(
        [
            f"audit/{rule}.py"
            for rule in "boundaries context families finding handler_types order places rule tables".split()
        ],
        "audit/test_rules.py has every rule fire on a broken table, and be silent on the sound one",
    ),
    **dict.fromkeys(
        [f"audit/{step}.py" for step in "pan_windows x86_code x86_user_access x86_windows".split()],
        "steps of the reverse check: audit/test_reverse.py",
    ),
    "images/block_streams.py": "the two formats that no library reads: images/test_compression.py reads both",
    "images/boot_headers.py": "images/test_boot_image.py unwraps every kind of header",
    "images/dump_process.py": "fuzz/test_mutated_specimens.py reads a kdump through it, whole and cut off",
    "report/extable_json.py": "report/test_as_json.py holds every record to what as_json says of it",
    "images/kernel_image.py": "the contract only: the tests of vmlinux, module, raw_image and core test who keeps it",
    "images/loaded_modules.py": "oracle/test_memory_of_a_kernel.py reads a real kernel's list of modules",
    **dict.fromkeys(
        ("images/alternatives.py", "images/cpu_features.py", "images/text.py"),
        "steps of images/boot_patches.py: its tests hold the result of all to the byte",
    ),
    **dict.fromkeys(
        ("scenes/bugs.py", "scenes/good_faults.py", "scenes/prepared.py", "scenes/stage.py", "scenes/user_pointers.py"),
        "scenes/test_scenes.py plays every scene on three kernels",
    ),
    "syscalls/families.py": "imports all the others: every test of a system call needs it",
    "syscalls/observer.py": "the contract only: report and lab tests read what its two observers write down",
    "scenes/x86_32.py": "scenes/test_scenes_32.py plays every scene on two kernels",
    "scenes/vmalloc.py": "scenes/test_scenes.py plays every scene on three kernels",
}
"""Modules with functions and no tests/…/test_NAME.py, each with the reason."""


def name(path: Path) -> str:
    return path.relative_to(SRC if path.is_relative_to(SRC) else REPOSITORY).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef))


def dotted(node: ast.expr) -> str:
    """`dataclass` for @dataclass, @dataclass(frozen=True) and @dataclasses.dataclass alike."""
    return ast.unparse(node.func if isinstance(node, ast.Call) else node).rsplit(".", 1)[-1]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_rooms_are_small(path: Path) -> None:
    limit = 700 if path.is_relative_to(SRC / "arch") else 400
    assert len(path.read_text().splitlines()) <= limit, "look for the second thing in it"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name)
def test_a_file_is_named_for_what_it_holds(path: Path) -> None:
    parts = set(re.split(r"[/_.]", name(path)))
    assert not parts & {"util", "utils", "helper", "helpers", "common", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path))


@pytest.mark.parametrize("path", sorted(SRC.glob("vocabulary/*.py")), ids=name)
def test_vocabulary_imports_nothing_of_ours(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1, ast.unparse(node)
            assert "pagefault" not in (node.module or ""), ast.unparse(node)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("pagefault") for alias in node.names), ast.unparse(node)


@pytest.mark.parametrize("path", sorted(SRC.glob("vocabulary/*.py")), ids=name)
def test_vocabulary_is_frozen_data(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            frozen = any(
                isinstance(mark, ast.Call)
                and dotted(mark) == "dataclass"
                and {"frozen=True", "slots=True"} <= {ast.unparse(keyword) for keyword in mark.keywords}
                for mark in node.decorator_list
            )
            enumeration = any(dotted(base) in ("Enum", "IntEnum", "Flag", "IntFlag", "StrEnum") for base in node.bases)
            assert frozen or enumeration, node.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_our_own_errors_are_raised(path: Path) -> None:
    """But for: a mistake of ours that says so, how a command ends, and what Python's own protocols ask for."""
    protocol = {"__getattr__": "AttributeError", "__getitem__": "IndexError", "__next__": "StopIteration"}
    always = {"AssertionError", "SystemExit"} if path.is_relative_to(SRC / "cli") else {"AssertionError"}
    asked_for = {
        node: protocol[function.name]
        for function in functions(path)
        if function.name in protocol
        for node in ast.walk(function)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = getattr(builtins, dotted(node.exc), None)
            if isinstance(raised, type) and issubclass(raised, BaseException):
                allowed = {*always, asked_for.get(node)}
                assert raised.__name__ in allowed, f"line {node.lineno}: {ast.unparse(node)}"


def questions() -> set[tuple[str, str]]:
    """Module and name of every function in the tuples of Question that triage is made of."""
    found: set[tuple[str, str]] = set()
    for path in SRC.glob("handler/*.py"):
        home = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in tree(path).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in tree(path).body:
            if isinstance(node, ast.AnnAssign) and "Question" in ast.unparse(node.annotation) and node.value:
                names = {item.id for item in ast.walk(node.value) if isinstance(item, ast.Name)}
                found |= {home.get(item, (path.stem, item)) for item in names}
    return found


def test_every_question_of_the_handler_is_one_and_cites_the_kernel() -> None:
    asked = questions()
    defined: set[tuple[str, str]] = set()
    for path in sorted(SRC.glob("handler/*.py")):
        for function in functions(path):
            words, where = ast.get_docstring(function) or "", f"{name(path)} {function.name}()"
            question = (path.stem, function.name) in asked
            if question:
                defined.add((path.stem, function.name))
                assert "?" in words.partition("\n\n")[0], f"{where} asks no question"
            if question or function.name.startswith("do_"):
                cited = re.search(r"^Kernel:.*?\bv\d+\.\d+", words, re.MULTILINE | re.DOTALL)
                assert cited, f"{where} lacks its `Kernel:` line with a version"
    assert asked
    assert defined == asked


def has_functions(path: Path) -> bool:
    return any(True for _ in functions(path))


def test_tests_mirror_src() -> None:
    missing, needless = [], []
    for path in MODULES:
        place = path.relative_to(SRC)
        counterpart = "test_*.py" if place.name == "__init__.py" else f"test_{place.name}"
        tested = any((REPOSITORY / "tests" / place.parent).glob(counterpart))
        excused = place.as_posix() in WITHOUT_A_TEST_FILE
        if has_functions(path) and not tested and not excused:
            missing.append(place.as_posix())
        if excused and tested:
            needless.append(place.as_posix())
    gone = [place for place in WITHOUT_A_TEST_FILE if not (SRC / place).exists()]
    assert not missing, "a module with functions has a tests/…/test_NAME.py, or a reason in WITHOUT_A_TEST_FILE"
    assert not needless, "these have a test file and need no excuse"
    assert not gone


def tracked_files() -> Iterator[Path]:
    for path in REPOSITORY.rglob("*"):
        parts = path.relative_to(REPOSITORY).parts
        made = any(part == "__pycache__" or (part.startswith(".") and part != ".ci") for part in parts)
        if path.is_file() and not made and parts[0] != "dist" and parts[:2] != ("kernel", "build"):
            yield path


def test_no_file_names_the_machine_it_was_written_on() -> None:
    folders = b"|".join((rb"home/\w", rb"Users/\w", rb"root/", rb"work/", rb"tmp/\w+/"))
    somewhere = re.compile(rb"(?<![\w.*])/(?:" + folders + rb")[^\s\x00]*")
    found = {name(path): hits for path in tracked_files() if (hits := somewhere.findall(path.read_bytes()))}
    assert found == {}
