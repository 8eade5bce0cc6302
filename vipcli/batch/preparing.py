"""Prepare an item without a model: read and mark its pictures, build its prompt, and compute its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vipcli.asking import pipeline
from vipcli.asking.interface import BY_SUM, GREEDY, Grammar, Request, Sampling, Scoring, Setup
from vipcli.asking.load_marked import load
from vipcli.asking.values import DEFAULT_DRAWING, Drawing, MarkedInput, Question
from vipcli.batch import marked_pictures
from vipcli.batch.items import Item
from vipcli.checkpoints.catalog import ONEVISION
from vipcli.checkpoints.lookup import Checkpoint, fingerprint
from vipcli.errors import Message, OutputError, Spelling, VipcliError, as_argument, first_line
from vipcli.geometry import FitChoice, ZoomChoice
from vipcli.marks.drawing import trace
from vipcli.marks.kinds import TypedMark
from vipcli.marks.regions import Region, mark_for
from vipcli.pictures.fitting import model_view
from vipcli.pictures.images import DEFAULT_MAX_PIXELS, Pixels, hash_of, load_mask
from vipcli.pictures.videos import DEFAULT_FRAMES, is_video

_BATCHES_PER_WINDOW = 2
"""Few, because no row of a window can be written until all its batches have been answered."""


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """Everything that rows depend on besides their items, and how much work is done at a time."""

    checkpoint: Checkpoint
    setup: Setup = field(default_factory=Setup)
    drawing: Drawing = DEFAULT_DRAWING
    drawn_as: str | None = None
    """The kind of mark that regions are drawn as; None for the kind of each region."""
    prompt: str = "auto"
    system: str | None = None
    fit: FitChoice = "auto"
    zoom: ZoomChoice = "off"
    sampling: Sampling = GREEDY
    scoring: Scoring = BY_SUM
    choices: tuple[str, ...] = ()
    """The answers to choose from, for items without choices of their own."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    frames: int = DEFAULT_FRAMES
    batch_size: int = 8
    """How many questions the model answers at a time."""
    readers: int = 2
    """How many threads prepare items."""
    save_marked: Path | None = None
    """The folder for the marked pictures."""
    spelling: Spelling = as_argument
    """How rows name settings in errors and notes."""
    grammar: Grammar | None = None
    """What each answer must look like."""
    guide: float | None = None
    """How much answers are guided by contrast."""

    @property
    def window_size(self) -> int:
        """How many questions are sorted into batches at a time."""
        return self.batch_size * (_BATCHES_PER_WINDOW if self.batch_size > 1 else 1)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedItem:
    """An item ready for the model, or the reason why it is not."""

    item: Item
    identity: str
    question: Question | None = None
    """Without pixels, because the request has them in the model's input size."""
    request: Request | None = None
    fault: Message | None = None
    done: bool = False
    """Whether an earlier run has written its row."""
    offset: int = -1
    """Where that row begins in the file, once it is assigned to this item."""


class RowLookup(Protocol):
    """Existing rows, by the identity and the id of their items."""

    def __contains__(self, row: tuple[str, str], /) -> bool: ...


