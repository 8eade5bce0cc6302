"""`vipcli ask --again`: ask what a record says was asked, and say whether the answer is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli.cli import options
from vipcli.cli.mark_arguments import MarkArguments, is_file
from vipcli.cli.shared import show_notes
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.asking.repeating import Comparison, Repetition

AGAIN = Annotated[
    str | None,
    typer.Option(
        "--again",
        metavar="RECORD[:ROW]",
        help="Ask what a record (from --json, or a row of a batch; - for standard input) says was asked, and "
        "compare the answers. An IMAGE replaces one that was moved; options replace the record's.",
        rich_help_panel=options.ANSWER,
    ),
]


def open_record(
    source: str,
    sources: Sequence[str],
    question: str | None,
    marks: MarkArguments,
    frames: int | None,
    settings: Settings,
    *,
    dry_run: bool,
) -> Repetition:
    """Prepare to ask again what the record in a file says was asked."""
    from vipcli.api import on_this_machine
    from vipcli.asking import recorded, repeating

    words = [word for word in sources if " " in word.strip() and not is_file(word) and "://" not in word]
    for name, given in (("question", question or words), ("marks", marks.slots), ("frames", frames)):
        if given:
            verb = "is" if name == "question" else "are"
            raise UsageError(f"With --again, the {name} {verb} the record's and cannot be given.")
    if "-" in sources and source.partition(":")[0] == "-":
        raise UsageError("Standard input holds the record or the picture, not both.")
    data, label = recorded.read(source)
    # A path with a row's number has the same folder.
    folder = None if source == "-" else Path(source).parent
    past = repeating.repeat(data, settings, sources, folder=folder, label=label)
    # To know the devices takes torch, which a dry run does without.
    return past if dry_run else replace(past, settings=on_this_machine(past.settings))


def report(comparison: Comparison, *, quiet: bool) -> None:
    """Say what differs from the record, and whether the answer does."""
    show_notes(comparison.notes, quiet=quiet)
    if not quiet:
        output.info(comparison.verdict)
