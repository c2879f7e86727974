"""vmalloc space: mapped in the master page table first, and perhaps only there."""

from __future__ import annotations

from ..arch.x86_eras import profile
from ..vocabulary.address import PAGE
from ..vocabulary.walk import NotPresent
from .bugs import BUG
from .stage import Stage, scene

VMALLOC = "a vmalloc address"
LAST_WITH_FAULTING = (5, 7)


def far_area(stage: Stage, *, sync: bool = True) -> int:
    """
    An area in the first part of vmalloc space that this process's table has no entry for (at the level that a vmalloc
    fault copies), or else in the last part. `sync` is `Machine.vmalloc()`'s.
    """
    machine = stage.machine
    level = machine.form.vmalloc_level(machine.booted.state)
    reach = 1 << next(each.shift for each in machine.tables.levels if each.name == level)
    starts = range(machine.area.vmalloc_start // reach * reach + reach, machine.area.vmalloc_end - reach, reach)
    empty = (start for start in starts if machine.walk(start).end == NotPresent(level))
    return machine.vmalloc(PAGE, start=next(empty, starts[-1]), sync=sync)


@scene("vmalloc-other", "vmalloc memory touched from another process, up to Linux 5.7", VMALLOC)
def vmalloc_other(stage: Stage) -> None:
    """
    vmalloc() wrote the master table (init_mm) only. This process's table was made before and lacks the top-level entry:
    the first touch faults, the handler copies that one entry, and everything below it is shared from then on. Played
    under the rules of 5.7, the last version in which x86-64 did so, whatever kernel's code runs.
    """
    stage.set_on(rules=profile(LAST_WITH_FAULTING))
    area = far_area(stage)
    stage.call("wr() on an area mapped after this process was made", "wr", area)
    stage.call("the same again: the entry is there now", "wr", area)


@scene("vmalloc-shared", "vmalloc memory touched from another process, under this kernel's rules", VMALLOC)
def vmalloc_shared(stage: Stage) -> None:
    """
    Since 5.8 a kernel mapping is never copied at fault time on x86-64, and since 5.9 every top-level entry of vmalloc
    space exists from boot on: all tables share what hangs below. The same touch does not fault at all.
    """
    area = far_area(stage)
    result = stage.call("wr() on an area mapped after this process was made", "wr", area)
    stage.after(f"{len(result.events) or 'No'} faults, under the rules of {stage.machine.profile}.")


@scene("vmalloc-freed", "vmalloc memory used after vfree()", BUG)
def vmalloc_freed(stage: Stage) -> None:
    """
    The pages are given back and their entries cleared. The tables above stay, so the walk gets down to an empty pte. A
    real CPU may go on using its old translation until the kernel flushes it, much later: then nothing faults, and
    somebody else's data is read.
    """
    area = stage.machine.vmalloc(2 * PAGE)
    stage.call("wr() on the area", "wr", area)
    stage.machine.vfree(area)
    stage.call("rd() on it after vfree() and the flush", "rd", area)


@scene("vmalloc-guard", "One past the end of a vmalloc area", BUG)
def vmalloc_guard(stage: Stage) -> None:
    """
    Each area is followed by a page that is never mapped: running over the end faults at once instead of corrupting.
    """
    area = stage.machine.vmalloc(PAGE)
    stage.machine.vmalloc(PAGE)
    stage.call("rd() on the last word", "rd", area + PAGE - 8)
    stage.call("rd() on the word after it", "rd", area + PAGE)
