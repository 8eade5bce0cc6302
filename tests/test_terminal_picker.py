"""Marks are placed in a terminal: with the mouse and with keys, in windows of every size, and safely."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import termios
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.tmux import Pane
from vipcli.errors import MarkError, as_argument
from vipcli.marks.colors import parse_color
from vipcli.marks.kinds import Slot, UnplacedMark, parse_mark
from vipcli.picking.canvas import Canvas, PickingCancelled
from vipcli.picking.mark_text import mark_text, placed_mark
from vipcli.picking.paths import simplify
from vipcli.picking.placing import Placing
from vipcli.picking.terminal_blocks import HalfBlocks, shows_all_colors
from vipcli.picking.terminal_drawing import TerminalDrawing
from vipcli.picking.terminal_events import (
    KeyPressed,
    MouseMoved,
    TerminalEvent,
    TerminalParser,
    TerminalReply,
)
from vipcli.picking.terminal_frame import Levels, compose
from vipcli.picking.terminal_graphics import (
    KittyImages,
    SixelImages,
    SixelPalette,
    graphics_in,
    may_show_pictures,
    sixels,
)
from vipcli.picking.terminal_line import InputLine
from vipcli.picking.terminal_picker import can_pick_in_terminal, pick_in_terminal
from vipcli.picking.terminal_status import fit, sides
from vipcli.picking.terminal_view import Spot, View
from vipcli.pictures.images import Picture, Pixels, open_picture
from vipcli.pictures.videos import Video

PROGRAM = Path(__file__).with_name("pick.py")
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")


def gradient(width: int, height: int) -> Pixels:
    """A picture whose colors tell the place."""
    down, across = np.mgrid[:height, :width]
    channels = [across * 255 // max(width - 1, 1), down * 255 // max(height - 1, 1), (across + down) % 256]
    return np.stack(channels, axis=2).astype(np.uint8)


def picture(width: int, height: int) -> Picture:
    return open_picture(gradient(width, height))


# ---------------------------------------------------------------------- what a terminal sends


def events(*pieces: bytes) -> list[TerminalEvent]:
    parser = TerminalParser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    return [*found, *parser.flush()]


def test_the_mouse_is_read() -> None:
    assert events(b"\x1b[<0;5;7M\x1b[<32;6;7M\x1b[<0;6;8m") == [
        MouseMoved("press", 4, 6),
        MouseMoved("drag", 5, 6),
        MouseMoved("release", 5, 7),
    ]
    assert events(b"\x1b[<64;300;200M\x1b[<65;1;1M") == [
        MouseMoved("closer", 299, 199),
        MouseMoved("farther", 0, 0),
    ]
    assert events(b"\x1b[<2;1;1M\x1b[<34;9;9M\x1b[<2;9;9m") == [
        MouseMoved("press", 0, 0, 2),
        MouseMoved("drag", 8, 8, 2),
        MouseMoved("release", 8, 8, 2),
    ]
    # The form of terminals without the newer one; it does not say which button is released.
    assert events(b"\x1b[M \x25\x27\x1b[M#\x25\x27") == [
        MouseMoved("press", 4, 6),
        MouseMoved("release", 4, 6),
    ]


def test_what_a_terminal_sends_may_be_cut_anywhere() -> None:
    data = "\x1b[<0;12;34Mé\x1b[A\x1b[1;2Dx\x1b[?1016;2$y".encode()
    expected = [
        MouseMoved("press", 11, 33),
        KeyPressed("é"),
        KeyPressed("up"),
        KeyPressed("s-left"),
        KeyPressed("x"),
        TerminalReply("\x1b[?1016;2$y"),
    ]
    assert events(data) == expected
    assert events(*(data[position : position + 1] for position in range(len(data)))) == expected


def test_only_the_escape_key_is_escape() -> None:
    assert events(b"\x1b") == [KeyPressed("escape")]
    assert events(b"\x1b\x1b") == [KeyPressed("escape"), KeyPressed("escape")]
    assert events(b"\x1b", b"x") == [KeyPressed("escape"), KeyPressed("x")]
    # Unknown sequences, a cut one, a key with Alt and a reply of several characters would all begin with it.
    for sequence in (b"\x1b[99;99Z", b"\x1b[I", b"\x1b[1;", b"\x1bq", b"\x1bP>|tmux 3.3a\x1b\\"):
        assert KeyPressed("escape") not in events(sequence)
        assert not [event for event in events(sequence) if isinstance(event, KeyPressed)]


def test_a_paste_is_one_key() -> None:
    assert events(b"\x1b[200~q\r", b"x\x1b[201~u") == [
        KeyPressed("<bracketed-paste>", "q\rx"),
        KeyPressed("u"),
    ]


def test_a_terminal_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(sys, "stderr", _Terminal())
    assert can_pick_in_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not can_pick_in_terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert not can_pick_in_terminal()
    monkeypatch.setattr(sys, "stdin", None)
    assert not can_pick_in_terminal()


# ---------------------------------------------------------------------- the part that is shown

VIEWS = [
    (width, height, columns, rows, aspect)
    for width, height in ((640, 480), (3, 400), (400, 3), (1, 1), (12_000, 9_000), (333, 777))
    for columns, rows, aspect in ((200, 58, 2.0), (80, 22, 2.1), (20, 5, 1.9))
]


@pytest.mark.parametrize("sizes", VIEWS)
def test_every_pixel_lies_under_one_cell_at_every_zoom(sizes: tuple[int, int, int, int, float]) -> None:
    view = View.whole(*sizes)
    for _ in range(30):
        for axis, cells in enumerate((view.columns, view.rows)):
            spots = [view.spot(*((n, 0, n + 1, 1) if axis == 0 else (0, n, 1, n + 1))) for n in range(cells)]
            firsts, middles, lasts = (
                [getattr(spot, name) for spot in spots]
                for name in (("left", "x", "right") if axis == 0 else ("top", "y", "bottom"))
            )
            assert all(a <= m <= b for a, m, b in zip(firsts, middles, lasts, strict=True))
            assert all(0 <= a - b <= 1 for a, b in zip(firsts[1:], lasts[:-1], strict=True))
            # What is shown of the picture is reached, from edge to edge where all of it is shown.
            step, start, side = (
                (view.step, view.left, view.width) if axis == 0 else (view.row_step, view.top, view.height)
            )
            assert firsts[0] <= max(start + 0.5, 0)
            assert lasts[-1] >= min(start + cells * step - 1.5, side - 1)
        view = view.zoomed(1, view.columns * 0.7, view.rows * 0.4)
    assert view.step <= 1 / 8


def test_zooming_keeps_the_place_under_the_pointer() -> None:
    view = View.whole(4000, 3000, 100, 38, 2.0)
    for column, row in ((20.5, 10.5), (50.5, 30.5)):
        closer = view
        before = view.spot(column, row, column, row)
        for _ in range(12):
            closer = closer.zoomed(1, column, row)
            spot = closer.spot(column, row, column, row)
            # The picture moves by whole cells.
            assert abs(spot.x - before.x) <= 6 * closer.step + 30
        assert closer.step <= 1 / 2
        for _ in range(20):
            closer = closer.zoomed(-1, column, row)
        assert closer == view


def test_a_view_scrolls_to_a_pixel_and_not_beyond_the_picture() -> None:
    view = View.whole(4000, 3000, 100, 38, 2.0)
    for _ in range(6):
        view = view.zoomed(1, 50, 19)
    for x, y in ((0, 0), (3999, 0), (3999, 2999), (0, 2999), (2000, 1500)):
        view = view.containing(x, y)
        column, row = view.cell(x + 0.5, y + 0.5)
        assert 0 <= column < 100
        assert 0 <= row < 38
        assert view.left >= 0
        assert view.left + 100 * view.step < 4000 + view.step


def test_a_window_of_another_size_shows_the_same_place() -> None:
    view = View.whole(4000, 3000, 100, 38, 2.0)
    for _ in range(5):
        view = view.zoomed(1, 70, 30)
    other = view.resized(60, 20, 2.0)
    x, y = view.left + 50 * view.step, view.top + 19 * view.row_step
    column, row = other.cell(x, y)
    assert abs(column - 30) <= 1
    assert abs(row - 10) <= 1
    assert 0.99 * view.zoom <= other.zoom <= 1.5 * view.zoom


def test_a_frame_shows_the_picture_where_the_pointer_finds_it() -> None:
    pixels = gradient(256, 256)
    levels = Levels(pixels)
    view = View.whole(256, 256, 90, 30, 2.0)
    for _ in range(8):
        frame = compose(levels, None, view, (1, 2))
        for column, row in ((20, 3), (45, 15), (60, 28)):
            spot = view.spot(column, row, column + 1, row + 1)
            if -view.left / view.step <= column < (256 - view.left) / view.step:
                shown = frame[row * 2 : row * 2 + 2, column].mean(axis=0)
                assert np.abs(shown[:2] - pixels[spot.y, spot.x, :2]).max() <= view.row_step + 1
        view = view.zoomed(1, 40, 12)


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_thin_strokes_are_seen_in_a_small_window(columns: int) -> None:
    canvas = Canvas([open_picture(np.full((3000, 4000, 3), 90, np.uint8))])
    mark = parse_mark("box", "1000,800,3000,2200:red")
    marked = canvas.draw([mark]).pictures[0].pixels
    view = View.whole(4000, 3000, columns, columns * 3 // 8, 2.0)
    frame = compose(Levels(canvas.pictures[0].pixels), Levels(marked), view, (1, 2)).astype(int)
    red = (frame[..., 0] - frame[..., 1]) > 60
    column, row = view.cell(1010, 800)
    left, top = int(column), int(row * 2)
    right, bottom = int(view.cell(2990, 0)[0]), int(view.cell(0, 2190)[1] * 2)
    assert red[top : bottom + 1, max(left - 1, 0) : left + 2].any(axis=1).all()
    assert red[top : bottom + 1, right - 1 : right + 2].any(axis=1).all()
    assert not red[top + 3 : bottom - 3, left + 3 : right - 3].any()


def test_a_mask_stays_transparent_in_a_small_window() -> None:
    canvas = Canvas([open_picture(np.full((3000, 4000, 3), 90, np.uint8))])
    marked = canvas.draw([parse_mark("mask", "1000,800,3000,2200:red")]).pictures[0].pixels
    view = View.whole(4000, 3000, 40, 15, 2.0)
    frame = compose(Levels(canvas.pictures[0].pixels), Levels(marked), view, (1, 2))
    assert frame[15, 20].tolist() == marked[1500, 2000].tolist()


# ---------------------------------------------------------------------- half blocks

SEQUENCE = re.compile(r"\x1b\[([0-9;]*)([Hm])|([▀ ])")


def painted(text: str, screen: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Do to a screen of dots what a terminal would."""
    row = column = 0
    ink = paper = (0, 0, 0)
    for match in SEQUENCE.finditer(text):
        if match[2] == "H":
            row, column = (int(number) - 1 for number in match[1].split(";"))
        elif match[2] == "m":
            for kind, red, green, blue in re.findall(r"(38|48);2;(\d+);(\d+);(\d+)", match[1]):
                color = int(red), int(green), int(blue)
                ink, paper = (color, paper) if kind == "38" else (ink, color)
        else:
            screen[row * 2, column] = ink if match[3] == "▀" else paper
            screen[row * 2 + 1, column] = paper
            column += 1


