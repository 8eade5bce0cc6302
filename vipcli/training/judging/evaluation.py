"""How well a checkpoint does on scenes that no training has seen: questions put to it as a user's are.

A question is right when its answer is exact, but for case and punctuation.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vipcli.asking.interface import Answerer, Request, Sampling
from vipcli.checkpoints.prompt_forms import PromptForm, Turn
from vipcli.pictures.images import Pixels
from vipcli.training.drawing.scenes import Drawn, Mixture, draw_scene
from vipcli.training.questions.generator import Exchange, conversations

# Scenes for judging: every size evenly, and marks enough to tell apart.
HELD_OUT = Mixture(
    marks=(1, 4, 4, 3),
    sizes=((128, 320, 1), (320, 640, 1), (640, 1280, 1), (1280, 2000, 1)),
)
_SAMPLING = Sampling(max_new_tokens=48)

# Families whose answer names what the marked thing is or looks like, so that two marks give two answers.
TELLING_APART = ("what", "color", "texture", "letter", "number", "read")


@dataclass(frozen=True, slots=True)
class Judged:
    """One question, what was answered, and where it belongs."""

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
    """The kinds of the marks that it was about."""
    marks: int
    """How many marks there were."""
    shape: str
    removed: bool
    """Whether the marks had been left out of the picture."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many right of so many."""

    right: int
    asked: int

    @property
    def percent(self) -> float | None:
        return round(100 * self.right / self.asked, 2) if self.asked else None


def folded(answer: str) -> str:
    """An answer without case and punctuation."""
    return " ".join(re.sub(r"[^\w\s]", "", answer.lower()).split())


def held_out(seed: int, number: int, mixture: Mixture = HELD_OUT) -> tuple[Drawn, random.Random]:
    """A scene for judging, and the source of its questions."""
    rng = random.Random(f"held out {seed} {number}")
    return draw_scene(rng, mixture), rng


def judge(
    answerer: Answerer,
    form: PromptForm,
    *,
    scenes: int,
    seed: int = 0,
    per_scene: int = 2,
    mixture: Mixture = HELD_OUT,
    without_marks: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Judged]:
    """Put questions on that many scenes; `without_marks` puts some of them again with the marks left out."""
    judged: list[Judged] = []
    for number in range(scenes):
        drawn, rng = held_out(seed, number, mixture)
        for conversation in conversations(drawn.scene, rng, per_scene):
            judged += _converse(answerer, form, drawn, drawn.marked, conversation, number, removed=False)
            first = conversation[0]
            if without_marks and first.marks and first.ability != "foreign":
                judged += _converse(answerer, form, drawn, drawn.plain, [first], number, removed=True)
        progress(number + 1)
    return judged


def _converse(
    answerer: Answerer,
    form: PromptForm,
    drawn: Drawn,
    picture: Pixels,
    conversation: Sequence[Exchange],
    number: int,
    *,
    removed: bool,
) -> Iterator[Judged]:
    """Ask turn by turn, the model's own answers standing in what it reads next."""
    turns: list[Turn] = []
    for turn, exchange in enumerate(conversation):
        prompt = form.build([*turns, Turn(exchange.question)])
        reply = answerer.answer(Request(prompt, (picture,), stops=form.stops, sampling=_SAMPLING))
        turns.append(Turn(exchange.question, reply.text))
        yield Judged(
            scene=number,
            turn=turn,
            question=exchange.question,
            expected=exchange.answer,
            answered=reply.text,
            right=folded(reply.text) == folded(exchange.answer),
            probability=reply.probability,
            family=exchange.family,
            ability=exchange.ability,
            kinds=tuple(drawn.scene.pointed[mark].mark.kind for mark in exchange.marks),
            marks=len(drawn.scene.pointed),
            shape=_shape(drawn.scene.width / drawn.scene.height),
            removed=removed,
        )


