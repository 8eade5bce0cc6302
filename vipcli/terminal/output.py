"""What people and scripts read: answers on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from vipcli.errors import OutputError

if TYPE_CHECKING:
    from vipcli.pictures.images import Pixels

# A model or a file's name may hold codes that would steer the terminal.
_CONTROL = {code: None for code in [*range(32), *range(127, 160)] if code not in (9, 10)}

_STEERING = re.compile(r"[\x7f-\x9f]")

_BOLD_RED, _YELLOW, _PLAIN = "\x1b[1;31m", "\x1b[33m", "\x1b[0m"
_ERASE_LINE = "\r\x1b[K"


def open_streams() -> None:
    """See to it that both streams are there and take any letter, if only as its code."""
    # Whoever closed a stream wants nothing written there.
    sys.stdout = sys.stdout or io.TextIOWrapper(io.BytesIO(), "utf-8")
    sys.stderr = sys.stderr or io.TextIOWrapper(io.BytesIO(), "utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def harmless(text: str) -> str:
    """The text without control codes."""
    return text.translate(_CONTROL)


def say(text: str, end: str = "\n") -> None:
    """Put text on standard output at once."""
    with _normal_end_if_unread():
        sys.stdout.write(harmless(text) + end)
        sys.stdout.flush()


@contextlib.contextmanager
def ended_line() -> Iterator[Callable[[str], None]]:
    """Something to say an answer with in pieces; the line is ended even if the answer is cut short."""
    begun = False

    def say_piece(text: str) -> None:
        nonlocal begun
        begun = True
        say(text, end="")

    try:
        yield say_piece
        begun = True
    finally:
        if begun:
            say("")


def say_json(record: Any) -> None:
    """Put one object on standard output, indented for eyes and on one line for pipes."""
    with _normal_end_if_unread():
        print(_json(record, indent=2 if sys.stdout.isatty() else None), flush=True)


def say_row(row: Any) -> None:
    """Put one object on standard output, on a line of its own."""
    with _normal_end_if_unread():
        print(_json(row), flush=True)


def _json(value: Any, indent: int | None = None) -> str:
    """JSON for standard output: characters that it cannot encode, or that steer a terminal, are escaped."""
    text = json.dumps(value, ensure_ascii=not _takes_any_letter(sys.stdout), allow_nan=False, indent=indent)
    # JSON itself escapes only the control characters below U+0020.
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def flush() -> None:
    """Write what is still held back for standard output."""
    with _normal_end_if_unread():
        sys.stdout.flush()


def say_bytes(content: bytes) -> None:
    """Put a file's content on standard output."""
    with _normal_end_if_unread():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def tell(text: str) -> None:
    """Tell a person what was asked for beside an answer."""
    print(harmless(text), file=sys.stderr)


def note(text: str) -> None:
    """Tell a person something by the way."""
    print(f"{_paint('note:', _YELLOW)} {harmless(text)}", file=sys.stderr)


def fail(text: str) -> None:
    """Tell a person what went wrong."""
    print(f"{_paint('error:', _BOLD_RED)} {harmless(text)}", file=sys.stderr)


@contextlib.contextmanager
def working(what: str, quiet: bool) -> Iterator[None]:
    """A line that stands in the terminal while something takes its time."""
    shown = not quiet and is_terminal(sys.stderr)
    if shown:
        print(harmless(what), end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(_ERASE_LINE, end="", file=sys.stderr, flush=True)


def show(pixels: Pixels) -> None:
    """Show a picture in the terminal; do nothing where it cannot be shown."""
    if not is_terminal(sys.stderr) or os.environ.get("NO_COLOR"):
        return
    # It asks terminals what they can do, and complains at length of those that do not answer.
    logging.getLogger("textual_image").setLevel(logging.CRITICAL)
    # A picture in the terminal is an extra: whatever a terminal is like, the answer comes all the same.
    with contextlib.suppress(Exception):
        _print_picture(pixels)


def _print_picture(pixels: Pixels) -> None:
    from PIL import Image
    from rich.console import Console

    if sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty():
        from textual_image.renderable import Image as Picture
    else:
        # The better ways ask the terminal first, which takes standard input and output.
        from textual_image.renderable.halfcell import Image as Picture
    console = Console(stderr=True)
    console.print(Picture(Image.fromarray(pixels), width=min(60, console.width), height="auto"))


@contextlib.contextmanager
def _normal_end_if_unread() -> Iterator[None]:
    """Whoever closes the pipe has read enough: leave, and leave nothing for Python to flush into it."""
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(0) from None
        raise OutputError(f"Standard output cannot be written: {error.strerror}.") from None


def _takes_any_letter(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream, who can be shown more than lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _paint(word: str, color: str) -> str:
    return f"{color}{word}{_PLAIN}" if is_terminal(sys.stderr) and not os.environ.get("NO_COLOR") else word
