"""
Where a register's value came from, as far as telling a user pointer from a kernel one needs it.

A value is its origin; adding a constant does not change it, so that a pointer stays itself as it moves along. What a
loop or a join makes of several values is a `phi`, whose inputs are kept beside it.

    ("entry", register)     what the function was called with
    ("load", value, offset) what was loaded from `offset` bytes past a pointer; it is taken not to change meanwhile
    ("made", address, reg)  what the instruction there computed in another way, or the function called there returned
    ("sum", values)         pointer plus index, and the like
    ("minus", value)        what is taken away, in a sum
    ("phi", place, reg)     one of several
    ("stack", offset)       the stack pointer and its kin; ("image",) a linked address; ("const",) a number
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .x86_operands import Memory, Step, memory, register

Value = tuple[object, ...]
Where = tuple[object, ...]
CONST: Value = ("const",)
IMAGE: Value = ("image",)
MAX_SUM = 6
"""A sum of more parts than this tells nothing."""
CALL_CLOBBERS = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
CALL_CLOBBERS_32 = ("rax", "rcx", "rdx")
REGISTERS = tuple("rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split())
COPY = re.compile(r"mov(?!s[bwlqd]?$)")
UNCHANGED = re.compile(
    r"(inc|dec|neg|not|test|cmp|bt[bwlq]?$|nop|j|st[aicd]|cl[aicd]|verr|verw|prefetch|out|[lms]fence|wrmsr|wbinvd|ud)"
)
"""Instructions that leave their last operand what it was, as far as pointers go."""
NUMBER = re.compile(r"(sh[lr]|sa[lr])[bwlq]?$|imul")
"""What a shift or a product gives is an index, and no pointer: by one, a user array and a kernel one may be walked."""
IMPLICIT = {
    "mul": ("rax", "rdx"),
    "imul": ("rax", "rdx"),
    "div": ("rax", "rdx"),
    "idiv": ("rax", "rdx"),
    "rdtsc": ("rax", "rdx"),
    "rdtscp": ("rax", "rdx", "rcx"),
    "rdmsr": ("rax", "rdx"),
    "xgetbv": ("rax", "rdx"),
    "cpuid": ("rax", "rbx", "rcx", "rdx"),
    "cltd": ("rdx",),
    "cqto": ("rdx",),
    "lods": ("rax",),
    "cmpxchg": ("rax",),
    "syscall": ("rcx", "r11"),
}


@dataclass
class State:
    """The values of registers, and of the stack's slots by offset."""

    registers: dict[str, Value]
    slots: dict[int, Value] = field(default_factory=dict)

    @classmethod
    def entry(cls, context: Where) -> State:
        """What a function begins with: a register's value is its own."""
        registers: dict[str, Value] = {name: ("entry", context, name) for name in REGISTERS}
        registers["rsp"] = ("stack", 0)
        return cls(registers)

    def copy(self) -> State:
        return State(dict(self.registers), dict(self.slots))

    def address(self, operand: Memory) -> Value:
        """The address that an operand means. One relative to fs or gs is the kernel's own."""
        if operand.segment in ("fs", "gs") or operand.base == "rip":
            return IMAGE
        if operand.base is None and operand.scaled is None:
            return IMAGE
        parts = [self.registers[name] for name in (operand.base, operand.scaled) if name]
        value = parts[0] if len(parts) == 1 else total(*parts)
        return ("stack", offset + operand.displacement) if (offset := stack_offset(value)) is not None else value

    def load(self, operand: Memory, where: Where) -> Value:
        """What a load from there gives."""
        value = self.address(operand)
        offset = stack_offset(value)
        if offset is not None and offset in self.slots:
            return self.slots[offset]
        if value == IMAGE or offset is not None:
            return ("made", where, "load")
        return ("load", value, operand.displacement)

    def run(self, step: Step, where: Where, *, bits: int) -> None:
        """What the instruction does to registers and the stack. A call forgets what its callee may change."""
        name, operands = step.name, step.operands
        last = operands[-1] if operands else ""
        target = register(last)
        if step.calls:
            for each in CALL_CLOBBERS if bits == 64 else CALL_CLOBBERS_32:
                self.registers[each] = ("made", where, each)
        elif name.startswith("push"):
            self.move_stack(-bits // 8)
            self.store(Memory(None, "rsp", None, 0), self.read(last, where) if operands else CONST)
        elif name.startswith("pop"):
            if target:
                self.registers[target] = self.load(Memory(None, "rsp", None, 0), where)
            if target != "rsp":
                self.move_stack(bits // 8)
        elif name.startswith("leave"):
            self.registers["rsp"] = self.registers["rbp"]
            self.registers["rbp"] = self.load(Memory(None, "rsp", None, 0), where)
            self.move_stack(bits // 8)
        elif name.startswith("lea") and target and len(operands) == 2:
            place = memory(operands[0])
            self.registers[target] = self.address(place) if place else ("made", where, target)
        elif name.startswith("xchg") and len(operands) == 2:
            first, second = self.read(operands[0], where), self.read(operands[1], where)
            self.write(operands[0], second)
            self.write(operands[1], first)
        elif name.startswith(("xadd", "cmpxchg")) and len(operands) == 2:
            self.write(operands[1], ("made", where, 0))
            if name.startswith("xadd"):
                self.write(operands[0], ("made", where, 1))
        elif COPY.match(name) and len(operands) == 2:
            self.write(last, self.read(operands[0], where))
        elif name.startswith(("add", "sub", "and", "or", "adc", "sbb", "xor")) and len(operands) == 2:
            self.arithmetic(step, where)
        elif target and NUMBER.match(name):
            self.registers[target] = CONST
        elif name.startswith("cmov") and target and len(operands) == 2:
            self.registers[target] = total(self.registers[target], self.read(operands[0], where))
        elif name.startswith(("lods", "stos", "movs", "cmps", "scas")) and step.accesses:
            self.registers["rcx"] = CONST
        elif operands and not UNCHANGED.match(name):
            self.write(last, ("made", where, target or 0))
        stem = next((stem for stem in IMPLICIT if name == stem or name[:-1] == stem), None)
        if stem is not None and (len(operands) < 2 or stem == "cmpxchg"):
            for each in IMPLICIT[stem]:
                self.registers[each] = ("made", where, each)

    def arithmetic(self, step: Step, where: Where) -> None:
        """add, sub, and, or, …: a constant moves a pointer, another register makes a sum of the two."""
        source, target = step.operands
        if source.startswith("$"):
            number = int(source[1:], 0) if re.fullmatch(r"\$-?(0x[0-9a-f]+|\d+)", source) else 0
            if register(target) == "rsp":
                if step.name.startswith(("add", "sub")):
                    self.move_stack(signed(number) if step.name.startswith("add") else -signed(number))
                elif (offset := stack_offset(self.registers["rsp"])) is not None:
                    self.registers["rsp"] = ("stack", offset // 64 * 64)
            elif memory(target):
                self.write(target, ("made", where, 0))
            return
        if source == target:
            self.write(target, CONST if step.name.startswith(("xor", "sub", "sbb")) else self.read(source, where))
            return
        value = self.read(source, where)
        if step.name.startswith("sub") and value != CONST:
            value = ("minus", value)
        self.write(target, total(self.read(target, where), value))

    def read(self, operand: str, where: Where) -> Value:
        """The value of an operand."""
        name = register(operand)
        if name:
            return self.registers[name]
        if operand.startswith("$"):
            return CONST
        place = memory(operand)
        return self.load(place, where) if place else ("made", where, operand)

    def write(self, operand: str, value: Value) -> None:
        """Put a value into a register or a slot of the stack."""
        name, place = register(operand), memory(operand)
        if name:
            self.registers[name] = value
        elif place:
            self.store(place, value)

    def store(self, place: Memory, value: Value) -> None:
        """Keep what is stored on the stack; other memory is not followed."""
        offset = stack_offset(self.address(place))
        if offset is not None:
            self.slots[offset] = value

    def move_stack(self, by: int) -> None:
        """A push, a pop, or room made."""
        offset = stack_offset(self.registers["rsp"])
        if offset is not None:
            self.registers["rsp"] = ("stack", offset + by)


def signed(value: int) -> int:
    """An immediate that was written as an unsigned number of 64 or 32 bits."""
    for bits in (64, 32):
        if (1 << bits - 1) <= value < 1 << bits:
            return value - (1 << bits)
    return value


def stack_offset(value: Value) -> int | None:
    """The offset of an address on the stack; None for any other value."""
    if value[0] == "stack":
        assert isinstance(value[1], int)
        return value[1]
    return None


def total(*values: Value) -> Value:
    """Pointer plus index, or any mixture: what it is made of."""
    parts: set[Value] = set()
    for value in values:
        if value[0] == "sum":
            assert isinstance(value[1], frozenset)
            parts |= value[1]
        elif value != CONST:
            parts.add(value)
    if not parts:
        return CONST
    if len(parts) == 1:
        return parts.pop()
    return ("sum", frozenset(parts)) if len(parts) <= MAX_SUM else CONST


@dataclass
class Phis:
    """What each phi may be."""

    inputs: dict[Value, set[Value]] = field(default_factory=dict)

    def join(self, known: State, incoming: State, where: Where) -> bool:
        """Merge `incoming` into the state at a place; says whether that changed it."""
        changed = False
        for name, value in known.registers.items():
            joined = self.choose(value, incoming.registers[name], ("phi", where, name))
            if joined is not value:
                known.registers[name] = joined
                changed = True
        for offset, value in list(known.slots.items()):
            if offset not in incoming.slots:
                del known.slots[offset]
                changed = True
                continue
            joined = self.choose(value, incoming.slots[offset], ("phi", where, offset))
            if joined is not value:
                known.slots[offset] = joined
                changed = True
        return changed

    def choose(self, known: Value, incoming: Value, phi: Value) -> Value:
        """One value for two."""
        if known == incoming or incoming == phi:
            return known
        if known == phi:
            self.inputs[phi].add(incoming)
            return known
        self.inputs.setdefault(phi, set()).update((known, incoming))
        return phi

    def roots(self, value: Value) -> frozenset[Value]:
        """
        The origins of a value, through sums and phis; constants are none. What is added and taken away again is none
        either, if something is left: a compiler may keep the distance of two pointers, and one of them.
        """
        found: dict[bool, set[Value]] = {False: set(), True: set()}
        seen: set[tuple[Value, bool]] = set()
        todo = [(value, False)]
        while todo:
            each, minus = todo.pop()
            if (each, minus) in seen:
                continue
            seen.add((each, minus))
            if each[0] == "phi":
                todo.extend((choice, minus) for choice in self.inputs.get(each, ()))
            elif each[0] == "sum":
                assert isinstance(each[1], frozenset)
                todo.extend((part, minus) for part in each[1])
            elif each[0] == "minus":
                assert isinstance(each[1], tuple)
                todo.append((each[1], not minus))
            elif each != CONST:
                found[minus].add(("stack",) if each[0] == "stack" else each)
        return frozenset(found[False] - found[True] or found[False])
