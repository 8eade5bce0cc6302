"""Many items and one model: order, identity, running out of memory, and items that fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.scripted import SideBySide
from vipcli.asking.interface import Request, Setup
from vipcli.batch.answering import ItemResult, RowBuilder, Tally, answer_windows, write_results
from vipcli.batch.items import Item, ItemStream
from vipcli.batch.job import BatchEvents, RowTarget, local_backend, run_to_file
from vipcli.batch.prefetch import EarlierRows, Windows, prepared_windows
from vipcli.batch.preparing import BatchConfig, ItemPreparer, PreparedItem
from vipcli.batch.rows import Row
from vipcli.checkpoints.lookup import find, fingerprint
from vipcli.errors import Message, ModelError, OutOfMemoryError, OutputError, PromptError
from vipcli.marks.kinds import parse_mark
from vipcli.marks.regions import Region

CONFIG = BatchConfig(find("bundled"), batch_size=4, readers=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twenty pictures, each of a different gray."""
    folder = tmp_path_factory.mktemp("photos")
    names = []
    for number in range(20):
        names.append(str(folder / f"{number:02}.png"))
        Image.fromarray(np.full((64, 64, 3), number, np.uint8)).save(names[-1])
    return names


def items(photos: Sequence[str], question: str = "What is it?") -> list[Item]:
    return [Item(Path(name).name, (name,), question) for name in photos]


def prepare(batch_items: Iterable[Item], config: BatchConfig = CONFIG, **more: Any) -> Windows:
    return prepared_windows(batch_items, ItemPreparer(config), config, **more)


def gray(request: Request) -> str:
    return f"gray {request.images[0][0, 0, 0]}"


def answer(
    batch_items: Sequence[Item],
    model: SideBySide | None = None,
    config: BatchConfig = CONFIG,
    done: EarlierRows | None = None,
) -> list[Row]:
    results = answer_windows(
        prepare(batch_items, config, earlier=done),
        RowBuilder(lambda: model or SideBySide(gray), config),
    )
    return [result.row for window in results for result in window if result.row is not None]


def test_rows_keep_the_order_of_the_items(photos: list[str]) -> None:
    rows = answer(items(photos))
    assert [row["id"] for row in rows] == [f"{number:02}.png" for number in range(20)]
    assert [row["answer"] for row in rows] == [f"gray {number}" for number in range(20)]
    assert rows[3]["images"][0]["width"] == 64
    assert len({row["identity"] for row in rows}) == 20
    assert "seconds" not in rows[0]
    assert all(json.dumps(row) for row in rows)


def test_pictures_wait_in_the_input_size_of_the_model(photos: list[str], tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 1000, 3), np.uint8)).save(big)
    ready = ItemPreparer(CONFIG).prepare(
        Item("big", (str(big),), marks=(parse_mark("box", "10%,10%,90%,90%"),))
    )
    assert ready.request is not None
    assert ready.question is not None
    size = CONFIG.checkpoint.input_size
    assert ready.request.images[0].shape == (size, size, 3)
    # Each is held until its row is written, as many others are.
    assert ready.question.marked.pixels.strides == (0, 0, 0)
    assert (ready.question.marked.picture.width, ready.question.marked.picture.height) == (1000, 300)


def test_questions_are_answered_in_batches(photos: list[str]) -> None:
    model = SideBySide(gray)
    answer(items(photos), model)
    assert model.together == [4, 4, 4, 4, 4]


def test_prompts_of_equal_length_share_a_batch(photos: list[str]) -> None:
    batch_items = [
        replace(item, question="What? " * (1 + number % 2)) for number, item in enumerate(items(photos))
    ]
    lengths: list[set[int]] = []

    class Watching(SideBySide):
        def answer_batch(self, requests, on_texts=(), halted=()):  # type: ignore[no-untyped-def]
            lengths.append({len(request.prompt) for request in requests})
            return super().answer_batch(requests)

    rows = answer(batch_items[:16], Watching(gray))
    assert [len(some) for some in lengths] == [1, 1, 1, 1]
    assert [row["id"] for row in rows] == [item.id for item in batch_items[:16]]


