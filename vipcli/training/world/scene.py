"""What a scene contains, as data: its things, where they are, and the marks on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vipcli.geometry import XY, Bounds, Polygon
from vipcli.marks.kinds import Mark
from vipcli.training.world.facts import (
    BORDER_MARGIN,
    NEAREST_RATIO,
    PLACES,
    Category,
    Texture,
    category,
    noun,
)


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing in a scene. Coordinates are pixels of the picture, as for marks."""

    kind: str
    color: str
    texture: Texture
    large: bool
    bounds: Bounds
    """The smallest upright rectangle around the part that is inside the picture."""
    outline: tuple[Polygon, ...]
    """Its silhouette."""

    @property
    def category(self) -> Category:
        return category(self.kind)

    @property
    def center(self) -> XY:
        x1, y1, x2, y2 = self.bounds
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def noun(self) -> str:
        """`circle`, `letter A`, `number 7`."""
        return noun(self.kind)


@dataclass(frozen=True, slots=True)
class SceneMark:
    """A mark in a scene, and the index of the thing it marks; None for a mark on empty ground."""

    mark: Mark
    target: int | None


@dataclass(frozen=True, slots=True)
class Scene:
    """The contents of a picture. A foreign picture shows nothing of this world and has no things."""

    width: int
    height: int
    things: tuple[Thing, ...]
    marks: tuple[SceneMark, ...] = ()
    foreign: bool = False

    def place(self, thing: Thing) -> str | None:
        """The ninth of the picture that the thing is in; None if it is too close to a border."""
        x, y = thing.center
        column, row = _third(x / self.width), _third(y / self.height)
        return None if column is None or row is None else PLACES[row][column]

    def nearest(self, thing: Thing) -> int | None:
        """The index of the nearest other thing; None if another one is about as close."""
        others = sorted(
            (math.dist(thing.center, other.center), index)
            for index, other in enumerate(self.things)
            if other is not thing
        )
        if not others or (len(others) > 1 and others[0][0] >= NEAREST_RATIO * others[1][0]):
            return None
        return others[0][1]


def _third(share: float) -> int | None:
    for border in (1 / 3, 2 / 3):
        if abs(share - border) < BORDER_MARGIN:
            return None
    return int(share * 3) if 0 <= share < 1 else None
