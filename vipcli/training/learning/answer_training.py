"""The second stage: the whole model learns to answer, many conversations about each picture at once.

The picture and the words before the first question are read once. Conversations follow in rows of a fixed
length; each sees the picture and itself, exactly as if it stood alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vipcli.checkpoints.prompt_forms import HUMAN, Turn
from vipcli.training.drawing.scenes import WORLD, draw_scene
from vipcli.training.learning.auxiliary_losses import (
    HEADS,
    LOOKING,
    RECALLING_LAYER,
    Hint,
    Lessons,
    Watched,
    hints,
)
from vipcli.training.learning.model import GRID
from vipcli.training.learning.patch_labels import labels
from vipcli.training.learning.patch_training import EARLY_LAYER, VisionStage, normal, softmax, view
from vipcli.training.questions.generator import WEIGHTS, Ability, Conversation, conversations
from vipcli.training.world.facts import Scene

ROWS, LENGTH = 6, 64
_ASKED = 14
"""Conversations made for a picture; those that find no room in its rows are left out."""

# Reckoning and comparing take two marks on things that go together, which chance seldom gives.
_NUMBERS = replace(WORLD, marks=(0, 1, 6, 3), foreign=0.0, categories=((0, 100, 0, 0),))
_PAIRS = replace(WORLD, marks=(0, 0, 6, 4), foreign=0.0, repeats=0.3)
# What is learned more slowly is asked more often than it will be.
_WEIGHTS: dict[Ability, int] = {
    **WEIGHTS,
    "recognition": 24,
    "relations": 26,
    "whole": 18,
    "absent": 13,
    "mathematics": 34,
    "description": 14,
}
_EAGER = {
    **dict.fromkeys(("nothing", "picture"), 7),
    **dict.fromkeys(("same-kind", "same-color", "bigger", "which-color", "sum", "difference", "kind-of"), 3),
    **dict.fromkeys(("parity", "category", "choose-what", "count-category", "vowel", "nearest", "read"), 3),
    **dict.fromkeys(("alive", "letter", "texture", "larger-number", "smaller-number"), 2),
    **dict.fromkeys(("count-kind", "count-color", "plus-one", "use"), 2),
}
_LESSONS = ((WORLD, 56), (_NUMBERS, 20), (_PAIRS, 24))

_IGNORED = -100
_PACKED = "packed_conversations"


class Batch(NamedTuple):
    """Pictures, and their conversations in rows."""

    pixels: torch.Tensor
    told: torch.Tensor
    """What is told of all patches, as in the first stage."""
    tokens: torch.Tensor
    """Picture × row × length."""
    conversation: torch.Tensor
    """Which conversation of its row a token belongs to, counted from 1; 0 is nothing."""
    position: torch.Tensor
    """How far into its conversation it is."""
    target: torch.Tensor
    """The token that must follow, where it is part of an answer."""
    weight: torch.Tensor
    hints: torch.Tensor
    """What answers are about, in the order of a Hint."""


@dataclass(frozen=True)
class Encoded:
    """A conversation after the words that every one begins with."""

    tokens: list[int]
    targets: list[int]
    weights: list[float]
    hints: list[Hint]


class Scribe:
    """Turns conversations into tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        opening = HUMAN.build([Turn("")]).removesuffix("###Assistant:")
        before, after = opening.split("<image>")
        image = tokenizer.convert_tokens_to_ids("<image>")
        self.opening = [
            tokenizer.bos_token_id,
            *self._encode(before),
            *[image] * (GRID * GRID),
            *self._encode(after),
        ]
        self.image_at = self.opening.index(image)

    def encode(self, conversation: Conversation, scene: Scene) -> Encoded:
        """The tokens after the opening; answers with their ends are targets, less weighty if long."""
        tokens: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        told: list[Hint] = []
        lead = ""
        for exchange in conversation:
            asked = self._encode(f"{lead}{exchange.question}###Assistant:")
            answered = [*self._encode(f" {exchange.answer}"), *self._encode("###")]
            weight = len(answered) ** -0.5
            tokens += asked + answered[:-1]
            targets += [_IGNORED] * (len(asked) - 1) + answered
            weights += [0.0] * (len(asked) - 1) + [weight] * len(answered)
            ends = self._ends(exchange.answer)
            ends += [len(exchange.answer)] * (len(answered) - len(ends))
            told += [Hint()] * (len(asked) - 1) + hints(exchange, scene, ends)
            lead = "###Human: "
        return Encoded(tokens, targets, weights, told)

    def _ends(self, answer: str) -> list[int]:
        """Where in the answer each of its tokens ends."""
        encoded = self._tokenizer(f" {answer}", add_special_tokens=False, return_offsets_mapping=True)
        return [end - 1 for _, end in encoded["offset_mapping"]]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


