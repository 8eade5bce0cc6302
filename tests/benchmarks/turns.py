"""Turns of a conversation about a picture of 576 tokens, on the CPU: going on against starting over."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.compare import Comparison
from tests.tiny import make_endless
from vipcli.asking.interface import Sampling
from vipcli.asking.pipeline import ask, mark, prepare
from vipcli.asking.values import MarkedInput, PastTurn
from vipcli.checkpoints.lookup import find
from vipcli.engine.local import LocalModel
from vipcli.pictures.images import Picture

LENGTH = 16


def comparisons() -> list[Comparison]:
    """The first token of a third turn, all of it, and the tenth turn against the second."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = find(str(make_endless(Path(scratch) / "checkpoint", size=336, hidden=512, layers=8)))
        going_on, starting_over = LocalModel(checkpoint), LocalModel(checkpoint)
    marked = mark([_picture()], [])
    begun = Comparison(
        name="turn-begun",
        baseline_name="starting over, to the first token",
        ours_name="going on",
        baseline=_turn(starting_over, marked, 3, 1, anew=True),
        ours=_turn(going_on, marked, 3, 1),
        target="at most 0.1 × its time",
        least_ratio=10,
    )
    whole = Comparison(
        name="turn",
        baseline_name=f"starting over, {LENGTH} tokens",
        ours_name="going on",
        baseline=_turn(starting_over, marked, 3, LENGTH, anew=True),
        ours=_turn(going_on, marked, 3, LENGTH),
        target="at most 0.45 × its time",
        least_ratio=1 / 0.45,
    )
    tenth = Comparison(
        name="turn-ten",
        baseline_name="the second turn",
        ours_name="the tenth",
        baseline=_turn(starting_over, marked, 2, LENGTH),
        ours=_turn(going_on, marked, 10, LENGTH),
        target="at most 1.3 × its time",
        least_ratio=1 / 1.3,
    )
    return [begun, whole, tenth]


def _turn(
    model: LocalModel, marked: MarkedInput, number: int, length: int, *, anew: bool = False
) -> Callable[[], None]:
    """Something that takes a conversation's turn of that number; `anew`, with nothing remembered."""
    said = ask(prepare(marked, "Why?", model.checkpoint), model, Sampling(LENGTH)).reply
    earlier = [PastTurn("Why?", said.text, said.token_ids)] * (number - 1)
    # Each time with words of its own, so that no more is remembered than in a conversation.
    words = itertools.cycle("abcdefghijklmnopqrstuvwxyz")

    def take() -> None:
        if anew:
            model.forget()
        question = prepare(marked, f"{next(words)}?", model.checkpoint, past_turns=earlier)
        reply = ask(question, model, Sampling(length)).reply
        assert len(reply.token_ids) == length

    return take


def _picture() -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    return Picture(pixels, "photo.png", "")
