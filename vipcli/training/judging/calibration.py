"""Calibrate a trained checkpoint, so that its confidence matches its accuracy.

Dividing all scores by a temperature changes no greedy answer, only its probability. The temperature is folded
into the last norm of the text model, so that it takes effect in whatever loads the checkpoint.
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

# A seed that evaluation does not use.
_SEED = -1
_NORM = "language_model.model.norm.weight"
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.3, 4.0
_BISECTIONS = 6


class Confidence(NamedTuple):
    """Mean confidence of a checkpoint, and its accuracy."""

    confidence: float
    accuracy: float


def calibrate(folder: Path, *, scenes: int) -> float:
    """Find the temperature that calibrates a checkpoint, fold it in, and return it."""
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    norm = tensors[_NORM]

    def apply(temperature: float) -> None:
        tensors[_NORM] = (norm.float() / temperature).to(norm.dtype)
        replace_file(weights, save(tensors, {"format": "pt"}))

    def measure(temperature: float) -> Confidence:
        apply(temperature)
        checkpoint = find(str(folder), offline=True)
        model = LocalModel(checkpoint, Setup(device="cpu"))
        answers = judge(model, checkpoint.form(), scenes=scenes, seed=_SEED, without_marks=False)
        return Confidence(
            fmean(answer.probability or 0.0 for answer in answers), fmean(answer.right for answer in answers)
        )

    temperature = find_temperature(measure)
    apply(temperature)
    return temperature


def find_temperature(measure: Callable[[float], Confidence]) -> float:
    """The temperature at which confidence equals accuracy, by bisection."""
    low, high = _MIN_TEMPERATURE, _MAX_TEMPERATURE
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        confidence, accuracy = measure(middle)
        if confidence > accuracy:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
