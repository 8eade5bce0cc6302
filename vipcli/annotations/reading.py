"""Files of annotations turned into regions: COCO, labelme, YOLO, Pascal VOC, mask images and ViP-Bench.

What a file says is never trusted: no name leads out of the folder of images, and whatever is damaged
is left out and told of in one sentence, while all the rest is read.

supervision reads most of these forms too, but one damaged entry ends it, ids and scores are lost, outlines
become masks, and a class number of 1e3000000 keeps it busy for minutes. The tests compare with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from vipcli.annotations import coco, labelme, masks, vip_bench, voc, yolo
from vipcli.annotations.annotated import Annotated
from vipcli.annotations.folders import files_below
from vipcli.annotations.parsing import SAMPLED, first_json_line, read_json, read_xml
from vipcli.annotations.values import shown
from vipcli.errors import AnnotationError

__all__ = ["FORMS", "Annotated", "form_of", "read"]

_READERS: dict[str, Callable[..., Iterator[Annotated]]] = {
    "coco": coco.read,
    "labelme": labelme.read,
    "yolo": yolo.read,
    "voc": voc.read,
    "masks": masks.read,
    "vip-bench": vip_bench.read,
}
_OF_JSON = {"coco": coco.fits, "labelme": labelme.fits, "vip-bench": vip_bench.fits}

FORMS = tuple(_READERS)


def form_of(source: Path) -> str | None:
    """What kind of annotations a file or folder holds, by its content; None for none, as with photos."""
    try:
        with _in_plain_words(source):
            return _form_of_folder(source) if source.is_dir() else _form_of_file(source)
    except AnnotationError:
        return None


def read(source: Path, images: Path | None = None, form: str | None = None) -> Iterator[Annotated]:
    """The annotated images of a file or folder, in its order; images without regions are passed over.

    Without `images` they are looked for where each form has them: beside the file, or in a folder next to it.
    Damaged regions are left out of their image, which a second item with a `fault` follows.
    """
    items = _items(source, images, form)
    # What is wrong with the whole is said now, and not when somebody asks for the first.
    return chain(list(islice(items, 1)), items)


@contextmanager
def _in_plain_words(source: Path) -> Iterator[None]:
    """Turn what a disk, a strange name or a hostile file can still do into a sentence."""
    try:
        yield
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}."
        raise AnnotationError(f"The path {shown(source)} {why}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise AnnotationError(f"The path {shown(source)} cannot be read. Export it again.") from error


def _items(source: Path, images: Path | None, form: str | None) -> Iterator[Annotated]:
    with _in_plain_words(source):
        if not source.exists():
            raise AnnotationError(f"There is no file or folder {shown(source)}. Check the path.")
        if images is not None and not images.is_dir():
            raise AnnotationError(f"The path {shown(images)} is not a folder. Name the folder of the images.")
        if form not in (None, *FORMS):
            there_are = f"There are {', '.join(FORMS)}."
            raise AnnotationError(f"There is no form {shown(form)} of annotations. {there_are}")
        yield from _found(source, images, form)


def _found(source: Path, images: Path | None, form: str | None) -> Iterator[Annotated]:
    # A large file of JSON is not read twice.
    if source.is_file() and source.suffix.lower() in (".json", ".jsonl") and form in (None, *_OF_JSON):
        content = read_json(source)
        if known := form or _form_of_json(content):
            return _READERS[known](source, images, content)
    elif known := form or form_of(source) or ("masks" if images is not None and source.is_dir() else None):
        return _READERS[known](source, images)
    raise AnnotationError(
        f"The path {shown(source)} holds no annotations that can be read. "
        "COCO, labelme, YOLO, Pascal VOC and ViP-Bench can."
    )


def _form_of_file(file: Path) -> str | None:
    match file.suffix.lower():
        case ".json":
            return _form_of_json(read_json(file))
        # A pipe would be lost to whoever reads it next.
        case ".jsonl" if file.is_file():
            return _form_of_json([first_json_line(file)])
        case ".xml" if voc.fits(read_xml(file)):
            return "voc"
        case ".yaml" | ".yml" | ".txt" if yolo.fits(file):
            return "yolo"
        case _:
            return None


def _form_of_json(content: Any) -> str | None:
    return next((form for form, fits in _OF_JSON.items() if fits(content)), None)


def _form_of_folder(folder: Path) -> str | None:
    if vip_bench.fits_folder(folder):
        return "vip-bench"
    if yolo.fits_folder(folder):
        return "yolo"
    for ending in (".xml", ".json"):
        for file in islice(files_below(folder, ending), SAMPLED):
            with suppress(AnnotationError):
                if form := _form_of_file(file):
                    return form
    return "masks" if masks.fits_folder(folder) else None
