"""The second stage and the third: the model learns to answer, from many conversations per picture at once.

The picture and the text before the first question are processed once. Conversations follow in rows of a fixed
length; each attends to the picture and to itself, exactly as if it were alone.
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
from vipcli.training.drawing.scenes import DEFAULT_MIXTURE, draw_scene
from vipcli.training.learning.auxiliary_losses import (
    MAX_HEADS,
    MIDDLE_LAYER,
    SUPERVISED_HEADS,
    AuxiliaryLosses,
    HeadRecord,
    TokenTargets,
    answer_targets,
)
from vipcli.training.learning.model import GRID
from vipcli.training.learning.patch_labels import patch_labels
from vipcli.training.learning.patch_training import (
    EARLY_LAYER,
    EARLY_WEIGHT,
    VisionStage,
    model_input,
    normalize,
    softmax,
)
from vipcli.training.questions.generator import conversations
from vipcli.training.questions.question_answer import ABILITY_WEIGHTS, Ability, Conversation
from vipcli.training.world.scene import Scene

ROWS, ROW_LENGTH = 6, 64
# Conversations generated per picture; those that do not fit into its rows are dropped.
_CONVERSATIONS = 14

# Arithmetic and comparisons need two marks on comparable things, which the default mixture rarely has.
NUMBER_SCENES = replace(DEFAULT_MIXTURE, marks=(0, 1, 6, 3), foreign=0.0, categories=((0, 100, 0, 0),))
PAIR_SCENES = replace(DEFAULT_MIXTURE, marks=(0, 0, 6, 4), foreign=0.0, repeats=0.3)
_MIXTURES = {DEFAULT_MIXTURE: 56, NUMBER_SCENES: 20, PAIR_SCENES: 24}

# Abilities and kinds of question that are learned more slowly come up more often than in evaluation.
TRAINING_WEIGHTS: dict[Ability, int] = {
    **ABILITY_WEIGHTS,
    "recognition": 24,
    "relations": 26,
    "whole": 18,
    "absent": 13,
    "mathematics": 34,
    "description": 14,
}
FAMILY_BOOSTS = {
    **dict.fromkeys(("nothing", "picture"), 7),
    **dict.fromkeys(("same-kind", "same-color", "bigger", "which-color", "sum", "difference", "kind-of"), 3),
    **dict.fromkeys(("parity", "category", "choose-what", "count-category", "vowel", "nearest", "read"), 3),
    **dict.fromkeys(("alive", "letter", "texture", "larger-number", "smaller-number"), 2),
    **dict.fromkeys(("count-kind", "count-color", "plus-one", "use"), 2),
}

_IGNORED = -100
_PACKED_ATTENTION = "packed_conversations"


class AnswerBatch(NamedTuple):
    """Pictures, and their conversations in rows."""

    pixels: torch.Tensor
    labels: torch.Tensor
    """Labels of all patches, as in the first stage."""
    tokens: torch.Tensor
    """Picture × row × length."""
    conversation: torch.Tensor
    """Which conversation of its row each token belongs to, counted from 1; 0 for padding."""
    position: torch.Tensor
    """Position of a token within its conversation."""
    target: torch.Tensor
    """The next token, where it is part of an answer."""
    weight: torch.Tensor
    auxiliary: torch.Tensor
    """The `TokenTargets` of each token."""


@dataclass(frozen=True)
class EncodedConversation:
    """A conversation as tokens, after the opening that all prompts share."""

    tokens: list[int]
    targets: list[int]
    weights: list[float]
    auxiliary: list[TokenTargets]


class ConversationEncoder:
    """Turn conversations into tokens."""

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
        self.image_start = self.opening.index(image)

    def encode(self, conversation: Conversation, scene: Scene) -> EncodedConversation:
        """The tokens after the opening. Targets are the answers, each with the ### that ends it.

        Each token of a longer answer weighs less, so that long answers do not dominate.
        """
        tokens: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        auxiliary: list[TokenTargets] = []
        prefix = ""
        for turn in conversation:
            prompt = self._encode(f"{prefix}{turn.question}###Assistant:")
            answer = [*self._encode(f" {turn.answer}"), *self._encode("###")]
            weight = len(answer) ** -0.5
            tokens += prompt + answer[:-1]
            targets += [_IGNORED] * (len(prompt) - 1) + answer
            weights += [0.0] * (len(prompt) - 1) + [weight] * len(answer)
            ends = self._token_ends(turn.answer)
            ends += [len(turn.answer)] * (len(answer) - len(ends))
            auxiliary += [TokenTargets()] * (len(prompt) - 1) + answer_targets(turn, scene, ends)
            prefix = "###Human: "
        return EncodedConversation(tokens, targets, weights, auxiliary)

    def _token_ends(self, answer: str) -> list[int]:
        """The offset in the answer at which each of its tokens ends."""
        encoded = self._tokenizer(f" {answer}", add_special_tokens=False, return_offsets_mapping=True)
        return [end - 1 for _, end in encoded["offset_mapping"]]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


class AnswerBatchMaker:
    """Make batches of pictures with conversations from a random.Random."""

    def __init__(self, size: int, tokenizer: Any) -> None:
        self.size, self.encoder = size, ConversationEncoder(tokenizer)

    def __call__(self, rng: random.Random) -> AnswerBatch:
        pixels, labels, rows = [], [], []
        for _ in range(self.size):
            (mixture,) = rng.choices(list(_MIXTURES), list(_MIXTURES.values()))
            drawn = draw_scene(rng, mixture)
            pixels.append(model_input(drawn.marked))
            labels.append(patch_labels(drawn, GRID))
            talks = conversations(drawn.scene, rng, _CONVERSATIONS, TRAINING_WEIGHTS, FAMILY_BOOSTS)
            rows.append(_pack([self.encoder.encode(talk, drawn.scene) for talk in talks]))
        columns = [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]
        return AnswerBatch(torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(labels)), *columns)


def _pack(conversations: list[EncodedConversation]) -> tuple[Any, ...]:
    """Put each conversation into the first row with enough room."""
    tokens, number, position = (np.zeros((ROWS, ROW_LENGTH), np.int64) for _ in range(3))
    target = np.full((ROWS, ROW_LENGTH), _IGNORED, np.int64)
    weight = np.zeros((ROWS, ROW_LENGTH), np.float32)
    auxiliary = np.zeros((ROWS, ROW_LENGTH, len(TokenTargets._fields)), np.int64)
    filled, count = [0] * ROWS, [0] * ROWS
    for encoded in conversations:
        size = len(encoded.tokens)
        row = next((row for row in range(ROWS) if filled[row] + size <= ROW_LENGTH), None)
        if row is None:
            continue
        start, count[row] = filled[row], count[row] + 1
        filled[row] += size
        here = (row, slice(start, start + size))
        tokens[here], target[here], weight[here] = encoded.tokens, encoded.targets, encoded.weights
        auxiliary[here] = encoded.auxiliary
        number[here], position[here] = count[row], np.arange(size)
    return tokens, number, position, target, weight, auxiliary


class AnswerStage(nn.Module):
    """The text model learns to answer from the features of a frozen vision tower."""

    name = "talk"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        encoder = ConversationEncoder(tokenizer)
        self._image_start = encoder.image_start
        self.auxiliary_losses = AuxiliaryLosses(tokenizer, encoder.image_start)
        self.opening: torch.Tensor
        self.register_buffer("opening", torch.tensor(encoder.opening), persistent=False)
        model.model.vision_tower.requires_grad_(False)
        model.model.language_model.config._attn_implementation = _PACKED_ATTENTION

    def forward(self, batch: AnswerBatch) -> tuple[torch.Tensor, dict[str, float]]:
        with torch.no_grad():
            features = self.patch_features(batch.pixels)
        answer_loss, auxiliary_loss, metrics = self.losses(features, batch)
        return answer_loss + auxiliary_loss, metrics

    def patch_features(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features of the patches before the first layer of the tower and after each layer."""
        states = self.model.model.vision_tower(normalize(pixels), output_hidden_states=True).hidden_states
        return tuple(state[:, 1:] for state in states)

    def losses(
        self, features: tuple[torch.Tensor, ...], batch: AnswerBatch
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        """The loss of the answers, the auxiliary loss, and metrics."""
        is_target = batch.target.flatten(1) != _IGNORED
        states, middle_states = self.text_states(features, batch, is_target)
        scores = self.model.lm_head(states).float()
        truth, weight = batch.target.flatten(1)[is_target], batch.weight.flatten(1)[is_target]
        answer_loss = (F.cross_entropy(scores, truth, reduction="none") * weight).sum() / weight.sum()
        correct = torch.zeros_like(is_target)
        correct[is_target] = scores.argmax(1) == truth
        auxiliary_loss, auxiliary_metrics = self.auxiliary_losses(
            self.model, middle_states.view(*batch.tokens.shape, -1), batch.auxiliary, batch.labels
        )
        metrics = {
            "right": float(whole_answers(is_target, correct).float().mean()),
            "answering": float(answer_loss.detach()),
        }
        return answer_loss, auxiliary_loss, metrics | auxiliary_metrics

    def text_states(
        self, features: tuple[torch.Tensor, ...], batch: AnswerBatch, selected: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Final states of the selected tokens, and the states of all tokens after the middle layer."""
        text = self.model.model.language_model
        states = self._embed(features, batch)
        pictures, size = states.shape[0], self.opening.shape[0]
        opening_positions = torch.arange(size, device=states.device).expand(pictures, -1)
        positions = torch.cat([opening_positions, size + batch.position.flatten(1)], 1)
        rotary = text.rotary_emb(states, position_ids=positions)
        mask = _same_conversation(batch.conversation)
        *earlier_layers, last = text.layers
        for number, layer in enumerate(earlier_layers):
            states = layer(states, attention_mask=mask, position_embeddings=rotary)
            if number == MIDDLE_LAYER:
                middle_states = states[:, size:]
        # Only the selected tokens need an output from the last layer; the others just give keys and values.
        attended, _ = last.self_attn(
            last.input_layernorm(states), attention_mask=mask, position_embeddings=rotary
        )
        output = (states + attended)[:, size:][selected]
        output = output + last.mlp(last.post_attention_layernorm(output))
        return text.norm(output), middle_states

    def _embed(self, features: tuple[torch.Tensor, ...], batch: AnswerBatch) -> torch.Tensor:
        """Embeddings of the opening, with the picture in it, and of all rows."""
        inner = self.model.model
        embed = inner.language_model.embed_tokens
        chosen = torch.cat([features[layer] for layer in self.model.config.vision_feature_layer], -1)
        picture = inner.multi_modal_projector(chosen)
        opening = embed(self.opening).expand(batch.pixels.shape[0], -1, -1)
        end = self._image_start + picture.shape[1]
        words = embed(batch.tokens.flatten(1))
        return torch.cat(
            [opening[:, : self._image_start], picture.to(words.dtype), opening[:, end:], words], 1
        )


class JointStage(nn.Module):
    """The whole model learns to answer, with the losses of both earlier stages as auxiliary losses."""

    name = "together"
    _AUXILIARY_WEIGHT = 0.3
    _VISION_WEIGHT = 0.1

    def __init__(self, answers: AnswerStage, vision: VisionStage) -> None:
        super().__init__()
        self.answers = answers
        answers.model.model.vision_tower.requires_grad_(True)
        self.classifier, self.early_classifier = vision.classifier, vision.early_classifier

    def forward(self, batch: AnswerBatch) -> tuple[torch.Tensor, dict[str, float]]:
        features = self.answers.patch_features(batch.pixels)
        answer_loss, auxiliary_loss, metrics = self.answers.losses(features, batch)
        vision_loss, accuracy = self.classifier(features[-1], batch.labels)
        early_loss, _ = self.early_classifier(features[EARLY_LAYER], batch.labels)
        metrics |= {name: accuracy[name] for name in ("kind", "marked by", "target kind")}
        vision_loss = vision_loss + EARLY_WEIGHT * early_loss
        return (
            answer_loss + self._AUXILIARY_WEIGHT * auxiliary_loss + self._VISION_WEIGHT * vision_loss,
            metrics,
        )


def whole_answers(is_target: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """For each answer, in order, whether all its tokens are correct, so greedy decoding would give it."""
    before = torch.nn.functional.pad(is_target, (1, 0))[:, :-1]
    answer = (is_target & ~before).flatten().cumsum(0)[is_target.flatten()] - 1
    wrong = torch.bincount(answer, weights=(~correct[is_target]).float())
    return wrong == 0


def _same_conversation(conversation: torch.Tensor) -> torch.Tensor:
    """Picture × row × length × length: whether a token may attend to another of its row."""
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
    """Attention of the opening to itself, and of each row's tokens to the opening and their conversation."""
    pictures, rows, length, _ = attention_mask.shape
    heads, width = query.shape[1], query.shape[3]
    size = query.shape[2] - rows * length
    opening_key, opening_value = key[:, :, :size], value[:, :, :size]
    future = torch.ones(size, size, dtype=torch.bool, device=query.device).triu(1)
    opening_scores = query[:, :, :size] @ opening_key.transpose(2, 3) * scaling
    opening_shares = softmax(opening_scores.masked_fill(future, float("-inf")))
    by_row = (pictures, heads, rows, length, width)
    row_query = query[:, :, size:]
    to_opening = (row_query @ opening_key.transpose(2, 3) * scaling).view(pictures, heads, rows, length, size)
    row_key, row_value = key[:, :, size:].reshape(by_row), value[:, :, size:].reshape(by_row)
    to_row = row_query.reshape(by_row) @ row_key.transpose(3, 4) * scaling
    to_row = to_row.masked_fill(~attention_mask[:, None], float("-inf"))
    shares = softmax(torch.cat([to_opening, to_row], -1))
    if module.layer_idx in SUPERVISED_HEADS:
        module.record = HeadRecord(
            shares[:, :MAX_HEADS, ..., :size],
            row_query.reshape(by_row)[:, :MAX_HEADS],
            opening_key[:, :MAX_HEADS],
            opening_value[:, :MAX_HEADS],
        )
    output = shares[..., :size].flatten(2, 3) @ opening_value
    output = output + (shares[..., size:] @ row_value).flatten(2, 3)
    return torch.cat([opening_shares @ opening_value, output], 2).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(_PACKED_ATTENTION, _attend)
