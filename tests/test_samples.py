"""Every sample is run, looked at, and told of in the README beside it."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.servers import serving
from vipcli.annotations.reading import read
from vipcli.asking import pipeline
from vipcli.batch.items import Item, ItemOptions
from vipcli.batch.sources import gather
from vipcli.checkpoints import lookup
from vipcli.marks.kinds import BY_KIND, parse_mark
from vipcli.pictures.images import Pixels, load_picture

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
PICTURES = ("street.jpg", "fruit.png", "harbour.jpg", "shapes.png")
SCENES = tuple(
    f"scenes/images/{name}"
    for name in ("toys.png", "garden.png", "desk.png", "numbers.png", "letters.png", "shore.jpg")
)

# Each file, or folder of like files, and how it is exercised here. One that is missing here fails a test.
EXERCISED = {
    "README.md": "read for the names of the others",
    "make_samples.py": "run, and its pictures compared",
    "street.jpg": "drawn anew",
    "street-car-mask.png": "drawn anew, and compared with the annotated car",
    "fruit.png": "drawn anew",
    "harbour.jpg": "drawn anew, and found lying on its side",
    "shapes.png": "drawn anew",
    "chat.txt": "said, where the README is tried",
    "marks.png": "drawn anew",
    "marks.tsv": "each row placed and asked",
    "annotations.json": "written anew, and each box looked into",
    "ask-each.sh": "run",
    "ask-marks.sh": "run",
    "draw-coco.sh": "run",
    "ask-folder.sh": "run",
    "scenes/images/": "drawn anew",
    "scenes/annotations.json": "written anew, and each box looked into",
    "scenes/labels/": "written anew, and compared with the annotations",
    "scenes/data.yaml": "written anew, and read with the labels",
    "scenes/tasks.jsonl": "written anew, each row placed and asked",
}

with (SAMPLES / "marks.tsv").open(encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file, delimiter="\t"))
TASKS = list(gather([str(SAMPLES / "scenes" / "tasks.jsonl")], ItemOptions()).items)

Run = Callable[..., subprocess.CompletedProcess[str]]

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are for bash")


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[dict[str, str]]:
    """Variables under which a server with a tiny model answers, so that no script has to load one."""
    with serving("--model", str(tiny)) as server:
        yield {**server.variables, "VIPCLI_MODEL": str(tiny)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a sample with this interpreter as `python3` and its vipcli as `vipcli`."""
    commands = tmp_path / "commands"
    commands.mkdir()
    python = shlex.quote(sys.executable)
    for name, command in (("python3", python), ("vipcli", f"{python} -m vipcli")):
        wrapper = commands / name
        wrapper.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        wrapper.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def run(
        *command: str | Path, cwd: Path = tmp_path, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=environment | dict(settings or {}),
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that make_samples.py makes."""
    folder = tmp_path_factory.mktemp("anew")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, SAMPLES / "make_samples.py", folder], check=True, cwd=folder, env=environment
    )
    return folder


def pixels(path: Path) -> Pixels:
    return load_picture(str(path)).pixels


def files(folder: Path) -> set[str]:
    """The names of all files below a folder, but for what Python leaves there."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def coco(picture: str) -> dict[str, Any]:
    """The annotations that tell of a picture."""
    folder = SAMPLES / "scenes" if picture in SCENES else SAMPLES
    told: dict[str, Any] = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    return told


def image_of(picture: str) -> dict[str, Any]:
    """What the annotations tell of a picture as a whole."""
    name = Path(picture).name
    found: dict[str, Any] = next(image for image in coco(picture)["images"] if image["file_name"] == name)
    return found


def things(picture: str) -> list[dict[str, Any]]:
    """The annotations of a picture, each with its category's name."""
    told, image = coco(picture), image_of(picture)["id"]
    names = {category["id"]: category["name"] for category in told["categories"]}
    return [
        {**annotation, "name": names[annotation["category_id"]]}
        for annotation in told["annotations"]
        if annotation["image_id"] == image
    ]


def cover(thing: dict[str, Any], width: int, height: int) -> Image.Image:
    """Where an annotated outline lies."""
    image = Image.new("L", (width, height))
    for polygon in thing["segmentation"]:
        ImageDraw.Draw(image).polygon(polygon, 255)
    return image


# The folder


def test_every_sample_is_exercised_and_told_of() -> None:
    there = {re.sub(r"(\w+/\w+/).*", r"\1", name) for name in files(SAMPLES)}
    assert there == set(EXERCISED)
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in there - {"README.md"} if f"| `{name}` |" not in readme] == []


