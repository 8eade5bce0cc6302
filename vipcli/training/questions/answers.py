"""Build the answer to a question of each family from the things that it is about."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from vipcli.training.questions.context import Context, are_similar_kinds, shuffled
from vipcli.training.questions.question_answer import NOTHING
from vipcli.training.questions.wordings import ARGUABLE_USES, LOOKALIKES, PLURALS, PREPOSITIONS, SIDES
from vipcli.training.world.facts import (
    ALIVE,
    COLORS,
    CORNERS,
    KINDS,
    LETTERS,
    NUMBERS,
    OBJECTS,
    SHAPES,
    TEXTURES,
    USES,
    VOWELS,
    article,
    category,
    noun,
)
from vipcli.training.world.scene import Thing

# Two things are left of or above one another if they are this far apart, as a share of the longer side.
MIN_DISTANCE = 0.12
# One direction must exceed the other by this factor to be the answer to `where`.
DOMINANCE = 1.6
# Minimum distance between neighbors in a list from left to right, as a share of the picture's width.
MIN_GAP = 0.06
# How often a question counts something that may well be absent.
COUNT_ANYTHING = 0.08

CATEGORY_PHRASES = ("a shape", "a number", "a letter", "an object")
NO_BLANKS: Mapping[str, str] = MappingProxyType({})


class DraftAnswer(NamedTuple):
    """An answer, and what fills the blanks of its question; the other fields are as in `QuestionAnswer`."""

    answer: str
    blanks: Mapping[str, str] = NO_BLANKS
    facts: tuple[str, ...] = ()
    evidence: tuple[Thing, ...] | None = None
    mentioned: str = ""


Builder = Callable[[Context, Sequence[Thing], random.Random], DraftAnswer | None]
"""Answers about things in a scene; None if the question cannot be asked about them."""


def noun_phrase(kind: str) -> str:
    """`a circle`, `the letter A`."""
    name = noun(kind)
    return f"the {name}" if " " in name else f"{article(name)} {name}"


def _yes_no(truth: bool, mentioned: str = "", **blanks: str) -> DraftAnswer:
    return DraftAnswer("yes" if truth else "no", blanks, mentioned=mentioned)


def _size_name(thing: Thing) -> str:
    return "large" if thing.large else "small"


def _are_distinct_kinds(kind: str, other: str) -> bool:
    return kind != other and not are_similar_kinds(kind, other)


def _other_kind(context: Context, kind: str, rng: random.Random) -> str:
    """A kind that the thing certainly is not, preferably that of another thing in the scene."""
    elsewhere = [thing.kind for thing in context.things if _are_distinct_kinds(kind, thing.kind)]
    if elsewhere and rng.random() < 0.7:
        return rng.choice(elsewhere)
    kinds = _SAME_CATEGORY[kind] if rng.random() < 0.5 else KINDS
    while not _are_distinct_kinds(kind, other := rng.choice(kinds)):
        pass
    return other


def _other_color(context: Context, color: str, rng: random.Random) -> str:
    elsewhere = [thing.color for thing in context.things if thing.color != color]
    if elsewhere and rng.random() < 0.7:
        return rng.choice(elsewhere)
    return _choose_other(tuple(COLORS), color, rng)


def _choose_other(choices: Sequence[str], excluded: str, rng: random.Random) -> str:
    return rng.choice([choice for choice in choices if choice != excluded])


_SAME_CATEGORY = {
    kind: tuple(other for other in KINDS if category(other) == category(kind)) for kind in KINDS
}


def _choice_of_two(right: str, wrong: str, rng: random.Random) -> DraftAnswer:
    first, second = (right, wrong) if rng.random() < 0.5 else (wrong, right)
    return DraftAnswer(right, {"one": first, "two": second})


def category_options(rng: random.Random) -> dict[str, str]:
    first, second, third, last = rng.sample(CATEGORY_PHRASES, 4)
    options = f"{first}, {second}, {third} or {last}"
    return {"options": options, "bare": options.replace("an ", "").replace("a ", "")}


# Each of these functions answers a question about the things under the marks, or returns None if it cannot
# be asked about them.


def answer_what(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(noun_phrase(things[0].kind))


def answer_nothing(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(NOTHING)


def answer_color(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(things[0].color)


def has_texture(thing: Thing) -> bool:
    return thing.category in ("shape", "object")


def answer_texture(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(things[0].texture) if has_texture(things[0]) else None


def answer_size(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(_size_name(things[0]))


def answer_is_what(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    truth, kind = rng.random() < 0.5, things[0].kind
    suggested = kind if truth else _other_kind(context, kind, rng)
    return _yes_no(truth, suggested, kind=noun_phrase(suggested))


def answer_is_color(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    truth, color = rng.random() < 0.5, things[0].color
    suggested = color if truth else _other_color(context, color, rng)
    return _yes_no(truth, suggested, color=suggested)


def answer_is_texture(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    if not has_texture(things[0]):
        return None
    truth, texture = rng.random() < 0.5, things[0].texture
    suggested = texture if truth else _choose_other(TEXTURES, texture, rng)
    return _yes_no(truth, suggested, texture=suggested)


def answer_is_size(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    truth = rng.random() < 0.5
    suggested = "large" if things[0].large == truth else "small"
    return _yes_no(truth, suggested, size=suggested)


def answer_category(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(things[0].category, category_options(rng))


def answer_choose_what(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    kind = things[0].kind
    return _choice_of_two(noun_phrase(kind), noun_phrase(_other_kind(context, kind, rng)), rng)


def answer_choose_color(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    color = things[0].color
    return _choice_of_two(color, _other_color(context, color, rng), rng)


def answer_letter(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(things[0].kind) if things[0].category == "letter" else None


def answer_number(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(things[0].kind) if things[0].category == "number" else None


def answer_read(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return None if has_texture(things[0]) else DraftAnswer(things[0].kind)


def answer_corners(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    corners = CORNERS.get(things[0].kind)
    return None if corners is None else DraftAnswer(str(corners))


def can_be_alive(thing: Thing) -> bool:
    # An apple is neither certainly alive nor certainly not.
    return has_texture(thing) and thing.kind != "apple"


def answer_alive(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return _yes_no(things[0].kind in ALIVE) if can_be_alive(things[0]) else None


def answer_use(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    use = USES.get(things[0].kind)
    return None if use is None else DraftAnswer(use)


def answer_is_use(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    kind = things[0].kind
    if kind not in USES:
        return None
    truth = rng.random() < 0.5
    return _yes_no(truth, use=USES[kind] if truth else rng.choice(_OTHER_USES[kind]))


_OTHER_USES = {
    kind: tuple(other for other in USES.values() if other != use and other not in ARGUABLE_USES.get(kind, ()))
    for kind, use in USES.items()
}


def answer_vowel(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    letter = things[0].kind
    # Y can be either.
    if letter not in LETTERS or letter == "Y":
        return None
    return DraftAnswer("vowel" if letter in VOWELS else "consonant")


def answer_parity(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    number = things[0].kind
    return DraftAnswer("odd" if int(number) % 2 else "even") if number in NUMBERS else None


def answer_plus_one(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    number = things[0].kind
    return DraftAnswer(str(int(number) + 1)) if number in NUMBERS else None


def _numbers(things: Sequence[Thing]) -> tuple[int, int] | None:
    first, second = (thing.kind for thing in things)
    return (int(first), int(second)) if first in NUMBERS and second in NUMBERS else None


def arithmetic(compute: Callable[[int, int], int], *, unequal: bool = False) -> Builder:
    """A builder for a computation on two numbers, which may have to be unequal."""

    def build(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
        numbers = _numbers(things)
        if numbers is None or (unequal and numbers[0] == numbers[1]):
            return None
        answer = str(compute(*numbers))
        # The larger or smaller number is one of the things; a sum or difference is not.
        evidence = tuple(thing for thing in things if thing.kind == answer) if unequal else None
        return DraftAnswer(answer, evidence=evidence)

    return build


def answer_is_larger_number(
    context: Context, things: Sequence[Thing], rng: random.Random
) -> DraftAnswer | None:
    numbers = _numbers(things)
    return None if numbers is None or numbers[0] == numbers[1] else _yes_no(numbers[0] > numbers[1])


def _offset(thing: Thing, other: Thing) -> tuple[float, float]:
    """How far a thing is to the right of another, and how far below it."""
    (x, y), (other_x, other_y) = thing.center, other.center
    return x - other_x, y - other_y


def _direction(right: float, down: float) -> str:
    if abs(right) > abs(down):
        return "left" if right < 0 else "right"
    return "above" if down < 0 else "below"


def _has_clear_direction(context: Context, right: float, down: float) -> bool:
    """Whether an offset is clearly in one direction."""
    shorter, longer = sorted((abs(right), abs(down)))
    return longer >= DOMINANCE * shorter and longer >= MIN_DISTANCE * context.longer_side


def answer_where(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    offset = _offset(things[0], things[1])
    return DraftAnswer(_direction(*offset)) if _has_clear_direction(context, *offset) else None


def is_on_side(side: str, axis: int, sign: int) -> Builder:
    """A builder for whether one thing is on this side of the other."""

    def build(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
        distance = _offset(things[0], things[1])[axis]
        if abs(distance) < MIN_DISTANCE * context.longer_side:
            return None
        return _yes_no(distance * sign > 0, side=rng.choice(SIDES[side]))

    return build


def answer_same_color(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return _yes_no(things[0].color == things[1].color)


def are_comparable_kinds(first: Thing, second: Thing) -> bool:
    """Whether two things clearly are or are not of the same kind; two different letters are both letters."""
    if first.kind == second.kind:
        return True
    both_read = first.category == second.category and not has_texture(first)
    return not both_read and _are_distinct_kinds(first.kind, second.kind)


def answer_same_kind(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    first, second = things
    return _yes_no(first.kind == second.kind) if are_comparable_kinds(first, second) else None


def answer_bigger(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    first, second = things
    if first.large == second.large or not _are_distinct_kinds(first.kind, second.kind):
        return None
    larger = first if first.large else second
    return DraftAnswer(noun_phrase(larger.kind), evidence=(larger,))


def answer_which_color(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    first, second = things
    if first.color == second.color or not _are_distinct_kinds(first.kind, second.kind):
        return None
    chosen = rng.choice((first, second))
    return DraftAnswer(
        noun_phrase(chosen.kind), {"color": chosen.color}, evidence=(chosen,), mentioned=chosen.color
    )


def answer_nearest(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    index = context.scene.nearest(things[0])
    if index is None:
        return None
    other = context.things[index]
    return DraftAnswer(noun_phrase(other.kind), evidence=(other,))


def answer_place(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    place = context.scene.place(things[0])
    return None if place is None else DraftAnswer(place)


def answer_description(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    thing = things[0]
    place = context.scene.place(thing)
    if place is None:
        return None
    texture = (thing.texture,) if has_texture(thing) and thing.texture != "plain" else ()
    words = (_size_name(thing), thing.color, *texture, thing.noun)
    sentence = f"A {' '.join(words)} {PREPOSITIONS.get(place, 'in the')} {place} of the picture."
    return DraftAnswer(sentence, facts=(*words, place))


# The following answer about the whole picture; `things` is empty.


def plural(kind: str) -> str:
    return PLURALS.get(kind, f"{kind}s")


def answer_count_things(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    return DraftAnswer(str(len(context.things)), {"kinds": "things"}, evidence=context.things)


def _choose_what_to_count(present: Sequence[str], every: Sequence[str], rng: random.Random) -> str | None:
    """Choose what to count: mostly something that is present."""
    if rng.random() < COUNT_ANYTHING:
        return rng.choice(every)
    return rng.choice(present) if present else None


def answer_count_color(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    present = [thing.color for thing in context.things]
    color = _choose_what_to_count(present, tuple(COLORS), rng)
    if color is None or not context.is_color_unambiguous(color):
        return None
    evidence = tuple(thing for thing in context.things if thing.color == color)
    return DraftAnswer(str(len(evidence)), {"kinds": f"{color} things"}, evidence=evidence, mentioned=color)


def answer_count_kind(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    present = [thing.kind for thing in context.things if has_texture(thing)]
    kind = _choose_what_to_count(present, SHAPES + OBJECTS, rng)
    if kind is None or not context.is_kind_unambiguous(kind):
        return None
    evidence = tuple(thing for thing in context.things if thing.kind == kind)
    return DraftAnswer(str(len(evidence)), {"kinds": plural(kind)}, evidence=evidence, mentioned=kind)


def answer_count_category(
    context: Context, things: Sequence[Thing], rng: random.Random
) -> DraftAnswer | None:
    # Objects are not counted: anything could be called an object.
    countable = ("letter", "number") if _has_shape_like_marks(context) else ("letter", "number", "shape")
    present = [thing.category for thing in context.things]
    chosen = _choose_what_to_count([name for name in present if name in countable], countable, rng)
    if chosen is None:
        return None
    evidence = tuple(thing for thing in context.things if thing.category == chosen)
    return DraftAnswer(str(len(evidence)), {"kinds": f"{chosen}s"}, evidence=evidence)


def _has_shape_like_marks(context: Context) -> bool:
    return any(name.kind in LOOKALIKES for name in context.names)


def answer_has_kind(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    present = [thing.kind for thing in context.things if context.is_kind_unambiguous(thing.kind)]
    if not present:
        return None
    truth, kind = rng.random() < 0.5, rng.choice(present)
    if not truth:
        # Stay in the same category, so that the category does not give the answer away.
        absent = [
            other
            for other in _SAME_CATEGORY[kind]
            if other not in context.kinds and context.is_kind_unambiguous(other)
        ]
        kind = rng.choice(absent)
    draft = _yes_no(truth, kind, kind=f"{article(noun(kind))} {noun(kind)}")
    return draft._replace(evidence=tuple(thing for thing in context.things if thing.kind == kind))


def answer_has_color(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    present = [thing.color for thing in context.things]
    unambiguous = [color for color in COLORS if context.is_color_unambiguous(color)]
    usable = [color for color in present if color in unambiguous]
    absent = [color for color in unambiguous if color not in present]
    if not usable or not absent:
        return None
    truth = rng.random() < 0.5
    color = rng.choice(usable if truth else absent)
    evidence = tuple(thing for thing in context.things if thing.color == color)
    return _yes_no(truth, color, **color_blanks(color))._replace(evidence=evidence)


def color_blanks(color: str) -> dict[str, str]:
    return {"color": color, "a_color": f"{article(color)} {color}"}


def answer_color_of(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    present = [thing.kind for thing in context.things]
    for thing in shuffled(context.things, rng):
        if present.count(thing.kind) == 1 and context.is_kind_unambiguous(thing.kind):
            return DraftAnswer(
                thing.color, {"x": f"the {thing.noun}"}, evidence=(thing,), mentioned=thing.kind
            )
    return None


def answer_kind_of(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    present = [thing.color for thing in context.things]
    for thing in shuffled(context.things, rng):
        if present.count(thing.color) == 1 and context.is_color_unambiguous(thing.color):
            return DraftAnswer(
                noun_phrase(thing.kind), {"color": thing.color}, evidence=(thing,), mentioned=thing.color
            )
    return None


def answer_picture(context: Context, things: Sequence[Thing], rng: random.Random) -> DraftAnswer | None:
    ordered = sorted(context.things, key=lambda thing: thing.center[0])
    if not 1 <= len(ordered) <= 3:
        return None
    if any(_offset(second, first)[0] < MIN_GAP * context.scene.width for first, second in pairwise(ordered)):
        return None
    names = [f"{article(thing.color)} {thing.color} {thing.noun}" for thing in ordered]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return DraftAnswer(f"{listed[0].upper()}{listed[1:]}.", evidence=tuple(ordered))
