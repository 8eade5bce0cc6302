"""A conversation in a file: readable JSON, enough to take it up again where it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from math import isnan
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vipcli import config
from vipcli.asking.interface import Answerer, EndReason
from vipcli.chat.conversation import Conversation, Exchange, Manner, Scene, manner_of
from vipcli.checkpoints.catalog import BUNDLED
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import ConversationError, ImageError, VipcliError
from vipcli.marks.kinds import BY_KIND, TypedMark, parse_mark
from vipcli.pictures.images import Picture, is_address, load_picture
from vipcli.pictures.videos import MOST_FRAMES, Video, load_video

VERSION = 1
_MOST_BYTES = 50_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What a file holds of a conversation."""

    model: str
    revision: str | None
    manner: Manner
    scene: Scene
    gone: str | None
    """Why what was looked at last is not there, if it is not."""
    exchanges: tuple[Exchange, ...]
    forgotten: int
    notes: tuple[str, ...]
    """What is no longer as it was."""


def text(chat: Conversation) -> str:
    """The conversation as a file's content."""
    told = _Conversation(
        vipcli_conversation=VERSION,
        model=_model(chat.checkpoint),
        revision=chat.checkpoint.revision,
        manner=asdict(chat.manner),
        scene=_scene_of(chat.scene),
        forgotten=chat.forgotten,
        exchanges=[_exchange_of(one) for one in chat.exchanges],
    )
    return told.model_dump_json(indent=1) + "\n"


