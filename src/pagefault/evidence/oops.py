"""An oops as text: `read` it, `write` it; `OopsReport` is what it says."""

from .oops_reading import read, read_all
from .oops_report import OopsReport
from .oops_writing import write

__all__ = ["OopsReport", "read", "read_all", "write"]
