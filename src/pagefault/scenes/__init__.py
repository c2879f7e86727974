"""
Small named stories: each plays one way in which kernel code and memory can meet.

A scene is a function that gets a `Stage` and calls kernel functions on it. Importing this package fills `SCENES`, in
the order in which they are told: the order of the imports below. `BOOKS` has those of each architecture.
"""

from . import bugs  # noqa: F401 -- imported for its scenes, like the next five

# isort: split
from . import user_pointers  # noqa: F401

# isort: split
from . import good_faults  # noqa: F401

# isort: split
from . import vmalloc  # noqa: F401

# isort: split
from . import prepared  # noqa: F401

# isort: split
from . import x86_32  # noqa: F401
from .stage import BOOKS, SCENES, SCENES_32, Act, Played, Scene, Stage, Theatre

__all__ = ["BOOKS", "SCENES", "SCENES_32", "Act", "Played", "Scene", "Stage", "Theatre"]
