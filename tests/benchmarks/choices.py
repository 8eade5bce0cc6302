"""The likeliest of four choices against one generated answer, with the bundled model on held-out scenes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.benchmarks.compare import Comparison
from vipcli.asking.interface import Request, Setup
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.engine.local import LocalModel
from vipcli.training.judging.choices import CLOSED_SETS
from vipcli.training.judging.evaluation import SHORT_ANSWERS, held_out_scene
from vipcli.training.questions.generator import conversations

QUESTIONS = 24


def comparisons() -> list[Comparison]:
    """The same questions, answered in each way."""
    model = LocalModel(find("bundled"), Setup(device="cpu"))
    asked = list(itertools.islice(_requests(model), QUESTIONS))

    def answer(choices: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Callable[[], None]:
        def run() -> None:
            for request, options in asked:
                # Neither way may use what the other has read.
                model.forget()
                assert model.answer(replace(request, choices=choices(options))).text

        return run

    return [
        Comparison(
            name="choices",
            baseline_name="one generated answer",
            ours_name="the likeliest of four",
            baseline=answer(lambda options: ()),
            ours=answer(lambda options: options[:4]),
            target="at most 1.3 × its time",
            least_ratio=1 / 1.3,
            unit="question",
            baseline_units=QUESTIONS,
            ours_units=QUESTIONS,
        )
    ]


def _requests(model: LocalModel) -> Iterator[tuple[Request, tuple[str, ...]]]:
    """Questions with at least four possible answers, each about another scene."""
    form = model.checkpoint.form()
    for number in itertools.count():
        drawn, rng = held_out_scene(0, number)
        for first, *_ in conversations(drawn.scene, rng, 2):
            options = CLOSED_SETS.get(first.family, ())
            if len(options) >= 4 and first.answer in options:
                prompt = form.build([Turn(first.question)])
                yield (
                    Request(prompt, (drawn.marked,), stops=form.stops, sampling=SHORT_ANSWERS),
                    options,
                )
                break
