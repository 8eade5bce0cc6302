"""One item as far as it comes without a model: read, marked, asked, and known by what it comes from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vipcli.asking import pipeline
from vipcli.asking.interface import GREEDY, Request, Sampling, Setup
from vipcli.asking.load_marked import load
from vipcli.asking.values import TRAINED, Drawing, Marked, Question
from vipcli.batch.items import Item
from vipcli.checkpoints.catalog import ONEVISION
from vipcli.checkpoints.lookup import Checkpoint, fingerprint
from vipcli.errors import OutputError, VipcliError, first_line
from vipcli.geometry import Fit
from vipcli.marks.drawing import trace
from vipcli.marks.kinds import TypedMark
from vipcli.marks.regions import Region, typed
from vipcli.pictures.fitting import model_view
from vipcli.pictures.images import DEFAULT_MAX_PIXELS, hash_of, load_mask, save_picture
from vipcli.pictures.videos import DEFAULT_FRAMES, is_video

_BATCHES_A_WINDOW = 2
"""Rows come in order, so the batches of one window must all be done before its rows can be written."""
_LONGEST_NAME = 200
"""Bytes of a name, of which file systems take 255."""


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """All that rows depend on beside their items, and how many are answered side by side."""

    checkpoint: Checkpoint
    setup: Setup = field(default_factory=Setup)
    drawing: Drawing = TRAINED
    drawn_as: str | None = None
    """The kind of mark that regions become; None for each its own."""
    prompt: str = "auto"
    system: str | None = None
    fit: Fit = "pad"
    sampling: Sampling = GREEDY
    max_pixels: int = DEFAULT_MAX_PIXELS
    frames: int = DEFAULT_FRAMES
    batch_size: int = 8
    readers: int = 2
    save_marked: Path | None = None

    @property
    def window(self) -> int:
        """How many questions are sorted into batches at a time."""
        return self.batch_size * (_BATCHES_A_WINDOW if self.batch_size > 1 else 1)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedItem:
    """An item as far as it comes without a model."""

    item: Item
    identity: str
    question: Question | None = None
    """Without the pixels, of which the request has as many as the model takes."""
    request: Request | None = None
    fault: str | None = None
    done: bool = False
    """Whether an earlier run has its row."""
    place: int = -1
    """Where that row is, once it is known to be this item's."""


class RowLookup(Protocol):
    """Rows that are there, by the identity and the id of their items."""

    def __contains__(self, row: tuple[str, str], /) -> bool: ...


