"""Evaluate a checkpoint on pictures that were drawn independently of the training code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from vipcli.asking.interface import BatchAnswerer, Request
from vipcli.checkpoints.prompt_forms import PromptForm, Turn
from vipcli.training.judging.evaluation import SHORT_ANSWERS, Accuracy, normalize_answer
from vipcli.training.judging.independent_scenes import IndependentScene

_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class IndependentAnswer:
    """A question about an independent picture with the model's answer; fields are keys of the JSON report."""

    seed: int
    number: int
    family: str
    kinds: tuple[str, ...]
    question: str
    expected: str
    answered: str
    right: bool


def judge_independent(
    answerer: BatchAnswerer, form: PromptForm, seed: int, scenes: Iterable[IndependentScene]
) -> Iterator[IndependentAnswer]:
    """Ask the questions of the scenes of a seed."""
    numbered = enumerate(scenes)
    while batch := [*islice(numbered, _TOGETHER)]:
        replies = answerer.answer_batch([_request(scene, form) for _, scene in batch])
        for (number, scene), reply in zip(batch, replies, strict=True):
            right = normalize_answer(reply.text) == normalize_answer(scene.answer)
            yield IndependentAnswer(
                seed, number, scene.family, scene.kinds, scene.question, scene.answer, reply.text, right
            )


def _request(scene: IndependentScene, form: PromptForm) -> Request:
    prompt = form.build([Turn(scene.question)])
    return Request(prompt, (scene.picture,), stops=form.stops, sampling=SHORT_ANSWERS)


def independent_summary(answers: Sequence[IndependentAnswer]) -> dict[str, Any]:
    """Accuracy over all answers, by family and by kind of mark. The names are keys of the JSON report."""
    by_family: dict[str, list[bool]] = defaultdict(list)
    by_mark: dict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        by_family[answer.family].append(answer.right)
        if answer.family not in ("absent", "foreign"):
            for kind in set(answer.kinds):
                by_mark[kind].append(answer.right)
    return {
        "all": _accuracy([answer.right for answer in answers]),
        "by family": {family: _accuracy(by_family[family]) for family in sorted(by_family)},
        "by mark": {kind: _accuracy(by_mark[kind]) for kind in sorted(by_mark)},
    }


def _accuracy(right: Sequence[bool]) -> dict[str, Any]:
    accuracy = Accuracy(sum(right), len(right))
    return {**asdict(accuracy), "percent": accuracy.percent}
