"""What the text model is told beside the right answers: where to look for them, and what is to be seen there.

By itself a model of this size sits on what is usually answered for hours before it looks anywhere. All of
this is thrown away once the model has learned, as the vision tower's readers are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

from vipcli.training.learning.model import GRID, HEAD, TEXT_WIDTH
from vipcli.training.learning.patch_labels import (
    COLOR_NUMBERS,
    KIND_NUMBERS,
    MARK_COLOR_NUMBERS,
    MARK_NUMBERS,
    TEXTURE_NUMBERS,
    WHO,
    table,
)
from vipcli.training.questions.generator import NOTHING, Exchange
from vipcli.training.world.facts import COLORS, KINDS, PLACES, TEXTURES, Scene

# In these layers some heads look, while an answer is written: at the first mark asked about and at the
# second, or at a mark for what is nearest to its thing; then at what settles the answer: one head by the
# kinds of things, one by all else about them.
_FIRST, _SECOND, _NEAR, _OF_KIND, _OF_LOOKS = range(5)
LOOKING = {2: (_FIRST, _SECOND, _NEAR), 3: (_OF_KIND, _OF_LOOKS)}
HEADS = max(len(roles) for roles in LOOKING.values())
# The first heads of both layers write what a thing is called.
_NAMING = 2
RECALLING_LAYER = 2

# Of the columns of `_asked`, those that a head does not go by.
_LEFT_TO_OTHERS = {_NEAR: (2, 3, 4, 5), _OF_KIND: (3, 4, 5), _OF_LOOKS: (2,)}

# What is nearest is seldom asked: beside those questions, looking nowhere counts so little.
_SELDOM = 0.03
# By how much less it counts where an answer's later tokens look.
_LESS = 0.7

# Where things are counted, the place that shows nothing gets as much attention as so many of them: then its
# share tells middling numbers apart best.
_UNCOUNTED = 3.0

# How much each lesson counts beside the answers.
_LOOK, _NAME, _MATCH, _RECALL, _COMPARE = 1.0, 0.3, 0.3, 0.15, 0.15

# Places to look at are sets, as bits: the first token of all, which shows nothing; things; marks.
_NOWHERE = 1
_OF_MARKS = 16

_COLUMNS = {label.name: number for number, label in enumerate(table(GRID))}
_MARK, _MARKED_BY, _TARGET, _NEIGHBOR = (
    _COLUMNS[name] for name in ("mark", "marked by", "target kind", "neighbor")
)
_WORDS_OF_THINGS = ("kind", "color", "texture", "size")
_RECALLED = (*_WORDS_OF_THINGS, "column", "row")


class Hint(NamedTuple):
    """What a token of an answer is about: where to look, and the class numbers of what is asked for."""

    first: int = 0
    second: int = 0
    near: int = 0
    of_kind: int = 0
    of_looks: int = 0
    counted: int = 0
    """Whether the things to look at are to be counted, so that each middle must get the same attention."""
    later: int = 0
    """Whether it is not the answer's first token, which settles most of what follows."""
    first_kind: int = 0
    first_color: int = 0
    second_kind: int = 0
    second_color: int = 0
    kind: int = 0
    color: int = 0
    texture: int = 0
    size: int = 0
    across: int = 0
    down: int = 0
    same_color: int = 0
    same_kind: int = 0
    larger: int = 0
    greater: int = 0
    total: int = 0
    difference: int = 0
    number: int = 0


# Of the fields of a Hint: where those of marks by name begin, of what is asked for by name, and of how two
# things compare or what several come to; and among how many classes.
_NAMED, _WANTED = Hint._fields.index("first_kind"), Hint._fields.index("kind")
_COMPARED = Hint._fields.index("across")
_COMPARISONS = dict.fromkeys(("across", "down", "same_color", "same_kind", "larger", "greater"), 2)
_COMPARISONS |= {"total": 19, "difference": 10, "number": 10}
# Closer than this share of the picture's longer side, neither thing is left of or above the other.
_LEVEL = 0.05
# In a list of things, what stands before each but the first, and before its end.
_BETWEEN = re.compile(r", | and |\.$")
_COUNTED, _LATER = Hint._fields.index("counted"), Hint._fields.index("later")


