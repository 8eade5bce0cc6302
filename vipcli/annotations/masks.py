"""Folders of mask images, white on black, named after the pictures that they belong to."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from itertools import chain, islice
from pathlib import Path

from vipcli.annotations.annotated import AnnotatedImage, missing_image
from vipcli.annotations.folders import ImageFinder, folders_in, pictures_in
from vipcli.annotations.values import DamageError, one_line, quoted
from vipcli.errors import AnnotationError, ImageError
from vipcli.marks.regions import Region


def recognizes_folder(folder: Path) -> bool:
    """Check whether the first pictures in a folder are black and white."""
    pictures = list(islice(_pictures(folder), 3))
    return bool(pictures) and all(map(_is_black_and_white, pictures))


def read(source: Path, images: Path | None) -> Iterator[AnnotatedImage]:
    """The pictures of a folder that have masks in another folder."""
    if not source.is_dir():
        raise AnnotationError(
            f"The path {quoted(source)} is a single file.", "Give the folder of the mask images."
        )
    if images is None:
        raise AnnotationError(
            f"The folder {quoted(source)} holds only masks.",
            "Give the folder of their pictures with {images}.",
        )
    if source.resolve() == images.resolve():
        raise AnnotationError(
            f"Masks and pictures are in the same folder, {quoted(source)}, and cannot be told apart.",
            "Put them in separate folders.",
        )
    return _read_folder(source, images)


def _read_folder(source: Path, images: Path) -> Iterator[AnnotatedImage]:
    finder = ImageFinder(images)
    stems = finder.stems()
    by_image: dict[str, list[Region]] = {}
    unmatched: list[AnnotatedImage] = []
    for file in _pictures(source):
        stem, label = _match_image(file, source, stems)
        id = one_line(file.relative_to(source).as_posix())
        if stem is None:
            fault = f"No image matches the name of the mask {quoted(file)}."
            unmatched.append(AnnotatedImage(id, (), id, fault=fault))
        else:
            by_image.setdefault(stem, []).append(Region("mask", file=str(file), label=label, id=id))
    for stem, regions in sorted(by_image.items()):
        name = stems[stem].name
        try:
            yield AnnotatedImage(str(finder.by_name(name)), tuple(regions), one_line(name))
        except DamageError as error:
            yield missing_image(stem, "", source, error)
    yield from unmatched


def _pictures(folder: Path) -> Iterator[Path]:
    """The pictures in a folder and in its direct subfolders."""
    return chain.from_iterable(pictures_in(inner) for inner in (folder, *folders_in(folder)))


def _is_black_and_white(file: Path) -> bool:
    from vipcli.pictures.images import load_picture

    try:
        pixels = load_picture(str(file)).pixels
    except ImageError:
        return False
    shade = pixels[..., 0]
    is_gray = bool((pixels == shade[..., None]).all())
    # The edges of a mask may be smoothed.
    return is_gray and float(((shade > 32) & (shade < 223)).mean()) < 0.02


def _match_image(file: Path, source: Path, stems: Container[str]) -> tuple[str | None, str]:
    """The name of the image that a mask belongs to, and the label in the rest of the mask's name."""
    if file.parent != source:
        name = file.parent.name
        return (name if name in stems else None), _label(file.stem.removeprefix(name))
    separators = [match.start() for match in re.finditer(r"[ _.-]", file.stem)]
    for end in (len(file.stem), *reversed(separators)):
        if file.stem[:end] in stems:
            return file.stem[:end], _label(file.stem[end:])
    return None, ""


def _label(rest: str) -> str:
    """The label in the rest of a mask's name, without numbers and the word `mask`."""
    parts = re.split(r"[ _.-]+", rest)
    return one_line(" ".join(part for part in parts if not part.isdigit() and part.lower() != "mask"))
