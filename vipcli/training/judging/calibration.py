"""Makes a trained checkpoint as sure of its answers as it is right.

Dividing all scores by one temperature changes no greedy answer, only how probable it is. The last norm of
the text model takes the temperature in, so that whatever loads the checkpoint has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from safetensors.torch import load_file, save

from vipcli.asking.interface import Setup
from vipcli.checkpoints.lookup import find
from vipcli.engine.local import LocalModel
from vipcli.files import replace_file
from vipcli.training.judging.evaluation import judge

# Other scenes than those that a checkpoint is judged on.
_SEED = -1
_NORM = "language_model.model.norm.weight"
_COLDEST, _HOTTEST = 0.3, 4.0
_HALVINGS = 6


class Belief(NamedTuple):
    """How sure a checkpoint was on the whole, and how often it was right."""

    sure: float
    right: float


def calibrate(folder: Path, *, scenes: int) -> float:
    """Find the temperature at which a checkpoint is as sure as it is right, fold it in, and return it."""
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    norm = tensors[_NORM]

    def temper(temperature: float) -> None:
        tensors[_NORM] = (norm.float() / temperature).to(norm.dtype)
        replace_file(weights, save(tensors, {"format": "pt"}))

    def belief(temperature: float) -> Belief:
        temper(temperature)
        checkpoint = find(str(folder), offline=True)
        model = LocalModel(checkpoint, Setup(device="cpu"))
        judged = judge(model, checkpoint.form(), scenes=scenes, seed=_SEED, without_marks=False)
        return Belief(fmean(one.probability or 0.0 for one in judged), fmean(one.right for one in judged))

    found = balance(belief)
    temper(found)
    return found


def balance(belief: Callable[[float], Belief]) -> float:
    """The temperature at which a checkpoint is as sure as it is right."""
    low, high = _COLDEST, _HOTTEST
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        sure, right = belief(middle)
        if sure > right:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
