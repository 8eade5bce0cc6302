"""The options of a command line that may lack a value: marks, and the command once they are placed.

`--box` without coordinates asks for the mouse, and so does `--box :red`. The word after a mark's option
belongs to it only if it looks like a place: in `--box "What is {1}?"`, it is the question. The same holds for
the other options whose value may be left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vipcli.errors import ImageError, MarkError
from vipcli.geometry import ZOOM_WORDS
from vipcli.marks.kinds import BY_KIND, Slot, TypedMark, UnplacedMark, parse_mark, parse_unplaced
from vipcli.picking.mark_text import as_arguments, color_text

EXAMPLES = {
    "box": "25%,25%,75%,75%",
    "ellipse": "25%,25%,75%,75%",
    "triangle": "25%,25%,75%,75%",
    "point": "50%,50%",
    "arrow": "50%,50%",
    "scribble": "20%,30% 40%,50% 60%,30%",
    "contour": "20%,20% 80%,20% 50%,80%",
    "mask": "20%,20% 80%,20% 50%,80%",
}
"""Coordinates for each kind of mark, as they are typed."""


@dataclass(frozen=True, slots=True)
class OptionalValue:
    """The value of an option that may be left out."""

    default: str
    """What it means if it is."""
    pattern: re.Pattern[str]
    """What the next argument must look like to be the value."""


OPTIONAL_VALUES: Mapping[str, OptionalValue] = {
    "--guide": OptionalValue("0.5", re.compile(r"[-+]?[\d.]+")),
    "--zoom": OptionalValue("on", re.compile(rf"[-+]?[\d.]+|true|yes|false|no|{'|'.join(ZOOM_WORDS)}", re.I)),
}
"""The options, apart from marks, whose value may be left out."""

_NUMBERS = re.compile(r"\s*(?:\d{1,4}:)?\s*[-+.]?\d", re.ASCII)
_WORDS = re.compile(r"\s[A-Za-z]{2}")


@dataclass(frozen=True, slots=True)
class MarkWord:
    """A mark's option and its text, as two arguments or one."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Positional:
    word: str


@dataclass(frozen=True, slots=True)
class MarkArguments:
    """The marks of a command line, and the arguments around them."""

    slots: tuple[Slot, ...] = ()
    """In the order in which they were typed."""
    command: str = ""
    words: tuple[str | MarkWord | _Positional, ...] = ()

    @property
    def typed(self) -> list[TypedMark]:
        """The marks, all of which must have coordinates."""
        return self.all_typed("")

    def all_typed(self, reason: str) -> list[TypedMark]:
        """The marks, all of which must have coordinates; `reason` is a sentence on why none can be drawn."""
        for slot in self.slots:
            if isinstance(slot, UnplacedMark):
                raise MarkError(
                    f"The {slot.kind} has no coordinates.",
                    f"Write them in pixels or percent, as {{{slot.kind}={_example(slot)}}}."
                    f"{self._first_picture_size()}{reason}",
                )
        return [slot for slot in self.slots if isinstance(slot, TypedMark)]

    @property
    def has_unplaced(self) -> bool:
        """Whether a mark is to be placed by hand."""
        return any(isinstance(slot, UnplacedMark) for slot in self.slots)

    def for_parser(self) -> list[str]:
        """The arguments with a value for each option that takes one."""
        words: list[str] = []
        for word in self.words:
            match word:
                case MarkWord():
                    words.append(f"--{word.kind}={word.text}")
                case _Positional():
                    words.append(word.word)
                case _:
                    words.append(word)
        return words

    def command_with(
        self,
        by_slot: Sequence[TypedMark | None],
        others: Sequence[TypedMark] = (),
        question: str | None = None,
    ) -> str:
        """The command, as a shell reads it, with these marks in place of its own and perhaps a question."""
        marks = iter(by_slot)
        words: list[str] = ["vipcli", self.command]
        for word in self.words:
            match word:
                case MarkWord():
                    if (mark := next(marks)) is not None:
                        words += as_arguments(mark)
                case _Positional():
                    words.append(word.word)
                    if question is not None:
                        # The question follows the picture.
                        words.append(question)
                        question = None
                case _:
                    words.append(word)
        end = words.index("--") if "--" in self.words else len(words)
        words[end:end] = [word for mark in others for word in as_arguments(mark)]
        return shlex.join(words)

    def _first_picture_size(self) -> str:
        """The size of the first picture among the arguments, as a sentence; empty if there is none."""
        from vipcli.pictures.images import load_picture

        for word in self.words:
            if not isinstance(word, _Positional) or not is_file(word.word):
                continue
            try:
                picture = load_picture(word.word)
            except ImageError:
                continue
            return f" {Path(word.word).name} is {picture.width} × {picture.height} pixels."
        return ""


