"""Damaged annotation files: whatever they hold, items come out, or one sentence.

`pytest -m fuzz tests/test_fuzz_annotations.py` reads ten thousand of them.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from tests.annotated import assert_sound, disc, photo
from vipcli.annotations.reading import FORMS, form_of, read
from vipcli.errors import MarkError, VipcliError
from vipcli.marks.kinds import BY_KIND
from vipcli.marks.regions import Region, RegionFilter, mark_for

EXAMPLES = 75
THOROUGH = 2500
"""For each of the four forms."""


def small_mask() -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.eye(6, dtype=np.bool_)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def packed_runs() -> str:
    runs = coco_mask.encode(np.asfortranarray(disc(), np.uint8))
    return str(runs["counts"].decode())


COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}, {"id": 2, "file_name": "b.png"}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9], [2, 2, 5, 2, 5, 5]]},
        {"id": 3, "image_id": 2, "segmentation": {"size": [4, 5], "counts": [3, 5, 2, 1, 9]}, "iscrowd": 1},
        {"id": 4, "image_id": 2, "segmentation": {"size": [48, 64], "counts": packed_runs()}},
    ],
}
LABELME: dict[str, Any] = {
    "version": "5.5.0",
    "flags": {"night": True},
    "shapes": [
        {
            "label": "cat",
            "points": [[1, 1], [9, 9]],
            "shape_type": "rectangle",
            "group_id": 1,
            "flags": {"a": True},
        },
        {"label": "cat", "points": [[1, 1], [9, 9], [5, 40]], "shape_type": "polygon", "group_id": 1},
        {"label": "dog", "points": [[20, 20], [25, 20]], "shape_type": "circle", "group_id": None},
        {"label": "dog", "points": [[20, 20], [25, 20]], "shape_type": "linestrip"},
        {"label": "m", "points": [[3, 3], [8, 8]], "shape_type": "mask", "mask": small_mask()},
    ],
    "imagePath": "a.png",
}
YOLO = "0 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.25 0.5 0.75\n1 0 0 0.5 0 0.5 1\n0 0 0 0.5 0 0.5 1 0 1\n"
VOC = (
    "<annotation><filename>a.png</filename><size><width>64</width><height>48</height></size>"
    "<object><name>cat</name><difficult>1</difficult>"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>"
    "<object><name>dog</name><polygon><x1>1</x1><y1>2</y1><x2>9</x2><y2>2</y2><x3>9</x3><y3>8</y3></polygon>"
    "</object></annotation>"
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


ODD: list[Any] = [
    *(None, True, False, 0, -1, 2, 7.5, -0.0, 10**6, 10**6 + 1, -(10**9), 10**30, 10**400, 1e308, 5e-324),
    *(
        math.nan,
        math.inf,
        -math.inf,
        "",
        " ",
        "x",
        "1",
        "nan",
        "\0",
        "\ud800",
        "\x1b[2J\n",
        "…" * 300,
        "0" * 5000,
    ),
    *("../c.png", "../../../etc/passwd", "/etc/passwd", "b.png", "link.png", "C:\\a.png", "a.png/", "."),
    *([], {}, [[]], [{}], [None], [1], [1, 2], [[1, 2], [3, 4]], [[1, 2, 3, 4, 5, 6]], [math.nan] * 4),
    *(
        [0] * 1000,
        nested(300),
        {"size": [4, 5], "counts": "00"},
        {"size": [10**5, 2000], "counts": [2 * 10**8]},
    ),
    *("polygon", "points", "mask", "circle", "line", "rectangle"),
]
odd_values = st.sampled_from(ODD)
WORDS = [
    "",
    "x",
    "nan",
    "inf",
    "-1",
    "1e999999999",
    "1e5",
    "9" * 400,
    "0.5",
    "٣",
    "1_0",
    "\0",
    "\ufeff",
    "../c.png",
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as what holds it and its name or number there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield value, name
        yield from places(part)


def damaged_json(draw: st.DrawFn, whole: dict[str, Any]) -> bytes:
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(0, 4))):
        holder, name = draw(st.sampled_from(list(places(value))))
        match draw(st.sampled_from(["replace", "replace", "delete", "double"])):
            case "replace":
                holder[name] = copy.deepcopy(draw(odd_values))
            case "delete":
                del holder[name]
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[name]))
        if not value:
            break
    return json.dumps(value).encode()


def damaged_words(draw: st.DrawFn, text: str, pieces: Callable[[str], list[str]]) -> bytes:
    words = pieces(text)
    values = [at for at, word in enumerate(words) if word.strip() and not word.startswith("<")]
    for _ in range(draw(st.integers(0, 4))):
        # A value for a value mostly, for else little of XML would be left to read.
        some = draw(st.sampled_from([values, values, values, range(len(words))]))
        words[draw(st.sampled_from(some))] = draw(st.sampled_from([*WORDS, *(words[at] for at in some)]))
    return "".join(words).encode()


def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut off, torn apart, mixed with what does not belong there, or, mostly, whole."""
    how = draw(
        st.sampled_from(["whole", "whole", "whole", "cut", "insert", "remove", "flip", "mark", "wide"])
    )
    at = draw(st.integers(0, len(data)))
    match how:
        case "cut":
            return data[:at]
        case "insert":
            return data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
        case "remove":
            return data[:at] + data[at + draw(st.integers(1, 40)) :]
        case "flip":
            return data[:at] + bytes(255 - byte for byte in data[at : at + 1]) + data[at + 1 :]
        case "mark":
            return b"\xef\xbb\xbf" + data
        case "wide":
            return data.decode(errors="replace").encode("utf-16")
        case _:
            return data


