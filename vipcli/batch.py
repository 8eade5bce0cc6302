"""Many items, one model: pictures are read and marked ahead of it, and answered side by side.

Nothing here knows of files of rows or of terminals: items go in, rows come out in their order.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vipcli import asking
from vipcli.answers import GREEDY, Reply, Request, Sampling, Setup, Several
from vipcli.asking import TRAINED, Answer, Drawing, Marked, Question
from vipcli.checkpoints import Checkpoint, fingerprint
from vipcli.drawing import trace
from vipcli.errors import ModelError, OutOfMemoryError, OutputError, UsageError, VipcliError, first_line
from vipcli.fitting import Fit, model_view
from vipcli.images import DEFAULT_MAX_PIXELS, hash_of, load_mask, load_picture, save_picture
from vipcli.items import Item
from vipcli.marks import TypedMark
from vipcli.models import ONEVISION
from vipcli.regions import Region, typed
from vipcli.rows import IDENTITY, Row
from vipcli.videos import DEFAULT_FRAMES, is_video, load_video

WINDOWS_AHEAD = 2
"""So many windows of pictures are held ready for the model, and no more: that bounds the memory."""
BATCHES_A_WINDOW = 2
"""Rows come in order, so the batches of one window must all be done before its rows can be written."""
_GROW_AFTER = 16
"""So many batches must go well before a batch that was once too large is tried again."""
_MOST = 1024
"""So many items are handed on together at most, where few or none of them are for the model."""
_HOPELESS = 8
"""When the model itself fails so often in a row, it will not do better with the next picture."""


@dataclass(frozen=True, slots=True)
class Plan:
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
    together: int = 8
    readers: int = 2
    save_marked: Path | None = None

    @property
    def window(self) -> int:
        """How many questions are sorted into batches at a time."""
        return self.together * (BATCHES_A_WINDOW if self.together > 1 else 1)


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
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


class Reader:
    """Reads, marks and prepares items, in any thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._model = fingerprint(plan.checkpoint)

    def ready(self, item: Item, done: Done | None = None) -> Ready:
        """The item with its marked pictures and its prompt, or why there is none."""
        identity = ""
        if done or item.fault is not None:
            identity = self._identity(item, [_hash(name) for name in item.images])
            if done and identity in done:
                return Ready(item, identity, done=True)
        if item.fault is not None:
            return Ready(item, identity, fault=item.fault)
        try:
            marked = self._marked(item)
            identity = self._identity(item, [_hash_of_shown(marked, n) for n in range(len(item.images))])
            question = self._question(item, marked)
            if self._plan.save_marked is not None:
                _save(item, marked, self._plan.save_marked)
            request = self._shrunk(asking.request_of(question, self._plan.sampling))
            return Ready(item, identity, _without_pixels(question), request)
        except OutputError:
            # What cannot be written for one cannot be written for the next.
            raise
        except VipcliError as error:
            fault = str(error)
        # A night's work must not end over a picture that nobody thought of.
        except Exception as error:
            fault = f"It could not be prepared ({type(error).__name__}: {first_line(error)})."
        identity = identity or self._identity(item, [_hash(name) for name in item.images])
        return Ready(item, identity, fault=fault)

    def _identity(self, item: Item, hashes: Sequence[str | None]) -> str:
        """What a row comes from: the bytes of its pictures, marks and question, model and settings."""
        plan = self._plan
        told = {
            "images": hashes,
            # Where there is no picture, its name is all that there is.
            "names": [name for name, found in zip(item.images, hashes, strict=True) if found is None],
            "regions": [_region(region) for region in item.regions],
            "marks": [_typed(one) for one in item.typed],
            "question": item.question,
            "fault": item.fault,
            "model": [plan.checkpoint.name, plan.checkpoint.revision, self._model],
            "setup": [plan.setup.dtype, plan.setup.quantize, plan.setup.quantize_all],
            "drawing": [*asdict(plan.drawing).values(), plan.drawn_as],
            "prompt": [plan.prompt, plan.system, plan.fit, plan.max_pixels, plan.frames],
            "sampling": asdict(plan.sampling),
        }
        written = json.dumps(told, sort_keys=True).encode()
        return hashlib.blake2b(written, digest_size=16).hexdigest()

    def _question(self, item: Item, marked: Marked) -> Question:
        plan = self._plan
        return asking.prepare(
            marked,
            item.question,
            plan.checkpoint,
            prompt=plan.prompt,
            system=plan.system,
            fit=plan.fit,
        )

    def _marked(self, item: Item) -> Marked:
        plan = self._plan
        if any(is_video(name) for name in item.images):
            if len(item.images) > 1:
                raise UsageError("A video is asked about alone. Leave out the other pictures.")
            video, frames = load_video(item.images[0], plan.frames, max_pixels=plan.max_pixels)
            return asking.mark(frames, item.typed, plan.drawing, video=video)
        pictures = [load_picture(name, max_pixels=plan.max_pixels) for name in item.images]
        size = pictures[0].width, pictures[0].height
        regions = [
            typed(region, plan.drawn_as, trace=lambda file: trace(load_mask(file, *size)))
            for region in item.regions
        ]
        return asking.mark(pictures, [*regions, *item.typed], plan.drawing)

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


