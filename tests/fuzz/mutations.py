"""
Damage done to a specimen on purpose, the same each time for one seed: bits, fields, lengths, order and ends.

    for data in mutated(specimen, seed=7, count=100): ...
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 40, (1 << 63) - 1, 1 << 63)
ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
HEADER = 256
"""Where most of a format's own numbers are: at its front, and, in an ELF file, at its end."""


def mutated(specimen: bytes, *, seed: int, count: int) -> Iterator[bytes]:
    """`count` damaged copies: one thing done to most, up to four to some."""
    chance = random.Random(f"{seed} {len(specimen)}")
    for _ in range(count):
        data = bytearray(specimen)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            chance.choice(DAMAGES)(data, chance)
        yield bytes(data)


def place(data: bytearray, chance: random.Random, width: int = 1) -> int:
    """Anywhere in the data, or in its front or its end; aligned to the width, as fields are."""
    last = max(len(data) - width, 0)
    low, high = chance.choice(((0, last), (0, min(HEADER, last)), (max(last - 16 * HEADER, 0), last)))
    return chance.randint(low, high) // width * width


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 3, 8))):
        if data:
            data[place(data, chance)] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random) -> None:
    """A field becomes nothing, the largest, the most negative, or about the size of the file."""
    width = chance.choice((1, 2, 4, 8))
    at = place(data, chance, width)
    value = chance.choice((*EXTREMES, len(data) - at, len(data) + 1, -1, -len(data)))
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, chance.choice(ORDERS))


def shift(data: bytearray, chance: random.Random) -> None:
    """A field lies a little: one more, one less, twice as much."""
    width, order = chance.choice((2, 4, 8)), chance.choice(ORDERS)
    at = place(data, chance, width)
    old = int.from_bytes(data[at : at + width], order)
    new = chance.choice((old + 1, old - 1, 2 * old, old + 4096, old // 2))
    data[at : at + width] = (new % (1 << 8 * width)).to_bytes(width, order)


def truncate(data: bytearray, chance: random.Random) -> None:
    del data[place(data, chance) :]


def splice(data: bytearray, chance: random.Random) -> None:
    """A piece of it lands somewhere else, over what is there or between it."""
    start, at, size = place(data, chance), place(data, chance), chance.choice((4, 16, 64, 300))
    data[at : at + chance.choice((0, size))] = data[start : start + size]


def remove(data: bytearray, chance: random.Random) -> None:
    at = place(data, chance)
    del data[at : at + chance.choice((1, 4, 16, 256))]


def fill(data: bytearray, chance: random.Random) -> None:
    at, size = place(data, chance), chance.choice((8, 64, 1024))
    data[at : at + size] = bytes([chance.choice((0, 0xFF, 0x41, 0x80))]) * min(size, len(data) - at)


DAMAGES = (flip, flip, overwrite, overwrite, overwrite, shift, shift, truncate, splice, remove, fill)
