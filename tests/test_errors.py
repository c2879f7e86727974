"""Our own failures: always one line, always bounded, always caught by one name."""

from __future__ import annotations

import pytest

from pagefault.errors import Absent, BadInput, DidNotReturn, PagefaultError, Unsupported


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BadInput("vmlinux", expected="an ELF file", got="text"), "vmlinux: expected an ELF file, got text"),
        (BadInput("f", offset=64, expected="a", got="b"), "f at offset 0x40: expected a, got b"),
        (Absent("symbol 'foo'", where="vmlinux"), "vmlinux: no symbol 'foo'"),
        (Absent("symbol", where="f", hint="did you mean bar?"), "f: no symbol; did you mean bar?"),
        (Unsupported("RISC-V", why="not yet"), "RISC-V is not supported: not yet"),
        (DidNotReturn("memcpy", "it oopsed", result=None), "memcpy did not return: it oopsed"),
    ],
)
def test_the_text(error: PagefaultError, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, PagefaultError)


def test_a_file_s_contents_cannot_break_the_line_or_flood_the_terminal() -> None:
    hostile = str(BadInput("f", expected="a name", got="\x1b[2Jx\n" + "y" * 10_000))
    assert "\n" not in hostile
    assert "\x1b" not in hostile
    assert r"\x1b[2Jx\ny" in hostile
    assert len(hostile) == 400
    assert hostile.endswith("…")
