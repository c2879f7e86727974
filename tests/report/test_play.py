from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from pagefault.report import play
from pagefault.scenes import Act, Played, Scene


@pytest.mark.parametrize(
    ("told", "form"), [(Scene, play.SceneToTell), (Act, play.ActToTell), (Played, play.PlayToTell)]
)
def test_scenes_have_what_reports_ask_for(told: Any, form: Any) -> None:
    asked = {name for name in vars(form) if not name.startswith("_")}
    assert asked
    assert asked <= {field.name for field in fields(told)}
