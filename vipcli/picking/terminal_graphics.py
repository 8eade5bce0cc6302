"""A frame of dots as a picture, in terminals that show pictures: by kitty's protocol, or as sixels."""

from __future__ import annotations

import base64
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vipcli.marks.colors import TRAINED
from vipcli.picking.terminal_frame import Dots
from vipcli.pictures.images import Pixels

_MOST_DOTS = 800_000
"""More than this would take long over a slow line; the terminal enlarges the picture."""
_LARGE_CHANGE = 0.1
"""A change of more than this share of a frame is sent as a new frame."""
_IMAGE, _PATCH = 7301, 7302
"""The numbers of the pictures in kitty's protocol; a program may choose them."""
_CHUNK = 4096
_TILE = (900, 200)
"""The width and height of a sixel tile in pixels; narrower ones take longer."""
_HALF = 0.5
_LARGEST_ERROR = 12
"""How far the colors of a palette may be off, in 255ths of each channel, on average."""

ASK_GRAPHICS = f"\x1b_Gi={_IMAGE},s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
"""Asks for kitty's protocol, and then for what any terminal tells about itself, sixels among it."""
FORGET_IMAGES = f"\x1b_Ga=d,d=I,i={_IMAGE},q=2\x1b\\\x1b_Ga=d,d=I,i={_PATCH},q=2\x1b\\"


class Display(Protocol):
    """A way to show frames in a terminal."""

    dots: Dots

    def forget(self) -> None:
        """Write the next frame whole, since the screen was cleared or written over."""

    def text(self, frame: Pixels) -> str:
        """What makes the terminal show a frame at its upper left corner."""


