"""A chat session: runs questions and commands line by line, typed at a prompt or piped in."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

from vipcli import config
from vipcli.asking.interface import Answerer, Halted, OnText
from vipcli.asking.load_marked import load
from vipcli.asking.records import Answer, location
from vipcli.chat import archive, history, html
from vipcli.chat.conversation import ChatSettings, Conversation, Subject
from vipcli.errors import ConversationError, Message, OutputError, UsageError, VipcliError
from vipcli.files import replace_file
from vipcli.marks.kinds import BY_KIND, Mark, TypedMark, UnplacedMark, parse_mark, parse_unplaced
from vipcli.pictures.images import Pixels

SETTINGS = tuple(entry.name for entry in fields(ChatSettings) if entry.name in config.SETTINGS)
"""The names of the settings that /set can change."""


class ChatOutput(Protocol):
    """Shows what happens in a session."""

    def note(self, message: Message | str) -> None:
        """Show something worth knowing."""

    def info(self, text: str) -> None:
        """Show the output of a command."""

    def error(self, error: VipcliError) -> None:
        """Show why a line failed."""

    def answer(self) -> AbstractContextManager[tuple[OnText, Halted | None]]:
        """A context manager for an answer; it yields where to send the text, and whether to stop."""

    def show_picture(self, pixels: Pixels) -> None:
        """Show a picture, if possible."""

    def place(self, chat: Conversation, mark: UnplacedMark) -> Sequence[TypedMark]:
        """Let the person draw a mark, and perhaps more; raises MarkError where nobody can."""


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """What a line that begins with / runs."""

    argument: str
    """How help shows the argument; empty if the command takes none."""
    help: str
    run: Callable[[ChatSession, str], None]
    needs_argument: bool = True


class ChatSession:
    """One conversation, the commands that change it, and the file it is saved to."""

    def __init__(
        self, chat: Conversation, answerer: Answerer, output: ChatOutput, *, max_pixels: int
    ) -> None:
        self.chat = chat
        self.done = False
        self._answerer = answerer
        self._output = output
        self._max_pixels = max_pixels
        self._last_answer: Answer | None = None
        self._file: Path | None = None
        self._saved_text = ""
        self._save_failed = False

    def run(self, lines: Iterable[str]) -> None:
        """Run lines until one ends the session; the first error is raised."""
        for line in lines:
            self.run_line(line)
            if self.done:
                return

    def run_interactively(self, lines: Iterable[str]) -> None:
        """Run lines until one ends the session; errors are shown, and the session continues."""
        for line in lines:
            try:
                self.run_line(line)
            except VipcliError as error:
                self._output.error(error)
            except KeyboardInterrupt:
                self._output.note("Stopped.")
            if self.done:
                return

    def run_line(self, line: str) -> None:
        """Run one line: a question, or a command that begins with /."""
        line = line.strip()
        if not line:
            return
        if line.startswith("/") and not line.startswith("//"):
            name, _, argument = line[1:].partition(" ")
            self._run_command(name.strip(), argument.strip())
        else:
            self._ask(line.removeprefix("/") if line.startswith("//") else line)
        self._autosave()

    def resume(self, saved: archive.SavedConversation) -> None:
        """Continue a saved conversation, and show its last turns; the one before stays saved in its file."""
        self.chat = archive.resume(saved, self._answerer, self.chat.checkpoint)
        self._file, self._saved_text, self._last_answer = None, archive.to_json(self.chat), None
        for note in saved.notes:
            self._output.note(note)
        names = ", ".join(dict.fromkeys(picture.name for picture in self.chat.subject.pictures))
        count = len(self.chat.turns)
        turns = "one turn" if count == 1 else f"{count} turns"
        self._output.note(f"Resumed the conversation about {names}, after {turns}.")
        for turn in self.chat.turns[-3:]:
            self._output.info(f"> {turn.question}\n{turn.answer}")

    # ---------------------------------------------------------------------- asking

    def _ask(self, typed: str) -> None:
        dropped_before = self.chat.dropped
        for note in self.chat.notes_before(self.chat.prepare(typed)):
            self._output.note(note)
        with self._output.answer() as (on_text, halted):
            answer = self.chat.ask(typed, on_text, halted)
        if dropped := self.chat.dropped - dropped_before:
            turns = "turn was" if dropped == 1 else f"{dropped} turns were"
            self._output.note(
                f"The conversation is too long for the model, so the oldest {turns} dropped. "
                "The picture is kept."
            )
        self._last_answer = answer
        for note in self.chat.notes_after(answer):
            self._output.note(note)
        if answer.reply.ended == "halted":
            self._output.note("Stopped." if answer.reply.text else "Stopped before the first word.")

    def _retry(self, argument: str) -> None:
        dropped, last = self.chat.dropped, self.chat.remove_last_turn()
        count = len(self.chat.turns)
        try:
            self._ask(last.typed)
        finally:
            answered = len(self.chat.turns) > count
            if not answered:
                self.chat.turns.append(last)
                self.chat.dropped = dropped
        if answered and self.chat.turns[-1].answer == last.answer and not last.settings.temperature:
            self._output.note("At temperature 0, an answer does not change. /set temperature 0.7 varies it.")

    # ---------------------------------------------------------------------- saving

    def _autosave(self) -> None:
        """Save the conversation if it has changed; report a failure once."""
        if not self.chat.turns:
            return
        try:
            text = archive.to_json(self.chat)
            if text == self._saved_text:
                return
            self._saved_text = text
            self._file = self._file or history.new_conversation()
            history.save(self._file, text)
        except (OutputError, OSError, ValueError) as error:
            if not self._save_failed:
                self._output.note(f"This conversation is not being saved: {error}")
            self._save_failed = True

    def _save(self, argument: str) -> None:
        path = Path(_unquote(argument))
        if path.suffix.lower() != ".json":
            raise OutputError(f"{argument!r} must end in .json, the format of saved conversations.")
        replace_file(path, archive.to_json(self.chat).encode())
        self._output.note(f"Saved to {path}.")

    def _load(self, argument: str) -> None:
        saved = archive.read(Path(_unquote(argument)), max_pixels=self._max_pixels)
        if saved.missing:
            raise ConversationError(f"The picture of this conversation cannot be loaded. {saved.missing}")
        self._autosave()
        self.resume(saved)

    def _export(self, argument: str) -> None:
        path = Path(_unquote(argument))
        if path.suffix.lower() not in (".html", ".htm"):
            raise OutputError(f"{argument!r} must end in .html, the format of exported conversations.")
        replace_file(path, html.page(self.chat).encode(errors="backslashreplace"))
        self._output.note(f"Exported to {path}.")

    # ---------------------------------------------------------------------- marks and pictures

    def _mark(self, kind: str, argument: str) -> None:
        text = _unquote(argument)
        unplaced = parse_unplaced(kind, text)
        typed = [parse_mark(kind, text)] if unplaced is None else self._output.place(self.chat, unplaced)
        for typed_mark in typed:
            mark = self.chat.mark(typed_mark)
            self._output.note(_describe(len(self.chat.marks), mark))

    def _list_marks(self, argument: str) -> None:
        for number, mark in enumerate(self.chat.marks, 1):
            self._output.info(_describe(number, mark))
        if not self.chat.marks:
            self._output.info("There are no marks. /box 10%,10%,50%,50% draws one.")

    def _undo(self, argument: str) -> None:
        self._output.note(f"Removed the {self.chat.undo().name}.")

    def _clear(self, argument: str) -> None:
        self._output.note("Removed all marks." if self.chat.clear() else "There are no marks.")

    def _show(self, argument: str) -> None:
        for picture in self.chat.marked.pictures:
            self._output.show_picture(picture.pixels)

    def _change_picture(self, argument: str) -> None:
        source = _unquote(argument)
        if source == "-":
            raise UsageError("Standard input is used for questions. Name a picture file or a URL.")
        had_marks = bool(self.chat.marks)
        pictures, video = load([source], max_pixels=self._max_pixels)
        self.chat.change_subject(Subject(pictures, (), video))
        size = f"{pictures[0].width} × {pictures[0].height}"
        removed = " The marks on the previous picture were removed." if had_marks else ""
        self._output.note(f"The picture is now {source} ({size}).{removed}")

    # ---------------------------------------------------------------------- settings

    def _set(self, argument: str) -> None:
        name, _, value = argument.partition(" ")
        values = asdict(self.chat.settings)
        if not name:
            for setting_name in SETTINGS:
                value_text = "-" if values[setting_name] is None else values[setting_name]
                self._output.info(f"{setting_name:15} {value_text}")
            return
        setting = _find_setting(name)
        if not value:
            self._output.info(f"{setting.name} is {values[setting.name]}.")
            return
        values[setting.name] = config.parse_value(setting.parse, value.strip(), setting.name)
        self.chat.change_settings(ChatSettings.from_values(values))

    def _unset(self, argument: str) -> None:
        values = {**asdict(self.chat.settings), _find_setting(argument).name: None}
        self.chat.change_settings(ChatSettings.from_values(values))

    def _zoom(self, argument: str) -> None:
        self._set(f"zoom {argument or ('on' if self.chat.settings.zoom == 'off' else 'off')}")
        self._set("zoom")

    def _system(self, argument: str) -> None:
        if argument:
            self._set(f"system {argument}")
        else:
            self._output.info(self.chat.settings.system or "The system line is the prompt form's default.")

    # ---------------------------------------------------------------------- everything else

    def _run_command(self, name: str, argument: str) -> None:
        command = COMMANDS.get(name)
        if command is None:
            close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f"Did you mean /{close[0]}?" if close else "/help lists the commands."
            raise UsageError(f"There is no command /{name}. {hint}")
        if argument and not command.argument:
            raise UsageError(f"/{name} takes no argument.")
        if not argument and command.argument and command.needs_argument:
            raise UsageError(f"/{name} needs an argument: {command.argument}.")
        command.run(self, argument)

    def _show_stats(self, argument: str) -> None:
        turns, dropped = len(self.chat.turns), self.chat.dropped
        lines = [f"turns       {turns}" + (f", {dropped} of them dropped" if dropped else "")]
        if self._last_answer is not None:
            reply, seconds = self._last_answer.reply, self._last_answer.seconds
            lines += [
                f"prompt      {reply.prompt_tokens:,} tokens",
                f"answer      {len(reply.token_ids):,} tokens",
                f"first token {seconds['first_token']:.2f} s",
                f"answer in   {seconds['answer']:.2f} s",
                f"model       {reply.model.name}, {reply.model.dtype} on {reply.model.device}",
            ]
        self._output.info("\n".join(lines))

    def _show_help(self, argument: str) -> None:
        width = max(len(f"{name} {command.argument}") for name, command in COMMANDS.items())
        for name, command in COMMANDS.items():
            self._output.info(f"/{f'{name} {command.argument}':{width}}  {command.help}")
        self._output.info(
            "Anything else is a question; {1}, {2} … stand for the marks. "
            "To begin a question with /, type //."
        )

    def _quit(self, argument: str) -> None:
        self.done = True


def _describe(number: int, mark: Mark) -> str:
    """Describe a mark in one line: how questions refer to it, and where it is."""
    return f"{{{number}}} {mark.phrase}: {mark.kind} {location(mark)}"


def _unquote(text: str) -> str:
    """Remove the quotes from a typed file name and expand ~; keep text after the quotes, such as a color."""
    text = re.sub(r"""^(["'])(.+?)\1""", r"\2", text)
    return os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser fails for an unknown user


def _find_setting(name: str) -> config.Setting:
    setting_name = name.replace("-", "_")
    if setting_name not in SETTINGS:
        close = difflib.get_close_matches(setting_name, SETTINGS, n=1)
        if close and setting_name not in config.SETTINGS:
            raise UsageError(f"There is no setting {name[:40]!r}. Did you mean {close[0]}?")
        raise UsageError(
            f"{name[:40]} cannot be changed in a conversation. You can change {', '.join(SETTINGS)}."
        )
    return config.SETTINGS[setting_name]


def _mark_command(kind: str) -> ChatCommand:
    argument = {
        "point": "X,Y[:COLOR]",
        "arrow": "[X1,Y1,]X2,Y2[:COLOR]",
        "scribble": "X,Y X,Y …[:COLOR]",
        "contour": "FILE or X,Y X,Y …[:COLOR]",
        "mask": "FILE or X,Y X,Y …[:COLOR]",
    }.get(kind, "X1,Y1,X2,Y2[:COLOR]")
    article = "an" if kind[0] in "aeiou" else "a"
    return ChatCommand(
        f"[{argument}]",
        f"Draw {article} {kind}; without coordinates, with the mouse.",
        lambda session, text: session._mark(kind, text),
        needs_argument=False,
    )


COMMANDS: dict[str, ChatCommand] = {
    **{kind: _mark_command(kind) for kind in BY_KIND},
    "marks": ChatCommand("", "List the marks and how a question refers to each.", ChatSession._list_marks),
    "undo": ChatCommand("", "Remove the newest mark.", ChatSession._undo),
    "clear": ChatCommand("", "Remove all marks.", ChatSession._clear),
    "show": ChatCommand("", "Show the picture in the terminal.", ChatSession._show),
    "image": ChatCommand("FILE", "Continue with another picture.", ChatSession._change_picture),
    "retry": ChatCommand("", "Ask the last question again.", ChatSession._retry),
    "save": ChatCommand("FILE.json", "Save the conversation to a file.", ChatSession._save),
    "load": ChatCommand("FILE.json", "Continue a saved conversation.", ChatSession._load),
    "export": ChatCommand("FILE.html", "Write the conversation as a web page.", ChatSession._export),
    "zoom": ChatCommand(
        "[MARGIN|auto|pair|off]", "Cut the picture to its marks, or show it whole.", ChatSession._zoom, False
    ),
    "system": ChatCommand("[TEXT]", "Show or change the system line.", ChatSession._system, False),
    "set": ChatCommand("[NAME VALUE]", "Show the settings, or change one.", ChatSession._set, False),
    "unset": ChatCommand("NAME", "Return a setting to its default.", ChatSession._unset),
    "stats": ChatCommand(
        "",
        "Show the number of turns, and the token counts and times of the last answer.",
        ChatSession._show_stats,
    ),
    "help": ChatCommand("", "Show this help.", ChatSession._show_help),
    "quit": ChatCommand("", "Quit, as Ctrl-D does.", ChatSession._quit),
}
