"""What training tells the text model beside the answers must agree with the scene and with the answers."""

from __future__ import annotations

import random
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vipcli.training.drawing.scenes import WORLD, Drawn, draw_scene
from vipcli.training.learning.auxiliary_losses import HEADS, LOOKING, Lessons, Watched, _held, hint, hints
from vipcli.training.learning.model import GRID, HEAD
from vipcli.training.learning.patch_labels import WHO, labels
from vipcli.training.questions.generator import Exchange, ask, conversations
from vipcli.training.world.facts import COLORS, KINDS

PATCHES = GRID * GRID
IMAGE_AT = 3


def _asked(family: str, count: int) -> list[tuple[Drawn, Exchange]]:
    """That many questions of a family, from as many scenes as it takes."""
    found: list[tuple[Drawn, Exchange]] = []
    for number in range(400):
        drawn = draw_scene(random.Random(f"lessons {number}"), WORLD)
        exchange = ask(drawn.scene, family, random.Random(number))
        if exchange is not None:
            found.append((drawn, exchange))
        if len(found) == count:
            return found
    raise AssertionError(f"too few scenes offer {family}")


def _bits(drawn: Drawn) -> torch.Tensor:
    return _held(torch.from_numpy(labels(drawn, GRID)).long()[None])[0]


def test_every_mark_has_a_place_to_look_at() -> None:
    for drawn, exchange in _asked("what", 12):
        told = labels(drawn, GRID)
        looked_at = (_bits(drawn) & hint(exchange, drawn.scene).first) > 0
        assert looked_at.any()
        pointed = drawn.scene.pointed[exchange.marks[0]]
        assert pointed.target is not None
        kind = list(KINDS).index(drawn.scene.things[pointed.target].kind) + 1
        # The thing's own patches are among them, and the stroke's.
        assert kind in told[looked_at.numpy(), 0]
        assert exchange.marks[0] + 1 in told[looked_at.numpy(), -WHO + 1]


@pytest.mark.parametrize("family", ["bigger", "which-color", "larger-number"])
def test_what_settles_an_answer_is_the_thing_that_it_names(family: str) -> None:
    for drawn, exchange in _asked(family, 3):
        assert exchange.shows is not None and len(exchange.shows) == 1
        thing = drawn.scene.things[exchange.shows[0]]
        assert exchange.answer.endswith(thing.kind if family == "larger-number" else thing.noun.split()[-1])
        told = hint(exchange, drawn.scene)
        assert told.of_looks == 1 << exchange.shows[0] + 1
        assert told.of_kind == (0 if family == "which-color" else told.of_looks)


@pytest.mark.parametrize("family", ["is-color", "is-what", "left-of", "has-kind", "has-color"])
def test_no_is_settled_by_nothing_to_look_at(family: str) -> None:
    answers = {"yes": 0, "no": 0}
    for drawn, exchange in _asked(family, 12):
        answers[exchange.answer] += 1
        told = hint(exchange, drawn.scene)
        assert (max(told.of_kind, told.of_looks) > 1) is (exchange.answer == "yes")
    assert min(answers.values()) > 0


def test_a_mark_that_is_not_there_is_nowhere() -> None:
    for drawn, exchange in _asked("absent", 5):
        told = hint(exchange, drawn.scene)
        assert told[:5] == (1, 1, 1, 1, 1)


def test_what_is_asked_for_by_name_is_told() -> None:
    for drawn, exchange in _asked("has-color", 6):
        assert list(COLORS)[hint(exchange, drawn.scene).color - 1] in exchange.question.lower()
    for drawn, exchange in _asked("count-color", 6):
        assert list(COLORS)[hint(exchange, drawn.scene).color - 1] in exchange.question.lower()
    drawn, exchange = _asked("what", 1)[0]
    told = hint(exchange, drawn.scene)
    assert (told.kind, told.color, told.texture, told.size) == (0, 0, 0, 0)


