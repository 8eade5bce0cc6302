"""A terminal's screen that is borrowed for a while, and given back as it was."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from vipcli.picking.terminal_events import TerminalEvent, TerminalParser

# The alternate screen, no cursor, no automatic new line, marked pastes, and the mouse with its buttons.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[0m\x1b[2J"
_LEAVE = "\x1b[?1016l\x1b[?1006l\x1b[?1002l\x1b[?2004l\x1b[?7h\x1b[0m\x1b[?25h\x1b[?1049l"
PIXEL_MOUSE = "\x1b[?1016h"
ASK_PIXEL_MOUSE = "\x1b[?1016$p"
ASK_CELL_SIZE = "\x1b[16t"
# Terminals that know it show all of what comes between at once.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"

_ESCAPE_SECONDS = 0.3
"""After this long, Escape is a key and not the beginning of a sequence, which a slow line may cut in two."""


class TerminalClosedError(Exception):
    """The terminal was closed."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """A terminal's size in cells, and the size of a cell in pixels where it is known."""

    columns: int
    rows: int
    cell: tuple[float, float] | None = None


class Screen:
    """A terminal that shows one thing on its whole screen; use it as a context."""

    def __init__(self) -> None:
        self._input, self._output = sys.stdin.fileno(), sys.stderr.fileno()
        self._parser = TerminalParser()
        self._stack = contextlib.ExitStack()
        self.last_words = ""
        """What is written before the terminal is given back."""

    def __enter__(self) -> Screen:
        from prompt_toolkit.input import create_input

        sys.stderr.flush()
        with contextlib.ExitStack() as stack:
            self._wakeup = stack.enter_context(_Signals())
            stack.enter_context(create_input(sys.stdin).raw_mode())
            stack.callback(self._give_back)
            self.write(_ENTER)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _give_back(self) -> None:
        import termios

        # Where the terminal is gone, there is nothing to give back.
        with contextlib.suppress(TerminalClosedError, OSError, termios.error):
            self.write(self.last_words + _LEAVE)
            # The mouse may have moved meanwhile. The shell would take that for typing.
            termios.tcflush(self._input, termios.TCIFLUSH)

    def size(self) -> WindowSize:
        """The size of the window now."""
        import fcntl
        import struct
        import termios

        try:
            answer = fcntl.ioctl(self._output, termios.TIOCGWINSZ, b"\0" * 8)
        except OSError:
            raise TerminalClosedError from None
        rows, columns, width, height = struct.unpack("HHHH", answer)
        # Some terminals say nothing about their size.
        rows, columns = rows or 24, columns or 80
        return WindowSize(columns, rows, (width / columns, height / rows) if width and height else None)

    def show(self, text: str) -> None:
        """Write a change of the screen, to be shown at once."""
        self.write(f"{_BEGIN}{text}{_END}")

    def write(self, text: str) -> None:
        """Write text and sequences to the terminal."""
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            try:
                data = data[os.write(self._output, data) :]
            except BlockingIOError:
                select.select([], [self._output], [])
            except OSError:
                raise TerminalClosedError from None

    def events(self) -> Iterator[TerminalEvent]:
        """Wait for something to happen, and yield it; a new size of the window yields nothing."""
        waits = self._parser.waits
        ready, _, _ = select.select(
            [self._input, self._wakeup.descriptor], [], [], _ESCAPE_SECONDS if waits else None
        )
        if self._wakeup.descriptor in ready:
            self._wakeup.read()
        if self._input in ready:
            yield from self._parser.feed(self._read())
        elif waits and not ready:
            yield from self._parser.flush()

    def _read(self) -> bytes:
        try:
            data = os.read(self._input, 65536)
        except OSError:
            data = b""
        if not data:
            raise TerminalClosedError
        return data


class _Signals:
    """Wakes the reader of a terminal up for signals; a deadly one takes effect once this context ends."""

    def __init__(self) -> None:
        self.descriptor, self._writer = -1, -1
        self._deadly: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self.descriptor, self._writer = os.pipe()
        for descriptor in (self.descriptor, self._writer):
            os.set_blocking(descriptor, False)
        # Only the main thread may handle signals.
        with contextlib.suppress(ValueError):
            for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGWINCH or signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        os.close(self.descriptor)
        os.close(self._writer)
        if self._deadly is not None:
            signal.raise_signal(self._deadly)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGWINCH:
            self._deadly = number
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def read(self) -> None:
        """Take note of the signals that came; raises TerminalClosedError for a deadly one."""
        os.read(self.descriptor, 4096)
        if self._deadly is not None:
            raise TerminalClosedError