class Drawer:
    """Makes a batch of pictures and conversations from a random.Random."""

    def __init__(self, size: int, tokenizer: Any) -> None:
        self.size, self.scribe = size, Scribe(tokenizer)

    def __call__(self, rng: random.Random) -> Batch:
        pixels, told, rows = [], [], []
        for _ in range(self.size):
            (lesson,) = rng.choices([lesson for lesson, _ in _LESSONS], [often for _, often in _LESSONS])
            drawn = draw_scene(rng, lesson)
            pixels.append(view(drawn.marked))
            told.append(labels(drawn, GRID))
            asked = conversations(drawn.scene, rng, _ASKED, _WEIGHTS, _EAGER)
            rows.append(_rows([self.scribe.encode(one, drawn.scene) for one in asked]))
        columns = [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]
        return Batch(torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(told)), *columns)


def _rows(encoded: list[Encoded]) -> tuple[Any, ...]:
    """Conversations side by side in rows, each put where there is still room."""
    tokens, number, position = (np.zeros((ROWS, LENGTH), np.int64) for _ in range(3))
    target = np.full((ROWS, LENGTH), _IGNORED, np.int64)
    weight = np.zeros((ROWS, LENGTH), np.float32)
    hints = np.zeros((ROWS, LENGTH, len(Hint._fields)), np.int64)
    filled, count = [0] * ROWS, [0] * ROWS
    for one in encoded:
        size = len(one.tokens)
        row = next((row for row in range(ROWS) if filled[row] + size <= LENGTH), None)
        if row is None:
            continue
        start, count[row] = filled[row], count[row] + 1
        filled[row] += size
        here = (row, slice(start, start + size))
        tokens[here], target[here], weight[here] = one.tokens, one.targets, one.weights
        hints[here] = one.hints
        number[here], position[here] = count[row], np.arange(size)
    return tokens, number, position, target, weight, hints


