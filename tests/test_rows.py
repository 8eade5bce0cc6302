"""Files of rows: rows survive interruptions, torn rows are repaired, and a file has a single writer."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import subprocess
import sys
import tracemalloc
from array import array
from pathlib import Path
from typing import Any

import pytest

from tests.plain import assert_plain
from vipcli.batch.parquet import write_parquet
from vipcli.batch.row_file import RowFile
from vipcli.batch.row_formats import row_format_for
from vipcli.errors import OutputError, UsageError


def row(number: int, **more: Any) -> dict[str, Any]:
    fields = {
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
    return fields | more


SUFFIXES = [".jsonl", ".csv", ".tsv"]


def open_rows(path: Path, *, resume: bool = True) -> RowFile:
    return RowFile(path, row_format_for(path, ("gold", "id")), resume=resume)


def ids(path: Path) -> list[str]:
    with open_rows(path) as file:
        return [row["id"] for _, row in file.rows()]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_are_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        offsets = [*file.append([row(1), row(2)]), *file.append([row(3, error="No.", answer=None)])]
    with open_rows(path) as again:
        rows = list(again.rows())
        assert [offset for offset, _ in rows] == offsets
        assert [row["identity"] for _, row in rows] == [f"{n:032x}" for n in (1, 2, 3)]
        assert [row["error"] for _, row in rows] == [None, None, "No."]
        again.append([row(4)])
    with open_rows(path) as again:
        assert len(list(again.rows())) == 4


def test_json_lines_hold_the_whole_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    written = row(1, id="naïve 東京 🐈", answer="a\rb\0c\u2028d")
    with open_rows(path) as file:
        file.append([written])
    assert json.loads(path.read_bytes()) == written
    assert "naïve 東京 🐈".encode() in path.read_bytes()


def test_bytes_that_are_not_text_are_escaped(tmp_path: Path) -> None:
    # The byte E9 of a file's name that is not UTF-8, as Python reads it.
    odd = "caf\udce9"
    for suffix, there in ((".jsonl", odd), (".csv", r"caf\udce9"), (".tsv", r"caf\udce9")):
        path = tmp_path / f"rows{suffix}"
        with open_rows(path) as file:
            file.append([row(1, id=odd)])
        assert rb"caf\udce9" in path.read_bytes()
        assert ids(path) == [there]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "answer", ["a\rb", "\r", "a\r\nb\n", '"', '",""\n"', "x" * 200_000, "naïve 東京 🐈", "\0", "\t,;", ""]
)
def test_any_text_is_read_back(tmp_path: Path, suffix: str, answer: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        file.append([row(1, answer=answer), row(2)])
    with open_rows(path) as file:
        assert [row["answer"] for _, row in file.rows()] == [answer, "Line 1\nLine 2"]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_is_plain_csv(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        file.append([row(1)])
    with path.open(newline="") as text:
        (one,) = csv.DictReader(text, delimiter=delimiter)
    assert one["answer"] == "Line 1\nLine 1"
    assert (one["gold"], one["task_id"]) == ("x\ny", "5")
    assert (one["width"], one["sha256"], one["label"]) == ("3", "00", 'a, "b"')
    assert one["error"] == ""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_torn_row_is_repaired_at_every_byte(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        _, second = file.append([row(1), row(2)])
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with open_rows(path) as mended:
            assert len(list(mended.rows())) == (1 if end >= second else 0)
            mended.append([row(1), row(2)] if end < second else [row(2)])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_zeros_after_a_power_failure_are_removed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        file.append([row(1)])
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(100) + b"\n")
    open_rows(path).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".jsonl", b'{"answer": 1}\n'),
        (".jsonl", b"[]\n"),
        (".jsonl", b"hello\nworld\n"),
        (".jsonl", b"[" * 100_000 + b"\n"),
        (".jsonl", b"\xff\xd8\xff\xe0\n\n"),
        (".csv", b"a,b\n1,2\n"),
        (".csv", b'"\n'),
        (".jsonl", b"no row and no end"),
        (".jsonl", b'{"id": "x", "image": "a.png"}'),
        (".jsonl", b'{"id": "x", "image": "a.png"}\n'),
        (".jsonl", b'{"id": "x", "image":\n'),
        (".jsonl", b'{"id": ' + b"[" * 100_000),
        (".jsonl", b'{"id": "x", "identity": "%032x"}\n' % 1),
        (".jsonl", b'{"id": "x", "identity": "me", "error": null}\n'),
        (".jsonl", b'{"id": 5, "identity": "%032x", "error": null}\n' % 1),
        (".jsonl", b'{"error": null, "identity": "%032x"}\n' % 1),
        (".csv", b"id,image"),
        (".csv", b'"id","picture"\n'),
        (".csv", b'"id","question"'),
    ],
)
def test_other_files_are_left_alone(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught, open_rows(path) as file:
        list(file.rows())
    assert_plain(caught.value, "rows")
    assert path.read_bytes() == content


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("more", [b"my own note\n", b"my own note", b'{"id": "x"}', b'"a"b', b"\n\n1"])
def test_rows_followed_by_other_content_are_left_alone(tmp_path: Path, suffix: str, more: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        file.append([row(1), row(2)])
    content = path.read_bytes() + more
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        open_rows(path)
    assert_plain(caught.value, "rows", f"byte {len(content) - len(more):,} ")
    assert path.read_bytes() == content
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_torn_row_in_the_middle_is_left_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        _, second, third = file.append([row(n, answer="a") for n in (1, 2, 3)])
    whole = path.read_bytes()
    content = whole[: second + 20] + b"\n" + whole[third:]
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        open_rows(path)
    assert_plain(caught.value, f"byte {second:,} ")
    assert path.read_bytes() == content


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_stray_quote_costs_no_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        file.append([row(n) for n in (1, 2, 3)])
        first, second, _ = (place for place, _ in file.rows())
    whole = path.read_bytes()
    for place in range(first, second):
        content = whole[:place] + b'"' + whole[place:]
        path.write_bytes(content)
        # Next to another quote within a cell, a stray quote may just make a different text.
        try:
            assert len(ids(path)) == 3
        except UsageError as error:
            assert_plain(error, "rows")
        assert path.read_bytes() == content


def test_a_long_file_is_not_held_in_memory(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"rows{suffix}"
        with open_rows(path) as file:
            for _ in range(10):
                file.append([row(n, answer=("a" * 500 + "\n") * 20) for n in range(10)])
        assert path.stat().st_size > 1_000_000
        tracemalloc.start()
        try:
            with open_rows(path) as file:
                offsets = array("q", (place for place, _ in file.rows()))
                file.reorder(offsets[10::-1])
            assert tracemalloc.get_traced_memory()[1] < 300_000
        finally:
            tracemalloc.stop()
        assert path.stat().st_size + Path(f"{path}.outdated").stat().st_size > 1_000_000


def test_rows_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("something\n")
    with pytest.raises(UsageError) as caught:
        open_rows(path, resume=False)
    assert_plain(caught.value, "resume")
    assert path.read_text() == "something\n"


def test_a_task_file_is_not_mistaken_for_rows(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"image": "a.png"}\n{"image": "b.png"}')
    with pytest.raises(UsageError):
        open_rows(path)
    assert path.read_text() == '{"image": "a.png"}\n{"image": "b.png"}'


def _hold(path: Path, ready: Any, over: Any) -> None:
    file = open_rows(path)
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
            open_rows(path)
        assert_plain(caught.value, "Another batch")
    finally:
        over.set()
        other.join()
    open_rows(path).close()
    assert names(tmp_path) == ["rows.jsonl"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_are_reordered(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_rows(path) as file:
        one, two, failed, old = file.append([row(1), row(2), row(3, error="No."), row(9)])
        assert file.reorder(array("q", [one, two, failed, old])) == 0
        (three,) = file.append([row(3)])
        assert file.reorder(array("q", [two, three, one])) == 1
        assert [row["id"] for _, row in file.rows()] == ["photo 2", "photo 3", "photo 1"]
        file.append([row(4)])
    with open_rows(path) as file:
        assert len(list(file.rows())) == 4
    # An error is no loss, an answer would be.
    assert "photo 9" in (tmp_path / f"rows{suffix}.outdated").read_text()
    assert "No." not in (tmp_path / f"rows{suffix}.outdated").read_text()


class InterruptedCall:
    """A function that Ctrl-C interrupts at its nth call."""

    def __init__(self, real: Any, number: int) -> None:
        self._real = real
        self._left = number

    def __call__(self, *args: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return self._real(*args)


@pytest.mark.parametrize("number", range(1, 6))
def test_reordering_may_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "rows.jsonl"
    with open_rows(path) as file:
        one, _, three = file.append([row(1), row(2), row(3)])
        # Synced in turn: the new file, what is outdated, the folder, and once it is in its place, that again.
        with monkeypatch.context() as during:
            during.setattr(os, "fsync", InterruptedCall(os.fsync, number))
            if number < 5:
                with pytest.raises(KeyboardInterrupt):
                    file.reorder(array("q", [three, one]))
            else:
                assert file.reorder(array("q", [three, one])) == 1
    if number < 4:
        assert ids(path) == ["photo 1", "photo 2", "photo 3"]
        with open_rows(path) as file:
            assert file.reorder(array("q", [three, one])) == 1
    assert ids(path) == ["photo 3", "photo 1"]
    assert names(tmp_path) == ["rows.jsonl", "rows.jsonl.outdated"]
    assert json.loads((tmp_path / "rows.jsonl.outdated").read_bytes()) == row(2)


_FILL_DISK = """
import resource, signal, sys
from array import array
from pathlib import Path
from tests.test_rows import open_rows, row
from vipcli.errors import OutputError