def test_half_blocks_show_the_frame_and_then_only_what_changed() -> None:
    blocks = HalfBlocks(all_colors=True)
    frame = gradient(30, 20)
    frame[4:12, 5:20] = 77
    screen = np.zeros((20, 30, 3), np.int64)
    painted(blocks.text(frame), screen)
    assert (screen == frame).all()
    assert blocks.text(frame) == ""
    frame = frame.copy()
    frame[7, 9] = 200
    text = blocks.text(frame)
    assert len(text) < 60
    painted(text, screen)
    assert (screen == frame).all()
    blocks.forget()
    assert len(blocks.text(frame)) > 1000


def test_a_palette_takes_the_nearest_of_its_colors() -> None:
    frame = np.array([[[255, 0, 0], [0, 0, 0]], [[128, 128, 128], [255, 255, 255]]], np.uint8)
    text = HalfBlocks(all_colors=False).text(frame)
    assert re.findall(r"[34]8;5;(\d+)", text) == ["196", "244", "16", "231"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, True),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "screen-256color"}, False),
        ({"TERM": "screen-256color", "TMUX": "/tmp/tmux-0/default,1,0"}, True),
    ],
)
def test_which_terminals_show_all_colors(environment: dict[str, str], expected: bool) -> None:
    assert shows_all_colors(environment) is expected


