"""A mark's option without coordinates says what to type."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vipcli.cli.coordinates import EXAMPLES, check_coordinates
from vipcli.cli.options import MARK_OPTIONS, as_option
from vipcli.errors import MarkError
from vipcli.marks.kinds import BY_KIND, parse_mark

OPTIONS = {"--json", "--quiet", "-q", *(f"--{kind}" for kind in BY_KIND)}


@pytest.mark.parametrize("kind", BY_KIND)
def test_each_example_is_valid_coordinates(kind: str) -> None:
    assert parse_mark(kind, EXAMPLES[kind]).kind == kind
    assert kind in MARK_OPTIONS.options


@pytest.mark.parametrize("after", [[], ["--json"], ["--arrow", "5,5"], ["--arrow=5,5"], ["-q"]])
def test_the_picture_s_size_is_named(after: list[str], tmp_path: Path) -> None:
    photo = str(tmp_path / "photo.png")
    Image.new("RGB", (640, 480)).save(photo)
    with pytest.raises(MarkError) as caught:
        check_coordinates([photo, "What is {1}?", "--box", *after], OPTIONS)
    assert caught.value.message.spelled(as_option) == (
        "The box has no coordinates. Write them in pixels or percent, as --box 25%,25%,75%,75%. "
        "photo.png is 640 × 480 pixels."
    )


@pytest.mark.parametrize("source", ["missing.png", "https://example.com/photo.png", "-", "x" * 300])
def test_no_size_is_named_where_none_is_known(source: str) -> None:
    with pytest.raises(
        MarkError, match=r'has no coordinates\. Write them in pixels or percent, as scribble=.*"[.]$'
    ):
        check_coordinates([source, "--scribble"], OPTIONS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["photo.png", "--box", "1,2,3,4", "--json"],
        ["photo.png", "--box=1,2,3,4"],
        # What cannot be read as a place is refused later, by name.
        ["photo.png", "--box", "What is {1}?"],
        ["photo.png", "--box", "-5,0,20,20"],
        ["photo.png", "--", "--box"],
    ],
)
def test_marks_with_places_pass(arguments: list[str]) -> None:
    check_coordinates(arguments, OPTIONS)