class _Words:
    """A tokenizer that gives every word a number of its own."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return [self.known.setdefault(text, len(self.known))]


def _model(words: int, shares: torch.Tensor, width: int) -> Any:
    """As much of a model as the lessons look at, with that attention."""
    pictures, _, rows, length, opening = shares.shape
    watched = Watched(
        shares,
        torch.randn(pictures, HEADS, rows, length, HEAD),
        torch.randn(pictures, HEADS, opening, HEAD),
        torch.randn(pictures, HEADS, opening, HEAD),
    )
    attention = SimpleNamespace(watched=watched, o_proj=torch.nn.Linear(width, width))
    layers = [SimpleNamespace(self_attn=attention) for _ in range(max(LOOKING) + 1)]
    text = SimpleNamespace(layers=layers, norm=torch.nn.LayerNorm(width))
    return SimpleNamespace(
        model=SimpleNamespace(language_model=text), lm_head=torch.nn.Linear(width, words, bias=False)
    )


def test_looking_where_it_should_costs_nothing() -> None:
    torch.manual_seed(0)
    drawn = draw_scene(random.Random("lessons 1"), WORLD)
    exchanges = [one[0] for one in conversations(drawn.scene, random.Random(1), 12)]
    hints = torch.tensor([[list(hint(one, drawn.scene)) for one in exchanges]])[None]
    told = torch.from_numpy(np.stack([labels(drawn, GRID)]))
    words = _Words()
    lessons = Lessons(words, IMAGE_AT)
    opening = IMAGE_AT + PATCHES + 2
    places = torch.zeros(opening, dtype=torch.long)
    places[IMAGE_AT : IMAGE_AT + PATCHES] = _bits(drawn)
    places[0] = 1
    width = lessons.recall[0].in_features
    losses = []
    for well in (True, False):
        shares = torch.full((1, HEADS, 1, len(exchanges), opening), 1 / opening)
        if well:
            for head, role in enumerate(LOOKING[2]):
                right = ((places & hints[0, 0, :, role, None]) > 0).float()
                shares[0, head, 0] = right / right.sum(1, keepdim=True).clamp(min=1)
        states = torch.zeros(1, 1, len(exchanges), width)
        loss, figures = lessons(_model(len(words.known), shares, width), states, hints, told)
        assert torch.isfinite(loss)
        assert (figures["looks 0"] > 0.99) is well
        assert (figures["looks 1"] > 0.99) is well
        losses.append(float(loss.detach()))
    assert losses[0] < losses[1]


def test_counting_is_best_done_with_as_much_attention_for_each() -> None:
    drawn, exchange = next(
        (drawn, one) for drawn, one in _asked("count-things", 30) if len(drawn.scene.things) == 4
    )
    told = hint(exchange, drawn.scene)
    assert told.counted and told.number == 5 and told.of_kind == told.of_looks == 0b11110
    lessons = Lessons(_Words(), IMAGE_AT)
    whose = labels(drawn, GRID)[:, -1]
    assert sorted(whose[whose > 0]) == [1, 2, 3, 4]
    middles = torch.tensor([[1, *(1 << int(thing) if thing else 0 for thing in whose)]])
    aim = torch.tensor([[[told.of_kind]]])

    def loss(nothing: float, *weights: float) -> float:
        shares = torch.zeros(1, 1, 1, middles.shape[1])
        shares[..., 0] = nothing
        for thing, weight in enumerate(weights, 1):
            shares[0, 0, 0, (middles[0] == 1 << thing).nonzero().item()] = weight
        return float(lessons._count(shares, aim > 0, aim, middles))

    even = loss(3 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7)
    assert even == pytest.approx(np.log(7) - 3 / 7 * np.log(3), abs=1e-3)
    assert loss(0.0, 0.25, 0.25, 0.25, 0.25) > even + 0.1
    assert loss(0.2, 0.2, 0.2, 0.2, 0.2) > even + 0.05
    assert loss(3 / 7, 0.5, 0.05, 0.01, 0.01) > even + 0.1


def test_a_list_of_things_is_told_from_left_to_right() -> None:
    listed = 0
    for drawn, exchange in _asked("picture", 20):
        words = re.findall(r"\w+|[,.]", exchange.answer)
        ends = [match.end() for match in re.finditer(r"\w+|[,.]", exchange.answer)]
        told = hints(exchange, drawn.scene, [*ends, len(exchange.answer)])
        before, last = 1, None
        for word, one in zip(words, told, strict=False):
            assert one.of_kind == one.of_looks and one.first == one.second
            if one.of_kind == last:
                assert one.later
            else:
                assert not one.later and one.first == before
            if word in COLORS:
                thing = drawn.scene.things[one.of_kind.bit_length() - 2]
                assert thing.color == word
                listed += 1
            if one.of_kind != last:
                before = last = one.of_kind
        assert told[-1].of_kind == told[-2].of_kind == 1
    assert listed > 20


def test_what_is_nearest_is_looked_for_by_a_head_of_its_own() -> None:
    for drawn, exchange in _asked("nearest", 4):
        told = hint(exchange, drawn.scene)
        assert told[:5] == (1, 1, 1 << 16 + exchange.marks[0], 0, 0)
    drawn, exchange = _asked("color", 1)[0]
    assert hint(exchange, drawn.scene).near == 1


def test_two_things_are_compared_in_every_way() -> None:
    for drawn, exchange in _asked("left-of", 12):
        told = hint(exchange, drawn.scene)
        # `left of` asks of a distance that is plain.
        assert (told.across == 1) is (("left" in exchange.question) == (exchange.answer == "yes"))
    for drawn, exchange in _asked("sum", 6):
        told = hint(exchange, drawn.scene)
        assert told.total == 1 + int(exchange.answer)
        one, other = (drawn.scene.things[drawn.scene.pointed[mark].target] for mark in exchange.marks)
        assert told.difference == 1 + abs(int(one.kind) - int(other.kind))
        assert told.greater == (0 if one.kind == other.kind else 1 + (one.kind > other.kind))
        assert told.same_color == 1 + (one.color == other.color)
        assert told.larger == (0 if one.large == other.large else 1 + one.large)
    drawn, exchange = _asked("color", 1)[0]
    assert hint(exchange, drawn.scene)[-9:] == (0,) * 9