class Watched(NamedTuple):
    """What the looking heads of a layer did: shares of attention to the opening, and what went into them."""

    shares: torch.Tensor
    """Picture × head × row × place × opening."""
    query: torch.Tensor
    """Picture × head × row × place × width."""
    key: torch.Tensor
    """Picture × head × opening × width."""
    value: torch.Tensor


_NUMBERS_OF_MARKS = MARK_NUMBERS, MARK_COLOR_NUMBERS
_NUMBERS_OF_WORDS = KIND_NUMBERS, COLOR_NUMBERS, TEXTURE_NUMBERS, {"small": 1, "large": 2}


def hints(exchange: Exchange, scene: Scene, ends: Sequence[int]) -> list[Hint]:
    """What is told of each token of an answer; `ends` is where in the answer they end."""
    told = hint(exchange, scene)
    if exchange.family == "picture":
        return _in_turn(exchange, scene, told, ends)
    return [told._replace(later=int(place > 0)) for place in range(len(ends))]


def _in_turn(exchange: Exchange, scene: Scene, told: Hint, ends: Sequence[int]) -> list[Hint]:
    """Of a list of things from left to right: where the last one is, then where the next one is."""
    things = sorted(exchange.shows or (), key=lambda number: scene.things[number].centre[0])
    places = [_NOWHERE, *(1 << number + 1 for number in things), _NOWHERE]
    starts = [match.start() for match in _BETWEEN.finditer(exchange.answer)]
    each, before = [], -1
    for end in ends:
        which = sum(start < end for start in starts)
        last, here = places[which : which + 2]
        each.append(
            told._replace(first=last, second=last, of_kind=here, of_looks=here, later=int(which == before))
        )
        before = which
    return each


def hint(exchange: Exchange, scene: Scene) -> Hint:
    """What is told of the first token of that answer."""
    wanted = (numbers.get(exchange.wants, 0) for numbers in _NUMBERS_OF_WORDS)
    counted = exchange.family.startswith("count-")
    found = Hint(*_aims(exchange), counted, 0, *_names(exchange), *wanted, *_compared(exchange, scene))
    return found._replace(number=1 + int(exchange.answer)) if counted else found


def _aims(exchange: Exchange) -> tuple[int, int, int, int, int]:
    if exchange.ability in ("absent", "foreign"):
        return (_NOWHERE,) * 5
    if exchange.family == "nearest":
        return _NOWHERE, _NOWHERE, 1 << _OF_MARKS + exchange.marks[0], 0, 0
    settling = 0
    if exchange.shows is not None:
        settling = sum(1 << thing + 1 for thing in exchange.shows) or _NOWHERE
    # Asked for by name, it takes the head that goes by such names; else both may look.
    of_kind = 0 if exchange.wants and exchange.wants not in KIND_NUMBERS else settling
    of_looks = 0 if exchange.wants in KIND_NUMBERS else settling
    if not exchange.marks:
        return settling, settling, _NOWHERE, of_kind, of_looks
    first, second = exchange.marks[0], exchange.marks[-1]
    return 1 << _OF_MARKS + first, 1 << _OF_MARKS + second, _NOWHERE, of_kind, of_looks


def _compared(exchange: Exchange, scene: Scene) -> Iterator[int]:
    """How the two things asked about compare, whatever is asked; nothing where there are not two."""
    targets = [scene.pointed[mark].target for mark in exchange.marks]
    if len(targets) != 2 or None in targets:
        return
    one, other = (scene.things[target] for target in targets if target is not None)
    longer = max(scene.width, scene.height)
    for here, there in zip(one.centre, other.centre, strict=True):
        yield 0 if abs(here - there) < _LEVEL * longer else 1 + (here > there)
    yield 1 + (one.color == other.color)
    yield 1 + (one.kind == other.kind)
    yield 0 if one.large == other.large else 1 + one.large
    if one.category == other.category == "number":
        first, second = int(one.kind), int(other.kind)
        yield 0 if first == second else 1 + (first > second)
        yield 1 + first + second
        yield 1 + abs(first - second)