def _example(mark: UnplacedMark) -> str:
    """Coordinates for a mark, with the picture and the color that were typed."""
    picture = "" if mark.picture is None else f"{mark.picture}:"
    return picture + EXAMPLES[mark.kind] + ("" if mark.color is None else f":{color_text(mark.color)}")


def read_arguments(
    command: str, arguments: Sequence[str], options: Mapping[str, bool], most_positionals: int
) -> MarkArguments:
    """Read a command's arguments; `options` tells of each whether a value follows it."""
    words = list(_split(arguments, options))
    positionals = sum(isinstance(word, _Positional) for word in words)
    room = most_positionals - positionals
    resolved: list[str | MarkWord | _Positional] = []
    for word in words:
        if isinstance(word, MarkWord) and room > 0 and _is_other_word(word, has_picture=positionals > 0):
            # It stands where the picture or the question is missing.
            resolved += [MarkWord(word.kind, ""), _Positional(word.text)]
            positionals, room = positionals + 1, room - 1
        else:
            resolved.append(word)
    slots = tuple(_slot(word) for word in resolved if isinstance(word, MarkWord))
    return MarkArguments(slots, command, tuple(resolved))


def _split(arguments: Sequence[str], options: Mapping[str, bool]) -> Iterator[str | MarkWord | _Positional]:
    """Tell marks and positional words from other arguments; an option's value is an argument too."""
    rest = iter(range(len(arguments)))
    for index in rest:
        argument = arguments[index]
        name, equals, value = argument.partition("=")
        following = arguments[index + 1] if index + 1 < len(arguments) else None
        has_value = following is not None and following != "--" and following.partition("=")[0] not in options
        if argument == "--":
            yield argument
            yield from (_Positional(word) for word in arguments[index + 1 :])
            return
        if name.removeprefix("--") in BY_KIND and name.startswith("--"):
            if not equals and has_value:
                value = arguments[next(rest)]
            yield MarkWord(name.removeprefix("--"), value)
        elif name in OPTIONAL_VALUES and name in options and not equals:
            optional = OPTIONAL_VALUES[name]
            if following is not None and optional.pattern.fullmatch(following):
                yield argument
                yield arguments[next(rest)]
            else:
                yield f"{name}={optional.default}"
        elif name in options:
            yield argument
            if options[name] and not equals and following is not None:
                yield arguments[next(rest)]
        elif argument.startswith("-") and argument != "-":
            yield argument
        else:
            yield _Positional(argument)


def _is_other_word(mark: MarkWord, *, has_picture: bool) -> bool:
    """Whether the word after a mark's option is no place, but the picture or the question."""
    text = mark.text
    if not text.strip() or text.lstrip().startswith(":"):
        return False
    may_be_mask = mark.kind in ("contour", "mask")
    if is_file(text) and not (may_be_mask and has_picture):
        # The name of a photo may begin with a date.
        return True
    if _NUMBERS.match(text):
        return _WORDS.search(text) is not None
    if not may_be_mask or (" " in text and not is_file(text.partition(":")[0])):
        return True
    # The name of a mask image, unless there is no other picture.
    return not has_picture


def _slot(word: MarkWord) -> Slot:
    return parse_unplaced(word.kind, word.text) or parse_mark(word.kind, word.text)


def is_file(name: str) -> bool:
    """Whether an argument names a file; a question may be longer than any file name."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