def test_the_samples_are_small() -> None:
    assert sum((SAMPLES / name).stat().st_size for name in files(SAMPLES)) < 600_000
    assert all((SAMPLES / name).stat().st_size < 25_000 for name in SCENES)


@needs_bash
@pytest.mark.parametrize("script", sorted(SAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_executable_and_strict(script: Path) -> None:
    assert os.access(script, os.X_OK)
    first, *rest = script.read_text(encoding="utf-8").splitlines()
    assert first == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in rest
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, script], check=True)


# The pictures


def test_nothing_is_made_that_is_not_kept(anew: Path) -> None:
    made = {*PICTURES, "street-car-mask.png", "marks.png", "annotations.json"}
    assert files(anew) == made | {name for name in files(SAMPLES) if name.startswith("scenes/")}
    assert {f"scenes/images/{path.name}" for path in (SAMPLES / "scenes/images").iterdir()} == set(SCENES)


@pytest.mark.parametrize("name", sorted(name for name in files(SAMPLES) if name.endswith(".png")))
def test_pngs_are_drawn_the_same_again(anew: Path, name: str) -> None:
    assert np.array_equal(pixels(anew / name), pixels(SAMPLES / name))


@pytest.mark.parametrize("name", sorted(name for name in files(SAMPLES) if name.endswith(".jpg")))
def test_jpegs_are_drawn_the_same_again(anew: Path, name: str) -> None:
    new, kept = pixels(anew / name).astype(int), pixels(SAMPLES / name).astype(int)
    assert new.shape == kept.shape
    # Encoders differ a little.
    assert np.abs(new - kept).mean() < 1
    assert np.abs(new - kept).max() < 40


def test_annotations_and_tasks_are_written_the_same_again(anew: Path) -> None:
    names = {name for name in files(anew) if name.endswith((".json", ".txt", ".yaml", ".jsonl"))}
    assert len(names) == 4 + len(SCENES)
    for name in names:
        written = [(folder / name).read_text(encoding="utf-8") for folder in (anew, SAMPLES)]
        assert written[0] == written[1], name


def test_the_harbour_is_stored_on_its_side() -> None:
    with Image.open(SAMPLES / "harbour.jpg") as stored:
        assert stored.size == (640, 480)
    harbour = load_picture(str(SAMPLES / "harbour.jpg"))
    assert (harbour.width, harbour.height) == (480, 640)
    # The sky is above the sea, and bluest at its top.
    assert harbour.pixels[5, :, 2].mean() > harbour.pixels[5, :, 0].mean() + 50


# The annotations


@pytest.mark.parametrize("name", PICTURES + SCENES)
def test_annotations_know_the_upright_size(name: str) -> None:
    picture = load_picture(str(SAMPLES / name))
    image = image_of(name)
    assert (image["width"], image["height"]) == (picture.width, picture.height)


@pytest.mark.parametrize("name", PICTURES + SCENES)
def test_boxes_fit_their_outlines(name: str) -> None:
    picture = load_picture(str(SAMPLES / name))
    for thing in things(name):
        x, y, width, height = thing["bbox"]
        found = cover(thing, picture.width, picture.height).getbbox()
        assert found == pytest.approx((x, y, x + width, y + height), abs=2), thing["name"]
        assert 0 < thing["area"] <= (width + 1) * (height + 1)
        area = np.count_nonzero(np.asarray(cover(thing, picture.width, picture.height)))
        # A polygon's border pixels count in one and not in the other, which is much for a thin thing.
        assert area == pytest.approx(thing["area"], rel=0.1, abs=250), thing["name"]


