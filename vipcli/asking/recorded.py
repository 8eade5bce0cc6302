"""Read the record of an answer: a JSON object, or a row of a batch."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vipcli.asking.interface import EndReason
from vipcli.errors import RecordError
from vipcli.files import path_exists, quote, read_failure
from vipcli.marks.kinds import BY_KIND, LIMIT
from vipcli.pictures.videos import MOST_FRAMES

_MAX_BYTES = 50_000_000
_ROW = re.compile(r"(.+):([0-9]{1,12})", re.DOTALL)
_TABLES = (".csv", ".tsv", ".parquet")

Coordinate = Annotated[float, Field(ge=-LIMIT, le=LIMIT)]
Point = tuple[Coordinate, Coordinate]
Outline = Annotated[tuple[Point, ...], Field(min_length=3)]


class _Recorded(BaseModel):
    # Later versions may add keys.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class RecordedFile(_Recorded):
    """A file, and the hash of its bytes when it was read."""

    source: str
    sha256: str


class RecordedPicture(RecordedFile):
    """A picture as the model saw it."""

    cut: dict[str, Any] | None = None
    """To what it was cut; None if it was shown whole."""


class RecordedChoice(_Recorded):
    """An answer that could be chosen."""

    text: str


class RecordedVideo(_Recorded):
    """A video, and the positions of the frames that were taken."""

    source: str
    chosen: Annotated[tuple[int, ...], Field(min_length=1, max_length=MOST_FRAMES)]


class RecordedMark(_Recorded):
    """A mark as it was drawn, in pixels."""

    kind: Annotated[str, Field(pattern=f"^(?:{'|'.join(BY_KIND)})$")]
    typed: str = ""
    color: str
    rgb: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]
    x1: Coordinate | None = None
    y1: Coordinate | None = None
    x2: Coordinate | None = None
    y2: Coordinate | None = None
    x: Coordinate | None = None
    y: Coordinate | None = None
    tip: Point | None = None
    tail: Point | None = None
    span: Coordinate | None = None
    path: Annotated[tuple[Point, ...], Field(min_length=2)] | None = None
    polygons: Annotated[tuple[Outline, ...], Field(min_length=1)] | None = None
    mask: RecordedFile | None = None
    """The mask image that its outlines were taken from."""
    images: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)


class RecordedAnswer(_Recorded):
    """What was asked, and what the answer was. Settings are looked up in the JSON itself."""

    question: str
    answer: str
    ended: EndReason = "stop"
    prompt: str
    token_ids: tuple[int, ...] | None = None
    images: Annotated[tuple[RecordedPicture, ...], Field(min_length=1)]
    video: RecordedVideo | None = None
    marks: tuple[RecordedMark, ...] = ()
    choices: tuple[RecordedChoice, ...] = ()
    fitted_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """The schema that the answer was to fit."""
    pattern: str | None = None
    """The pattern that the answer was to match."""
    zoom: str | float = "off"

    @property
    def places(self) -> tuple[int, ...]:
        """The places, from 1, of the pictures that were given; others are cuts beside them."""
        return tuple(
            place
            for place, picture in enumerate(self.images, 1)
            if self.zoom != "pair" or picture.cut is None
        )


def parse(data: object, label: str = "This") -> RecordedAnswer:
    """Check that a JSON value is the record of an answer; `label` names it in errors."""
    if not isinstance(data, Mapping):
        raise RecordError(f"{label} is not the record of an answer: it is not a JSON object.")
    if "vipcli_conversation" in data:
        raise RecordError(
            f"{label} is a saved conversation, and only the record of a single answer can be asked again."
        )
    if data.get("answer") is None and "question" in data:
        reason = f": {data['error']}" if isinstance(data.get("error"), str) else "."
        raise RecordError(f"{label} holds no answer{reason}")
    try:
        return RecordedAnswer.model_validate(data)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        found = "is missing" if fault["type"] == "missing" else "cannot be read"
        raise RecordError(f"{label} is not the record of an answer: {place!r} {found}.") from None


def look_up(data: Mapping[str, Any], path: str) -> Any:
    """The value at a path such as `sampling.seed`; KeyError if there is none."""
    value: Any = data
    for key in path.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(path)
        value = value[key]
    return value


# --------------------------------------------------------------------------- files


def read(source: str, row: int | None = None, stdin: BinaryIO | None = None) -> tuple[Any, str]:
    """The JSON value in a file or, for `-`, on standard input, and what messages call it.

    `FILE:12` is the 12th row of a file with one object on each line, unless a file has that very name.
    """
    match = _ROW.fullmatch(source)
    if row is None and match is not None and not path_exists(Path(source)):
        source, row = match[1], int(match[2])
    label = "Standard input" if source == "-" else f"The file {quote(source)}"
    if source.lower().endswith(_TABLES):
        raise RecordError(
            f"{label} is a table, which does not hold all of a record.",
            f"Rows can be asked again from JSON lines{_rows_beside(source)}.",
        )
    try:
        if source == "-":
            return _read_stream(sys.stdin.buffer if stdin is None else stdin, row, label)
        with Path(source).open("rb") as file:
            return _read_stream(file, row, label)
    except OSError as error:
        raise RecordError(read_failure(label, error)) from None


def _rows_beside(table: str) -> str:
    """Where the rows of a Parquet file are kept as JSON lines, if they are."""
    rows = Path(f"{table}.jsonl")
    return f" ({rows.name})" if path_exists(rows) else ""


def _read_stream(lines: BinaryIO, row: int | None, label: str) -> tuple[Any, str]:
    if row is not None:
        return _read_row(lines, row, label), f"Row {row} of {label[:1].lower()}{label[1:]}"
    content = lines.read(_MAX_BYTES + 1)
    if len(content) <= _MAX_BYTES and (whole := _json_or_none(content)) is not None:
        return whole, label
    first, _, rest = content.partition(b"\n")
    if rest.strip() and _json_or_none(first) is not None:
        raise RecordError(f"{label} holds more than one row.", "Say which, as {again=FILE:12}.")
    reason = "it holds no JSON" if len(content) <= _MAX_BYTES else "it is too large"
    raise RecordError(f"{label} is not the record of an answer: {reason}.")


def _read_row(lines: Iterable[bytes], row: int, label: str) -> Any:
    if row < 1:
        raise RecordError("The first row has the number 1.")
    rows = (line for line in lines if line.strip())
    found = next(islice(rows, row - 1, None), None)
    if found is None:
        raise RecordError(f"{label} has fewer than {row:,} rows.")
    value = _json_or_none(found)
    if value is None:
        raise RecordError(
            f"{label} holds no JSON in row {row:,}.", "One record alone is read without a row's number."
        )
    return value


def _json_or_none(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    # Too many nested brackets raise RecursionError.
    except (ValueError, RecursionError):
        return None
