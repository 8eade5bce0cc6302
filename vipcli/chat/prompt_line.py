"""The input line of a conversation in a terminal: keys, history and completion."""

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

_FILE_COMMANDS = ("image", "save", "load", "export", "contour", "mask")


def lines(history: Path | None) -> Iterator[str]:
    """Yield what is typed, until Ctrl-D; Ctrl-C clears the line, or quits if it is empty."""
    session: PromptSession[str] = PromptSession(
        "> ",
        history=_load_history(history),
        # Standard output may be a pipe for the answers.
        output=create_output(always_prefer_tty=True),
        completer=_CommandCompleter(),
        complete_while_typing=Condition(lambda: session.default_buffer.text.startswith("/")),
        key_bindings=_key_bindings(),
        multiline=True,
        prompt_continuation="  ",
    )
    while True:
        try:
            yield session.prompt()
        except EOFError:
            return


def _load_history(path: Path | None) -> History:
    """The history in a file that only this user can read; in memory if it cannot be used."""
    try:
        if path is not None:
            path.touch(mode=0o600)
            path.read_bytes()
            return FileHistory(str(path))
    except OSError:
        pass
    return InMemoryHistory()


def _key_bindings() -> KeyBindings:
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


class _CommandCompleter(Completer):
    """Completes commands and their arguments."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, rest = text[1:].partition(" ")
        if not space:
            yield from _matches(name, COMMANDS, {key: command.help for key, command in COMMANDS.items()})
            return
        if name in BY_KIND and ":" in rest:
            yield from _matches(rest.rpartition(":")[2], TRAINED)
        elif name in ("set", "unset"):
            yield from self._complete_setting(name, rest)
        elif name in _FILE_COMMANDS:
            yield from self._paths.get_completions(Document(rest, len(rest)), event)

    def _complete_setting(self, command: str, rest: str) -> Iterable[Completion]:
        name, space, value = rest.partition(" ")
        if not space:
            descriptions = {name: config.SETTINGS[name].help for name in SETTINGS}
            yield from _matches(name, SETTINGS, descriptions)
        elif command == "set" and name in SETTINGS:
            yield from _matches(value, config.SETTINGS[name].choices)


def _matches(
    prefix: str, words: Iterable[str], descriptions: dict[str, str] | None = None
) -> Iterator[Completion]:
    for word in words:
        if word.startswith(prefix):
            yield Completion(word, -len(prefix), display_meta=(descriptions or {}).get(word, ""))