def test_a_batch_that_runs_out_of_memory_is_halved_and_grows_again(photos: list[str]) -> None:
    model = SideBySide(gray, most=1)
    rows = answer(items(photos), model)
    assert [row["answer"] for row in rows] == [f"gray {number}" for number in range(20)]
    assert set(model.together) == {1}
    model = SideBySide(gray, most=3)
    asker = RowBuilder(lambda: model, CONFIG)
    for _ in range(9):
        model.most = 3 if len(model.together) < 3 else 1000
        list(answer_windows(prepare(items(photos[:8])), asker))
    assert model.together[:2] == [2, 2]
    assert model.together[-1] == 4


def test_a_picture_that_does_not_fit_alone_is_an_error_row(photos: list[str]) -> None:
    def say(request: Request) -> str:
        if request.images[0][0, 0, 0] == 5:
            raise OutOfMemoryError("The cpu ran out of memory while answering.")
        return gray(request)

    rows = answer(items(photos), SideBySide(say))
    assert [row["id"] for row in rows if row["error"]] == ["05.png"]
    assert "memory" in str(rows[5]["error"])


@pytest.mark.parametrize("kind", [PromptError, ModelError])
def test_a_failing_question_does_not_fail_its_batch(photos: list[str], kind: type[Exception]) -> None:
    def say(request: Request) -> str:
        if request.images[0][0, 0, 0] in (3, 4, 11):
            raise kind("This one is wrong.")
        return gray(request)

    rows = answer(items(photos), SideBySide(say))
    assert [row["id"] for row in rows if row["error"]] == ["03.png", "04.png", "11.png"]
    assert rows[3]["answer"] is None
    assert rows[3]["question"] == "What is it?"


def test_running_out_of_memory_for_every_picture_does_not_end_the_batch(photos: list[str]) -> None:
    def say(request: Request) -> str:
        raise OutOfMemoryError("The cpu ran out of memory while answering.")

    assert sum(row["error"] is not None for row in answer(items(photos), SideBySide(say))) == 20


def test_an_unexpected_error_of_the_model_is_an_error_row(photos: list[str]) -> None:
    def say(request: Request) -> str:
        if request.images[0][0, 0, 0] == 2:
            raise ZeroDivisionError("nobody thought of this")
        return gray(request)

    rows = answer(items(photos), SideBySide(say))
    assert [row["error"] for row in rows if row["error"]] == [
        "The model failed (ZeroDivisionError: nobody thought of this)."
    ]


def test_an_error_in_loading_the_model_ends_the_batch(photos: list[str]) -> None:
    tries: list[int] = []

    def load() -> SideBySide:
        tries.append(1)
        raise PromptError("The settings of the model make no sense.")

    with pytest.raises(PromptError, match="no sense"):
        list(answer_windows(prepare(items(photos)), RowBuilder(load, CONFIG)))
    assert len(tries) == 1


def test_a_model_that_always_fails_ends_the_batch(photos: list[str]) -> None:
    def say(request: Request) -> str:
        raise ModelError("The GPU is gone.")

    with pytest.raises(ModelError, match="gone"):
        answer(items(photos), SideBySide(say))


FAULTS = [
    (Item("x", ("missing.png",), "What?"), "missing.png"),
    (Item("x", (), "What?", fault=Message("Line 3 is not a JSON object.")), "Line 3"),
    (Item("x", ("HERE",), "What is {2}?"), "{2}"),
    (Item("x", ("HERE",), "What?", marks=(parse_mark("box", "900,900,950,950"),)), "outside"),
    (Item("x", ("HERE",), "###Human: no"), "###"),
    (Item("x", ("HERE",), "What?", marks=(parse_mark("mask", "no-mask.png"),)), "no-mask.png"),
    (Item("x", ("HERE", "missing.png"), "What?"), "missing.png"),
    (Item("x", ("HERE", "clip.mp4"), "What?"), "video"),
]


@pytest.mark.parametrize(("item", "naming"), FAULTS)
def test_an_item_that_cannot_be_asked_about_is_an_error_row(
    photos: list[str], item: Item, naming: str
) -> None:
    item = replace(item, images=tuple(photos[0] if name == "HERE" else name for name in item.images))
    one, two, three = answer([*items(photos[:1]), item, *items(photos[1:2])])
    assert (one["error"], three["error"]) == (None, None)
    assert naming in str(two["error"])
    assert two["answer"] is None


