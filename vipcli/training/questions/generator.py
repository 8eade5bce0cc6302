"""Questions about a scene, with the one right answer to each.

A question is only asked where the picture settles it. The wordings are in `wordings`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

from vipcli.checkpoints.catalog import CANNOT_TELL
from vipcli.marks.colors import ALIASES, NAMED, TRAINED
from vipcli.marks.kinds import BY_KIND
from vipcli.marks.kinds import KINDS as MARKS
from vipcli.training.questions.wordings import (
    AFTER_NOUN_ONLY,
    AGAIN,
    ARGUABLE_USES,
    BRIEFLY,
    FOLLOW_UPS,
    HERE,
    LEADS,
    LOOKALIKE_TEXTURES,
    LOOKALIKES,
    LOOSE,
    PLURALS,
    PREPOSITIONS,
    SIDES,
    SIMILAR_KINDS,
    SIMILAR_MARKS,
    TELLING,
    TINTED,
    WORDINGS,
    Wordings,
)
from vipcli.training.world.facts import (
    ALIVE,
    COLORS,
    CORNERS,
    KINDS,
    LETTERS,
    NUMBERS,
    OBJECTS,
    PLACES,
    SHAPES,
    TEXTURES,
    USES,
    VOWELS,
    Scene,
    Thing,
    alike,
    article,
    category,
    noun,
)

Ability = Literal[
    "recognition",
    "reading",
    "knowledge",
    "mathematics",
    "relations",
    "description",
    "whole",
    "absent",
    "foreign",
]

NOTHING = "nothing"

# How often each ability opens a conversation, among those that a scene offers.
WEIGHTS: dict[Ability, int] = {
    "recognition": 28,
    "reading": 10,
    "knowledge": 12,
    "mathematics": 24,
    "relations": 22,
    "description": 8,
    "whole": 7,
    "absent": 7,
}
TWO_TURNS = 0.35
THREE_TURNS = 0.08

# How often a question names a mark by its very phrase, without its colour, and as `the marked thing`.
EXACT = 0.60
COLORLESS = 0.10
MERELY_MARKED = 0.08
DIRECT = 0.6

# Of a picture's longer side: how far apart things are that one is left of or above the other.
APART = 0.12
DOMINANT = 1.6
IN_ORDER = 0.06
# How often a question counts what may well not be there.
COUNT_ANYTHING = 0.08

CATEGORIES = ("a shape", "a number", "a letter", "an object")
_CONTEXT_FREE: Mapping[str, str] = MappingProxyType({})
_ALL_THE_SAME: Mapping[str, int] = MappingProxyType({})
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str
    family: str
    ability: Ability
    marks: tuple[int, ...]
    """Positions in `scene.pointed` of the marks asked about; none for the whole picture or an absent mark."""
    facts: tuple[str, ...] = ()
    """Of a description, the separate facts: each a piece of text that the answer holds."""
    follow_up: bool = False
    """Whether it is a later turn of a conversation."""
    names: tuple[tuple[str, str], ...] = ()
    """Kind and colour of the marks asked about, there or not."""
    shows: tuple[int, ...] | None = None
    """Positions in `scene.things` of what settles the answer beyond the marks; none where the answer is that
    there is no such thing, None where nothing does."""
    wants: str = ""
    """The kind, colour, texture or size that it asks for by name."""


Conversation = tuple[Exchange, ...]


def conversations(
    scene: Scene,
    rng: random.Random,
    count: int,
    weights: Mapping[Ability, int] = WEIGHTS,
    eager: Mapping[str, int] = _ALL_THE_SAME,
) -> list[Conversation]:
    """Varied conversations about a scene, each answerable for certain from the picture.

    A family of `eager` opens them that many times as often, beside the others of its ability.
    """
    view = _View(scene, weights, eager)
    return [_conversation(view, rng) for _ in range(count)]


def ask(scene: Scene, family: str, rng: random.Random) -> Exchange | None:
    """One question of a family, not roughened; None where the scene does not offer it for certain."""
    asked = _ask(_View(scene), FAMILIES[family], rng)
    return None if asked is None else _exchange(asked, asked.question, follow_up=False)


# --------------------------------------------------------------------------- what a scene offers


def _pairs_of(pairs: Sequence[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset(pairs) | frozenset((second, first) for first, second in pairs)


_ALIKE_KINDS = _pairs_of(SIMILAR_KINDS)
_ALIKE_MARKS = _pairs_of(SIMILAR_MARKS)


class _Name(NamedTuple):
    """What a question calls a mark; an empty colour is left out."""

    kind: str
    color: str

    @property
    def text(self) -> str:
        color = f"{self.color} " if self.color else ""
        return color + BY_KIND[self.kind].noun

    @property
    def phrase(self) -> str:
        return f"{BY_KIND[self.kind].relation} the {self.text}"


class _View:
    """A scene, and what questions need of it again and again."""

    def __init__(
        self,
        scene: Scene,
        weights: Mapping[Ability, int] = WEIGHTS,
        eager: Mapping[str, int] = _ALL_THE_SAME,
    ) -> None:
        self.scene = scene
        self.weights = weights
        self.eager = eager
        self.things = scene.things
        self.kinds = frozenset(thing.kind for thing in scene.things)
        self.names = [_Name(pointed.mark.kind, pointed.mark.color.name) for pointed in scene.pointed]
        # Two marks of one name cannot be told apart in words.
        named = [number for number, name in enumerate(self.names) if self.names.count(name) == 1]
        self.nameable = named
        self.pointing = [number for number in named if scene.pointed[number].target is not None]
        self.empty = [number for number in named if scene.pointed[number].target is None]
        self.longer = max(scene.width, scene.height)

    def thing(self, number: int) -> Thing:
        """What the mark of that number points out."""
        target = self.scene.pointed[number].target
        assert target is not None
        return self.things[target]

    def pairs(self) -> list[tuple[int, int]]:
        """Two marks on two things, in either order."""
        pointed = self.scene.pointed
        return [
            (one, two)
            for one in self.pointing
            for two in self.pointing
            if pointed[one].target != pointed[two].target
        ]

    def kind_settled(self, kind: str) -> bool:
        """Whether nothing else in the picture, mark or thing, could be called one of that kind."""
        return not any(kind in LOOKALIKES.get(name.kind, ()) for name in self.names) and not any(
            (kind, other.kind) in _ALIKE_KINDS for other in self.things
        )

    def color_settled(self, color: str) -> bool:
        """Whether no mark has that colour or one like it."""
        return not any(alike(color, name.color) for name in self.names)

    def tint_settled(self, name: _Name) -> bool:
        """Whether a mark's colour alone says which mark is meant."""
        return not any(other != name and alike(name.color, other.color) for other in self.names) and not any(
            thing.texture == "outlined" and alike(name.color, thing.color) for thing in self.things
        )

    def certainly_absent(self, name: _Name) -> bool:
        """Whether nobody could take anything in the picture for such a mark."""
        return not any(_like_mark(name, other) for other in self.names) and not any(
            _like_thing(name, thing) for thing in self.things
        )


