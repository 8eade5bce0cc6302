"""Pascal VOC: an XML file for each image, with boxes, and from some programs outlines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vipcli.annotations.annotated import Annotated, Gathered, missing, read_each
from vipcli.annotations.folders import Images, above, files_below, id_of
from vipcli.annotations.parsing import read_xml, unread
from vipcli.annotations.values import DamageError, corners, number, polygon, word
from vipcli.marks.regions import Region

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_FLAGS = ("difficult", "truncated", "occluded")


def fits(root: Element) -> bool:
    """Whether XML is an annotation as Pascal VOC has it."""
    return root.tag == "annotation"


def read(source: Path, images: Path | None) -> Iterator[Annotated]:
    """The image of a file, or the images of the files below a folder."""
    if source.is_dir():
        return read_each(files_below(source, ".xml"), lambda file: _image(file, images, source))
    return _image(source, images, source.parent)


def _image(file: Path, images: Path | None, base: Path) -> Iterator[Annotated]:
    root = read_xml(file)
    if not fits(root):
        raise unread(file, "has no `annotation` as Pascal VOC has it.")
    near, over = file.parent, above(file.parent)
    found = Images(images) if images is not None else Images(near, over / "JPEGImages", over / "images")
    name = root.findtext("filename", "").strip()
    try:
        path = found.beside(file, name)
    except DamageError as why:
        yield missing(name, "", file, why)
        return
    gathered = Gathered(file)
    for place, thing in enumerate(root.iterfind("object"), 1):
        with gathered.sparing(f"Object {place}"):
            flags = {flag: thing.findtext(flag, "").strip() == "1" for flag in _FLAGS}
            gathered.add(_region(thing, str(place)), **flags)
    yield from gathered.items(str(path), id_of(path, file, images or base))


def _region(thing: Element, id: str) -> Region:
    label = word(thing.findtext("name", ""))
    polygons = tuple(
        polygon([number(leaf.text) for leaf in outline.iter() if re.fullmatch(r"[xy]\d*", leaf.tag)])
        for outline in thing.iterfind("polygon")
    )
    box = thing.find("bndbox")
    if box is None:
        if not polygons:
            raise DamageError("it has neither a bndbox nor a polygon")
        return Region("contour", (), polygons, None, label, id)
    # The first pixel is 1 in the devkit's own files and 0 in those of most programs since, and no file
    # says which: a pixel matters little to a mark, so the numbers are taken as they are.
    x1, y1, x2, y2 = (number(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Region("box", corners([(x1, y1), (x2, y2)]), polygons, None, label, id)
