"""The families of questions, and properties of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from vipcli.training.questions import answers
from vipcli.training.questions.context import Context
from vipcli.training.questions.question_answer import ABILITY_WEIGHTS, Ability
from vipcli.training.questions.wordings import SIDES, WORDINGS, Wordings
from vipcli.training.world.facts import (
    ALIVE,
    COLORS,
    CORNERS,
    KINDS,
    OBJECTS,
    SHAPES,
    TEXTURES,
    USES,
    noun,
)
from vipcli.training.world.scene import Thing

_NO_WORDINGS = Wordings(())


@dataclass(frozen=True, slots=True)
class QuestionFamily:
    """Questions that ask for the same thing and have the same form of answer."""

    name: str
    ability: Ability
    build: answers.Builder | None = None
    """None for a family that uses the templates of others."""
    marks: int = 1
    yes_share: Callable[[Context], float | None] | None = None
    """For a yes-no question whose answer cannot be chosen freely: how often it would be yes in a scene."""

    @property
    def wordings(self) -> Wordings:
        return WORDINGS.get(self.name, _NO_WORDINGS)


def _share_alive(context: Context) -> float:
    # Averaged over all scenes, since few contain both living and lifeless things.
    weights = {kind: _alive_weight(kind) for kind in SHAPES + OBJECTS if kind != "apple"}
    return sum(weight for kind, weight in weights.items() if kind in ALIVE) / sum(weights.values())


def _alive_weight(kind: str) -> float:
    # Kinds that offer other questions of knowledge are asked about life less often.
    return 1 / (1 + (kind in CORNERS) + 2 * (kind in USES))


def _share_of_pairs(
    same: Callable[[Thing, Thing], bool], comparable: Callable[[Thing, Thing], bool]
) -> Callable[[Context], float]:
    def yes_share(context: Context) -> float:
        things = context.things
        pairs = [pair for pair in combinations(things, 2) if comparable(*pair)]
        # The question is asked now and then even if no two things are the same.
        return max(sum(same(*pair) for pair in pairs) / max(len(pairs), 1), _MIN_SAME_SHARE)

    return yes_share


_MIN_SAME_SHARE = 0.12


MARK_FAMILIES = (
    QuestionFamily("what", "recognition", answers.answer_what),
    QuestionFamily("color", "recognition", answers.answer_color),
    QuestionFamily("texture", "recognition", answers.answer_texture),
    QuestionFamily("size", "recognition", answers.answer_size),
    QuestionFamily("is-what", "recognition", answers.answer_is_what),
    QuestionFamily("is-color", "recognition", answers.answer_is_color),
    QuestionFamily("is-texture", "recognition", answers.answer_is_texture),
    QuestionFamily("is-size", "recognition", answers.answer_is_size),
    QuestionFamily("category", "recognition", answers.answer_category),
    QuestionFamily("choose-what", "recognition", answers.answer_choose_what),
    QuestionFamily("choose-color", "recognition", answers.answer_choose_color),
    QuestionFamily("letter", "reading", answers.answer_letter),
    QuestionFamily("number", "reading", answers.answer_number),
    QuestionFamily("read", "reading", answers.answer_read),
    QuestionFamily("corners", "knowledge", answers.answer_corners),
    QuestionFamily("alive", "knowledge", answers.answer_alive, yes_share=_share_alive),
    QuestionFamily("use", "knowledge", answers.answer_use),
    QuestionFamily("is-use", "knowledge", answers.answer_is_use),
    QuestionFamily("vowel", "knowledge", answers.answer_vowel),
    QuestionFamily("parity", "knowledge", answers.answer_parity),
    QuestionFamily("sum", "mathematics", answers.arithmetic(lambda first, second: first + second), 2),
    QuestionFamily(
        "difference", "mathematics", answers.arithmetic(lambda first, second: abs(first - second)), 2
    ),
    QuestionFamily("larger-number", "mathematics", answers.arithmetic(max, unequal=True), 2),
    QuestionFamily("smaller-number", "mathematics", answers.arithmetic(min, unequal=True), 2),
    QuestionFamily("is-larger-number", "mathematics", answers.answer_is_larger_number, 2),
    QuestionFamily("plus-one", "mathematics", answers.answer_plus_one),
    QuestionFamily("where", "relations", answers.answer_where, 2),
    QuestionFamily("left-of", "relations", answers.is_on_side("left", 0, -1), 2),
    QuestionFamily("right-of", "relations", answers.is_on_side("right", 0, 1), 2),
    QuestionFamily("above", "relations", answers.is_on_side("above", 1, -1), 2),
    QuestionFamily("below", "relations", answers.is_on_side("below", 1, 1), 2),
    QuestionFamily(
        "same-color",
        "relations",
        answers.answer_same_color,
        2,
        _share_of_pairs(lambda first, second: first.color == second.color, lambda first, second: True),
    ),
    QuestionFamily(
        "same-kind",
        "relations",
        answers.answer_same_kind,
        2,
        _share_of_pairs(lambda first, second: first.kind == second.kind, answers.are_comparable_kinds),
    ),
    QuestionFamily("bigger", "relations", answers.answer_bigger, 2),
    QuestionFamily("which-color", "relations", answers.answer_which_color, 2),
    QuestionFamily("nearest", "relations", answers.answer_nearest),
    QuestionFamily("place", "relations", answers.answer_place),
    QuestionFamily("description", "description", answers.answer_description),
)
PICTURE_FAMILIES = (
    QuestionFamily("count-things", "whole", answers.answer_count_things, 0),
    QuestionFamily("count-color", "whole", answers.answer_count_color, 0),
    QuestionFamily("count-kind", "whole", answers.answer_count_kind, 0),
    QuestionFamily("count-category", "whole", answers.answer_count_category, 0),
    QuestionFamily("has-kind", "whole", answers.answer_has_kind, 0),
    QuestionFamily("has-color", "whole", answers.answer_has_color, 0),
    QuestionFamily("color-of", "whole", answers.answer_color_of, 0),
    QuestionFamily("kind-of", "whole", answers.answer_kind_of, 0),
    QuestionFamily("picture", "whole", answers.answer_picture, 0),
)
NOTHING_FAMILY = QuestionFamily("nothing", "recognition", answers.answer_nothing)
ABSENT_FAMILY = QuestionFamily("absent", "absent", marks=0)
FOREIGN_FAMILY = QuestionFamily("foreign", "foreign", marks=0)

FAMILIES: dict[str, QuestionFamily] = {
    family.name: family
    for family in (*MARK_FAMILIES, NOTHING_FAMILY, *PICTURE_FAMILIES, ABSENT_FAMILY, FOREIGN_FAMILY)
}
FAMILIES_BY_ABILITY = {
    ability: tuple(family for family in FAMILIES.values() if family.ability == ability)
    for ability in ABILITY_WEIGHTS
}
# Families that ask about an absent mark.
ABSENT_MARK_FAMILIES = tuple(
    family for family in MARK_FAMILIES if family.marks == 1 and family.ability != "mathematics"
)
# Families whose question can be repeated for another mark as "and the thing …?".
REPEATABLE = (
    "what",
    "color",
    "texture",
    "size",
    "category",
    "letter",
    "number",
    "read",
    "corners",
    "use",
    "vowel",
    "parity",
    "plus-one",
    "nearest",
    "place",
    "description",
)
# Families after which the thing's kind is known, so that asking which letter it is would be pointless.
REVEALS_KIND = (
    "what",
    "is-what",
    "choose-what",
    "read",
    "letter",
    "number",
    "vowel",
    "parity",
    "plus-one",
    "description",
)
# Families after which `it` could also mean the thing in the answer.
INTRODUCES_ANOTHER_THING = ("nearest",)
SENTENCE_FAMILIES = ("description", "picture")


def random_blanks(family: str, rng: random.Random) -> Mapping[str, str]:
    """Fill the blanks of a question whose answer does not depend on them."""
    fill = _RANDOM_BLANKS.get(family)
    return answers.NO_BLANKS if fill is None else fill(rng)


def _two(words: Sequence[str], rng: random.Random) -> dict[str, str]:
    first, second = rng.sample(words, 2)
    return {"one": first, "two": second}


_NOUN_PHRASES = tuple(answers.noun_phrase(kind) for kind in KINDS)
_COLOR_NAMES = tuple(COLORS)
_RANDOM_BLANKS: dict[str, Callable[[random.Random], dict[str, str]]] = {
    "is-what": lambda rng: {"kind": rng.choice(_NOUN_PHRASES)},
    "is-color": lambda rng: {"color": rng.choice(_COLOR_NAMES)},
    "is-texture": lambda rng: {"texture": rng.choice(TEXTURES)},
    "is-size": lambda rng: {"size": rng.choice(("small", "large"))},
    "category": answers.category_options,
    "choose-what": lambda rng: _two(_NOUN_PHRASES, rng),
    "choose-color": lambda rng: _two(_COLOR_NAMES, rng),
    "is-use": lambda rng: {"use": rng.choice(tuple(USES.values()))},
    "left-of": lambda rng: {"side": rng.choice(SIDES["left"])},
    "right-of": lambda rng: {"side": rng.choice(SIDES["right"])},
    "above": lambda rng: {"side": rng.choice(SIDES["above"])},
    "below": lambda rng: {"side": rng.choice(SIDES["below"])},
    "which-color": lambda rng: {"color": rng.choice(_COLOR_NAMES)},
    "count-things": lambda rng: {"kinds": "things"},
    "count-color": lambda rng: {"kinds": f"{rng.choice(_COLOR_NAMES)} things"},
    "count-kind": lambda rng: {"kinds": answers.plural(rng.choice(SHAPES + OBJECTS))},
    "count-category": lambda rng: {"kinds": rng.choice(("letters", "numbers", "shapes"))},
    "has-kind": lambda rng: {"kind": answers.noun_phrase(rng.choice(SHAPES + OBJECTS))},
    "has-color": lambda rng: answers.color_blanks(rng.choice(_COLOR_NAMES)),
    "color-of": lambda rng: {"x": f"the {noun(rng.choice(KINDS))}"},
    "kind-of": lambda rng: {"color": rng.choice(_COLOR_NAMES)},
}
