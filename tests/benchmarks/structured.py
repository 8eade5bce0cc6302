"""Tokens of an answer by a schema against tokens of a free answer, on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.compare import Comparison
from tests.tiny import make_endless
from vipcli.asking.grammars import read_grammar
from vipcli.asking.interface import Grammar, Request, Sampling
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.engine.local import LocalModel

LENGTH = 96


def comparisons() -> list[Comparison]:
    """The same number of tokens with a schema and without."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = find(str(make_endless(Path(scratch) / "checkpoint", size=336, hidden=512, layers=8)))
        model = LocalModel(checkpoint)
    prompt = checkpoint.form().build([Turn("What is this?")])
    schema = read_grammar("color: red|green|blue, at: {x: int, y: int}, text: str")
    return [
        Comparison(
            name="schema",
            baseline_name=f"{LENGTH} tokens of a free answer",
            ours_name="as many by a schema",
            baseline=_answer(model, prompt, None),
            ours=_answer(model, prompt, schema),
            target="at most 1.1 × its time",
            least_ratio=1 / 1.1,
            unit="token",
            baseline_units=LENGTH,
            ours_units=LENGTH,
        )
    ]


def _answer(model: LocalModel, prompt: str, grammar: Grammar | None) -> Callable[[], None]:
    picture = np.zeros((336, 336, 3), np.uint8)
    request = Request(prompt, (picture,), sampling=Sampling(LENGTH), grammar=grammar)

    def answer() -> None:
        reply = model.answer(request)
        assert len(reply.token_ids) == LENGTH, reply.text

    return answer
