"""Annotation files of every form: read, found, left out, and never trusted."""

from __future__ import annotations

import base64
import io
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.annotated import assert_sound, disc, photo
from tests.plain import assert_plain
from vipcli.annotations.reading import FORMS, AnnotatedImage, form_of, read
from vipcli.errors import FAILED, AnnotationError, ImageError
from vipcli.marks.regions import Region, mark_for
from vipcli.pictures.images import load_picture, size_of

Pixels = NDArray[np.uint8]


def turned(path: Path, width: int = 64, height: int = 48) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return photo(path, width, height, exif=exif)


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def every(source: Path, images: Path | None = None, form: str | None = None) -> list[AnnotatedImage]:
    items = list(read(source, images, form))
    for item in items:
        assert_sound(item)
    return items


def only(source: Path, images: Path | None = None, form: str | None = None) -> AnnotatedImage:
    (item,) = every(source, images, form)
    assert item.fault is None, item.fault
    return item


# COCO


def coco(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "images": [
            {"id": 7, "file_name": "b.png", "width": 64, "height": 48},
            {"id": 3, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 9, "file_name": "empty.png"},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 70, "image_id": 3, "category_id": 18, "bbox": [1, 2, 10, 20], "score": 0.5},
            {"id": 71, "image_id": 7, "category_id": 1, "bbox": [0, 0, 4.5, 4]},
            {"id": 72, "image_id": 3, "category_id": 99, "bbox": [5, 5, 1, 1], "iscrowd": 1},
        ],
    }
    return whole | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "empty.png"):
        photo(tmp_path / name)
    return tmp_path


def test_coco_boxes(folder: Path) -> None:
    file = written(folder / "coco.json", coco())
    assert form_of(file) == "coco"
    one, other = every(file)
    assert (one.image, one.id, one.extra) == (str(folder / "b.png"), "7", {})
    assert one.regions == (Region("box", ((0, 0), (4.5, 4)), label="cat", id="71"),)
    assert (other.id, other.extra) == ("3", {"regions": {"72": {"iscrowd": True}}})
    assert other.regions == (
        Region("box", ((1, 2), (11, 22)), label="dog", id="70", score=0.5),
        Region("box", ((5, 5), (6, 6)), label="99", id="72"),
    )


def annotated(folder: Path, **entry: Any) -> list[AnnotatedImage]:
    """What comes of one COCO annotation."""
    entries = [{"id": 1, "image_id": 3, "category_id": 1} | entry]
    return every(written(folder / "coco.json", coco(annotations=entries)))


def region_of(folder: Path, **entry: Any) -> Region:
    ((item,), fault) = (annotated(folder, **entry), None)
    assert item.fault is fault
    (region,) = item.regions
    return region


def test_coco_polygons(folder: Path) -> None:
    segmentation = [[1, 1, 9, 1, 9, 9], [20, 20, 30, 20, 30, 30, 20, 30], []]
    region = region_of(folder, segmentation=segmentation)
    polygons = (((1, 1), (9, 1), (9, 9)), ((20, 20), (30, 20), (30, 30), (20, 30)))
    assert region == Region("contour", polygons=polygons, label="cat", id="1")
    region = region_of(folder, segmentation=segmentation[0], bbox=[1, 1, 8, 8])
    assert region == Region("box", ((1, 1), (9, 9)), polygons[:1], label="cat", id="1")
    assert mark_for(region, "mask").polygons == polygons[:1]


def filled(region: Region) -> NDArray[np.bool_]:
    from vipcli.marks.colors import named_color
    from vipcli.marks.drawing import draw
    from vipcli.marks.kinds import MaskMark
    from vipcli.marks.styles import Style

    mark = MaskMark(named_color("red"), region.polygons)
    marked = draw(np.zeros((48, 64, 3), np.uint8), [mark], [Style(0, alpha=255)])
    return np.asarray(marked[..., 0] == 255)


@pytest.mark.parametrize("compressed", [True, False])
def test_coco_run_lengths_with_a_hole(folder: Path, compressed: bool) -> None:
    from pycocotools import mask as coco_mask

    mask = disc()
    if compressed:
        runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        counts = runs["counts"].decode()
    else:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.T.ravel()])))
        counts = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    region = region_of(folder, segmentation={"size": [48, 64], "counts": counts}, bbox=[15, 10, 46, 38])
    assert np.array_equal(filled(region), mask)
    assert region.points == ((15, 10), (61, 48))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({}, "neither a bbox nor a segmentation"),
        ({"bbox": [1, 2, 3]}, "not four numbers"),
        ({"bbox": "box"}, "'box'"),
        ({"bbox": {"x": 1}}, "an object"),
        ({"bbox": [1, 2, 3, None]}, "nothing where a number"),
        ({"bbox": [1, 2, 3, True]}, "true where a number"),
        ({"bbox": [1, 2, 3, [4]]}, "a list where a number"),
        ({"bbox": [1, 2, float("nan"), 4]}, "nan where a number"),
        ({"bbox": [1, 2, 3, float("inf")]}, "where a number"),
        ({"bbox": [1, 2, 3, 10**400]}, "a huge number"),
        ({"bbox": [1e9, 2, 3, 4]}, "far outside"),
        ({"bbox": [1, 2, -3, 4]}, "negative width or height"),
        ({"segmentation": [[1, 2, 3, 4]]}, "fewer than three points"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "only one coordinate"),
        ({"segmentation": 5}, "neither polygons nor run lengths"),
        ({"segmentation": {"size": [48, 64]}}, "neither polygons nor run lengths"),
        ({"segmentation": {"size": [48], "counts": []}}, "two whole numbers"),
        ({"segmentation": {"size": [48.5, 64], "counts": []}}, "two whole numbers"),
        ({"segmentation": {"size": [0, 64], "counts": [0]}}, "two whole numbers"),
        ({"segmentation": {"size": [900_000, 900_000], "counts": [810_000_000_000]}}, "too many"),
        ({"segmentation": {"size": [48, 64], "counts": [1, 2]}}, "do not add up to 64 × 48"),
        ({"segmentation": {"size": [4, 4], "counts": []}}, "do not add up"),
        ({"segmentation": {"size": [4, 4], "counts": [20, -4]}}, "do not add up"),
        ({"segmentation": {"size": [4, 4], "counts": [16]}}, "mask is empty"),
        ({"segmentation": {"size": [4, 4], "counts": [8, 8.0]}}, "not whole numbers"),
        ({"segmentation": {"size": [4, 4], "counts": None}}, "neither a list nor a string"),
        ({"segmentation": {"size": [4, 4], "counts": "é"}}, "damaged"),
        ({"segmentation": {"size": [4, 4], "counts": "oooooooooooo0"}}, "damaged"),
        ({"segmentation": {"size": [4, 4], "counts": "o"}}, "truncated"),
        ({"segmentation": {"size": [4, 4], "counts": "00"}}, "do not add up"),
    ],
)
def test_damaged_coco_annotations_are_left_out(folder: Path, entry: dict[str, Any], why: str) -> None:
    good = {"id": 2, "image_id": 3, "bbox": [1, 1, 2, 2]}
    entries = [{"id": 17, "image_id": 3, **entry}, good]
    one, other = every(written(folder / "coco.json", coco(annotations=entries)))
    assert [region.id for region in one.regions] == ["2"]
    assert other.image == one.image and other.fault is not None
    assert why in other.fault and "'17'" in other.fault and "coco.json" in other.fault
    (alone,) = annotated(folder, **entry)
    assert alone.fault is not None and why in alone.fault


