"""A conversation line by line: what each says is done, be it typed at a prompt or piped in."""

from __future__ import annotations

import difflib
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType

from vipcli import config
from vipcli.asking.interface import Answerer, Halted
from vipcli.asking.load_marked import load
from vipcli.asking.records import Answer, location
from vipcli.chat import archive, history, html
from vipcli.chat.conversation import Conversation, Manner, Scene, manner_of
from vipcli.errors import ConversationError, Message, OutputError, UsageError
from vipcli.files import replace_file
from vipcli.marks.kinds import BY_KIND, parse_mark
from vipcli.terminal import output

SETTINGS = tuple(entry.name for entry in fields(Manner) if entry.name in config.SETTINGS)


@dataclass(frozen=True, slots=True)
class Command:
    """Something that a line beginning with / does."""

    takes: str
    help: str
    run: Callable[[Talk, str], None]
    optional: bool = False
    """Whether it may stand without what it takes."""


def as_typed_here(name: str, value: str | None) -> str:
    """A setting as a conversation changes it, for advice in messages."""
    if name not in SETTINGS:
        # What a conversation cannot change is an option of the command that starts it.
        return f"--{name.replace('_', '-')}{'' if value is None else f' {value}'}"
    return f"/set {name} {'VALUE' if value is None else value}"


