"""
The windows between STAC and CLAC, in which an x86 kernel may touch user memory: every access in one.

A function that opens a window is walked from its start, over both sides of every branch, every alternative of a patched
place, every fixup, and into the functions it calls with the window open. Beside the registers' values the walk knows
whether user access is open, so one place is looked at in both states if it is reached in both.

Kernel: arch/x86/include/asm/smap.h, arch/x86/include/asm/uaccess.h user_access_begin(), v6.1 and v6.12.
Differs: an indirect jump ends the walk; the static branches of one key need not agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .x86_code import SMAP, X86Code
from .x86_operands import OUTSIDE, Step
from .x86_values import Phis, State, Value

MAX_DEPTH = 3
"""Calls inside a window, one inside the other."""
MAX_BLOCKS = 20_000
"""Blocks run in one function's walk, its callees' and repetitions included."""
MAX_BLOCK = 4096
"""Instructions in a row."""


CLOSED = 0
"""No window: user access is not open."""


class Point(NamedTuple):
    """
    A point of the walk: an address, the address of the STAC that opened user access (CLOSED if it is not open), and the
    return addresses of the calls made inside the window.
    """

    address: int
    window: int
    calls: tuple[int, ...] = ()


class Access(NamedTuple):
    """Memory touched by the instruction at `address`: by a pointer `value`, inside `window`, `covered` or not."""

    address: int
    value: Value
    window: int
    covered: bool


@dataclass
class Surroundings:
    """
    What the walk asks about the image: where an instruction's fault leads (None: it has no entry), the extent of the
    function an address lies in, the family it belongs to, whether functions return through it,
    and whether it is ftrace's.
    """

    fixup: Callable[[int], int | None]
    extent: Callable[[int], tuple[int, int] | None]
    family: Callable[[int], object]
    returns: Callable[[int], bool]
    traces: Callable[[int], bool]
    bits: int


@dataclass
class Walk:
    """
    One function's walk: the accesses found (each once, in the walk's order, so that an audit says the same every time),
    the STACs that it `opened` windows at, why some code was not followed, and whether a window `left` the module.
    """

    code: X86Code
    around: Surroundings
    accesses: dict[Access, None] = field(default_factory=dict)
    phis: Phis = field(default_factory=Phis)
    lost: set[str] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)
    left: bool = False
    known: dict[Point, State] = field(default_factory=dict)
    todo: list[Point] = field(default_factory=list)

    def run(self, start: int) -> None:
        """Walk from the first address of a function until nothing new is learned."""
        self.reach(Point(start, CLOSED), State.entry(()))
        blocks = 0
        while self.todo:
            place = self.todo.pop()
            self.block(place, self.known[place].copy())
            blocks += 1
            if blocks > MAX_BLOCKS:
                self.lost.add("too much code")
                break

    def reach(self, place: Point, state: State) -> None:
        """The walk gets to a place in a state; it goes on from there if that is news."""
        extent = self.around.extent(place.address)
        if extent is None:
            self.lost.add("code of no function")
            return
        self.code.learn(*extent)
        before = self.known.get(place)
        if before is None:
            self.known[place] = state.copy()
            self.todo.append(place)
        elif self.phis.join(before, state, place):
            self.todo.append(place)

    def block(self, place: Point, state: State) -> None:
        """Run from a place to where another block begins."""
        at, window = place.address, place.window
        for _ in range(MAX_BLOCK):
            if at != place.address and self.code.is_leader(at):
                self.reach(Point(at, window, place.calls), state)
                return
            static = self.code.static_branches.get(at)
            if static is not None:
                self.static_branch(at, static, place._replace(window=window), state)
                return
            variants = self.code.replacements.get(at, ())
            for variant in variants:
                self.variant(
                    self.code.replaced(variant), at + variant.length, place._replace(window=window), state.copy()
                )
            if any(variant.feature == SMAP for variant in variants):
                return
            step_ = self.code.step(at)
            if step_ is None:
                self.lost.add("undecodable code")
                return
            following = self.execute(step_, place._replace(window=window), state)
            if following is None:
                return
            at, window = step_.end, following
        self.lost.add("too much code")

    def static_branch(self, at: int, target: int, place: Point, state: State) -> None:
        """Both ways of a static branch, whichever of them is linked."""
        linked = self.code.step(at)
        if linked is None:
            self.lost.add("undecodable code")
            return
        self.reach(Point(linked.end, place.window, place.calls), state)
        self.jump(linked._replace(name="jmp", target=target), place, state)

    def variant(self, steps: tuple[Step, ...], end: int, place: Point, state: State) -> None:
        """Run what may stand at a patched place, up to the place's end."""
        window = place.window
        for step in steps:
            following = self.execute(step, place._replace(window=window), state)
            if following is None:
                return
            window = following
        self.reach(Point(end, window, place.calls), state)

    def execute(self, step: Step, place: Point, state: State) -> int | None:
        """One instruction: the window that is open after it, or None if the CPU does not go on behind it."""
        fixup = self.around.fixup(step.address)
        if fixup is not None:
            self.reach(Point(fixup, place.window, place.calls), state)
        if not (step.calls or step.jumps):
            for memory in step.accesses:
                self.accesses[Access(step.address, state.address(memory), place.window, fixup is not None)] = None
        here = (step.address, place.calls)
        if step.calls:
            return self.call(step, place, state)
        if step.returns:
            self.leave(place, state)
            return None
        if step.jumps or step.conditional:
            if step.target is None:
                self.lost.add("an indirect jump")
            else:
                self.jump(step, place, state)
            return place.window if step.conditional else None
        if step.name in ("ud2", "hlt", "int3", "ud1"):
            return None
        state.run(step, here, bits=self.around.bits)
        if step.name == "stac":
            self.opened.add(step.address)
        return {"stac": step.address, "clac": CLOSED}.get(step.name, place.window)

    def call(self, step: Step, place: Point, state: State) -> int | None:
        """A call: into the function if user access is open, else over it. One for ftrace is a no-op at boot."""
        if step.target is not None and self.around.traces(step.target):
            return place.window
        if place.window != CLOSED and self.follows(step, place):
            assert step.target is not None
            inside = state.copy()
            inside.move_stack(-self.around.bits // 8)
            self.reach(Point(step.target, place.window, (*place.calls, step.end)), inside)
            return None
        state.run(step, (step.address, place.calls), bits=self.around.bits)
        return place.window

    def follows(self, step: Step, place: Point) -> bool:
        """Is a call in a window followed? What calls itself has been walked already, by the outer call."""
        if step.target == OUTSIDE:
            self.left = True
        elif step.target is None:
            self.lost.add("an indirect call with user access open")
        elif step.end not in place.calls:
            if len(place.calls) < MAX_DEPTH:
                return True
            self.lost.add(f"calls more than {MAX_DEPTH} deep with user access open")
        return False

    def leave(self, place: Point, state: State) -> None:
        """A return: back to the call inside the window, if it was one."""
        if place.calls:
            after = state.copy()
            after.move_stack(self.around.bits // 8)
            self.reach(Point(place.calls[-1], place.window, place.calls[:-1]), after)

    def jump(self, step: Step, place: Point, state: State) -> None:
        """A direct jump: inside the function, or to another one, which is followed only if user access is open."""
        assert step.target is not None
        if step.target == OUTSIDE:
            self.left |= place.window != CLOSED
            self.leave(place, state)
        elif self.around.returns(step.target):
            self.leave(place, state)
        elif place.window != CLOSED or self.around.family(step.target) == self.around.family(step.address):
            self.reach(Point(step.target, place.window, place.calls), state)
        else:
            state.run(step._replace(name="call"), (step.address, place.calls), bits=self.around.bits)
            self.leave(place, state)
