"""Catch mark options that were typed without coordinates, and suggest what to type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from vipcli.errors import ImageError, MarkError

EXAMPLES = {
    "box": "25%,25%,75%,75%",
    "ellipse": "25%,25%,75%,75%",
    "triangle": "25%,25%,75%,75%",
    "point": "50%,50%",
    "arrow": "50%,50%",
    "scribble": "20%,30% 40%,50% 60%,30%",
    "contour": "20%,20% 80%,20% 50%,80%",
    "mask": "20%,20% 80%,20% 50%,80%",
}
"""Coordinates for each kind of mark, as they are typed."""


def check_coordinates(arguments: Sequence[str], options: Collection[str]) -> None:
    """Raise MarkError where the option of a mark is followed by another option, or by nothing."""
    for position, argument in enumerate(arguments):
        if argument == "--":
            return
        kind = argument.removeprefix("--")
        if not argument.startswith("--") or kind not in EXAMPLES:
            continue
        following = arguments[position + 1 : position + 2]
        if not following or following[0].partition("=")[0] in options:
            example, size = EXAMPLES[kind], _first_picture_size(arguments)
            raise MarkError(
                f"The {kind} has no coordinates.",
                f"Write them in pixels or percent, as {{{kind}={example}}}.{size}",
            )


def _first_picture_size(arguments: Sequence[str]) -> str:
    """The size of the first picture among the arguments, as a sentence; empty if there is none."""
    from vipcli.pictures.images import load_picture

    for argument in arguments:
        if argument.startswith("-") or not is_file(argument):
            continue
        try:
            picture = load_picture(argument)
        except ImageError:
            continue
        return f" {Path(argument).name} is {picture.width} × {picture.height} pixels."
    return ""


def is_file(name: str) -> bool:
    """Whether an argument names a file; a question may be longer than any file name."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