def may_show_pictures(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether it makes sense to ask for graphics, which do not get through tmux and screen."""
    return "TMUX" not in environment and not environment.get("TERM", "").startswith(("tmux", "screen"))


def graphics_in(reply: str) -> type[KittyImages] | type[SixelImages] | None:
    """The graphics that a terminal's reply to ASK_GRAPHICS announces, if any."""
    if reply == f"\x1b_Gi={_IMAGE};OK\x1b\\":
        return KittyImages
    if (match := re.fullmatch(r"\x1b\[\?([\d;]+)c", reply)) and "4" in match[1].split(";")[1:]:
        return SixelImages
    return None


class KittyImages:
    """Frames by kitty's graphics protocol: a picture, and over it a patch with what changed since."""

    def __init__(self, columns: int, rows: int, cell: tuple[float, float]) -> None:
        share = min(math.sqrt(_MOST_DOTS / (columns * rows * cell[0] * cell[1])), 1)
        self.dots = max(int(cell[0] * share), 1), max(int(cell[1] * share), 2)
        self._base: Pixels | None = None
        self._shown: Pixels | None = None

    def forget(self) -> None:
        """Write the next frame whole, since the screen was cleared or written over."""
        self._base = self._shown = None

    def text(self, frame: Pixels) -> str:
        """What makes the terminal show a frame at its upper left corner."""
        if self._shown is frame:
            return ""
        self._shown = frame
        if self._base is None or self._base.shape != frame.shape:
            return self._whole(frame)
        changed = np.any(frame != self._base, axis=2)
        if changed.mean() > _LARGE_CHANGE:
            return self._whole(frame)
        if not changed.any():
            return f"\x1b_Ga=d,d=I,i={_PATCH},q=2\x1b\\"
        rgba = np.dstack([np.where(changed[..., None], frame, 0), np.where(changed, 255, 0).astype(np.uint8)])
        rows, columns = (
            _cells_of(changed.any(axis=axis), dots) for axis, dots in ((1, self.dots[1]), (0, self.dots[0]))
        )
        part = rgba[
            rows[0] * self.dots[1] : rows[1] * self.dots[1],
            columns[0] * self.dots[0] : columns[1] * self.dots[0],
        ]
        return self._placed(part, _PATCH, columns[0], rows[0])

    def _whole(self, frame: Pixels) -> str:
        self._base = frame
        return f"\x1b_Ga=d,d=I,i={_PATCH},q=2\x1b\\" + self._placed(frame, _IMAGE, 0, 0)

    def _placed(self, pixels: NDArray[np.uint8], image: int, column: int, row: int) -> str:
        """Send pixels, and show them at a cell."""
        height, width, channels = pixels.shape
        control = (
            f"a=T,i={image},f={channels * 8},s={width},v={height},o=z,q=2,C=1,z={image - _IMAGE},"
            f"c={width // self.dots[0]},r={height // self.dots[1]},"
        )
        payload = base64.b64encode(zlib.compress(pixels.tobytes(), 1)).decode("ascii")
        chunks = [payload[start : start + _CHUNK] for start in range(0, len(payload), _CHUNK)]
        parts = [
            f"\x1b_G{control if number == 0 else ''}m={int(number < len(chunks) - 1)};{chunk}\x1b\\"
            for number, chunk in enumerate(chunks)
        ]
        return f"\x1b[{row + 1};{column + 1}H" + "".join(parts)


class SixelImages:
    """Frames as sixels, in tiles: after the first frame, only the tiles that changed.

    Terminals limit the size and number of sixel pictures. In some, pictures at one place share their
    registers of colors, so that all tiles have one palette until most of the frame changes.
    """

    def __init__(self, columns: int, rows: int, cell: tuple[float, float]) -> None:
        # A sixel is always a pixel of the terminal.
        self.dots = round(cell[0]), round(cell[1])
        self._columns, self._rows = columns, rows
        self._shown: Pixels | None = None
        self._palette = SixelPalette(np.zeros((1, 1, 3), np.uint8))

    def forget(self) -> None:
        """Write the next frame whole, since the screen was cleared or written over."""
        self._shown = None

    def text(self, frame: Pixels) -> str:
        """What makes the terminal show a frame at its upper left corner."""
        shown, self._shown = self._shown, frame
        if shown is frame:
            return ""
        if shown is None or shown.shape != frame.shape or self._needs_palette(frame, shown):
            self._palette, shown = SixelPalette(frame), None
        return "".join(
            f"\x1b[{row + 1};{column + 1}H{sixels(frame[area], self._palette)}"
            for column, row, area in self._tiles()
            if shown is None or not np.array_equal(frame[area], shown[area])
        )

    def _needs_palette(self, frame: Pixels, shown: Pixels) -> bool:
        """Whether the palette lacks the colors of what changed, or most has changed."""
        changed = np.any(frame != shown, axis=2)
        return bool(changed.mean() > _HALF) or self._palette.error(frame[changed]) > _LARGEST_ERROR

    def _tiles(self) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
        """The first column and row of each tile, and its dots."""
        across, down = (max(most // dots, 1) for most, dots in zip(_TILE, self.dots, strict=True))
        for row in range(0, self._rows, down):
            for column in range(0, self._columns, across):
                bottom, right = min(row + down, self._rows), min(column + across, self._columns)
                yield (
                    column,
                    row,
                    (
                        slice(row * self.dots[1], bottom * self.dots[1]),
                        slice(column * self.dots[0], right * self.dots[0]),
                    ),
                )


class SixelPalette:
    """The 256 colors of a picture and of the marks, and the nearest of them for every color."""

    def __init__(self, pixels: Pixels) -> None:
        fixed = np.array([*TRAINED.values(), (0, 0, 0), (255, 255, 255)], np.uint8)
        # A small copy has the same colors.
        small = Image.fromarray(pixels[::3, ::3])
        chosen = small.quantize(256 - len(fixed), Image.Quantize.MEDIANCUT).getpalette() or []
        self.colors = np.concatenate([fixed, np.array(chosen, np.uint8).reshape(-1, 3)])
        grid = np.stack(np.meshgrid(*[np.arange(4, 256, 8)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        colors = self.colors.astype(np.float32)
        # The nearest has the least distance, from which what is the same for all colors is left out.
        distances = (colors**2).sum(axis=1) - 2 * grid.astype(np.float32) @ colors.T
        self._nearest = distances.argmin(axis=1).astype(np.uint8)

    def numbers(self, pixels: Pixels) -> NDArray[np.uint8]:
        """The number of the nearest color for each pixel."""
        parts = (pixels >> 3).astype(np.int32)
        numbers: NDArray[np.uint8] = self._nearest[parts[..., 0] << 10 | parts[..., 1] << 5 | parts[..., 2]]
        return numbers

    def error(self, pixels: Pixels) -> float:
        """How far the nearest colors are off on average; pixels are rows of three channels."""
        if not len(pixels):
            return 0
        off = pixels.astype(np.int16) - self.colors[self.numbers(pixels)]
        return float(np.abs(off).mean())


def sixels(pixels: Pixels, palette: SixelPalette) -> str:
    """Pixels as a sixel picture: bands of six rows, each drawn in one color after the other."""
    numbers = palette.numbers(pixels)
    height, width = numbers.shape
    used = np.unique(numbers).tolist()
    percent = np.rint(palette.colors.astype(np.float64) / 2.55).astype(int).tolist()
    parts = [f'\x1bP0;1;0q"1;1;{width};{height}'.encode()]
    parts += [b"#%d;2;%d;%d;%d" % (number, *percent[number]) for number in used]
    for top in range(0, height, 6):
        parts.append(b"-" if top else b"")
        parts.append(_band(numbers[top : top + 6]))
    return b"".join([*parts, b"\x1b\\"]).decode("ascii")


def _band(numbers: NDArray[np.uint8]) -> bytes:
    """A band in each of its colors: a character for six pixels, one above the other."""
    height, width = numbers.shape
    used = np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)).astype(np.uint8)
    lines = np.zeros((len(used), width + 1), np.uint8)
    for row in range(height):
        lines[:, :width] |= (numbers[row] == used[:, None]).view(np.uint8) << row
    lines[:, :width] += 63
    lines[:, width] = ord("$")
    texts = _run_lengths(lines.ravel()).split(b"$")
    return b"$".join(b"#%d%b" % pair for pair in zip(used.tolist(), texts, strict=False))


def _run_lengths(characters: NDArray[np.uint8]) -> bytes:
    """Sixel characters with repeated ones as a count, and without empty ones at the end of a line."""
    starts = np.concatenate([[0], np.flatnonzero(characters[1:] != characters[:-1]) + 1])
    counts, values = np.diff(starts, append=len(characters)), characters[starts].astype(np.int64)
    ends = np.concatenate([values[1:] == ord("$"), [False]])
    runs = (counts << 8 | values)[(values != ord("?")) | ~ends]
    return b"".join(map(_RUNS.__getitem__, runs.tolist()))


class _SixelRuns(dict[int, bytes]):
    """Runs of a character, by their length and its code."""

    def __missing__(self, run: int) -> bytes:
        length, character = run >> 8, bytes([run & 255])
        self[run] = character * length if length < 4 else b"!%d%b" % (length, character)
        return self[run]


_RUNS = _SixelRuns()


def _cells_of(changed: NDArray[np.bool_], dots: int) -> tuple[int, int]:
    """The first cell of a row or column that holds a changed dot, and the one after the last."""
    places = changed.nonzero()[0]
    return int(places[0]) // dots, int(places[-1]) // dots + 1
