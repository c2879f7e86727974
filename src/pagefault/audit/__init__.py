"""
What is wrong with an exception table: one rule a function, each with a code and a page of the documentation.

    found = audit(open_image("vmlinux", strict=False))
    found.unexplained           # the findings that count
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .finding import Audit, Finding, Place, Severity

if TYPE_CHECKING:
    from ..images.kernel_image import KernelImage

__all__ = ["Audit", "Finding", "Place", "Severity", "audit"]


def audit(image: KernelImage) -> Audit:
    """
    Apply every rule to an image: one that was opened with `strict` off, so that a table with nonsense in it is read and
    not refused.

    Errors: Absent if it has no exception table; BadInput or Unsupported if the table cannot be read.
    """
    from .context import AuditContext
    from .known import explain
    from .rules import RULES

    context = AuditContext(image)
    findings = [
        replace(finding, explained=explain(finding, image.platform.elf_machine))
        for rule in RULES
        for finding in rule.findings(context)
    ]
    return Audit(
        file=image.path,
        module=image.module,
        findings=tuple(findings),
        checked=tuple(f"{rule.code} {rule.title}" for rule in RULES),
        not_checked=tuple(context.skipped),
    )