def _like_mark(name: _Name, other: _Name) -> bool:
    similar = name.kind == other.kind or (name.kind, other.kind) in _ALIKE_MARKS
    return similar and (not name.color or alike(name.color, other.color))


def _like_thing(name: _Name, thing: Thing) -> bool:
    similar = (
        thing.kind in LOOKALIKES.get(name.kind, ()) or LOOKALIKE_TEXTURES.get(name.kind) == thing.texture
    )
    return similar and (not name.color or alike(name.color, thing.color))


def _shuffled(items: Sequence[_Item], rng: random.Random) -> Iterator[_Item]:
    """The items in random order, drawn only as far as they are wanted."""
    left = list(items)
    while left:
        yield left.pop(int(rng.random() * len(left)))


# --------------------------------------------------------------------------- naming marks


class _Form(NamedTuple):
    text: str
    kinds: tuple[str, ...]
    """Kinds of thing that it could be read as speaking of."""


def _forms(texts: tuple[str, ...], bare: bool) -> tuple[_Form, ...]:
    return tuple(
        _Form(text, tuple(word for word in text.split() if word in SHAPES))
        for text in texts
        if not (bare and text.startswith(AFTER_NOUN_ONLY))
    )


_LOOSE = {bare: {kind.kind: _forms(LOOSE[kind.kind], bare) for kind in MARKS} for bare in (False, True)}


def _refer(view: _View, name: _Name, rng: random.Random, *, bare: bool) -> str:
    """The thing by its mark, fit to follow a noun or, where bare, `what is`."""
    roll = rng.random()
    if roll < EXACT:
        return _exactly(name, bare)
    if roll < EXACT + COLORLESS and name.color and _lone_kind(view, name):
        name = _Name(name.kind, "")
        return _exactly(name, bare) if roll < EXACT + COLORLESS / 2 else _loosely(view, name, rng, bare)
    return _loosely(view, name, rng, bare)


def _exactly(name: _Name, bare: bool) -> str:
    phrase = name.phrase
    return f"marked {phrase}" if bare and phrase.startswith("with ") else phrase


def _loosely(view: _View, name: _Name, rng: random.Random, bare: bool) -> str:
    if name.color and name.kind in TINTED and rng.random() < 0.25 and view.tint_settled(name):
        return rng.choice(TINTED[name.kind]).format(color=name.color)
    form = rng.choice(_LOOSE[bare][name.kind])
    if any(kind in view.kinds for kind in form.kinds):
        return _exactly(name, bare)
    return form.text.replace("{color}", name.color) if name.color else form.text.replace("{color} ", "")


def _lone_kind(view: _View, name: _Name) -> bool:
    """Whether a mark can be told without its colour; never so for a mark that is not there."""
    similar = sum(_like_mark(_Name(name.kind, ""), other) for other in view.names)
    return (
        similar == 1
        and name in view.names
        and not any(kind in view.kinds for kind in LOOKALIKES.get(name.kind, ()))
    )


def _the_thing(view: _View, name: _Name | None, called: str, rng: random.Random) -> str:
    if name is None or (len(view.names) == 1 and name in view.names and rng.random() < MERELY_MARKED):
        return f"the marked {called}"
    return f"the {called} {_refer(view, name, rng, bare=False)}"


def _wording(wordings: Wordings, rng: random.Random) -> str:
    framed = wordings.framed
    return rng.choice(wordings.direct if not framed or rng.random() < DIRECT else framed)


def _fill(
    view: _View,
    wording: str,
    names: Sequence[_Name | None],
    called: str,
    blanks: Mapping[str, str],
    rng: random.Random,
) -> str:
    """A wording with its blanks filled in."""
    values = dict(blanks)
    for blank, name in zip(("x", "y"), names, strict=False):
        if f"{{{blank}}}" in wording:
            values[blank] = _the_thing(view, name, called, rng)
    named = [name for name in names if name is not None]
    for blank, name in zip(("ref", "ref2"), named, strict=False):
        if f"{{{blank}}}" in wording:
            values[blank] = _refer(view, name, rng, bare=False)
    if "{at}" in wording:
        values["at"] = _refer(view, named[0], rng, bare=True)
    if "{pair}" in wording:
        values["pair"] = f"the {called}s " + " and ".join(
            _refer(view, name, rng, bare=True) for name in named
        )
    if "{here}" in wording:
        values["here"] = rng.choice(HERE)
    text = wording.format_map(values)
    if "colour" in text and rng.random() < 0.5:
        text = text.replace("colour", "color")
    return text[0].upper() + text[1:]


