"""Marks without coordinates: which they are, what is said if nobody can draw, and the command with them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PIL import Image

from vipcli.cli.mark_arguments import EXAMPLES, MarkArguments, read_arguments
from vipcli.cli.options import MARK_OPTIONS, as_option
from vipcli.errors import ColorError, MarkError
from vipcli.marks.colors import named_color
from vipcli.marks.kinds import BY_KIND, TypedMark, UnplacedMark, parse_mark
from vipcli.serving.handoff import MARKS, _needs_hand

OPTIONS = {
    "--json": False,
    "--quiet": False,
    "-q": False,
    "--model": True,
    **{f"--{kind}": True for kind in BY_KIND},
}


def read(*arguments: str, most: int = 2) -> MarkArguments:
    return read_arguments("ask", arguments, OPTIONS, most)


@pytest.mark.parametrize("kind", BY_KIND)
def test_each_example_is_valid_coordinates(kind: str) -> None:
    assert parse_mark(kind, EXAMPLES[kind]).kind == kind
    assert kind in MARK_OPTIONS.options
    assert kind in MARKS


@pytest.mark.parametrize("after", [[], ["--json"], ["--arrow", "5,5"], ["--arrow=5,5"], ["-q"]])
def test_the_picture_s_size_is_named(after: list[str], tmp_path: Path) -> None:
    photo = str(tmp_path / "photo.png")
    Image.new("RGB", (640, 480)).save(photo)
    arguments = read(photo, "What is {1}?", "--box", *after)
    assert arguments.has_unplaced
    with pytest.raises(MarkError) as caught:
        _ = arguments.typed
    assert caught.value.message.spelled(as_option) == (
        "The box has no coordinates. Write them in pixels or percent, as --box 25%,25%,75%,75%. "
        "photo.png is 640 × 480 pixels."
    )


@pytest.mark.parametrize("source", ["missing.png", "https://example.com/photo.png", "-", "x" * 300])
def test_no_size_is_named_where_none_is_known(source: str) -> None:
    with pytest.raises(
        MarkError, match=r'has no coordinates\. Write them in pixels or percent, as scribble=.*"[.]$'
    ):
        _ = read(source, "--scribble").typed


@pytest.mark.parametrize(
    ("arguments", "slots", "parsed"),
    [
        (["p.png", "--box"], [UnplacedMark("box")], ["p.png", "--box="]),
        (["p.png", "--box", "--json"], [UnplacedMark("box")], ["p.png", "--box=", "--json"]),
        (["p.png", "--box", "What is {1}?"], [UnplacedMark("box")], ["p.png", "--box=", "What is {1}?"]),
        (["p.png", "--box", "2 cars?"], [UnplacedMark("box")], ["p.png", "--box=", "2 cars?"]),
        (["--box", "p.png", "What?"], [UnplacedMark("box")], ["--box=", "p.png", "What?"]),
        (["--mask", "p.png"], [UnplacedMark("mask")], ["--mask=", "p.png"]),
        (["p.png", "--box", ":red"], [UnplacedMark("box", named_color("red"))], ["p.png", "--box=:red"]),
        (["p.png", "--box=2:"], [UnplacedMark("box", picture=2)], ["p.png", "--box=2:"]),
        (
            ["p.png", "--arrow", "2::red"],
            [UnplacedMark("arrow", named_color("red"), 2)],
            ["p.png", "--arrow=2::red"],
        ),
        (
            ["p.png", "--model", "--box", "--box"],
            [UnplacedMark("box")],
            ["p.png", "--model", "--box", "--box="],
        ),
        (["p.png", "--", "--box"], [], ["p.png", "--", "--box"]),
    ],
)
def test_marks_without_coordinates_are_found(
    arguments: list[str], slots: list[UnplacedMark], parsed: list[str]
) -> None:
    result = read(*arguments)
    assert list(result.slots) == slots
    assert result.for_parser() == parsed


@pytest.mark.parametrize("name", ["20260101_120000.png", "2.png"])
def test_a_picture_whose_name_begins_with_a_number_is_no_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save(name)
    assert read("--box", name, "What is {1}?").for_parser() == ["--box=", name, "What is {1}?"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["p.png", "--box", "1,2,3,4", "--json"],
        ["p.png", "--box=1,2,3,4"],
        ["p.png", "--box", "-5,0,20,20"],
        ["p.png", "--point", "2:50%,50%:red"],
        ["p.png", "--mask", "mask.png:red", "--scribble", "1,1 5,5"],
    ],
)
def test_marks_with_coordinates_are_kept(arguments: list[str]) -> None:
    result = read(*arguments)
    assert not result.has_unplaced
    assert result.typed == [slot for slot in result.slots if isinstance(slot, TypedMark)]
    assert len(result.slots) == sum(argument.startswith("--") for argument in arguments) - (
        "--json" in arguments
    )


@pytest.mark.parametrize(
    "typed",
    [
        "p.png What? --box",
        "p.png --box=:red What?",
        "p.png --box '2 cars?'",
        "p.png --box 2: What?",
        "p.png --box 2::red What?",
        "p.png --box :#ff0000 What?",
        "p.png --mask :red What?",
        "p.png --mask 2: What?",
        "p.png --contour 2::red What?",
        "p.png --contour 'What is {1}?'",
        "p.png What? --mask --json",
        "p.png What? --box 1,1,9,9 --point",
    ],
)
def test_a_server_is_not_asked_to_draw(typed: str) -> None:
    arguments = shlex.split(typed)
    assert read(*arguments).has_unplaced
    assert _needs_hand(["ask", *arguments])


@pytest.mark.parametrize(
    "place",
    [
        "--box 1,2,3,4",
        "--box=-5,2.5,30%,40:red",
        "--point '2:5, 5:#ff0000'",
        "--arrow .5,7",
        "--scribble '1,1 5,5 9,1:blue'",
        "--mask mask.png:red",
        "--contour 2:mask.png",
        "--contour '1,1 9,1 5,5'",
    ],
)
def test_a_server_takes_a_command_with_all_coordinates(place: str) -> None:
    arguments = ["p.png", "What?", *shlex.split(place)]
    assert not read(*arguments).has_unplaced
    assert not _needs_hand(["ask", *arguments])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["p.png", "What?", "--box", "left corner"], "Cannot read the box 'left corner'"),
        (["p.png", "--box", "1,2,3"], "has 3 numbers"),
        (["p.png", "--box", "1,2,3,4o"], "Cannot read the box"),
    ],
)
def test_what_is_neither_a_place_nor_missing_elsewhere_is_refused(arguments: list[str], text: str) -> None:
    with pytest.raises(MarkError, match=text):
        read(*arguments)


def test_an_unknown_color_is_refused() -> None:
    with pytest.raises(ColorError, match="Did you mean red"):
        read("p.png", "--box", ":redd")


def test_any_number_of_pictures_takes_no_word_from_a_mark() -> None:
    with pytest.raises(MarkError, match="Cannot read the box 'photos'"):
        read("--box", "photos", most=0)


BOX, ARROW, POINT = parse_mark("box", "1,2,3,4"), parse_mark("arrow", "-5,5,9,9"), parse_mark("point", "7,8")


@pytest.mark.parametrize(
    ("arguments", "by_slot", "question", "command"),
    [
        (["p.png", "--box"], [BOX], None, "vipcli ask p.png --box 1,2,3,4"),
        (["a b.png", "--box"], [BOX], "What's {1}?", """vipcli ask 'a b.png' "What's {1}?" --box 1,2,3,4"""),
        (
            ["p.png", "Q", "--box", "--arrow", "-q"],
            [BOX, ARROW],
            None,
            "ask p.png Q --box 1,2,3,4 --arrow=-5,5,9,9 -q",
        ),
        (["p.png", "--box", "--arrow"], [None, ARROW], None, "vipcli ask p.png --arrow=-5,5,9,9"),
        (["--json", "--box", "--", "p.png"], [BOX], None, "vipcli ask --json --box 1,2,3,4 -- p.png"),
    ],
)
def test_the_command_repeats_what_was_drawn(
    arguments: list[str], by_slot: list[TypedMark | None], question: str | None, command: str
) -> None:
    printed = read(*arguments).command_with(by_slot, question=question)
    assert shlex.split(printed) == shlex.split(
        command if command.startswith("vipcli") else f"vipcli {command}"
    )
    drawn = [mark for mark in by_slot if mark is not None]
    again = read(*shlex.split(printed)[2:])
    assert again.typed == drawn


def test_more_marks_than_were_asked_for_follow() -> None:
    arguments = read("--box", "--", "p.png")
    assert arguments.command_with([BOX], [POINT]) == "vipcli ask --box 1,2,3,4 --point 7,8 -- p.png"
