"""Drawing in a terminal: the part of a picture on the screen, the crosshair, the mark in progress."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from vipcli.errors import MarkError, Spelling
from vipcli.marks.kinds import TypedMark
from vipcli.picking.canvas import Canvas
from vipcli.picking.mark_text import OUTLINES, PATHS
from vipcli.picking.placing import Placing
from vipcli.picking.terminal_frame import Dots, Levels, compose, paint_crosshair, paint_lines
from vipcli.picking.terminal_sketch import Sketch
from vipcli.picking.terminal_view import Spot, View
from vipcli.pictures.images import Pixels

_TOLERANCE = 0.75
"""How far, in cells, a simplified path may be from what was drawn by hand."""

Unit = Literal["cell", "pixel"]


class TerminalDrawing:
    """What a window shows of the pictures, and the mark that is being drawn on them."""

    def __init__(self, canvas: Canvas, spelling: Spelling) -> None:
        self._canvas = canvas
        self._spelling = spelling
        self._window = (1, 1, 2.0)
        self._views: dict[int, View] = {}
        self._plain: tuple[int, Levels] | None = None
        self._marked: tuple[object, Levels | None] | None = None
        self._composed: tuple[object, Pixels] | None = None
        self._pressed: Spot | None = None
        self._is_new = False
        self.placing = Placing(canvas)
        self.index = (self.placing.next.picture or 1) - 1
        self.sketch: Sketch | None = None
        self.spot: Spot | None = None
        """Where the pointer or the crosshair is."""
        self.by_keyboard = False
        """Whether the spot is the crosshair's."""
        self.note = ""
        self.is_error = False

    # The window

    @property
    def view(self) -> View:
        """The part of the picture that is shown."""
        return self._views[self.index]

    @property
    def is_held(self) -> bool:
        """Whether a mouse button is down."""
        return self._pressed is not None

    def resize(self, columns: int, rows: int, aspect: float) -> None:
        """Fit into a window of another size."""
        self._window = columns, rows, aspect
        self._views = {index: view.resized(*self._window) for index, view in self._views.items()}
        self._show(self.index)

    def zoom(self, direction: int, place: tuple[float, float] | None = None) -> None:
        """Zoom in (1) or out (-1) about a place of the window, or else the crosshair, or the middle."""
        view = self.view
        if place is None:
            place = view.columns / 2, view.rows / 2
            if self.spot is not None:
                place = view.cell(self.spot.x + 0.5, self.spot.y + 0.5)
        self._views[self.index] = view.zoomed(direction, *place)

    def show_all(self) -> None:
        """Show the whole picture."""
        picture = self._canvas.pictures[self.index]
        self._views[self.index] = View.whole(picture.width, picture.height, *self._window)

    def scroll(self, columns: float, rows: float) -> None:
        """Move the window over the picture by this many cells."""
        self._views[self.index] = self.view.scrolled(columns, rows)

    def turn(self, pictures: int) -> None:
        """Show a later or earlier picture."""
        count = len(self._canvas.pictures)
        if count == 1:
            self._say("There is only one picture.")
        elif 0 <= self.index + pictures < count:
            self._show(self.index + pictures)
            self.abandon()
            self.spot = None
        else:
            unit = "frame" if self._canvas.video else "picture"
            self._say(f"This is the {'last' if pictures > 0 else 'first'} {unit}.")

    def _show(self, index: int) -> None:
        self.index = index
        if index not in self._views:
            self.show_all()

    # The picture

    def frame(self, dots: Dots) -> Pixels:
        """The window's dots: the picture, its marks, and the mark in progress."""
        marks = self.placing.placed.marks
        key = self.index, self.view, marks, dots
        if self._composed is None or self._composed[0] != key:
            self._composed = key, compose(self._plain_levels(), self._marked_levels(marks), self.view, dots)
        frame = self._composed[1]
        if self.sketch is None and not (self.by_keyboard and self.spot):
            return frame
        frame = frame.copy()
        if self.sketch is not None:
            lines = self.sketch.lines(self.end)
            paint_lines(frame, self.view, dots, lines, self.placing.next_color.rgb)
        if self.by_keyboard and self.spot is not None:
            paint_crosshair(frame, self.view, dots, self.spot.x, self.spot.y)
        return frame

    @property
    def end(self) -> Spot | None:
        """Where the mark in progress would end now; None if it may only end where it was set."""
        return self.spot if self.is_held or self.by_keyboard else None

    def _plain_levels(self) -> Levels:
        if self._plain is None or self._plain[0] != self.index:
            self._plain = self.index, Levels(self._canvas.pictures[self.index].pixels)
        return self._plain[1]

    def _marked_levels(self, marks: tuple[TypedMark, ...]) -> Levels | None:
        key = self.index, marks
        if self._marked is None or self._marked[0] != key:
            # Drawing copies the picture, which takes a while for a large one.
            picture = self._canvas.draw(marks).pictures[self.index] if marks else None
            self._marked = key, Levels(picture.pixels) if picture and picture.marks else None
        return self._marked[1]

    # The mouse

    def press(self, spot: Spot) -> None:
        """The button goes down."""
        self.by_keyboard, self.spot, self._pressed = False, spot, spot
        self._is_new = self.sketch is None
        if self.sketch is None:
            self.sketch = Sketch(self.placing.next.kind, spot)

    def drag(self, spot: Spot) -> None:
        """The pointer moves with the button down."""
        if self._pressed is None or self.sketch is None:
            return
        self.spot = spot
        if self.sketch.kind in PATHS and spot != self.sketch.spots[-1]:
            self.sketch.by_hand = True
            self.sketch.add(spot)

    def release(self, spot: Spot) -> None:
        """The button goes up: a drag draws a mark, a click sets one corner or point of it."""
        pressed, self._pressed = self._pressed, None
        if pressed is None or self.sketch is None:
            return
        self.spot = spot
        was_click = self._is_new and spot == pressed and not self.sketch.by_hand
        if self.sketch.kind == "point":
            self.sketch.spots = [spot]
            self._finish()
        elif self.sketch.kind in PATHS:
            self._end_stroke(spot)
        elif self.sketch.kind == "arrow" or not was_click:
            self.sketch.add(spot)
            self._finish()

    def _end_stroke(self, spot: Spot) -> None:
        assert self.sketch is not None
        if self._is_new and self.sketch.by_hand:
            self._finish()
        elif not self._is_new:
            self._add_to_path(spot)

    def _add_to_path(self, spot: Spot) -> None:
        assert self.sketch is not None
        first = self.sketch.spots[0]
        if (
            self.sketch.kind in OUTLINES
            and len(self.sketch.spots) > 2
            and (spot.x, spot.y) == (first.x, first.y)
        ):
            self._finish()
        else:
            self.sketch.add(spot)

    # The keyboard

    def move(self, across: int, down: int, unit: Unit) -> None:
        """Move the crosshair by cells or by pixels of the picture."""
        view = self.view
        if self.spot is None:
            spot = view.spot(view.columns // 2, view.rows // 2, view.columns // 2 + 1, view.rows // 2 + 1)
        elif unit == "cell":
            spot = Spot.pixel(
                self.spot.x + across * max(round(view.step), 1),
                self.spot.y + down * max(round(view.row_step), 1),
            )
        else:
            spot = Spot.pixel(self.spot.x + across, self.spot.y + down)
        self.put_crosshair(spot.x, spot.y)

    def put_crosshair(self, x: int, y: int) -> None:
        """Move the crosshair to a pixel, or to the nearest one on the picture."""
        x, y = min(max(x, 0), self.view.width - 1), min(max(y, 0), self.view.height - 1)
        self.by_keyboard, self.spot = True, Spot.pixel(x, y)
        self._views[self.index] = self.view.containing(x, y)

    def set(self) -> None:
        """Set a corner or point at the crosshair."""
        if self.spot is None:
            self.move(0, 0, "cell")
        assert self.spot is not None
        spot = Spot.pixel(self.spot.x, self.spot.y)
        self.by_keyboard, self.spot = True, spot
        if self.sketch is None:
            self.sketch = Sketch(self.placing.next.kind, spot)
            if self.sketch.kind == "point":
                self._finish()
        elif self.sketch.kind in PATHS:
            self._add_to_path(spot)
        else:
            self.sketch.add(spot)
            self._finish()

    def finish(self) -> None:
        """End the mark in progress: at the crosshair, but a path where it was set last.

        An arrow whose tail was just set is one without a tail, and this is its tip.
        """
        assert self.sketch is not None
        if self.sketch.kind not in PATHS and self.spot is not None:
            self.sketch.add(replace(self.spot))
        self._finish()

    # Marks

    def choose(self, kind: str) -> None:
        """Draw marks of this kind."""
        self.abandon()
        self.placing.choose(kind)
        self._show_next()

    def abandon(self) -> None:
        """Give up the mark in progress."""
        self.sketch = self._pressed = None

    def undo(self) -> None:
        """Take back the last point of the mark in progress, or the last change of the marks."""
        if self.sketch is not None and len(self.sketch.spots) > 1 and not self.sketch.by_hand:
            self.sketch.spots.pop()
        elif self.sketch is not None:
            self.abandon()
        elif not self.placing.undo():
            self._say("There is nothing to undo.")
        self._show_next()

    def redo(self) -> None:
        """Take back an undo."""
        if not self.placing.redo():
            self._say("There is nothing to redo.")
        self._show_next()

    def remove_last(self) -> None:
        """Remove the mark that was placed last."""
        self.abandon()
        if not self.placing.remove_last():
            self._say("There is no mark to remove.")
        self._show_next()

    def _finish(self) -> None:
        assert self.sketch is not None
        tolerance = _TOLERANCE * max(self.view.step, 1)
        points = self.sketch.points(tolerance)
        self.abandon()
        try:
            notes = self.placing.add(points, self.index)
        except MarkError as error:
            self._say(error.message.spelled(self._spelling), is_error=True)
            return
        if notes:
            self._say(notes[0].spelled(self._spelling))
        self._show_next()

    def _show_next(self) -> None:
        """Show the picture that the next mark is for."""
        picture = self.placing.next.picture
        if picture is not None and 0 < picture <= len(self._canvas.pictures) and picture - 1 != self.index:
            self._show(picture - 1)
            self.spot = None

    def _say(self, text: str, *, is_error: bool = False) -> None:
        self.note, self.is_error = text, is_error
