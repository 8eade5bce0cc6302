"""What `vipcli.cli.groups` relies on in Typer, which does not promise it."""

from __future__ import annotations

from importlib.metadata import version

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from vipcli.cli.app import app
from vipcli.cli.groups import CHECKED_VERSIONS, LazyGroup, MarkingCommand, command
from vipcli.cli.options import MARKS, Marks, expand_groups


def test_this_version_was_checked() -> None:
    assert version("typer").rpartition(".")[0] in CHECKED_VERSIONS


def test_help_is_written_by_the_methods_that_are_replaced() -> None:
    for method in ("format_help_text", "format_options", "parse_args", "get_params", "make_parser"):
        assert callable(getattr(TyperCommand, method))
    assert callable(TyperGroup.format_commands)


def test_a_group_looks_its_commands_up_in_a_mapping() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    context = group.make_context("vipcli", ["draw"], resilient_parsing=True)
    assert isinstance(group.get_command(context, "draw"), MarkingCommand)
    assert group.get_command(context, "missing") is None


def test_the_order_of_options_and_their_headings_are_kept() -> None:
    seen: list[str] = []

    def look(*, marks: Marks) -> None:
        seen.extend(mark.kind for mark in marks.typed)

    drawing = command(expand_groups(look), marks=True)
    drawing.main(["--point", "1,1", "--box", "1,1,9,9", "--point", "2,2"], standalone_mode=False)
    assert seen == ["point", "box", "point"]
    context = drawing.make_context("look", [])
    headings = {param.name: getattr(param, "rich_help_panel", None) for param in drawing.get_params(context)}
    assert headings["box"] == MARKS
