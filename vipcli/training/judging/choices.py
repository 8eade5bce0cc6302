"""Compare choosing an answer by likelihood with generating one, where there are few possible answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vipcli.asking.interface import Answerer, Reply, Request
from vipcli.checkpoints.prompt_forms import PromptForm, Turn
from vipcli.config import SCORES
from vipcli.training.judging.evaluation import (
    SHORT_ANSWERS,
    Accuracy,
    calibration_error,
    held_out_scene,
    normalize_answer,
)
from vipcli.training.questions.answers import noun_phrase
from vipcli.training.questions.generator import conversations
from vipcli.training.questions.question_answer import NOTHING, Conversation
from vipcli.training.world.facts import (
    COLORS,
    CORNERS,
    KINDS,
    LETTERS,
    NUMBERS,
    PLACES,
    TEXTURES,
    USES,
)

GENERATED = "generated"


_YES_NO = ("yes", "no")
_THINGS = (*map(noun_phrase, KINDS), NOTHING)
_COUNTS = tuple(map(str, range(13)))

CLOSED_SETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("what", "nothing", "choose-what", "nearest", "kind-of", "bigger", "which-color"), _THINGS
    ),
    **dict.fromkeys(("color", "choose-color", "color-of"), tuple(COLORS)),
    **dict.fromkeys(("is-what", "is-color", "is-texture", "is-size", "is-use", "alive"), _YES_NO),
    **dict.fromkeys(("left-of", "right-of", "above", "below", "same-color", "same-kind"), _YES_NO),
    **dict.fromkeys(("is-larger-number", "has-kind", "has-color"), _YES_NO),
    **dict.fromkeys(("count-things", "count-color", "count-kind", "count-category"), _COUNTS),
    **dict.fromkeys(("number", "larger-number", "smaller-number", "difference"), NUMBERS),
    "texture": TEXTURES,
    "size": ("small", "large"),
    "category": ("shape", "number", "letter", "object"),
    "letter": LETTERS,
    "read": (*LETTERS, *NUMBERS),
    "corners": tuple(dict.fromkeys(map(str, CORNERS.values()))),
    "use": tuple(USES.values()),
    "vowel": ("vowel", "consonant"),
    "parity": ("odd", "even"),
    "plus-one": tuple(map(str, range(1, 11))),
    "sum": tuple(map(str, range(19))),
    "where": ("left", "right", "above", "below"),
    "place": tuple(place for row in PLACES for place in row),
}
"""All answers that questions of a family can have, for the families where these are few."""


@dataclass(frozen=True, slots=True)
class JudgedChoice:
    """A question that was answered in one of the ways. The fields are keys of the JSON report."""

    way: str
    scene: int
    family: str
    question: str
    expected: str
    answered: str
    right: bool
    probability: float | None


def judge_choices(
    answerer: Answerer,
    form: PromptForm,
    *,
    scenes: int,
    seed: int = 0,
    per_scene: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> list[JudgedChoice]:
    """Ask each question about held-out scenes that has a closed set of answers in every way."""
    judged: list[JudgedChoice] = []
    for number in range(scenes):
        drawn, rng = held_out_scene(seed, number)
        for conversation in conversations(drawn.scene, rng, per_scene):
            request = Request("", (drawn.marked,), stops=form.stops, sampling=SHORT_ANSWERS)
            judged += _converse(answerer, form, request, conversation, number)
        progress(number + 1)
    return judged


def _converse(
    answerer: Answerer, form: PromptForm, bare: Request, conversation: Conversation, scene: int
) -> Iterator[JudgedChoice]:
    """Ask turn by turn, after the right answers, so that every way answers the same questions."""
    turns: list[Turn] = []
    for turn in conversation:
        request = replace(bare, prompt=form.build([*turns, Turn(turn.question)]))
        turns.append(Turn(turn.question, turn.answer))
        options = CLOSED_SETS.get(turn.family, ())
        if turn.answer not in options:
            # A question about a mark that is not there, for example.
            continue
        for way, reply in _replies(answerer, request, options):
            yield JudgedChoice(
                way=way,
                scene=scene,
                family=turn.family,
                question=turn.question,
                expected=turn.answer,
                answered=reply.text,
                right=normalize_answer(reply.text) == normalize_answer(turn.answer),
                probability=reply.probability,
            )


def _replies(answerer: Answerer, request: Request, options: tuple[str, ...]) -> Iterator[tuple[str, Reply]]:
    yield GENERATED, answerer.answer(request)
    for score in SCORES:
        yield score, answerer.answer(replace(request, choices=options, score=score))


def choice_figures(judged: Sequence[JudgedChoice]) -> dict[str, Any]:
    """Accuracy and calibration error of each way, and the accuracies by family."""
    ways = {way: [choice for choice in judged if choice.way == way] for way in (GENERATED, *SCORES)}
    families = sorted({choice.family for choice in judged})
    return {
        "all": {
            way: {**_accuracy(own), "calibration error": round(calibration_error(own), 2)}
            for way, own in ways.items()
        },
        "by family": {
            family: {
                way: _accuracy([choice for choice in own if choice.family == family])
                for way, own in ways.items()
            }
            for family in families
        },
    }


def _accuracy(judged: Sequence[JudgedChoice]) -> Mapping[str, Any]:
    accuracy = Accuracy(sum(choice.right for choice in judged), len(judged))
    return {**asdict(accuracy), "percent": accuracy.percent}
