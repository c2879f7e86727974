"""The recorded oopses that come with the stack they were printed from."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.oops_corpus import FOLDER
from pagefault.evidence.oops import OopsReport, read
from pagefault.tables.frames import Stack
from pagefault.tables.orc import OrcTable

THREAD_SIZE = 4 * 4096
MODULE_ORC = 0xFFFF_FFFF_C030_0000
"""Where the module's own table is taken to lie."""


@dataclass(frozen=True)
class RecordedStack:
    report: OopsReport
    registers: dict[str, int]
    stack: Stack
    text: tuple[int, int]
    orc: OrcTable
    symbols: dict[str, int]

    def module_symbol(self, where: str) -> int:
        """The address that name+0x9/0x20 [faulty] stands for."""
        name, _, rest = where.partition("+")
        return self.symbols[name] + int(rest.partition("/")[0], 16)


def recorded_stack(kernel: str) -> RecordedStack:
    head, text, stack = (FOLDER / "stacks" / f"{kernel}-vmallocoob.txt").read_text().split("\n\n")
    fields = [line.split(": ", 1) for line in head.splitlines()]
    header = dict(fields)
    data = bytes.fromhex(stack)
    low, base = int(header["STACK"], 16), int(header["MODULE_TEXT"], 16)
    high = low + THREAD_SIZE
    pairs = [entry.split(":") for entry in header["MODULE_ORC"].split()]
    places = [base + int(offset, 16) - MODULE_ORC - 4 * index for index, (offset, _) in enumerate(pairs)]
    end = base + int(pairs[-1][0], 16)
    report = read(text)
    return RecordedStack(
        report=report,
        registers={**report.frame.values, "rip": int(header["IP"], 16), "cs": report.frame.cs},
        stack=Stack(low, high, high - len(data), data),
        text=(base, end),
        orc=OrcTable(
            MODULE_ORC,
            b"".join(place.to_bytes(4, "little", signed=True) for place in places),
            b"".join(bytes.fromhex(raw) for _, raw in pairs),
            start=base,
            end=end,
            where="faulty",
        ),
        symbols={
            name: int(at, 16) for key, value in fields if key == "MODULE_SYMBOL" for at, _, name in [value.split()]
        },
    )