def test_one_fault_tells_of_all_damaged_regions_of_an_image(folder: Path) -> None:
    entries = [{"id": number, "image_id": 3} for number in range(5)]
    (item,) = every(written(folder / "coco.json", coco(annotations=entries)))
    assert item.fault is not None and item.fault.endswith("a segmentation, and 4 more like it.")


def test_coco_entries_that_belong_to_no_image(folder: Path) -> None:
    entries = [
        5,
        {"image_id": [3]},
        {"image_id": 4, "bbox": [1, 1, 2, 2]},
        {"image_id": 3.0, "bbox": [1, 1, 2, 2]},
    ]
    images = [*coco()["images"], {"file_name": "x"}, None, {"id": True}]
    one, lost = every(written(folder / "coco.json", coco(annotations=entries, images=images)))
    assert one.id == "3"
    assert lost.fault is not None and "coco.json', 6 entries belong" in lost.fault


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("coco.json", "a.png"),
        ("coco.json", "images/a.png"),
        ("annotations/coco.json", "images/a.png"),
        ("annotations/instances_val2017.json", "val2017/a.png"),
    ],
)
def test_where_coco_images_are(tmp_path: Path, annotations: str, images: str) -> None:
    photo(tmp_path / images)
    entries = [{"id": 1, "image_id": 3, "bbox": [1, 1, 2, 2]}]
    item = only(written(tmp_path / annotations, coco(annotations=entries)))
    assert item.image == str(tmp_path / images)


def test_a_folder_with_one_coco_file(folder: Path) -> None:
    written(folder / "_annotations.coco.json", coco())
    assert form_of(folder) == "coco"
    assert [item.id for item in every(folder)] == ["7", "3"]
    written(folder / "more.json", coco())
    with pytest.raises(AnnotationError, match="more than one"):
        read(folder)


