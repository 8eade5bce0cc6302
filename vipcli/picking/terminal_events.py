"""What a terminal sends: keys, the mouse, and replies to questions about itself."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prompt_toolkit.key_binding.key_processor import KeyPress


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """A key by prompt_toolkit's name for it, `c-z` or `up`; a printable one by its character."""

    name: str
    text: str = ""
    """What a paste consists of."""


@dataclass(frozen=True, slots=True)
class MouseMoved:
    """The mouse with a button pressed, moved or released, or its wheel turned."""

    action: Literal["press", "drag", "release", "closer", "farther"]
    x: int
    y: int
    """Cells, or pixels where the terminal reports those, from 0."""
    button: int = 0
    """0 is the left one."""


@dataclass(frozen=True, slots=True)
class TerminalReply:
    """A sequence that is no key: a reply to a query."""

    text: str


TerminalEvent = KeyPressed | MouseMoved | TerminalReply

_TOKEN = re.compile(
    r"\x1b\[M[\s\S]{3}"  # the mouse in terminals without the newer form
    r"|\x1b\[(?!M)[0-?]*[ -/]*[@-~]"
    r"|\x1bO[\s\S]"
    r"|\x1b[P_\]X^][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b(?=\x1b)"
    r"|\x1b[^\[OP_\]X^\x1b]"
    r"|[^\x1b]"
)
_MOUSE = re.compile(r"\x1b\[<(\d+);(\d+);(\d+)([Mm])")
_INTRODUCERS = "[OP_]X^"
_ESCAPE, _PASTE_END = "\x1b", "\x1b[201~"


class TerminalParser:
    """Turns bytes from a terminal into events, whichever way they are cut into pieces.

    prompt_toolkit's parser knows the keys. It would take a sequence that it does not know for the Escape
    key and some letters, so it is given whole sequences, and only those that it knows.
    """

    def __init__(self) -> None:
        from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
        from prompt_toolkit.input.vt100_parser import Vt100Parser

        self._keys: list[KeyPress] = []
        self._parser = Vt100Parser(self._keys.append)
        self._known = {_ESCAPE, _PASTE_END, *ANSI_SEQUENCES}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    @property
    def waits(self) -> bool:
        """Whether a sequence has begun; it may also be the Escape key."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[TerminalEvent]:
        """Yield the events that are complete."""
        text = self._decoder.decode(data)
        # What comes with Escape is a key with Alt; what comes later is a key of its own.
        if self._rest == _ESCAPE and text and text[0] not in _INTRODUCERS:
            yield from self.flush()
        text = self._rest + text
        position = 0
        while match := _TOKEN.match(text, position):
            position = match.end()
            yield from self._events(match[0])
        self._rest = text[position:]

    def flush(self) -> Iterator[TerminalEvent]:
        """Yield what has begun as if nothing follows; an incomplete sequence is dropped."""
        rest, self._rest = self._rest, ""
        if rest == _ESCAPE:
            yield from self._events(_ESCAPE)

    def _events(self, token: str) -> Iterator[TerminalEvent]:
        if token.startswith(_ESCAPE) and token not in self._known:
            event = mouse_event(token)
            # With Alt, a key sends Escape before it. No such key means anything here.
            if event is not None or len(token) > 2:
                yield event or TerminalReply(token)
            return
        self._parser.feed_and_flush(token)
        for key in self._keys:
            name = str(getattr(key.key, "value", key.key))
            yield KeyPressed(name, key.data if name == "<bracketed-paste>" else "")
        self._keys.clear()


def mouse_event(token: str) -> MouseMoved | None:
    """Read a mouse report; None if it is something else or says nothing of interest."""
    if match := _MOUSE.fullmatch(token):
        code, x, y, released = int(match[1]), int(match[2]), int(match[3]), match[4] == "m"
    elif token.startswith("\x1b[M"):
        code, x, y = (ord(character) - 32 for character in token[3:])
        released = code & 3 == 3 and not code & 32
    else:
        return None
    x, y = max(x - 1, 0), max(y - 1, 0)
    if code & 64:
        return MouseMoved("farther" if code & 1 else "closer", x, y) if code & 2 == 0 else None
    button = 0 if token.startswith("\x1b[M") and released else code & 3
    if released:
        return MouseMoved("release", x, y, button)
    return MouseMoved("drag" if code & 32 else "press", x, y, button)