def _hash_of_shown(marked: Marked, number: int) -> str:
    return marked.shown[number].picture.sha256


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


def _save(item: Item, marked: Marked, folder: Path) -> None:
    """Keep the marked picture under the item's name, or the pictures, one after the other."""
    stem = _stem(item)
    names = [stem] if len(marked.shown) == 1 else [f"{stem}-{n}" for n in range(1, len(marked.shown) + 1)]
    for one, name in zip(marked.shown, names, strict=True):
        target = folder / f"{name}.png"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder {str(target.parent)!r} cannot be made: {error.strerror}."
            ) from error
        save_picture(one.pixels, target, sources=item.images)


def _stem(item: Item) -> str:
    """A name below a folder: the item's own, its folders kept, and nothing that would lead elsewhere."""
    parts = [part for part in Path(item.id.replace("://", "/")).parts if part not in ("/", "..", ".")]
    name = "/".join(part.replace("\0", "") for part in parts) or "item"
    head, hash, region = name.partition("#")
    plain = str(Path(head).with_suffix("")) if Path(head).suffix else head
    return f"{plain}{hash}{region.replace('/', '_')}".replace("#", "-")


class Done:
    """The rows that earlier runs have written and where each begins, to be taken by one item each."""

    def __init__(self, rows: Iterable[tuple[int, str]]) -> None:
        self._first: dict[int, int] = {}
        # Seldom is the same asked of the same twice, and one number takes less memory than a list.
        self._more: dict[int, deque[int]] = {}
        for place, identity in rows:
            key = int(identity, 16)
            if key in self._first:
                self._more.setdefault(key, deque()).append(place)
            else:
                self._first[key] = place

    def __contains__(self, identity: str) -> bool:
        return int(identity, 16) in self._first

    def __len__(self) -> int:
        return len(self._first)

    def take(self, identity: str) -> int | None:
        """Where the next row of that identity begins; None once all are taken."""
        key = int(identity, 16)
        place = self._first.pop(key, None)
        if more := self._more.get(key):
            self._first[key] = more.popleft()
        return place


