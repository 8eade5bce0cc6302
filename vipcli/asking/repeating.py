"""Ask again what a record says was asked, and compare the two answers.

What is asked comes from the record alone, even where vipcli would mark or word it differently today. What
differs from then is told: pictures, model, versions, and options that were given this time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vipcli import config
from vipcli.asking.grammars import read_grammar
from vipcli.asking.interface import Grammar
from vipcli.asking.load_marked import load_marked
from vipcli.asking.questions import escape
from vipcli.asking.recorded import RecordedAnswer, RecordedMark, look_up, parse
from vipcli.asking.records import Answer
from vipcli.asking.values import Drawing, MarkedInput, Question
from vipcli.checkpoints import lookup
from vipcli.config import SETTINGS, Settings
from vipcli.errors import ImageError, RecordError, UsageError
from vipcli.files import path_exists
from vipcli.marks.colors import Color
from vipcli.marks.kinds import Length, TypedMark
from vipcli.pictures.images import PictureSource, hash_of, is_address

REPEATED = {
    "model": "model.name",
    "revision": "model.revision",
    "device": "model.device",
    "dtype": "model.dtype",
    "quantize": "model.quantize",
    "quantize_all": "model.quantize_all",
    "attention": "model.attention",
    "prompt": "form",
    "system": "system",
    "fit": "fit",
    "zoom": "zoom",
    "guide": "guide",
    "score": "score",
    "max_new_tokens": "sampling.max_new_tokens",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "seed": "sampling.seed",
    "width": "drawing.width",
    "alpha": "drawing.alpha",
    "jitter": "drawing.jitter",
}
"""The settings that an answer depends on, and where its record holds them.

A setting that a record holds only where it is used is taken to have its default elsewhere.
"""

_OF_ITS_MODEL = ("revision", "dtype", "prompt", "fit")
"""Settings that another model chooses for itself."""
_FACTS = ("model.fingerprint", "versions.vipcli", "versions.torch", "versions.transformers")
"""What else an answer depends on."""
_PLACES = re.compile("<image>|<video>")
_NAMELESS = ("-", "memory", "the picture")
"""The names of pictures that came from standard input or from memory."""
_EXCERPT = 60
_TITLES = {"model.name": "model", "form": "prompt form", "system": "system line"}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is not as it was when the record was written."""

    what: str
    """The key of the record; `built_prompt` is the prompt that vipcli would build today."""
    recorded: Any
    now: Any
    text: str
    """A sentence for a person."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers begin to differ."""

    unit: Literal["token", "character"]
    position: int
    """Counted from 1."""
    recorded: str
    """How the recorded text goes on from there; empty if it ends."""
    now: str


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """An answer that was asked for again, and how it compares with the recorded one."""

    answer: Answer
    difference: Difference | None
    changed: tuple[Change, ...]
    assumed: tuple[str, ...]
    """The settings that the record lacks, whose defaults were taken."""
    unchecked: tuple[str, ...]
    """What else the record lacks and cannot be compared."""
    by_text: str | None
    """Why texts were compared instead of tokens; None if tokens were."""

    @property
    def same(self) -> bool:
        """Whether the answer is the recorded one."""
        return self.difference is None

    @property
    def verdict(self) -> str:
        """The comparison as a sentence."""
        difference = self.difference
        if difference is None:
            how = "token by token" if self.by_text is None else f"by its text, since {self.by_text}"
            return f"The same answer, {how}."
        start = f"Differs from the recorded answer at {difference.unit} {difference.position}"
        if difference.recorded == difference.now:
            return f"{start}, though its text is the same."
        recorded, now = (repr(text) if text else "its end" for text in (difference.recorded, difference.now))
        return f"{start}: {recorded} became {now}."

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs from then, and what was assumed, as sentences."""
        notes = [change.text for change in self.changed]
        if self.assumed:
            notes.append(f"The record does not hold {', '.join(self.assumed)}. The defaults are assumed.")
        if self.unchecked:
            notes.append(f"The record does not hold {', '.join(self.unchecked)}, so that is not checked.")
        return tuple(notes)

    def record(self) -> dict[str, Any]:
        """Return what the command `ask` adds to the answer's JSON."""
        difference = self.difference
        return {
            "same": self.same,
            "first_difference": None
            if difference is None
            else {
                difference.unit: difference.position,
                "recorded": difference.recorded,
                "now": difference.now,
            },
            "compared": "tokens" if self.by_text is None else "text",
            "changed": [
                {"what": change.what, "recorded": change.recorded, "now": change.now}
                for change in self.changed
            ],
            "assumed": list(self.assumed),
            "unchecked": list(self.unchecked),
        }


