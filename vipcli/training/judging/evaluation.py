"""Evaluate a checkpoint on held-out scenes, with questions asked as a user would ask them.

An answer is right if it matches exactly, apart from case and punctuation.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from vipcli.asking.interface import Answerer, Request, Sampling
from vipcli.checkpoints.prompt_forms import PromptForm, Turn
from vipcli.pictures.images import Pixels
from vipcli.training.drawing.scenes import DrawnScene, SceneMixture, draw_scene
from vipcli.training.questions.generator import conversations
from vipcli.training.questions.question_answer import QuestionAnswer

# Scenes of all sizes equally often, with enough marks to distinguish.
HELD_OUT = SceneMixture(
    marks=(1, 4, 4, 3),
    sizes=((128, 320, 1), (320, 640, 1), (640, 1280, 1), (1280, 2000, 1)),
)
SHORT_ANSWERS = Sampling(max_new_tokens=48)

DISPLAY_NAMES = {
    "the right one of several marks": "right mark among several",
    "absent marks said absent": "absent marks reported as absent",
    "marks that are there denied": "present marks reported as absent",
    "foreign pictures not told": "foreign pictures recognized",
    "chance": "best fixed answers",
}
"""Names of figures for people, where they differ from the keys of the JSON report."""

# Families whose answer names or describes the marked thing, and so depends on which mark is meant.
IDENTIFYING_FAMILIES = ("what", "color", "texture", "letter", "number", "read")


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """A question with the model's answer, and how to group it. The fields are keys of the JSON report."""

    scene: int
    turn: int
    question: str
    expected: str
    answered: str
    right: bool
    probability: float | None
    family: str
    ability: str
    kinds: tuple[str, ...]
    """Kinds of the marks that the question is about."""
    marks: int
    """Number of marks in the picture."""
    shape: str
    """Shape of the picture."""
    removed: bool
    """Whether the marks were left out of the picture."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Number of right answers among all that were asked for."""

    right: int
    asked: int

    @property
    def percent(self) -> float | None:
        return round(100 * self.right / self.asked, 2) if self.asked else None


def normalize_answer(answer: str) -> str:
    """An answer without case and punctuation."""
    return " ".join(re.sub(r"[^\w\s]", "", answer.lower()).split())


def held_out_scene(
    seed: int, number: int, mixture: SceneMixture = HELD_OUT
) -> tuple[DrawnScene, random.Random]:
    """A scene for evaluation, and the random numbers for its questions."""
    rng = random.Random(f"held out {seed} {number}")
    return draw_scene(rng, mixture), rng


