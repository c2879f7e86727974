"""Each architecture fills in the whole form."""

from __future__ import annotations

import inspect

from pagefault.arch import x86_32, x86_64
from pagefault.arch.architecture import Architecture

FILLED_IN: list[Architecture] = [x86_64, x86_32]
"""mypy holds each module to the form's types; the test below to its names and parameters."""


def test_every_architecture_answers_every_question_of_the_form() -> None:
    questions = {name: form for name, form in vars(Architecture).items() if inspect.isfunction(form) and name[0] != "_"}
    assert questions.keys() >= {"geometry", "violation", "fault", "address_map"}
    for architecture in FILLED_IN:
        assert architecture.name
        for name, form in questions.items():
            asked = list(inspect.signature(form).parameters)[1:]
            assert list(inspect.signature(getattr(architecture, name)).parameters) == asked, name
