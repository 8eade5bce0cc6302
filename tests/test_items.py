"""What a batch asks about: folders, lists, globs, tasks and annotations, in a stable order."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from tests.plain import assert_plain
from vipcli.batch.items import Item, ItemOptions
from vipcli.batch.row_formats import JsonLinesFormat
from vipcli.batch.sources import PHOTOS, gather
from vipcli.errors import Message, UsageError
from vipcli.marks.kinds import parse_mark


def items(*sources: str | Path, stdin: bytes | None = None, **options: object) -> list[Item]:
    stream = gather(
        [str(source) for source in sources],
        ItemOptions(**options),  # type: ignore[arg-type]
        None if stdin is None else io.BytesIO(stdin),
    )
    batch_items = list(stream.items)
    assert stream.total in (None, len(batch_items))
    return batch_items


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures in it and in its subfolders, and with other files."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "notes.md", ".hidden.png", ".cache/d.png", "clip.mp4"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "photos"


def test_a_folder_is_walked_by_name(photos: Path) -> None:
    assert [item.id for item in items("photos")] == ["photos/a.PNG", "photos/b.jpg", "photos/deep/er/c.webp"]
    assert [item.images for item in items("photos/deep")] == [("photos/deep/er/c.webp",)]


def test_videos_are_listed_only_on_request(photos: Path) -> None:
    assert "photos/clip.mp4" in [item.id for item in items("photos", include_videos=True)]


def test_links_to_folders_are_followed_but_not_in_circles(photos: Path) -> None:
    (photos / "deep" / "loop").symlink_to(photos)
    (photos / "z").symlink_to(photos / "deep" / "er")
    assert [item.id for item in items("photos")][-1] == "photos/z/c.webp"
    assert sum(item.id.endswith("c.webp") for item in items("photos")) == 2


def test_a_glob_that_the_shell_did_not_expand(photos: Path) -> None:
    assert [item.id for item in items("photos/**/*.webp")] == ["photos/deep/er/c.webp"]
    assert [item.id for item in items("photos/?.*")] == ["photos/a.PNG", "photos/b.jpg"]


def test_sources_keep_their_order(photos: Path) -> None:
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
    assert "Line 2 of standard input" in str(two.fault)


def test_a_list_in_a_file_names_pictures_beside_it(photos: Path) -> None:
    (photos / "list.txt").write_text("b.jpg\ndeep/er/c.webp\n")
    assert [item.images for item in items("photos/list.txt")] == [
        ("photos/b.jpg",),
        ("photos/deep/er/c.webp",),
    ]


def test_placeholders_in_a_question(photos: Path) -> None:
    (item,) = items("photos/deep", question="What is in {file}, {id}? {1} {{2}} {x}")
    assert item.question == "What is in c.webp, photos/deep/er/c.webp? {1} {{2}} {x}"


def test_a_label_placeholder_without_a_label(photos: Path) -> None:
    (item,) = items("photos/b.jpg", question="What is the {label}?")
    assert item.fault is not None
    assert "{label}" in str(item.fault)


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
    (item,) = items("photos/tasks.jsonl", marks=(last,))
    assert item.fault is None
    assert item.images == ("photos/b.jpg",)
    assert item.marks == (*(parse_mark(kind, text) for kind, text in marks), last)


@pytest.mark.parametrize(
    ("row", "naming"),
    [
        ("[1]", "Line 1"),
        ("nonsense", "Line 1"),
        ('{"a": 1' + "0" * 5000 + "}", "Line 1"),
        ("[" * 100_000, "Line 1"),
        ('{"image": "b.jpg", "gold": ' + "[" * 100 + "]" * 100 + "}", "too deeply"),
        ('{"image": "b.jpg", "marks": "' + "[" * 101 + "]" * 101 + '"}', "too deeply"),
        ('{"image": null, "images": null}', "names no picture"),
        ('{"question": "What?"}', "names no picture"),
        ('{"image": ""}', "names no picture"),
        ('{"image": 5}', "names no picture"),
        ('{"images": ["a.png", 5]}', "names no picture"),
        ('{"image": "b.jpg", "question": 5}', "question of this task is not a string"),
        ('{"image": "b.jpg", "box": "1,2"}', "The box"),
        ('{"image": "b.jpg", "box": [1, 2, 3, true]}', "numbers"),
        ('{"image": "b.jpg", "box": {"x": 1}}', "box"),
        ('{"image": "b.jpg", "box": [1, 2, 3, NaN]}', "box"),
        ('{"image": "b.jpg", "box": [1, 2, 3, Infinity]}', "box"),
        ('{"image": "b.jpg", "marks": ["blob 1,2"]}', "blob"),
        ('{"image": "b.jpg", "marks": "[oops"}', "marks"),
        ('{"image": "b.jpg", "marks": 5}', "5"),
        ('{"image": "b.jpg", "box": "1,2,3,4:nocolour"}', "nocolour"),
    ],
)
def test_a_bad_task_is_a_faulty_item(photos: Path, row: str, naming: str) -> None:
    (photos / "tasks.jsonl").write_text(f'{row}\n{{"image": "b.jpg"}}\n')
    bad, good = items("photos/tasks.jsonl")
    assert bad.fault is not None
    assert naming in str(bad.fault)
    assert_plain(UsageError(bad.fault.fact, bad.fault.advice))
    assert good.fault is None


def test_other_fields_of_a_task_are_copied(photos: Path) -> None:
    (photos / "tasks.jsonl").write_text(
        '{"image": "b.jpg", "id": "x", "question": "Who?", "gold": [1], "answer": "me"}\n\n'
        '{"image": "a.PNG"}\n'
    )
    stream = gather(["photos/tasks.jsonl"], ItemOptions(question="What is in {file}?"))
    one, two = stream.items
    assert (one.id, one.question, dict(one.extra)) == ("x", "Who?", {"gold": [1], "answer": "me"})
    assert (two.id, two.question, dict(two.extra)) == ("3", "What is in a.PNG?", {})
    assert (stream.total, stream.columns) == (2, ("gold", "answer"))


def test_a_table_of_tasks(photos: Path) -> None:
    (photos / "tasks.csv").write_bytes(
        b'\xef\xbb\xbfid,image,question,box,note\r\n1,b.jpg,"Who, ""you""?","1,2,3,4",\r\n'
        b"2,a.PNG,,,hm\r\n3,b.jpg\r\n"
    )
    one, two, three = items("photos/tasks.csv", question="What?")
    assert (one.id, one.question, one.marks) == ("1", 'Who, "you"?', (parse_mark("box", "1,2,3,4"),))
    assert (two.question, two.marks, dict(two.extra)) == ("What?", (), {"note": "hm"})
    assert three.fault is not None
    assert "Row 3" in str(three.fault)


def test_several_pictures_of_a_task_and_a_mask_beside_it(photos: Path) -> None:
    (photos / "m.png").touch()
    (photos / "tasks.jsonl").write_text('{"images": ["a.PNG", "b.jpg"], "mask": "m.png:red"}')
    (item,) = items("photos/tasks.jsonl")
    assert item.images == ("photos/a.PNG", "photos/b.jpg")
    assert item.marks[0].file == "photos/m.png"


def test_pictures_in_another_folder(photos: Path) -> None:
    Path("tasks.jsonl").write_text('{"image": "b.jpg"}\n{"image": "/abs.png"}\n{"image": "http://x.test/a"}')
    assert [item.images[0] for item in items("tasks.jsonl", image_folder=photos)] == [
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
def test_sources_without_items(
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


def test_regions_one_at_a_time_or_jointly(photos: Path) -> None:
    (photos / "coco.json").write_text(json.dumps(COCO))
    one, two = items("photos/coco.json", question="Is the {label} in {file} big?")
    assert one.question == "Is the cat in b.jpg big?"
    assert [region.id for region in one.regions] == ["11"]
    assert one.id != two.id
    (both,) = items("photos/coco.json", question="Are {label} friends?", joint=True)
    assert both.question == "Are cat and dog friends?"
    assert [region.id for region in both.regions] == ["11", "12"]


def test_regions_are_filtered(photos: Path) -> None:
    from vipcli.marks.regions import RegionFilter

    (photos / "coco.json").write_text(json.dumps(COCO))
    (dog,) = items("photos/coco.json", region_filter=RegionFilter(labels=("DOG",)))
    (cat,) = items("photos/coco.json", region_filter=RegionFilter(min_size=100))
    assert (dog.regions[0].label, cat.regions[0].label) == ("dog", "cat")
    assert items("photos/coco.json", region_filter=RegionFilter(labels=("bird",))) == []


def test_region_labels_in_a_benchmark_question_become_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    from vipcli.annotations.reading import AnnotatedImage
    from vipcli.batch.sources import items_of
    from vipcli.marks.regions import Region

    regions = tuple(Region("box", ((1, 2), (3, 4)), label=name) for name in ("<obj>", "obj1"))
    (item,) = items_of(
        AnnotatedImage("a.png", regions, "v1_0", "Is <obj1> left of <obj>?", {}), ItemOptions()
    )
    assert item.question == "Is {2} left of {1}?"
    assert item.regions == regions
    (item,) = items_of(AnnotatedImage("a.png", (), "v1_0", "Who is in the red box?", {}), ItemOptions())
    assert (item.question, item.id) == ("Who is in the red box?", "v1_0")


def encoded(item: Item) -> bytes:
    """The fields of an item as they are written to a row file."""
    row = {
        "id": item.id,
        "extra": item.extra,
        "question": item.question,
        "error": item.fault and str(item.fault),
    }
    return JsonLinesFormat().encode(row)


def test_numbers_that_json_cannot_express_become_null(photos: Path) -> None:
    (photos / "tasks.jsonl").write_text(
        '{"image": "b.jpg", "box": NaN, "gold": [NaN, Infinity, {"x": -Infinity}, 1e999, 1.5, -0.25e1]}'
    )
    (item,) = items("photos/tasks.jsonl")
    assert (item.fault, item.marks) == (None, ())
    assert item.extra == {"gold": [None, None, {"x": None}, None, 1.5, -2.5]}
    assert encoded(item)


def test_tasks_nested_too_deeply_to_be_written_are_faulty(photos: Path) -> None:
    depths = (98, 99, 100, 900, 990)
    (photos / "tasks.jsonl").write_text(
        "\n".join('{"image": "b.jpg", "gold": ' + "[" * depth + "]" * depth + "}" for depth in depths)
    )
    batch_items = items("photos/tasks.jsonl")
    assert [item.fault is None for item in batch_items] == [True, True, False, False, False]
    assert all(map(encoded, batch_items))


def test_lone_surrogates_are_replaced_in_ids(photos: Path) -> None:
    half = "\\ud800"
    (photos / "tasks.jsonl").write_text(
        f'{{"image": "b.jpg", "id": "a{half}", "gold": "{half}", "mask": "{half}.png"}}\n'
        f'{{"image": "{half}.jpg"}}'
    )
    one, two = items("photos/tasks.jsonl", question="What is {file}, {id}?")
    assert (one.id, one.extra, one.question) == ("a?", {"gold": "\ud800"}, "What is b.jpg, a??")
    assert two.images == ("photos/\ud800.jpg",)
    assert encoded(one)
    assert encoded(two)


@pytest.mark.parametrize("name", ["question", "box", "id", "marks", "images"])
def test_null_is_the_same_as_no_field(photos: Path, name: str) -> None:
    (photos / "tasks.jsonl").write_text(json.dumps({"image": "b.jpg", name: None, "gold": None}))
    (item,) = items("photos/tasks.jsonl", question="What is in {file}?")
    assert item == Item("1", ("photos/b.jpg",), "What is in b.jpg?", extra={"gold": None})


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_list_may_hold_tasks(photos: Path, mark: bytes) -> None:
    content = mark + b'{"image": "b.jpg", "gold": 1}\n\n{"image": "a.PNG"}\n'
    (photos / "list.txt").write_bytes(content)
    stream = gather(["photos/list.txt"], ItemOptions())
    assert [item.images for item in stream.items] == [("photos/b.jpg",), ("photos/a.PNG",)]
    assert (stream.total, stream.columns) == (2, ("gold",))
    assert [item.images for item in items("-", stdin=content)] == [("b.jpg",), ("a.PNG",)]


def test_a_byte_order_mark_is_not_part_of_a_name(photos: Path) -> None:
    (photos / "list.txt").write_bytes(b"\xef\xbb\xbfb.jpg\n")
    assert [item.id for item in items("photos/list.txt")] == ["photos/b.jpg"]
    assert [item.id for item in items("-", stdin=b"\xef\xbb\xbfb.jpg\n")] == ["b.jpg"]


LONG = "x" * 300 + ".png"


@pytest.mark.parametrize("source", [LONG, f"{LONG}*", "photos/b.jpg/c.png", "a\0b.png", "x" * 5000])
def test_impossible_names_as_sources(photos: Path, source: str) -> None:
    with pytest.raises(UsageError) as caught:
        items(source)
    assert_plain(caught.value, source[:1])


@pytest.mark.parametrize("name", [LONG, "b.jpg/c.png", "a\0b.png", "../" * 2000 + "a.png", "link.png"])
def test_impossible_names_in_files_become_items(photos: Path, name: str) -> None:
    (photos / "link.png").symlink_to("link.png")
    (photos / "tasks.jsonl").write_text(json.dumps({"image": name, "mask": LONG}))
    (photos / "list.txt").write_text(f"b.jpg\n{name}\n")
    (task,) = items("photos/tasks.jsonl")
    assert (task.images, task.marks[0].file, task.fault) == ((f"photos/{name}",), LONG, None)
    if "\0" not in name:
        assert [item.id for item in items("photos/list.txt")] == ["photos/b.jpg", f"photos/{name}"]
        assert [item.id for item in items("-", stdin=name.encode())] == [name]
    (task,) = items("photos/tasks.jsonl", image_folder=Path(LONG))
    assert task.images == (str(Path(LONG) / name),)


def test_a_glob_may_match_broken_links(photos: Path) -> None:
    (photos / "deep" / "c*.png").symlink_to("nowhere")
    (photos / "deep" / "cc.png").symlink_to("cc.png")
    assert [item.id for item in items("photos/deep/c*.png")] == ["photos/deep/c*.png", "photos/deep/cc.png"]


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.csv", "list.txt"])
def test_files_that_cannot_be_read(photos: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / name).touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UsageError) as caught:
        items(photos / name)
    assert_plain(caught.value, name, "Permission denied")


def test_a_task_file_that_is_deleted_meanwhile(photos: Path) -> None:
    (photos / "tasks.jsonl").write_text('{"image": "b.jpg"}')
    stream = gather(["photos/tasks.jsonl"], ItemOptions())
    (photos / "tasks.jsonl").unlink()
    with pytest.raises(UsageError, match=r"tasks\.jsonl.*No such file"):
        list(stream.items)


class Breaking(io.BytesIO):
    """A stream that fails after so many chunks."""

    def __init__(self, content: bytes, pieces: int) -> None:
        super().__init__(content)
        self.pieces = pieces

    def read1(self, size: int | None = -1, /) -> bytes:
        self.pieces -= 1
        if self.pieces < 0:
            raise IsADirectoryError(21, "Is a directory")
        return super().read1(size)


@pytest.mark.parametrize("content", [b"b.jpg\n", b'{"image": "b.jpg"}\n'])
@pytest.mark.parametrize("pieces", [0, 1])
def test_standard_input_that_cannot_be_read(content: bytes, pieces: int) -> None:
    with pytest.raises(UsageError) as caught:
        list(gather(["-"], ItemOptions(), Breaking(content, pieces)).items)
    assert_plain(caught.value, "Standard input", "Is a directory")


def test_a_link_to_itself_is_listed_as_a_file(photos: Path) -> None:
    for name in ("me.png", "me"):
        (photos / "deep" / name).symlink_to(name)
    assert [item.id for item in items("photos/deep")] == ["photos/deep/er/c.webp", "photos/deep/me.png"]


def test_an_unreadable_subfolder_is_a_faulty_item(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Deeper than any path may lead, which holds for the superuser, too.
    monkeypatch.chdir(photos)
    name = "c" * 250
    for _ in range(17):
        Path(name).mkdir()
        os.chdir(name)
    Path("never.png").touch()
    monkeypatch.chdir(photos.parent)
    stream = gather(["photos"], ItemOptions(question="What?"))
    first, second, bad, last = stream.items
    assert stream.total == 4
    assert [item.id for item in (first, second, last)] == [
        "photos/a.PNG",
        "photos/b.jpg",
        "photos/deep/er/c.webp",
    ]
    assert bad.id.startswith("photos/ccc")
    assert bad.fault is not None
    assert_plain(UsageError(bad.fault.fact, bad.fault.advice), "'photos/ccc", "File name too long")


def test_an_unreadable_folder_is_an_error(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError) as caught:
        items("photos", form=PHOTOS)
    assert_plain(caught.value, "'photos'", "Permission denied")


def test_folders_that_the_batch_writes_to_are_skipped(photos: Path) -> None:
    Path("link").symlink_to(photos / "deep")
    left_out = (Path("link"), Path("to-come"))
    assert [item.id for item in items("photos", excluded_folders=left_out)] == [
        "photos/a.PNG",
        "photos/b.jpg",
    ]
    assert [item.id for item in items("photos/*", excluded_folders=left_out)] == [
        "photos/a.PNG",
        "photos/b.jpg",
        "photos/clip.mp4",
        "photos/notes.md",
    ]
    assert [item.id for item in items("photos/deep", "photos/b.jpg", excluded_folders=left_out)] == [
        "photos/b.jpg"
    ]
    with pytest.raises(UsageError) as caught:
        items("photos/deep", excluded_folders=left_out)
    assert_plain(caught.value, "'photos/deep'", "writes")


@pytest.mark.parametrize(
    ("address", "id", "file"),
    [
        ("https://x.test/a/y.png?from=z/w.png#v/u", "https://x.test/a/y.png?from=z/w.png#v/u", "y.png"),
        ("https://me:se@cret@x.test/y.png", "https://x.test/y.png", "y.png"),
        ("http://me:secret@x.test", "http://x.test", ""),
        ("http://x.test?a/b.png", "http://x.test?a/b.png", ""),
        ("http://[x/y.png", "http://[x/y.png", "y.png"),
    ],
)
def test_an_address_in_ids_and_questions(photos: Path, address: str, id: str, file: str) -> None:
    (photos / "list.txt").write_text(address)
    for source, stdin in ((address, None), ("photos/list.txt", None), ("-", address.encode())):
        (item,) = items(source, stdin=stdin, question="{file} of {id}")
        assert (item.id, item.images, item.question) == (id, (address,), f"{file} of {id}")
    (photos / "tasks.jsonl").write_text(json.dumps({"image": address}))
    (task,) = items("photos/tasks.jsonl", question="{file} of {id}")
    assert (task.images, task.question) == ((address,), f"{file} of 1")


def test_a_note_tells_that_a_folder_is_read_as_annotations(photos: Path) -> None:
    (photos / "coco.json").write_text(json.dumps(COCO))
    stream = gather([str(photos)], ItemOptions())
    assert len(list(stream.items)) == 2
    assert stream.notes == (
        Message(
            f"The folder {str(photos)!r} is read as annotations (coco).",
            "To ask about the pictures in it instead, use {form=photos}.",
        ),
    )
    assert len(items(photos, form="photos")) == 3
