"""Pascal VOC: an XML file for each image, with boxes and, from some programs, outlines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vipcli.annotations.annotated import AnnotatedImage, RegionCollector, missing_image, read_each
from vipcli.annotations.folders import ImageFinder, files_below, id_of, parent_of
from vipcli.annotations.parsing import read_xml, unreadable
from vipcli.annotations.values import DamageError, corners, number, one_line, polygon
from vipcli.marks.regions import Region

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_FLAGS = ("difficult", "truncated", "occluded")


def recognizes(root: Element) -> bool:
    """Check whether an XML document is a Pascal VOC annotation."""
    return root.tag == "annotation"


def read(source: Path, images: Path | None) -> Iterator[AnnotatedImage]:
    """Read the image of a file, or the images of the files below a folder."""
    if source.is_dir():
        return read_each(files_below(source, ".xml"), lambda file: _read_image(file, images, source))
    return _read_image(source, images, source.parent)


def _read_image(file: Path, images: Path | None, base: Path) -> Iterator[AnnotatedImage]:
    root = read_xml(file)
    if not recognizes(root):
        raise unreadable(file, "has no Pascal VOC `annotation`.")
    folder, parent = file.parent, parent_of(file.parent)
    folders = [images] if images is not None else [folder, parent / "JPEGImages", parent / "images"]
    name = root.findtext("filename", "").strip()
    try:
        path = ImageFinder(*folders).for_file(file, name)
    except DamageError as error:
        yield missing_image(name, "", file, error)
        return
    collector = RegionCollector(file)
    for position, element in enumerate(root.iterfind("object"), 1):
        with collector.skipping_damage(f"Object {position}"):
            flags = {flag: element.findtext(flag, "").strip() == "1" for flag in _FLAGS}
            collector.add(_region(element, str(position)), **flags)
    yield from collector.to_images(str(path), id_of(path, file, images or base))


def _region(element: Element, id: str) -> Region:
    label = one_line(element.findtext("name", ""))
    polygons = tuple(
        polygon([number(leaf.text) for leaf in outline.iter() if re.fullmatch(r"[xy]\d*", leaf.tag)])
        for outline in element.iterfind("polygon")
    )
    box = element.find("bndbox")
    if box is None:
        if not polygons:
            raise DamageError("it has neither a bndbox nor a polygon")
        return Region("contour", (), polygons, None, label, id)
    # The first pixel is 1 in the devkit's own files but 0 in those of most later programs, and files do not
    # say which. One pixel hardly changes a mark, so the numbers are used as they are.
    x1, y1, x2, y2 = (number(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Region("box", corners([(x1, y1), (x2, y2)]), polygons, None, label, id)
