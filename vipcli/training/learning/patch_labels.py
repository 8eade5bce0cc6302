"""What each patch of the model's input shows: the first stage learns to see from these.

A grid of patches lies over the padded square. Every label is a class number, 0 for "nothing to say here".
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vipcli.marks.kinds import KINDS as MARK_KINDS
from vipcli.training.drawing.marking import MARK_COLORS, Layer
from vipcli.training.drawing.scenes import Drawn
from vipcli.training.world.facts import COLORS, KINDS, PLACES, TEXTURES, Scene, Thing

# The finer grid that silhouettes are laid on, per patch and direction.
_FINE = 4
# Centres are told to half a patch.
_HALVES = 2

KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS, 1)}
COLOR_NUMBERS = {color: number for number, color in enumerate(COLORS, 1)}
TEXTURE_NUMBERS: dict[str, int] = {texture: number for number, texture in enumerate(TEXTURES, 1)}
_PLACES = {place: number for number, place in enumerate((p for row in PLACES for p in row), 1)}
MARK_NUMBERS = {kind.kind: number for number, kind in enumerate(MARK_KINDS, 1)}
MARK_COLOR_NUMBERS = {color: number for number, color in enumerate(MARK_COLORS, 1)}


# After the columns of `table`, who is who, counted from 1: the thing that fills a patch, the mark whose
# stroke crosses it, the mark that its thing is marked by, the thing that its mark points out, the thing
# nearest to its own, and the thing whose middle it is.
WHO = 6
_THING, _STROKE, _MARKED_BY, _TARGET, _NEAREST, _MIDDLE = range(-WHO, 0)


class Label(NamedTuple):
    """One thing to tell of a patch, and among how many classes besides 0."""

    name: str
    classes: int
    background: bool
    """Whether 0 is an answer to learn, rather than no question."""


def table(grid: int) -> tuple[Label, ...]:
    """Everything that is told of a patch, in the order of `labels`' columns."""
    centres = grid * _HALVES
    return (
        Label("kind", len(KINDS), True),
        Label("color", len(COLORS), False),
        Label("texture", len(TEXTURES), False),
        Label("size", 2, False),
        Label("place", len(_PLACES), False),
        Label("column", centres, False),
        Label("row", centres, False),
        Label("middle", 1, True),
        Label("mark", len(MARK_KINDS), True),
        Label("mark color", len(MARK_COLORS), False),
        Label("mark column", centres, False),
        Label("mark row", centres, False),
        Label("marked by", len(MARK_KINDS), True),
        Label("marked in", len(MARK_COLORS), False),
        Label("target kind", len(KINDS) + 1, False),
        Label("target color", len(COLORS), False),
        Label("neighbor", len(KINDS), False),
    )


def labels(drawn: Drawn, grid: int) -> NDArray[np.uint8]:
    """The class numbers: grid² patches × the columns of `table`, and the `WHO` that are no classes."""
    scene = drawn.scene
    scale, offset = _fit(scene, grid)
    told = np.zeros((grid * grid, len(table(grid)) + WHO), np.uint8)
    owners = _owners(scene.things, grid, scale, offset)
    marks_of: dict[int, int] = {}
    for number, layer in enumerate(drawn.layers):
        if layer.pointed.target is not None:
            marks_of[layer.pointed.target] = number
    for number, thing in enumerate(scene.things):
        patches = owners == number
        column, row = _bins(thing.centre, grid, scale, offset)
        marked = marks_of.get(number)
        told[patches, :7] = (
            KIND_NUMBERS[thing.kind],
            COLOR_NUMBERS[thing.color],
            TEXTURE_NUMBERS[thing.texture],
            1 + thing.large,
            _PLACES[scene.place(thing) or ""] if scene.place(thing) else 0,
            column,
            row,
        )
        middle = (row - 1) // _HALVES * grid + (column - 1) // _HALVES
        told[middle, 7] = 1
        told[middle, _MIDDLE] = number + 1
        told[patches, _THING] = number + 1
        near = scene.nearest(thing)
        if near is not None:
            told[patches, 16] = KIND_NUMBERS[scene.things[near].kind]
            told[patches, _NEAREST] = near + 1
        if marked is not None:
            mark = drawn.layers[marked].pointed.mark
            told[patches, 12:14] = MARK_NUMBERS[mark.kind], MARK_COLOR_NUMBERS[mark.color.name]
            told[patches, _MARKED_BY] = marked + 1
    for number, layer in enumerate(drawn.layers, 1):
        patches = _touched(layer, grid, scale, offset)
        told[patches, _STROKE] = number
        _label_layer(told, patches, layer, drawn, grid, scale, offset)
    return told


