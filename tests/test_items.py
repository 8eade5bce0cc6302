"""What a batch asks about: folders, lists, globs, tasks and annotations, in a stable order."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.plain import assert_plain
from vipcli.errors import UsageError
from vipcli.items import Item, Orders, gather
from vipcli.marks import parse_mark


def items(*sources: str | Path, stdin: bytes | None = None, **orders: object) -> list[Item]:
    job = gather(
        [str(source) for source in sources],
        Orders(**orders),  # type: ignore[arg-type]
        None if stdin is None else io.BytesIO(stdin),
    )
    found = list(job.items)
    assert job.total in (None, len(found))
    return found


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures in it and in folders of it, and things that are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "notes.md", ".hidden.png", ".cache/d.png", "clip.mp4"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "photos"


def test_a_folder_is_walked_by_name(photos: Path) -> None:
    assert [item.id for item in items("photos")] == ["photos/a.PNG", "photos/b.jpg", "photos/deep/er/c.webp"]
    assert [item.images for item in items("photos/deep")] == [("photos/deep/er/c.webp",)]


def test_videos_are_taken_where_they_are_asked_for(photos: Path) -> None:
    assert "photos/clip.mp4" in [item.id for item in items("photos", videos=True)]


def test_linked_folders_are_followed_once(photos: Path) -> None:
    (photos / "deep" / "loop").symlink_to(photos)
    (photos / "z").symlink_to(photos / "deep" / "er")
    assert [item.id for item in items("photos")][-1] == "photos/z/c.webp"
    assert sum(item.id.endswith("c.webp") for item in items("photos")) == 2


def test_a_glob_that_no_shell_has_filled_in(photos: Path) -> None:
    assert [item.id for item in items("photos/**/*.webp")] == ["photos/deep/er/c.webp"]
    assert [item.id for item in items("photos/?.*")] == ["photos/a.PNG", "photos/b.jpg"]


def test_several_sources_come_one_after_the_other(photos: Path) -> None:
    assert [item.id for item in items("photos/b.jpg", "photos/deep", "https://x.test/y.png")] == [
        "photos/b.jpg",
        "photos/deep/er/c.webp",
        "https://x.test/y.png",
    ]


@pytest.mark.parametrize(
    ("stdin", "ids"),
    [
        (b"photos/b.jpg\nmissing.jpg\r\n\n", ["photos/b.jpg", "missing.jpg"]),
        (b" spaced name.jpg", [" spaced name.jpg"]),
        (b"a\nb.jpg\0c.jpg\0", ["a\nb.jpg", "c.jpg"]),
        (b"", []),
        (b"caf\xe9.jpg\n", ["caf\udce9.jpg"]),
    ],
)
def test_a_list_on_standard_input(photos: Path, stdin: bytes, ids: list[str]) -> None:
    assert [item.id for item in items("-", stdin=stdin)] == ids


def test_tasks_on_standard_input(photos: Path) -> None:
    (one, two) = items("-", stdin=b'{"image": "a.png", "id": 7}\nno json\n', question="What?")
    assert (one.id, one.images, one.question) == ("7", ("a.png",), "What?")
    assert two.fault is not None
    assert "Line 2 of standard input" in two.fault


def test_a_list_in_a_file_names_pictures_beside_it(photos: Path) -> None:
    (photos / "list.txt").write_text("b.jpg\ndeep/er/c.webp\n")
    assert [item.images for item in items("photos/list.txt")] == [
        ("photos/b.jpg",),
        ("photos/deep/er/c.webp",),
    ]


def test_the_words_of_a_question(photos: Path) -> None:
    (item,) = items("photos/deep", question="What is in {file}, {id}? {1} {{2}} {x}")
    assert item.question == "What is in c.webp, photos/deep/er/c.webp? {1} {{2}} {x}"


def test_a_label_that_nothing_has(photos: Path) -> None:
    (item,) = items("photos/b.jpg", question="What is the {label}?")
    assert item.fault is not None
    assert "{label}" in item.fault


ROWS = [
    ({"image": "b.jpg"}, []),
    ({"image": "b.jpg", "box": "1,2,3,4:red"}, [("box", "1,2,3,4:red")]),
    ({"image": "b.jpg", "box": [1, 2.5, 3, 4e-7]}, [("box", "1 2.5 3 0.0000004")]),
    ({"image": "b.jpg", "box": [[1, 2, 3, 4], "5%,6%,7,8"]}, [("box", "1 2 3 4"), ("box", "5%,6%,7,8")]),
    ({"image": "b.jpg", "point": "1,2|3,4"}, [("point", "1,2"), ("point", "3,4")]),
    ({"image": "b.jpg", "marks": "arrow 1,2"}, [("arrow", "1,2")]),
    (
        {"image": "b.jpg", "marks": ["box 1,2,3,4:red", {"point": [5, 6]}]},
        [("box", "1,2,3,4:red"), ("point", "5 6")],
    ),
    ({"image": "b.jpg", "marks": '["scribble 1,2 3,4"]'}, [("scribble", "1,2 3,4")]),
]


@pytest.mark.parametrize(("row", "marks"), ROWS)
def test_the_marks_of_a_task(photos: Path, row: object, marks: list[tuple[str, str]]) -> None:
    (photos / "tasks.jsonl").write_text(json.dumps(row))
    last = parse_mark("box", "9,9,10,10")
    (item,) = items("photos/tasks.jsonl", typed=(last,))
    assert item.fault is None
    assert item.images == ("photos/b.jpg",)
    assert item.typed == (*(parse_mark(kind, text) for kind, text in marks), last)


@pytest.mark.parametrize(
    ("row", "naming"),
    [
        ("[1]", "Line 1"),
        ("nonsense", "Line 1"),
        ('{"a": 1' + "0" * 5000 + "}", "Line 1"),
        ("[" * 100_000, "Line 1"),
        ('{"question": "What?"}', "names no picture"),
        ('{"image": ""}', "names no picture"),
        ('{"image": 5}', "names no picture"),
        ('{"images": ["a.png", 5]}', "names no picture"),
        ('{"image": "b.jpg", "question": 5}', "question is no text"),
        ('{"image": "b.jpg", "box": "1,2"}', "The box"),
        ('{"image": "b.jpg", "box": [1, 2, 3, true]}', "numbers"),
        ('{"image": "b.jpg", "box": {"x": 1}}', "box"),
        ('{"image": "b.jpg", "box": NaN}', "box"),
        ('{"image": "b.jpg", "box": [1, 2, 3, Infinity]}', "box"),
        ('{"image": "b.jpg", "marks": ["blob 1,2"]}', "blob"),
        ('{"image": "b.jpg", "marks": "[oops"}', "marks"),
        ('{"image": "b.jpg", "marks": 5}', "5"),
        ('{"image": "b.jpg", "box": "1,2,3,4:nocolour"}', "nocolour"),
    ],
)
def test_a_bad_task_is_one_fault(photos: Path, row: str, naming: str) -> None:
    (photos / "tasks.jsonl").write_text(f'{row}\n{{"image": "b.jpg"}}\n')
    bad, good = items("photos/tasks.jsonl")
    assert bad.fault is not None
    assert naming in bad.fault
    assert_plain(UsageError(bad.fault))
    assert good.fault is None


def test_what_else_a_task_says_is_carried(photos: Path) -> None:
    (photos / "tasks.jsonl").write_text(
        '{"image": "b.jpg", "id": "x", "question": "Who?", "gold": [1], "answer": "me"}\n\n'
        '{"image": "a.PNG"}\n'
    )
    job = gather(["photos/tasks.jsonl"], Orders(question="What is in {file}?"))
    one, two = job.items
    assert (one.id, one.question, dict(one.extra)) == ("x", "Who?", {"gold": [1], "answer": "me"})
    assert (two.id, two.question, dict(two.extra)) == ("3", "What is in a.PNG?", {})
    assert (job.total, job.columns) == (2, ("gold", "answer"))


def test_a_table_of_tasks(photos: Path) -> None:
    (photos / "tasks.csv").write_bytes(
        b'\xef\xbb\xbfid,image,question,box,note\r\n1,b.jpg,"Who, ""you""?","1,2,3,4",\r\n'
        b"2,a.PNG,,,hm\r\n3,b.jpg\r\n"
    )
    one, two, three = items("photos/tasks.csv", question="What?")
    assert (one.id, one.question, one.typed) == ("1", 'Who, "you"?', (parse_mark("box", "1,2,3,4"),))
    assert (two.question, two.typed, dict(two.extra)) == ("What?", (), {"note": "hm"})
    assert three.fault is not None
    assert "Row 3" in three.fault


def test_several_pictures_of_a_task_and_a_mask_beside_it(photos: Path) -> None:
    (photos / "m.png").touch()
    (photos / "tasks.jsonl").write_text('{"images": ["a.PNG", "b.jpg"], "mask": "m.png:red"}')
    (item,) = items("photos/tasks.jsonl")
    assert item.images == ("photos/a.PNG", "photos/b.jpg")
    assert item.typed[0].file == "photos/m.png"


def test_pictures_in_another_folder(photos: Path) -> None:
    Path("tasks.jsonl").write_text('{"image": "b.jpg"}\n{"image": "/abs.png"}\n{"image": "http://x.test/a"}')
    assert [item.images[0] for item in items("tasks.jsonl", images=photos)] == [
        str(photos / "b.jpg"),
        "/abs.png",
        "http://x.test/a",
    ]


@pytest.mark.parametrize(
    ("source", "content", "naming"),
    [
        ("missing", None, "missing"),
        ("no*.jpg", None, "no*.jpg"),
        ("empty", "", "no pictures"),
        ("t.csv", "a,b\n1,2\n", "image"),
        ("t.csv", "", "image"),
        ("t.csv", 'image\n"a', "t.csv"),
    ],
)
def test_sources_that_hold_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, content: str | None, naming: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if source == "empty":
        Path(source).mkdir()
    elif content is not None:
        Path(source).write_text(content)
    with pytest.raises(UsageError) as caught:
        items(source)
    assert_plain(caught.value, naming)


COCO = {
    "images": [{"id": 5, "file_name": "b.jpg"}, {"id": 6, "file_name": "a.PNG"}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 11, "image_id": 5, "category_id": 1, "bbox": [1, 2, 30, 40]},
        {"id": 12, "image_id": 5, "category_id": 2, "bbox": [5, 6, 7, 8]},
    ],
}


def test_regions_one_by_one_and_together(photos: Path) -> None:
    (photos / "coco.json").write_text(json.dumps(COCO))
    one, two = items("photos/coco.json", question="Is the {label} in {file} big?")
    assert one.question == "Is the cat in b.jpg big?"
    assert [region.id for region in one.regions] == ["11"]
    assert one.id != two.id
    (both,) = items("photos/coco.json", question="Are {label} friends?", joint=True)
    assert both.question == "Are cat and dog friends?"
    assert [region.id for region in both.regions] == ["11", "12"]


def test_only_some_regions(photos: Path) -> None:
    from vipcli.regions import Wanted

    (photos / "coco.json").write_text(json.dumps(COCO))
    (dog,) = items("photos/coco.json", wanted=Wanted(labels=("DOG",)))
    (cat,) = items("photos/coco.json", wanted=Wanted(least_size=100))
    assert (dog.regions[0].label, cat.regions[0].label) == ("dog", "cat")
    assert items("photos/coco.json", wanted=Wanted(labels=("bird",))) == []


def test_a_benchmark_speaks_of_its_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    from vipcli.annotations import Annotated
    from vipcli.items import _asked_of
    from vipcli.regions import Region

    regions = tuple(Region("box", ((1, 2), (3, 4)), label=name) for name in ("<obj>", "obj1"))
    (item,) = _asked_of(Annotated("a.png", regions, "v1_0", "Is <obj1> left of <obj>?", {}), Orders())
    assert item.question == "Is {2} left of {1}?"
    assert item.regions == regions
    (item,) = _asked_of(Annotated("a.png", (), "v1_0", "Who is in the red box?", {}), Orders())
    assert (item.question, item.id) == ("Who is in the red box?", "v1_0")