# ---------------------------------------------------------------------- graphics


def test_graphics_are_used_where_the_terminal_says_so() -> None:
    assert graphics_in("\x1b_Gi=7301;OK\x1b\\") is KittyImages
    assert graphics_in("\x1b_Gi=7301;ENOTSUP:no\x1b\\") is None
    assert graphics_in("\x1b[?63;1;2;4;22c") is SixelImages
    # 4 is the model in the first place, and sixels in another.
    assert graphics_in("\x1b[?4;6c") is None
    assert graphics_in("\x1b[?1;2c") is None
    assert may_show_pictures({"TERM": "xterm-kitty"})
    assert not may_show_pictures({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"})
    assert not may_show_pictures({"TERM": "screen.xterm-256color"})


KITTY = re.compile(r"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\")


def kitty_pictures(text: str) -> list[tuple[dict[str, str], Pixels]]:
    """The pictures that are sent by kitty's protocol, and where they go."""
    found: list[tuple[dict[str, str], str]] = []
    for control, payload in KITTY.findall(text):
        values = dict(pair.split("=") for pair in control.split(","))
        assert len(payload) <= 4096
        if values.get("a") == "T":
            found.append((values, payload))
        elif payload and "a" not in values:
            found[-1] = (found[-1][0], found[-1][1] + payload)
    return [
        (
            values,
            np.frombuffer(zlib.decompress(base64.b64decode(payload)), np.uint8).reshape(
                int(values["v"]), int(values["s"]), int(values["f"]) // 8
            ),
        )
        for values, payload in found
    ]


def test_kitty_gets_the_picture_and_then_what_changed() -> None:
    display = KittyImages(40, 10, (9, 18))
    frame = np.random.default_rng(0).integers(0, 256, (180, 360, 3), np.uint8)
    [(values, shown)] = kitty_pictures(display.text(frame))
    assert (shown == frame).all()
    assert (values["c"], values["r"]) == ("40", "10")
    changed = frame.copy()
    changed[20:30, 50:60] ^= 255
    text = display.text(changed)
    [(values, patch)] = kitty_pictures(text)
    assert len(text) < 2000
    assert text.startswith("\x1b[2;6H")
    assert (values["c"], values["r"]) == ("2", "1")
    assert (patch[2:12, 5:15, :3] == changed[20:30, 50:60]).all()
    assert patch[..., 3].sum() == 255 * 100
    # The patch goes away with the change.
    assert kitty_pictures(display.text(frame.copy())) == []
    assert "a=d,d=I,i=7302" in display.text(frame.copy())
    # In a large window, fewer dots are sent than there are pixels.
    across, down = KittyImages(300, 80, (10, 20)).dots
    assert 400_000 < 300 * 80 * across * down <= 800_000


def sixel_pixels(text: str) -> Pixels:
    """What a terminal shows for a sixel picture."""
    header = re.match(r'\x1bP0;1;0q"1;1;(\d+);(\d+)', text)
    assert header is not None
    width, height = int(header[1]), int(header[2])
    shown = np.zeros((height + 6, width, 3), np.uint8)
    colors: dict[int, list[int]] = {}
    column = band = color = 0
    for number, rgb, count, character in re.findall(
        r"#(\d+)(?:;2;([\d;]+))?|(?:!(\d+))?([?-~$-])", text[header.end() : -2]
    ):
        if rgb:
            colors[int(number)] = [round(int(share) * 2.55) for share in rgb.split(";")]
        elif number:
            color = int(number)
        elif character in "$-":
            column, band = 0, band + 6 * (character == "-")
        else:
            end = column + int(count or 1)
            for row in range(6):
                if ord(character) - 63 >> row & 1:
                    shown[band + row, column:end] = colors[color]
            column = end
    return shown[:height]


def test_sixels_show_the_picture_in_the_colors_of_their_palette() -> None:
    pixels = gradient(100, 45)
    pixels[10:20, 10:60] = (255, 0, 0)
    palette = SixelPalette(pixels)
    shown = sixel_pixels(sixels(pixels, palette)).astype(int)
    assert np.abs(shown - pixels).mean() < 8
    assert (shown[10:20, 10:60] == (255, 0, 0)).all()


def test_sixels_are_sent_again_where_something_changed() -> None:
    display = SixelImages(200, 40, (10, 20))
    frame = np.full((800, 2000, 3), 90, np.uint8)
    whole = display.text(frame)
    places = re.findall(r"\x1b\[(\d+);(\d+)H\x1bP", whole)
    assert len(places) == 12
    changed = frame.copy()
    changed[250:260, 950:960] = (0, 255, 0)
    # One tile, which begins at the eleventh row and the ninety-first column.
    assert re.findall(r"\x1b\[(\d+);(\d+)H\x1bP", display.text(changed)) == [("11", "91")]
    assert display.text(changed) == ""
    # A color that the palette lacks needs a new one, for all tiles.
    changed = changed.copy()
    changed[0:10, 0:10] = (120, 40, 220)
    assert re.findall(r"\x1b\[(\d+);(\d+)H\x1bP", display.text(changed)) == places


# ---------------------------------------------------------------------- marks


def test_a_path_is_reduced_to_its_corners() -> None:
    path = [(x, 0) for x in range(50)] + [(49, y) for y in range(50)]
    assert simplify(path, 1) == ((0, 0), (49, 0), (49, 49))
    assert simplify([(0, 0), (0, 0), (5, 5)], 1) == ((0, 0), (5, 5))
    assert simplify([(3, 3), (3, 3)], 1) == ((3, 3),)


def test_a_closed_path_keeps_its_shape_and_ends_where_it_began() -> None:
    square = [(x, 0) for x in range(40)] + [(40, y) for y in range(40)]
    square += [(x, 40) for x in range(40, 0, -1)] + [(0, y) for y in range(40, 0, -1)]
    assert simplify(square, 1, closed=True) == ((0, 0), (40, 0), (40, 40), (0, 40))


def test_a_long_path_becomes_short_and_stays_near() -> None:
    angles = np.linspace(0, 60, 5000)
    path = [(500 + 8 * a * np.cos(a), 500 + 8 * a * np.sin(a)) for a in angles.tolist()]
    points = simplify(path, 0.1, most=64)
    assert 20 < len(points) <= 64
    assert points[0] == path[0]
    assert points[-1] == path[-1]


def test_marks_are_written_as_one_would_type_them() -> None:
    assert mark_text("box", [(1, 2), (3, 4)], parse_color("red")) == "1,2,3,4:red"
    assert mark_text("arrow", [(1, 2)], picture=2) == "2:1,2"
    assert mark_text("scribble", [(1, 2), (3, 4)], parse_color("#112233"), 3) == "3:1,2 3,4:#112233"
    # Two points would be read as a box.
    with pytest.raises(MarkError, match="three points or more"):
        placed_mark("contour", [(1, 2), (30, 40)])
    with pytest.raises(MarkError, match="two points or more"):
        placed_mark("scribble", [(1, 2)])


def texts(placing: Placing) -> list[str]:
    return [f"{mark.kind} {mark.text}" for mark in placing.placed.marks]


def test_marks_fill_the_slots_in_order_and_then_come_after_them() -> None:
    slots: list[Slot] = [parse_mark("point", "5,5"), UnplacedMark("box"), UnplacedMark("arrow")]
    placing = Placing(Canvas([picture(100, 80)], slots))
    assert (placing.next.kind, placing.next_number, placing.next_color.name) == ("box", 2, "lime")
    placing.choose("arrow")
    # The box is empty, so that the arrow is the second mark by now.
    assert (placing.next.slot, placing.next_number) == (2, 2)
    placing.add([(1, 2)], 0)
    placing.add([(10, 10), (60, 60)], 0)
    placing.add([(20, 20), (50, 50)], 0)
    assert texts(placing) == ["point 5,5", "box 10,10,60,60", "arrow 1,2", "box 20,20,50,50"]
    assert placing.undo()
    assert placing.undo()
    assert texts(placing) == ["point 5,5", "arrow 1,2"]
    assert placing.redo()
    assert placing.remove_last()
    assert [slot.kind for slot in placing.missing()] == ["box"]
    assert not placing.redo()
    assert placing.undo()
    assert placing.placed.by_slot[1] is not None


def test_a_mark_that_cannot_be_drawn_changes_nothing() -> None:
    placing = Placing(Canvas([picture(100, 80)], [UnplacedMark("box")]))
    with pytest.raises(MarkError, match="encloses nothing"):
        placing.add([(10, 10), (10, 30)], 0)
    assert texts(placing) == []
    assert not placing.undo()
    assert not placing.redo()


def test_the_picture_is_named_where_there_are_several() -> None:
    slots: list[Slot] = [UnplacedMark("point", parse_color("red"), picture=2)]
    placing = Placing(Canvas([picture(100, 80), picture(50, 40)], slots))
    with pytest.raises(MarkError, match="belongs on picture 2"):
        placing.add([(1, 1)], 0)
    placing.add([(1, 1)], 1)
    placing.add([(3, 3)], 0)
    assert texts(placing) == ["point 2:1,1:red", "point 1:3,3"]
    with pytest.raises(MarkError, match=r"on picture 3, but there are only 2 pictures\."):
        Placing(Canvas([picture(9, 9), picture(9, 9)], [UnplacedMark("box", picture=3)]))
    film = Placing(Canvas([picture(100, 80)], video=Video("film.mp4", 9, 30, (0,))))
    film.choose("point")
    film.add([(3, 3)], 0)
    assert texts(film) == ["point 1:3,3"]


def test_a_crosshair_stays_on_the_picture_and_on_the_screen() -> None:
    drawing = TerminalDrawing(Canvas([picture(640, 480)]), as_argument)
    drawing.resize(64, 24, 2.0)
    for _ in range(8):
        drawing.zoom(1)
    for _ in range(400):
        drawing.move(-1, -1, "cell")
    assert drawing.spot == Spot.pixel(0, 0)
    for _ in range(700):
        drawing.move(1, 1, "pixel")
    assert drawing.spot == Spot.pixel(639, 479)
    column, row = drawing.view.cell(639.5, 479.5)
    assert column < 64
    assert row < 24


# ---------------------------------------------------------------------- lines of text


def test_a_line_is_edited() -> None:
    line = InputLine()
    for key in ("W", "h", "y", "c-h", "ö", "home", "delete", "w", "right", "c-h", "end", "?", "escape", "f1"):
        line.key(KeyPressed(key))
    assert line.text == "wö?"
    line.key(KeyPressed("c-u"))
    line.key(KeyPressed("<bracketed-paste>", "two\nlines \x1b[31m of it"))
    line.key(KeyPressed("c-w"))
    assert line.text == "two lines [31m of "
    for _ in range(5):
        line.key(KeyPressed("left"))
    # The cursor stands on the "m".
    assert line.shown(8) == ("nes [31m", 7)


def test_text_is_fitted_by_its_width() -> None:
    assert fit("日本語", 8) == "日本語  "
    assert fit("日本語", 5) == "日本…"
    assert fit("a\x1b[31m\nb", 9) == "a[31m b  "
    assert sides("left", ["a long right side", "right"], 12) == "left   right"
    assert sides("left", ["right"], 10) == "left      "


# ---------------------------------------------------------------------- with a terminal that is played


class PlayedTerminal:
    """The other end of a terminal of 80 × 24 cells: answers questions, and types what a script says.

    The script's lines are typed one after the other, each once the program has shown a text. The terminal
    is closed when nothing happens any more.
    """

    def __init__(self, answers: dict[str, str], script: list[tuple[str, str]]) -> None:
        self.shown = ""
        self._answers, self._script = answers, script
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 480))
        self._thread = threading.Thread(target=self._play, daemon=True)

    @contextmanager
    def plugged_in(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Make it the terminal of this process."""
        before = termios.tcgetattr(self._slave)
        with os.fdopen(os.dup(self._slave)) as stdin, os.fdopen(os.dup(self._slave), "w") as stderr:
            monkeypatch.setattr(sys, "stdin", stdin)
            monkeypatch.setattr(sys, "stderr", stderr)
            self._thread.start()
            try:
                yield
            except PickingCancelled:
                # Otherwise, pytest would take it for Ctrl-C.
                assert not self._script, f"{self._script[0]} was not reached"
                raise
            assert termios.tcgetattr(self._slave) == before
            monkeypatch.undo()
        os.close(self._slave)
        self._thread.join()

    def _play(self) -> None:
        waiting = ""
        while select.select([self._master], [], [], 5)[0]:
            try:
                data = os.read(self._master, 65536).decode(errors="replace")
            except OSError:
                break
            self.shown += data
            waiting += data
            for asked, answer in list(self._answers.items()):
                if asked in waiting:
                    del self._answers[asked]
                    os.write(self._master, answer.encode())
            while self._script and self._script[0][0] in waiting:
                text, keys = self._script.pop(0)
                waiting = waiting.partition(text)[2]
                os.write(self._master, keys.encode())
        os.close(self._master)


CELL = {"\x1b[16t": "\x1b[6;20;10t"}
PIXELS = {"\x1b[?1016$p": "\x1b[?1016;2$y", "\x1b[?1016h\x1b[?1016$p": "\x1b[?1016;1$y"}


def test_a_mouse_that_reports_pixels_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each pixel of the terminal shows 2 × 2 of the picture's.
    canvas = Canvas([picture(1600, 880)], [UnplacedMark("box")])
    drag = "\x1b[<0;101;201M\x1b[<32;150;250M\x1b[<0;231;301m"
    terminal = PlayedTerminal(
        {**CELL, **PIXELS}, [("\x1b[?1016h", ""), ("{1} box", drag), ("All is placed", "\r")]
    )
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with terminal.plugged_in(monkeypatch):
        placed = pick_in_terminal(canvas, question=None, asks=False)
    assert [mark.text for mark in placed.marks] == ["200,400,461,601"]
    assert "\x1b[?1016l" in terminal.shown.partition("All is placed")[2]


def test_a_terminal_with_graphics_gets_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = Canvas([picture(800, 440)], [UnplacedMark("point")])
    answers = {**CELL, "a=q": "\x1b_Gi=7301;OK\x1b\\\x1b[?62;c"}
    click = "\x1b[<0;11;6M\x1b[<0;11;6m"
    terminal = PlayedTerminal(
        answers, [("a=T,i=7301", click), ("All is placed", "?"), ("Any key", " "), ("a=T", "\r")]
    )
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setenv("TERM", "xterm-kitty")
    with terminal.plugged_in(monkeypatch):
        placed = pick_in_terminal(canvas, question="What is {1}?", asks=True)
    assert ([mark.text for mark in placed.marks], placed.question) == (["105,110"], "What is {1}?")
    first, *_, last = kitty_pictures(terminal.shown)
    assert (first[0]["c"], first[0]["r"]) == ("80", "22")
    assert np.abs(first[1].astype(int) - gradient(800, 440)).max() == 0
    # The mark is on the last one, which is shown whole after the help.
    assert last[1].shape == (440, 800, 3)
    assert last[1][110, 105, 0] > 120
    assert terminal.shown.rstrip().endswith("\x1b[?1049l")
    assert "a=d,d=I,i=7301" in terminal.shown[-300:]


def test_keys_and_notes_without_a_real_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = Canvas([picture(320, 176), picture(320, 176)], [UnplacedMark("box", picture=2)])
    script = [
        ("picture 2 of 2", "\x1b[B \x1b[C\x1b[B\r"),
        ("All is placed", "u"),
        ("{1} box", "\x19"),
        ("All is placed", ">"),
        ("This is the last picture.", "<"),
        ("picture 1 of 2", "6 ll ll "),
        ("adds a point", "\x1b"),
        ("sets points", "x"),
        ("{1} scribble", "1"),
        ("{1} box", "\x1b[3~"),
        ("There is no mark to remove.", "\x1a\r"),
        ("Question", "Why?\r"),
    ]
    terminal = PlayedTerminal({}, script)
    monkeypatch.setenv("TMUX", "/tmp/tmux,1,0")
    shown: list[bool] = []
    with terminal.plugged_in(monkeypatch):
        placed = pick_in_terminal(canvas, question=None, asks=True, on_shown=lambda: shown.append(True))
    assert [mark.text for mark in placed.marks] == ["2:162,92,166,100"]
    assert (placed.question, shown) == ("Why?", [True])


@pytest.mark.parametrize("keys", ["\x1b", "q", "\x03", "?\x03", "\r\x03", "\r\x04"])
def test_leaving_without_a_real_terminal(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    terminal = PlayedTerminal({}, [("{1} box", keys)])
    with terminal.plugged_in(monkeypatch), pytest.raises(PickingCancelled):
        pick_in_terminal(Canvas([picture(320, 176)]), question=None, asks=True)
    assert terminal.shown.rstrip().endswith("\x1b[?1049l")


# ---------------------------------------------------------------------- in a terminal


class Picking:
    """The program in a pane, and what comes out of it."""

    def __init__(self, pane: Pane, folder: Path) -> None:
        self.pane = pane
        self._out = folder / "out.json"

    def start(self, *pictures: Path, then: str = "; echo code $?", **options: object) -> None:
        """Type the command, and wait until the picture is shown."""
        program = [sys.executable, str(PROGRAM), str(self._out), json.dumps(options)]
        self.pane.line(*program, *map(str, pictures), then=then)

    def result(self) -> dict[str, Any]:
        """How it ended."""
        self.pane.until("code 0")
        content: dict[str, Any] = json.loads(self._out.read_text())
        return content

    def process(self) -> psutil.Process:
        """The program, once its picture is shown."""
        return psutil.Process(int(until(self._out.with_suffix(".pid").read_text)))


def until(read: Any) -> Any:
    """What a function returns, as soon as it returns something."""
    deadline = time.monotonic() + 20
    while True:
        try:
            if found := read():
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def picking(folder: Path, columns: int, rows: int) -> Iterator[Picking]:
    with Pane(columns, rows) as pane:
        yield Picking(pane, folder)


def save(folder: Path, width: int, height: int, name: str = "photo.png") -> Path:
    path = folder / name
    Image.fromarray(gradient(width, height)).save(path)
    return path


def dots_of(pane: Pane) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The colors on the screen, but for its last two rows."""
    lines = pane.screen(colors=True).splitlines()[:-2]
    screen = np.zeros((len(lines) * 2, int(pane.value("pane_width")), 3), np.int64)
    painted("".join(f"\x1b[{row};1H{line}" for row, line in enumerate(lines, 1)), screen)
    return screen


SHAPES = [["box", ""], ["ellipse", ":blue"], ["point", ""], ["arrow", ""], ["arrow", ":orange"]]


@needs_tmux
@pytest.mark.parametrize(("columns", "rows"), [(200, 50), (80, 24), (40, 15)])
def test_marks_are_dragged_with_the_mouse(tmp_path: Path, columns: int, rows: int) -> None:
    # Each cell shows 4 × 8 pixels, from corner to corner of the window; two rows are the status.
    photo = save(tmp_path, columns * 4, (rows - 2) * 8)
    with picking(tmp_path, columns, rows) as picker:
        picker.start(photo, slots=SHAPES, question="What is {1}?")
        picker.pane.until("{1} box: drag from corner to corner")
        # Each dot is the mean of its 4 × 4 pixels.
        dots = (
            gradient(columns * 4, (rows - 2) * 8).reshape((rows - 2) * 2, 4, columns, 4, 3).mean(axis=(1, 3))
        )
        assert np.abs(dots_of(picker.pane) - dots).max() < 2
        picker.pane.drag((0, 0), (5, 5), (columns - 1, rows - 3))
        picker.pane.until("{2} ellipse")
        picker.pane.drag((20, 9), (10, 9), (10, 4))
        picker.pane.until("{3} point: click on it")
        picker.pane.click(12, 7)
        picker.pane.until("{4} arrow")
        picker.pane.drag((3, 3), (4, 4), (9, 8))
        picker.pane.until("{5} arrow")
        picker.pane.click(30, 10)
        picker.pane.until("All is placed")
        # The box is on the picture, half transparent and red.
        assert (
            np.abs(dots_of(picker.pane)[0, columns // 2] - (dots[0, columns // 2] + (255, 0, 0)) / 2).max()
            < 40
        )
        picker.pane.keys("Enter")
        assert picker.result() == {
            "slots": [
                f"box 0,0,{columns * 4 - 1},{(rows - 2) * 8 - 1}",
                "ellipse 40,32,83,79:blue",
                "point 50,60",
                "arrow 14,28,38,68",
                "arrow 122,84:orange",
            ],
            "others": [],
            "question": "What is {1}?",
        }


@needs_tmux
def test_paths_are_drawn_by_hand_or_point_by_point(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        picker.start(photo)
        picker.pane.until("{1} box")
        picker.pane.type("6")
        picker.pane.until("{1} scribble: drag along it")
        picker.pane.drag(*((x, 5) for x in range(10, 31)), *((30, y) for y in range(6, 15)))
        picker.pane.until("{2} scribble")
        picker.pane.type("8")
        picker.pane.until("{2} mask: drag around it")
        corners = [(40, 5), (60, 5), (60, 15), (40, 15)]
        picker.pane.drag(*line_through(*corners, (40, 6)))
        picker.pane.until("{3} mask")
        picker.pane.type("7")
        for column, row in ((5, 5), (20, 5), (12, 12)):
            picker.pane.click(column, row)
        picker.pane.until("{3} contour: click or Space adds a point")
        # A click on the first point closes it.
        picker.pane.click(5, 5)
        picker.pane.until("{4} contour")
        picker.pane.keys("Enter")
        assert picker.result()["others"] == [
            "scribble 42,44 122,44 122,116",
            "mask 162,44 242,44 242,124 162,124",
            "contour 22,44 82,44 50,100",
        ]


def line_through(*cells: tuple[int, int]) -> list[tuple[int, int]]:
    """All cells on the way between these, which lie beside or below each other."""
    path = [cells[0]]
    for column, row in cells[1:]:
        while path[-1] != (column, row):
            x, y = path[-1]
            path.append((x + (column > x) - (column < x), y + (row > y) - (row < y)))
    return path


def to_pixel(pane: Pane, x: int, y: int) -> None:
    """Move the crosshair to a pixel: by cells as far as they go, and then by pixels."""
    for _ in range(200):
        match = re.search(r"^(\d+), (\d+)", pane.screen(), re.MULTILINE)
        at = (int(match[1]), int(match[2])) if match else None
        if at == (x, y):
            return
        if at is None:
            pane.keys("Right")
        else:
            across, down = x - at[0], y - at[1]
            pane.type("l" * across + "h" * -across + "j" * down + "k" * -down)
        time.sleep(0.05)
    raise AssertionError(f"{x}, {y} was not reached")


@needs_tmux
def test_with_keys_and_zoom_every_pixel_can_be_chosen(tmp_path: Path) -> None:
    photo = save(tmp_path, 640, 480)
    with picking(tmp_path, 80, 24) as picker:
        picker.start(photo, slots=[["box", ""], ["point", ""]])
        pane = picker.pane
        pane.until("{1} box")
        pane.keys("Right", "Down")
        to_pixel(pane, 101, 203)
        pane.keys("Space")
        pane.type("+++++++++++")
        pane.until("zoom")
        # The picture scrolls with the crosshair, also while it is zoomed.
        to_pixel(pane, 412, 377)
        pane.resize(50, 20)
        pane.until("412, 377")
        pane.keys("S-Right", "S-Down")
        pane.until("413, 378", "313 × 176")
        pane.keys("Space")
        pane.until("{2} point")
        to_pixel(pane, 639, 479)
        pane.keys("Space")
        pane.until("All is placed")
        pane.type("0")
        pane.keys("Enter")
        assert picker.result()["slots"] == ["box 101,203,413,378", "point 639,479"]


@needs_tmux
def test_a_window_that_is_resized_shows_the_picture_anew(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        picker.start(photo)
        picker.pane.until("{1} box")
        picker.pane.drag((10, 5), (20, 10))
        picker.pane.until("{2} box")
        picker.pane.resize(160, 46)
        # Half as many pixels to a cell.
        until(lambda: picker.pane.screen().rstrip().count("\n") == 45)
        picker.pane.drag((20, 10), (41, 21))
        picker.pane.until("{3} box")
        picker.pane.resize(8, 3)
        picker.pane.until("Too sma")
        picker.pane.resize(20, 6)
        picker.pane.until("{3} box")
        picker.pane.type("x\r")
        picker.pane.resize(80, 24)
        assert picker.result()["others"] == ["box 40,40,83,87"]


@needs_tmux
def test_undoing_removing_and_what_is_missing(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        picker.start(photo, slots=[["box", ""], ["arrow", ""], ["point", "7,7"]])
        pane = picker.pane
        pane.until("{1} box")
        # A box of one pixel in height is none.
        pane.keys("Right", "Space", "Right", "Space")
        pane.until("encloses nothing")
        pane.drag((10, 5), (20, 10))
        pane.until("{2} arrow")
        pane.keys("C-z")
        pane.until("{1} box")
        pane.keys("C-z")
        pane.until("nothing to undo")
        pane.keys("C-y")
        pane.until("{2} arrow")
        pane.type("4")
        pane.click(30, 10)
        pane.until("{2} arrow")
        pane.keys("DC")
        pane.until("{2} arrow")
        pane.keys("Enter")
        pane.until("Not placed: arrow. Enter again goes on without.")
        pane.keys("Right", "Enter")
        pane.until("Not placed: arrow.")
        pane.keys("Enter")
        assert picker.result() == {
            "slots": ["box 40,40,83,87", None, "point 7,7"],
            "others": [],
            "question": None,
        }


@needs_tmux
@pytest.mark.parametrize("key", ["Escape", "q", "C-c", "C-d"])
def test_leaving_gives_no_marks_and_the_terminal_as_it_was(tmp_path: Path, key: str) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        pane = picker.pane
        before = settings(pane, tmp_path)
        picker.start(photo)
        pane.until("{1} box")
        assert modes(pane) == ["1", "1", "1", "1", "0"]
        pane.drag((10, 5), (20, 10))
        pane.until("{2} box")
        pane.click(30, 12)
        pane.until("sets the opposite corner")
        # The first Escape gives up the mark in progress only.
        pane.keys("Escape")
        pane.until("{2} box: drag")
        pane.keys(key)
        assert picker.result() == {"cancelled": True}
        assert settings(pane, tmp_path) == before
        assert modes(pane) == ["0", "0", "0", "0", "1"]


def settings(pane: Pane, folder: Path) -> str:
    """What the terminal's line settings are."""
    path = folder / f"settings{time.monotonic_ns()}"
    pane.line("sh", "-c", f"stty -a > {path}.part; mv {path}.part {path}")
    return str(until(path.read_text))


def modes(pane: Pane) -> list[str]:
    names = ("alternate_on", "mouse_any_flag", "mouse_button_flag", "mouse_sgr_flag", "cursor_flag")
    return [pane.value(name) for name in names]


@needs_tmux
@pytest.mark.parametrize(
    ("number", "ended"), [(signal.SIGTERM, "code 143"), (signal.SIGINT, "KeyboardInterrupt")]
)
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(tmp_path: Path, number: int, ended: str) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        before = settings(picker.pane, tmp_path)
        picker.start(photo)
        picker.process().send_signal(number)
        picker.pane.until(ended)
        assert modes(picker.pane) == ["0", "0", "0", "0", "1"]
        assert settings(picker.pane, tmp_path) == before


@needs_tmux
def test_a_failure_gives_the_terminal_back(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        before = settings(picker.pane, tmp_path)
        picker.start(photo, fail=True)
        picker.pane.until("RuntimeError: This fails.", "code 1")
        assert modes(picker.pane) == ["0", "0", "0", "0", "1"]
        assert settings(picker.pane, tmp_path) == before


@needs_tmux
def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        picker.start(photo, then=f" 2>&1 | cat > {tmp_path / 'nothing'}; echo code $?")
        picker.pane.until("code 0")
        # With its output in a pipe, there is no terminal to draw on.
        assert "AssertionError" in (tmp_path / "nothing").read_text()
        picker.start(photo)
        process = picker.process()
    process.wait(timeout=10)


@needs_tmux
def test_it_ends_with_its_terminal_even_if_nobody_tells_it(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        # As with nohup.
        picker.pane.line("trap", "", "HUP")
        picker.start(photo)
        process = picker.process()
    process.wait(timeout=10)
    assert json.loads((tmp_path / "out.json").read_text()) == {"cancelled": True}


@needs_tmux
def test_the_answer_may_go_into_a_pipe(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        picker.start(photo, then=f" > {tmp_path / 'answer'}; echo code $?")
        picker.pane.until("{1} box")
        picker.pane.drag((10, 5), (20, 10))
        picker.pane.until("{2} box")
        picker.pane.keys("Enter")
        assert picker.result()["others"] == ["box 40,40,83,87"]
        assert (tmp_path / "answer").read_text() == ""


@needs_tmux
def test_a_question_is_typed_after_the_marks(tmp_path: Path) -> None:
    photo = save(tmp_path, 320, 176)
    with picking(tmp_path, 80, 24) as picker:
        pane = picker.pane
        picker.start(photo, asks=True, slots=[["box", ""]])
        pane.until("{1} box")
        pane.drag((10, 5), (20, 10))
        pane.until("All is placed")
        pane.keys("Enter")
        pane.until("Question (Enter for the default):")
        pane.type("rubbish\x15What is {1}, döner?!\x7f")
        pane.until("Question (Enter for the default): What is {1}, döner?")
        pane.keys("Escape")
        pane.until("All is placed")
        pane.keys("Enter")
        pane.until("döner?")
        pane.keys("Enter")
        assert picker.result() == {
            "slots": ["box 40,40,83,87"],
            "others": [],
            "question": "What is {1}, döner?",
        }


@needs_tmux
def test_several_pictures_and_the_keys_that_help(tmp_path: Path) -> None:
    photos = [save(tmp_path, 320, 176, f"{number}.png") for number in range(3)]
    with picking(tmp_path, 80, 24) as picker:
        pane = picker.pane
        picker.start(*photos, slots=[["point", ""], ["box", "3:"]])
        pane.until("picture 1 of 3")
        pane.type("?")
        pane.until("remove the last mark", "Any key")
        pane.type(" ")
        pane.until("picture 1 of 3")
        pane.keys("PPage")
        pane.until("This is the first picture.")
        pane.type(">")
        pane.until("picture 2 of 3")
        pane.click(10, 5)
        # The box belongs on the third.
        pane.until("{2} box", "picture 3 of 3")
        pane.drag((10, 5), (20, 10))
        pane.until("All is placed")
        pane.keys("Enter")
        assert picker.result()["slots"] == ["point 2:42,44", "box 3:40,40,83,87"]


@needs_tmux
def test_the_wheel_zooms_and_the_right_button_moves_the_picture(tmp_path: Path) -> None:
    photo = save(tmp_path, 640, 352)
    with picking(tmp_path, 80, 24) as picker:
        pane = picker.pane
        picker.start(photo)
        pane.until("{1} box")
        # Six steps of the root of two: eight pixels to a cell become one.
        pane.type("\x1b[<64;1;1M" * 6)
        pane.until("zoom 8×")
        pane.drag((40, 10), (30, 8), button=2)
        pane.drag((0, 0), (9, 4))
        pane.until("{2} box")
        pane.type("\x1b[<65;1;1M" * 6)
        pane.keys("Enter")
        assert picker.result()["others"] == ["box 10,4,19,13"]
