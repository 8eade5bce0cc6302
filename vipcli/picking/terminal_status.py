"""What the bottom of the screen says: what to do, where the pointer is, and the keys."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_toolkit.utils import get_cwidth

from vipcli.marks.kinds import KINDS
from vipcli.picking.canvas import Canvas
from vipcli.picking.mark_text import PATHS, RECTANGLES
from vipcli.picking.terminal_drawing import TerminalDrawing
from vipcli.terminal.output import strip_controls

_BY_MOUSE = {
    **dict.fromkeys(RECTANGLES, "drag from corner to corner"),
    "point": "click on it",
    "arrow": "drag from tail to tip, or click the tip",
    "scribble": "drag along it",
    "contour": "drag around it",
    "mask": "drag around it",
}
_BY_KEYBOARD = {
    **dict.fromkeys(RECTANGLES, "Space sets a corner"),
    "point": "Space sets it",
    "arrow": "Space sets the tail",
    **dict.fromkeys(PATHS, "Space sets points, Enter finishes"),
}
_IN_PROGRESS = {
    **dict.fromkeys(RECTANGLES, "click or Space sets the opposite corner"),
    "arrow": "click or Space sets the tip",
    **dict.fromkeys(PATHS, "click or Space adds a point, Enter finishes"),
}
HELP = (
    "Mouse",
    "  drag, click     draw the mark",
    "  wheel           zoom",
    "  right drag      move the picture",
    "Keys",
    "  1 box  2 ellipse  3 triangle  4 point",
    "  5 arrow  6 scribble  7 contour  8 mask",
    "  arrows          move the crosshair",
    "  h j k l         by one pixel",
    "  Shift+arrows    by one pixel",
    "  Space           set a corner or point",
    "  Enter           finish, or accept all",
    "  + - 0           zoom in, out, show all",
    "  u, Ctrl-Z       undo",
    "  Ctrl-Y          redo",
    "  x, Delete       remove the last mark",
    "  < > PgUp PgDn   other pictures",
    "  Esc             give up the mark, or leave",
    "  q, Ctrl-C       leave without marks",
)


def instruction(drawing: TerminalDrawing, canvas: Canvas) -> str:
    """What to do now."""
    placing = drawing.placing
    kind = placing.next.kind
    if drawing.sketch is not None:
        text = "release to finish" if drawing.is_held else _IN_PROGRESS.get(kind, "")
        return f"{{{placing.next_number}}} {kind}: {text}"
    how = (_BY_KEYBOARD if drawing.by_keyboard else _BY_MOUSE)[kind]
    if canvas.slots and not placing.missing():
        return f"All is placed: Enter accepts. Another {kind}: {how}"
    return f"{{{placing.next_number}}} {kind}: {how}"


def missing_note(drawing: TerminalDrawing) -> str:
    """Which marks are not placed, as a sentence; empty if there are none."""
    kinds = [slot.kind for slot in drawing.placing.missing()]
    if not kinds:
        return ""
    names = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"
    return f"Not placed: {names}. Enter again goes on without."


def facts(drawing: TerminalDrawing, canvas: Canvas) -> list[str]:
    """Where the pointer is, the size of the mark in progress, the zoom, and which picture this is."""
    view, spot, found = drawing.view, drawing.spot, []
    if spot is not None:
        found.append(f"{spot.x}, {spot.y}")
    if drawing.sketch is not None:
        across, down = drawing.sketch.size(drawing.end)
        found.append(f"{across} × {down}")
    if len(canvas.pictures) > 1:
        found.append(
            f"{'frame' if canvas.video else 'picture'} {drawing.index + 1} of {len(canvas.pictures)}"
        )
    if view.zoom > 1.01:
        found.append(f"zoom {view.zoom:.2g}×" if view.zoom < 10 else f"zoom {view.zoom:.0f}×")
    if spot is None:
        found.append(f"{view.width} × {view.height} pixels")
    return found


def fit(text: str, columns: int) -> str:
    """A text cut or filled up to a number of columns."""
    text = strip_controls(text).replace("\n", " ").replace("\t", " ")
    if get_cwidth(text) > columns:
        while get_cwidth(text) > columns - 1:
            text = text[:-1]
        text += "…" if columns else ""
    return text + " " * (columns - get_cwidth(text))


def sides(left: str, rights: Sequence[str], columns: int) -> str:
    """Two texts at the ends of a line; the right one is the first for which there is room."""
    for right in rights:
        room = columns - get_cwidth(left) - get_cwidth(right)
        if room > 1:
            return fit(f"{left}{' ' * room}{right}", columns)
    return fit(left, columns)


def kind_of_digit(digit: str) -> str:
    """The kind of mark that a digit from 1 to 8 chooses."""
    return KINDS[int(digit) - 1].kind
