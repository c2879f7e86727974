from __future__ import annotations

import pytest

from pagefault.report.returned import error_name, meaning, number, result_register, signed

MINUS_14, INT_MINUS_14 = (1 << 64) - 14, (1 << 32) - 14


def test_signed() -> None:
    assert signed(MINUS_14) == -14
    assert signed(INT_MINUS_14) == INT_MINUS_14
    assert signed(INT_MINUS_14, 32) == -14
    assert signed(5) == 5


def test_an_int_s_error_is_negative_too() -> None:
    assert number(INT_MINUS_14) == number(MINUS_14) == -14
    assert number(0xFFFF_0000) == 0xFFFF_0000


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (MINUS_14, "-EFAULT"),
        (INT_MINUS_14, "-EFAULT"),
        ((1 << 64) - 34, "-ERANGE"),
        ((1 << 64) - 1, "-EPERM"),
        ((1 << 64) - 512, "-errno 512"),
        ((1 << 64) - 4096, ""),
        (0, ""),
        (14, ""),
    ],
)
def test_errors_have_names(value: int, name: str) -> None:
    assert error_name(value) == name


@pytest.mark.parametrize(
    ("function", "value", "arguments", "words"),
    [
        ("_copy_from_user", 24, {}, "24 bytes not copied"),
        ("_copy_to_user", 0, {}, "everything was copied"),
        ("copy_user_generic_string", 3, {}, "3 bytes not copied"),
        ("rep_movs_alternative", 3, {}, "3 bytes not copied"),
        ("clear_user", 7, {}, "7 bytes not cleared"),
        ("rep_stos_alternative", 0, {}, "everything was cleared"),
        ("copy_from_user_nofault", 0, {}, "no error"),
        ("copy_from_kernel_nofault", MINUS_14, {}, "-EFAULT"),
        ("__get_user_4", 0, {}, "no error"),
        ("__put_user_8", INT_MINUS_14, {}, "-EFAULT"),
        ("strncpy_from_user", 5, {"rdx": 64}, "a string of 5 bytes"),
        ("strncpy_from_user", 64, {"rdx": 64}, "64 bytes copied, and no NUL among them"),
        ("strncpy_from_user", MINUS_14, {"rdx": 64}, "-EFAULT"),
        ("strnlen_user", 0, {"rsi": 64}, "the string cannot be read"),
        ("strnlen_user", 6, {"rsi": 64}, "6 bytes with the final NUL"),
        ("strnlen_user", 65, {"rsi": 64}, "no NUL within 64 bytes"),
        ("vfs_read", MINUS_14, {}, "-EFAULT"),
        ("vfs_read", 12, {}, ""),
    ],
)
def test_a_known_contract_is_put_into_words(function: str, value: int, arguments: dict[str, int], words: str) -> None:
    assert meaning(function, value, arguments) == words


@pytest.mark.parametrize(
    ("function", "register"),
    [("__put_user_4", "rcx"), ("rep_movs_alternative", "rcx"), ("__get_user_4", "rax"), ("_copy_to_user", "rax")],
)
def test_the_result_is_looked_for_where_the_routine_leaves_it(function: str, register: str) -> None:
    assert result_register(function) == register


def test_routines_that_leave_their_result_in_rcx() -> None:
    for name in (
        "__put_user_4",
        "rep_movs_alternative",
        "rep_stos_alternative",
        "clear_user_original",
        "clear_user_erms",
    ):
        assert result_register(name) == "rcx"
    for name in ("clear_user", "__get_user_4", "_copy_from_user", "read_zero"):
        assert result_register(name) == "rax"


def test_dev_zero_says_what_it_cleared() -> None:
    assert meaning("read_zero", 40, {}) == "40 bytes cleared"
    assert meaning("read_zero", MINUS_14, {}) == "-EFAULT"
