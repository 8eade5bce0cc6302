"""Folders of mask images, white on black, each named like the picture that it is for."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from itertools import chain, islice
from pathlib import Path

from vipcli.annotations.annotated import Annotated, missing
from vipcli.annotations.folders import Images, folders_in, pictures_in
from vipcli.annotations.values import DamageError, shown, word
from vipcli.errors import AnnotationError, ImageError
from vipcli.marks.regions import Region


def fits_folder(folder: Path) -> bool:
    """Whether the first pictures in a folder are black and white."""
    pictures = list(islice(_pictures(folder), 3))
    return bool(pictures) and all(map(_is_black_and_white, pictures))


def read(source: Path, images: Path | None) -> Iterator[Annotated]:
    """The pictures in a folder of images that the masks in another folder are for."""
    if not source.is_dir():
        raise AnnotationError(f"The path {shown(source)} is one file. Name the folder of the mask images.")
    if images is None:
        raise AnnotationError(
            f"The folder {shown(source)} holds masks alone. Name the folder of their pictures with --images."
        )
    if source.resolve() == images.resolve():
        raise AnnotationError(
            f"Masks and pictures cannot be told apart in one folder, {shown(source)}. Separate them."
        )
    return _items(source, images)


def _items(source: Path, images: Path) -> Iterator[Annotated]:
    found = Images(images)
    stems = found.stems()
    by_image: dict[str, list[Region]] = {}
    strays: list[Annotated] = []
    for file in _pictures(source):
        stem, label = _split(file, source, stems)
        id = word(file.relative_to(source).as_posix())
        if stem is None:
            why = f"No image has the name of the mask {shown(file)}."
            strays.append(Annotated(id, (), id, fault=why))
        else:
            by_image.setdefault(stem, []).append(Region("mask", file=str(file), label=label, id=id))
    for stem, regions in sorted(by_image.items()):
        name = stems[stem].name
        try:
            yield Annotated(str(found.named(name)), tuple(regions), word(name))
        except DamageError as why:
            yield missing(stem, "", source, why)
    yield from strays


def _pictures(folder: Path) -> Iterator[Path]:
    """The pictures in a folder and in the folders in it."""
    return chain.from_iterable(pictures_in(place) for place in (folder, *folders_in(folder)))


def _is_black_and_white(file: Path) -> bool:
    from vipcli.pictures.images import load_picture

    try:
        pixels = load_picture(str(file)).pixels
    except ImageError:
        return False
    shade = pixels[..., 0]
    grey = bool((pixels == shade[..., None]).all())
    # The edges of a mask may be smoothed.
    return grey and float(((shade > 32) & (shade < 223)).mean()) < 0.02


def _split(file: Path, source: Path, stems: Container[str]) -> tuple[str | None, str]:
    """The name of the image that a mask is for, and what else the mask's own name says."""
    if file.parent != source:
        name = file.parent.name
        return (name if name in stems else None), _label(file.stem.removeprefix(name))
    for end in (len(file.stem), *(found.start() for found in reversed([*re.finditer(r"[ _.-]", file.stem)]))):
        if file.stem[:end] in stems:
            return file.stem[:end], _label(file.stem[end:])
    return None, ""


def _label(rest: str) -> str:
    """A label from the rest of a mask's name; a number is none, nor is that it is a mask."""
    parts = re.split(r"[ _.-]+", rest)
    return word(" ".join(part for part in parts if not part.isdigit() and part.lower() != "mask"))