@st.composite
def damaged_files(draw: st.DrawFn, form: str) -> bytes:
    match form:
        case "coco":
            data = damaged_json(draw, COCO)
        case "labelme":
            data = damaged_json(draw, LABELME)
        case "yolo":
            data = damaged_words(draw, YOLO, lambda text: [*text.replace(" ", "\0 \0").split("\0")])
        case _:
            data = damaged_words(
                draw, VOC, lambda text: [*text.replace("<", "\n<").replace(">", ">\n").split("\n")]
            )
    return damaged_bytes(draw, data)


ENDINGS = {"coco": "json", "labelme": "json", "yolo": "txt", "voc": "xml"}
forms = pytest.mark.parametrize("form", ENDINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    photo(root / "images" / "a.png")
    photo(root / "images" / "b.png")
    photo(root / "c.png")
    (root / "images" / "link.png").symlink_to(root / "c.png")
    return root / "images"


def check(form: str, folder: Path, data: bytes) -> None:
    """Read it as what it is, as what it seems, and as one of a folder."""
    file = folder / f"a.{ENDINGS[form]}"
    file.write_bytes(data)
    try:
        assert form_of(file) in (None, *FORMS)
        for source, asked in ((file, form), (file, None), (folder, form)):
            check_reading(source, folder, asked)
    finally:
        file.unlink()


def check_reading(source: Path, folder: Path, form: str | None) -> None:
    try:
        items = list(read(source, None, form))
    except VipcliError as error:
        assert str(error).isprintable() and len(str(error)) < 400
        return
    for item in items:
        assert_sound(item)
        if item.fault is None:
            assert Path(item.image).resolve().is_relative_to(folder)
        for region in item.regions:
            check_region(region)


def check_region(region: Region) -> None:
    assert all(math.isfinite(number) for number in region.bounds or ())
    assert region.size is not None and math.isfinite(region.size)
    assert RegionFilter(min_size=0, min_score=-math.inf).accepts(region)
    for kind in BY_KIND:
        try:
            mark = mark_for(region, kind)
        except MarkError as error:
            assert str(error).isprintable()
        else:
            assert len(mark.text) <= 60 and mark.text.isprintable()


@forms
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_damaged_files_end_in_items_or_a_sentence(form: str, folder: Path, data: st.DataObject) -> None:
    check(form, folder, data.draw(damaged_files(form)))


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@forms
@settings(max_examples=THOROUGH, deadline=None)
@given(data=st.data())
def test_ten_thousand_damaged_files(form: str, folder: Path, data: st.DataObject) -> None:
    check(form, folder, data.draw(damaged_files(form)))


@forms
def test_whole_files_are_read(form: str, folder: Path) -> None:
    """What the damage is done to is sound."""
    whole = {"coco": json.dumps(COCO), "labelme": json.dumps(LABELME), "yolo": YOLO, "voc": VOC}[form]
    file = folder / f"a.{ENDINGS[form]}"
    file.write_text(whole)
    items = list(read(file))
    file.unlink()
    assert sum(len(item.regions) for item in items) == {"coco": 4, "labelme": 5, "yolo": 4, "voc": 2}[form]
