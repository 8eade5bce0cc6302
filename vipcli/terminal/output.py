"""Terminal output: answers on standard output, everything else on standard error."""

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

# The text of a model or the name of a file may contain codes that control the terminal.
_CONTROL = {code: None for code in [*range(32), *range(127, 160)] if code not in (9, 10)}

_HIGH_CONTROLS = re.compile(r"[\x7f-\x9f]")

_BOLD_RED, _YELLOW, _PLAIN = "\x1b[1;31m", "\x1b[33m", "\x1b[0m"
_ERASE_LINE = "\r\x1b[K"


def open_streams() -> None:
    """Replace closed streams, and let both write any character, escaped where they cannot encode it."""
    # What is written to a stream that was closed on purpose is discarded.
    sys.stdout = sys.stdout or io.TextIOWrapper(io.BytesIO(), "utf-8")
    sys.stderr = sys.stderr or io.TextIOWrapper(io.BytesIO(), "utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def strip_controls(text: str) -> str:
    """Remove control codes."""
    return text.translate(_CONTROL)


def write(text: str, end: str = "\n") -> None:
    """Write text to standard output and flush it."""
    with _exit_on_closed_pipe():
        sys.stdout.write(strip_controls(text) + end)
        sys.stdout.flush()


@contextlib.contextmanager
def answer_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that writes an answer piece by piece; end the line even if the answer is cut short."""
    started = False

    def write_piece(text: str) -> None:
        nonlocal started
        started = True
        write(text, end="")

    try:
        yield write_piece
        started = True
    finally:
        if started:
            write("")


def write_json(record: Any) -> None:
    """Write an object to standard output, indented in a terminal and on one line elsewhere."""
    with _exit_on_closed_pipe():
        print(_json(record, indent=2 if sys.stdout.isatty() else None), flush=True)


def write_json_line(row: Any) -> None:
    """Write an object to standard output, on a line of its own."""
    with _exit_on_closed_pipe():
        print(_json(row), flush=True)


def _json(value: Any, indent: int | None = None) -> str:
    """JSON with escapes for characters that standard output cannot encode or that control a terminal."""
    text = json.dumps(value, ensure_ascii=not _encodes_all(sys.stdout), allow_nan=False, indent=indent)
    # JSON itself escapes only the control characters below U+0020.
    return _HIGH_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def flush() -> None:
    """Flush standard output."""
    with _exit_on_closed_pipe():
        sys.stdout.flush()


def write_bytes(content: bytes) -> None:
    """Write the content of a file to standard output."""
    with _exit_on_closed_pipe():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def info(text: str) -> None:
    """Write information that the user asked for to standard error."""
    print(strip_controls(text), file=sys.stderr)


def note(text: str) -> None:
    """Write a note to standard error."""
    print(f"{_paint('note:', _YELLOW)} {strip_controls(text)}", file=sys.stderr)


def error(text: str) -> None:
    """Write an error to standard error."""
    print(f"{_paint('error:', _BOLD_RED)} {strip_controls(text)}", file=sys.stderr)


@contextlib.contextmanager
def status(text: str, quiet: bool) -> Iterator[None]:
    """Show a line in the terminal while something runs."""
    shown = not quiet and is_terminal(sys.stderr)
    if shown:
        print(strip_controls(text), end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(_ERASE_LINE, end="", file=sys.stderr, flush=True)


def show_picture(pixels: Pixels) -> None:
    """Show a picture in the terminal, or do nothing where it cannot be shown."""
    if not is_terminal(sys.stderr) or os.environ.get("NO_COLOR"):
        return
    # textual_image queries the terminal, and logs long warnings if it does not reply.
    logging.getLogger("textual_image").setLevel(logging.CRITICAL)
    # The picture is an extra: no failure to show it may get in the way of the answer.
    with contextlib.suppress(Exception):
        _print_picture(pixels)


def _print_picture(pixels: Pixels) -> None:
    from PIL import Image
    from rich.console import Console

    if sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty():
        from textual_image.renderable import Image as Picture
    else:
        # Better protocols query the terminal, which needs standard input and output.
        from textual_image.renderable.halfcell import Image as Picture
    console = Console(stderr=True)
    console.print(Picture(Image.fromarray(pixels), width=min(60, console.width), height="auto"))


@contextlib.contextmanager
def _exit_on_closed_pipe() -> Iterator[None]:
    """Exit normally when the reader closes the pipe, leaving Python nothing to flush into it."""
    try:
        yield
    except OSError as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(failure, BrokenPipeError):
            raise SystemExit(0) from None
        raise OutputError(f"Standard output cannot be written: {failure.strerror}.") from None


def _encodes_all(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can show colors and rewrite a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _paint(word: str, color: str) -> str:
    return f"{color}{word}{_PLAIN}" if is_terminal(sys.stderr) and not os.environ.get("NO_COLOR") else word