class ItemPreparer:
    """Prepares items; usable from several threads."""

    def __init__(self, config: BatchConfig) -> None:
        self._config = config
        self._model = fingerprint(config.checkpoint)

    def prepare(self, item: Item, earlier: RowLookup | None = None) -> PreparedItem:
        """Read and mark the pictures of an item and build its prompt, unless it has an earlier row."""
        identity = ""
        if earlier is not None or item.fault is not None:
            # The bytes of a picture are enough for the identity, and much cheaper than its pixels.
            identity = self._identity(item, [_hash(name) for name in item.images])
            if earlier is not None and (identity, item.id) in earlier and self._is_saved(item):
                return PreparedItem(item, identity, done=True)
        if item.fault is not None:
            return PreparedItem(item, identity, fault=item.fault)
        try:
            marked = self._load_marked(item)
            # All frames of a video have the hash of its file, so one of them is enough.
            shown = marked.pictures[: len(item.images)]
            identity = self._identity(item, [entry.picture.sha256 for entry in shown])
            question = self._build_question(item, marked)
            if self._config.save_marked is not None:
                marked_pictures.save(self._config.save_marked, item, question.marked)
            if earlier is not None and (identity, item.id) in earlier:
                return PreparedItem(item, identity, done=True)
            request = self._shrink(self._build_request(question))
            return PreparedItem(item, identity, _without_pixels(question), request)
        except OutputError:
            # If the pictures of one item cannot be saved, neither can those of the next.
            raise
        except VipcliError as error:
            fault = error.message
        # A long batch must not end because of one unforeseen picture.
        except Exception as error:
            fault = Message(f"The item could not be prepared ({type(error).__name__}: {first_line(error)}).")
        identity = identity or self._identity(item, [_hash(name) for name in item.images])
        return PreparedItem(item, identity, fault=fault)

    def _identity(self, item: Item, hashes: Sequence[str | None]) -> str:
        """A digest of everything that determines a row: pictures, marks, question, model and settings.

        A change to the keys or values here makes every batch start over when it is resumed.
        """
        config, is_random = self._config, self._config.sampling.temperature > 0
        content = {
            "images": hashes,
            # A picture that cannot be read is identified by its name.
            "names": [name for name, digest in zip(item.images, hashes, strict=True) if digest is None],
            "regions": [_describe_region(region) for region in item.regions],
            "marks": [_describe_mark(mark) for mark in item.marks],
            "question": item.question,
            "fault": None if item.fault is None else item.fault.fact,
            "model": self._model,
            "setup": [config.setup.dtype, config.setup.quantize, config.setup.quantize_all],
            "drawing": [*asdict(config.drawing).values(), config.drawn_as],
            "prompt": [config.prompt, config.system, config.checkpoint.fit(config.fit)],
            **({} if config.grammar is None else {"grammar": asdict(config.grammar)}),
            **({"guide": config.guide} if config.guide else {}),
            **({} if config.zoom == "off" else {"zoom": config.zoom}),
            "frames": config.frames if any(is_video(name) for name in item.images) else None,
            # The seed has no effect on greedy decoding.
            "sampling": asdict(replace(config.sampling, seed=config.sampling.seed if is_random else 0)),
            **self._scoring_identity(item),
        }
        encoded = json.dumps(content, sort_keys=True).encode()
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()

    def _scoring_identity(self, item: Item) -> dict[str, Any]:
        """What a row depends on where answers are chosen or scored."""
        choices, scoring = self._choices(item), self._config.scoring
        identity: dict[str, Any] = {"choices": [*choices, scoring.score]} if choices else {}
        if scoring.top_logprobs is not None:
            identity["logprobs"] = scoring.top_logprobs
        return identity

    def _choices(self, item: Item) -> tuple[str, ...]:
        return item.choices or self._config.choices

    def _build_request(self, question: Question) -> Request:
        return pipeline.build_request(question, self._config.sampling, self._config.scoring)

    def _load_marked(self, item: Item) -> MarkedInput:
        config = self._config
        frames = config.frames if any(is_video(name) for name in item.images) else None
        pictures, video = load(item.images, frames=frames, max_pixels=config.max_pixels)
        if video is not None:
            return pipeline.mark(pictures, item.marks, config.drawing, video=video)
        size = pictures[0].width, pictures[0].height
        region_marks = [
            mark_for(region, config.drawn_as, trace=lambda file: trace(load_mask(file, *size)))
            for region in item.regions
        ]
        return pipeline.mark(pictures, [*region_marks, *item.marks], config.drawing)

    def _build_question(self, item: Item, marked: MarkedInput) -> Question:
        config = self._config
        return pipeline.prepare(
            marked,
            item.question,
            config.checkpoint,
            prompt=config.prompt,
            system=config.system,
            fit=config.fit,
            grammar=config.grammar,
            guide=config.guide,
            choices=self._choices(item),
            zoom=config.zoom,
        )

    def _is_saved(self, item: Item) -> bool:
        """Whether an item's marked pictures exist, if they are to be saved."""
        folder = self._config.save_marked
        if folder is None or any(is_video(name) for name in item.images):
            return True
        count = len(item.images)
        # How many pictures have a cut beside them is not known yet.
        counts = range(count, 2 * count + 1) if self._config.zoom == "pair" else (count,)
        return any(
            all(path.exists() for path in marked_pictures.paths(folder, item, saved)) for saved in counts
        )

    def _shrink(self, request: Request) -> Request:
        """Shrink the pictures to the model's input size, where that does not change the answer."""
        checkpoint, fit = self._config.checkpoint, request.fit
        # OneVision cuts tiles from the full-size picture, and a crop is cut after the picture is resized.
        if checkpoint.family is ONEVISION or fit == "crop":
            return request
        size, padding = checkpoint.input_size, checkpoint.padding

        def shrunk(pictures: Sequence[Pixels]) -> tuple[Pixels, ...]:
            return tuple(model_view(picture, fit, size, padding) for picture in pictures)

        guide = request.guide
        if guide is not None and request.images:
            guide = replace(guide, pictures=shrunk(guide.pictures))
        return replace(request, images=shrunk(request.images), guide=guide)


def _without_pixels(question: Question) -> Question:
    """The question with blank pictures of the same sizes, because many items wait in memory at once."""
    return replace(
        question,
        marked=replace(
            question.marked,
            pictures=tuple(
                replace(
                    entry,
                    picture=replace(entry.picture, pixels=_blank(entry.picture.pixels)),
                    pixels=_blank(entry.pixels),
                )
                for entry in question.marked.pictures
            ),
        ),
    )


def _blank(pixels: Pixels) -> Pixels:
    return np.broadcast_to(np.uint8(0), pixels.shape)


def _hash(name: str) -> str | None:
    """The hash of a picture's file; None if it cannot be read."""
    try:
        return hash_of(name)
    except VipcliError:
        return None


def _describe_region(region: Region) -> list[Any]:
    file = None if region.file is None else _hash(region.file)
    return [region.kind, region.points, region.polygons, file]


def _describe_mark(mark: TypedMark) -> list[Any]:
    file = None if mark.file is None else _hash(mark.file)
    color = None if mark.color is None else mark.color.hex
    coordinates = [[length.value, length.percent] for length in mark.coordinates]
    return [mark.kind, coordinates, mark.polygons, file, color, mark.picture]
