"""A conversation as a self-contained web page with the marked pictures and all turns."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

from vipcli.asking.values import MarkedInput
from vipcli.asking.zooming import zoom_in
from vipcli.chat.conversation import ChatTurn, Conversation
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import VipcliError
from vipcli.pictures.images import Pixels, encode

_MAX_SIDE = 1600
"""Larger pictures are scaled down, so that the page stays small enough to send."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The text of a model must not make the page fetch or run anything."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 1.5rem 0 0.5rem; }
img { max-width: 100%; height: auto; border-radius: 0.4rem; }
figcaption, footer, .aside { color: #777; font-size: 0.85rem; }
.question, .answer { padding: 0.6rem 0.9rem; border-radius: 0.8rem; margin: 0.5rem 0; white-space: pre-wrap; }
.question { background: #8882; margin-left: 15%; }
.answer { background: #39f2; margin-right: 15%; }
"""


def page(chat: Conversation) -> str:
    """Build the whole page."""
    title = escape(_title(chat))
    body = "\n".join(_turns(chat)) or '<p class="aside">Nothing has been asked yet.</p>'
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
{body}
<footer><p>Answered by {escape(chat.checkpoint.name)}.</p></footer>
</body>
</html>
"""


def _title(chat: Conversation) -> str:
    names = dict.fromkeys(_file_name(picture.name) for picture in chat.subject.pictures)
    return f"A conversation about {', '.join(names)}"


def _file_name(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _turns(chat: Conversation) -> Iterator[str]:
    last: ChatTurn | None = None
    for turn in chat.turns:
        if last is None or not last.shows(turn.subject, turn.settings):
            yield from _pictures(turn, chat.checkpoint)
        last = turn
        yield f'<p class="question">{escape(turn.question)}</p>'
        ending = {"stop": "", "length": " …", "halted": " … (stopped)"}[turn.ended]
        yield f'<p class="answer">{escape(turn.answer)}{ending}</p>'


def _pictures(turn: ChatTurn, checkpoint: Checkpoint) -> Iterator[str]:
    try:
        marked = _seen(turn, checkpoint).pictures if turn.subject.pictures else ()
    except VipcliError:
        # The file of a mask may be missing.
        marked = ()
    if not marked:
        yield '<p class="aside">The picture is no longer available.</p>'
    for picture in marked:
        phrases = ", ".join(mark.phrase for mark in picture.marks.values())
        caption = escape(f"{_file_name(picture.picture.name)}{', marks: ' if phrases else ''}{phrases}")
        yield (
            f'<figure><img alt="{caption}" src="{_data_url(picture.pixels)}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )


def _seen(turn: ChatTurn, checkpoint: Checkpoint) -> MarkedInput:
    """The pictures of a turn, with their marks, or what they were cut to."""
    settings = turn.settings
    marked = turn.subject.marked(settings.drawing)
    return zoom_in(marked, settings.zoom, checkpoint, checkpoint.fit(settings.fit))


def _data_url(pixels: Pixels) -> str:
    import numpy as np
    from PIL import Image

    if max(pixels.shape[:2]) > _MAX_SIDE:
        picture = Image.fromarray(pixels)
        picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
        pixels = np.asarray(picture)
    return f"data:image/jpeg;base64,{base64.b64encode(encode(pixels, 'JPEG')).decode()}"
