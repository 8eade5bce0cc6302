"""Annotated images, and collecting their regions from files with damaged entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vipcli.annotations.values import DamageError, one_line, quoted
from vipcli.errors import AnnotationError
from vipcli.marks.regions import Region

_MAX_POINTS = 5_000_000
"""The limit for one image: a gibibyte of outlines. Real images have fewer, but masks of noise may not."""


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image and its annotations."""

    image: str
    """The path of the image file, below the image folder; perhaps only its name if there is a `fault`."""
    regions: tuple[Region, ...] = ()
    id: str = ""
    """The image's id in the annotation file, or else its path relative to the folder."""
    question: str | None = None
    """A question from the file. `<obj>`, `<obj1>` … in it refer to the regions with those labels."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other annotations of the image, copied to its answers."""
    fault: str | None = None
    """Why the image cannot be used, or what was left out: one sentence."""


class RegionCollector:
    """Collects the regions of one image, and remembers the first damaged one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._points = 0
        self._first_fault = ""
        self._damaged = 0
        self.regions: list[Region] = []
        self.details: dict[str, dict[str, Any]] = {}

    @contextmanager
    def skipping_damage(self, entry: str) -> Iterator[None]:
        """Read an entry in this context: if the entry is damaged, record that and continue."""
        try:
            yield
        except DamageError as error:
            self._damaged += 1
            self._first_fault = self._first_fault or f"{entry} in {quoted(self._file)} is left out: {error}"

    def add(self, region: Region, **details: Any) -> None:
        """Add a region, and its details except for empty ones."""
        points = self._points + sum(map(len, region.polygons))
        if points > _MAX_POINTS:
            raise DamageError("with it, the image would have more outlines than fit in memory")
        self._points = points
        self.regions.append(region)
        if known := {name: value for name, value in details.items() if value}:
            self.details[region.id] = known

    def to_images(
        self, image: str, id: str, extra: Mapping[str, Any] | None = None
    ) -> Iterator[AnnotatedImage]:
        """The image with its regions, followed by another item with the fault if entries were damaged."""
        extra = extra or {}
        if self.regions:
            with_details = {**extra, "regions": self.details} if self.details else extra
            yield AnnotatedImage(image, tuple(self.regions), id, extra=with_details)
        if self._damaged:
            more = f", and {self._damaged - 1} more like it" if self._damaged > 1 else ""
            yield AnnotatedImage(image, (), id, extra=extra, fault=f"{self._first_fault}{more}.")


def missing_image(
    name: object, id: str, file: Path, reason: object, extra: Mapping[str, Any] | None = None
) -> AnnotatedImage:
    """A placeholder for an image that a file names but that cannot be found."""
    name = one_line(name) or one_line(file.stem)
    fault = f"In {quoted(file)}, {str(reason).removesuffix('.')}."
    return AnnotatedImage(name, (), id or name, extra=extra or {}, fault=fault)


def read_each(
    files: Iterable[Path], read_file: Callable[[Path], Iterator[AnnotatedImage]]
) -> Iterator[AnnotatedImage]:
    """Read many files; one that cannot be read yields an item with a fault."""
    for file in files:
        try:
            yield from read_file(file)
        except AnnotationError as error:
            yield AnnotatedImage("", (), one_line(file.name), fault=str(error))
