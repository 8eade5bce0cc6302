"""Measure what cutting pictures to their marks does to answers about small and about ordinary things."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from vipcli.asking import pipeline
from vipcli.asking.interface import BatchAnswerer
from vipcli.asking.values import MarkedInput
from vipcli.asking.zooming import marked_share
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.geometry import ZoomChoice
from vipcli.marks.kinds import ContourMark, Length, Mark, MaskMark, TypedMark
from vipcli.pictures.images import Picture
from vipcli.training.drawing.scenes import DrawnScene, SceneMixture
from vipcli.training.judging.evaluation import (
    HELD_OUT,
    SHORT_ANSWERS,
    Accuracy,
    held_out_scene,
    normalize_answer,
)
from vipcli.training.questions.generator import ask, conversations
from vipcli.training.questions.question_answer import QuestionAnswer

FAMILIES = ("what", "color", "letter", "number")
"""What is asked about small things: questions that the marked thing alone answers."""
SMALL, TWO, ORDINARY = "small things", "small things, two marks", "ordinary scenes"
_SMALL_THINGS = SceneMixture(
    marks=(0, 1), foreign=0.0, jitter=0.0, sizes=((640, 1280, 1), (1280, 2400, 1)), extent=(0.04, 0.08)
)
"""Large pictures whose things are too small for the model, one of them marked."""
_MIXTURES = {SMALL: _SMALL_THINGS, TWO: replace(_SMALL_THINGS, marks=(0, 0, 1)), ORDINARY: HELD_OUT}
MARGINS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
SHARES = (0.06, 0.08, 0.1, 0.125, 0.15, 0.175, 0.2)
"""The shares of the picture's side, under which `auto` might cut, that are compared."""
_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class ZoomAnswer:
    """A question with the model's answer for each zoom. The fields are keys of the JSON report."""

    scene: int
    sort: str
    family: str
    kinds: tuple[str, ...]
    """Kinds of the marks that the question is about."""
    side: int
    """The longer side of the picture."""
    share: float | None
    """What `auto` compares with its limit; None where the size of what is marked is not known."""
    question: str
    expected: str
    answered: dict[str, str]
    right: dict[str, bool]
    """By zoom."""


@dataclass(frozen=True, slots=True)
class _Asked:
    scene: int
    sort: str
    side: int
    marked: MarkedInput
    kinds: tuple[str, ...]
    question: QuestionAnswer


def sorts(margins: Sequence[float]) -> dict[str, tuple[ZoomChoice, ...]]:
    """The sorts of scenes, and the zooms to compare on each."""
    return {
        SMALL: ("off", "auto", "on", *margins),
        TWO: ("off", "auto", "on"),
        ORDINARY: ("off", "auto", "on"),
    }


def judge_zoom(
    answerer: BatchAnswerer,
    checkpoint: Checkpoint,
    sort: str,
    choices: Sequence[ZoomChoice],
    numbers: Iterable[int],
    *,
    seed: int = 0,
) -> list[ZoomAnswer]:
    """Ask about the marks of held-out scenes of a sort, with each zoom; `numbers` are those of the scenes."""

    def asked() -> Iterator[_Asked]:
        for number in numbers:
            drawn, rng = held_out_scene(seed, number, _MIXTURES[sort])
            yield from _questions(number, drawn, sort, rng)

    return list(_judge(answerer, checkpoint, choices, asked()))


def _questions(number: int, drawn: DrawnScene, sort: str, rng: random.Random) -> Iterator[_Asked]:
    """What is asked about a scene: of the families about small things, or as a user would ask."""
    scene = drawn.scene
    picture = Picture(drawn.plain, f"scene {number}", hashlib.sha256(drawn.plain.tobytes()).hexdigest())
    if not scene.marks:
        return
    marked = pipeline.mark([picture], [_typed(placed.mark) for placed in scene.marks])
    if sort == ORDINARY:
        questions = [first for first, *_ in conversations(scene, rng, 2)]
    else:
        questions = [question for family in FAMILIES if (question := ask(scene, family, rng)) is not None]
    for question in questions:
        kinds = tuple(scene.marks[mark].mark.kind for mark in question.marks)
        yield _Asked(number, sort, max(scene.width, scene.height), marked, kinds, question)


def _typed(mark: Mark) -> TypedMark:
    if isinstance(mark, ContourMark | MaskMark):
        return TypedMark(mark.kind, mark.kind, polygons=mark.polygons, color=mark.color)
    coordinates = tuple(Length(value) for point in mark.points for value in point)
    return TypedMark(mark.kind, mark.kind, coordinates, color=mark.color)


def _judge(
    answerer: BatchAnswerer, checkpoint: Checkpoint, choices: Sequence[ZoomChoice], asked: Iterator[_Asked]
) -> Iterator[ZoomAnswer]:
    fit = checkpoint.fit()
    while batch := [*islice(asked, _TOGETHER)]:
        answers: list[dict[str, str]] = [{} for _ in batch]
        for choice in choices:
            prepared = [
                pipeline.prepare(entry.marked, entry.question.question, checkpoint, zoom=choice)
                for entry in batch
            ]
            requests = [pipeline.build_request(question, SHORT_ANSWERS) for question in prepared]
            for texts, reply in zip(answers, answerer.answer_batch(requests), strict=True):
                texts[str(choice)] = reply.text
        for entry, texts in zip(batch, answers, strict=True):
            expected = normalize_answer(entry.question.answer)
            yield ZoomAnswer(
                scene=entry.scene,
                sort=entry.sort,
                family=entry.question.family,
                kinds=entry.kinds,
                side=entry.side,
                share=marked_share(entry.marked.pictures[0], checkpoint, fit, tiled=True),
                question=entry.question.question,
                expected=entry.question.answer,
                answered=texts,
                right={choice: normalize_answer(text) == expected for choice, text in texts.items()},
            )


def zoom_summary(answers: Mapping[str, Sequence[ZoomAnswer]]) -> dict[str, dict[str, Any]]:
    """How many are right with each zoom, by the sort of scene. The names are keys of the JSON report."""
    figures = {sort: _by_choice(group) for sort, group in answers.items()}
    small = answers[SMALL]
    for kind in sorted({kind for answer in small for kind in answer.kinds}):
        figures[f"{SMALL}, {kind}"] = _by_choice([answer for answer in small if kind in answer.kinds])
    for sort in (SMALL, ORDINARY):
        figures[f"{sort}, auto under"] = _by_share(answers[sort])
    return figures


def _by_choice(answers: Sequence[ZoomAnswer]) -> dict[str, Any]:
    choices = answers[0].right if answers else ()
    return {choice: _accuracy(answer.right[choice] for answer in answers) for choice in choices}


def _by_share(answers: Sequence[ZoomAnswer]) -> dict[str, Any]:
    """How many would be right if `auto` cut under each share."""

    def right(answer: ZoomAnswer, limit: float) -> bool:
        return answer.right["on" if answer.share is not None and answer.share < limit else "off"]

    return {str(limit): _accuracy(right(answer, limit) for answer in answers) for limit in SHARES}


def _accuracy(right: Iterable[bool]) -> dict[str, Any]:
    results = list(right)
    accuracy = Accuracy(sum(results), len(results))
    return {**asdict(accuracy), "percent": accuracy.percent}
