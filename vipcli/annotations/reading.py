"""Read annotated images from COCO, labelme, YOLO, Pascal VOC, mask image and ViP-Bench files.

Files are not trusted: no name may point outside the image folder, and a damaged entry is skipped and reported
in one sentence while the rest is read.

supervision reads most of these formats too, but it stops at the first damaged entry, loses ids and scores,
turns outlines into masks, and hangs for minutes on a class number of 1e3000000. The tests compare against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from vipcli.annotations import coco, labelme, masks, vip_bench, voc, yolo
from vipcli.annotations.annotated import AnnotatedImage
from vipcli.annotations.folders import files_below
from vipcli.annotations.parsing import SAMPLE_SIZE, first_json_line, read_json, read_xml
from vipcli.annotations.values import quoted
from vipcli.errors import AnnotationError

__all__ = ["FORMS", "AnnotatedImage", "form_of", "read"]

_READERS: dict[str, Callable[..., Iterator[AnnotatedImage]]] = {
    "coco": coco.read,
    "labelme": labelme.read,
    "yolo": yolo.read,
    "voc": voc.read,
    "masks": masks.read,
    "vip-bench": vip_bench.read,
}
_JSON_FORMS = {"coco": coco.recognizes, "labelme": labelme.recognizes, "vip-bench": vip_bench.recognizes}

FORMS = tuple(_READERS)


def form_of(source: Path) -> str | None:
    """Detect the annotation format of a file or folder by its content; None if it holds no annotations."""
    try:
        with _as_annotation_errors(source):
            return _form_of_folder(source) if source.is_dir() else _form_of_file(source)
    except AnnotationError:
        return None


def read(source: Path, images: Path | None = None, form: str | None = None) -> Iterator[AnnotatedImage]:
    """The annotated images of a file or folder, in its order, without those that have no regions.

    Without `images`, image files are searched for where each format usually keeps them: beside the annotation
    file or in a folder next to it. If regions of an image are damaged, the image is followed by an item with
    a `fault`.
    """
    items = _items(source, images, form)
    # Raise errors about the whole file now rather than at the first iteration.
    return chain(list(islice(items, 1)), items)


@contextmanager
def _as_annotation_errors(source: Path) -> Iterator[None]:
    """Turn remaining errors, from the disk, an odd name or a hostile file, into an AnnotationError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise AnnotationError(f"The path {quoted(source)} cannot be read: {reason}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise AnnotationError(
            f"The path {quoted(source)} cannot be read.", "Export the annotations again."
        ) from error


def _items(source: Path, images: Path | None, form: str | None) -> Iterator[AnnotatedImage]:
    with _as_annotation_errors(source):
        if not source.exists():
            raise AnnotationError(f"There is no file or folder {quoted(source)}.", "Check the path.")
        if images is not None and not images.is_dir():
            raise AnnotationError(
                f"The path {quoted(images)} is not a folder.", "Name the folder of the images."
            )
        if form not in (None, *FORMS):
            raise AnnotationError(f"Unknown annotation format {quoted(form)}.", f"Use {', '.join(FORMS)}.")
        yield from _read_form(source, images, form)


def _read_form(source: Path, images: Path | None, form: str | None) -> Iterator[AnnotatedImage]:
    # Read a large JSON file only once, both to detect its format and for its content.
    if source.is_file() and source.suffix.lower() in (".json", ".jsonl") and form in (None, *_JSON_FORMS):
        content = read_json(source)
        if known := form or _form_of_json(content):
            return _READERS[known](source, images, content)
    elif known := form or form_of(source) or ("masks" if images is not None and source.is_dir() else None):
        return _READERS[known](source, images)
    raise AnnotationError(
        f"No annotations were found in {quoted(source)}.",
        "Supported formats are COCO, labelme, YOLO, Pascal VOC, mask images and ViP-Bench.",
    )


def _form_of_file(file: Path) -> str | None:
    match file.suffix.lower():
        case ".json":
            return _form_of_json(read_json(file))
        # Reading a pipe here would leave nothing for the actual reading.
        case ".jsonl" if file.is_file():
            return _form_of_json([first_json_line(file)])
        case ".xml" if voc.recognizes(read_xml(file)):
            return "voc"
        case ".yaml" | ".yml" | ".txt" if yolo.recognizes(file):
            return "yolo"
        case _:
            return None


def _form_of_json(content: Any) -> str | None:
    return next((form for form, recognizes in _JSON_FORMS.items() if recognizes(content)), None)


def _form_of_folder(folder: Path) -> str | None:
    if vip_bench.recognizes_folder(folder):
        return "vip-bench"
    if yolo.recognizes_folder(folder):
        return "yolo"
    for ending in (".xml", ".json"):
        for file in islice(files_below(folder, ending), SAMPLE_SIZE):
            with suppress(AnnotationError):
                if form := _form_of_file(file):
                    return form
    return "masks" if masks.recognizes_folder(folder) else None
