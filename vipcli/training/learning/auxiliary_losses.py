"""Auxiliary losses of the text model: where its heads should attend, and what they should find there.

Trained on answers alone, a model of this size gives the most frequent answers for hours before it uses the
picture. Everything in `AuxiliaryLosses` is discarded after training, as are the classifiers of patches.
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
    INSTANCE_COLUMNS,
    KIND_NUMBERS,
    MARK_COLOR_NUMBERS,
    MARK_NUMBERS,
    TEXTURE_NUMBERS,
    label_columns,
)
from vipcli.training.questions.question_answer import NOTHING, QuestionAnswer
from vipcli.training.world.facts import COLORS, KINDS, PLACES, TEXTURES
from vipcli.training.world.scene import Scene

# Roles of heads while an answer is generated. In the third layer, one head attends to the first mark in the
# question, one to the second, and one, only in questions about what is nearest, to the mark that is asked
# about. In the last layer they attend to the evidence for the answer: one head finds it by kind, the other by
# all other attributes.
_FIRST_MARK, _SECOND_MARK, _NEAREST, _BY_KIND, _BY_ATTRIBUTE = range(5)
SUPERVISED_HEADS = {2: (_FIRST_MARK, _SECOND_MARK, _NEAREST), 3: (_BY_KIND, _BY_ATTRIBUTE)}
MAX_HEADS = max(len(roles) for roles in SUPERVISED_HEADS.values())
# In each of the two layers, this many heads, counted from the first, must also output the words for what
# they attend to.
_NAMING_HEADS = 2
MIDDLE_LAYER = 2

# Columns of `_sought_values` that a head with this role ignores.
_IGNORED_COLUMNS = {_NEAREST: (2, 3, 4, 5), _BY_KIND: (3, 4, 5), _BY_ATTRIBUTE: (2,)}

# For most tokens, the head for the nearest thing should attend to nothing; those tokens get only this weight.
_NOT_NEAREST_WEIGHT = 0.03
# By how much the weight of an answer's later tokens is reduced.
_LATER_DISCOUNT = 0.7

# When things are counted, the first token, which shows nothing, should get as much attention as this many
# things. Its share tells the count, and with this number it separates medium counts best.
_NOTHING_WHEN_COUNTING = 3.0

# Weights of the auxiliary losses, relative to the loss of the answers.
_ATTENTION_WEIGHT = 1.0
_NAMING_WEIGHT = 0.3
_MATCHING_WEIGHT = 0.3
_RECALL_WEIGHT = 0.15
_COMPARISON_WEIGHT = 0.15

# The places that a head should attend to are a bit set. Bit 0 is the first token, which shows nothing; the
# bits after it are the things; those from `_MARK_BIT` on are the marks.
_NOWHERE = 1
_MARK_BIT = 16

_COLUMNS = {column.name: index for index, column in enumerate(label_columns(GRID))}
_MARK, _MARKED_BY, _TARGET, _NEIGHBOR = (
    _COLUMNS[name] for name in ("mark", "marked by", "target kind", "neighbor")
)
_ATTRIBUTES = ("kind", "color", "texture", "size")
_RECALLED = (*_ATTRIBUTES, "column", "row")


class TokenTargets(NamedTuple):
    """Auxiliary targets of a token of an answer. Class numbers count from 1; 0 means no target."""

    first_mark: int = 0
    second_mark: int = 0
    nearest: int = 0
    by_kind: int = 0
    by_attribute: int = 0
    counted: int = 0
    """Whether the things to attend to are counted, so that each must get the same attention."""
    later: int = 0
    """Whether it is not the first token, which determines most of the rest."""
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
    """Which of two things is large while the other is small: 1 for the second, 2 for the first."""
    greater: int = 0
    """Which of two marked numbers is greater: 1 for the second, 2 for the first."""
    total: int = 0
    difference: int = 0
    number: int = 0


# Where three groups of fields of TokenTargets begin: kind and color of the marks that the question names, the
# attributes that it mentions, and comparisons of two things or the number of several. `_COMPARISONS` has the
# number of classes of each field in the last group.
_FIRST_NAME, _FIRST_MENTIONED = TokenTargets._fields.index("first_kind"), TokenTargets._fields.index("kind")
_FIRST_COMPARISON = TokenTargets._fields.index("across")
_COMPARISONS = dict.fromkeys(("across", "down", "same_color", "same_kind", "larger", "greater"), 2)
_COMPARISONS |= {"total": 19, "difference": 10, "number": 10}
_COUNTED, _LATER = TokenTargets._fields.index("counted"), TokenTargets._fields.index("later")
# Things whose centers are less than this share of the longer side apart in a direction have no order in that
# direction.
_MIN_OFFSET = 0.05
# Separators in a list of things, including its end.
_SEPARATOR = re.compile(r", | and |\.$")


class HeadRecord(NamedTuple):
    """Intermediate results of the supervised heads of a layer, as far as they concern the opening."""

    shares: torch.Tensor
    """Picture × head × row × position × opening."""
    query: torch.Tensor
    """Picture × head × row × position × width."""
    key: torch.Tensor
    """Picture × head × opening × width."""
    value: torch.Tensor


_MARK_NAME_NUMBERS = MARK_NUMBERS, MARK_COLOR_NUMBERS
_ATTRIBUTE_NUMBERS = KIND_NUMBERS, COLOR_NUMBERS, TEXTURE_NUMBERS, {"small": 1, "large": 2}


def answer_targets(turn: QuestionAnswer, scene: Scene, ends: Sequence[int]) -> list[TokenTargets]:
    """The targets of each token of an answer; `ends` are the offsets at which the tokens end."""
    targets = first_token_targets(turn, scene)
    if turn.family == "picture":
        return _list_targets(turn, scene, targets, ends)
    return [targets._replace(later=int(index > 0)) for index in range(len(ends))]


def _list_targets(
    turn: QuestionAnswer, scene: Scene, first: TokenTargets, ends: Sequence[int]
) -> list[TokenTargets]:
    """Targets for a list of things from left to right.

    The heads for marks attend to the thing listed before, the heads for evidence to the one being listed.
    """
    things = sorted(turn.evidence or (), key=lambda index: scene.things[index].center[0])
    places = [_NOWHERE, *(1 << index + 1 for index in things), _NOWHERE]
    separators = [match.start() for match in _SEPARATOR.finditer(turn.answer)]
    targets, earlier_item = [], -1
    for end in ends:
        item = sum(separator < end for separator in separators)
        previous, current = places[item : item + 2]
        targets.append(
            first._replace(
                first_mark=previous,
                second_mark=previous,
                by_kind=current,
                by_attribute=current,
                later=int(item == earlier_item),
            )
        )
        earlier_item = item
    return targets


def first_token_targets(turn: QuestionAnswer, scene: Scene) -> TokenTargets:
    """The targets of the first token of an answer."""
    mentioned = (numbers.get(turn.mentioned, 0) for numbers in _ATTRIBUTE_NUMBERS)
    counted = turn.family.startswith("count-")
    targets = TokenTargets(
        *_places(turn), counted, 0, *_mark_names(turn), *mentioned, *_comparisons(turn, scene)
    )
    return targets._replace(number=1 + int(turn.answer)) if counted else targets


def _places(turn: QuestionAnswer) -> tuple[int, int, int, int, int]:
    """Where the head of each role should attend, as bit sets."""
    if turn.ability in ("absent", "foreign"):
        return (_NOWHERE,) * 5
    if turn.family == "nearest":
        return _NOWHERE, _NOWHERE, 1 << _MARK_BIT + turn.marks[0], 0, 0
    evidence = 0
    if turn.evidence is not None:
        evidence = sum(1 << thing + 1 for thing in turn.evidence) or _NOWHERE
    # If the question mentions a kind, the evidence is a target only for the head that searches by kind; if it
    # mentions anything else, only for the other head; if it mentions nothing, for both.
    by_kind = 0 if turn.mentioned and turn.mentioned not in KIND_NUMBERS else evidence
    by_attribute = 0 if turn.mentioned in KIND_NUMBERS else evidence
    if not turn.marks:
        return evidence, evidence, _NOWHERE, by_kind, by_attribute
    first, second = turn.marks[0], turn.marks[-1]
    return 1 << _MARK_BIT + first, 1 << _MARK_BIT + second, _NOWHERE, by_kind, by_attribute


def _comparisons(turn: QuestionAnswer, scene: Scene) -> Iterator[int]:
    """How the two things of the question compare, whatever it asks; nothing if there are not two."""
    targets = [scene.marks[mark].target for mark in turn.marks]
    if len(targets) != 2 or None in targets:
        return
    first, second = (scene.things[target] for target in targets if target is not None)
    longer = max(scene.width, scene.height)
    for a, b in zip(first.center, second.center, strict=True):
        yield 0 if abs(a - b) < _MIN_OFFSET * longer else 1 + (a > b)
    yield 1 + (first.color == second.color)
    yield 1 + (first.kind == second.kind)
    yield 0 if first.large == second.large else 1 + first.large
    if first.category == second.category == "number":
        a, b = int(first.kind), int(second.kind)
        yield 0 if a == b else 1 + (a > b)
        yield 1 + a + b
        yield 1 + abs(a - b)


def _mark_names(turn: QuestionAnswer) -> Iterator[int]:
    names = (turn.mark_names[0], turn.mark_names[-1]) if turn.mark_names else (("", ""),) * 2
    for name in names:
        for numbers, word in zip(_MARK_NAME_NUMBERS, name, strict=True):
            yield numbers.get(word, 0)


class AuxiliaryLosses(nn.Module):
    """All auxiliary losses, computed from what the text model has just recorded for a batch."""

    def __init__(self, tokenizer: Any, image_start: int) -> None:
        super().__init__()
        self._image = slice(image_start, image_start + GRID * GRID)
        groups = (*KINDS, NOTHING), COLORS, TEXTURES, ("small", "large"), _PLACE_WORDS
        self._words = [
            [tokenizer.encode(f" {word}", add_special_tokens=False)[-1] for word in words] for words in groups
        ]
        # A vector for each kind, color …. Queries of tokens that look for it and keys of patches that show it
        # should both match this vector.
        sizes = [len(names) for names in (*_MARK_NAME_NUMBERS, *_ATTRIBUTE_NUMBERS)]
        self.vectors = nn.ModuleDict(
            {
                str(layer): nn.ParameterList(torch.randn(size, HEAD) for size in sizes)
                for layer in SUPERVISED_HEADS
            }
        )
        classes = [label_columns(GRID)[_COLUMNS[name]].classes + 1 for name in _RECALLED]
        self.recall = nn.ModuleList(nn.Linear(TEXT_WIDTH, sum(classes)) for _ in range(2))
        self._classes = classes
        self.comparison = nn.Linear(TEXT_WIDTH, sum(_COMPARISONS.values()))

    def forward(
        self, model: Any, states: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The weighted sum of all losses; `states` are those of the rows' tokens after the middle layer."""
        labels = labels.long()
        layers = model.model.language_model.layers
        attention_loss, attention = self._attention_loss(layers, targets, labels)
        naming_loss, naming = self._naming_loss(model, labels)
        matching_loss, matching = self._matching_loss(layers, targets, labels)
        recall_loss, recall = self._recall_loss(states, targets, labels)
        comparison_loss, comparison = self._comparison_loss(states, targets)
        loss = _ATTENTION_WEIGHT * attention_loss + _NAMING_WEIGHT * naming_loss
        loss = loss + _MATCHING_WEIGHT * matching_loss + _RECALL_WEIGHT * recall_loss
        loss = loss + _COMPARISON_WEIGHT * comparison_loss
        return loss, attention | naming | matching | recall | comparison

    def _attention_loss(
        self, layers: Any, targets: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of the heads' attention, and how much of their attention goes to the right places."""
        loss, metrics = torch.zeros((), device=labels.device), {}
        for layer, roles in SUPERVISED_HEADS.items():
            shares = layers[layer].self_attn.record.shares
            contents, centers = self._opening_contents(labels, shares.shape[-1])
            for head, role in enumerate(roles):
                counted = (targets[..., _COUNTED] > 0) & (targets[..., role] > _NOWHERE)
                if counted.any():
                    loss = (
                        loss + self._counting_loss(shares[:, head], counted, targets[..., role], centers) / 2
                    )
                picture, row, position = ((targets[..., role] > 0) & ~counted).nonzero(as_tuple=True)
                token = targets[picture, row, position]
                right = (contents[picture] & token[:, role, None]) > 0
                share = (shares[picture, head, row, position].float() * right).sum(-1)
                weight = 1 - _LATER_DISCOUNT * token[:, _LATER].to(share.dtype)
                if role == _NEAREST:
                    weight[token[:, role] == _NOWHERE] *= _NOT_NEAREST_WEIGHT
                total = weight.sum().clamp(min=1e-4)
                loss = loss - (weight * share.clamp(min=1e-4).log()).sum() / total / 2
                metrics[f"attends {role}"] = float((weight * share.detach()).sum() / total)
        return loss, metrics

    def _opening_contents(self, labels: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Bit sets for each token of the opening: all that it shows, and the thing whose center it holds."""
        contents = torch.zeros(len(labels), size, dtype=torch.long, device=labels.device)
        contents[:, self._image] = patch_contents(labels)
        centers = torch.zeros_like(contents)
        centers[:, self._image] = _bit(labels[:, :, -1], 0)
        contents[:, 0] = centers[:, 0] = _NOWHERE
        return contents, centers

    def _counting_loss(
        self, shares: torch.Tensor, counted: torch.Tensor, places: torch.Tensor, centers: torch.Tensor
    ) -> torch.Tensor:
        """How unevenly attention is spread over the centers of all things to count and the first token.

        If every center, a single patch, gets the same share, the first token's share tells the number.
        """
        picture, row, position = counted.nonzero(as_tuple=True)
        wanted = ((centers[picture] & (places[picture, row, position, None] | _NOWHERE)) > 0).float()
        wanted[:, 0] = _NOTHING_WHEN_COUNTING
        cross_entropy = -shares[picture, row, position].float().clamp(min=1e-4).log() * wanted
        return (cross_entropy.sum(1) / wanted.sum(1)).mean()

    def _naming_loss(self, model: Any, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of the words that the heads would output for patches, and their accuracy on kinds."""
        attributes = _visible_attributes(labels)
        picture, patch = (attributes[:, :, 0] > 0).nonzero(as_tuple=True)
        loss, metrics = torch.zeros((), device=labels.device), {}
        for layer in SUPERVISED_HEADS:
            output = self._head_output(model, layer, slice(_NAMING_HEADS), picture, patch)
            for column, words in enumerate(self._words):
                scores = F.linear(output, model.lm_head.weight[words])
                word_loss, right = _classification_loss(scores, attributes[picture, patch, column] - 1)
                loss = loss + word_loss / len(SUPERVISED_HEADS)
                if column == 0:
                    metrics[f"names {layer}"] = right
        picture, patch = (labels[:, :, _NEIGHBOR] > 0).nonzero(as_tuple=True)
        output = self._head_output(model, MIDDLE_LAYER, slice(_NEAREST, _NEAREST + 1), picture, patch)
        scores = F.linear(output, model.lm_head.weight[self._words[0]])
        neighbor_loss, right = _classification_loss(scores, labels[picture, patch, _NEIGHBOR] - 1)
        metrics["names nearest"] = right
        return loss + neighbor_loss, metrics

    def _head_output(
        self, model: Any, layer: int, heads: slice, picture: torch.Tensor, patch: torch.Tensor
    ) -> torch.Tensor:
        """What these heads would output if they attended to one patch, normalized like the final states."""
        text = model.model.language_model
        attention = text.layers[layer].self_attn
        values = attention.record.value[picture, heads, self._image.start + patch].flatten(1)
        columns = slice((heads.start or 0) * HEAD, heads.stop * HEAD)
        output: torch.Tensor = text.norm(F.linear(values, attention.o_proj.weight[:, columns]))
        return output

    def _matching_loss(
        self, layers: Any, targets: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """How badly queries encode what is sought and keys encode what is shown, in the supervised heads."""
        shown = _shown_values(labels)
        picture, patch = (shown > 0).any(2).nonzero(as_tuple=True)
        shown = shown[picture, patch]
        loss = torch.zeros((), device=labels.device)
        metrics: dict[str, float] = {}
        for layer, roles in SUPERVISED_HEADS.items():
            record = layers[layer].self_attn.record
            keys = record.key[picture, : len(roles), self._image.start + patch]
            sought = torch.stack([_sought_values(targets, role) for role in roles], 3)
            token_picture, row, position = (sought > 0).flatten(3).any(3).nonzero(as_tuple=True)
            sought = sought[token_picture, row, position]
            queries = record.query[token_picture, : len(roles), row, position]
            layer_vectors: Any = self.vectors[str(layer)]
            for column, vectors in enumerate(layer_vectors):
                heads = [
                    head for head, role in enumerate(roles) if column not in _IGNORED_COLUMNS.get(role, ())
                ]
                query_loss, sought_right = _classification_loss(
                    queries[:, heads] @ vectors.T * HEAD**-0.5, sought[:, heads, column] - 1
                )
                truth = shown[:, column, None].expand(-1, len(heads)) - 1
                key_loss, shown_right = _classification_loss(keys[:, heads] @ vectors.T * HEAD**-0.5, truth)
                loss = loss + (query_loss + key_loss) / len(SUPERVISED_HEADS)
                if column in (0, 2):
                    metrics |= {
                        f"asks {layer}.{column}": sought_right,
                        f"shows {layer}.{column}": shown_right,
                    }
        return loss, metrics

    def _recall_loss(
        self, states: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """How badly an answer's tokens encode the thing that they have just attended to."""
        things = torch.cat([labels[:, :, : len(_ATTRIBUTES)], labels[:, :, 5:7]], 2)
        loss, metrics = torch.zeros((), device=labels.device), {}
        for role, readout in enumerate(self.recall):
            place = targets[..., role]
            is_single = (place > _NOWHERE) & ((place & (place - 1)) == 0)
            picture, row, position = is_single.nonzero(as_tuple=True)
            there = (patch_contents(labels)[picture] & targets[picture, row, position, role, None]) > 0
            there &= labels[picture, :, 0] > 0
            first = there.to(torch.uint8).argmax(1)
            # There is nothing to recall for a mark on empty ground.
            truth = things[picture, first] * there.any(1)[:, None]
            all_scores = readout(F.rms_norm(states[picture, row, position], (TEXT_WIDTH,)))
            for column, scores in enumerate(all_scores.split(self._classes, 1)):
                column_loss, right = _classification_loss(
                    scores, torch.where(truth[:, column] > 0, truth[:, column], -1)
                )
                loss = loss + column_loss
                if column == 0:
                    metrics[f"recalls {role}"] = right
        return loss, metrics

    def _comparison_loss(
        self, states: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """How badly an answer's tokens encode how two things compare, or how many there are."""
        truth = targets[..., _FIRST_COMPARISON:]
        known = (truth > 0).any(-1)
        all_scores = self.comparison(F.rms_norm(states[known], (TEXT_WIDTH,)))
        loss, metrics = torch.zeros((), device=states.device), {}
        comparisons = zip(
            _COMPARISONS, all_scores.split(list(_COMPARISONS.values()), 1), truth[known].T, strict=True
        )
        for name, scores, classes in comparisons:
            comparison_loss, metrics[name] = _classification_loss(scores, classes - 1)
            loss = loss + comparison_loss
        return loss, {name: metrics[name] for name in ("across", "same_kind", "total", "number")}


def _shown_values(labels: torch.Tensor) -> torch.Tensor:
    """For each patch, the kind and color of a mark, then the attributes of the patch's thing.

    The mark is the one on the patch's thing or, if there is none, the one whose stroke crosses the patch.
    """
    is_marked_thing = labels[:, :, _MARKED_BY : _MARKED_BY + 1] > 0
    marks = torch.where(
        is_marked_thing, labels[:, :, _MARKED_BY : _MARKED_BY + 2], labels[:, :, _MARK : _MARK + 2]
    )
    return torch.cat([marks, labels[:, :, : len(_ATTRIBUTES)]], 2)


def _sought_values(targets: torch.Tensor, role: int) -> torch.Tensor:
    """What the head of a role looks for: kind and color of a mark, then the attributes of the evidence."""
    first, second = (
        targets[..., _FIRST_NAME : _FIRST_NAME + 2],
        targets[..., _FIRST_NAME + 2 : _FIRST_MENTIONED],
    )
    mentioned = targets[..., _FIRST_MENTIONED:_FIRST_COMPARISON]
    if role in (_BY_KIND, _BY_ATTRIBUTE):
        return torch.cat([first, mentioned], -1)
    # Of the heads in this layer, only the one for the nearest thing looks for the mark in a question about
    # what is nearest, and only the other two do in any other question.
    asks_nearest = targets[..., _NEAREST, None] > _NOWHERE
    mark = second if role == _SECOND_MARK else first
    mark = mark * (asks_nearest if role == _NEAREST else ~asks_nearest)
    return torch.cat([mark, mentioned * (mark[..., :1] == 0)], -1)


def _classification_loss(scores: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The mean loss and the accuracy, ignoring a truth of -1."""
    scores, truth = scores.float().flatten(0, -2), truth.flatten()
    known = int((truth >= 0).sum())
    loss = F.cross_entropy(scores, truth, ignore_index=-1, reduction="sum") / max(known, 1)
    return loss, int((scores.argmax(1) == truth).sum()) / max(known, 1)


def patch_contents(labels: torch.Tensor) -> torch.Tensor:
    """For each patch, the bit set of the thing and the marks that it is part of."""
    owner, stroke, marked_by, *_ = labels[:, :, -INSTANCE_COLUMNS:].unbind(2)
    marks = _bit(stroke, _MARK_BIT - 1) | _bit(marked_by, _MARK_BIT - 1)
    return _bit(owner, 0) | marks


def _bit(number: torch.Tensor, base: int) -> torch.Tensor:
    return (number > 0) * (1 << number + base)


# The first words of all places, and for each number of a place the number of its first word.
_PLACE_WORDS = tuple(dict.fromkeys(place.split()[0] for row in PLACES for place in row))
_FIRST_WORDS = (0, *(_PLACE_WORDS.index(place.split()[0]) + 1 for row in PLACES for place in row))


def _visible_attributes(labels: torch.Tensor) -> torch.Tensor:
    """Kind, color, texture, size and place of each patch's thing.

    A patch that shows only a mark's stroke gets the kind and color of the marked thing.
    """
    things, targets = labels[:, :, :5].clone(), F.pad(labels[:, :, _TARGET : _TARGET + 2], (0, 3))
    things[:, :, 4] = torch.tensor(_FIRST_WORDS, device=labels.device)[things[:, :, 4]]
    return torch.where(things[:, :, :1] > 0, things, targets)