def test_detections_in_the_form_of_coco_results(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "COCO_val2014_000000000139.jpg")
    photo(tmp_path / "images" / "street.png")
    results: list[Any] = [
        {"image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.25},
        {"image_id": "street", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 5, "file_name": "street.png", "category_id": 2, "bbox": [1, 1, 3, 4], "score": 0.5},
        {"image_id": 4, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5},
        7,
    ]
    file = written(tmp_path / "results.json", results)
    assert form_of(file) == "coco"
    one, two, three, fault = every(file)
    assert one.image.endswith("COCO_val2014_000000000139.jpg")
    assert one.regions == (Region("box", ((1, 2), (4, 6)), label="1", id="1", score=0.25),)
    assert [two.id, three.id] == ["street", "street.png"]
    assert fault.fault is not None and "'4'" in fault.fault
    with pytest.raises(AnnotationError) as caught:
        read(written(tmp_path / "far" / "away" / "results.json", results))
    assert_plain(caught.value, "results.json", "with images,")


# labelme


def labelme(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "a.png"} | more


def shape(kind: str | None, *points: Any, **more: Any) -> dict[str, Any]:
    return {"label": "cat", "points": list(points), "shape_type": kind, "group_id": None} | more


@pytest.mark.parametrize(
    ("kind", "points", "region"),
    [
        ("rectangle", ([9, 8], [1, 2]), Region("box", ((1, 2), (9, 8)))),
        ("rectangle", ([1, 2], [9, 2], [9, 8], [1, 8]), Region("box", ((1, 2), (9, 8)))),
        ("circle", ([30, 20], [33, 24]), Region("ellipse", ((25, 15), (35, 25)))),
        ("polygon", ([1, 1], [9, 1], [9, 9]), Region("contour", polygons=(((1, 1), (9, 1), (9, 9)),))),
        (None, ([1, 1], [9, 1], [9, 9]), Region("contour", polygons=(((1, 1), (9, 1), (9, 9)),))),
        ("point", ([3, 4],), Region("point", ((3, 4),))),
        ("line", ([3, 4], [5, 6]), Region("scribble", ((3, 4), (5, 6)))),
        ("linestrip", ([3, 4], [5, 6], [9, 9]), Region("scribble", ((3, 4), (5, 6), (9, 9)))),
        ("points", ([3, 4],), Region("point", ((3, 4),))),
    ],
)
def test_labelme_shapes(folder: Path, kind: str, points: Any, region: Region) -> None:
    file = written(folder / "a.json", labelme(shape(kind, *points)))
    assert form_of(file) == "labelme"
    item = only(file)
    assert (item.image, item.id, item.extra) == (str(folder / "a.png"), "a.png", {})
    (found,) = item.regions
    assert (found.label, found.id) == ("cat", "1")
    assert (found.kind, found.points, found.polygons) == (region.kind, region.points, region.polygons)


def test_labelme_points_are_a_region_each(folder: Path) -> None:
    item = only(written(folder / "a.json", labelme(shape("points", [1, 2], [3, 4]))))
    assert [(region.points, region.id) for region in item.regions] == [(((1, 2),), "1.1"), (((3, 4),), "1.2")]


def test_labelme_mask(folder: Path) -> None:
    mask = disc()[10:41, 15:46]
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    item = only(written(folder / "a.json", labelme(shape("mask", [15, 10], [45, 40], mask=data))))
    whole = np.zeros((48, 64), np.bool_)
    whole[10:41, 15:46] = mask
    assert item.regions[0].kind == "mask"
    assert np.array_equal(filled(item.regions[0]), whole)


def test_labelme_groups_and_flags(folder: Path) -> None:
    left, right = ([1, 1], [9, 1], [9, 9]), ([20, 1], [29, 1], [29, 9])
    shapes = [
        shape("polygon", *left, group_id=4, flags={"far": True, "near": False}),
        shape("rectangle", [1, 1], [2, 2], group_id=4),
        shape("polygon", *right, group_id=4),
        shape("polygon", *right, group_id=4, label="dog"),
    ]
    item = only(written(folder / "a.json", labelme(*shapes, flags={"night": True, "rain": False})))
    assert [region.kind for region in item.regions] == ["contour", "box", "contour"]
    assert [len(region.polygons) for region in item.regions] == [2, 0, 1]
    assert item.extra["flags"] == ["night"]
    assert item.extra["regions"]["1"] == {"flags": ["far"], "group_id": "4"}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (7, "not an object"),
        (shape("polygon", [1, 1], [2, 2]), "do not form a polygon"),
        (shape("circle", [1, 1]), "do not form a circle"),
        (shape("line", [1, 1], [1, 1]), "do not form a line"),
        (shape("mask"), "do not form a mask"),
        (shape("mask", [1, 1], [2, 2]), "mask image is missing"),
        (shape("mask", [1, 1], [2, 2], mask="!!!"), "mask image is damaged"),
        (shape("mask", [1, 1], [2, 2], mask="aGVsbG8="), "mask image is damaged"),
        (shape("star", [1, 1]), "'star'"),
        (shape("point", [1, 1, 1]), "not two numbers"),
        (shape("point", 5), "5 where a list"),
        (shape("point", [1, "x"]), "'x'"),
        (shape("point", [1, float("nan")]), "nan"),
        ({"label": "cat", "shape_type": "point"}, "no list of points"),
        ({"label": "cat", "shape_type": ["point"], "points": [[1, 1]]}, "a list"),
    ],
)
def test_damaged_labelme_shapes_are_left_out(folder: Path, bad: Any, why: str) -> None:
    one, other = every(written(folder / "a.json", labelme(shape("point", [3, 4]), bad)))
    assert len(one.regions) == 1
    assert other.fault is not None and "Shape 2" in other.fault and why in other.fault


def test_a_folder_of_labelme_files(folder: Path) -> None:
    written(folder / "notes" / "b.json", labelme(shape("point", [1, 1]), imagePath="../b.png"))
    written(folder / "a.json", labelme(shape("point", [1, 1])))
    written(folder / "broken.json", "{")
    written(folder / "empty.json", labelme(imagePath="empty.png"))
    assert form_of(folder) == "labelme"
    one, broken, other = every(folder)
    assert one.id == "a.png"
    assert broken.fault is not None and "broken.json" in broken.fault
    # `../b.png` leads out of the folder of the file, so only a folder of images makes it fine.
    assert other.fault is not None and "b.png" in other.fault
    assert [item.id for item in every(folder, folder) if item.fault is None] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("../images/x.png", True),
        ("..\\images\\x.png", True),
        ("x.png", True),
        ("elsewhere/x.png", True),
        ("/nowhere/x.png", True),
        ("C:\\photos\\x.png", True),
        ("sub/y.png", True),
        ("../images/sub/y.png", True),
        ("../secret.png", False),
        ("../../secret.png", False),
        ("link.png", False),
        ("z.png", False),
        ("x.png\0", False),
        ("x" * 5000 + ".png", False),
        ("\ud800.png", False),
        ("", False),
        (" ", False),
        ("..", False),
        (".", False),
        (5, False),
        (["x.png"], False),
        (None, False),
    ],
)
def test_names_of_images_never_lead_out_of_their_folder(tmp_path: Path, name: object, found: bool) -> None:
    photo(tmp_path / "images" / "x.png")
    photo(tmp_path / "images" / "sub" / "y.png")
    photo(tmp_path / "secret.png")
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    file = written(tmp_path / "labels" / "q.json", labelme(shape("point", [1, 1]), imagePath=name))
    (item,) = every(file, tmp_path / "images")
    assert (item.fault is None) is found
    if found:
        assert Path(item.image).resolve().is_relative_to(tmp_path / "images")


def test_absolute_names_are_fine_below_the_folder(folder: Path) -> None:
    content = coco(
        images=[{"id": 3, "file_name": str(folder / "a.png")}], annotations=coco()["annotations"][:1]
    )
    assert only(written(folder / "coco.json", content)).image == str(folder / "a.png")


def test_a_folder_of_images_may_itself_be_a_link(tmp_path: Path) -> None:
    photo(tmp_path / "disk" / "a.png")
    (tmp_path / "images").symlink_to(tmp_path / "disk")
    file = written(tmp_path / "a.json", labelme(shape("point", [1, 1])))
    assert only(file, tmp_path / "images").image == str(tmp_path / "images" / "a.png")


