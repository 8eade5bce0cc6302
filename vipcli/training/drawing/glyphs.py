"""Digits and capital letters as outlines, in many typefaces and as handwriting."""

from __future__ import annotations

import functools
import importlib.util
import random
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vipcli.errors import ConfigError

Contours = tuple[NDArray[np.float64], ...]

# Size that characters are rendered at: large enough for smooth outlines, small enough to trace fast.
_HEIGHT = 96

_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmtt10",
)
_OPENCV_FONTS = tuple((face, weight) for face in ("sans", "italic") for weight in (300, 500, 750))

# Pen strokes of each character, as xy digit pairs on a grid of 4 × 6, y pointing down.
_PEN_STROKES = {
    "0": ("20 10 01 05 16 26 35 31 20",),
    "1": ("11 20 26",),
    "2": ("01 10 30 41 42 06 46",),
    "3": ("01 10 30 41 42 33 13", "33 44 45 36 16 05"),
    "4": ("36 30 04 44",),
    "5": ("40 00 02 32 43 45 36 16 05",),
    "6": ("40 20 02 05 16 36 45 44 33 13 04",),
    "7": ("00 40 16",),
    "8": ("13 02 01 10 30 41 42 33 13 04 05 16 36 45 44 33",),
    "9": ("42 33 13 02 01 10 30 41 44 36 16",),
    "A": ("06 20 46", "14 34"),
    "B": ("00 06 36 45 44 33 42 41 30 00", "03 33"),
    "C": ("41 30 10 01 05 16 36 45",),
    "D": ("00 06 26 44 42 20 00",),
    "E": ("40 00 06 46", "03 33"),
    "F": ("40 00 06", "03 33"),
    "G": ("41 30 10 01 05 16 36 45 43 23",),
    "H": ("00 06", "40 46", "03 43"),
    "J": ("40 45 36 16 05",),
    "K": ("00 06", "40 03 46"),
    "L": ("00 06 46",),
    "M": ("06 00 23 40 46",),
    "N": ("06 00 46 40",),
    "P": ("06 00 30 41 42 33 03",),
    "Q": ("20 10 01 05 16 26 35 31 20", "24 46"),
    "R": ("06 00 30 41 42 33 03", "23 46"),
    "S": ("41 30 10 01 02 13 33 44 45 36 16 05",),
    "T": ("00 40", "20 26"),
    "U": ("00 05 16 36 45 40",),
    "V": ("00 26 40",),
    "W": ("00 16 22 36 40",),
    "X": ("00 46", "40 06"),
    "Y": ("00 23 40", "23 26"),
    "Z": ("00 40 06 46",),
}


def glyph(character: str, rng: random.Random) -> Contours:
    """The outlines of a character, including holes, within -1 to 1, in a random typeface or handwriting."""
    if rng.random() < 0.2:
        return _write(character, rng.randrange(40))
    choice = rng.randrange(len(_FONTS) + len(_OPENCV_FONTS) + 2)
    return _print(character, choice)


@functools.cache
def _print(character: str, choice: int) -> Contours:
    if choice < len(_FONTS):
        return _trace(_render_with_pillow(character, _font(_FONTS[choice]), 0))
    choice -= len(_FONTS)
    if choice < len(_OPENCV_FONTS):
        return _trace(_render_with_opencv(character, *_OPENCV_FONTS[choice]))
    return _trace(
        _render_with_pillow(character, ImageFont.load_default(_HEIGHT), 2 * (choice - len(_OPENCV_FONTS)))
    )


@functools.cache
def _write(character: str, seed: int) -> Contours:
    """The character drawn stroke by stroke; each seed is a slightly different handwriting."""
    rng = random.Random(f"{character} {seed}")
    image = np.zeros((3 * _HEIGHT, 3 * _HEIGHT), np.uint8)
    width, tremor = rng.randint(7, 18), rng.uniform(0, 0.18)
    across, down = _HEIGHT / 6 * rng.uniform(0.8, 1.15), _HEIGHT / 6
    for stroke in _PEN_STROKES[character]:
        points = [
            (
                _HEIGHT + across * (int(pair[0]) + rng.gauss(0, tremor)),
                _HEIGHT + down * (int(pair[1]) + rng.gauss(0, tremor)),
            )
            for pair in stroke.split()
        ]
        if rng.random() < 0.5:
            points = _round_corners(points)
        path = np.round(np.array(points)).astype(np.int32)
        cv2.polylines(image, [path], False, (255,), width)
    return _trace(image)


def _round_corners(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The path with its corners cut, as in quick handwriting."""
    cut = [points[0]]
    for (xa, ya), (xb, yb) in pairwise(points):
        cut += [(xa * 0.8 + xb * 0.2, ya * 0.8 + yb * 0.2), (xa * 0.2 + xb * 0.8, ya * 0.2 + yb * 0.8)]
    return [*cut, points[-1]]


@functools.cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is None or matplotlib.origin is None:
        raise ConfigError(
            "Drawing letters for training needs matplotlib's fonts.",
            "Run: pip install 'vipcli[training]'",
        )
    return ImageFont.truetype(
        Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf", _HEIGHT
    )


def _render_with_pillow(
    character: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, stroke: int
) -> NDArray[np.uint8]:
    image = Image.new("L", (2 * _HEIGHT, 2 * _HEIGHT))
    ImageDraw.Draw(image).text((_HEIGHT // 2, _HEIGHT // 4), character, 255, font, stroke_width=stroke)
    return np.asarray(image)


def _render_with_opencv(character: str, face: str, weight: int) -> NDArray[np.uint8]:
    image = np.zeros((3 * _HEIGHT, 3 * _HEIGHT, 3), np.uint8)
    white, start = (255, 255, 255), (_HEIGHT, 2 * _HEIGHT)
    cv2.putText(image, character, start, white, cv2.FontFace(face), _HEIGHT, weight)
    return np.asarray(image[:, :, 0])


def _trace(image: NDArray[np.uint8]) -> Contours:
    solid = ((image > 127) * 255).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    traced = [cv2.approxPolyDP(contour, 0.6, True)[:, 0].astype(np.float64) for contour in contours]
    traced = [points for points in traced if len(points) > 2]
    everything = np.concatenate(traced)
    low, high = everything.min(0), everything.max(0)
    return tuple((points - (low + high) / 2) * (2 / (high - low).max()) for points in traced)
