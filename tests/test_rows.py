"""Files of rows: what is written stays, what is torn is mended, and nobody writes beside another."""

from __future__ import annotations

import csv
import json
import multiprocessing
from array import array
from pathlib import Path
from typing import Any

import pytest

from tests.plain import assert_plain
from vipcli.errors import OutputError, UsageError
from vipcli.rows import RowFile, Table, form_for, write_parquet


def row(number: int, **more: Any) -> dict[str, Any]:
    told = {
        "id": f"photo {number}",
        "image": f"{number}.jpg",
        "regions": [{"id": "7", "label": 'a, "b"', "score": None}],
        "extra": {"gold": "x\ny", "id": 5},
        "question": "Who?",
        "answer": f"Line 1\nLine {number}",
        "error": None,
        "probability": 0.5,
        "images": [{"source": "a", "width": 3, "height": 2, "sha256": "00"}],
        "identity": f"{number:032x}",
    }
    return told | more


FORMS = [".jsonl", ".csv", ".tsv"]


def opened(path: Path, *, resume: bool = True) -> RowFile:
    return RowFile(path, form_for(path, ("gold", "id")), resume=resume)


@pytest.mark.parametrize("ending", FORMS)
def test_rows_are_found_again(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    with opened(path) as file:
        places = [*file.append([row(1), row(2)]), *file.append([row(3, error="No.", answer=None)])]
    with opened(path) as again:
        found = list(again.rows())
        assert [place for place, _ in found] == places
        assert [one["identity"] for _, one in found] == [f"{n:032x}" for n in (1, 2, 3)]
        assert [one["error"] for _, one in found] == [None, None, "No."]
        again.append([row(4)])
    with opened(path) as again:
        assert len(list(again.rows())) == 4


def test_lines_of_json_hold_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with opened(path) as file:
        file.append([row(1, id="caf\udce9")])
    (line,) = path.read_bytes().splitlines()
    assert json.loads(line) == row(1, id="caf\udce9") | {"id": json.loads(line)["id"]}


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_opens_in_any_program(tmp_path: Path, ending: str, delimiter: str) -> None:
    path = tmp_path / f"rows{ending}"
    with opened(path) as file:
        file.append([row(1)])
    with path.open(newline="") as text:
        (one,) = csv.DictReader(text, delimiter=delimiter)
    assert one["answer"] == "Line 1\nLine 1"
    assert (one["gold"], one["task_id"]) == ("x\ny", "5")
    assert (one["width"], one["sha256"], one["label"]) == ("3", "00", 'a, "b"')
    assert one["error"] == ""


@pytest.mark.parametrize("ending", FORMS)
def test_a_torn_end_is_mended_at_every_byte(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    with opened(path) as file:
        _, second = file.append([row(1), row(2)])
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with opened(path) as mended:
            assert len(list(mended.rows())) == (1 if end >= second else 0)
            mended.append([row(1), row(2)] if end < second else [row(2)])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("ending", FORMS)
def test_zeros_after_a_power_cut_are_mended(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    with opened(path) as file:
        file.append([row(1)])
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(100) + b"\n")
    opened(path).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        (".jsonl", b'{"answer": 1}\n'),
        (".jsonl", b"[]\n"),
        (".jsonl", b"hello\nworld\n"),
        (".jsonl", b"[" * 100_000 + b"\n"),
        (".jsonl", b"\xff\xd8\xff\xe0\n\n"),
        (".csv", b"a,b\n1,2\n"),
        (".csv", b'"\n'),
        (".jsonl", b"no row and no end"),
    ],
)
def test_other_files_are_left_alone(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught, opened(path) as file:
        list(file.rows())
    assert_plain(caught.value, "rows")
    assert path.read_bytes() == content


def test_rows_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("something\n")
    with pytest.raises(UsageError) as caught:
        opened(path, resume=False)
    assert_plain(caught.value, "--resume")
    assert path.read_text() == "something\n"


def test_the_tasks_are_not_taken_for_rows(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"image": "a.png"}\n{"image": "b.png"}')
    with pytest.raises(UsageError):
        opened(path)
    assert path.read_text() == '{"image": "a.png"}\n{"image": "b.png"}'


def _hold(path: Path, ready: Any, over: Any) -> None:
    file = opened(path)
    ready.set()
    over.wait(30)
    file.close()


def test_two_batches_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(path, ready, over))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(UsageError) as caught:
            opened(path)
        assert_plain(caught.value, "Another batch")
    finally:
        over.set()
        other.join()
    opened(path).close()
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("ending", FORMS)
def test_rows_are_put_in_order(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    with opened(path) as file:
        one, two, failed, old = file.append([row(1), row(2), row(3, error="No."), row(9)])
        assert file.arrange(array("q", [one, two, failed, old])) == 0
        (three,) = file.append([row(3)])
        assert file.arrange(array("q", [two, three, one])) == 1
        assert [found["id"] for _, found in file.rows()] == ["photo 2", "photo 3", "photo 1"]
        file.append([row(4)])
    with opened(path) as file:
        assert len(list(file.rows())) == 4
    # An error is no loss, an answer would be.
    assert "photo 9" in (tmp_path / f"rows{ending}.outdated").read_text()
    assert "No." not in (tmp_path / f"rows{ending}.outdated").read_text()


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    file = opened(tmp_path / "rows.jsonl")
    file.append([row(1)])
    before = file.path.read_bytes()

    class Full:
        """A file on a disk that takes one more piece, and no more."""

        def __init__(self, real: Any) -> None:
            self._real = real

        def write(self, data: bytes) -> int:
            self._real.write(data[:10])
            self._real.flush()
            raise OSError(28, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    real = file._file
    file._file = Full(real)  # type: ignore[assignment]
    with pytest.raises(OutputError) as caught:
        file.append([row(2)])
    assert_plain(caught.value, "full")
    assert file.path.read_bytes() == before
    file._file = real
    file.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        opened(tmp_path / "missing" / "rows.jsonl")
    assert_plain(caught.value, "missing")


def test_names_that_say_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        form_for(tmp_path / "rows.xlsx", ())
    assert_plain(caught.value, ".jsonl")


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "rows.parquet"
    write_parquet((row(n) for n in range(3)), ("gold", "missing"), target)
    table = parquet.read_table(target)
    assert table["answer"].to_pylist() == [f"Line 1\nLine {n}" for n in range(3)]
    assert table["probability"].to_pylist() == [0.5] * 3
    assert table["gold"].to_pylist() == ["x\ny"] * 3
    assert table["missing"].to_pylist() == [None] * 3
    assert [file.name for file in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_table_says_what_was_carried(tmp_path: Path) -> None:
    assert Table(",", ("gold", "answer")).head.decode().rstrip().endswith("identity,gold,task_answer")
