"""A contact sheet of what a checkpoint got wrong, for looking at."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vipcli.pictures.images import Pixels
from vipcli.training.drawing.scenes import Mixture
from vipcli.training.judging.evaluation import HELD_OUT, Judged, held_out
from vipcli.training.learning.patch_training import view

_TILE, _TEXT, _COLUMNS = 240, 112, 6
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(failures: Sequence[Judged], seed: int, mixture: Mixture = HELD_OUT) -> Pixels:
    """Each failure as the model saw it, with what was asked, answered and right."""
    rows = -(-len(failures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _TILE, max(rows, 1) * (_TILE + _TEXT)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for number, failure in enumerate(failures):
        left, top = number % _COLUMNS * _TILE, number // _COLUMNS * (_TILE + _TEXT)
        drawn, _ = held_out(seed, failure.scene, mixture)
        seen = Image.fromarray(view(drawn.marked)).resize((_TILE - 6, _TILE - 6), Image.Resampling.BICUBIC)
        sheet.paste(seen, (left + 3, top + 3))
        sure = "" if failure.probability is None else f" ({failure.probability:.0%})"
        lines = [
            *_wrapped(failure.question, font)[:4],
            *_wrapped(f"Answered: {failure.answered}{sure}", font)[:2],
            *_wrapped(f"Right: {failure.expected}", font)[:2],
        ]
        pen.multiline_text((left + 5, top + _TILE), "\n".join(lines), "black", font, spacing=1)
    return np.asarray(sheet)


def _wrapped(text: str, font: _Font) -> list[str]:
    """Lines as wide as a tile: capitals take more of it than small letters."""
    wide = font.getlength(text) / len(text)
    return textwrap.wrap(text, int((_TILE - 24) / wide))