def test_a_labelme_file_without_a_path_goes_with_its_namesake(folder: Path) -> None:
    file = written(folder / "a.json", {"shapes": [shape("point", [1, 1])]})
    assert only(file).image == str(folder / "a.png")


# YOLO


def yolo(root: Path, lines: str = "1 0.5 0.5 0.25 0.5\n", yaml: str | None = None) -> Path:
    photo(root / "images" / "train" / "a.jpg", 200, 100)
    written(root / "labels" / "train" / "a.txt", lines)
    if yaml is not None:
        written(root / "data.yaml", yaml)
    return root


NAMES = "path: .\ntrain: images/train\nnames:\n  0: cat\n  1: dog\n"


@pytest.mark.parametrize(
    ("line", "region"),
    [
        ("1 0.5 0.5 0.25 0.5", Region("box", ((75, 25), (125, 75)), label="dog", id="1")),
        ("0 0.5 0.5 0.25 0.5 0.75", Region("box", ((75, 25), (125, 75)), label="cat", id="1", score=0.75)),
        ("0 0.5 0.5 0.25 0.5 12", Region("box", ((75, 25), (125, 75)), label="cat", id="1")),
        ("1.0e0 0.5 0.5 0.25 0.5", Region("box", ((75, 25), (125, 75)), label="dog", id="1")),
        ("5 0.5 0.5 0.25 0.5", Region("box", ((75, 25), (125, 75)), label="5", id="1")),
        (
            "0 0 0 0.5 0 0.5 1",
            Region("contour", polygons=(((0, 0), (100, 0), (100, 100)),), label="cat", id="1"),
        ),
        (
            "0 0 0 0.5 0 0.5 1 0.5",
            Region("contour", polygons=(((0, 0), (100, 0), (100, 100)),), label="cat", id="1", score=0.5),
        ),
        (
            "0 0 0 0.5 0 0.5 1 0 1",
            Region("contour", polygons=(((0, 0), (100, 0), (100, 100), (0, 100)),), label="cat", id="1"),
        ),
    ],
)
def test_yolo_rows(tmp_path: Path, line: str, region: Region) -> None:
    item = only(yolo(tmp_path, line, NAMES))
    assert item.image == str(tmp_path / "images" / "train" / "a.jpg")
    assert item.id == "images/train/a.jpg"
    assert item.regions == (region,)


def test_yolo_of_a_turned_picture(tmp_path: Path) -> None:
    yolo(tmp_path)
    turned(tmp_path / "images" / "train" / "a.jpg", 200, 100)
    assert only(tmp_path).regions[0].points == ((37.5, 50), (62.5, 150))


def test_yolo_poses(tmp_path: Path) -> None:
    yaml = NAMES + "kpt_shape: [2, 3]\n"
    item = only(yolo(tmp_path, "0 0.5 0.5 0.25 0.5 0.1 0.1 2 0.2 0.2 2\n", yaml))
    assert item.regions == (Region("box", ((75, 25), (125, 75)), label="cat", id="1"),)


@pytest.mark.parametrize(
    ("yaml", "label"),
    [
        ("names: [cat, dog]", "dog"),
        ("names: {0: cat, 1: dog}", "dog"),
        ("names: {'1': dog}", "dog"),
        ("names: [[cat], [dog]]", ""),
        ("nc: 2", "1"),
        ("names: [cat\n", "1"),
        ("- names", "1"),
        ("names: &a [*a]", "1"),
        ("\xff", "1"),
    ],
)
def test_yolo_class_names(tmp_path: Path, yaml: str, label: str) -> None:
    yolo(tmp_path)
    written(tmp_path / "data.yaml", yaml.encode("latin-1"))
    assert only(tmp_path, form="yolo").regions[0].label == label


@pytest.mark.parametrize("source", ["data.yaml", "", "labels", "labels/train", "labels/train/a.txt"])
@pytest.mark.parametrize("train", ["images/train", "../images/train", "/somewhere/else", "[images/train]"])
def test_the_ways_to_name_a_yolo_data_set(tmp_path: Path, source: str, train: str) -> None:
    yolo(tmp_path, yaml=f"train: {train}\nval: null\nnames: [cat, dog]\n")
    assert form_of(tmp_path / source) == "yolo"
    (region,) = only(tmp_path / source).regions
    assert region.label == "dog"
    assert only(tmp_path / source, tmp_path / "images").id in ("train/a.jpg", "a.jpg")


def test_yolo_splits_are_read_in_order_and_no_others(tmp_path: Path) -> None:
    for split in ("test", "train", "val", "unlisted"):
        photo(tmp_path / split / "images" / f"{split}.png")
        written(tmp_path / split / "labels" / f"{split}.txt", "0 0.5 0.5 0.5 0.5")
    file = written(
        tmp_path / "data.yaml", "train: ../train/images\nval: val/images\ntest: test/images\nnames: [x]"
    )
    assert [item.id for item in every(file)] == [f"{s}/images/{s}.png" for s in ("train", "val", "test")]
    assert [Path(item.image).stem for item in every(tmp_path / "val")] == ["val"]


