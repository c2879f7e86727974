"""The recorded oopses, each with the expectations of its header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pagefault.evidence.oops_reading import STAMP

FOLDER = Path(__file__).resolve().parent.parent / "corpus" / "oops"


@dataclass(frozen=True)
class Recorded:
    """One file: its header, the console's text, and the lines without their timestamps."""

    name: str
    header: dict[str, str]
    text: str

    @property
    def lines(self) -> list[str]:
        return [unstamped(line) for line in self.text.splitlines()]


def unstamped(line: str) -> str:
    stamp = STAMP.match(line)
    return line[stamp.end() :] if stamp else line


def recorded(path: Path) -> Recorded:
    head, _, text = path.read_text().partition("\n\n")
    return Recorded(path.stem, dict(line.split(": ", 1) for line in head.splitlines()), text)


def corpus() -> Iterator[Recorded]:
    return map(recorded, sorted(FOLDER.glob("*.txt")))
