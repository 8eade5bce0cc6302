"""`vipcli draw`: draw marks on a picture, without a model."""

from __future__ import annotations

from typing import Annotated

import typer

from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.picking import PickRequest, picking
from vipcli.cli.shared import check_output, save_marked, show_notes
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output


def draw(
    image: options.Image,
    *,
    marks: options.Marks,
    settings: Annotated[Settings, options.STYLE_OPTIONS, options.PICK_OPTIONS],
    out: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Output file; - for standard output.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option("--show", help="Show the picture in the terminal.", rich_help_panel=options.OUTPUT),
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print the marks as one JSON object.", rich_help_panel=options.OUTPUT),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw marks on a picture, as the models were trained to read them.

    vipcli draw photo.jpg --box 40,60,200,220:blue -o marked.png
    vipcli draw photo.jpg --scribble "10,10 40,35 60,20" --mask cat.png -o marked.png
    """
    if out is None and not show and not json:
        raise UsageError("There is no output. Name a file with -o, or use --show.")
    if out == "-" and json:
        raise UsageError("Standard output can take the picture or the JSON, not both. Name a file with -o.")
    request = PickRequest("draw", quiet=quiet, check=lambda marked: check_output(out))
    with picking(marks, [image], settings, request) as picked:
        show_notes(picked.marked.notes, quiet=quiet)
        if out is not None:
            save_marked(picked.marked, out, quiet=quiet)
    if show:
        output.show_picture(picked.marked.pixels)
    if json:
        from vipcli.asking import records

        record = records.describe_marked(picked.marked)
        output.write_json(record if picked.command is None else {**record, "command": picked.command})


draw_command = command(options.expand_groups(draw), marks=True)
