"""Debian's kernels for the tests that ask for one, and how hypothesis runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

import foreign_kernel as foreign
from debian_kernel import NoKernelError, vmlinux

CI = os.environ.get("CI", "").lower() in ("true", "1")
KERNELS = {"vmlinux_61", "vmlinux_612", "foreign_kernel"}
Kernel = TypeVar("Kernel")
MISSING = pytest.StashKey[dict[str, str]]()

# No deadline anywhere: a test's time is the machine's business. CI draws the same examples every time.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if CI else "dev")


@pytest.fixture(scope="session")
def vmlinux_61(request: pytest.FixtureRequest) -> Path:
    """Debian's 6.1 cloud kernel, with symbols. In CI it must be there."""
    return debian_kernel(request, "6.1", required=CI)


@pytest.fixture(scope="session")
def vmlinux_612(request: pytest.FixtureRequest) -> Path:
    """Debian's 6.12 cloud kernel, with symbols."""
    return debian_kernel(request, "6.12", required=False)


def debian_kernel(request: pytest.FixtureRequest, series: str, *, required: bool) -> Path:
    return fetched(request, f"Linux {series}", lambda: vmlinux(series), required=required)


@pytest.fixture(scope="session")
def foreign_kernel(request: pytest.FixtureRequest) -> Callable[[str], foreign.ForeignKernel]:
    """`foreign_kernel("s390x")`: that architecture's kernel package of Debian's, unpacked. In CI it must be there."""

    def kernel(architecture: str) -> foreign.ForeignKernel:
        what = f"Linux for {architecture}"
        return fetched(request, what, lambda: foreign.foreign_kernel(architecture), required=CI)

    return kernel


def fetched(request: pytest.FixtureRequest, what: str, fetch: Callable[[], Kernel], *, required: bool) -> Kernel:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():  # fetching says how far it is
            return fetch()
    except NoKernelError as reason:
        request.config.stash.setdefault(MISSING, {})[what] = str(reason)
        text = f"no {what} to test with: {reason}"
    if required:
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and not KERNELS.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.kernel)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, reason in config.stash.get(MISSING, {}).items():
        terminalreporter.write_line(f"NOT TESTED on a real {what}: {reason}", red=True, bold=True)
