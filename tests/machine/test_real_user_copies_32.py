"""
Debian's own 32-bit user-copy routines, on the machine: every length at every distance from the end of a mapped page.

What they promise is graded (include/linux/uaccess.h): what was reported as copied was copied, nothing past the buffer
is touched. A copy stops at most three bytes short of the hole, since it goes by words of four; the loop for Intel's
CPUs goes by 64 and gives up the whole of them. How short exactly is worked out here from the routine's steps, and held
to the byte.
"""

from __future__ import annotations

import pytest

from machine.kernel_32 import VARIABLES, machine_32
from machine.user_copy_bench import KERNEL, LONGEST, USER, Bench, cases
from pagefault import PAGE
from pagefault.machine.event import Died, Returned
from pagefault.vocabulary.outcome import Oops, Resolved

FEATURES = {"none": set[str](), "smap": {"nx", "smep", "smap", "rep_good", "erms"}}
EFAULT = 14
MASK_32, KERNEL_SPACE = (1 << 32) - 1, 0xC000_0000


def prefer_movsl(bench: Bench, mask: int) -> None:
    """
    From 64 bytes on, copy without `rep movsl` where source and destination differ in these bits of the address.

    Kernel: arch/x86/kernel/cpu/intel.c early_init_intel() movsl_mask, arch/x86/lib/usercopy_32.c, v6.1.
    """
    bench.machine.write(bench.machine.symbols.find("movsl_mask"), mask.to_bytes(4, "little"))


@pytest.fixture(scope="module", params=[(mode, features) for mode in VARIABLES for features in FEATURES], ids=" ".join)
def bench(request: pytest.FixtureRequest) -> Bench:
    mode, features = request.param
    return Bench(machine_32(mode, FEATURES[features]))


def copied(length: int, distance: int, destination: int, source: int, mask: int) -> int:
    """
    How many bytes __copy_user_ll() copies when the hole begins `distance` bytes into the user's buffer: up to seven
    single bytes until the destination is aligned to eight, words of four, single bytes.

    The loop for Intel's CPUs copies 64 bytes at a time, and reads a word of the 64 after them first, if there is one;
    then words, and single bytes.

    Kernel: arch/x86/lib/usercopy_32.c __copy_user(), __copy_user_intel(), v6.1.
    """
    head = min(length, -destination & 7) if length > 7 else length
    if length >= 64 and (destination ^ source) & mask:
        head = 0
        while length - head >= 64:
            ahead = 4 if source < KERNEL_SPACE and length - head > 67 else 0
            if distance < head + 64 + ahead:
                return head
            head += 64
    words_end = head + (length - head) // 4 * 4
    if distance < head or distance >= words_end:
        return min(length, distance)
    return head + (distance - head) // 4 * 4


def step_of(bench: Bench) -> int:
    """The whole product on one of the machines; the others' routines are built from the same source."""
    return 5 if bench.machine.booted.state.pae or not bench.machine.booted.state.smap else 1


@pytest.mark.parametrize("mask", [0, 7])
def test_copies_from_user_report_the_exact_residue(bench: Bench, mask: int) -> None:
    prefer_movsl(bench, mask)
    for length, distance in cases(step_of(bench)):
        bench.kernel_buffer[: LONGEST + 8] = KERNEL[: LONGEST + 8]
        source = bench.end - distance
        left = bench.call("_copy_from_user", bench.buffer, source, length)["eax"]
        done = copied(length, distance, bench.buffer, source, mask)
        assert left == length - done, (length, distance, left)
        assert 0 <= min(length, distance) - done < (68 if mask else 4)
        got = bytes(bench.kernel_buffer[: LONGEST + 8])
        page = bytes(bench.user_page[PAGE - distance : PAGE - distance + done])
        assert got == page + bytes(left) + KERNEL[length : LONGEST + 8], (length, distance)


@pytest.mark.parametrize("mask", [0, 7])
def test_copies_to_user_report_the_exact_residue(bench: Bench, mask: int) -> None:
    prefer_movsl(bench, mask)
    bench.kernel_buffer[: LONGEST + 8] = KERNEL[: LONGEST + 8]
    for length, distance in cases(step_of(bench)):
        bench.user_page[:] = USER[:PAGE]
        destination = bench.end - distance
        left = bench.call("_copy_to_user", destination, bench.buffer, length)["eax"]
        done, start = copied(length, distance, destination, bench.buffer, mask), PAGE - distance
        assert left == length - done, (length, distance, left)
        # What was given up of 64 bytes was written as far as the hole, in words.
        blocks = length >= 64 and (destination ^ bench.buffer) & mask and done % 64 == 0 and length - done >= 64
        written = done + (min(length, distance) - done) // 4 * 4 if blocks else done
        assert bytes(bench.user_page) == USER[:start] + KERNEL[:written] + USER[start + written : PAGE], (
            length,
            distance,
        )


