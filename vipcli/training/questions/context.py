"""A scene as question writers see it: which marks can be named, and which words are unambiguous."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from vipcli.marks.kinds import BY_KIND
from vipcli.training.questions.question_answer import ABILITY_WEIGHTS, Ability
from vipcli.training.questions.wordings import LOOKALIKE_TEXTURES, LOOKALIKES, SIMILAR_KINDS, SIMILAR_MARKS
from vipcli.training.world.facts import similar_colors
from vipcli.training.world.scene import Scene, Thing

NO_BOOSTS: Mapping[str, int] = MappingProxyType({})
_Item = TypeVar("_Item")


def _both_orders(pairs: Sequence[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset(pairs) | frozenset((second, first) for first, second in pairs)


_SIMILAR_KINDS = _both_orders(SIMILAR_KINDS)
_SIMILAR_MARKS = _both_orders(SIMILAR_MARKS)


def are_similar_kinds(first: str, second: str) -> bool:
    """Whether two different kinds of thing could be called by each other's name."""
    return (first, second) in _SIMILAR_KINDS


class MarkName(NamedTuple):
    """The name of a mark in a question; the color may be empty."""

    kind: str
    color: str

    @property
    def text(self) -> str:
        """`red rectangle`."""
        color = f"{self.color} " if self.color else ""
        return color + BY_KIND[self.kind].noun

    @property
    def phrase(self) -> str:
        """`within the red rectangle`."""
        return f"{BY_KIND[self.kind].relation} the {self.text}"


class Context:
    """A scene, with everything that questions about it need repeatedly."""

    def __init__(
        self,
        scene: Scene,
        weights: Mapping[Ability, int] = ABILITY_WEIGHTS,
        boosts: Mapping[str, int] = NO_BOOSTS,
    ) -> None:
        self.scene = scene
        self.weights = weights
        self.boosts = boosts
        self.things = scene.things
        self.kinds = frozenset(thing.kind for thing in scene.things)
        self.names = [MarkName(placed.mark.kind, placed.mark.color.name) for placed in scene.marks]
        # Two marks with the same name cannot be told apart in words.
        self.nameable = [index for index, name in enumerate(self.names) if self.names.count(name) == 1]
        self.on_things = [index for index in self.nameable if scene.marks[index].target is not None]
        self.on_nothing = [index for index in self.nameable if scene.marks[index].target is None]
        self.longer_side = max(scene.width, scene.height)

    def thing(self, mark: int) -> Thing:
        """The thing under a mark, by the mark's index."""
        target = self.scene.marks[mark].target
        assert target is not None
        return self.things[target]

    def pairs(self) -> list[tuple[int, int]]:
        """All pairs of marks on two different things, in both orders."""
        marks = self.scene.marks
        return [
            (first, second)
            for first in self.on_things
            for second in self.on_things
            if marks[first].target != marks[second].target
        ]

    def is_kind_unambiguous(self, kind: str) -> bool:
        """Whether no mark, and no thing of another kind, could be called by the name of this kind."""
        return not any(kind in LOOKALIKES.get(name.kind, ()) for name in self.names) and not any(
            are_similar_kinds(kind, thing.kind) for thing in self.things
        )

    def is_color_unambiguous(self, color: str) -> bool:
        """Whether no mark has this color or a similar one."""
        return not any(similar_colors(color, name.color) for name in self.names)

    def is_identified_by_color(self, name: MarkName) -> bool:
        """Whether a mark's color alone says which mark is meant."""
        return not any(
            other != name and similar_colors(name.color, other.color) for other in self.names
        ) and not any(
            thing.texture == "outlined" and similar_colors(name.color, thing.color) for thing in self.things
        )

    def is_certainly_absent(self, name: MarkName) -> bool:
        """Whether nothing in the picture could be taken for such a mark."""
        return not any(resembles_mark(name, other) for other in self.names) and not any(
            _resembles_thing(name, thing) for thing in self.things
        )


def resembles_mark(name: MarkName, other: MarkName) -> bool:
    similar = name.kind == other.kind or (name.kind, other.kind) in _SIMILAR_MARKS
    return similar and (not name.color or similar_colors(name.color, other.color))


def _resembles_thing(name: MarkName, thing: Thing) -> bool:
    similar = (
        thing.kind in LOOKALIKES.get(name.kind, ()) or LOOKALIKE_TEXTURES.get(name.kind) == thing.texture
    )
    return similar and (not name.color or similar_colors(name.color, thing.color))


def shuffled(items: Sequence[_Item], rng: random.Random) -> Iterator[_Item]:
    """The items in random order; random numbers are drawn only for the items consumed."""
    remaining = list(items)
    while remaining:
        yield remaining.pop(int(rng.random() * len(remaining)))