class Talk:
    """One conversation, its commands, and the file that keeps it."""

    def __init__(
        self, chat: Conversation, answerer: Answerer, *, max_pixels: int, quiet: bool, halting: bool
    ) -> None:
        self.chat = chat
        self.over = False
        self._answerer = answerer
        self._max_pixels = max_pixels
        self._quiet = quiet
        self._halting = halting
        """Whether Ctrl-C ends an answer instead of the program."""
        self._last: Answer | None = None
        self._file: Path | None = None
        self._kept = ""
        self._unkept = False
        """Whether it was told that keeping it fails."""

    def line(self, line: str) -> None:
        """Do what one line says."""
        line = line.strip()
        if not line:
            return
        if line.startswith("/") and not line.startswith("//"):
            name, _, rest = line[1:].partition(" ")
            self._command(name.strip(), rest.strip())
        else:
            self._ask(line.removeprefix("/") if line.startswith("//") else line)
        self._keep()

    # ---------------------------------------------------------------------- asking

    def _ask(self, typed: str) -> None:
        forgotten = self.chat.forgotten
        for text in self.chat.news(self.chat.prepare(typed)):
            self._note(text)
        with self._halted() as halted, output.ended_line() as on_text:
            answer = self.chat.ask(typed, on_text, halted)
        if left := self.chat.forgotten - forgotten:
            turns = "turn has left" if left == 1 else f"{left} turns have left"
            self._note(f"The model had no more room: the oldest {turns}, and the picture stays.")
        self._last = answer
        for text in self.chat.doubts(answer):
            self._note(text)
        if answer.reply.ended == "halted":
            self._note("Stopped." if answer.reply.text else "Stopped before a word was said.")

    @contextmanager
    def _halted(self) -> Iterator[Halted | None]:
        """Something that tells whether Ctrl-C was pressed; the second time, it is as hard as ever."""
        if not self._halting:
            yield None
            return
        pressed = False

        def press(number: int, frame: FrameType | None) -> None:
            nonlocal pressed
            if pressed:
                raise KeyboardInterrupt
            pressed = True

        before = signal.signal(signal.SIGINT, press)
        try:
            yield lambda: pressed
        finally:
            signal.signal(signal.SIGINT, before)

    # ---------------------------------------------------------------------- keeping

    def _keep(self) -> None:
        """Write the conversation down, if anything of it is new."""
        if not self.chat.exchanges:
            return
        try:
            text = archive.text(self.chat)
            if text == self._kept:
                return
            self._kept = text
            self._file = self._file or history.new_conversation()
            history.keep(self._file, text)
        except (OutputError, OSError, ValueError) as error:
            if not self._unkept:
                self._note(f"This conversation is not being kept: {error}")
            self._unkept = True

    def _note(self, message: Message | str) -> None:
        if not self._quiet:
            output.note(message.spelled(as_typed_here) if isinstance(message, Message) else message)

    # ---------------------------------------------------------------------- commands

    def _command(self, name: str, rest: str) -> None:
        command = COMMANDS.get(name)
        if command is None:
            close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f"Did you mean /{close[0]}?" if close else "/help lists those that there are."
            raise UsageError(f"There is no command /{name}. {hint}")
        if rest and not command.takes:
            raise UsageError(f"/{name} takes nothing after it.")
        if not rest and command.takes and not command.optional:
            raise UsageError(f"/{name} takes {command.takes} after it.")
        command.run(self, rest)

    def _mark(self, kind: str, rest: str) -> None:
        mark = self.chat.mark(parse_mark(kind, _path(rest)))
        self._note(f"{{{len(self.chat.marks)}}} {mark.phrase}: {mark.kind} {location(mark)}")

    def _marks(self, rest: str) -> None:
        for number, mark in enumerate(self.chat.marks, 1):
            output.tell(f"{{{number}}} {mark.phrase}: {mark.kind} {location(mark)}")
        if not self.chat.marks:
            output.tell("There are no marks. /box 10%,10%,50%,50% draws one.")

    def _undo(self, rest: str) -> None:
        self._note(f"The {self.chat.undo().name} is gone.")

    def _clear(self, rest: str) -> None:
        count = self.chat.clear()
        self._note("All marks are gone." if count else "There was no mark.")

    def _show(self, rest: str) -> None:
        for one in self.chat.marked.pictures:
            output.show(one.pixels)

    def _image(self, rest: str) -> None:
        source = _path(rest)
        if source == "-":
            raise UsageError("Standard input is for what you say. Name a picture's file or address.")
        gone = len(self.chat.marks)
        pictures, video = load([source], max_pixels=self._max_pixels)
        scene = Scene(pictures, (), video)
        self.chat.look_at(scene)
        picture = scene.pictures[0]
        self._note(
            f"Looking at {source} ({picture.width} × {picture.height})."
            + (" The marks on the one before are gone." if gone else "")
        )

    def _retry(self, rest: str) -> None:
        forgotten, last = self.chat.forgotten, self.chat.take_back()
        left = len(self.chat.exchanges)
        try:
            self._ask(last.typed)
        finally:
            # Where nothing came instead, what was said stays.
            nothing = len(self.chat.exchanges) == left
            if nothing:
                self.chat.exchanges.append(last)
                self.chat.forgotten = forgotten
        same = not nothing and self.chat.exchanges[-1].answer == last.answer
        if same and not last.manner.temperature:
            self._note("At temperature 0 an answer stays as it is. /set temperature 0.7 lets it vary.")

    def _save(self, rest: str) -> None:
        path = Path(_path(rest))
        if path.suffix.lower() != ".json":
            raise OutputError(f"{rest!r} should end in .json, for that is what a conversation is kept as.")
        replace_file(path, archive.text(self.chat).encode())
        self._note(f"Kept in {path}.")

    def _load(self, rest: str) -> None:
        kept = archive.read(Path(_path(rest)), max_pixels=self._max_pixels)
        if kept.gone:
            raise ConversationError(f"What was talked about is gone. {kept.gone}")
        self._keep()
        self.take_up(kept)

    def take_up(self, kept: archive.Kept) -> None:
        """Go on with a conversation that was kept; the one until now keeps its file."""
        self.chat = archive.take_up(kept, self._answerer, self.chat.checkpoint)
        self._file, self._kept, self._last = None, archive.text(self.chat), None
        for text in kept.notes:
            self._note(text)
        count = len(self.chat.exchanges)
        names = ", ".join(dict.fromkeys(one.name for one in self.chat.scene.pictures))
        self._note(f"Going on about {names}, after {'one turn' if count == 1 else f'{count} turns'}.")
        for one in self.chat.exchanges[-3:]:
            output.tell(f"> {one.question}\n{one.answer}")

    def _export(self, rest: str) -> None:
        path = Path(_path(rest))
        if path.suffix.lower() not in (".html", ".htm"):
            raise OutputError(f"{rest!r} should end in .html, for a page is what is written.")
        replace_file(path, html.page(self.chat).encode(errors="backslashreplace"))
        self._note(f"Written to {path}.")

    def _system(self, rest: str) -> None:
        if rest:
            self._set(f"system {rest}")
        else:
            output.tell(self.chat.manner.system or "The system line is the prompt form's own.")

    def _set(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        manner = asdict(self.chat.manner)
        if not name:
            for known in SETTINGS:
                output.tell(f"{known:15} {'-' if manner[known] is None else manner[known]}")
            return
        setting = _setting(name)
        if not value:
            output.tell(f"{setting.name} is {manner[setting.name]}.")
            return
        manner[setting.name] = config.checked(setting.read, value.strip(), setting.name)
        self.chat.behave(manner_of(manner))

    def _unset(self, rest: str) -> None:
        setting = _setting(rest)
        self.chat.behave(manner_of({**asdict(self.chat.manner), setting.name: None}))

    def _stats(self, rest: str) -> None:
        turns, left = len(self.chat.exchanges), self.chat.forgotten
        output.tell(f"turns       {turns}" + (f", {left} of them forgotten" if left else ""))
        if self._last is None:
            return
        reply, seconds = self._last.reply, self._last.seconds
        output.tell(f"prompt      {reply.prompt_tokens:,} tokens")
        output.tell(f"answer      {len(reply.token_ids):,} tokens")
        output.tell(f"first token {seconds['first_token']:.2f} s")
        output.tell(f"answer in   {seconds['answer']:.2f} s")
        output.tell(f"model       {reply.model.name}, {reply.model.dtype} on {reply.model.device}")

    def _help(self, rest: str) -> None:
        width = max(len(f"{name} {command.takes}") for name, command in COMMANDS.items())
        for name, command in COMMANDS.items():
            output.tell(f"/{f'{name} {command.takes}':{width}}  {command.help}")
        output.tell("Anything else is asked; {1}, {2} … stand for the marks. // begins a question with /.")

    def _quit(self, rest: str) -> None:
        self.over = True


def _path(text: str) -> str:
    """A file's name as it was typed, quotes and ~ allowed; what follows the quotes stays, as a colour."""
    text = re.sub(r"""^(["'])(.+?)\1""", r"\2", text)
    return os.path.expanduser(text)  # noqa: PTH111 - leaves a person that is not known alone


def _setting(name: str) -> config.Setting:
    known = name.replace("-", "_")
    if known not in SETTINGS:
        close = difflib.get_close_matches(known, SETTINGS, n=1)
        if close and known not in config.SETTINGS:
            raise UsageError(f"There is no setting {name[:40]!r}. Did you mean {close[0]}?")
        raise UsageError(
            f"{name[:40]} cannot change in a conversation. Those that can: {', '.join(SETTINGS)}."
        )
    return config.SETTINGS[known]


def _marking(kind: str) -> Command:
    grammar = {
        "point": "X,Y[:COLOUR]",
        "arrow": "[X1,Y1,]X2,Y2[:COLOUR]",
        "scribble": "X,Y X,Y …[:COLOUR]",
        "contour": "FILE or X,Y X,Y …[:COLOUR]",
        "mask": "FILE or X,Y X,Y …[:COLOUR]",
    }.get(kind, "X1,Y1,X2,Y2[:COLOUR]")
    return Command(grammar, f"Draw {_a(kind)}.", lambda talk, rest: talk._mark(kind, rest))


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


COMMANDS: dict[str, Command] = {
    **{kind: _marking(kind) for kind in BY_KIND},
    "marks": Command("", "List the marks, and how a question refers to each.", Talk._marks),
    "undo": Command("", "Take the newest mark away.", Talk._undo),
    "clear": Command("", "Take all marks away.", Talk._clear),
    "show": Command("", "Show the picture in the terminal.", Talk._show),
    "image": Command("FILE", "Go on with another picture.", Talk._image),
    "retry": Command("", "Ask the last question again.", Talk._retry),
    "save": Command("FILE.json", "Keep the conversation in a file.", Talk._save),
    "load": Command("FILE.json", "Take up a conversation from a file.", Talk._load),
    "export": Command("FILE.html", "Write the conversation as a web page.", Talk._export),
    "system": Command("[TEXT]", "Show or change the system line.", Talk._system, optional=True),
    "set": Command("[NAME VALUE]", "Show the settings, or change one.", Talk._set, optional=True),
    "unset": Command("NAME", "Put a setting back to its default.", Talk._unset),
    "stats": Command("", "Tell how long the conversation is and how fast the last answer was.", Talk._stats),
    "help": Command("", "Show this.", Talk._help),
    "quit": Command("", "Leave, as Ctrl-D does.", Talk._quit),
}