class ItemPreparer:
    """Reads, marks and prepares items, in any thread."""

    def __init__(self, plan: BatchConfig) -> None:
        self._plan = plan
        self._model = fingerprint(plan.checkpoint)

    def prepare(self, item: Item, done: RowLookup | None = None) -> PreparedItem:
        """The item with its marked pictures and its prompt, or why there is none."""
        identity = ""
        if done is not None or item.fault is not None:
            identity = self._identity(item, [_hash(name) for name in item.images])
            if done is not None and (identity, item.id) in done and self._has_pictures(item):
                return PreparedItem(item, identity, done=True)
        if item.fault is not None:
            return PreparedItem(item, identity, fault=item.fault)
        try:
            marked = self._marked(item)
            # Of a video, every frame tells the same.
            shown = marked.shown[: len(item.images)]
            identity = self._identity(item, [one.picture.sha256 for one in shown])
            question = self._question(item, marked)
            self._save(item, marked)
            if done is not None and (identity, item.id) in done:
                return PreparedItem(item, identity, done=True)
            request = self._shrunk(pipeline.request_of(question, self._plan.sampling))
            return PreparedItem(item, identity, _without_pixels(question), request)
        except OutputError:
            # What cannot be written for one cannot be written for the next.
            raise
        except VipcliError as error:
            fault = str(error)
        # A night's work must not end over a picture that nobody thought of.
        except Exception as error:
            fault = f"It could not be prepared ({type(error).__name__}: {first_line(error)})."
        identity = identity or self._identity(item, [_hash(name) for name in item.images])
        return PreparedItem(item, identity, fault=fault)

    def _identity(self, item: Item, hashes: Sequence[str | None]) -> str:
        """What a row comes from: the bytes of its pictures, marks and question, model and settings."""
        plan, chance = self._plan, self._plan.sampling.temperature > 0
        told = {
            "images": hashes,
            # Where there is no picture, its name is all that there is.
            "names": [name for name, found in zip(item.images, hashes, strict=True) if found is None],
            "regions": [_region(region) for region in item.regions],
            "marks": [_typed(one) for one in item.marks],
            "question": item.question,
            "fault": item.fault,
            "model": self._model,
            "setup": [plan.setup.dtype, plan.setup.quantize, plan.setup.quantize_all],
            "drawing": [*asdict(plan.drawing).values(), plan.drawn_as],
            "prompt": [plan.prompt, plan.system, plan.fit],
            "frames": plan.frames if any(is_video(name) for name in item.images) else None,
            # Where the likeliest is taken, no seed plays a part.
            "sampling": asdict(replace(plan.sampling, seed=plan.sampling.seed if chance else 0)),
        }
        written = json.dumps(told, sort_keys=True).encode()
        return hashlib.blake2b(written, digest_size=16).hexdigest()

    def _question(self, item: Item, marked: Marked) -> Question:
        plan = self._plan
        return pipeline.prepare(
            marked,
            item.question,
            plan.checkpoint,
            prompt=plan.prompt,
            system=plan.system,
            fit=plan.fit,
        )

    def _marked(self, item: Item) -> Marked:
        plan = self._plan
        frames = plan.frames if any(is_video(name) for name in item.images) else None
        pictures, video = load(item.images, frames=frames, max_pixels=plan.max_pixels)
        if video is not None:
            return pipeline.mark(pictures, item.marks, plan.drawing, video=video)
        size = pictures[0].width, pictures[0].height
        regions = [
            typed(region, plan.drawn_as, trace=lambda file: trace(load_mask(file, *size)))
            for region in item.regions
        ]
        return pipeline.mark(pictures, [*regions, *item.marks], plan.drawing)

    def _targets(self, item: Item, count: int) -> list[Path]:
        """Where the marked pictures of an item are kept: under its name, of several with their numbers."""
        assert self._plan.save_marked is not None
        stem = _stem(item)
        names = [stem] if count == 1 else [f"{stem}-{number}" for number in range(1, count + 1)]
        return [self._plan.save_marked / f"{name}.png" for name in names]

    def _has_pictures(self, item: Item) -> bool:
        """Whether an item's marked pictures are there, if they are wanted."""
        if self._plan.save_marked is None or any(is_video(name) for name in item.images):
            return True
        return all(target.exists() for target in self._targets(item, len(item.images)))

    def _save(self, item: Item, marked: Marked) -> None:
        if self._plan.save_marked is None:
            return
        for one, target in zip(marked.shown, self._targets(item, len(marked.shown)), strict=True):
            if any(target.parent.resolve() == Path(name).parent.resolve() for name in item.images):
                # There, they would be taken for pictures to ask about the next time.
                raise OutputError(f"The folder {str(target.parent)!r} holds the pictures. Name another one.")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"The folder {str(target.parent)!r} cannot be made: {error.strerror}."
                ) from error
            save_picture(one.pixels, target, sources=item.images)

    def _shrunk(self, request: Request) -> Request:
        """The request with its pictures as small as the model takes them, where that changes nothing."""
        checkpoint, fit = self._plan.checkpoint, request.fit
        # Tiles are cut from a picture as it is, and a crop is cut after it was resized.
        if checkpoint.family is ONEVISION or fit == "crop":
            return request
        size, padding = checkpoint.input_size, checkpoint.padding
        return replace(
            request, images=tuple(model_view(image, fit, size, padding) for image in request.images)
        )


def _without_pixels(question: Question) -> Question:
    """The question with pictures of their sizes that take no memory, for many are held ready."""
    return replace(
        question,
        marked=replace(
            question.marked,
            shown=tuple(
                replace(one, picture=replace(one.picture, pixels=blank), pixels=blank)
                for one in question.marked.shown
                for blank in [np.broadcast_to(np.uint8(0), one.picture.pixels.shape)]
            ),
        ),
    )


def _hash(name: str) -> str | None:
    """What a picture's bytes come to; None where there are none to be had."""
    try:
        return hash_of(name)
    except VipcliError:
        return None


def _region(region: Region) -> list[Any]:
    file = None if region.file is None else _hash(region.file)
    return [region.kind, region.points, region.polygons, file]


def _typed(mark: TypedMark) -> list[Any]:
    file = None if mark.file is None else _hash(mark.file)
    color = None if mark.color is None else mark.color.hex
    place = [[length.value, length.percent] for length in mark.coordinates]
    return [mark.kind, place, mark.polygons, file, color, mark.picture]


def _stem(item: Item) -> str:
    """A name below a folder: the item's own, its folders kept, and nothing that would lead elsewhere."""
    plain = re.sub(r"[\x00-\x1f\x7f\\:*?\"<>|\ud800-\udfff]", "_", item.id.replace("://", "/"))
    parts = [part for part in plain.split("/") if part not in ("", "..", ".")]
    short = [part if len(part.encode()) <= _LONGEST_NAME else _shortened(part) for part in parts]
    return "/".join(short) or "item"


def _shortened(name: str) -> str:
    return f"{name[:40]}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
