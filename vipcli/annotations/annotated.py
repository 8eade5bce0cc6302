"""An image and what a file tells of it, gathered piece by piece, of which each may be damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vipcli.annotations.values import DamageError, shown, word
from vipcli.errors import AnnotationError
from vipcli.marks.regions import Region

_MOST_POINTS = 5_000_000
"""A gibibyte of outlines. No image has so many, but small masks of noise in a file, well packed, do."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image and what a file tells of it."""

    image: str
    """The path of its file, below the folder of images; if it has a fault, perhaps only its name."""
    regions: tuple[Region, ...] = ()
    id: str = ""
    """Of the image in the file, else its name below the folder."""
    question: str | None = None
    """Of a file that asks, too. `<obj>`, `<obj1>` … in it stand for the regions with those labels."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the file tells of the image, to be carried to its answers."""
    fault: str | None = None
    """Why there is nothing to ask about, or what was left out: one sentence."""


class Gathered:
    """The regions of one image, and the first of those that were damaged."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._points = 0
        self._fault = ""
        self._damaged = 0
        self.regions: list[Region] = []
        self.told: dict[str, dict[str, Any]] = {}

    @contextmanager
    def sparing(self, what: str) -> Iterator[None]:
        """Read an entry in here; if it is damaged, that is noted and nothing else happens."""
        try:
            yield
        except DamageError as why:
            self._damaged += 1
            self._fault = self._fault or f"{what} in {shown(self._file)} is left out: {why}"

    def add(self, region: Region, **facts: Any) -> None:
        """Take a region and what else is known of it, as far as it is anything."""
        points = self._points + sum(map(len, region.polygons))
        if points > _MOST_POINTS:
            raise DamageError("with it, the outlines of its image would not fit into memory")
        self._points = points
        self.regions.append(region)
        if known := {name: fact for name, fact in facts.items() if fact}:
            self.told[region.id] = known

    def items(self, image: str, id: str, extra: Mapping[str, Any] | None = None) -> Iterator[Annotated]:
        """The image with its regions, and another with its fault."""
        extra = extra or {}
        if self.regions:
            told = {**extra, "regions": self.told} if self.told else extra
            yield Annotated(image, tuple(self.regions), id, extra=told)
        if self._damaged:
            others = f", and {self._damaged - 1} more likewise" if self._damaged > 1 else ""
            yield Annotated(image, (), id, extra=extra, fault=f"{self._fault}{others}.")


def missing(
    name: object, id: str, file: Path, why: object, extra: Mapping[str, Any] | None = None
) -> Annotated:
    """What stands for an image that a file names in vain."""
    name = word(name) or word(file.stem)
    fault = f"In {shown(file)}, {str(why).removesuffix('.')}."
    return Annotated(name, (), id or name, extra=extra or {}, fault=fault)


def read_each(files: Iterable[Path], read_one: Callable[[Path], Iterator[Annotated]]) -> Iterator[Annotated]:
    """The images of many files, of which one may be damaged."""
    for file in files:
        try:
            yield from read_one(file)
        except AnnotationError as error:
            yield Annotated("", (), word(file.name), fault=str(error))