class Asker:
    """Answers what is ready, side by side as far as memory reaches."""

    def __init__(self, load: Callable[[], Several], plan: Plan) -> None:
        self._load = load
        self._plan = plan
        self._limit = plan.together
        self._went_well = 0
        self._failed = 0

    @cached_property
    def _answerer(self) -> Several:
        # Not before there is something to ask: a batch that is done needs no model.
        return self._load()

    def rows(self, window: Sequence[Ready]) -> list[Row]:
        """A row for each, in their order."""
        asked = [number for number, one in enumerate(window) if one.question is not None]
        # Beside others of its length, a prompt needs no padding; the order within a length stays.
        asked.sort(key=lambda number: _length(window[number]))
        found: dict[int, Reply | str] = {}
        while asked:
            some = asked[: self._limit]
            for number, reply in zip(some, self._replies([window[at] for at in some]), strict=True):
                found[number] = reply
            asked = asked[len(some) :]
        return [self._row(one, found.get(number)) for number, one in enumerate(window)]

    def _replies(self, some: Sequence[Ready]) -> list[Reply | str]:
        """A reply for each, or why there is none."""
        requests = [one.request for one in some if one.request is not None]
        try:
            if len(requests) > 1:
                replies = self._answerer.answers(requests)
            else:
                replies = [self._answerer.answer(requests[0])]
        except OutOfMemoryError as error:
            if len(some) == 1:
                return [self._fault(error)]
            self._limit, self._went_well = max(len(some) // 2, 1), 0
        except VipcliError as error:
            # One of them may have spoilt it for all.
            if len(some) == 1:
                return [self._fault(error)]
            return [reply for one in some for reply in self._replies([one])]
        else:
            self._failed = 0
            self._grow()
            return list(replies)
        half = self._limit
        return [*self._replies(some[:half]), *self._replies(some[half:])]

    def _grow(self) -> None:
        """Go back towards as many as were asked for, once all has gone well for a while."""
        self._went_well += 1
        if self._limit < self._plan.together and self._went_well >= _GROW_AFTER:
            self._limit, self._went_well = min(self._limit * 2, self._plan.together), 0

    def _fault(self, error: VipcliError) -> str:
        if isinstance(error, ModelError):
            self._failed += 1
            if self._failed >= _HOPELESS:
                raise error
        return str(error)

    def _row(self, one: Ready, reply: Reply | str | None) -> Row:
        item = one.item
        head = {
            "id": item.id,
            "image": item.images[0] if item.images else None,
            "regions": [{"id": r.id, "label": r.label, "score": r.score} for r in item.regions],
            "extra": dict(item.extra),
        }
        if one.question is None or not isinstance(reply, Reply):
            why = one.fault if one.question is None else reply
            text = item.question if one.question is None else one.question.text
            return {**head, "question": text, "answer": None, "error": why, IDENTITY: one.identity}
        told = asking.record(Answer(one.question, reply, self._plan.sampling))
        # How long it took is no part of what came out, and two runs of a job are to be the same.
        del told["seconds"]
        if told["probability"] is not None:
            # The last digits depend on which others were read beside it.
            told["probability"] = round(told["probability"], 4)
        return {**head, **told, "error": None, IDENTITY: one.identity}


def _length(one: Ready) -> tuple[int, int, int]:
    """What tells how many tokens the prompt of one takes, those of its pictures included."""
    assert one.question is not None
    shown = one.question.marked.shown
    # Where pictures are cut into tiles, larger ones take more of them; elsewhere all take as many.
    pixels = max(one.picture.width * one.picture.height for one in shown)
    return len(shown), pixels if one.question.form.name == "template" else 0, len(one.question.prompt)


Windows = Generator[list[Ready], None, None]


def windows(
    items: Iterable[Item],
    reader: Reader,
    plan: Plan,
    done: Done | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Windows:
    """The items in their order, read ahead by several threads, so many questions at a time.

    It ends early once `stop` says so. Where an earlier run ended, windows begin as they would have.
    """
    window: list[Ready] = []
    asked = fresh = 0
    with closing(_read_ahead(items, reader, plan, done)) as ahead:
        for one in ahead:
            if stop():
                return
            window.append(one)
            asked += one.question is not None
            fresh += not one.done
            # What needs no model is handed on, too, before it grows without end.
            if asked == plan.window or fresh >= _MOST or (not fresh and len(window) >= _MOST):
                yield window
                window, asked, fresh = [], 0, 0
    if window:
        yield window


def _read_ahead(
    items: Iterable[Item], reader: Reader, plan: Plan, done: Done | None
) -> Generator[Ready, None, None]:
    ahead: deque[Future[Ready]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(plan.readers, "reader") as pool:
        try:
            while True:
                while len(ahead) < plan.window * WINDOWS_AHEAD and (item := next(source, None)) is not None:
                    ahead.append(pool.submit(reader.ready, item, done))
                if not ahead:
                    return
                one = ahead.popleft().result()
                if one.done and done is not None:
                    place = done.take(one.identity)
                    # Another item that asks the same may have taken the row that was there.
                    one = reader.ready(one.item) if place is None else replace(one, place=place)
                yield one
        finally:
            for future in ahead:
                future.cancel()


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one item."""

    number: int
    """Its place among all items."""
    identity: str
    row: Row | None
    """None where an earlier run had it."""
    place: int = -1
    """Where that row begins."""


AnsweredWindows = Generator[list[Made], None, None]


def made(found: Windows, asker: Asker) -> AnsweredWindows:
    """Windows of items, answered."""
    number = 0
    with closing(found):
        for window in found:
            rows = iter(asker.rows([one for one in window if not one.done]))
            made = []
            for one in window:
                made.append(Made(number, one.identity, None if one.done else next(rows), one.place))
                number += 1
            yield made


class Sink(Protocol):
    """Where rows go."""

    def append(self, rows: Sequence[Row]) -> Sequence[int]:
        """Keep rows for good, and return where each begins."""


@dataclass
class Tally:
    """How far a batch has come."""

    answered: int = 0
    failed: int = 0
    kept: int = 0
    """Rows of earlier runs."""
    kept_failed: int = 0
    """Those of them that are errors."""
    places: array[int] = field(default_factory=lambda: array("q"))
    """Where the row of each item begins, in the order of the items."""

    @property
    def items(self) -> int:
        """All that came to something."""
        return self.answered + self.failed + self.kept

    @property
    def errors(self) -> int:
        """The items that have no answer."""
        return self.failed + self.kept_failed


def run(
    windows: Iterable[Sequence[Made]],
    sink: Sink,
    tally: Tally,
    tell: Callable[[Sequence[Row]], None],
    errors_before: Container[int] = frozenset(),
) -> None:
    """Put rows where they belong as they come, then tell of them: not before they are safe."""
    for window in windows:
        rows = [one.row for one in window if one.row is not None]
        fresh = iter(sink.append(rows) if rows else ())
        for one in window:
            place = one.place if one.row is None else next(fresh)
            if one.number >= len(tally.places):
                tally.places.extend([-1] * (one.number + 1 - len(tally.places)))
            tally.places[one.number] = place
            if one.row is None:
                tally.kept += 1
                tally.kept_failed += place in errors_before
            elif one.row["error"] is None:
                tally.answered += 1
            else:
                tally.failed += 1
        tell(rows)