def _names(exchange: Exchange) -> Iterator[int]:
    named = (exchange.names[0], exchange.names[-1]) if exchange.names else (("", ""),) * 2
    for name in named:
        for numbers, word in zip(_NUMBERS_OF_MARKS, name, strict=True):
            yield numbers.get(word, 0)


class Lessons(nn.Module):
    """The losses of all lessons, over what the text model has just done with a batch."""

    def __init__(self, tokenizer: Any, image_at: int) -> None:
        super().__init__()
        self._image = slice(image_at, image_at + GRID * GRID)
        groups = (*KINDS, NOTHING), COLORS, TEXTURES, ("small", "large"), _PLACE_WORDS
        self._words = [
            [tokenizer.encode(f" {word}", add_special_tokens=False)[-1] for word in words] for words in groups
        ]
        # One vector for each kind, colour …, which what asks for it and what shows it both point to.
        sizes = [len(names) for names in (*_NUMBERS_OF_MARKS, *_NUMBERS_OF_WORDS)]
        self.vectors = nn.ModuleDict(
            {str(layer): nn.ParameterList(torch.randn(size, HEAD) for size in sizes) for layer in LOOKING}
        )
        classes = [table(GRID)[_COLUMNS[name]].classes + 1 for name in _RECALLED]
        self.recall = nn.ModuleList(nn.Linear(TEXT_WIDTH, sum(classes)) for _ in range(2))
        self._classes = classes
        self.compare = nn.Linear(TEXT_WIDTH, sum(_COMPARISONS.values()))

    def forward(
        self, model: Any, states: torch.Tensor, hints: torch.Tensor, told: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of all lessons. `states` are those of the rows' tokens after the recalling layer."""
        told = told.long()
        layers = model.model.language_model.layers
        looking, looked = self._look(layers, hints, told)
        naming, named = self._name(model, told)
        matching, matched = self._match(layers, hints, told)
        recalling, recalled = self._recall(states, hints, told)
        comparing, compared = self._compare(states, hints)
        loss = _LOOK * looking + _NAME * naming + _MATCH * matching + _RECALL * recalling
        return loss + _COMPARE * comparing, looked | named | matched | recalled | compared

    def _look(
        self, layers: Any, hints: torch.Tensor, told: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """How little of the looking heads' attention falls where it should, and the share that does."""
        loss, found = torch.zeros((), device=told.device), {}
        for layer, roles in LOOKING.items():
            shares = layers[layer].self_attn.watched.shares
            places = torch.zeros(len(told), shares.shape[-1], dtype=torch.long, device=told.device)
            places[:, self._image] = _held(told)
            middles = torch.zeros_like(places)
            middles[:, self._image] = _bit(told[:, :, -1], 0)
            places[:, 0] = middles[:, 0] = _NOWHERE
            for head, role in enumerate(roles):
                counting = (hints[..., _COUNTED] > 0) & (hints[..., role] > _NOWHERE)
                if counting.any():
                    loss = loss + self._count(shares[:, head], counting, hints[..., role], middles) / 2
                picture, row, place = ((hints[..., role] > 0) & ~counting).nonzero(as_tuple=True)
                there = (places[picture] & hints[picture, row, place, role, None]) > 0
                held = (shares[picture, head, row, place].float() * there).sum(-1)
                weight = 1 - _LESS * hints[picture, row, place, _LATER].to(held.dtype)
                if role == _NEAR:
                    weight[hints[picture, row, place, role] == _NOWHERE] *= _SELDOM
                total = weight.sum().clamp(min=1e-4)
                loss = loss - (weight * held.clamp(min=1e-4).log()).sum() / total / 2
                found[f"looks {role}"] = float((weight * held.detach()).sum() / total)
        return loss, found

    def _count(
        self, shares: torch.Tensor, counting: torch.Tensor, aim: torch.Tensor, middles: torch.Tensor
    ) -> torch.Tensor:
        """How uneven attention is over the middles of all things to count, and the place that shows nothing.

        Where each middle, a single patch, gets the same, the share of that place tells their number.
        """
        picture, row, place = counting.nonzero(as_tuple=True)
        wanted = ((middles[picture] & (aim[picture, row, place, None] | _NOWHERE)) > 0).float()
        wanted[:, 0] = _UNCOUNTED
        uneven = -shares[picture, row, place].float().clamp(min=1e-4).log() * wanted
        return (uneven.sum(1) / wanted.sum(1)).mean()

    def _name(self, model: Any, told: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """How badly the words for a patch fit what the looking heads make of it; the share of kinds right."""
        things = _things(told)
        picture, patch = (things[:, :, 0] > 0).nonzero(as_tuple=True)
        loss, named = torch.zeros((), device=told.device), {}
        for layer in LOOKING:
            written = self._written(model, layer, slice(_NAMING), picture, patch)
            for column, words in enumerate(self._words):
                scores = F.linear(written, model.lm_head.weight[words])
                one, right = _classify(scores, things[picture, patch, column] - 1)
                loss = loss + one / len(LOOKING)
                if column == 0:
                    named[f"names {layer}"] = right
        picture, patch = (told[:, :, _NEIGHBOR] > 0).nonzero(as_tuple=True)
        written = self._written(model, RECALLING_LAYER, slice(_NEAR, _NEAR + 1), picture, patch)
        scores = F.linear(written, model.lm_head.weight[self._words[0]])
        one, named["names near"] = _classify(scores, told[picture, patch, _NEIGHBOR] - 1)
        return loss + one, named

    def _written(
        self, model: Any, layer: int, heads: slice, picture: torch.Tensor, patch: torch.Tensor
    ) -> torch.Tensor:
        """What these heads of a layer would write of patches, as the words are read at the end."""
        text = model.model.language_model
        attention = text.layers[layer].self_attn
        values = attention.watched.value[picture, heads, self._image.start + patch].flatten(1)
        columns = slice((heads.start or 0) * HEAD, heads.stop * HEAD)
        written: torch.Tensor = text.norm(F.linear(values, attention.o_proj.weight[:, columns]))
        return written

    def _match(
        self, layers: Any, hints: torch.Tensor, told: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """How badly questions and patches tell, in the looking heads, what is asked for and what is there."""
        of_thing = told[:, :, _MARKED_BY : _MARKED_BY + 1] > 0
        marks = torch.where(of_thing, told[:, :, _MARKED_BY : _MARKED_BY + 2], told[:, :, _MARK : _MARK + 2])
        shown = torch.cat([marks, told[:, :, : len(_WORDS_OF_THINGS)]], 2)
        picture, patch = (shown > 0).any(2).nonzero(as_tuple=True)
        shown = shown[picture, patch]
        loss = torch.zeros((), device=told.device)
        matched: dict[str, float] = {}
        for layer, roles in LOOKING.items():
            watched = layers[layer].self_attn.watched
            keys = watched.key[picture, : len(roles), self._image.start + patch]
            asked = torch.stack([_asked(hints, role) for role in roles], 3)
            asked_of, row, place = (asked > 0).flatten(3).any(3).nonzero(as_tuple=True)
            asked = asked[asked_of, row, place]
            queries = watched.query[asked_of, : len(roles), row, place]
            each: Any = self.vectors[str(layer)]
            for column, vectors in enumerate(each):
                heads = [
                    head for head, role in enumerate(roles) if column not in _LEFT_TO_OTHERS.get(role, ())
                ]
                asks, right = _classify(
                    queries[:, heads] @ vectors.T * HEAD**-0.5, asked[:, heads, column] - 1
                )
                truth = shown[:, column, None].expand(-1, len(heads)) - 1
                shows, seen = _classify(keys[:, heads] @ vectors.T * HEAD**-0.5, truth)
                loss = loss + (asks + shows) / len(LOOKING)
                if column in (0, 2):
                    matched |= {f"asks {layer}.{column}": right, f"shows {layer}.{column}": seen}
        return loss, matched

    def _recall(
        self, states: torch.Tensor, hints: torch.Tensor, told: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """How badly an answer's tokens, once they have looked, know what they looked at."""
        things = torch.cat([told[:, :, : len(_WORDS_OF_THINGS)], told[:, :, 5:7]], 2)
        loss, recalled = torch.zeros((), device=told.device), {}
        for role, reader in enumerate(self.recall):
            aim = hints[..., role]
            one_place = (aim > _NOWHERE) & ((aim & (aim - 1)) == 0)
            picture, row, place = one_place.nonzero(as_tuple=True)
            there = (_held(told)[picture] & hints[picture, row, place, role, None]) > 0
            there &= told[picture, :, 0] > 0
            first = there.to(torch.uint8).argmax(1)
            # Of a mark at nothing there is nothing to recall.
            truth = things[picture, first] * there.any(1)[:, None]
            scores = reader(F.rms_norm(states[picture, row, place], (TEXT_WIDTH,)))
            for column, some in enumerate(scores.split(self._classes, 1)):
                one, right = _classify(some, torch.where(truth[:, column] > 0, truth[:, column], -1))
                loss = loss + one
                if column == 0:
                    recalled[f"recalls {role}"] = right
        return loss, recalled

    def _compare(self, states: torch.Tensor, hints: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """How badly an answer's tokens know how two things compare, or how many there are."""
        truth = hints[..., _COMPARED:]
        known = (truth > 0).any(-1)
        scores = self.compare(F.rms_norm(states[known], (TEXT_WIDTH,)))
        loss, compared = torch.zeros((), device=states.device), {}
        each = zip(_COMPARISONS, scores.split(list(_COMPARISONS.values()), 1), truth[known].T, strict=True)
        for name, some, right in each:
            one, compared[name] = _classify(some, right - 1)
            loss = loss + one
        return loss, {name: compared[name] for name in ("across", "same_kind", "total", "number")}


def _asked(hints: torch.Tensor, role: int) -> torch.Tensor:
    """What a head in that role has to find: a mark by its name, what settles the answer by its own too."""
    mark, other = hints[..., _NAMED : _NAMED + 2], hints[..., _NAMED + 2 : _WANTED]
    wanted = hints[..., _WANTED:_COMPARED]
    if role in (_OF_KIND, _OF_LOOKS):
        return torch.cat([mark, wanted], -1)
    # A mark is looked for by the head for what is nearest to it, or by the others.
    near = hints[..., _NEAR, None] > _NOWHERE
    if role == _SECOND:
        mark = other
    mark = mark * (near if role == _NEAR else ~near)
    return torch.cat([mark, wanted * (mark[..., :1] == 0)], -1)


def _classify(scores: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The loss where there is a truth, -1 being none, and the share that is right there."""
    scores, truth = scores.float().flatten(0, -2), truth.flatten()
    known = int((truth >= 0).sum())
    loss = F.cross_entropy(scores, truth, ignore_index=-1, reduction="sum") / max(known, 1)
    return loss, int((scores.argmax(1) == truth).sum()) / max(known, 1)


def _held(told: torch.Tensor) -> torch.Tensor:
    """Of each patch, the bits of the thing and the marks that it is part of."""
    owner, stroke, marked_by, *_ = told[:, :, -WHO:].unbind(2)
    of_marks = _bit(stroke, _OF_MARKS - 1) | _bit(marked_by, _OF_MARKS - 1)
    return _bit(owner, 0) | of_marks


def _bit(number: torch.Tensor, base: int) -> torch.Tensor:
    return (number > 0) * (1 << number + base)


# Of each place, the number of its first word among those.
_PLACE_WORDS = tuple(dict.fromkeys(place.split()[0] for row in PLACES for place in row))
_FIRST_WORDS = (0, *(_PLACE_WORDS.index(place.split()[0]) + 1 for row in PLACES for place in row))


def _things(told: torch.Tensor) -> torch.Tensor:
    """Kind, colour, texture, size and place of each patch's thing; on a mark beside it, kind and colour."""
    things, targets = told[:, :, :5].clone(), F.pad(told[:, :, _TARGET : _TARGET + 2], (0, 3))
    things[:, :, 4] = torch.tensor(_FIRST_WORDS, device=told.device)[things[:, :, 4]]
    return torch.where(things[:, :, :1] > 0, things, targets)