def test_an_unexpected_error_in_preparing_is_an_error_row(
    photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("vipcli.asking.pipeline.prepare", surprise)
    (row,) = answer(items(photos[:1]))
    assert row["error"] == "The item could not be prepared (ZeroDivisionError: nobody thought of this)."


def test_regions_are_marked_before_the_typed_marks(photos: list[str]) -> None:
    region = Region("box", ((10, 10), (40, 30)), label="cat", id="7", score=0.5)
    item = Item("x", (photos[0],), "{1} and {2}", (region,), (parse_mark("point", "5,5"),))
    (row,) = answer([item])
    assert row["question"] == "within the red rectangle and at the lime point"
    assert row["regions"] == [{"id": "7", "label": "cat", "score": 0.5}]
    (row,) = answer([item], config=replace(CONFIG, drawn_as="ellipse"))
    assert [mark["kind"] for mark in row["marks"]] == ["ellipse", "point"]


def test_a_region_can_be_a_mask_image(photos: list[str], tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 30:60] = 255
    file = tmp_path / "m.png"
    Image.fromarray(mask).save(file)
    item = Item("x", (photos[0],), "{1}?", (Region("mask", file=str(file)),))
    (as_mask,) = answer([item])
    (as_box,) = answer([item], config=replace(CONFIG, drawn_as="box"))
    assert as_mask["question"] == "with the red mask?"
    box = as_box["marks"][0]
    assert (round(box["x1"]), round(box["y1"]), round(box["x2"]), round(box["y2"])) == (30, 20, 59, 39)


CHANGES: list[Callable[[Item, BatchConfig], tuple[Item, BatchConfig]]] = [
    lambda item, config: (replace(item, question="Who is it?"), config),
    lambda item, config: (replace(item, marks=(parse_mark("box", "1,1,20,20"),)), config),
    lambda item, config: (replace(item, regions=(Region("box", ((1, 1), (20, 20))),)), config),
    lambda item, config: (replace(item, images=item.images * 2), config),
    lambda item, config: (item, replace(config, fit="crop")),
    lambda item, config: (item, replace(config, system="Be brief.")),
    lambda item, config: (item, replace(config, setup=Setup(dtype="bfloat16"))),
    lambda item, config: (item, replace(config, sampling=replace(config.sampling, max_new_tokens=5))),
    lambda item, config: (item, replace(config, drawing=replace(config.drawing, width=5))),
    lambda item, config: (item, replace(config, sampling=replace(config.sampling, temperature=1))),
    lambda item, config: (item, replace(config, drawn_as="ellipse")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_an_answer_changes_the_identity(
    photos: list[str], change: Callable[[Item, BatchConfig], tuple[Item, BatchConfig]]
) -> None:
    item = items(photos)[0]
    changed, config = change(item, CONFIG)
    assert ItemPreparer(CONFIG).prepare(item).identity != ItemPreparer(config).prepare(changed).identity


def test_what_changes_no_answer_keeps_the_identity(photos: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "other name.png"
    copy.write_bytes(Path(photos[0]).read_bytes())
    item = items(photos)[0]
    first = ItemPreparer(CONFIG).prepare(item).identity
    other = replace(
        CONFIG,
        batch_size=1,
        readers=5,
        save_marked=tmp_path / "out",
        max_pixels=10**6,
        frames=3,
        sampling=replace(CONFIG.sampling, seed=7),
        checkpoint=replace(CONFIG.checkpoint, name="elsewhere", revision="x"),
    )
    assert (
        ItemPreparer(other).prepare(Item("y", (str(copy),), item.question, extra={"a": 1})).identity == first
    )


def test_items_with_earlier_rows_are_not_answered_again(photos: list[str]) -> None:
    rows = answer(items(photos))
    done = EarlierRows((place, row["identity"], row["id"]) for place, row in enumerate(rows[:13]))
    model = SideBySide(gray)
    rest = answer(items(photos), model, done=done)
    assert rest == rows[13:]
    assert sum(model.together) == 7


def test_identical_items_have_a_row_each(photos: list[str]) -> None:
    twice = [item for item in items(photos[:3]) for _ in range(3)]
    rows = answer(twice)
    assert len(rows) == 9
    done = EarlierRows((place, row["identity"], row["id"]) for place, row in enumerate(rows[:4]))
    results = [
        result
        for window in answer_windows(
            prepare(twice, earlier=done),
            RowBuilder(lambda: SideBySide(gray), CONFIG),
        )
        for result in window
    ]
    assert [result.offset for result in results] == [0, 1, 2, 3, -1, -1, -1, -1, -1]
    assert [result.row is None for result in results] == [True] * 4 + [False] * 5


def test_the_same_picture_under_two_names_has_two_rows(photos: list[str]) -> None:
    one, two = (Item(name, (photos[0],), "What?") for name in ("a", "b"))
    rows = answer([one, two])
    assert rows[0]["identity"] == rows[1]["identity"]
    done = EarlierRows([(0, rows[1]["identity"], "b")])
    (fresh,) = answer([one, two], done=done)
    assert fresh["id"] == "a"


def test_rows_still_apply_after_a_folder_was_moved(photos: list[str]) -> None:
    (row,) = answer([Item("photos/a.png", (photos[0],), "What?")])
    done = EarlierRows([(0, row["identity"], row["id"])])
    assert answer([Item("/elsewhere/photos/a.png", (photos[0],), "What?")], done=done) == []


def test_the_fingerprint_covers_the_middle_of_the_weights(tmp_path: Path) -> None:
    source = CONFIG.checkpoint.folder
    assert source is not None
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    copy = replace(CONFIG.checkpoint, folder=tmp_path)
    assert fingerprint(copy) == fingerprint(CONFIG.checkpoint)
    (tmp_path / "NOTES.md").write_text("Nothing that is loaded.")
    assert fingerprint(copy) == fingerprint(CONFIG.checkpoint)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    third = len(whole) // 3
    weights.write_bytes(whole[:third] + bytes(third) + whole[2 * third :])
    assert fingerprint(copy) != fingerprint(CONFIG.checkpoint)


def test_a_resumed_run_forms_the_same_windows(photos: list[str]) -> None:
    whole = [[prepared.item.id for prepared in window] for window in prepare(items(photos))]
    assert [len(window) for window in whole] == [8, 8, 4]
    rows = answer(items(photos))
    done = EarlierRows((place, row["identity"], row["id"]) for place, row in enumerate(rows[:8]))
    rest = [
        [prepared.item.id for prepared in window if not prepared.done]
        for window in prepare(items(photos), earlier=done)
    ]
    assert [window for window in rest if window] == whole[1:]


def test_stop_ends_the_windows(photos: list[str]) -> None:
    received: list[PreparedItem] = []

    def stop() -> bool:
        return bool(received)

    for window in prepare(items(photos), stop=stop):
        received += window
    assert [prepared.item.id for prepared in received] == [
        f"{number:02}.png" for number in range(CONFIG.window_size)
    ]


def test_a_slow_source_is_answered_as_it_comes_and_can_be_stopped(photos: list[str]) -> None:
    resumed, received = threading.Event(), []

    def slow() -> Iterator[Item]:
        yield from items(photos[:3])
        assert resumed.wait(30)
        yield from items(photos[3:5])

    source = prepare(slow())
    received += next(source)
    assert len(received) == 3
    resumed.set()
    received += next(source)
    assert len(received) == 5
    assert next(source, None) is None
    resumed.clear()
    ended = prepare(slow(), stop=lambda: True)
    assert next(ended, None) is None
    resumed.set()


def test_an_error_in_listing_ends_the_batch(photos: list[str]) -> None:
    def broken() -> Iterator[Item]:
        yield items(photos)[0]
        raise PromptError("The list broke off.")

    with pytest.raises(PromptError, match="broke off"):
        answer(broken())  # type: ignore[arg-type]


def test_earlier_rows_do_not_make_a_window_grow(photos: list[str]) -> None:
    item = items(photos)[0]
    (row,) = answer([item])
    done = EarlierRows((place, row["identity"], row["id"]) for place in range(3000))
    many = [replace(item, question="Another?"), *[item] * 3000]
    sizes = [len(window) for window in prepare(many, earlier=done)]
    assert max(sizes) <= 1024
    assert sum(sizes) == 3001


def test_only_a_few_windows_are_prepared_ahead(photos: list[str]) -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield items(photos[:1])[0]

    source = prepare(endless())
    for _ in range(3):
        next(source)
    # Beside those that are read ahead, some wait in line, of which nothing is known but their names.
    assert taken <= 3 * CONFIG.window_size + 2 * CONFIG.window_size + 64 + 2
    source.close()


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("photos/a.jpg", "photos/a.jpg.png"),
        ("/etc/passwd", "etc/passwd.png"),
        ("../../a.jpg#12", "a.jpg#12.png"),
        ("https://x.test/b.png", "https/x.test/b.png.png"),
        ("7", "7.png"),
        ("caf\udce9\n", "caf__.png"),
        ("x" * 300, f"{'x' * 40}-12b539c1cad94615.png"),
    ],
)
def test_marked_pictures_stay_in_their_folder(photos: list[str], tmp_path: Path, id: str, name: str) -> None:
    config = replace(CONFIG, save_marked=tmp_path / "out")
    answer([Item(id, (photos[0],), "What?")], config=config)
    assert [str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.png")] == [name]


def test_missing_marked_pictures_are_saved_for_earlier_rows_too(photos: list[str], tmp_path: Path) -> None:
    config = replace(CONFIG, save_marked=tmp_path / "out")
    rows = answer(items(photos[:3]))
    done = EarlierRows((place, row["identity"], row["id"]) for place, row in enumerate(rows))
    assert answer(items(photos[:3]), config=config, done=done) == []
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_marked_picture_that_cannot_be_saved_ends_the_batch(photos: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        answer(items(photos), config=replace(CONFIG, save_marked=tmp_path / "file" / "out"))


def test_rows_are_reported_only_after_they_are_safe() -> None:
    events: list[str] = []

    class RowSink:
        def append(self, rows: Sequence[Row]) -> Sequence[int]:
            events.append(f"{len(rows)} written")
            return range(100, 100 + len(rows))

    tally = Tally()
    row = {"error": None}
    write_results(
        [[ItemResult(0, row), ItemResult(1, None, 7)], [ItemResult(2, {"error": "No."})]],
        RowSink(),
        tally,
        lambda rows: events.append(f"{len(rows)} reported"),
        {7},
    )
    assert events == ["1 written", "1 reported", "1 written", "1 reported"]
    assert (tally.answered, tally.failed, tally.reused, tally.errors) == (1, 1, 1, 2)
    assert list(tally.offsets) == [100, 7, 100]


class Recorder(BatchEvents):
    """Keeps what a batch reports."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def rows_written(self, rows: Sequence[Row], tally: Tally) -> None:
        self.counts.append((len(rows), tally.items))

    def note(self, message: Message) -> None:
        self.notes.append(str(message))


def test_a_batch_reports_to_its_front_end_and_prints_nothing(
    photos: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = RowTarget(tmp_path / "rows.jsonl")
    events = Recorder()
    backend = local_backend(CONFIG, lambda: SideBySide(gray))
    outcome = run_to_file(ItemStream(items(photos), 20), target, backend, events)
    assert events.counts == [(8, 8), (8, 16), (4, 20)]
    assert (outcome.tally.answered, outcome.stopped, events.notes) == (20, False, [])

    def fail() -> SideBySide:
        raise ModelError("The GPU is gone.")

    target = RowTarget(tmp_path / "rows.jsonl", resume=True)
    changed = ItemStream(items(photos, "And this?"), 20)
    with pytest.raises(ModelError, match="gone"):
        run_to_file(changed, target, local_backend(CONFIG, fail), events)
    assert events.notes == ["The rows so far are saved. After solving this problem, continue with resume:"]
    run_to_file(changed, target, backend, BatchEvents())
    assert capfd.readouterr() == ("", "")


def test_rows_name_settings_as_their_front_end_spells_them(photos: list[str]) -> None:
    small = replace(CONFIG, max_pixels=10)
    assert str(answer(items(photos[:1]), config=small)[0]["error"]).count("max_pixels") == 1
    (row,) = answer(items(photos[:1]), config=replace(small, spelling=lambda name, value: f"<{name}>"))
    assert "<max_pixels>" in row["error"]