@dataclass(slots=True, eq=False)
class Repetition:
    """A record, and what it takes to ask the same again."""

    data: Mapping[str, Any]
    recorded: RecordedAnswer
    settings: Settings
    """Those of the record, except where others were given."""
    same_model: bool
    marked: MarkedInput
    file_changes: tuple[Change, ...]
    built_prompt: str | None = None
    """The prompt that vipcli would write today, if it is not the record's."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The answers to choose from, if there were any."""
        return tuple(choice.text for choice in self.recorded.choices)

    @property
    def grammar(self) -> Grammar | None:
        """What the answer had to look like, if that was asked for."""
        try:
            return read_grammar(self.recorded.fitted_schema, self.recorded.pattern)
        except UsageError as error:
            raise RecordError(error.message.fact, error.message.advice) from None

    @property
    def question(self) -> str:
        """The question, written so that filling in phrases leaves it as it was."""
        return escape(self.recorded.question)

    def restored(self, built: Question) -> Question:
        """The question with the record's prompt in place of the one that vipcli writes today."""
        self.built_prompt = None
        if not self.same_model or self._given & {"prompt", "system"}:
            return built
        recorded = self.recorded.prompt
        if len(_PLACES.findall(recorded)) != len(_PLACES.findall(built.prompt)):
            if self._given:
                # They may have changed the number of pictures that the model sees.
                return built
            raise RecordError(
                "The prompt of the record does not have a place for each of its pictures: it was edited."
            )
        if built.prompt != recorded:
            self.built_prompt = built.prompt
        return replace(built, prompt=recorded)

    @property
    def _given(self) -> set[str]:
        """The settings that were given and are not the record's."""
        return {
            name
            for name, path in REPEATED.items()
            if name in self.settings.explicit
            and getattr(self.settings, name) != _setting(self.data, name, path)
        }

    @property
    def changes(self) -> tuple[Change, ...]:
        """What differs from the record before the model answers."""
        if self.built_prompt is None:
            return self.file_changes
        text = "vipcli would write another prompt today. The record's own is asked."
        change = Change("built_prompt", self.recorded.prompt, self.built_prompt, text)
        return *self.file_changes, change

    def compare(self, answer: Answer) -> Comparison:
        """Compare the new answer with the recorded one."""
        now = _as_json(answer.record())
        by_text = (
            "another model answered"
            if not self.same_model
            else "the record holds no token ids"
            if self.recorded.token_ids is None
            else None
        )
        lacking = [path for path in REPEATED.values() if _has(now, path) and not _has(self.data, path)]
        given = {REPEATED[name] for name in self._given}
        return Comparison(
            answer,
            _text_difference(self.recorded, answer) if by_text else _token_difference(self.recorded, answer),
            (*self.changes, *_changes(self.data, now, given), *_drawing_changes(self.data, now)),
            assumed=tuple(path for path in lacking if path not in given),
            unchecked=tuple(
                path for path in _FACTS if _get(now, path) is not None and not _has(self.data, path)
            ),
            by_text=by_text,
        )


def repeat(
    record: object,
    given: Settings,
    sources: Sequence[PictureSource] = (),
    *,
    folder: Path | None = None,
    label: str = "This",
) -> Repetition:
    """Prepare to ask again what a record says was asked.

    Settings that are explicit in `given` win over the record's, and `sources` replace its pictures. A path
    is looked up in the current folder, then in `folder`.
    """
    recorded = parse(record, label)
    data: Mapping[str, Any] = _as_json(record)
    same_model = "model" not in given.explicit or _is_same_model(data, given.model)
    settings = _settings(data, given, same_model=same_model)
    given_pictures = [recorded.images[place - 1] for place in recorded.places]
    files = [recorded.video] if recorded.video is not None else given_pictures
    if sources and len(sources) != len(files):
        raise UsageError(
            f"The record is about {len(files)} pictures, and {len(sources)} are given in their place."
        )
    marked = load_marked(
        sources or [_locate(file.source, folder) for file in files],
        [_typed(mark, recorded) for mark in recorded.marks],
        Drawing.of(settings),
        frames=None if recorded.video is None else len(recorded.video.chosen),
        max_pixels=settings.max_pixels,
    )
    changes = *_picture_changes(recorded, marked), *_mask_changes(recorded, folder)
    return Repetition(data, recorded, settings, same_model, marked, changes)


