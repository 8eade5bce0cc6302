"""Turns of a conversation about a picture of 576 tokens, on the CPU, with and without the prefix cache."""

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
        cached, uncached = LocalModel(checkpoint), LocalModel(checkpoint)
    marked = mark([_picture()], [])
    first_token = Comparison(
        name="turn-begun",
        baseline_name="without the prefix cache, to the first token",
        ours_name="with it",
        baseline=_turn(uncached, marked, 3, 1, forget=True),
        ours=_turn(cached, marked, 3, 1),
        target="at most 0.1 × its time",
        least_ratio=10,
    )
    whole = Comparison(
        name="turn",
        baseline_name=f"without the prefix cache, {LENGTH} tokens",
        ours_name="with it",
        baseline=_turn(uncached, marked, 3, LENGTH, forget=True),
        ours=_turn(cached, marked, 3, LENGTH),
        target="at most 0.45 × its time",
        least_ratio=1 / 0.45,
    )
    tenth = Comparison(
        name="turn-ten",
        baseline_name="the second turn",
        ours_name="the tenth",
        baseline=_turn(uncached, marked, 2, LENGTH),
        ours=_turn(cached, marked, 10, LENGTH),
        target="at most 1.3 × its time",
        least_ratio=1 / 1.3,
    )
    return [first_token, whole, tenth]


def _turn(
    model: LocalModel, marked: MarkedInput, number: int, length: int, *, forget: bool = False
) -> Callable[[], None]:
    """A function that takes turn `number` of a conversation; with `forget`, without the prefix cache."""
    reply = ask(prepare(marked, "Why?", model.checkpoint), model, Sampling(LENGTH)).reply
    past_turns = [PastTurn("Why?", reply.text, reply.token_ids)] * (number - 1)
    # Different questions, so that the cache holds no more of one than in a conversation.
    letters = itertools.cycle("abcdefghijklmnopqrstuvwxyz")

    def take() -> None:
        if forget:
            model.forget()
        question = prepare(marked, f"{next(letters)}?", model.checkpoint, past_turns=past_turns)
        reply = ask(question, model, Sampling(length)).reply
        assert len(reply.token_ids) == length

    return take


def _picture() -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    return Picture(pixels, "photo.png", "")