def _fit(scene: Scene, grid: int) -> tuple[float, tuple[float, float]]:
    """Patches a pixel, and how far the padding moves the picture, in pixels."""
    longer = max(scene.width, scene.height)
    return grid / longer, ((longer - scene.width) / 2, (longer - scene.height) / 2)


def _touched(layer: Layer, grid: int, scale: float, offset: tuple[float, float]) -> NDArray[np.bool_]:
    ys, xs = np.nonzero(layer.changed)
    columns = ((xs * layer.step + offset[0]) * scale).astype(np.int64).clip(0, grid - 1)
    rows = ((ys * layer.step + offset[1]) * scale).astype(np.int64).clip(0, grid - 1)
    hits = np.bincount(rows * grid + columns, minlength=grid * grid)
    # A patch that the stroke barely grazes shows nothing of it.
    per_patch = (1 / scale / layer.step) ** 2
    return np.asarray(hits > 0.03 * per_patch)


def _label_layer(
    told: NDArray[np.uint8],
    patches: NDArray[np.bool_],
    layer: Layer,
    drawn: Drawn,
    grid: int,
    scale: float,
    offset: tuple[float, float],
) -> None:
    mark = layer.pointed.mark
    column, row = _bins(layer.aim, grid, scale, offset)
    target = layer.pointed.target
    thing = None if target is None else drawn.scene.things[target]
    told[patches, 8:12] = MARK_NUMBERS[mark.kind], MARK_COLOR_NUMBERS[mark.color.name], column, row
    told[patches, 14] = len(KIND_NUMBERS) + 1 if thing is None else KIND_NUMBERS[thing.kind]
    told[patches, 15] = 0 if thing is None else COLOR_NUMBERS[thing.color]
    told[patches, _TARGET] = 0 if target is None else target + 1


def _owners(
    things: tuple[Thing, ...], grid: int, scale: float, offset: tuple[float, float]
) -> NDArray[np.int64]:
    """The number of the thing that fills most of each patch, -1 where there is hardly any."""
    fine = grid * _FINE
    canvas = np.zeros((fine, fine), np.uint8)
    for number, thing in enumerate(things, 1):
        polygons = [(np.array(polygon) + offset) * (scale * _FINE * 16) for polygon in thing.outline]
        for polygon in polygons:
            cv2.fillPoly(canvas, [np.round(polygon - 8).astype(np.int32)], (number,), cv2.LINE_8, 4)
    cells = canvas.reshape(grid, _FINE, grid, _FINE).transpose(0, 2, 1, 3).reshape(grid * grid, -1)
    best = np.full(grid * grid, -1)
    most = np.full(grid * grid, 1)
    for number in range(1, len(things) + 1):
        count = (cells == number).sum(1)
        better = count > most
        best[better], most[better] = number - 1, count[better]
    return best


def _bins(
    point: tuple[float, float], grid: int, scale: float, offset: tuple[float, float]
) -> tuple[int, int]:
    column, row = (
        min(max(int((value + shift) * scale * _HALVES), 0), grid * _HALVES - 1) + 1
        for value, shift in zip(point, offset, strict=True)
    )
    return column, row