@pytest.mark.parametrize("name", PICTURES + SCENES)
def test_outlines_enclose_things_and_not_the_background(name: str) -> None:
    """Most of an outline's inside must differ from whatever lies just around it."""
    picture = pixels(SAMPLES / name).astype(int)
    height, width = picture.shape[:2]
    for thing in things(name):
        outline = cover(thing, width, height)
        near, far = outline.filter(ImageFilter.MaxFilter(5)), outline.filter(ImageFilter.MaxFilter(11))
        inside = picture[np.asarray(outline) > 0]
        around = picture[(np.asarray(far) > 0) & (np.asarray(near) == 0)][::11]
        distance = np.abs(inside[::7, None] - around[None]).max(axis=2).min(axis=1)
        assert (distance > 12).mean() > 0.5, thing["name"]


def test_the_mask_is_the_car() -> None:
    with Image.open(SAMPLES / "street-car-mask.png") as image:
        mask = np.asarray(image)
    assert mask.shape == pixels(SAMPLES / "street.jpg").shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    car = next(thing for thing in things("street.jpg") if thing["name"] == "car")
    assert np.count_nonzero(mask) == car["area"]
    outline = np.asarray(cover(car, mask.shape[1], mask.shape[0]))
    assert np.count_nonzero(outline != mask) < 0.05 * car["area"]


def test_labels_and_annotations_of_the_scenes_tell_of_the_same_boxes() -> None:
    told = []
    for source in ("annotations.json", "data.yaml"):
        found = sorted(read(SAMPLES / "scenes" / source), key=lambda one: one.image)
        assert [one.fault for one in found] == [None] * len(SCENES)
        assert {Path(one.image) for one in found} == {SAMPLES / name for name in SCENES}
        told.append([region for one in found for region in one.regions])
    assert len(told[0]) == len(told[1]) == sum(len(things(name)) for name in SCENES)
    for one, other in zip(*told, strict=True):
        assert (one.kind, one.label) == (other.kind, other.label)
        assert one.bounds == pytest.approx(other.bounds, abs=0.01), one.label
        assert one.polygons
        assert not other.polygons


@pytest.mark.parametrize("name", SCENES)
def test_things_in_the_scenes_are_as_large_as_the_bundled_model_needs(name: str) -> None:
    image = image_of(name)
    for thing in things(name):
        assert max(thing["bbox"][2:]) >= 0.16 * max(image["width"], image["height"]), thing["name"]


# The marks