def test_source_and_destination_at_every_alignment(bench: Bench) -> None:
    """The whole product of alignments, in both directions, around the lengths where the routine changes its way."""
    for mask in (0, 7):
        prefer_movsl(bench, mask)
        for offset in range(8):
            for length in (7, 8, 9, 15, 63, 64, 65, 67, 68, 71, 130):
                for distance in range(max(0, length - 9), length + 2):
                    user, kernel = bench.end - distance, bench.buffer + offset
                    left = bench.call("__copy_user_ll", kernel, user, length)["eax"]
                    assert left == length - copied(length, distance, kernel, user, mask), (offset, length, distance)
                    left = bench.call("__copy_user_ll", user, kernel, length)["eax"]
                    assert left == length - copied(length, distance, user, kernel, mask), (offset, length, distance)


def test_each_routine_of_this_version_leaves_its_residue_in_its_register(bench: Bench) -> None:
    prefer_movsl(bench, 0)
    machine = bench.machine
    for routine in machine.profile.user_copy_routines:
        for length, distance in ((n, d) for n in range(0, 140, 3) for d in range(0, 140, 7)):
            user, buffer = bench.end - distance, bench.buffer
            registers = {routine.count: length, routine.destination: buffer if routine.source else user}
            registers |= {routine.source: user} if routine.source else {}
            left = bench.call(routine.name, **registers)[routine.left]
            exact = max(0, length - distance)
            assert exact <= left < exact + 4 or (left == length and length < 4), (routine.name, length, distance, left)


def test_clear_user_clears_what_it_says(bench: Bench) -> None:
    for length, distance in cases(5):
        bench.user_page[:] = USER[:PAGE]
        left = bench.call("clear_user", bench.end - distance, length)["eax"]
        words = length // 4 * 4
        done = min(length, distance) if distance >= words else distance // 4 * 4
        start = PAGE - distance
        assert left == length - done, (length, distance)
        assert bytes(bench.user_page) == USER[:start] + bytes(done) + USER[start + done : PAGE], (length, distance)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_get_user_and_put_user_at_every_distance(bench: Bench, size: int) -> None:
    """__get_user_N(): pointer in eax; error in eax, value in edx (and ecx). __put_user_N(): ecx, eax (and edx); ecx."""
    for distance in range(12):
        bench.user_page[:] = USER[:PAGE]
        address, whole = bench.end - distance, distance >= size
        got = bench.call(f"__get_user_{size}", eax=address)
        value = got["edx"] | (got["ecx"] << 32 if size == 8 else 0)
        there = int.from_bytes(USER[PAGE - distance :][:size], "little")
        assert (got["eax"], value) == ((0, there) if whole else (-EFAULT & MASK_32, 0)), distance
        left = bench.call(f"__put_user_{size}", ecx=address, eax=0x4433_2211, edx=0x8877_6655)["ecx"]
        assert left == (0 if whole else -EFAULT & MASK_32), distance
        new = bytes.fromhex("1122334455667788")[:size]
        assert bytes(bench.user_page[PAGE - distance :]) == (
            new + USER[PAGE - distance + size : PAGE] if whole else bytes(bench.user_page[PAGE - distance :])
        )
        if not whole and size < 8:
            assert bytes(bench.user_page) == USER[:PAGE]


def test_strings_end_at_their_nul_or_at_the_hole(bench: Bench) -> None:
    for distance in range(1, 40):
        for nul in (None, *range(distance)):
            bench.user_page[:] = USER[:PAGE]
            if nul is not None:
                bench.user_page[PAGE - distance + nul] = 0
            address = bench.end - distance
            got = bench.call("strncpy_from_user", bench.buffer, address, 64)["eax"]
            assert got == (-EFAULT & MASK_32 if nul is None else nul), (distance, nul)
            counted = bench.call("strnlen_user", address, 64)["eax"]
            assert counted == (0 if nul is None else nul + 1), (distance, nul)


def test_pages_are_brought_in_on_the_way(bench: Bench) -> None:
    machine = bench.machine
    start = machine.user.mmap(3 * PAGE)
    result = machine.run("_copy_to_user", start + 100, bench.buffer, 2 * PAGE)
    assert result.end == Returned(0)
    assert [event.decision.outcome for event in result.events] == [Resolved("zeroed page of its own")] * 3
    assert machine.read(start + 100, 700) == machine.read(bench.buffer, 700)


def test_a_kernel_pointer_is_refused_by_access_ok(bench: Bench) -> None:
    for address in (0xC000_0000, bench.buffer, MASK_32 - 3):
        bench.kernel_buffer[:8] = b"12345678"
        assert bench.call("_copy_from_user", bench.buffer, address, 8)["eax"] == 8
        assert bytes(bench.kernel_buffer[:8]) == bytes(8)
        assert bench.call("__get_user_4", eax=address)["eax"] == -EFAULT & MASK_32


def test_code_that_the_table_does_not_list_oopses(bench: Bench) -> None:
    result = bench.machine.run("memcpy", bench.buffer, 0x10, 8)
    assert isinstance(result.end, Died)
    smap = bench.machine.booted.state.smap
    assert result.end.outcome == Oops("SMAP violation" if smap else "kernel NULL pointer dereference")
