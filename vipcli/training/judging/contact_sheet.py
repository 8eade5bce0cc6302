"""Draw a contact sheet of a checkpoint's wrong answers."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vipcli.pictures.images import Pixels
from vipcli.training.drawing.scenes import SceneMixture
from vipcli.training.judging.evaluation import HELD_OUT, JudgedAnswer, held_out_scene
from vipcli.training.learning.patch_training import model_input

_TILE, _TEXT_HEIGHT, _COLUMNS = 240, 112, 6
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(failures: Sequence[JudgedAnswer], seed: int, mixture: SceneMixture = HELD_OUT) -> Pixels:
    """A tile for each failure: the picture as the model sees it, the question and both answers."""
    rows = -(-len(failures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _TILE, max(rows, 1) * (_TILE + _TEXT_HEIGHT)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for index, failure in enumerate(failures):
        left, top = index % _COLUMNS * _TILE, index // _COLUMNS * (_TILE + _TEXT_HEIGHT)
        drawn, _ = held_out_scene(seed, failure.scene, mixture)
        picture = Image.fromarray(model_input(drawn.marked))
        tile = picture.resize((_TILE - 6, _TILE - 6), Image.Resampling.BICUBIC)
        sheet.paste(tile, (left + 3, top + 3))
        confidence = "" if failure.probability is None else f" ({failure.probability:.0%})"
        lines = [
            *_wrap(failure.question, font)[:4],
            *_wrap(f"Answered: {failure.answered}{confidence}", font)[:2],
            *_wrap(f"Right: {failure.expected}", font)[:2],
        ]
        pen.multiline_text((left + 5, top + _TILE), "\n".join(lines), "black", font, spacing=1)
    return np.asarray(sheet)


def _wrap(text: str, font: _Font) -> list[str]:
    """Wrap a text to the width of a tile, by the average width of its characters."""
    width = font.getlength(text) / len(text)
    return textwrap.wrap(text, int((_TILE - 24) / width))