def test_yolo_labels_beside_images_with_classes(tmp_path: Path) -> None:
    photo(tmp_path / "a.JPG", 100, 100)
    photo(tmp_path / "b.png", 100, 100)
    written(tmp_path / "a.txt", "1 0.5 0.5 0.5 0.5\n\n0 0.5 0.5 1 1\n")
    written(tmp_path / "b.txt", "")
    written(tmp_path / "classes.txt", "cat\r\nfire engine\r\n")
    assert form_of(tmp_path) == "yolo"
    item = only(tmp_path)
    assert [(region.label, region.id) for region in item.regions] == [("fire engine", "1"), ("cat", "3")]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("0 0.5 0.5 0.5", "fewer than four"),
        ("cat 0.5 0.5 0.5 0.5", "'cat' where a number"),
        ("-1 0.5 0.5 0.5 0.5", "not a whole number"),
        ("0.5 0.5 0.5 0.5 0.5", "not a whole number"),
        ("1e999999999 0.5 0.5 0.5 0.5", "where a number"),
        ("0 nan 0.5 0.5 0.5", "'nan'"),
        ("0 0.5 0.5 inf 0.5", "'inf'"),
        ("0 0.5 0.5 -0.5 0.5", "negative width or height"),
        ("0 99999 0.5 0.5 0.5", "far outside"),
        ("0 0 0 1 1 0.5 " + "9" * 5000, "where a number"),
    ],
)
def test_damaged_yolo_lines_are_left_out(tmp_path: Path, line: str, why: str) -> None:
    one, other = every(yolo(tmp_path, f"0 0.5 0.5 0.5 0.5\n{line}\n", NAMES))
    assert len(one.regions) == 1
    assert other.fault is not None and "Line 2" in other.fault and why in other.fault


def test_yolo_pictures_that_are_missing_or_damaged(tmp_path: Path) -> None:
    yolo(tmp_path)
    written(tmp_path / "labels" / "train" / "b.txt", "0 0.5 0.5 0.5 0.5")
    written(tmp_path / "images" / "train" / "a.jpg", b"\xff\xd8\xff")
    written(tmp_path / "labels" / "train" / "c.txt", b"\xff\xfe")
    one, two, three = every(tmp_path, form="yolo")
    assert one.fault is not None and "a.jpg" in one.fault
    assert two.fault is not None and "'b'" in two.fault
    assert three.fault is not None and "c.txt" in three.fault


# Sizes from headers


@pytest.mark.parametrize("orientation", range(9))
def test_sizes_are_those_of_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("jpg", "png", "tif", "webp"):
        path = str(photo(tmp_path / f"a.{ending}", 40, 30, exif=exif))
        picture = load_picture(path)
        assert size_of(path) == (picture.width, picture.height)


def test_sizes_of_what_is_no_picture(tmp_path: Path) -> None:
    for name, data in {
        "e.png": b"",
        "t.png": b"hello",
        "h.jpg": b"\xff\xd8\xff\xe0",
        "w.png": b"<html>",
    }.items():
        with pytest.raises(ImageError):
            size_of(str(written(tmp_path / name, data)))
    with pytest.raises(ImageError, match="no file"):
        size_of(str(tmp_path / "none.png"))


# Pascal VOC

VOC = """<annotation><folder>VOC</folder><filename>{name}</filename>
<size><width>64</width><height>48</height><depth>3</depth></size>{objects}</annotation>"""
BOX = "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>"


def voc(path: Path, *objects: str, name: str = "a.png") -> Path:
    inner = "".join(f"<object>{one}</object>" for one in objects)
    return written(path, VOC.format(name=name, objects=inner))


@pytest.mark.parametrize(
    ("inner", "region"),
    [
        (
            "<name>cat</name>" + BOX.format(1, 2, 30, 40),
            Region("box", ((1, 2), (30, 40)), label="cat", id="1"),
        ),
        (BOX.format(30, 40, 1.5, " 2\n"), Region("box", ((1.5, 2), (30, 40)), id="1")),
        (
            "<name>a\n  b</name>"
            "<polygon><x1>1</x1><y1>2</y1><x2>9</x2><y2>2</y2><x3>9</x3><y3>8</y3></polygon>",
            Region("contour", polygons=(((1, 2), (9, 2), (9, 8)),), label="a b", id="1"),
        ),
        (
            "<polygon><username>me</username><pt><x>1</x><y>2</y></pt><pt><x>9</x><y>2</y></pt>"
            "<pt><x>9</x><y>8</y></pt></polygon>" + BOX.format(1, 2, 9, 8),
            Region("box", ((1, 2), (9, 8)), (((1, 2), (9, 2), (9, 8)),), id="1"),
        ),
    ],
)
def test_voc_objects(folder: Path, inner: str, region: Region) -> None:
    file = voc(folder / "a.xml", inner)
    assert form_of(file) == "voc"
    item = only(file)
    assert (item.image, item.id, item.regions) == (str(folder / "a.png"), "a.png", (region,))


def test_voc_flags(folder: Path) -> None:
    box = BOX.format(1, 2, 3, 4)
    item = only(voc(folder / "a.xml", f"<difficult>1</difficult><truncated>0</truncated>{box}", box))
    assert item.extra == {"regions": {"1": {"difficult": True}}}


def test_the_folders_of_a_voc_devkit(tmp_path: Path) -> None:
    photo(tmp_path / "VOC2012" / "JPEGImages" / "2007_000027.jpg")
    file = voc(
        tmp_path / "VOC2012" / "Annotations" / "2007_000027.xml", BOX.format(1, 2, 3, 4), name="2007_000027"
    )
    for source in (tmp_path, tmp_path / "VOC2012", file.parent, file):
        assert form_of(source) == "voc"
        assert Path(only(source).image).name == "2007_000027.jpg"
    assert only(tmp_path).id == "VOC2012/JPEGImages/2007_000027.jpg"


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        ("", "neither a bndbox nor a polygon"),
        ("<bndbox/>", "nothing where a number"),
        (BOX.format(1, 2, "x", 4), "'x'"),
        (BOX.format(1, 2, "", 4), "'' where a number"),
        (BOX.format(1, "NaN", 3, 4), "'NaN'"),
        (BOX.format(1, "-1e300", 3, 4), "far outside"),
        ("<polygon><x1>1</x1><y1>2</y1></polygon>", "fewer than three"),
        ("<polygon><x1>1</x1></polygon>", "only one coordinate"),
    ],
)
def test_damaged_voc_objects_are_left_out(folder: Path, inner: str, why: str) -> None:
    one, other = every(voc(folder / "a.xml", BOX.format(1, 2, 3, 4), inner))
    assert len(one.regions) == 1
    assert other.fault is not None and "Object 2" in other.fault and why in other.fault


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><annotation><filename>&j;</filename></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'
)


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS.encode(),
        OUTSIDE.encode(),
        b"",
        b"<annotation>",
        b"<annotation><object></annotation>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nonsense"?><annotation/>',
        b"<other/>",
        b"\x00" * 100,
    ],
)
def test_xml_that_is_not_read(folder: Path, content: bytes) -> None:
    file = written(folder / "a.xml", content)
    assert form_of(file) is None
    for form in ("voc", None):
        with pytest.raises(AnnotationError) as caught:
            read(file, form=form)
        assert_plain(caught.value, "a.xml")


