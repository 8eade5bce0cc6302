"""A frame of dots as half blocks: each cell shows two dots, the upper one as the color of its text."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vipcli.pictures.images import Pixels

_RGB_TERMINALS = ("kitty", "ghostty", "wezterm", "alacritty", "foot", "contour", "rio", "direct", "tmux")
"""What the names of terminal types contain that show all colors; tmux reduces them where it must."""
_RGB_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "rio", "Hyper")
_CUBE = np.array([0, 95, 135, 175, 215, 255])


def shows_all_colors(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal shows 24-bit colors; otherwise, it has a palette of 256."""
    return (
        environment.get("COLORTERM", "") in ("truecolor", "24bit")
        or environment.get("TERM_PROGRAM", "") in _RGB_PROGRAMS
        or "TMUX" in environment
        or any(name in environment.get("TERM", "") for name in _RGB_TERMINALS)
    )


class HalfBlocks:
    """Writes frames as half blocks, and after the first only the cells that changed."""

    dots = (1, 2)

    def __init__(self, all_colors: bool) -> None:
        self._codes: Mapping[int, str] = _RgbCodes() if all_colors else _PaletteCodes()
        self._all_colors = all_colors
        self._shown: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None

    def forget(self) -> None:
        """Write the next frame whole, since the screen was cleared or written over."""
        self._shown = None

    def text(self, frame: Pixels) -> str:
        """What makes the terminal show a frame at its upper left corner."""
        colors = _rgb_numbers(frame) if self._all_colors else _palette_numbers(frame)
        upper, lower = colors[0::2], colors[1::2]
        changed = np.ones(upper.shape, np.bool_)
        if self._shown is not None and self._shown[0].shape == upper.shape:
            changed = (upper != self._shown[0]) | (lower != self._shown[1])
        self._shown = upper, lower
        rows, columns = changed.nonzero()
        return self._cells(rows, columns, upper[rows, columns], lower[rows, columns])

    def ink(self, red: int, green: int, blue: int) -> str:
        """What makes the text after it appear in a color."""
        frame = np.array([[[red, green, blue]]], np.uint8)
        colors = _rgb_numbers(frame) if self._all_colors else _palette_numbers(frame)
        return f"\x1b[38;{self._codes[int(colors[0, 0])]}m"

    def _cells(self, *arrays: NDArray[np.int32] | NDArray[np.intp]) -> str:
        codes, parts = self._codes, []
        next_row = next_column = ink = paper = -1
        for row, column, upper, lower in zip(*(array.tolist() for array in arrays), strict=True):
            if row != next_row or column != next_column:
                parts.append(f"\x1b[{row + 1};{column + 1}H")
            next_row, next_column = row, column + 1
            if upper == lower:
                if paper != lower:
                    parts.append(f"\x1b[48;{codes[lower]}m")
                    paper = lower
                parts.append(" ")
                continue
            if ink != upper and paper != lower:
                parts.append(f"\x1b[38;{codes[upper]};48;{codes[lower]}m▀")
            elif ink != upper:
                parts.append(f"\x1b[38;{codes[upper]}m▀")
            elif paper != lower:
                parts.append(f"\x1b[48;{codes[lower]}m▀")
            else:
                parts.append("▀")
            ink, paper = upper, lower
        return "".join([*parts, "\x1b[0m"]) if parts else ""


class _RgbCodes(dict[int, str]):
    """The code of each color that was shown."""

    def __missing__(self, color: int) -> str:
        code = self[color] = f"2;{color >> 16};{color >> 8 & 255};{color & 255}"
        return code


class _PaletteCodes(dict[int, str]):
    """The code of each place in the palette."""

    def __missing__(self, place: int) -> str:
        code = self[place] = f"5;{place}"
        return code


def _rgb_numbers(frame: Pixels) -> NDArray[np.int32]:
    channels = frame.astype(np.int32)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def _palette_numbers(frame: Pixels) -> NDArray[np.int32]:
    """The nearest of the palette's 216 colors and 24 grays for each dot."""
    channels = frame.astype(np.int32)
    # The limits between neighboring values of the cube.
    steps = np.searchsorted((_CUBE[1:] + _CUBE[:-1]) / 2, channels)
    cube = 16 + steps[..., 0] * 36 + steps[..., 1] * 6 + steps[..., 2]
    shade = np.clip(np.rint((channels.mean(axis=2) - 8) / 10), 0, 23).astype(np.int32)
    off_cube = ((channels - _CUBE[steps]) ** 2).sum(axis=2)
    off_gray = ((channels - (8 + 10 * shade)[..., None]) ** 2).sum(axis=2)
    return np.where(off_gray < off_cube, 232 + shade, cube).astype(np.int32)