path, step, room = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open_rows(path) as file:
        one, two = file.append([row(1), row(2)])
        most = path.stat().st_size + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        if step == "append":
            file.append([row(3, answer="x" * 20_000)])
        else:
            file.reorder(array("q", [two, one]))
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("step", "room"), [("append", 0), ("append", 60), ("append", 9_000), ("reorder", -9)]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_whole_rows(tmp_path: Path, suffix: str, step: str, room: int) -> None:
    path = tmp_path / f"rows{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", _FILL_DISK, str(path), step, str(room)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert_plain(OutputError(done.stdout.strip()), repr(str(path)), "too large")
    assert names(tmp_path) == [path.name]
    content = path.read_bytes()
    assert ids(path) == ["photo 1", "photo 2"]
    assert path.read_bytes() == content


def test_rows_are_written_through_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link, real = tmp_path / "rows.jsonl", folder / "real.jsonl"
    link.symlink_to(real)
    # Nothing is there yet, which is no different from any other new file.
    with open_rows(link, resume=False) as file:
        _, two = file.append([row(1), row(2)])
        with pytest.raises(UsageError) as caught:
            open_rows(real)
        assert_plain(caught.value, "Another batch", repr(str(real)))
        assert file.reorder(array("q", [two])) == 1
        file.append([row(3)])
    assert link.is_symlink()
    assert ids(real) == ids(link) == ["photo 2", "photo 3"]
    assert names(tmp_path) == ["elsewhere", "rows.jsonl"]
    assert names(folder) == ["real.jsonl", "real.jsonl.outdated"]