def read(path: Path, *, max_pixels: int) -> Kept:
    """What a file holds, its pictures loaded."""
    shown = repr(str(path))
    try:
        if path.exists() and not path.is_file():
            raise ConversationError(f"{shown} is no file.")
        if path.stat().st_size > _MOST_BYTES:
            raise ConversationError(f"{shown} is too large to be a conversation.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConversationError(f"{shown} cannot be read: {getattr(error, 'strerror', error)}.") from None
    try:
        told = _Conversation.model_validate_json(content)
        pictures = _Pictures(max_pixels)
        try:
            scene, gone = pictures.scene(told.scene), None
        except ImageError as error:
            scene, gone = Scene(()), str(error)
        return Kept(
            model=told.model,
            revision=told.revision,
            manner=_manner(told.manner),
            scene=scene,
            gone=gone,
            exchanges=tuple(_exchange(one, pictures) for one in told.exchanges),
            forgotten=min(told.forgotten, len(told.exchanges)),
            notes=tuple(pictures.notes),
        )
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its first letter"
        raise ConversationError(f"{shown} holds no conversation: it went wrong at {place}.") from None
    except ValueError as error:
        raise ConversationError(f"{shown} holds no conversation: {error}.") from None


def take_up(kept: Kept, answerer: Answerer, checkpoint: Checkpoint) -> Conversation:
    """A chat that goes on from there, with the same model or another."""
    chat = Conversation(answerer, checkpoint, kept.scene, kept.manner)
    same = (kept.model, kept.revision) == (_model(checkpoint), checkpoint.revision)
    # To another model, the tokens of an answer mean something else; its text does not.
    chat.exchanges = [one if same else replace(one, token_ids=None) for one in kept.exchanges]
    chat.forgotten = kept.forgotten
    return chat


def _model(checkpoint: Checkpoint) -> str:
    """The checkpoint's name, so that it is found from any folder."""
    local = checkpoint.folder is not None and checkpoint.revision is None and checkpoint.name != BUNDLED
    return _absolute(checkpoint.name) if local else checkpoint.name


# --------------------------------------------------------------------------- what the file looks like


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Picture(_Part):
    source: str
    sha256: str


class _Video(_Part):
    source: str
    frames: int = Field(ge=1, le=MOST_FRAMES)


class _Mark(_Part):
    kind: str
    text: str


class _Scene(_Part):
    pictures: list[_Picture] = []
    video: _Video | None = None
    marks: list[_Mark] = []


class _Exchange(_Part):
    typed: str
    question: str
    answer: str
    ended: EndReason
    probability: float | None
    phrases: list[str]
    scene: _Scene
    manner: dict[str, Any]
    seconds: dict[str, float]
    token_ids: list[int] | None


class _Conversation(_Part):
    vipcli_conversation: int = Field(ge=VERSION, le=VERSION)
    model: str
    revision: str | None
    manner: dict[str, Any]
    scene: _Scene
    forgotten: int = Field(ge=0)
    exchanges: list[_Exchange]


# --------------------------------------------------------------------------- writing


def _exchange_of(one: Exchange) -> _Exchange:
    return _Exchange(
        typed=one.typed,
        question=one.question,
        answer=one.answer,
        ended=one.ended,
        probability=None if one.probability is None or isnan(one.probability) else one.probability,
        phrases=list(one.phrases),
        scene=_scene_of(one.scene),
        manner=asdict(one.manner),
        seconds={step: round(taken, 4) for step, taken in one.seconds.items()},
        token_ids=None if one.token_ids is None else list(one.token_ids),
    )


def _scene_of(scene: Scene) -> _Scene:
    marks = [_Mark(kind=one.kind, text=_found_anywhere(one)) for one in scene.typed]
    if scene.video is not None:
        video = _Video(source=_absolute(scene.video.source), frames=len(scene.video.chosen))
        return _Scene(video=video, marks=marks)
    pictures = [_Picture(source=_absolute(one.name), sha256=one.sha256) for one in scene.pictures]
    return _Scene(pictures=pictures, marks=marks)


def _absolute(source: str) -> str:
    """The source, so that it is found from any folder."""
    found = source if is_address(source) else str(Path(source).absolute())
    # A name that is no text has no place in JSON; it will not be found again, and that is told then.
    return found.encode(errors="backslashreplace").decode()


def _found_anywhere(one: TypedMark) -> str:
    return one.text if one.file is None else one.text.replace(one.file, _absolute(one.file), 1)


# --------------------------------------------------------------------------- reading


class _Pictures:
    """Loads each picture once, and notes what is not as it was."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._loaded: dict[str, Picture] = {}
        self._videos: dict[tuple[str, int], tuple[Video, tuple[Picture, ...]]] = {}
        self.notes: dict[str, None] = {}

    def scene(self, told: _Scene) -> Scene:
        if unknown := {one.kind for one in told.marks} - set(BY_KIND):
            raise ValueError(f"there is no kind of mark called {min(unknown)!r}")
        typed = tuple(parse_mark(one.kind, one.text) for one in told.marks)
        if told.video is not None:
            video, frames = self._video(told.video)
            return Scene(frames, typed, video)
        if not told.pictures:
            raise ValueError("there is no picture in it")
        return Scene(tuple(self._picture(one) for one in told.pictures), typed)

    def past_scene(self, told: _Scene) -> Scene:
        """What was looked at; nothing if that is gone, for what was said is worth keeping all the same."""
        try:
            return self.scene(told)
        except VipcliError as error:
            self.notes[str(error)] = None
            return Scene(())

    def _picture(self, told: _Picture) -> Picture:
        if told.source == "-":
            raise ValueError("standard input is no picture of a conversation")
        if told.source not in self._loaded:
            self._loaded[told.source] = load_picture(told.source, max_pixels=self._max_pixels)
        found = self._loaded[told.source]
        if found.sha256 != told.sha256:
            self.notes[f"{told.source!r} is no longer the picture that was talked about."] = None
        return found

    def _video(self, told: _Video) -> tuple[Video, tuple[Picture, ...]]:
        key = told.source, told.frames
        if key not in self._videos:
            self._videos[key] = load_video(*key, max_pixels=self._max_pixels)
        return self._videos[key]


def _exchange(told: _Exchange, pictures: _Pictures) -> Exchange:
    return Exchange(
        typed=told.typed,
        question=told.question,
        answer=told.answer,
        token_ids=None if told.token_ids is None else tuple(told.token_ids),
        ended=told.ended,
        probability=told.probability,
        scene=pictures.past_scene(told.scene),
        manner=_manner(told.manner),
        phrases=tuple(told.phrases),
        seconds=told.seconds,
    )


def _manner(told: dict[str, Any]) -> Manner:
    """The settings, each read as if it had been typed."""
    read = {"jitter": config.read_seed, **{name: one.read for name, one in config.SETTINGS.items()}}
    if unknown := set(told) - {entry.name for entry in fields(Manner)}:
        raise ValueError(f"{min(unknown)!r} is no setting of it")
    return manner_of(
        {
            name: None if value is None else config.checked(read[name], str(value), name)
            for name, value in told.items()
        }
    )
