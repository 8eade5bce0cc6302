"""A conversation as one self-contained web page: the marked pictures and the turns."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

from vipcli.chat.conversation import Conversation, Exchange
from vipcli.errors import VipcliError
from vipcli.pictures.images import Pixels, encode

_LONGEST_SIDE = 1600
"""Larger pictures are shown smaller, so that the page stays one that can be sent."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A page holds what a model wrote, so it may fetch and run nothing."""
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
    """The whole page."""
    title = escape(_named(chat))
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


def _named(chat: Conversation) -> str:
    names = dict.fromkeys(_file(picture.name) for picture in chat.scene.pictures)
    return f"A conversation about {', '.join(names)}"


def _file(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _turns(chat: Conversation) -> Iterator[str]:
    last: Exchange | None = None
    for one in chat.exchanges:
        if last is None or not last.shows(one.scene, one.manner):
            yield from _pictures(one)
        last = one
        yield f'<p class="question">{escape(one.question)}</p>'
        cut = {"stop": "", "length": " …", "halted": " … (stopped)"}[one.ended]
        yield f'<p class="answer">{escape(one.answer)}{cut}</p>'


def _pictures(one: Exchange) -> Iterator[str]:
    try:
        marked = one.scene.marked(one.manner.drawing).pictures if one.scene.pictures else ()
    except VipcliError:
        # A mask's file may have left, too.
        marked = ()
    if not marked:
        yield '<p class="aside">The picture is no longer there.</p>'
    for shown in marked:
        phrases = ", ".join(mark.phrase for mark in shown.marks.values())
        told = f"{_file(shown.picture.name)}{', marks: ' if phrases else ''}{phrases}"
        yield (
            f'<figure><img alt="{escape(told)}" src="{_inline(shown.pixels)}">'
            f"<figcaption>{escape(told)}</figcaption></figure>"
        )


def _inline(pixels: Pixels) -> str:
    import numpy as np
    from PIL import Image

    longest = max(pixels.shape[:2])
    if longest > _LONGEST_SIDE:
        picture = Image.fromarray(pixels)
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        pixels = np.asarray(picture)
    return f"data:image/jpeg;base64,{base64.b64encode(encode(pixels, 'JPEG')).decode()}"