class TalkStage(nn.Module):
    """The text model learns to answer from what the vision tower already sees."""

    name = "talk"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        scribe = Scribe(tokenizer)
        self._image_at = scribe.image_at
        self.lessons = Lessons(tokenizer, scribe.image_at)
        self.opening: torch.Tensor
        self.register_buffer("opening", torch.tensor(scribe.opening), persistent=False)
        model.model.vision_tower.requires_grad_(False)
        model.model.language_model.config._attn_implementation = _PACKED

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        with torch.no_grad():
            seen = self.look(batch.pixels)
        answering, told, figures = self.answer(seen, batch)
        return answering + told, figures

    def look(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The patches after each layer of the tower, what goes into the first layer before them."""
        states = self.model.model.vision_tower(normal(pixels), output_hidden_states=True).hidden_states
        return tuple(state[:, 1:] for state in states)

    def answer(
        self, seen: tuple[torch.Tensor, ...], batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        """The loss over all answers and that of the lessons, and how much is right."""
        asked = batch.target.flatten(1) != _IGNORED
        states, halfway = self.read(seen, batch, asked)
        scores = self.model.lm_head(states).float()
        truth, weight = batch.target.flatten(1)[asked], batch.weight.flatten(1)[asked]
        answering = (F.cross_entropy(scores, truth, reduction="none") * weight).sum() / weight.sum()
        right = torch.zeros_like(asked)
        right[asked] = scores.argmax(1) == truth
        told, learned = self.lessons(
            self.model, halfway.view(*batch.tokens.shape, -1), batch.hints, batch.told
        )
        figures = {
            "right": float(whole_answers(asked, right).float().mean()),
            "answering": float(answering.detach()),
        }
        return answering, told, figures | learned

    def read(
        self, seen: tuple[torch.Tensor, ...], batch: Batch, asked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The last features of the tokens asked for, and those of all after the recalling layer."""
        inner = self.model.model
        text = inner.language_model
        pictures = batch.pixels.shape[0]
        features = torch.cat([seen[layer] for layer in self.model.config.vision_feature_layer], -1)
        picture = inner.multi_modal_projector(features)
        opening = text.embed_tokens(self.opening).expand(pictures, -1, -1)
        end = self._image_at + picture.shape[1]
        words = text.embed_tokens(batch.tokens.flatten(1))
        states = torch.cat(
            [opening[:, : self._image_at], picture.to(words.dtype), opening[:, end:], words], 1
        )
        size = self.opening.shape[0]
        of_opening = torch.arange(size, device=states.device).expand(pictures, -1)
        positions = torch.cat([of_opening, size + batch.position.flatten(1)], 1)
        turned = text.rotary_emb(states, position_ids=positions)
        mask = _own_conversation(batch.conversation)
        *earlier, last = text.layers
        for number, layer in enumerate(earlier):
            states = layer(states, attention_mask=mask, position_embeddings=turned)
            if number == RECALLING_LAYER:
                halfway = states[:, size:]
        # Of the last layer, most tokens only serve to be looked at.
        looked, _ = last.self_attn(
            last.input_layernorm(states), attention_mask=mask, position_embeddings=turned
        )
        answering = (states + looked)[:, size:][asked]
        answering = answering + last.mlp(last.post_attention_layernorm(answering))
        return text.norm(answering), halfway


class TogetherStage(nn.Module):
    """The whole model learns: to answer, and to see better on the way, still told of every patch."""

    name = "together"
    _TOLD = 0.3
    _SEEING = 0.1

    def __init__(self, talk: TalkStage, eyes: VisionStage) -> None:
        super().__init__()
        self.talk = talk
        talk.model.model.vision_tower.requires_grad_(True)
        self.reader, self.early = eyes.reader, eyes.early

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        seen = self.talk.look(batch.pixels)
        answering, told, figures = self.talk.answer(seen, batch)
        seeing, found = self.reader(seen[-1], batch.told)
        early, _ = self.early(seen[EARLY_LAYER], batch.told)
        figures |= {name: found[name] for name in ("kind", "marked by", "target kind")}
        return answering + self._TOLD * told + self._SEEING * (seeing + 0.4 * early), figures


def whole_answers(asked: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """For each answer, in order, whether all of its tokens are right, as greedy decoding would write it."""
    before = torch.nn.functional.pad(asked, (1, 0))[:, :-1]
    answer = (asked & ~before).flatten().cumsum(0)[asked.flatten()] - 1
    wrong = torch.bincount(answer, weights=(~right[asked]).float())
    return wrong == 0


def _own_conversation(conversation: torch.Tensor) -> torch.Tensor:
    """Picture × row × length × length: whether a token may look at another of its row."""
    same = conversation[..., :, None] == conversation[..., None, :]
    length = conversation.shape[-1]
    return same & torch.ones(length, length, dtype=torch.bool, device=conversation.device).tril()


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    **_ignored: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of the opening to itself, and of every row to the opening and to its own conversation."""
    pictures, rows, length, _ = attention_mask.shape
    heads, width = query.shape[1], query.shape[3]
    size = query.shape[2] - rows * length
    opening_key, opening_value = key[:, :, :size], value[:, :, :size]
    later = torch.ones(size, size, dtype=torch.bool, device=query.device).triu(1)
    within = query[:, :, :size] @ opening_key.transpose(2, 3) * scaling
    opening = softmax(within.masked_fill(later, float("-inf")))
    apart = (pictures, heads, rows, length, width)
    asked = query[:, :, size:]
    to_opening = (asked @ opening_key.transpose(2, 3) * scaling).view(pictures, heads, rows, length, size)
    own_key, own_value = key[:, :, size:].reshape(apart), value[:, :, size:].reshape(apart)
    to_own = asked.reshape(apart) @ own_key.transpose(3, 4) * scaling
    to_own = to_own.masked_fill(~attention_mask[:, None], float("-inf"))
    shares = softmax(torch.cat([to_opening, to_own], -1))
    if module.layer_idx in LOOKING:
        module.watched = Watched(
            shares[:, :HEADS, ..., :size],
            asked.reshape(apart)[:, :HEADS],
            opening_key[:, :HEADS],
            opening_value[:, :HEADS],
        )
    answered = shares[..., :size].flatten(2, 3) @ opening_value
    answered = answered + (shares[..., size:] @ own_value).flatten(2, 3)
    return torch.cat([opening @ opening_value, answered], 2).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(_PACKED, _attend)
