from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from click.testing import Result

import pagefault
from pagefault.errors import BadInput

Run = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(run: Run, option: str) -> None:
    result = run(option)
    assert result.exit_code == 0
    for command in ("run", "call", "extable"):
        assert f"\n  {command} " in result.stdout
        assert run(command, option).exit_code == 0


def test_version(run: Run, process: Process) -> None:
    assert run("--version").stdout == f"pagefault, version {pagefault.__version__}\n"
    assert process("--version").stdout == f"pagefault, version {pagefault.__version__}\n"


def test_help_imports_nothing_heavy(environment: dict[str, str], python: str) -> None:
    program = (
        "import sys\nfrom pagefault.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(sorted({'unicorn', 'numpy', 'capstone', 'elftools', 'rich'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == "[]\n"


def test_the_front_door() -> None:
    assert set(pagefault.__all__) <= set(dir(pagefault))
    for name in pagefault.__all__:
        assert getattr(pagefault, name) is not None
    assert pagefault.Machine.__name__ == "Machine"
    assert pagefault.BadInput is BadInput
    with pytest.raises(AttributeError):
        getattr(pagefault, "no_such_name")  # noqa: B009 -- mypy would believe __getattr__ that the name is there
