"""A picture to mark in a notebook (Jupyter, VS Code, Colab), with the page that the command line opens."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import anywidget
except ImportError:
    raise ImportError(
        "vipcli.Picker needs the package anywidget. Install it with: pip install 'vipcli[notebook]'"
    ) from None

from vipcli.api import MarkLike, as_list, typed_marks, with_options
from vipcli.asking.load_marked import load
from vipcli.asking.values import Drawing
from vipcli.checkpoints import lookup
from vipcli.errors import VipcliError
from vipcli.marks.kinds import TypedMark
from vipcli.picking.browser import PAGE
from vipcli.picking.canvas import Canvas
from vipcli.picking.mark_text import as_arguments
from vipcli.picking.messages import PickingMessages, drawn_mark
from vipcli.pictures.images import PictureSource, Pixels, is_location

# The modules of the page, each after those that it imports.
_MODULES = ("geometry.js", "stage.js", "conversation.js", "panel.js", "picker.js")
_WIDGET = Path(__file__).parent / "picking" / "notebook.js"
_IMPORT = re.compile(r"^import\s[^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async |function|class|const)", re.MULTILINE)
_HEIGHT = (
    ".vipcli-picker.picker-host .picker { height: 34rem; border: 1px solid var(--line); border-radius: 6px; }"
)


def script() -> str:
    """The modules of the page as one, since a notebook loads a single file."""
    sources = [(PAGE / name).read_text(encoding="utf-8") for name in _MODULES]
    return "".join(
        [*(_EXPORT.sub("", _IMPORT.sub("", source)) for source in sources), _WIDGET.read_text("utf-8")]
    )


def styles() -> str:
    """The styles of the page, which apply to nothing else in the notebook."""
    styles = (PAGE / "picker.css").read_text(encoding="utf-8")
    return f"{styles.replace('body { margin: 0; }', '', 1)}{_HEIGHT}\n"


class Picker(anywidget.AnyWidget):
    """A picture, several pictures or a video in a notebook, to draw marks on.

        picker = vipcli.Picker("photo.jpg")
        picker
        model.ask("photo.jpg", "What is {1}?", marks=picker.marks)

    Options are settings: `model` (the page shows its view), `fit`, `width`, `alpha`, `jitter`, `max_pixels`.
    """

    _esm = script()
    _css = styles()

    def __init__(
        self,
        picture: PictureSource | Sequence[PictureSource],
        marks: MarkLike | Sequence[MarkLike] = (),
        *,
        frames: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        settings = with_options(None, options)
        self._sources = as_list(picture)
        self._given = tuple(typed_marks(marks))
        pictures, video = load(self._sources, frames=frames, max_pixels=settings.max_pixels)
        self._canvas = Canvas(
            pictures,
            self._given,
            Drawing.of(settings),
            video=video,
            checkpoint=lookup.peek(settings.model, revision=settings.revision),
            fit=settings.fit,
        )
        self._canvas.draw(self._given)
        self._drawn = self._given
        self._messages = PickingMessages(
            self._canvas, "notebook", placed=lambda placed, page: None, left=lambda: None
        )
        self._handlers = {**self._messages.handlers, "start": self._start}
        self.on_msg(self._receive)

    @property
    def marks(self) -> list[TypedMark]:
        """The marks as they are now, in the order of their numbers."""
        return list(self._drawn)

    @property
    def marked(self) -> Pixels:
        """The first picture with its marks: RGB, uint8, height × width × 3."""
        return self._canvas.draw(self._drawn).pixels

    @property
    def command(self) -> str:
        """The command that asks about these marks."""
        names = [str(source) if is_location(source) else "PICTURE" for source in self._sources]
        words = ["vipcli", "ask", names[0]]
        for name in names[1:]:
            words += ["--image", name]
        return shlex.join([*words, *(word for mark in self._drawn for word in as_arguments(mark))])

    def _start(self, message: Any) -> dict[str, Any]:
        """What a page begins with: the picker may be shown again, with what was drawn before."""
        drawn = self._drawn[len(self._given) :]
        marks = [drawn_mark(number, mark) for number, mark in enumerate(drawn)]
        return {**self._messages.start(message), "marks": marks}

    def _receive(self, widget: Any, content: Any, buffers: Any) -> None:
        """Answer a message of the page."""
        answer = self._answer(content.get("name"), content.get("payload"))
        if isinstance(answer, bytes):
            self.send({"id": content.get("id")}, buffers=[answer])
        else:
            self.send({"id": content.get("id"), "reply": answer}, buffers=[])

    def _answer(self, name: str, payload: Any) -> dict[str, Any] | bytes:
        """The answer to a message; where there is none, the reason, which the page shows."""
        handler = self._handlers.get(name)
        if handler is None:
            return {"error": f"There is no answer to {name!r}."}
        try:
            answer = handler(payload)
            if name == "preview" and "error" not in answer:
                self._drawn = tuple(self._messages.marks(payload))
        except VipcliError as error:
            return {"error": str(error)}
        except MemoryError:
            return {"error": "There is not enough memory."}
        return answer