# --------------------------------------------------------------------------- answers


class Found(NamedTuple):
    """An answer, and what fills the blanks of its question."""

    answer: str
    blanks: Mapping[str, str] = _CONTEXT_FREE
    facts: tuple[str, ...] = ()
    shows: tuple[Thing, ...] | None = None
    wants: str = ""
    """Both as in an Exchange."""


def called(kind: str) -> str:
    """`a circle`, `the letter A`."""
    name = noun(kind)
    return f"the {name}" if " " in name else f"{article(name)} {name}"


def _yes_no(truth: bool, wants: str = "", **blanks: str) -> Found:
    return Found("yes" if truth else "no", blanks, wants=wants)


def _size(thing: Thing) -> str:
    return "large" if thing.large else "small"


def _unlike(kind: str, other: str) -> bool:
    return kind != other and (kind, other) not in _ALIKE_KINDS


def _other_kind(view: _View, kind: str, rng: random.Random) -> str:
    """A kind that a thing certainly is not, where possible one that stands elsewhere."""
    elsewhere = [thing.kind for thing in view.things if _unlike(kind, thing.kind)]
    if elsewhere and rng.random() < 0.7:
        return rng.choice(elsewhere)
    kinds = _SAME_CATEGORY[kind] if rng.random() < 0.5 else KINDS
    while not _unlike(kind, other := rng.choice(kinds)):
        pass
    return other


def _other_color(view: _View, color: str, rng: random.Random) -> str:
    elsewhere = [thing.color for thing in view.things if thing.color != color]
    if elsewhere and rng.random() < 0.7:
        return rng.choice(elsewhere)
    return _another(tuple(COLORS), color, rng)


def _another(choices: Sequence[str], one: str, rng: random.Random) -> str:
    return rng.choice([choice for choice in choices if choice != one])


_SAME_CATEGORY = {
    kind: tuple(other for other in KINDS if category(other) == category(kind)) for kind in KINDS
}


def _either(right: str, wrong: str, rng: random.Random) -> Found:
    first, second = (right, wrong) if rng.random() < 0.5 else (wrong, right)
    return Found(right, {"one": first, "two": second})


def _options(rng: random.Random) -> dict[str, str]:
    first, second, third, last = rng.sample(CATEGORIES, 4)
    options = f"{first}, {second}, {third} or {last}"
    return {"options": options, "bare": options.replace("an ", "").replace("a ", "")}


# Each of these answers about the things under the marks asked about, or returns None where it cannot.


