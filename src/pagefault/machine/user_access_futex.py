"""
What futex(2) does to the word in user memory: by the booted image's own code, with page faults disabled.

A fault ends these with None or -EFAULT. It is the caller who brings the page in and tries again, as the kernel does.
"""

from __future__ import annotations

from errno import EFAULT

from ..errors import DidNotReturn
from ..vocabulary.address import PAGE
from .event import Returned, Stopped
from .machine import Machine
from .user_access import UserAccess, signed

EINVAL = 22
FLAGS_SIZE_32 = 2
"""
A private futex of 32 bits (Kernel: kernel/futex/futex.h, v6.12). In 6.1 the bit is FLAGS_CLOCKRT, which no wake
looks at.
"""


class FutexAccess:
    """The futex operations of one machine."""

    def __init__(self, access: UserAccess) -> None:
        self._access, self._machine = access, access.machine
        self._inlined: WakeOp | None = None

    def get_value(self, pointer: int) -> int | None:
        """
        The word, or None if its page is not there.

        Kernel: kernel/futex/core.c futex_get_value_locked(), v6.1, v6.12.
        """
        with self._access.buffer(4) as to:
            if self._access.call("futex_get_value_locked", to, pointer):
                return None
            return int.from_bytes(self._machine.read(to, 4), "little")

    def atomic_op(self, encoded_op: int, pointer: int) -> int:
        """
        FUTEX_WAKE_OP's change of the word at `pointer` (a multiple of 4): 1 or 0 for how the old value compared,
        -EFAULT, or -ENOSYS.

        Kernel: kernel/futex/waitwake.c futex_atomic_op_inuser(), v6.1, v6.12: inlined in futex_wake_op(), so that is
        what runs where there is no function of its own.
        """
        if self._machine.symbols.get("futex_atomic_op_inuser") is not None:
            return signed(self._access.run("futex_atomic_op_inuser", encoded_op, pointer)["rax"], 32)
        if self._inlined is None:
            self._inlined = WakeOp(self._machine)
        return self._inlined.atomic_op(encoded_op, pointer)


class WakeOp:
    """
    futex_wake_op() as a way to the function inlined in it.

    It is given a hash table of one bucket, and in that bucket one waiter, for the very word that is changed, in a state
    in which it cannot be woken (`pi_state`). So it returns -EINVAL if the comparison asks for a wake, else 0; and on a
    fault it calls fault_in_user_writeable(), where the machine stops it.

    Kernel: kernel/futex/waitwake.c futex_wake_op(), kernel/futex/core.c futex_hash(), futex_init(), v6.1, v6.12.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        layout = machine.booted.image.layout
        bucket, waiter = machine.kmalloc(layout.size("futex_hash_bucket")), machine.kmalloc(layout.size("futex_q"))
        # A bucket that is aligned like a cache line begins one; its list has one node.
        head = bucket + layout.offset("futex_hash_bucket", "chain") + layout.offset("plist_head", "node_list")
        node = waiter + layout.offset("futex_q", "list") + layout.offset("plist_node", "node_list")
        for link, other in ((head, node), (node, head)):
            machine.write(link, other.to_bytes(8, "little") * 2)
        machine.write(waiter + layout.offset("futex_q", "pi_state"), waiter.to_bytes(8, "little"))
        self._key = waiter + layout.offset("futex_q", "key")
        self._table = bucket.to_bytes(8, "little") + (1).to_bytes(8, "little")

    def atomic_op(self, encoded_op: int, pointer: int) -> int:
        machine, page = self._machine, pointer & -PAGE
        key = (machine.current.task.mm, page, pointer - page)
        machine.write(self._key, b"".join(value.to_bytes(8, "little") for value in key))
        machine.write(machine.address_of("__futex_data"), self._table)
        another = pointer ^ 4
        result = machine.run("futex_wake_op", another, FLAGS_SIZE_32, pointer, 1, 1, encoded_op)
        if isinstance(result.end, Stopped) and result.end.at == machine.symbols.get("fault_in_user_writeable"):
            return -EFAULT
        if not isinstance(result.end, Returned):
            raise DidNotReturn(result.function, machine.why(result), result=result)
        value = signed(result.registers["rax"], 32)
        return 1 if value == -EINVAL else value