def _as_json(data: Any) -> Any:
    """A record as it is read from JSON, which knows no tuples."""
    return json.loads(json.dumps(data))


# --------------------------------------------------------------------------- settings


def _settings(data: Mapping[str, Any], given: Settings, *, same_model: bool) -> Settings:
    """The record's settings, except for those that were given and those of another model."""
    values = {
        name: _setting(data, name, path)
        for name, path in REPEATED.items()
        if name not in given.explicit and (same_model or name not in _OF_ITS_MODEL)
    }
    if not same_model:
        values |= {name: SETTINGS[name].default for name in _OF_ITS_MODEL if name not in given.explicit}
    return replace(given, **values)


def _setting(data: Mapping[str, Any], name: str, path: str) -> Any:
    """The value that a setting had, or its default."""
    default = SETTINGS[name].default if name in SETTINGS else None
    try:
        value = look_up(data, path)
    except KeyError:
        return default
    if value is None:
        return default
    if name == "device":
        # A model on several devices was spread over them.
        value = "spread" if "," in str(value) else value
    parse_text = SETTINGS[name].parse if name in SETTINGS else config.parse_seed
    try:
        return parse_text(str(value))
    except ValueError as error:
        raise RecordError(f"The record's {path} is {str(value)[:60]!r}, but takes {error}.") from None


def _is_same_model(data: Mapping[str, Any], name: str) -> bool:
    """Whether a checkpoint is the recorded one, perhaps in another folder."""
    checkpoint, known = lookup.peek(name), _get(data, "model.fingerprint")
    if known is None or checkpoint.folder is None:
        return bool(checkpoint.name == _get(data, "model.name"))
    return bool(lookup.fingerprint(checkpoint) == known)


# --------------------------------------------------------------------------- pictures and marks


def _locate(source: str, folder: Path | None) -> str:
    """Where a recorded picture is now."""
    if is_address(source) or path_exists(Path(source)):
        return source
    if source in _NAMELESS:
        came = "standard input" if source == "-" else "memory"
        raise ImageError(
            f"The picture of the record came from {came}, so it cannot be read again.",
            "Name a file that holds it before {again}.",
        )
    if folder is not None and path_exists(folder / source):
        return str(folder / source)
    raise ImageError(
        f"There is no file {source!r}, which the record is about.",
        "If it was moved, give its new path before {again}.",
    )


def _typed(mark: RecordedMark, recorded: RecordedAnswer) -> TypedMark:
    """The mark that is drawn where the recorded one was."""
    places = recorded.places
    # It is on the cut of its picture, too. A place that there is not is refused later.
    pictures = [
        places.index(place) + 1 if place in places else place
        for place in mark.images
        if place in places or place > len(recorded.images)
    ]
    red, green, blue = bytes.fromhex(mark.rgb[1:])
    typed = TypedMark(
        mark.kind,
        mark.typed,
        color=Color(mark.color, (red, green, blue)),
        # One that is on several frames is on all of them.
        picture=pictures[0] if len(pictures) == 1 else None,
        span=mark.span,
    )
    numbers: list[float | None]
    match mark.kind:
        case "contour" | "mask":
            if mark.polygons is None:
                raise _incomplete(mark)
            return replace(typed, polygons=mark.polygons)
        case "point":
            numbers = [mark.x, mark.y]
        case "arrow":
            numbers = [*(mark.tail or ()), *(mark.tip or (None,))]
        case "scribble":
            numbers = [number for point in mark.path or ((None, None),) for number in point]
        case _:
            numbers = [mark.x1, mark.y1, mark.x2, mark.y2]
    lengths = tuple(Length(number) for number in numbers if number is not None)
    if len(lengths) < len(numbers):
        raise _incomplete(mark)
    return replace(typed, coordinates=lengths)


def _incomplete(mark: RecordedMark) -> RecordError:
    return RecordError(f"The record does not say where its {mark.kind} is.")


def _picture_changes(recorded: RecordedAnswer, marked: MarkedInput) -> Iterator[Change]:
    if recorded.video is not None and marked.video is not None:
        then, now = list(recorded.video.chosen), list(marked.video.chosen)
        if then != now:
            yield Change("video.chosen", then, now, "Other frames of the video are taken than then.")
    files = [recorded.images[place - 1] for place in recorded.places]
    for number, (file, entry) in enumerate(zip(files, marked.pictures, strict=False), 1):
        if file.sha256 != entry.picture.sha256:
            what = f"images.{number}.sha256"
            text = f"{entry.picture.name!r} is not the file that it was: its SHA-256 differs."
            yield Change(what, file.sha256, entry.picture.sha256, text)
            if recorded.video is not None:
                # All frames have the hash of their file.
                return