def _what(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(called(things[0].kind))


def _nothing(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(NOTHING)


def _color(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(things[0].color)


def _textured(thing: Thing) -> bool:
    return thing.category in ("shape", "object")


def _texture(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(things[0].texture) if _textured(things[0]) else None


def _how_large(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(_size(things[0]))


def _is_what(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    wanted, kind = rng.random() < 0.5, things[0].kind
    asked = kind if wanted else _other_kind(view, kind, rng)
    return _yes_no(wanted, asked, kind=called(asked))


def _is_color(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    wanted, color = rng.random() < 0.5, things[0].color
    asked = color if wanted else _other_color(view, color, rng)
    return _yes_no(wanted, asked, color=asked)


def _is_texture(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    if not _textured(things[0]):
        return None
    wanted, texture = rng.random() < 0.5, things[0].texture
    asked = texture if wanted else _another(TEXTURES, texture, rng)
    return _yes_no(wanted, asked, texture=asked)


def _is_size(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    wanted = rng.random() < 0.5
    asked = "large" if things[0].large == wanted else "small"
    return _yes_no(wanted, asked, size=asked)


def _category(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(things[0].category, _options(rng))


def _choose_what(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    kind = things[0].kind
    return _either(called(kind), called(_other_kind(view, kind, rng)), rng)


def _choose_color(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    color = things[0].color
    return _either(color, _other_color(view, color, rng), rng)


def _letter(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(things[0].kind) if things[0].category == "letter" else None


def _number(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(things[0].kind) if things[0].category == "number" else None


def _read(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return None if _textured(things[0]) else Found(things[0].kind)


def _corners(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    corners = CORNERS.get(things[0].kind)
    return None if corners is None else Found(str(corners))


def _may_live(thing: Thing) -> bool:
    # An apple is neither certainly alive nor certainly not.
    return _textured(thing) and thing.kind != "apple"


def _alive(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return _yes_no(things[0].kind in ALIVE) if _may_live(things[0]) else None


def _use(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    use = USES.get(things[0].kind)
    return None if use is None else Found(use)


def _is_use(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    kind = things[0].kind
    if kind not in USES:
        return None
    wanted = rng.random() < 0.5
    return _yes_no(wanted, use=USES[kind] if wanted else rng.choice(_OTHER_USES[kind]))


_OTHER_USES = {
    kind: tuple(other for other in USES.values() if other != use and other not in ARGUABLE_USES.get(kind, ()))
    for kind, use in USES.items()
}


def _vowel(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    letter = things[0].kind
    # Y is now the one, now the other.
    if letter not in LETTERS or letter == "Y":
        return None
    return Found("vowel" if letter in VOWELS else "consonant")


def _parity(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    number = things[0].kind
    return Found("odd" if int(number) % 2 else "even") if number in NUMBERS else None


def _plus_one(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    number = things[0].kind
    return Found(str(int(number) + 1)) if number in NUMBERS else None


def _numbers(things: Sequence[Thing]) -> tuple[int, int] | None:
    first, second = (thing.kind for thing in things)
    return (int(first), int(second)) if first in NUMBERS and second in NUMBERS else None


def _reckoned(reckon: Callable[[int, int], int], *, unequal: bool = False) -> Builder:
    """A builder of what comes of two numbers, where need be unequal ones."""

    def build(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
        numbers = _numbers(things)
        if numbers is None or (unequal and numbers[0] == numbers[1]):
            return None
        answer = str(reckon(*numbers))
        # The larger or smaller of two unequal ones is one of them; a sum or difference is not looked up.
        return Found(answer, shows=tuple(one for one in things if one.kind == answer) if unequal else None)

    return build


def _is_larger_number(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    numbers = _numbers(things)
    return None if numbers is None or numbers[0] == numbers[1] else _yes_no(numbers[0] > numbers[1])


def _from(thing: Thing, other: Thing) -> tuple[float, float]:
    """How far to the right of and below the other a thing is."""
    (x, y), (other_x, other_y) = thing.centre, other.centre
    return x - other_x, y - other_y


def _direction(right: float, down: float) -> str:
    if abs(right) > abs(down):
        return "left" if right < 0 else "right"
    return "above" if down < 0 else "below"


def _plainly(view: _View, right: float, down: float) -> bool:
    """Whether such a way has one direction for certain."""
    shorter, longer = sorted((abs(right), abs(down)))
    return longer >= DOMINANT * shorter and longer >= APART * view.longer


def _where(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    way = _from(things[0], things[1])
    return Found(_direction(*way)) if _plainly(view, *way) else None


def _is_beside(side: str, axis: int, sign: int) -> Builder:
    """A builder of whether one thing is on that side of the other."""

    def build(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
        distance = _from(things[0], things[1])[axis]
        if abs(distance) < APART * view.longer:
            return None
        return _yes_no(distance * sign > 0, side=rng.choice(SIDES[side]))

    return build


def _same_color(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return _yes_no(things[0].color == things[1].color)


def _kinds_comparable(one: Thing, two: Thing) -> bool:
    """Whether two things are of one kind or not, without argument: two different letters are both letters."""
    if one.kind == two.kind:
        return True
    both_read = one.category == two.category and not _textured(one)
    return not both_read and _unlike(one.kind, two.kind)


def _same_kind(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    one, two = things
    return _yes_no(one.kind == two.kind) if _kinds_comparable(one, two) else None


def _bigger(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    one, two = things
    if one.large == two.large or not _unlike(one.kind, two.kind):
        return None
    larger = one if one.large else two
    return Found(called(larger.kind), shows=(larger,))


def _which_color(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    one, two = things
    if one.color == two.color or not _unlike(one.kind, two.kind):
        return None
    chosen = rng.choice((one, two))
    return Found(called(chosen.kind), {"color": chosen.color}, shows=(chosen,), wants=chosen.color)


def _nearest(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    near = view.scene.nearest(things[0])
    if near is None:
        return None
    other = view.things[near]
    return Found(called(other.kind), shows=(other,))


def _place(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    place = view.scene.place(things[0])
    return None if place is None else Found(place)


def _description(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    thing = things[0]
    place = view.scene.place(thing)
    if place is None:
        return None
    texture = (thing.texture,) if _textured(thing) and thing.texture != "plain" else ()
    said = (_size(thing), thing.color, *texture, thing.noun)
    sentence = f"A {' '.join(said)} {PREPOSITIONS.get(place, 'in the')} {place} of the picture."
    return Found(sentence, facts=(*said, place))


# Of the whole picture: `things` is empty.


def _plural(kind: str) -> str:
    return PLURALS.get(kind, f"{kind}s")


def _count_things(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    return Found(str(len(view.things)), {"kinds": "things"}, shows=view.things)


def _counted(present: Sequence[str], every: Sequence[str], rng: random.Random) -> str | None:
    """What to count: mostly something that is there."""
    if rng.random() < COUNT_ANYTHING:
        return rng.choice(every)
    return rng.choice(present) if present else None


def _count_color(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    present = [thing.color for thing in view.things]
    color = _counted(present, tuple(COLORS), rng)
    if color is None or not view.color_settled(color):
        return None
    shows = tuple(thing for thing in view.things if thing.color == color)
    return Found(str(len(shows)), {"kinds": f"{color} things"}, shows=shows, wants=color)


def _count_kind(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    present = [thing.kind for thing in view.things if _textured(thing)]
    kind = _counted(present, SHAPES + OBJECTS, rng)
    if kind is None or not view.kind_settled(kind):
        return None
    shows = tuple(thing for thing in view.things if thing.kind == kind)
    return Found(str(len(shows)), {"kinds": _plural(kind)}, shows=shows, wants=kind)


def _count_category(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    # Not objects: anything at all may be called one.
    countable = ("letter", "number") if _marked_with_shapes(view) else ("letter", "number", "shape")
    present = [thing.category for thing in view.things]
    chosen = _counted([one for one in present if one in countable], countable, rng)
    if chosen is None:
        return None
    shows = tuple(thing for thing in view.things if thing.category == chosen)
    return Found(str(len(shows)), {"kinds": f"{chosen}s"}, shows=shows)


def _marked_with_shapes(view: _View) -> bool:
    return any(name.kind in LOOKALIKES for name in view.names)


def _has_kind(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    present = [thing.kind for thing in view.things if view.kind_settled(thing.kind)]
    if not present:
        return None
    wanted, kind = rng.random() < 0.5, rng.choice(present)
    if not wanted:
        # Of that one's category, so that the category does not give the answer away.
        absent = [
            other for other in _SAME_CATEGORY[kind] if other not in view.kinds and view.kind_settled(other)
        ]
        kind = rng.choice(absent)
    found = _yes_no(wanted, kind, kind=f"{article(noun(kind))} {noun(kind)}")
    return found._replace(shows=tuple(thing for thing in view.things if thing.kind == kind))


def _has_color(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    present = [thing.color for thing in view.things]
    settled = [color for color in COLORS if view.color_settled(color)]
    there = [color for color in present if color in settled]
    absent = [color for color in settled if color not in present]
    if not there or not absent:
        return None
    wanted = rng.random() < 0.5
    color = rng.choice(there if wanted else absent)
    shows = tuple(thing for thing in view.things if thing.color == color)
    return _yes_no(wanted, color, **_colored(color))._replace(shows=shows)


def _colored(color: str) -> dict[str, str]:
    return {"color": color, "a_color": f"{article(color)} {color}"}


def _color_of(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    present = [thing.kind for thing in view.things]
    for thing in _shuffled(view.things, rng):
        if present.count(thing.kind) == 1 and view.kind_settled(thing.kind):
            return Found(thing.color, {"x": f"the {thing.noun}"}, shows=(thing,), wants=thing.kind)
    return None


def _kind_of(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    present = [thing.color for thing in view.things]
    for thing in _shuffled(view.things, rng):
        if present.count(thing.color) == 1 and view.color_settled(thing.color):
            return Found(called(thing.kind), {"color": thing.color}, shows=(thing,), wants=thing.color)
    return None


def _picture(view: _View, things: Sequence[Thing], rng: random.Random) -> Found | None:
    ordered = sorted(view.things, key=lambda thing: thing.centre[0])
    if not 1 <= len(ordered) <= 3:
        return None
    if any(_from(two, one)[0] < IN_ORDER * view.scene.width for one, two in pairwise(ordered)):
        return None
    said = [f"{article(thing.color)} {thing.color} {thing.noun}" for thing in ordered]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return Found(f"{listed[0].upper()}{listed[1:]}.", shows=tuple(ordered))


# --------------------------------------------------------------------------- families

_NO_WORDINGS = Wordings(())
Builder = Callable[[_View, Sequence[Thing], random.Random], Found | None]


@dataclass(frozen=True, slots=True)
class Family:
    """Questions that ask one thing, and have one form of answer."""

    name: str
    ability: Ability
    build: Builder | None = None
    """None for what is asked in the words of other families."""
    marks: int = 1
    share: Callable[[_View], float | None] | None = None
    """Where the answer cannot be chosen first: how often, over all things of a scene, it would be yes."""

    @property
    def wordings(self) -> Wordings:
        return WORDINGS.get(self.name, _NO_WORDINGS)


def _share_alive(view: _View) -> float:
    # Over all scenes: few hold both what lives and what does not.
    kinds = {kind: _seldom(kind) for kind in SHAPES + OBJECTS if kind != "apple"}
    return sum(often for kind, often in kinds.items() if kind in ALIVE) / sum(kinds.values())


def _seldom(kind: str) -> float:
    # What offers other questions of knowledge too is the more seldom asked about this one.
    return 1 / (1 + (kind in CORNERS) + 2 * (kind in USES))


def _share_of_pairs(
    same: Callable[[Thing, Thing], bool], fit: Callable[[Thing, Thing], bool]
) -> Callable[[_View], float]:
    def share(view: _View) -> float:
        things = view.things
        pairs = [
            (one, two) for place, one in enumerate(things) for two in things[place + 1 :] if fit(one, two)
        ]
        # Where no two things are alike, that is asked now and then all the same.
        return max(sum(same(one, two) for one, two in pairs) / max(len(pairs), 1), _ALIKE_AT_LEAST)

    return share


_ALIKE_AT_LEAST = 0.12


_MARKED = (
    Family("what", "recognition", _what),
    Family("color", "recognition", _color),
    Family("texture", "recognition", _texture),
    Family("size", "recognition", _how_large),
    Family("is-what", "recognition", _is_what),
    Family("is-color", "recognition", _is_color),
    Family("is-texture", "recognition", _is_texture),
    Family("is-size", "recognition", _is_size),
    Family("category", "recognition", _category),
    Family("choose-what", "recognition", _choose_what),
    Family("choose-color", "recognition", _choose_color),
    Family("letter", "reading", _letter),
    Family("number", "reading", _number),
    Family("read", "reading", _read),
    Family("corners", "knowledge", _corners),
    Family("alive", "knowledge", _alive, share=_share_alive),
    Family("use", "knowledge", _use),
    Family("is-use", "knowledge", _is_use),
    Family("vowel", "knowledge", _vowel),
    Family("parity", "knowledge", _parity),
    Family("sum", "mathematics", _reckoned(lambda one, two: one + two), 2),
    Family("difference", "mathematics", _reckoned(lambda one, two: abs(one - two)), 2),
    Family("larger-number", "mathematics", _reckoned(max, unequal=True), 2),
    Family("smaller-number", "mathematics", _reckoned(min, unequal=True), 2),
    Family("is-larger-number", "mathematics", _is_larger_number, 2),
    Family("plus-one", "mathematics", _plus_one),
    Family("where", "relations", _where, 2),
    Family("left-of", "relations", _is_beside("left", 0, -1), 2),
    Family("right-of", "relations", _is_beside("right", 0, 1), 2),
    Family("above", "relations", _is_beside("above", 1, -1), 2),
    Family("below", "relations", _is_beside("below", 1, 1), 2),
    Family(
        "same-color",
        "relations",
        _same_color,
        2,
        _share_of_pairs(lambda one, two: one.color == two.color, lambda one, two: True),
    ),
    Family(
        "same-kind",
        "relations",
        _same_kind,
        2,
        _share_of_pairs(lambda one, two: one.kind == two.kind, _kinds_comparable),
    ),
    Family("bigger", "relations", _bigger, 2),
    Family("which-color", "relations", _which_color, 2),
    Family("nearest", "relations", _nearest),
    Family("place", "relations", _place),
    Family("description", "description", _description),
)
_WHOLE = (
    Family("count-things", "whole", _count_things, 0),
    Family("count-color", "whole", _count_color, 0),
    Family("count-kind", "whole", _count_kind, 0),
    Family("count-category", "whole", _count_category, 0),
    Family("has-kind", "whole", _has_kind, 0),
    Family("has-color", "whole", _has_color, 0),
    Family("color-of", "whole", _color_of, 0),
    Family("kind-of", "whole", _kind_of, 0),
    Family("picture", "whole", _picture, 0),
)
_NOTHING = Family("nothing", "recognition", _nothing)
_ABSENT = Family("absent", "absent", marks=0)
_FOREIGN = Family("foreign", "foreign", marks=0)

FAMILIES: dict[str, Family] = {
    family.name: family for family in (*_MARKED, _NOTHING, *_WHOLE, _ABSENT, _FOREIGN)
}
_BY_ABILITY = {
    ability: tuple(family for family in FAMILIES.values() if family.ability == ability) for ability in WEIGHTS
}
# What is asked of a mark that is not there.
_ABOUT_ABSENT = tuple(family for family in _MARKED if family.marks == 1 and family.ability != "mathematics")
# Questions whole in themselves, so that "and the thing …?" can put them again.
_REPEATABLE = (
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
# After these the thing's own kind is known, and asking which letter it is asks nothing.
_TELLS_KIND = (
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
# After these `it` could as well be the thing in the answer.
_TELLS_OF_ANOTHER = ("nearest",)
_SENTENCES = ("description", "picture")


def _guesses(name: str, rng: random.Random) -> Mapping[str, str]:
    """Fillings for a question whose answer does not depend on them."""
    guess = _GUESSES.get(name)
    return _CONTEXT_FREE if guess is None else guess(rng)


def _two(words: Sequence[str], rng: random.Random) -> dict[str, str]:
    first, second = rng.sample(words, 2)
    return {"one": first, "two": second}


_CALLED = tuple(called(kind) for kind in KINDS)
_COLOR_NAMES = tuple(COLORS)
_GUESSES: dict[str, Callable[[random.Random], dict[str, str]]] = {
    "is-what": lambda rng: {"kind": rng.choice(_CALLED)},
    "is-color": lambda rng: {"color": rng.choice(_COLOR_NAMES)},
    "is-texture": lambda rng: {"texture": rng.choice(TEXTURES)},
    "is-size": lambda rng: {"size": rng.choice(("small", "large"))},
    "category": _options,
    "choose-what": lambda rng: _two(_CALLED, rng),
    "choose-color": lambda rng: _two(_COLOR_NAMES, rng),
    "is-use": lambda rng: {"use": rng.choice(tuple(USES.values()))},
    "left-of": lambda rng: {"side": rng.choice(SIDES["left"])},
    "right-of": lambda rng: {"side": rng.choice(SIDES["right"])},
    "above": lambda rng: {"side": rng.choice(SIDES["above"])},
    "below": lambda rng: {"side": rng.choice(SIDES["below"])},
    "which-color": lambda rng: {"color": rng.choice(_COLOR_NAMES)},
    "count-things": lambda rng: {"kinds": "things"},
    "count-color": lambda rng: {"kinds": f"{rng.choice(_COLOR_NAMES)} things"},
    "count-kind": lambda rng: {"kinds": _plural(rng.choice(SHAPES + OBJECTS))},
    "count-category": lambda rng: {"kinds": rng.choice(("letters", "numbers", "shapes"))},
    "has-kind": lambda rng: {"kind": called(rng.choice(SHAPES + OBJECTS))},
    "has-color": lambda rng: _colored(rng.choice(_COLOR_NAMES)),
    "color-of": lambda rng: {"x": f"the {noun(rng.choice(KINDS))}"},
    "kind-of": lambda rng: {"color": rng.choice(_COLOR_NAMES)},
}

# --------------------------------------------------------------------------- one question


class _Asked(NamedTuple):
    """An exchange in the making."""

    question: str
    answer: str
    family: Family
    marks: tuple[int, ...]
    facts: tuple[str, ...]
    words: Family
    """The family whose words it is asked in: another one where a mark is absent or the picture foreign."""
    names: tuple[_Name, ...] = ()
    shows: tuple[int, ...] | None = None
    wants: str = ""

    @property
    def subject(self) -> int | None:
        """The mark that `it` speaks of in the turn after."""
        clear = (
            len(self.marks) == 1 and self.family is not _NOTHING and self.words.name not in _TELLS_OF_ANOTHER
        )
        return self.marks[0] if clear else None

    @property
    def asks(self) -> tuple[str, tuple[int, ...], str]:
        """What no later turn should ask again."""
        return self.words.name, self.marks, self.answer


def _exchange(asked: _Asked, question: str, *, follow_up: bool) -> Exchange:
    family = asked.family
    return Exchange(
        question,
        asked.answer,
        family.name,
        family.ability,
        asked.marks,
        asked.facts,
        follow_up,
        asked.names,
        asked.shows,
        asked.wants,
    )


def _choices(view: _View, family: Family) -> list[tuple[int, ...]]:
    """The marks that a question of the family could be about."""
    if family.marks == 2:
        return [*view.pairs()]
    if family.marks == 0:
        return [()]
    return [(number,) for number in (view.empty if family is _NOTHING else view.pointing)]


def _found(view: _View, family: Family, marks: Sequence[int], rng: random.Random) -> Found | None:
    if family.build is None:
        return None
    things = () if family is _NOTHING else tuple(view.thing(number) for number in marks)
    return family.build(view, things, rng)


def _asked(
    view: _View,
    family: Family,
    marks: tuple[int, ...],
    found: Found,
    rng: random.Random,
    *,
    wording: str | None = None,
) -> _Asked:
    wordings = family.wordings
    names = [view.names[number] for number in marks]
    text = _wording(wordings, rng) if wording is None else wording
    question = _fill(view, text, names, rng.choice(wordings.nouns), found.blanks, rng)
    shows = None if found.shows is None else _positions(view, found.shows)
    if shows is None and marks and found.answer in ("yes", "no"):
        shows = _positions(view, [view.thing(marks[0])]) if found.answer == "yes" else ()
    return _Asked(
        question, found.answer, family, marks, found.facts, family, tuple(names), shows, found.wants
    )


def _positions(view: _View, shown: Sequence[Thing]) -> tuple[int, ...]:
    return tuple(place for place, thing in enumerate(view.things) if any(thing is one for one in shown))


def _ask(view: _View, family: Family, rng: random.Random, *, balanced: bool = False) -> _Asked | None:
    """A question of the family; where balanced, with yes as often as no over all the marks of a scene."""
    if family is _FOREIGN:
        return _ask_foreign(view, rng) if view.scene.foreign else None
    if view.scene.foreign:
        return None
    if family is _ABSENT:
        return _ask_absent(view, rng.choice(_ABOUT_ABSENT), rng)
    for marks in _shuffled(_choices(view, family), rng):
        found = _found(view, family, marks, rng)
        if found is None:
            continue
        # Going on to other marks would only bring the seldom answer more often than it is meant to come.
        if balanced and _too_common(view, family, found.answer, rng):
            return None
        return _asked(view, family, marks, found, rng)
    return None


def _too_common(view: _View, family: Family, answer: str, rng: random.Random) -> bool:
    """Whether to leave out an answer so that, over all the marks of a scene, yes and no are as frequent."""
    share = None if family.share is None else family.share(view)
    if share is None:
        return False
    common = share if answer == "yes" else 1 - share
    return rng.random() * common >= 1 - common


def _ask_foreign(view: _View, rng: random.Random) -> _Asked:
    offered = [family for family in (*_MARKED, *_WHOLE) if family.marks <= len(view.nameable)]
    family = rng.choice(offered)
    marks = tuple(rng.sample(view.nameable, family.marks))
    return _foreign(view, family, marks, None, rng)


def _foreign(
    view: _View, family: Family, marks: tuple[int, ...], wording: str | None, rng: random.Random
) -> _Asked:
    found = Found(CANNOT_TELL, _guesses(family.name, rng))
    return _asked(view, family, marks, found, rng, wording=wording)._replace(family=_FOREIGN)


def _ask_absent(
    view: _View, family: Family, rng: random.Random, *, wording: str | None = None
) -> _Asked | None:
    """A question of the family about a mark that is not in the picture."""
    if not view.names and rng.random() < COLORLESS:
        name, answer = None, "There is no mark in the picture."
    else:
        name = _absent_name(view, rng)
        if name is None:
            return None
        answer = f"There is no {name.text} in the picture."
    wordings = family.wordings
    text = _wording(wordings, rng) if wording is None else wording
    while name is None and ("{at}" in text or "{ref}" in text):
        text = _wording(wordings, rng)
    question = _fill(view, text, [name], rng.choice(wordings.nouns), _guesses(family.name, rng), rng)
    return _Asked(question, answer, _ABSENT, (), (), family, () if name is None else (name,))


def _absent_name(view: _View, rng: random.Random) -> _Name | None:
    """The name of a mark that is certainly not there, often sharing a kind or colour with one that is."""
    for _ in range(_TRIES):
        like = rng.choice(view.names) if view.names else None
        roll = rng.random()
        kind = like.kind if like and roll < 0.4 else rng.choice(MARKS).kind
        color = like.color if like and 0.4 <= roll < 0.7 else rng.choice(_MARK_COLORS)
        name = _Name(kind, "" if rng.random() < COLORLESS else color)
        if view.certainly_absent(name):
            return name
    return None


_TRIES = 12
# Mostly the colours that marks were trained in.
_MARK_COLORS = (*TRAINED, *TRAINED, *NAMED)

# --------------------------------------------------------------------------- conversations


def _conversation(view: _View, rng: random.Random) -> Conversation:
    roll = rng.random()
    turns = 3 if roll < THREE_TURNS else 2 if roll < TWO_TURNS else 1
    history = [_open(view, rng)]
    while len(history) < turns:
        later = _continue(view, history, rng)
        if later is None:
            break
        history.append(later)
    return tuple(
        _exchange(
            asked, roughen(asked.question, rng, brief=asked.words.name not in _SENTENCES), follow_up=place > 0
        )
        for place, asked in enumerate(history)
    )


def _open(view: _View, rng: random.Random) -> _Asked:
    """A question that stands by itself."""
    if view.scene.foreign:
        return _ask_foreign(view, rng)
    abilities = list(view.weights)
    while True:
        ability = rng.choices(abilities, [view.weights[ability] for ability in abilities])[0]
        families = [family for family in _BY_ABILITY[ability] for _ in range(view.eager.get(family.name, 1))]
        tried: set[str] = set()
        for family in _shuffled(families, rng):
            # Tried anew, what was refused as too common an answer would come after all.
            asked = None if family.name in tried else _ask(view, family, rng, balanced=True)
            if asked is not None:
                return asked
            tried.add(family.name)
        # The whole picture can always be asked about, so something is left.
        abilities.remove(ability)


def _continue(view: _View, history: Sequence[_Asked], rng: random.Random) -> _Asked | None:
    """A later turn: about the same thing, the same question again, or a question of its own."""
    roll = rng.random()
    asked = _ask_more(view, history, rng) if roll < 0.6 else None
    if asked is None and roll < 0.85:
        asked = _ask_again(view, history, rng)
    return asked or _ask_anew(view, history, rng)


def _ask_more(view: _View, history: Sequence[_Asked], rng: random.Random) -> _Asked | None:
    subject = history[-1].subject
    if subject is None:
        return None
    marks = (subject,)
    known = [asked.words.name for asked in history if asked.marks == marks]
    told = any(name in _TELLS_KIND for name in known)
    for name in _shuffled(_FOLLOWING, rng):
        if name in known or (told and name in ("letter", "number")):
            continue
        family, wording = FAMILIES[name], _wording(FOLLOW_UPS[name], rng)
        if view.scene.foreign:
            return _foreign(view, family, marks, wording, rng)
        found = _found(view, family, marks, rng)
        if found is not None:
            return _asked(view, family, marks, found, rng, wording=wording)
    return None


_FOLLOWING = tuple(FOLLOW_UPS)


def _ask_again(view: _View, history: Sequence[_Asked], rng: random.Random) -> _Asked | None:
    """The question before, of another mark: one that is there or, now and then, one that is not."""
    family = history[-1].words
    if family.name not in _REPEATABLE and family is not _NOTHING:
        return None
    wording = rng.choice(AGAIN)
    if not view.scene.foreign and history[-1].family is not _ABSENT and rng.random() < 0.2:
        return _ask_absent(view, family, rng, wording=wording)
    asked = [one.marks for one in history]
    for number in _shuffled(view.nameable, rng):
        if (number,) in asked:
            continue
        if view.scene.foreign:
            return _foreign(view, family, (number,), wording, rng)
        again = _of(view, family, number)
        found = None if again is None else _found(view, again, (number,), rng)
        if again is not None and found is not None:
            return _asked(view, again, (number,), found, rng, wording=wording)
    return None


def _of(view: _View, family: Family, number: int) -> Family | None:
    """The family as it is asked of that mark: what there is, of a mark at nothing, is nothing."""
    asks_what = family is _NOTHING or family.name == "what"
    if number in view.empty:
        return _NOTHING if asks_what else None
    return FAMILIES["what"] if asks_what else family


def _ask_anew(view: _View, history: Sequence[_Asked], rng: random.Random) -> _Asked | None:
    before = [asked.asks for asked in history]
    for _ in range(_TRIES):
        asked = _open(view, rng)
        if asked.asks not in before:
            return asked
    return None


# --------------------------------------------------------------------------- the surface


def _words(*texts: str) -> Iterator[str]:
    for text in texts:
        yield from text.lower().split()


_PROTECTED = frozenset(
    word
    for known in _words(
        *NAMED,
        *ALIASES,
        *COLORS,
        *(mark.noun for mark in MARKS),
        *BY_KIND,
        *KINDS,
        *PLURALS.values(),
        *USES.values(),
        *(place for row in PLACES for place in row),
        TELLING,
    )
    for word in (known, f"{known}s")
)
_LONG_WORD = re.compile(r"[A-Za-z]{5,}")


def protected(word: str) -> bool:
    """Whether a question turns on the word, so that no slip may touch it."""
    return word.lower() in _PROTECTED


def roughen(text: str, rng: random.Random, *, brief: bool = True) -> str:
    """A question as people type it: often as it is, else with another surface and the same sense.

    `brief` allows a request for a short answer after it.
    """
    roll = rng.random()
    for chance, change in _CHANGES:
        roll -= chance
        if roll < 0:
            return text if change is _briefly and not brief else change(text, rng)
    return text


def _lower(text: str, rng: random.Random) -> str:
    return text.lower()


def _upper(text: str, rng: random.Random) -> str:
    return text.upper()


def _unended(text: str, rng: random.Random) -> str:
    return text.rstrip("?.")


def _careless(text: str, rng: random.Random) -> str:
    return text.lower().rstrip("?.")


def _led(text: str, rng: random.Random) -> str:
    lead, lowers = rng.choice(LEADS)
    if lowers and not text.startswith("I "):
        text = text[0].lower() + text[1:]
    return lead + text


def _briefly(text: str, rng: random.Random) -> str:
    return text + rng.choice(" \n") + BRIEFLY


def _mistyped(text: str, rng: random.Random) -> str:
    words = [match for match in _LONG_WORD.finditer(text) if not protected(match[0])]
    if not words:
        return text
    match = rng.choice(words)
    slipped = rng.choice((_swap, _drop, _double))(match[0], rng.randrange(1, len(match[0]) - 1))
    return text if protected(slipped) else text[: match.start()] + slipped + text[match.end() :]


def _swap(word: str, place: int) -> str:
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _drop(word: str, place: int) -> str:
    return word[:place] + word[place + 1 :]


def _double(word: str, place: int) -> str:
    return word[: place + 1] + word[place:]


_CHANGES: tuple[tuple[float, Callable[[str, random.Random], str]], ...] = (
    (0.10, _lower),
    (0.07, _unended),
    (0.04, _careless),
    (0.08, _mistyped),
    (0.02, _upper),
    (0.04, _led),
    (0.10, _briefly),
)
