"""Compare answers that are guided by contrast with plain answers to the same held-out questions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vipcli.asking.interface import BatchAnswerer, Guide, Request
from vipcli.asking.regions_of_marks import covered
from vipcli.checkpoints.prompt_forms import PromptForm, Turn
from vipcli.marks.styles import styles_for
from vipcli.training.judging.evaluation import SHORT_ANSWERS, held_out_scene, normalize_answer
from vipcli.training.questions.generator import conversations


@dataclass(frozen=True, slots=True)
class GuidedAnswers:
    """Whether the plain answer and those with each alpha are right."""

    scene: int
    family: str
    plain: bool
    guided: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How many points more of the answers are right, with the bounds of a 95 % interval."""

    points: float
    low: float
    high: float


def judge_guided(
    answerer: BatchAnswerer,
    form: PromptForm,
    alphas: Sequence[float],
    *,
    scenes: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[GuidedAnswers]:
    """Ask one question about marks on each held-out scene that has one."""
    judged = []
    for number in range(scenes):
        drawn, rng = held_out_scene(seed, number)
        firsts = [first for first, *_ in conversations(drawn.scene, rng, 2)]
        turn = next((first for first in firsts if first.marks and first.ability != "foreign"), None)
        if turn is not None:
            marks = [entry.mark for entry in drawn.scene.marks]
            black = covered(drawn.marked, marks, styles_for(marks, drawn.scene.width, drawn.scene.height))
            prompt = form.build([Turn(turn.question)])
            plain = Request(prompt, (drawn.marked,), stops=form.stops, sampling=SHORT_ANSWERS)
            asked = [plain, *(replace(plain, guide=Guide(alpha, (black,))) for alpha in alphas)]
            expected = normalize_answer(turn.answer)
            first, *guided = [
                normalize_answer(reply.text) == expected for reply in answerer.answer_batch(asked)
            ]
            judged.append(GuidedAnswers(number, turn.family, first, tuple(guided)))
        progress(number + 1)
    return judged


def paired_difference(answers: Sequence[GuidedAnswers], index: int) -> PairedDifference:
    """The difference between the guided answers of one alpha, by its index, and the plain answers."""
    changes = [100 * (answer.guided[index] - answer.plain) for answer in answers]
    mean = statistics.fmean(changes)
    reach = 1.96 * statistics.stdev(changes) / math.sqrt(len(changes))
    return PairedDifference(round(mean, 2), round(mean - reach, 2), round(mean + reach, 2))


def guided_summary(answers: Sequence[GuidedAnswers], alphas: Sequence[float]) -> dict[str, Any]:
    """The figures for a report. The names are keys of the JSON."""
    return {
        "asked": len(answers),
        "percent": round(100 * statistics.fmean(answer.plain for answer in answers), 2),
        "differences": [
            {"alpha": alpha, **asdict(paired_difference(answers, index))}
            for index, alpha in enumerate(alphas)
        ],
    }