def test_a_link_into_a_missing_folder(tmp_path: Path) -> None:
    link = tmp_path / "rows.jsonl"
    link.symlink_to(tmp_path / "missing" / "rows.jsonl")
    with pytest.raises(OutputError) as caught:
        open_rows(link)
    assert_plain(caught.value, repr(str(tmp_path / "missing")))
    assert names(tmp_path) == ["rows.jsonl"]


def test_a_link_to_another_disk(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other disk")
    real = memory / f"vipcli-test-{os.getpid()}.jsonl"
    link = tmp_path / "rows.jsonl"
    link.symlink_to(real)
    try:
        with open_rows(link) as file:
            one, two = file.append([row(1), row(2)])
            assert file.reorder(array("q", [two, one])) == 0
        assert ids(link) == ["photo 2", "photo 1"]
    finally:
        real.unlink(missing_ok=True)


def test_reordering_keeps_the_permissions(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with open_rows(path) as file:
        one, two = file.append([row(1), row(2)])
        path.chmod(0o640)
        file.reorder(array("q", [two, one]))
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        open_rows(tmp_path / "missing" / "rows.jsonl")
    assert_plain(caught.value, "missing")


def test_unknown_suffixes(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        row_format_for(tmp_path / "rows.xlsx", ())
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
    assert names(tmp_path) == ["rows.parquet"]


def test_parquet_through_a_link_and_with_bytes_that_are_not_text(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target = tmp_path / "rows.parquet"
    target.symlink_to(folder / "real.parquet")
    write_parquet([row(1, id="caf\udce9", answer="東京")], ("answer", "task_answer", "b\udce9"), target)
    assert target.is_symlink()
    assert names(folder) == ["real.parquet"]
    table = parquet.read_table(target)
    assert (table["id"].to_pylist(), table["answer"].to_pylist()) == ([r"caf\udce9"], ["東京"])
    assert table.column_names[-3:] == ["task_task_answer", "task_answer", r"b\udce9"]


def test_parquet_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "rows.parquet"
    target.write_text("before")

    def broken() -> Any:
        yield row(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parquet(broken(), (), target)
    assert target.read_text() == "before"
    assert names(tmp_path) == ["rows.parquet"]


def test_column_names_are_unique(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    extra = {"answer": "1", "task_answer": "2", "gold": "3"}
    with RowFile(path, row_format_for(path, tuple(extra)), resume=True) as file:
        file.append([row(1, extra=extra)])
    with path.open(newline="") as text:
        head, cells = csv.reader(text)
    assert len(set(head)) == len(head)
    assert head[-4:] == ["identity", "task_task_answer", "task_answer", "gold"]
    assert cells[-3:] == ["1", "2", "3"]