def test_deep_xml(folder: Path) -> None:
    deep = "<a>" * 100_000 + "</a>" * 100_000
    assert every(written(folder / "a.xml", VOC.format(name="a.png", objects=deep))) == []


# Mask images


def mask(path: Path, pixels: NDArray[np.bool_] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(disc() if pixels is None else pixels).convert("L").save(path)
    return path


def test_mask_images_go_with_the_images_of_their_names(tmp_path: Path) -> None:
    masks, images = tmp_path / "masks", tmp_path / "photos"
    for name in ("cat.jpg", "cat_big.jpg", "dog.jpg", "house.jpg", "alone.jpg"):
        photo(images / name)
    for name in (
        "cat.png",
        "cat_2.png",
        "cat_big-left ear.png",
        "dog/nose.png",
        "dog/dog_3.png",
        "house_mask.png",
    ):
        mask(masks / name)
    mask(masks / "ghost.png")
    mask(masks / "nobody" / "x.png")
    assert form_of(masks) == "masks"
    *items, ghost, nobody = every(masks, images)
    assert [(item.id, [(r.id, r.label) for r in item.regions]) for item in items] == [
        ("cat.jpg", [("cat.png", ""), ("cat_2.png", "")]),
        ("cat_big.jpg", [("cat_big-left ear.png", "left ear")]),
        ("dog.jpg", [("dog/dog_3.png", ""), ("dog/nose.png", "nose")]),
        ("house.jpg", [("house_mask.png", "")]),
    ]
    assert items[0].regions[0] == Region("mask", file=str(masks / "cat.png"), id="cat.png")
    assert ghost.fault is not None and "ghost.png" in ghost.fault
    assert nobody.fault is not None and "x.png" in nobody.fault


def test_a_folder_of_photos_holds_no_annotations(folder: Path) -> None:
    assert form_of(folder) is None
    with pytest.raises(AnnotationError) as caught:
        read(folder)
    assert_plain(caught.value, folder.name[-20:], "COCO")
    # Beside a folder of images, its pictures can be nothing else.
    photo(folder / "images" / "a.jpg")
    assert [item.id for item in every(folder, folder / "images") if item.fault is None] == ["a.jpg"]


def test_masks_need_a_folder_of_images(tmp_path: Path) -> None:
    file = mask(tmp_path / "masks" / "a.png")
    for source, images, naming in (
        (file.parent, None, "with images."),
        (file.parent, file.parent, "in the same folder"),
        (file, tmp_path, "is a single file"),
    ):
        with pytest.raises(AnnotationError) as caught:
            read(source, images, "masks")
        assert_plain(caught.value, naming)


# ViP-Bench


def vip_bench(root: Path) -> Path:
    photo(root / "source_image" / "v1_1.png")
    photo(root / "bbox" / "images" / "v1_1_0.png")
    boxes = [
        shape("rectangle", [10, 10], [20, 30], label="obj2"),
        shape("polygon", [1, 1], [9, 1], [9, 9], label="obj1"),
        shape("rectangle", [10, 10], [12, 12], label="unasked"),
    ]
    written(root / "source_image" / "v1_1.json", labelme(*boxes, imagePath="v1_1.png"))
    written(
        root / "vip-bench-meta-data.json",
        {
            "v1_0": {
                "image_source": "v1_1.png",
                "image": "v1_1_0.png",
                "question": "Is <obj1> left of <obj2>?",
                "answer": "yes",
                "capability": ["rec", "spat"],
            },
            "v1_1": {"image_source": "v1_1.png", "question": "What is <obj>?", "answer": "x"},
            "v1_2": {"image_source": "lost.png", "question": "What is <obj>?", "answer": "x"},
            "v1_3": {"image_source": "v1_1.png", "question": "How many are there?", "answer": "2"},
            "v1_4": 5,
        },
    )
    line = {"question_id": 0, "image": "v1_1_0.png", "text": "Is the red one left?", "category": "default"}
    bad = {"question_id": 1, "image": "../v1_1.png", "text": "What?"}
    lines = [json.dumps(line), "{", json.dumps(bad), json.dumps({**line, "text": None})]
    written(root / "bbox" / "questions.jsonl", "\ufeff" + "\n".join(lines))
    return root


def test_vip_bench_with_its_own_regions(tmp_path: Path) -> None:
    root = vip_bench(tmp_path)
    for source in (root, root / "vip-bench-meta-data.json"):
        assert form_of(source) == "vip-bench"
        one, unknown, lost, plain, odd = every(source)
        assert (one.id, one.question) == ("v1_0", "Is <obj1> left of <obj2>?")
        assert one.image == str(root / "source_image" / "v1_1.png")
        assert [(region.kind, region.label) for region in one.regions] == [
            ("contour", "obj1"),
            ("box", "obj2"),
        ]
        assert one.extra == {"answer": "yes", "capability": ["rec", "spat"]}
        assert unknown.fault is not None and "<obj>" in unknown.fault
        assert lost.fault is not None and "lost.png" in lost.fault
        assert (plain.regions, plain.fault) == ((), None)
        assert odd.fault is not None and "v1_4" in odd.fault


def test_vip_bench_with_pictures_that_are_marked_already(tmp_path: Path) -> None:
    root = vip_bench(tmp_path)
    for source in (root / "bbox", root / "bbox" / "questions.jsonl"):
        assert form_of(source) == "vip-bench"
        one, damaged, outside, silent = every(source)
        assert (one.id, one.question, one.regions) == ("v1_0", "Is the red one left?", ())
        assert one.image == str(root / "bbox" / "images" / "v1_1_0.png")
        assert one.extra == {"category": "default", "answer": "yes", "capability": ["rec", "spat"]}
        assert damaged.fault is not None and "Line 2" in damaged.fault
        assert outside.fault is not None and outside.id == "v1_1"
        assert silent.fault is not None and "question is missing" in silent.fault


# From within a folder


@pytest.mark.parametrize(
    ("inside", "source", "image", "id"),
    [
        (".", "coco.json", "images/a.png", "3"),
        ("annotations", "coco.json", None, "3"),
        (".", ".", "images/a.png", "images/a.png"),
        ("labels", ".", None, "a.png"),
        ("labels", "a.txt", None, "a.png"),
        ("Annotations", "a.xml", None, "a.png"),
        (".", "Annotations", "images/a.png", "a.png"),
        (".", "sub/a.json", "sub/b.png", "b.png"),
        (".", "sub", "sub/b.png", "b.png"),
        ("sub", ".", "b.png", "b.png"),
    ],
)
def test_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, source: str, image: str | None, id: str
) -> None:
    photo(tmp_path / "images" / "a.png")
    photo(tmp_path / "sub" / "b.png")
    annotation = {"id": 1, "image_id": 3, "bbox": [1, 1, 2, 2]}
    for place in (".", "annotations"):
        written(tmp_path / place / "coco.json", coco(annotations=[annotation]))
    written(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5")
    voc(tmp_path / "Annotations" / "a.xml", BOX.format(1, 2, 3, 4))
    written(tmp_path / "sub" / "a.json", labelme(shape("point", [1, 1]), imagePath="b.png"))
    monkeypatch.chdir(tmp_path / inside)
    item = only(Path(source))
    assert Path(item.image).is_file() and item.id == id
    assert image is None or item.image == image


# Files that are none


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"7",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xff\xff",
        b"9" * 5000,
        b'{"images": 5, "annotations": []}',
        b'{"images": [], "annotations": {}}',
        b'{"shapes": {}}',
        b"\x89PNG\r\n",
        b"\x00" * 64,
    ],
)
@pytest.mark.parametrize("form", [None, *FORMS])
def test_json_that_is_not_read(tmp_path: Path, content: bytes, form: str | None) -> None:
    file = written(tmp_path / "x.json", content)
    assert form_of(file) is None
    try:
        items = every(file, form=form)
    except AnnotationError as error:
        assert error.exit_code == FAILED
        assert_plain(error)
    else:
        assert all(item.fault for item in items)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_in_other_encodings(folder: Path, encoding: str) -> None:
    content = labelme(shape("point", [1, 1], label="貓"))
    file = written(folder / "a.json", json.dumps(content, ensure_ascii=False).encode(encoding))
    assert only(file).regions[0].label == "貓"


