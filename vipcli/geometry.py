"""Points, rectangles and polygons, in pixels of the upright picture: x to the right, y down."""

from typing import Literal

XY = tuple[float, float]
Bounds = tuple[float, float, float, float]
Polygon = tuple[XY, ...]

Fit = Literal["pad", "crop", "stretch"]
"""How a picture of any shape becomes the model's square."""
FITS: tuple[Fit, ...] = ("pad", "crop", "stretch")
FitChoice = Literal["auto", "pad", "crop", "stretch"]
"""How to fit a picture; `auto` is the way the checkpoint's family was trained."""
FIT_CHOICES: tuple[FitChoice, ...] = ("auto", *FITS)

ZoomWord = Literal["off", "on", "auto", "pair"]
ZoomChoice = float | ZoomWord
"""Whether a picture is cut to its marks: a margin, `on` for the default one, `auto` only where the marks are
small, `pair` beside the whole picture."""
ZOOM_WORDS: tuple[ZoomWord, ...] = ("off", "on", "auto", "pair")
