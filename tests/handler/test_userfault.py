"""First touches that somebody else answers: who waits, and who gets SIGBUS."""

from __future__ import annotations

import pytest

from handler.world import USER_AREA, World
from mm.touching import mapped, pte
from pagefault.handler.decision import Answer, BadArea
from pagefault.handler.handle_mm_fault import handle_mm_fault
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.userfaultfd import mfill_atomic, register
from pagefault.tables.userfaultfd import UFFD_FEATURE_SIGBUS, UserfaultfdCtx
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.effect import NewAnonPage, PrepareAnonVma
from pagefault.vocabulary.outcome import Resolved, Retry
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault

PRIVATE, SHARED = (kind | MAP_ANONYMOUS | MAP_FIXED for kind in (MAP_PRIVATE, MAP_SHARED))
USER = FaultFlag.USER | FaultFlag.ALLOW_RETRY


def asked(world: World, flags: FaultFlag, address: int = USER_AREA) -> Answer:
    vma = world.user.vmas.vma_lookup(address)
    assert vma is not None
    return handle_mm_fault(world.context, world.user, vma, address, flags)


def registered(world: World, kind: int = PRIVATE) -> UserfaultfdCtx:
    mapped(world, USER_AREA, 2, flags=kind)
    ctx = world.memory.userfaults[3] = UserfaultfdCtx(3, world.user, features=0)
    assert register(world.memory, ctx, USER_AREA, PAGE) == 0
    return ctx


@pytest.mark.parametrize("write", [FaultFlag(0), FaultFlag.WRITE])
@pytest.mark.parametrize("kind", [PRIVATE, SHARED])
def test_a_first_touch_waits_and_what_is_there_does_not(kind: int, write: FaultFlag) -> None:
    world = World()
    ctx = registered(world, kind)
    answer = asked(world, USER | write)
    assert answer.outcome == Retry("somebody has to fill the page in", 3)
    assert answer.result == VmFault.RETRY
    assert not any(isinstance(effect, NewAnonPage) for effect in answer.effects)
    assert any(isinstance(effect, PrepareAnonVma) for effect in answer.effects) == (kind == PRIVATE and bool(write))
    assert isinstance(asked(world, USER | FaultFlag.WRITE, USER_AREA + PAGE).outcome, Resolved)
    assert mfill_atomic(world.memory, ctx, USER_AREA, PAGE, None) == PAGE
    assert pte(world, USER_AREA)
    assert isinstance(asked(world, USER | write).outcome, Resolved)


def test_who_cannot_wait_gets_sigbus() -> None:
    world = World()
    ctx = registered(world)
    refused = BadArea("BUS_ADRERR", "SIGBUS")
    assert asked(world, FaultFlag.USER).outcome == refused
    assert isinstance(asked(world, FaultFlag.ALLOW_RETRY).outcome, Retry)
    ctx.user_mode_only = True
    assert asked(world, FaultFlag.ALLOW_RETRY).outcome == refused
    assert isinstance(asked(world, USER).outcome, Retry)
    ctx.features = UFFD_FEATURE_SIGBUS
    answer = asked(world, USER)
    assert (answer.outcome, answer.result) == (refused, VmFault.SIGBUS)
