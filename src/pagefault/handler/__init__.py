"""
Question in, decision out, nothing touched.

    handle_page_fault(fault, context) -> Decision(outcome, effects, trail)
"""

from .context import Context
from .decision import Answer, BadArea, Decision, Step
from .triage import handle_exception, handle_general_protection, handle_page_fault

__all__ = [
    "Answer",
    "BadArea",
    "Context",
    "Decision",
    "Step",
    "handle_exception",
    "handle_general_protection",
    "handle_page_fault",
]
