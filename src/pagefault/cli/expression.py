"""Numbers and places as one types them: 0x40, 2p, -1, src+0xfd8, src:end-40, init_task."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import BadInput
from ..vocabulary.address import PAGE

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "p": PAGE}
NUMBER = r"(?:0x[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|[0-9]+(?:_[0-9]+)*[kmgp]?)"
LONGEST = 80
"""Characters of a number: more than 64 bits take in any form."""
PLACE = re.compile(rf"(?P<base>-?{NUMBER}|(?P<name>[A-Za-z_.][\w.]*)(?P<end>:end)?)(?P<distances>(?:[+-]{NUMBER})*)")
LOWEST, HIGHEST = -(1 << 63), (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Region:
    """A named piece of guest memory, made for one call: `kind` is "user" or "kernel", `options` its rights and more."""

    name: str
    kind: str
    address: int
    size: int
    options: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The first address past it."""
        return self.address + self.size


def number(text: str, what: str) -> int:
    """A number that is not negative: hexadecimal with 0x, or decimal with an optional unit k, m, g, p (pages)."""
    if len(text) > LONGEST or not re.fullmatch(NUMBER, text):
        raise BadInput(what, expected="a number (64, 0x40, 4k, 2p for two pages)", got=repr(text))
    if text.startswith("0x"):
        return int(text, 16)
    digits = text.rstrip("kmgp")
    return int(digits) * UNITS[text[len(digits) :]]


def place(text: str, regions: Mapping[str, Region], symbol: Callable[[str], int], what: str) -> int:
    """
    The value of an expression: a number, or a region's start, a region's end (`:end`) or a symbol, each with distances
    added. `symbol` finds a kernel symbol's address; `what` names the expression in errors.
    """
    found = PLACE.fullmatch(text)
    if not found:
        known = f"NUMBER or NAME[:end][+NUMBER|-NUMBER], NAME being {', '.join(regions) or 'a region'} or a symbol"
        raise BadInput(what, expected=known, got=repr(text))
    if found["name"] is None:
        value = number(found["base"].removeprefix("-"), what) * (-1 if text.startswith("-") else 1)
    elif (region := regions.get(found["name"])) is not None:
        value = region.end if found["end"] else region.address
    elif found["end"]:
        raise BadInput(
            what, expected=f"a region's name before :end ({', '.join(regions) or 'there is none'})", got=repr(text)
        )
    else:
        value = symbol(found["name"])
    for sign, distance in re.findall(rf"([+-])({NUMBER})", found["distances"]):
        value += number(distance, what) * (-1 if sign == "-" else 1)
    if not LOWEST <= value <= HIGHEST:
        raise BadInput(what, expected="a value that fits 64 bits", got=repr(text))
    return value
