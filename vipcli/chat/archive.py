"""Conversations as JSON files, complete enough to be resumed.

The keys `manner`, `scene`, `exchanges` and `forgotten` are part of the file format; in the code, they are
`settings`, `subject`, `turns` and `dropped`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from math import isnan
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vipcli import config
from vipcli.asking.interface import Answerer, EndReason
from vipcli.chat.conversation import ChatSettings, ChatTurn, Conversation, Subject
from vipcli.checkpoints.catalog import BUNDLED
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import ConversationError, ImageError, VipcliError
from vipcli.marks.kinds import BY_KIND, TypedMark, parse_mark
from vipcli.pictures.images import Picture, is_address, load_picture
from vipcli.pictures.videos import MOST_FRAMES, Video, load_video

VERSION = 1
_MAX_BYTES = 50_000_000
_LATER_SETTINGS = ("guide", "zoom")


@dataclass(frozen=True, slots=True, eq=False)
class SavedConversation:
    """A conversation read from a file."""

    model: str
    revision: str | None
    settings: ChatSettings
    subject: Subject
    missing: str | None
    """Why the pictures cannot be loaded; None if they were."""
    turns: tuple[ChatTurn, ...]
    dropped: int
    notes: tuple[str, ...]
    """What has changed since the conversation was saved."""


def to_json(chat: Conversation) -> str:
    """Convert a conversation to the content of a file."""
    data = _ConversationData(
        vipcli_conversation=VERSION,
        model=_model_name(chat.checkpoint),
        revision=chat.checkpoint.revision,
        manner=_describe_settings(chat.settings),
        scene=_subject_data(chat.subject),
        forgotten=chat.dropped,
        exchanges=[_turn_data(turn) for turn in chat.turns],
    )
    return data.model_dump_json(indent=1) + "\n"


def read(path: Path, *, max_pixels: int) -> SavedConversation:
    """Read a conversation from a file, and load its pictures."""
    label = repr(str(path))
    content = _read_bytes(path, label)
    try:
        return _restore(_ConversationData.model_validate_json(content), max_pixels)
    except ValidationError as error:
        location = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its start"
        raise ConversationError(f"{label} is not a saved conversation: invalid at {location}.") from None
    except ValueError as error:
        raise ConversationError(f"{label} is not a saved conversation: {error}.") from None


def _read_bytes(path: Path, label: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ConversationError(f"{label} is not a file.")
        if path.stat().st_size > _MAX_BYTES:
            raise ConversationError(f"{label} is too large to be a saved conversation.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConversationError(f"{label} cannot be read: {getattr(error, 'strerror', error)}.") from None


def _restore(data: _ConversationData, max_pixels: int) -> SavedConversation:
    loader = _SubjectLoader(max_pixels)
    try:
        subject, missing = loader.load(data.scene), None
    except ImageError as error:
        subject, missing = Subject(()), str(error)
    return SavedConversation(
        model=data.model,
        revision=data.revision,
        settings=_parse_settings(data.manner),
        subject=subject,
        missing=missing,
        turns=tuple(_restore_turn(turn, loader) for turn in data.exchanges),
        dropped=min(data.forgotten, len(data.exchanges)),
        notes=tuple(loader.notes),
    )


def resume(saved: SavedConversation, answerer: Answerer, checkpoint: Checkpoint) -> Conversation:
    """Continue a saved conversation, with the same model or another."""
    chat = Conversation(answerer, checkpoint, saved.subject, saved.settings)
    same_model = (saved.model, saved.revision) == (_model_name(checkpoint), checkpoint.revision)
    # Token ids have no meaning for another model, which reads the text of the answers instead.
    chat.turns = [turn if same_model else replace(turn, token_ids=None) for turn in saved.turns]
    chat.dropped = saved.dropped
    return chat


def _model_name(checkpoint: Checkpoint) -> str:
    """The checkpoint's name; a local folder as an absolute path, so that it is found from any folder."""
    is_local = checkpoint.folder is not None and checkpoint.revision is None and checkpoint.name != BUNDLED
    return _absolute(checkpoint.name) if is_local else checkpoint.name


# --------------------------------------------------------------------------- the file format


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _PictureData(_Data):
    source: str
    sha256: str


class _VideoData(_Data):
    source: str
    frames: int = Field(ge=1, le=MOST_FRAMES)


class _MarkData(_Data):
    kind: str
    text: str


class _SubjectData(_Data):
    pictures: list[_PictureData] = []
    video: _VideoData | None = None
    marks: list[_MarkData] = []


class _TurnData(_Data):
    typed: str
    question: str
    answer: str
    ended: EndReason
    probability: float | None
    phrases: list[str]
    scene: _SubjectData
    manner: dict[str, Any]
    seconds: dict[str, float]
    token_ids: list[int] | None


class _ConversationData(_Data):
    vipcli_conversation: int = Field(ge=VERSION, le=VERSION)
    model: str
    revision: str | None
    manner: dict[str, Any]
    scene: _SubjectData
    forgotten: int = Field(ge=0)
    exchanges: list[_TurnData]


