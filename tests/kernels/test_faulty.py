"""The module's bugs: those without an entry in its exception table, and those with one."""

from __future__ import annotations

import struct

import pytest
from unicorn import x86_const as x86

from kernels.bench import BUFFER, EFAULT, PAGE, PATTERN, USER, Bench


def test_the_bugs_of_the_module(bench: Bench) -> None:
    """Those without an entry end where no entry is found; those with one return an error."""
    for name, arguments in (("rd", (0x10,)), ("wr", (0x18,)), ("rd_user_unguarded", (USER + PAGE,))):
        with pytest.raises(KeyError) as oops:
            bench.call(name, *arguments)
        assert 0 <= oops.value.args[0] - bench.symbols[name] < 32
        assert bench.faults == [arguments[0] & -PAGE]
        bench.uc.reg_write(x86.UC_X86_REG_EFLAGS, 2)
    for target in (bench.symbols["faulty_data"], 0x30):
        with pytest.raises(KeyError) as oops:
            bench.call("pw", ord("x"), target)
        assert oops.value.args == (target,)
    with pytest.raises(KeyError):
        bench.call("pw", ord("w"), bench.symbols["faulty_rodata"])
    assert bench.call("pw", ord("r"), bench.symbols["faulty_rodata"]) == 0x0DDBA11 + 1
    bench.write(USER, PATTERN)
    assert bench.call("rd_user_unguarded", USER).to_bytes(8, "little") == PATTERN[:8]
    assert bench.signed("rd_user_guarded", USER + PAGE) == -EFAULT
    assert bench.signed("rd_user_guarded", USER) == 0
    bench.write(BUFFER, struct.pack("<i", 0))
    assert bench.signed("rd_disabled", USER + PAGE, BUFFER) == -EFAULT
    assert bench.read(BUFFER, 4) == bytes(4)
    assert bench.call("rd_trapnr", 0x10) == 14
    assert bench.call("rd_trapnr", BUFFER) == 0
    bench.call("touch", BUFFER, 2 * PAGE)
    assert bench.read(BUFFER, 1) + bench.read(BUFFER + PAGE, 1) == b"\1\1"
