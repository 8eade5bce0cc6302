"""Labels of the patches of the model's input, which the first stage of training learns to predict.

A grid of patches covers the padded square. Every label is a class number; 0 means that no class applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vipcli.geometry import XY
from vipcli.marks.kinds import KINDS as MARK_KINDS
from vipcli.training.drawing.marking import MARK_COLORS, DrawnMark
from vipcli.training.drawing.scenes import DrawnScene
from vipcli.training.world.facts import COLORS, KINDS, PLACES, TEXTURES
from vipcli.training.world.scene import Scene, Thing

# Silhouettes are drawn on a finer grid, with this many cells per patch in each direction.
_CELLS = 4
# The positions of centers are labeled in steps of half a patch.
_HALVES = 2

KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS, 1)}
COLOR_NUMBERS = {color: number for number, color in enumerate(COLORS, 1)}
TEXTURE_NUMBERS: dict[str, int] = {texture: number for number, texture in enumerate(TEXTURES, 1)}
_PLACE_NUMBERS = {place: number for number, place in enumerate((p for row in PLACES for p in row), 1)}
MARK_NUMBERS = {kind.kind: number for number, kind in enumerate(MARK_KINDS, 1)}
MARK_COLOR_NUMBERS = {color: number for number, color in enumerate(MARK_COLORS, 1)}


INSTANCE_COLUMNS = 6
"""Number of columns after the class labels. Each holds the number of a thing or mark, counted from 1, or 0:
the thing that fills the patch, the mark whose stroke crosses the patch, the mark on the patch's thing, the
thing that this stroke marks, the thing nearest to the patch's thing, and the thing whose center lies in the
patch."""
_THING, _STROKE, _MARKED_BY, _TARGET, _NEAREST, _CENTER = range(-INSTANCE_COLUMNS, 0)


class LabelColumn(NamedTuple):
    """A label of a patch, and its number of classes besides 0."""

    name: str
    classes: int
    learn_zero: bool
    """Whether 0 is a class to be learned, instead of being ignored."""


def label_columns(grid: int) -> tuple[LabelColumn, ...]:
    """The class labels of a patch, in the order of the columns of `patch_labels`."""
    centers = grid * _HALVES
    return (
        LabelColumn("kind", len(KINDS), True),
        LabelColumn("color", len(COLORS), False),
        LabelColumn("texture", len(TEXTURES), False),
        LabelColumn("size", 2, False),
        LabelColumn("place", len(_PLACE_NUMBERS), False),
        LabelColumn("column", centers, False),
        LabelColumn("row", centers, False),
        LabelColumn("middle", 1, True),
        LabelColumn("mark", len(MARK_KINDS), True),
        LabelColumn("mark color", len(MARK_COLORS), False),
        LabelColumn("mark column", centers, False),
        LabelColumn("mark row", centers, False),
        LabelColumn("marked by", len(MARK_KINDS), True),
        LabelColumn("marked in", len(MARK_COLORS), False),
        LabelColumn("target kind", len(KINDS) + 1, False),
        LabelColumn("target color", len(COLORS), False),
        LabelColumn("neighbor", len(KINDS), False),
    )


@dataclass(frozen=True, slots=True)
class _PatchGrid:
    """A grid of patches over a picture that is padded to a square."""

    size: int
    scale: float
    """Patches per pixel."""
    offset: XY
    """Padding at the left and at the top, in pixels."""

    @classmethod
    def over(cls, scene: Scene, size: int) -> _PatchGrid:
        longer = max(scene.width, scene.height)
        offset = ((longer - scene.width) / 2, (longer - scene.height) / 2)
        return cls(size, size / longer, offset)

    def half_patch(self, point: XY) -> tuple[int, int]:
        """Column and row of a point, in half patches, counted from 1."""
        column, row = (
            min(max(int((value + shift) * self.scale * _HALVES), 0), self.size * _HALVES - 1) + 1
            for value, shift in zip(point, self.offset, strict=True)
        )
        return column, row


def patch_labels(drawn: DrawnScene, size: int) -> NDArray[np.uint8]:
    """Class numbers of size² patches × the columns of `label_columns`, followed by the instance columns."""
    grid = _PatchGrid.over(drawn.scene, size)
    labels = np.zeros((size * size, len(label_columns(size)) + INSTANCE_COLUMNS), np.uint8)
    owners = _owners(drawn.scene.things, grid)
    marks_of = {
        mark.placed.target: index for index, mark in enumerate(drawn.marks) if mark.placed.target is not None
    }
    for index in range(len(drawn.scene.things)):
        _label_thing(labels, owners == index, index, marks_of.get(index), drawn, grid)
    for index, mark in enumerate(drawn.marks):
        patches = _stroke_patches(mark, grid)
        labels[patches, _STROKE] = index + 1
        _label_mark(labels, patches, mark, drawn.scene, grid)
    return labels


def _label_thing(
    labels: NDArray[np.uint8],
    patches: NDArray[np.bool_],
    index: int,
    marked_by: int | None,
    drawn: DrawnScene,
    grid: _PatchGrid,
) -> None:
    scene, thing = drawn.scene, drawn.scene.things[index]
    column, row = grid.half_patch(thing.center)
    place = scene.place(thing)
    labels[patches, :7] = (
        KIND_NUMBERS[thing.kind],
        COLOR_NUMBERS[thing.color],
        TEXTURE_NUMBERS[thing.texture],
        1 + thing.large,
        _PLACE_NUMBERS[place] if place else 0,
        column,
        row,
    )
    center = (row - 1) // _HALVES * grid.size + (column - 1) // _HALVES
    labels[center, 7] = 1
    labels[center, _CENTER] = index + 1
    labels[patches, _THING] = index + 1
    nearest = scene.nearest(thing)
    if nearest is not None:
        labels[patches, 16] = KIND_NUMBERS[scene.things[nearest].kind]
        labels[patches, _NEAREST] = nearest + 1
    if marked_by is not None:
        mark = drawn.marks[marked_by].placed.mark
        labels[patches, 12:14] = MARK_NUMBERS[mark.kind], MARK_COLOR_NUMBERS[mark.color.name]
        labels[patches, _MARKED_BY] = marked_by + 1


def _label_mark(
    labels: NDArray[np.uint8], patches: NDArray[np.bool_], drawn: DrawnMark, scene: Scene, grid: _PatchGrid
) -> None:
    mark, target = drawn.placed.mark, drawn.placed.target
    column, row = grid.half_patch(drawn.aim)
    thing = None if target is None else scene.things[target]
    labels[patches, 8:12] = MARK_NUMBERS[mark.kind], MARK_COLOR_NUMBERS[mark.color.name], column, row
    labels[patches, 14] = len(KIND_NUMBERS) + 1 if thing is None else KIND_NUMBERS[thing.kind]
    labels[patches, 15] = 0 if thing is None else COLOR_NUMBERS[thing.color]
    labels[patches, _TARGET] = 0 if target is None else target + 1


def _stroke_patches(mark: DrawnMark, grid: _PatchGrid) -> NDArray[np.bool_]:
    """The patches that a mark's stroke crosses, apart from those that it barely touches."""
    ys, xs = np.nonzero(mark.changed)
    columns = ((xs * mark.step + grid.offset[0]) * grid.scale).astype(np.int64).clip(0, grid.size - 1)
    rows = ((ys * mark.step + grid.offset[1]) * grid.scale).astype(np.int64).clip(0, grid.size - 1)
    hits = np.bincount(rows * grid.size + columns, minlength=grid.size * grid.size)
    per_patch = (1 / grid.scale / mark.step) ** 2
    return np.asarray(hits > 0.03 * per_patch)


def _owners(things: tuple[Thing, ...], grid: _PatchGrid) -> NDArray[np.int64]:
    """The index of the thing that fills most of each patch; -1 for patches with hardly any of a thing."""
    patches, cells = grid.size * grid.size, grid.size * _CELLS
    canvas = np.zeros((cells, cells), np.uint8)
    for number, thing in enumerate(things, 1):
        polygons = [
            (np.array(polygon) + grid.offset) * (grid.scale * _CELLS * 16) for polygon in thing.outline
        ]
        for polygon in polygons:
            cv2.fillPoly(canvas, [np.round(polygon - 8).astype(np.int32)], (number,), cv2.LINE_8, 4)
    by_patch = canvas.reshape(grid.size, _CELLS, grid.size, _CELLS).transpose(0, 2, 1, 3).reshape(patches, -1)
    best = np.full(patches, -1)
    most = np.full(patches, 1)
    for number in range(1, len(things) + 1):
        count = (by_patch == number).sum(1)
        better = count > most
        best[better], most[better] = number - 1, count[better]
    return best
