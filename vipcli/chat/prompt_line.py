"""The line that a person types in a conversation: its keys, its history and what completes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output

from vipcli import config
from vipcli.chat.session import COMMANDS, SETTINGS
from vipcli.marks.colors import TRAINED
from vipcli.marks.kinds import BY_KIND

_FILES = ("image", "save", "load", "export", "contour", "mask")


def lines(history: Path | None) -> Iterator[str]:
    """What is typed, until Ctrl-D; Ctrl-C empties the line, and leaves where it is empty."""
    session: PromptSession[str] = PromptSession(
        "> ",
        history=_remembered(history),
        # Answers may go into a pipe.
        output=create_output(always_prefer_tty=True),
        completer=_Words(),
        complete_while_typing=Condition(lambda: session.default_buffer.text.startswith("/")),
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="  ",
    )
    while True:
        try:
            yield session.prompt()
        except EOFError:
            return


def _remembered(path: Path | None) -> History:
    try:
        if path is not None:
            path.touch(mode=0o600)
            path.read_bytes()
            return FileHistory(str(path))
    except OSError:
        pass
    return InMemoryHistory()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-z")
    def _(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


class _Words(Completer):
    """Commands, and what may follow each."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, rest = text[1:].partition(" ")
        if not space:
            yield from _beginning_with(name, COMMANDS, {key: one.help for key, one in COMMANDS.items()})
            return
        if name in BY_KIND and ":" in rest:
            yield from _beginning_with(rest.rpartition(":")[2], TRAINED)
        elif name in ("set", "unset"):
            yield from self._settings(name, rest)
        elif name in _FILES:
            yield from self._paths.get_completions(Document(rest, len(rest)), event)

    def _settings(self, command: str, rest: str) -> Iterable[Completion]:
        name, space, value = rest.partition(" ")
        if not space:
            helps = {name: config.SETTINGS[name].help for name in SETTINGS}
            yield from _beginning_with(name, SETTINGS, helps)
        elif command == "set" and name in SETTINGS:
            yield from _beginning_with(value, config.SETTINGS[name].choices)


def _beginning_with(
    begun: str, words: Iterable[str], helps: dict[str, str] | None = None
) -> Iterator[Completion]:
    for word in words:
        if word.startswith(begun):
            yield Completion(word, -len(begun), display_meta=(helps or {}).get(word, ""))