def test_every_kind_of_mark_has_a_row() -> None:
    assert list(ROWS[0]) == ["picture", "option", "value", "question"]
    assert {row["option"] for row in ROWS} == {f"--{kind}" for kind in BY_KIND}
    assert len(ROWS) >= 12


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['picture']}{row['option']}")
def test_each_row_lies_on_something(row: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    picture = load_picture(row["picture"])
    typed = parse_mark(row["option"].removeprefix("--"), row["value"])
    marked = pipeline.mark([picture], [typed])
    question = pipeline.prepare(marked, row["question"], lookup.peek("bundled"))
    assert question.notes == ()
    assert marked.marks[0].phrase in question.text
    x1, y1, x2, y2 = marked.marks[0].bounds
    assert 0 <= x1 <= x2 <= picture.width
    assert 0 <= y1 <= y2 <= picture.height
    # An arrow ends on a thing, a frame encloses its middle, and any other mark has its own middle on it.
    x, y = getattr(marked.marks[0], "tip", None) or ((x1 + x2) / 2, (y1 + y2) / 2)
    assert any(
        (left <= x <= left + wide and top <= y <= top + high)
        or (x1 <= left + wide / 2 <= x2 and y1 <= top + high / 2 <= y2)
        for left, top, wide, high in (thing["bbox"] for thing in things(row["picture"]))
    )


# The tasks

# What the marks of each are for, by the labels of the annotations.
MEANT = {
    "number": ["number 8"],
    "sum": ["number 3", "number 4"],
    "letter": ["letter K"],
    "house": ["house"],
    "cup": ["cup"],
    "fish": ["fish"],
    "order": ["star", "circle"],
    "corners": ["hexagon"],
}


def test_tasks_have_marks_of_all_kinds_and_an_expected_answer() -> None:
    assert {task.id for task in TASKS} == set(MEANT)
    assert {mark.kind for task in TASKS for mark in task.marks} == set(BY_KIND)
    assert [task.id for task in TASKS if not task.extra.get("expected")] == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_the_marks_of_a_task_are_on_what_it_means(task: Item) -> None:
    assert task.fault is None
    (path,) = task.images
    marked = pipeline.mark([load_picture(path)], task.marks)
    question = pipeline.prepare(marked, task.question, lookup.peek("bundled"))
    assert question.notes == ()
    there = things(Path(path).relative_to(SAMPLES).as_posix())
    for mark, meant in zip(marked.marks, MEANT[task.id], strict=True):
        assert mark.phrase in question.text
        x1, y1, x2, y2 = mark.bounds
        x, y = getattr(mark, "tip", None) or ((x1 + x2) / 2, (y1 + y2) / 2)
        assert [
            thing["name"]
            for thing in there
            for left, top, wide, high in [thing["bbox"]]
            if left <= x <= left + wide and top <= y <= top + high
        ] == [meant]
        if mark.kind in ("box", "ellipse", "triangle"):
            left, top, wide, high = next(thing["bbox"] for thing in there if thing["name"] == meant)
            assert x1 <= left
            assert y1 <= top
            assert x2 >= left + wide
            assert y2 >= top + high


# The scripts


@needs_bash
def test_ask_each_answers_with_a_line_for_each_picture(
    run: Run, server: Mapping[str, str], tmp_path: Path, tiny: Path
) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    shutil.copy(SAMPLES / "shapes.png", folder / "the shapes.PNG")
    shutil.copy(SAMPLES / "street-car-mask.png", folder)
    question = ["What is {1}?", "--box", "70%,0%,100%,30%", "--max-new-tokens", "4"]
    done = run(SAMPLES / "ask-each.sh", "my photos", *question, settings=server)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    assert record["question"] == "What is within the red rectangle?"
    assert record["images"][0]["source"] == "my photos/the shapes.PNG"
    assert record["model"]["name"] == str(tiny)
    assert record["tokens"]["answer"] <= 4


@needs_bash
def test_ask_each_takes_its_own_pictures(run: Run, server: Mapping[str, str]) -> None:
    done = run(SAMPLES / "ask-each.sh", "--dry-run", settings=server)
    assert (done.returncode, done.stderr) == (0, "")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {Path(record["images"][0]["source"]).name for record in records} == {*PICTURES, "marks.png"}


@needs_bash
def test_ask_each_goes_on_after_a_picture_that_fails(
    run: Run, server: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    shutil.copy(SAMPLES / "shapes.png", tmp_path / "whole.png")
    done = run(SAMPLES / "ask-each.sh", tmp_path, "--dry-run", settings=server)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert "error: " in done.stderr
    assert done.stderr.endswith(f"The picture was {tmp_path}/broken.jpg.\n1 of 2 pictures failed.\n")


@needs_bash
def test_ask_each_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    done = run(SAMPLES / "ask-each.sh", "What is this?")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "There is no folder What is this?. Put the question after the folder.\n"
    (tmp_path / "empty").mkdir()
    done = run(SAMPLES / "ask-each.sh", "empty")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "There are no pictures in empty.\n")


@needs_bash
def test_ask_marks_asks_each_row(run: Run, server: Mapping[str, str]) -> None:
    done = run(SAMPLES / "ask-marks.sh", "--dry-run", "--json", settings=server)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == len(ROWS)
    for row, record in zip(ROWS, records, strict=True):
        assert Path(record["images"][0]["source"]).name == row["picture"]
        assert record["question"] == row["question"].replace("{1}", record["marks"][0]["phrase"])
        assert record["notes"] == []


@needs_bash
def test_ask_marks_prints_an_answer(run: Run, server: Mapping[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    for name in ("ask-marks.sh", "street.jpg", "street-car-mask.png"):
        shutil.copy(SAMPLES / name, folder)
    rows = (SAMPLES / "marks.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (masked,) = [row for row in rows if "\t--mask\tstreet-car-mask.png" in row]
    (folder / "marks.tsv").write_text(rows[0] + masked, encoding="utf-8")
    done = run("two words/ask-marks.sh", "--max-new-tokens", "4", "--quiet", settings=server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    assert done.stderr == "street.jpg --mask two words/street-car-mask.png:aqua\n"


@needs_bash
def test_draw_coco_draws_each_box_in_its_own_color(run: Run, tmp_path: Path) -> None:
    done = run(SAMPLES / "draw-coco.sh", "marked ones")
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    assert set(lines) == set(PICTURES)
    for name, listed in lines.items():
        colors, names = zip(*(words.split(" ") for words in listed.split(", ")), strict=True)
        assert len(set(colors)) == len(colors)
        assert list(names) == [thing["name"] for thing in things(name)]
        boxes = []
        for color, thing in zip(colors, things(name), strict=True):
            x, y, width, height = thing["bbox"]
            boxes.append(parse_mark("box", f"{x},{y},{x + width:.1f},{y + height:.1f}:{color}"))
        expected = pipeline.mark([load_picture(str(SAMPLES / name))], boxes).pixels.astype(int)
        strayed = np.abs(pixels(tmp_path / "marked ones" / name) - expected)
        # A JPEG is written a little differently from what was drawn.
        assert strayed.max() <= (0 if name.endswith(".png") else 30)
        assert strayed.mean() < 1


@needs_bash
def test_draw_coco_takes_other_annotations(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    shutil.copy(SAMPLES / "shapes.png", folder / "one two.png")
    annotations = {
        "images": [
            {"id": 7, "file_name": "one two.png", "width": 336, "height": 336},
            {"id": 8, "file_name": "not there.png", "width": 336, "height": 336},
        ],
        "categories": [{"id": 3, "name": "round thing"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [14, 18, 56.5, 56]}],
    }
    (folder / "mine.json").write_text(json.dumps(annotations))
    done = run(SAMPLES / "draw-coco.sh", "out", "my photos/mine.json")
    assert (done.returncode, done.stdout) == (0, "one two.png: red round thing\n"), done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one two.png"]


@needs_bash
def test_draw_coco_says_how_it_is_used(run: Run) -> None:
    done = run(SAMPLES / "draw-coco.sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Usage: {SAMPLES / 'draw-coco.sh'} FOLDER [ANNOTATIONS]\n"


@pytest.mark.slow
@needs_bash
def test_ask_folder_answers_compares_and_goes_on(run: Run, tmp_path: Path) -> None:
    # The bundled model answers, for it knows what these pictures show; how well is measured elsewhere.
    command = (SAMPLES / "ask-folder.sh", "my rows", "--limit", "8")
    done = run(*command)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "my rows"
    photos, tasks = (
        [json.loads(line) for line in (out / name).read_text(encoding="utf-8").splitlines()]
        for name in ("pictures.jsonl", "tasks.jsonl")
    )
    with (out / "regions.csv").open(encoding="utf-8", newline="") as file:
        regions = list(csv.DictReader(file))
    assert {Path(row["image"]) for row in photos} == {SAMPLES / name for name in SCENES}
    assert all(row["marks"] == [] and row["answer"] and row["error"] is None for row in photos)
    assert len(regions) == 8
    assert all(f"the {row['label']} within the red rectangle" in row["question"] for row in regions)
    assert all(row["answer"] and not row["error"] for row in regions)
    assert [row["id"] for row in tasks] == [task.id for task in TASKS]

    head, *lines, last = done.stdout.splitlines()
    assert head.split() == ["task", "expected", "answer"]
    for line, row in zip(lines, tasks, strict=True):
        told = line.removesuffix("  (differs)")
        assert told.startswith(f"{row['id']:12} {row['extra']['expected']:12} ")
        assert told.endswith(f" {row['answer']}")
    matching = [line for line in lines if not line.endswith("  (differs)")]
    assert last == f"{len(matching)} of 8 answers match."

    written = {path.name: path.read_bytes() for path in out.iterdir()}
    again = run(*command)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert re.findall(r"(\d+) rows in .* (\d+) kept", again.stderr) == [("0", "6"), ("0", "8"), ("0", "8")]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written


@needs_bash
def test_ask_folder_ends_as_the_batch_does(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    done = run(SAMPLES / "ask-folder.sh", "out", "photos")
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pictures.jsonl"]
    done = run(SAMPLES / "ask-folder.sh", "other", "no photos")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no photos" in done.stderr
    assert list((tmp_path / "other").iterdir()) == []


@needs_bash
def test_ask_folder_says_how_it_is_used(run: Run) -> None:
    done = run(SAMPLES / "ask-folder.sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Usage: {SAMPLES / 'ask-folder.sh'} OUT [FOLDER] [OPTIONS]\n"