def test_labels_cannot_play_tricks(folder: Path) -> None:
    content = labelme(shape("point", [1, 1], label=" \x1b[2J a\n\tb\ud800\u202e" + "x" * 999))
    (region,) = only(written(folder / "a.json", content)).regions
    assert region.label.startswith("\ufffd[2J a b\ufffd\ufffdxxx") and len(region.label) == 200


@pytest.mark.parametrize(
    ("make", "naming"),
    [
        (lambda root: (root / "none.json", None, None), ["none.json", "Check the path"]),
        (lambda root: (root / ("x" * 999), None, None), ["xxx"]),
        (lambda root: (Path("a\0b"), None, None), ["x00"]),
        (lambda root: (root, root / "none", None), ["none", "folder of the images"]),
        (lambda root: (root, None, "pascal"), ["'pascal'", "voc"]),
        (lambda root: (root, None, "yolo"), ["label files"]),
        (lambda root: (root, None, "coco"), ["holds no COCO file"]),
        (lambda root: (root, None, "vip-bench"), ["is a folder"]),
        (lambda root: (photo(root / "a.png"), None, None), ["a.png"]),
    ],
)
def test_sources_that_are_none(
    tmp_path: Path, make: Callable[[Path], tuple[Path, Path | None, str | None]], naming: list[str]
) -> None:
    with pytest.raises(AnnotationError) as caught:
        list(read(*make(tmp_path)))
    assert_plain(caught.value, *naming)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    inner = tmp_path / "labels"
    inner.mkdir(mode=0)
    with pytest.raises(AnnotationError):
        list(read(tmp_path, form="yolo"))


# Against another reader


