from __future__ import annotations

import pytest

from pagefault.images import code_bytes as code


def b(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("before", "v61", "v612"),
    [
        ("90", "90", "90"),
        ("909090", "0f1f00", "0f1f00"),
        ("0f01cb9090", "0f01cb6690", "0f01cb6690"),  # stac
        ("3e0f1f00", "3e0f1f00", "3e0f1f00"),  # the last one, alone
        ("f3909090", "f3906690", "f3906690"),  # pause is no no-op
        ("b89090909090", "b89090909090", "b89090909090"),  # nor is a constant
        ("b8909090909090", "b8909090906690", "b8909090906690"),
        ("90" * 8, "0f1f840000000000", "0f1f840000000000"),
        ("90" * 11, "0f1f8400000000000f1f00", "66662e0f1f840000000000"),
        ("90" * 14, "0f1f840000000000660f1f440000", "eb0c" + "cc" * 12),
        ("0f1f0090", "0f1f0090", "0f1f4000"),
        ("0f1f00", "0f1f00", "0f1f00"),
        ("9090c39090", "6690c36690", "6690c36690"),
        ("ff90", "ff90", "ff90"),  # cut off: left alone
    ],
)
def test_no_ops_are_joined_as_each_kernel_does(before: str, v61: str, v612: str) -> None:
    assert code.optimize_nops_61(b(before)).hex() == v61
    assert code.optimize_nops_612(b(before)).hex() == v612


def test_a_gap_too_long_for_a_short_jump() -> None:
    assert code.nops_612(130).hex() == "e97d000000" + "cc" * 125
    assert code.nops_612(127).hex() == "eb7d" + "cc" * 125


OTHER, SITE = 0x5010, 0x1000


def test_a_call_is_re_aimed() -> None:
    call = code.branch(code.CALL, OTHER, 0x7777)
    assert code.relocate_61(call, OTHER, SITE) == code.branch(code.CALL, SITE, 0x7777)
    assert code.relocate_612(call, OTHER, SITE) == code.branch(code.CALL, SITE, 0x7777)


@pytest.mark.parametrize(
    ("target", "v61", "v612"),
    [
        (SITE + 2, "eb000f1f00", "eb00cccccc"),
        (SITE + 129, "eb7f0f1f00", "eb7fcccccc"),
        (SITE + 130, "e97d000000", "e97d000000"),
        (SITE - 6, "e9f5ffffff", "ebf8cccccc"),
        (SITE - 126, "e97dffffff", "eb80cccccc"),
        (SITE - 127, "e97cffffff", "e97cffffff"),
    ],
)
def test_a_jump_is_made_short_where_each_kernel_does(target: int, v61: str, v612: str) -> None:
    jump = code.branch(code.JMP32, OTHER, target)
    assert code.relocate_61(jump, OTHER, SITE).hex() == v61
    assert code.relocate_612(jump, OTHER, SITE).hex() == v612


def test_v612_re_aims_what_follows_too_and_v61_does_not() -> None:
    block = b("488d3d00010000") + code.branch(code.CALL, OTHER + 7, 0x7777)  # lea 0x100(%rip),%rdi; call
    assert code.relocate_61(block, OTHER, SITE) == block
    moved = code.relocate_612(block, OTHER, SITE)
    assert moved == b("488d3d") + (0x100 + OTHER - SITE).to_bytes(4, "little") + code.branch(
        code.CALL, SITE + 7, 0x7777
    )


def test_a_branch_inside_the_block_stays() -> None:
    block = b("75029090c3")  # jne over two no-ops
    assert code.relocate_612(block, OTHER, SITE) == block


def test_a_conditional_jump_out_of_the_block_is_re_aimed() -> None:
    assert code.relocate_612(b("0f8400010000"), 0x2000, 0x1000).hex() == "0f8400110000"


def test_what_is_no_code_is_left_alone() -> None:
    for nonsense in (b"", b("0f"), b("06"), b("e8"), b("0f04" * 3), b("6666")):
        assert code.relocate_612(nonsense, OTHER, SITE) == nonsense
        assert code.optimize_nops_612(nonsense) == nonsense
