"""`pagefault run`: play scenes and tell them."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

import click

from ..errors import BadInput, PagefaultError
from .progress import working

if TYPE_CHECKING:
    from ..report.closing import Row
    from ..scenes import Played, Scene, Theatre

NOT_PLAYED = 1


EPILOG = """\b
Examples:
  pagefault run
  pagefault run null-read copy-from-user
  pagefault run --kernel vmlinux --features erms,fsrm,smap,smep,nx,la57 copy-from-user
"""


@click.command(epilog=EPILOG)
@click.argument("names", metavar="[SCENE]...", nargs=-1)
@click.option("--kernel", metavar="IMAGE", help="A vmlinux to play with; by default the small kernel in this package.")
@click.option("--features", metavar="LIST", help="The CPU's features: X86_FEATURE_ names in small letters, or `none`.")
@click.option("--list", "listing", is_flag=True, help="List the scenes, and play none.")
@click.option("--table", "only_table", is_flag=True, help="Print the closing table only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run(
    names: tuple[str, ...], kernel: str | None, features: str | None, listing: bool, only_table: bool, as_json: bool
) -> int:
    """
    Play scenes, and tell each as a story; all of them, unless some are named.

    A story has, for each fault: the instruction, the address and the access, the walk level by level, the error code,
    each question the handler asked with its answer and where the kernel asks it, the outcome, and the state after. The
    closing table has a line for each call.

    Exit status: 0 if every scene was played (what a scene shows may well be an oops), 1 if this kernel cannot play one
    of them, 2 for bad input.
    """
    from ..scenes import BOOKS, SCENES, Theatre

    if listing:
        list_scenes([scene_named(name, SCENES) for name in names] or list(SCENES.values()), as_json)
        return 0
    if kernel in (None, "small"):
        for name in names:
            scene_named(name, SCENES)
    theatre = Theatre(
        None if kernel == "small" else kernel, **({} if features is None else {"features": feature_list(features)})
    )
    with working(f"booting {kernel or 'the small kernel'}"):
        book = BOOKS[theatre.machine().form.name]
    wanted = [scene_named(name, book) for name in names] or list(book.values())
    return play_as_json(theatre, wanted) if as_json else play_and_tell(theatre, wanted, only_table)


def scene_named(name: str, scenes: dict[str, Scene]) -> Scene:
    """The scene of that name."""
    if name in scenes:
        return scenes[name]
    near = difflib.get_close_matches(name, scenes, 3, 0.5) or [each for each in scenes if name.strip("-") in each]
    hint = f"did you mean {' or '.join(near)}?" if near else "`pagefault run --list` lists them"
    raise BadInput("SCENE", expected=f"the name of a scene ({hint})", got=repr(name))


def feature_list(text: str) -> frozenset[str]:
    """The names in "erms,smap"; none of "none". Whether they are features is for whoever boots to say."""
    return frozenset(filter(None, (name.strip() for name in text.split(",")))) - {"none"}


def list_scenes(scenes: list[Scene], as_json: bool) -> None:
    """Print name, cause and title of each."""
    from ..report.as_json import document, scene
    from ..report.page import Page, Table

    if as_json:
        click.echo(json.dumps(document("run", scenes=[scene(each) for each in scenes]), indent=2))
    else:
        rows = [(each.name, each.cause, each.title) for each in scenes]
        Page.of_stdout().write(Table(("scene", "cause", "what happens"), rows))


def play_and_tell(theatre: Theatre, scenes: list[Scene], only_table: bool) -> int:
    """Play each scene, print its story at once, and the closing table at the end."""
    from ..report.closing import closing_table, not_played_row, play_rows
    from ..report.explain import legend, scene_story
    from ..report.page import Page

    page, status = Page.of_stdout(), 0
    rows: list[Row] = []
    for number, scene in enumerate(scenes, 1):
        try:
            played = play(theatre, scene, f"{number} of {len(scenes)}")
        except PagefaultError as error:
            status = NOT_PLAYED
            rows.append(not_played_row(scene, str(error)))
            continue
        rows += play_rows(played)
        if not only_table:
            page.write(*scene_story(played), (), ())
    if not only_table:
        page.write(*legend(), ())
    page.write(closing_table(rows))
    return status


def play_as_json(theatre: Theatre, scenes: list[Scene]) -> int:
    """Play each scene, and print one document of all."""
    from ..report import as_json

    told, status = [], 0
    for number, scene in enumerate(scenes, 1):
        try:
            told.append(as_json.play(play(theatre, scene, f"{number} of {len(scenes)}")))
        except PagefaultError as error:
            status = NOT_PLAYED
            told.append(as_json.not_played(scene, str(error)))
    click.echo(json.dumps(as_json.document("run", scenes=told), indent=2))
    return status


def play(theatre: Theatre, scene: Scene, which: str) -> Played:
    """Play one scene, showing that it takes time if it does."""
    with working(f"playing {scene.name}, scene {which}"):
        return theatre.play(scene)