# --------------------------------------------------------------------------- writing


def _turn_data(turn: ChatTurn) -> _TurnData:
    no_probability = turn.probability is None or isnan(turn.probability)
    return _TurnData(
        typed=turn.typed,
        question=turn.question,
        answer=turn.answer,
        ended=turn.ended,
        probability=None if no_probability else turn.probability,
        phrases=list(turn.phrases),
        scene=_subject_data(turn.subject),
        manner=_describe_settings(turn.settings),
        seconds={step: round(seconds, 4) for step, seconds in turn.seconds.items()},
        token_ids=None if turn.token_ids is None else list(turn.token_ids),
    )


def _subject_data(subject: Subject) -> _SubjectData:
    marks = [_MarkData(kind=mark.kind, text=_absolute_mark(mark)) for mark in subject.typed]
    if subject.video is not None:
        video = _VideoData(source=_absolute(subject.video.source), frames=len(subject.video.chosen))
        return _SubjectData(video=video, marks=marks)
    pictures = [
        _PictureData(source=_absolute(picture.name), sha256=picture.sha256) for picture in subject.pictures
    ]
    return _SubjectData(pictures=pictures, marks=marks)


def _absolute(source: str) -> str:
    """The source as an absolute path or a URL, so that it is found from any folder."""
    absolute = source if is_address(source) else str(Path(source).absolute())
    # JSON cannot contain a file name that is not valid text. It is escaped, and resuming then reports that
    # the file is missing.
    return absolute.encode(errors="backslashreplace").decode()


def _absolute_mark(mark: TypedMark) -> str:
    """The text of the mark, with an absolute path in place of its file."""
    return mark.text if mark.file is None else mark.text.replace(mark.file, _absolute(mark.file), 1)


# --------------------------------------------------------------------------- reading


class _SubjectLoader:
    """Loads each picture once, and notes those that have changed."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._pictures: dict[str, Picture] = {}
        self._videos: dict[tuple[str, int], tuple[Video, tuple[Picture, ...]]] = {}
        self.notes: dict[str, None] = {}

    def load(self, data: _SubjectData) -> Subject:
        if unknown := {mark.kind for mark in data.marks} - set(BY_KIND):
            raise ValueError(f"there is no kind of mark called {min(unknown)!r}")
        typed = tuple(parse_mark(mark.kind, mark.text) for mark in data.marks)
        if data.video is not None:
            video, frames = self._load_video(data.video)
            return Subject(frames, typed, video)
        if not data.pictures:
            raise ValueError("it names no picture")
        return Subject(tuple(self._load_picture(picture) for picture in data.pictures), typed)

    def load_past(self, data: _SubjectData) -> Subject:
        """Load what an earlier turn was about; without its pictures, the turn is still worth keeping."""
        try:
            return self.load(data)
        except VipcliError as error:
            self.notes[str(error)] = None
            return Subject(())

    def _load_picture(self, data: _PictureData) -> Picture:
        if data.source == "-":
            raise ValueError("a picture from standard input cannot be loaded again")
        if data.source not in self._pictures:
            self._pictures[data.source] = load_picture(data.source, max_pixels=self._max_pixels)
        picture = self._pictures[data.source]
        if picture.sha256 != data.sha256:
            self.notes[f"{data.source!r} has changed since the conversation."] = None
        return picture

    def _load_video(self, data: _VideoData) -> tuple[Video, tuple[Picture, ...]]:
        key = data.source, data.frames
        if key not in self._videos:
            self._videos[key] = load_video(*key, max_pixels=self._max_pixels)
        return self._videos[key]


def _restore_turn(data: _TurnData, loader: _SubjectLoader) -> ChatTurn:
    return ChatTurn(
        typed=data.typed,
        question=data.question,
        answer=data.answer,
        token_ids=None if data.token_ids is None else tuple(data.token_ids),
        ended=data.ended,
        probability=data.probability,
        subject=loader.load_past(data.scene),
        settings=_parse_settings(data.manner),
        phrases=tuple(data.phrases),
        seconds=data.seconds,
    )


def _describe_settings(settings: ChatSettings) -> dict[str, Any]:
    """The settings; those that came after the first version of the format only if they are used.

    Earlier versions read a conversation unless it uses what they do not know.
    """
    default = ChatSettings()
    return {
        name: value
        for name, value in asdict(settings).items()
        if name not in _LATER_SETTINGS or value != getattr(default, name)
    }


def _parse_settings(values: dict[str, Any]) -> ChatSettings:
    """Parse each setting as if it had been typed."""
    parsers = {"jitter": config.parse_seed, **{name: entry.parse for name, entry in config.SETTINGS.items()}}
    if unknown := set(values) - {entry.name for entry in fields(ChatSettings)}:
        raise ValueError(f"{min(unknown)!r} is not a setting of conversations")
    return ChatSettings.from_values(
        {
            name: None if value is None else config.parse_value(parsers[name], str(value), name)
            for name, value in values.items()
        }
    )