def _mask_changes(recorded: RecordedAnswer, folder: Path | None) -> Iterator[Change]:
    """Mask images that have changed; what is drawn are the recorded outlines."""
    for number, mark in enumerate(recorded.marks, 1):
        if mark.mask is None:
            continue
        # The file itself is not needed.
        with suppress(ImageError):
            digest = hash_of(_locate(mark.mask.source, folder))
            if digest != mark.mask.sha256:
                text = f"The mask {mark.mask.source!r} has changed. What is drawn is its recorded outline."
                yield Change(f"marks.{number}.mask.sha256", mark.mask.sha256, digest, text)


# --------------------------------------------------------------------------- comparing


def _has(data: Mapping[str, Any], path: str) -> bool:
    try:
        look_up(data, path)
    except KeyError:
        return False
    return True


def _get(data: Mapping[str, Any], path: str) -> Any:
    return look_up(data, path) if _has(data, path) else None


def _changes(then: Mapping[str, Any], now: Mapping[str, Any], given: Container[str]) -> Iterator[Change]:
    """The settings, facts and versions that are not what they were; `given` are the paths of options."""
    fingerprint = _get(then, "model.fingerprint")
    same_files = fingerprint is not None and fingerprint == _get(now, "model.fingerprint")
    for path in (*REPEATED.values(), *_FACTS):
        before, after = _get(then, path), _get(now, path)
        # The same checkpoint may be in another folder.
        if before == after or (path == "model.name" and same_files):
            continue
        # What an older version did not record is no change.
        if _has(then, path) or path in given:
            yield Change(path, before, after, _describe(path, before, after))


def _describe(path: str, before: Any, after: Any) -> str:
    if path == "model.fingerprint":
        return "The files of the model have changed."
    if path.startswith("versions."):
        return f"{path.removeprefix('versions.')} was {before} and is {after}."
    title = _TITLES.get(path, path.removeprefix("model.").replace(".", " ").replace("_", " "))
    return f"The {title} was {_shown(before)} and is {_shown(after)}."


def _shown(value: Any) -> str:
    if value is None:
        return "left out"
    return str(value) if not isinstance(value, str) or " " not in value else repr(value)


def _drawing_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Marks that are drawn differently on the same pictures with the same options."""
    hashes = [[image.get("sha256") for image in record["images"]] for record in (then, now)]
    if hashes[0] != hashes[1] or _get(then, "drawing") != now["drawing"]:
        return
    for number, (before, after) in enumerate(zip(then.get("marks", ()), now["marks"], strict=False), 1):
        if _get(before, "style") not in (None, after["style"]):
            text = f"vipcli draws the mark {after['phrase']} differently today."
            yield Change(f"marks.{number}.style", before["style"], after["style"], text)


def _token_difference(recorded: RecordedAnswer, answer: Answer) -> Difference | None:
    then, now = recorded.token_ids or (), answer.reply.token_ids
    if recorded.ended == "halted":
        # It was stopped on the way.
        now = now[: len(then)]
    position = _first_difference(then, now)
    return None if position is None else Difference("token", position + 1, *_excerpts(recorded, answer))


def _text_difference(recorded: RecordedAnswer, answer: Answer) -> Difference | None:
    now = answer.text[: len(recorded.answer)] if recorded.ended == "halted" else answer.text
    position = _first_difference(recorded.answer, now)
    return None if position is None else Difference("character", position + 1, *_excerpts(recorded, answer))


def _first_difference(first: Sequence[Any], second: Sequence[Any]) -> int | None:
    """The first position at which two sequences differ; None if they are the same."""
    if first == second:
        return None
    pairs = zip(first, second, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _excerpts(recorded: RecordedAnswer, answer: Answer) -> tuple[str, str]:
    """How both texts go on from the word in which they begin to differ."""
    start = _first_difference(recorded.answer, answer.text) or 0
    start = max(recorded.answer.rfind(" ", 0, start) + 1, start - _EXCERPT // 2)
    then, now = (
        text if len(text) <= _EXCERPT else f"{text[: _EXCERPT - 1]}…"
        for text in (recorded.answer[start:], answer.text[start:])
    )
    return then, now
