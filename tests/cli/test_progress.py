from __future__ import annotations

import io
import threading

import pytest

from pagefault.cli import progress


class Terminal(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.said = {"booting": threading.Event(), "playing": threading.Event()}

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for word, said in self.said.items():
            if word in text:
                said.set()
        return super().write(text)


def test_what_takes_long_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.working("booting vmlinux") as say:
        assert terminal.said["booting"].wait(30)
        say("playing the first scene")
        assert terminal.said["playing"].wait(30)
    assert "booting vmlinux" in terminal.getvalue()
    assert "playing the first scene" in terminal.getvalue()


def test_what_is_over_soon_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE", 1000.0)
    with progress.working("booting vmlinux"):
        pass
    assert terminal.getvalue() == ""


def test_a_pipe_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.working("booting vmlinux") as say:
        say("playing")
    assert pipe.getvalue() == ""
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_it_ends_when_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with pytest.raises(ZeroDivisionError), progress.working("booting"):
        raise ZeroDivisionError
    assert "progress" not in {thread.name for thread in threading.enumerate()}