def _shape(ratio: float) -> str:
    flat = max(ratio, 1 / ratio)
    if flat < 1.2:
        return "square"
    side = "wide" if ratio > 1 else "tall"
    return side if flat < 2 else f"very {side}"


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """All figures, by name; shares as right, asked and percent."""
    seen = [one for one in judged if not one.removed]
    about = [one for one in seen if one.kinds and one.ability not in ("absent", "foreign")]
    several = [one for one in about if one.marks > 1 and len(one.kinds) == 1 and one.family in TELLING_APART]
    removed = [one for one in judged if one.removed]
    figures = {
        "all": _share(seen),
        "by ability": _shares(seen, lambda one: [one.ability]),
        "by mark": _shares(about, lambda one: sorted(set(one.kinds))),
        "by number of marks": _shares(seen, lambda one: [str(one.marks)]),
        "by picture shape": _shares(seen, lambda one: [one.shape]),
        "by family": _shares(seen, lambda one: [one.family]),
        "the right one of several marks": _share(several),
        "follow-ups": _share([one for one in seen if one.turn > 0]),
        "absent marks said absent": _share([one for one in seen if one.ability == "absent"]),
        "marks that are there denied": Share(sum(_denies(one) for one in about), len(about)),
        "foreign pictures not told": _share([one for one in seen if one.ability == "foreign"]),
        "marks removed": _share(removed),
        "chance": _chance(removed),
        "calibration": calibration(seen),
        "calibration error": round(calibration_error(seen), 2),
    }
    return {name: _plain(figure) for name, figure in figures.items()}


def _plain(figure: Any) -> Any:
    if isinstance(figure, Share):
        return {**asdict(figure), "percent": figure.percent}
    if isinstance(figure, dict):
        return {name: _plain(value) for name, value in figure.items()}
    return figure


def _share(judged: Sequence[Judged]) -> Share:
    return Share(sum(one.right for one in judged), len(judged))


def _shares(judged: Sequence[Judged], names: Callable[[Judged], Iterable[str]]) -> dict[str, Share]:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        for name in names(one):
            groups[name].append(one)
    return {name: _share(groups[name]) for name in sorted(groups)}


def _denies(one: Judged) -> bool:
    return one.answered.startswith("There is no")


def _chance(judged: Sequence[Judged]) -> Share:
    """What the best fixed answer to each family would have got."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for one in judged:
        answers[one.family][folded(one.expected)] += 1
    return Share(sum(max(counts.values()) for counts in answers.values()), len(judged))


def calibration(judged: Sequence[Judged], bins: int = 10) -> list[dict[str, float]]:
    """By how sure the model was: how often it was right."""
    curve = []
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            one
            for one in judged
            if one.probability is not None
            and (low <= one.probability < high or (high == 1 and one.probability == 1))
        ]
        if inside:
            sure = sum(one.probability or 0 for one in inside) / len(inside)
            curve.append(
                {
                    "sure": round(100 * sure, 1),
                    "right": round(_share(inside).percent or 0.0, 1),
                    "asked": len(inside),
                }
            )
    return curve


def calibration_error(judged: Sequence[Judged]) -> float:
    """The mean distance, in points, between how sure it was and how often it was right."""
    curve = calibration(judged)
    total = sum(point["asked"] for point in curve)
    return sum(abs(point["sure"] - point["right"]) * point["asked"] for point in curve) / max(total, 1)


def worst(judged: Sequence[Judged], most: int) -> list[Judged]:
    """Failures for looking at, the surest first, every family in turn."""
    by_family: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if not one.right and not one.removed:
            by_family[one.family].append(one)
    for failures in by_family.values():
        failures.sort(key=lambda one: -(one.probability or 0))
    chosen: list[Judged] = []
    while len(chosen) < most and any(by_family.values()):
        for failures in by_family.values():
            if failures and len(chosen) < most:
                chosen.append(failures.pop(0))
    return chosen
