"""`vipcli batch` with the bundled model: runs that are killed, resumed and retried."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.commands import Ran, run
from vipcli.batch.row_file import RowFile
from vipcli.batch.row_formats import row_format_for
from vipcli.training.drawing.scenes import draw_scene

BOX = ("--question", "What is {1}?", "--box", "25%,25%,75%,75%")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of sixteen drawn scenes in it."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "photos").mkdir()
    rng = random.Random(3)
    for number in range(16):
        Image.fromarray(draw_scene(rng).marked).save(folder / "photos" / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread everywhere, because the last digits of a probability depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uninterrupted(scenes: Path) -> bytes:
    """The rows of the batch that other tests interrupt."""
    with contextlib.chdir(scenes):
        assert batch(*BOX, "-o", "uninterrupted.jsonl", "--together", "2", "--quiet") == Ran(0, "", "")
        return Path("uninterrupted.jsonl").read_bytes()


@pytest.fixture
def here(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the scenes in it."""
    (tmp_path / "photos").symlink_to(scenes / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def batch(*arguments: str, source: str = "photos", **more: Any) -> Ran:
    return run("batch", source, *arguments, **more)


def start_batch(*arguments: str, rows: Path, min_rows: int) -> subprocess.Popen[str]:
    """Start a batch in a process of its own, and wait until some of its rows are written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vipcli", "batch", "photos", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if rows.exists() and rows.read_bytes().count(b"\n") >= min_rows:
            return process
        assert process.poll() is None
        time.sleep(0.01)
    raise AssertionError("no rows were written")


def lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_each_picture_has_its_row(uninterrupted: bytes) -> None:
    rows = [json.loads(line) for line in uninterrupted.splitlines()]
    assert [row["id"] for row in rows] == [f"photos/{number:02}.png" for number in range(16)]
    assert {row["question"] for row in rows} == {"What is within the red rectangle?"}
    assert all(row["error"] is None and row["answer"] for row in rows)
    assert {row["model"]["name"] for row in rows} == {"bundled"}


def test_a_killed_batch_resumes(here: Path, uninterrupted: bytes) -> None:
    arguments = (*BOX, "-o", "rows.jsonl", "--together", "2", "--quiet")
    process = start_batch(*arguments, rows=here / "rows.jsonl", min_rows=4)
    process.kill()
    process.communicate()
    assert (here / "rows.jsonl").read_bytes().count(b"\n") < 16
    # A power failure may leave part of a row.
    with (here / "rows.jsonl").open("ab") as file:
        file.write(uninterrupted[:200])
    refused = batch(*arguments)
    assert refused.code == 2
    assert "--resume" in refused.err
    assert batch(*arguments, "--resume").code == 0
    assert (here / "rows.jsonl").read_bytes() == uninterrupted
    assert sorted(file.name for file in here.iterdir()) == ["photos", "rows.jsonl"]


def test_an_interrupted_batch_resumes(here: Path, uninterrupted: bytes) -> None:
    arguments = (*BOX, "-o", "rows.jsonl", "--together", "2")
    process = start_batch(*arguments, rows=here / "rows.jsonl", min_rows=4)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # A shell reports both as 130.
    assert process.returncode in (130, -signal.SIGINT)
    assert "To continue, run the same command with --resume." in err
    assert "Traceback" not in err
    there = (here / "rows.jsonl").read_bytes()
    assert uninterrupted.startswith(there)
    assert len(there) < len(uninterrupted)
    ran = batch(*arguments, "--resume", "--json")
    counts = json.loads(ran.out)
    assert counts["kept"] == there.count(b"\n")
    assert counts["answered"] == 16 - counts["kept"]
    assert (here / "rows.jsonl").read_bytes() == uninterrupted


def test_a_second_batch_on_the_same_file_is_refused(here: Path) -> None:
    # test_rows has the same with two processes.
    path = here / "rows.jsonl"
    with RowFile(path, row_format_for(path, ()), resume=False):
        ran = batch(*BOX, "-o", "rows.jsonl", "--resume", "--quiet")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: Another batch is writing to 'rows.jsonl'.")


def test_failed_items_are_reported_and_can_be_retried(here: Path) -> None:
    (here / "tasks.jsonl").write_text(
        '{"image": "photos/00.png", "gold": "x"}\n{"image": "late.png"}\n'
        'no row\n{"image": "photos/01.png", "box": "1,2"}\n'
    )
    arguments = ("--question", "How many things are there?", "-o", "rows.jsonl")
    ran = batch(*arguments, source="tasks.jsonl")
    assert ran.code == 3
    assert "3 errors" in ran.err
    assert "--retry-failed" in ran.err
    rows = lines("rows.jsonl")
    assert [row["error"] is None for row in rows] == [True, False, False, False]
    assert rows[0]["extra"] == {"gold": "x"}
    before = (here / "rows.jsonl").read_bytes()
    # Nothing has changed, so there is nothing to do; the errors are errors still.
    assert batch(*arguments, "--resume", "--quiet", source="tasks.jsonl") == Ran(3, "", "")
    assert (here / "rows.jsonl").read_bytes() == before
    Image.open("photos/02.png").save("late.png")
    (here / "tasks.jsonl").write_text(
        '{"image": "photos/00.png", "gold": "x"}\n{"image": "late.png"}\n{"image": "photos/01.png"}\n'
    )
    assert batch(*arguments, "--retry-failed", "--quiet", source="tasks.jsonl") == Ran(0, "", "")
    rows = lines("rows.jsonl")
    assert [row["image"] for row in rows] == ["photos/00.png", "late.png", "photos/01.png"]
    assert all(row["error"] is None for row in rows)
    assert (here / "rows.jsonl").read_bytes().splitlines()[0] == before.splitlines()[0]


def test_rows_equal_the_records_of_ask(here: Path) -> None:
    *_, row = [json.loads(line) for line in batch(*BOX, "--json", "--limit", "3").out.splitlines()]
    ran = run("ask", row["image"], "What is {1}?", "--box", "25%,25%,75%,75%", "--json")
    asked = json.loads(ran.out)
    for name in ("question", "answer", "prompt", "marks", "tokens", "images", "model"):
        assert row[name] == asked[name]
    assert row["probability"] == pytest.approx(asked["probability"], abs=1e-4)


def test_annotations_with_answers_and_marked_pictures(here: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "00.png"}, {"id": 2, "file_name": "01.png"}],
        "categories": [{"id": 1, "name": "thing"}, {"id": 2, "name": "other"}],
        "annotations": [
            {"id": 7, "image_id": 1, "category_id": 1, "bbox": [5, 5, 60, 60]},
            {"id": 8, "image_id": 1, "category_id": 2, "bbox": [50, 50, 40, 40]},
            {"id": 9, "image_id": 2, "category_id": 1, "bbox": [5, 5, 60, 60]},
        ],
        "info": {"year": 2026},
    }
    (here / "coco.json").write_text(json.dumps(coco))
    ran = batch(
        *(
            "--question",
            "Is the {label} {1} red?",
            "--images",
            "photos",
            "--as",
            "ellipse",
            "--label",
            "thing",
        ),
        *("-o", "rows.csv", "--coco-out", "answers.json", "--save-marked", "marked", "--quiet"),
        source="coco.json",
    )
    assert ran == Ran(0, "", "")
    with Path("rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["region"], row["label"]) for row in rows] == [("7", "thing"), ("9", "thing")]
    assert rows[0]["question"] == "Is the thing within the red ellipse red?"
    answered = json.loads(Path("answers.json").read_text())
    assert answered["info"] == coco["info"]
    assert [annotation.get("answer") for annotation in answered["annotations"]] == [
        rows[0]["answer"],
        None,
        rows[1]["answer"],
    ]
    assert len(list(Path("marked").rglob("*.png"))) == 2


def test_answers_without_a_file(here: Path) -> None:
    names = b"photos/00.png\nmissing.png\nphotos/01.png\n"
    ran = batch("--question", "How many things are there?", source="-", stdin=names)
    assert ran.code == 3
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["photos/00.png", "photos/01.png"]
    assert "error: missing.png: There is no file 'missing.png'." in ran.err


def test_rows_stay_apart_from_the_progress_bar(here: Path) -> None:
    ours, theirs = os.openpty()
    file = (here / "rows").open("wb")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vipcli",
            "batch",
            "photos",
            *BOX,
            "--json",
            "--together",
            "1",
            "--limit",
            "6",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        stdout=file,
        stderr=theirs,
    )
    file.close()
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert process.wait(60) == 0
    assert len(lines(here / "rows")) == 6
    assert b"/6" in shown
    assert b"identity" not in shown


def test_an_empty_list_leaves_the_rows_alone(here: Path) -> None:
    row = b'{"id": "a", "error": null, "identity": "%032x"}\n' % 5
    (here / "rows.jsonl").write_bytes(row)
    ran = batch(*BOX, "-o", "rows.jsonl", "--resume", source="-", stdin=b"")
    assert ran.code == 2
    assert "There is nothing to ask about" in ran.err
    assert (here / "rows.jsonl").read_bytes() == row


def test_parquet(here: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    ran = batch(*BOX, "-o", "rows.parquet", "--limit", "2", "--quiet")
    assert ran == Ran(0, "", "")
    assert parquet.read_table("rows.parquet")["answer"].to_pylist() == [
        row["answer"] for row in lines("rows.parquet.jsonl")
    ]


def test_a_dry_run_needs_no_model(here: Path) -> None:
    ran = batch("--question", "What is {1} of {file}?", "--box", "1,2,30,40", "--dry-run", "--limit", "2")
    assert ran == Ran(
        0,
        "photos/00.png\tWhat is within the red rectangle of 00.png?\n"
        "photos/01.png\tWhat is within the red rectangle of 01.png?\n",
        "",
    )


def test_a_dry_run_as_json(here: Path) -> None:
    names = b"photos/00.png\nmissing.png\n"
    ran = batch(*BOX, "--dry-run", "--json", source="-", stdin=names)
    assert (ran.code, ran.err) == (3, "")
    asked, missing = (json.loads(line) for line in ran.out.splitlines())
    assert asked["question"] == "What is within the red rectangle?"
    assert asked["prompt"].endswith("What is within the red rectangle?###Assistant:")
    assert asked["marks"][0]["phrase"] == "within the red rectangle"
    assert "answer" not in asked
    assert (missing["id"], missing["error"]) == (
        "missing.png",
        "There is no file 'missing.png'. Check the path.",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--as", "circle"), 2, "--as is 'circle', but takes one of box, "),
        (("--resume",), 2, "Name the output file with -o."),
        (("--coco-out", "x.json"), 2, "Name the output file with -o."),
        (
            ("-o", "rows.xlsx"),
            2,
            "The file name 'rows.xlsx' has no supported ending. Use one of .jsonl, ",
        ),
        (("-o", "missing/rows.jsonl"), 1, "There is no folder 'missing'."),
        (("--images", "nowhere"), 2, "There is no folder 'nowhere'."),
        (("--min-size", "-1"), 2, "Invalid value for '--min-size': "),
        (("--together", "0"), 2, "Invalid value for '--together': "),
        (("--form", "coco"), 1, "The folder 'photos' holds no COCO file."),
        (("--coco-out", "x.json", "-o", "rows.jsonl"), 2, "The file 'photos' is not a COCO file"),
        (("photos", "--coco-out", "x.json", "-o", "r.jsonl"), 2, "With --coco-out, name one COCO file"),
        (
            ("--label", "cat", "--question", "What is the {label}?", "-o", "full.jsonl"),
            2,
            "The file 'full.jsonl' already contains rows. Continue it with --resume, ",
        ),
    ],
)
def test_options_that_make_no_sense(here: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    (here / "full.jsonl").write_text("{}\n")
    ran = batch("--limit", "1", *arguments)
    assert ran.code == code
    assert ran.err.startswith(f"error: {message}")
    assert ran.err.count("\n") == 1
    assert sorted(file.name for file in here.iterdir()) == ["full.jsonl", "photos"]


def test_an_error_that_all_items_share_ends_the_batch(here: Path) -> None:
    names = b"photos/00.png\n" * 5000
    ran = batch("--question", "What is {2}?", "-o", "rows.jsonl", source="-", stdin=names)
    assert ran.code == 2
    assert "items so far fail with the same error: The question mentions mark {2}" in ran.err
    assert len(lines("rows.jsonl")) < 2000