def test_supervision_reads_the_same(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import supervision as sv

        paths = [str(photo(tmp_path / "photos" / f"{n}.png", 200, 100)) for n in range(3)]
        rng = np.random.default_rng(0)
        corners = rng.integers(0, 50, (3, 4, 2))
        boxes = np.concatenate([corners, corners + rng.integers(5, 50, (3, 4, 2))], axis=2).astype(np.float32)
        classes = rng.integers(0, 2, (3, 4))
        found = {
            path: sv.Detections(xyxy=one, class_id=numbers)
            for path, one, numbers in zip(paths, boxes, classes, strict=True)
        }
        data = sv.DetectionDataset(["cat", "dog"], paths, found)
        data.as_coco(annotations_path=str(tmp_path / "coco" / "coco.json"))
        data.as_yolo(
            annotations_directory_path=str(tmp_path / "yolo"),
            data_yaml_path=str(tmp_path / "yolo" / "data.yaml"),
        )
        data.as_pascal_voc(annotations_directory_path=str(tmp_path / "voc"))
        data.as_labelme(annotations_directory_path=str(tmp_path / "labelme"))
    for form, source in (
        ("coco", tmp_path / "coco" / "coco.json"),
        ("yolo", tmp_path / "yolo"),
        ("voc", tmp_path / "voc"),
        ("labelme", tmp_path / "labelme"),
    ):
        assert form_of(source) == form
        items = every(source, tmp_path / "photos")
        assert [item.image for item in items] == paths
        for item, wanted, numbers in zip(items, boxes, classes, strict=True):
            assert [region.label for region in item.regions] == [["cat", "dog"][n] for n in numbers]
            bounds = [region.bounds or () for region in item.regions]
            # It takes VOC's first pixel for 1, and writes it so.
            assert np.allclose(bounds, wanted, atol=1 if form == "voc" else 0.01)


# What was once read wrongly


def packed(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_masks_as_labelme_itself_writes_them(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    pixels = np.zeros((9, 9), np.uint8)
    pixels[2:5, 3:6] = 1
    item = only(written(tmp_path / "a.json", labelme(shape("mask", [10, 20], [18, 28], mask=packed(pixels)))))
    assert item.regions[0].bounds == (13, 22, 15, 24)


def test_noise_in_a_mask_is_left_out(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    pixels = np.zeros((2000, 2000), np.bool_)
    pixels[::2, ::2] = True
    shapes = [shape("point", [1, 1]), shape("mask", [0, 0], [9, 9], mask=packed(pixels))]
    one, other = every(written(tmp_path / "a.json", labelme(*shapes)))
    assert len(one.regions) == 1 and other.fault is not None and "too noisy" in other.fault


def test_each_of_several_points_has_its_facts(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    item = only(written(tmp_path / "a.json", labelme(shape("points", [1, 2], [3, 4], flags={"far": True}))))
    assert item.extra["regions"] == {"1.1": {"flags": ["far"]}, "1.2": {"flags": ["far"]}}


def test_yaml_with_a_letter_that_is_none(tmp_path: Path) -> None:
    written(tmp_path / "data.yaml", 'names: ["\\UFFFFFFFF"]')
    assert form_of(tmp_path) is None


def test_folders_deeper_than_python_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("a").mkdir()
        os.chdir("a")
    try:
        assert form_of(tmp_path) is None
    finally:
        # Whoever clears away what tests have left gets no deeper than Python, either.
        for _ in range(1200):
            os.chdir("..")
            Path("a").rmdir()


def test_a_link_in_a_circle_is_passed_over(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    written(tmp_path / "a.json", labelme(shape("point", [1, 1])))
    (tmp_path / "b.json").symlink_to("b.json")
    assert [item.id for item in every(tmp_path)] == ["a.png"]


@pytest.mark.parametrize(
    ("inside", "source", "ids"),
    [
        ("labels", "train", ["a.png"]),
        ("labels/train", ".", ["a.png"]),
        ("labels/train", "..", ["train/a.png", "val/a.png"]),
        (".", "labels", ["train/a.png", "val/a.png"]),
    ],
)
def test_yolo_from_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, source: str, ids: list[str]
) -> None:
    for split in ("train", "val"):
        photo(tmp_path / "images" / split / "a.png")
        written(tmp_path / "labels" / split / "a.txt", "0 0.5 0.5 0.5 0.5")
    written(tmp_path / "data.yaml", "names: [cat]")
    monkeypatch.chdir(tmp_path / inside)
    items = every(Path(source))
    assert [item.id for item in items] == ids
    assert {region.label for item in items for region in item.regions} == {"cat"}


def test_coco_above_the_folder_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "images" / "a.png")
    written(tmp_path / "annotations" / "coco.json", coco(annotations=coco()["annotations"][:1]))
    (tmp_path / "annotations" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "annotations" / "deep")
    assert Path(only(Path("../coco.json")).image).is_file()


@pytest.mark.parametrize("name", ["two  spaces.png", "x" * 210 + ".png"])
def test_results_with_strange_names(tmp_path: Path, name: str) -> None:
    photo(tmp_path / name)
    results = [{"file_name": name, "image_id": 1, "bbox": [1, 1, 2, 2]}]
    assert only(written(tmp_path / "results.json", results)).image == str(tmp_path / name)


def test_labelme_paths_of_windows_without_an_ending(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "x.png")
    file = written(tmp_path / "q.json", labelme(shape("point", [1, 1]), imagePath="..\\images\\x"))
    assert only(file, tmp_path / "images").id == "x.png"


def test_only_the_first_line_of_a_file_of_tasks_is_looked_at(tmp_path: Path) -> None:
    line = json.dumps({"question_id": 0, "image": "a.png", "text": "What?"})
    assert form_of(written(tmp_path / "a.jsonl", line + "\n" + "x" * 1000)) == "vip-bench"
    file = written(tmp_path / "b.jsonl", line)
    with file.open("r+b") as stream:
        stream.truncate(2**31 + 1)
    assert form_of(file) is None


def test_parts_of_a_region_that_overlap_add_up(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    square = [0, 0, 10, 0, 10, 10, 0, 10]
    across = [5, 5, 15, 5, 15, 15, 5, 15]
    apart = [20, 20, 25, 20, 25, 25, 20, 25]
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square, across]}
    told = coco(images=[{"id": 1, "file_name": "a.png"}], annotations=[entry])
    (region,) = only(written(tmp_path / "c.json", told)).regions
    assert len(region.polygons) == 1
    assert region.bounds == (0, 0, 15, 15)
    assert region.size == pytest.approx(175, abs=3)
    entry["segmentation"] = [square, apart]
    (region,) = only(written(tmp_path / "c.json", told)).regions
    assert len(region.polygons) == 2


def test_pictures_beside_the_folder_of_labels(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    written(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    written(tmp_path / "data.yaml", "names: [cat]\n")
    (region,) = only(tmp_path).regions
    assert region.label == "cat"