def judge(
    answerer: Answerer,
    form: PromptForm,
    *,
    scenes: int,
    seed: int = 0,
    per_scene: int = 2,
    mixture: SceneMixture = HELD_OUT,
    without_marks: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> list[JudgedAnswer]:
    """Ask questions about held-out scenes; `without_marks` repeats some of them with the marks left out."""
    answers: list[JudgedAnswer] = []
    for number in range(scenes):
        drawn, rng = held_out_scene(seed, number, mixture)
        asked = conversations(drawn.scene, rng, per_scene)
        for conversation in asked:
            answers += _converse(answerer, form, drawn, conversation, number, removed=False)
        # Only now, since a model that answers about the same picture again has read it already.
        for first, *_ in asked:
            if without_marks and first.marks and first.ability != "foreign":
                answers += _converse(answerer, form, drawn, [first], number, removed=True)
        progress(number + 1)
    return answers


def _converse(
    answerer: Answerer,
    form: PromptForm,
    drawn: DrawnScene,
    conversation: Sequence[QuestionAnswer],
    number: int,
    *,
    removed: bool,
) -> Iterator[JudgedAnswer]:
    """Ask turn by turn, with the model's own answers as the history."""
    picture: Pixels = drawn.plain if removed else drawn.marked
    turns: list[Turn] = []
    for index, turn in enumerate(conversation):
        prompt = form.build([*turns, Turn(turn.question)])
        reply = answerer.answer(Request(prompt, (picture,), stops=form.stops, sampling=SHORT_ANSWERS))
        turns.append(Turn(turn.question, reply.text))
        yield JudgedAnswer(
            scene=number,
            turn=index,
            question=turn.question,
            expected=turn.answer,
            answered=reply.text,
            right=normalize_answer(reply.text) == normalize_answer(turn.answer),
            probability=reply.probability,
            family=turn.family,
            ability=turn.ability,
            kinds=tuple(drawn.scene.marks[mark].mark.kind for mark in turn.marks),
            marks=len(drawn.scene.marks),
            shape=_shape(drawn.scene.width / drawn.scene.height),
            removed=removed,
        )


def _shape(aspect: float) -> str:
    ratio = max(aspect, 1 / aspect)
    if ratio < 1.2:
        return "square"
    shape = "wide" if aspect > 1 else "tall"
    return shape if ratio < 2 else f"very {shape}"


def summary(answers: Sequence[JudgedAnswer]) -> dict[str, Any]:
    """All figures by name; accuracies as right, asked and percent. The names are keys of the JSON report."""
    regular = [answer for answer in answers if not answer.removed]
    removed = [answer for answer in answers if answer.removed]
    about_marks = [
        answer for answer in regular if answer.kinds and answer.ability not in ("absent", "foreign")
    ]
    one_of_several = [
        answer
        for answer in about_marks
        if answer.marks > 1 and len(answer.kinds) == 1 and answer.family in IDENTIFYING_FAMILIES
    ]
    figures = {
        "all": _accuracy(regular),
        "by ability": _accuracies(regular, lambda answer: [answer.ability]),
        "by mark": _accuracies(about_marks, lambda answer: sorted(set(answer.kinds))),
        "by number of marks": _accuracies(regular, lambda answer: [str(answer.marks)]),
        "by picture shape": _accuracies(regular, lambda answer: [answer.shape]),
        "by family": _accuracies(regular, lambda answer: [answer.family]),
        "the right one of several marks": _accuracy(one_of_several),
        "follow-ups": _accuracy([answer for answer in regular if answer.turn > 0]),
        "absent marks said absent": _accuracy([answer for answer in regular if answer.ability == "absent"]),
        "marks that are there denied": Accuracy(
            sum(_says_absent(answer) for answer in about_marks), len(about_marks)
        ),
        "foreign pictures not told": _accuracy([answer for answer in regular if answer.ability == "foreign"]),
        "marks removed": _accuracy(removed),
        "chance": _best_fixed_answers(removed),
        "calibration": calibration(regular),
        "calibration error": round(calibration_error(regular), 2),
    }
    return {name: _to_json(figure) for name, figure in figures.items()}


def _to_json(figure: Any) -> Any:
    if isinstance(figure, Accuracy):
        return {**asdict(figure), "percent": figure.percent}
    if isinstance(figure, dict):
        return {name: _to_json(value) for name, value in figure.items()}
    return figure


def _accuracy(answers: Sequence[Judgment]) -> Accuracy:
    return Accuracy(sum(answer.right for answer in answers), len(answers))


def _accuracies(
    answers: Sequence[JudgedAnswer], groups_of: Callable[[JudgedAnswer], Iterable[str]]
) -> dict[str, Accuracy]:
    groups: dict[str, list[JudgedAnswer]] = defaultdict(list)
    for answer in answers:
        for name in groups_of(answer):
            groups[name].append(answer)
    return {name: _accuracy(groups[name]) for name in sorted(groups)}


def _says_absent(answer: JudgedAnswer) -> bool:
    return answer.answered.startswith("There is no")


def _best_fixed_answers(answers: Sequence[JudgedAnswer]) -> Accuracy:
    """The accuracy of giving the most frequent answer of each family."""
    counts_by_family: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        counts_by_family[answer.family][normalize_answer(answer.expected)] += 1
    return Accuracy(sum(max(counts.values()) for counts in counts_by_family.values()), len(answers))


class Judgment(Protocol):
    """Anything that is right or wrong, and was given with a probability."""

    @property
    def right(self) -> bool: ...

    @property
    def probability(self) -> float | None: ...


def calibration(answers: Sequence[Judgment], bins: int = 10) -> list[dict[str, float]]:
    """Accuracy against confidence, in bins of equal width."""
    curve = []
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            answer
            for answer in answers
            if answer.probability is not None
            and (low <= answer.probability < high or (high == 1 and answer.probability == 1))
        ]
        if inside:
            confidence = sum(answer.probability or 0 for answer in inside) / len(inside)
            curve.append(
                {
                    "sure": round(100 * confidence, 1),
                    "right": round(_accuracy(inside).percent or 0.0, 1),
                    "asked": len(inside),
                }
            )
    return curve


def calibration_error(answers: Sequence[Judgment]) -> float:
    """The mean difference between confidence and accuracy, in percentage points."""
    curve = calibration(answers)
    total = sum(point["asked"] for point in curve)
    return sum(abs(point["sure"] - point["right"]) * point["asked"] for point in curve) / max(total, 1)


def select_failures(answers: Sequence[JudgedAnswer], limit: int) -> list[JudgedAnswer]:
    """Wrong answers to inspect, taken from all families in turn, the most confident ones first."""
    by_family: dict[str, list[JudgedAnswer]] = defaultdict(list)
    for answer in answers:
        if not answer.right and not answer.removed:
            by_family[answer.family].append(answer)
    for failures in by_family.values():
        failures.sort(key=lambda answer: -(answer.probability or 0))
    selected: list[JudgedAnswer] = []
    while len(selected) < limit and any(by_family.values()):
        for failures in by_family.values():
            if failures and len(selected) < limit:
                selected.append(failures.pop(0))
    return selected
