"""The first stage: the vision tower learns to predict what every patch shows and how it is marked."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vipcli.pictures.fitting import model_view
from vipcli.training.drawing.scenes import SceneMixture, draw_scene
from vipcli.training.learning.model import GRID, VISION_WIDTH
from vipcli.training.learning.patch_labels import INSTANCE_COLUMNS, label_columns, patch_labels
from vipcli.training.world.facts import INPUT_SIZE

PADDING = (122, 116, 104)
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

# Crowded scenes with many marks, since empty patches teach little.
CROWDED = SceneMixture(
    marks=(1, 2, 3, 4, 4, 4, 3, 2),
    things=(1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 3, 3),
    foreign=0.02,
    sizes=((160, 340, 80), (340, 640, 14), (128, 160, 3), (640, 1600, 3)),
)

_LABEL_WEIGHTS = {
    "kind": 1.0,
    "color": 0.5,
    "texture": 0.8,
    "size": 0.3,
    "place": 0.3,
    "column": 0.3,
    "row": 0.3,
    "middle": 0.3,
    "mark": 1.0,
    "mark color": 0.5,
    "mark column": 0.4,
    "mark row": 0.4,
    "marked by": 1.5,
    "marked in": 1.0,
    "target kind": 1.0,
    "target color": 0.5,
    "neighbor": 1.0,
}
# Labels that an early layer can already predict. Relating things to marks takes the later layers.
_EARLY_LABELS = (
    *("kind", "color", "texture", "column", "row"),
    *("mark", "mark color", "mark column", "mark row"),
)
EARLY_LAYER = 3
_NAMES = [column.name for column in label_columns(GRID)]
_KIND, _MARK = _NAMES.index("kind"), _NAMES.index("mark")
# Weight of patches without a thing or mark, which are many and easy.
_BACKGROUND_WEIGHT = 0.15

# Number of patches of a picture that the tower processes. About half are empty and teach little, so most of
# those are left out; a few batches keep all patches, as the finished model does.
_PATCHES_PER_PICTURE = GRID * GRID // 2
_ALL_PATCHES_CHANCE = 0.06


# In the last layers, some heads are trained to attend to related patches: of the same thing or mark, from a
# thing to its mark and to its nearest neighbor, and from a mark to its thing.
_SUPERVISED_HEADS = {
    3: ("thing", "mark"),
    4: ("its mark", "its mark", "its thing", "its thing", "its neighbor"),
}
_ATTENTION_WEIGHT = 0.5
EARLY_WEIGHT = 0.4
_RECORDING_ATTENTION = "recording"


class PatchBatch(NamedTuple):
    """Pictures and the labels of their patches."""

    pixels: torch.Tensor
    patches: torch.Tensor
    """Indices of the patches that the tower processes."""
    labels: torch.Tensor
    """Labels of those patches."""


def model_input(image: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture as the model receives it, as bytes."""
    return model_view(image, "pad", INPUT_SIZE, PADDING)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Normalize bytes (batch, height, width, RGB) as the processor does."""
    mean, deviation = (torch.tensor(values, device=pixels.device) for values in (MEAN, DEVIATION))
    return ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)


class PatchBatchMaker:
    """Make batches of pictures with labels from a random.Random."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, rng: random.Random) -> PatchBatch:
        scenes = [draw_scene(rng, CROWDED) for _ in range(self.size)]
        pixels = np.stack([model_input(scene.marked) for scene in scenes])
        labels = np.stack([patch_labels(scene, GRID) for scene in scenes])
        patches = _choose_patches(labels, rng)
        labels = np.take_along_axis(labels, patches[:, :, None], 1)
        return PatchBatch(torch.from_numpy(pixels), torch.from_numpy(patches), torch.from_numpy(labels))


def _choose_patches(labels: NDArray[np.uint8], rng: random.Random) -> NDArray[np.int64]:
    """Indices of the patches to process: those with a thing or mark first, then random ones."""
    count = GRID * GRID if rng.random() < _ALL_PATCHES_CHANCE else _PATCHES_PER_PICTURE
    occupied = (labels[:, :, _KIND] > 0) | (labels[:, :, _MARK] > 0)
    chance = np.random.default_rng(rng.getrandbits(64)).random(occupied.shape)
    return np.sort(np.argsort(chance - occupied, axis=1)[:, :count], axis=1)


class PatchClassifier(nn.Module):
    """Predict labels from a patch's features; discarded after training."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.columns = [
            (index, column) for index, column in enumerate(label_columns(GRID)) if column.name in names
        ]
        self.norm = nn.LayerNorm(VISION_WIDTH)
        self.linear = nn.Linear(VISION_WIDTH, sum(column.classes + 1 for _, column in self.columns))

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """The weighted loss over all labels, and for each label the accuracy where its class is not 0."""
        all_scores = self.linear(self.norm(features)).float().flatten(0, 1)
        labels = labels.flatten(0, 1).long()
        loss = all_scores.new_zeros(())
        accuracy = {}
        start = 0
        for index, column in self.columns:
            scores = all_scores[:, start : start + column.classes + 1]
            start += column.classes + 1
            truth = labels[:, index]
            present = truth > 0
            if column.name == "marked by":
                # Learn for every thing whether it is marked, but not for the background.
                weight = (labels[:, _KIND] > 0).float()
            else:
                weight = present + (_BACKGROUND_WEIGHT * ~present if column.learn_zero else 0.0)
            losses = F.cross_entropy(scores, truth, reduction="none")
            loss = loss + _LABEL_WEIGHTS[column.name] * (losses * weight).sum() / weight.sum().clamp(min=1)
            correct = (scores.argmax(1) == truth) & present
            accuracy[column.name] = float(correct.sum()) / max(int(present.sum()), 1)
        return loss, accuracy


class VisionStage(nn.Module):
    """The tower with its two classifiers."""

    name = "vision"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower = model.model.vision_tower
        self.classifier = PatchClassifier(tuple(_LABEL_WEIGHTS))
        self.early_classifier = PatchClassifier(_EARLY_LABELS)
        self.tower.config._attn_implementation = _RECORDING_ATTENTION

    def forward(self, batch: PatchBatch) -> tuple[torch.Tensor, dict[str, float]]:
        pixels, patches, labels = batch
        embedded = self.tower.embeddings(normalize(pixels))
        chosen = embedded[:, 1:].gather(1, patches[:, :, None].expand(-1, -1, embedded.shape[2]))
        embedded = torch.cat([embedded[:, :1], chosen], 1)
        features = self.tower.pre_layrnorm(embedded)
        for number, layer in enumerate(self.tower.encoder.layers, 1):
            features = layer(features, attention_mask=None)
            if number == EARLY_LAYER:
                early_loss, _ = self.early_classifier(features[:, 1:], labels)
        loss, accuracy = self.classifier(features[:, 1:], labels)
        attention, shares = attention_loss(self.tower, labels)
        return loss + EARLY_WEIGHT * early_loss + _ATTENTION_WEIGHT * attention, accuracy | shares


def attention_loss(tower: Any, labels: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of the supervised heads, and the share of their attention that is on related patches."""
    owner, stroke, marked_by, target, nearest, _ = labels[:, :, -INSTANCE_COLUMNS:].unbind(2)
    other_patch = ~torch.eye(labels.shape[1], dtype=torch.bool, device=labels.device)
    related_patches = {
        "thing": _equal(owner, owner) & other_patch,
        "mark": _equal(stroke, stroke) & other_patch,
        "its mark": _equal(marked_by, stroke),
        "its thing": _equal(target, owner),
        "its neighbor": _equal(nearest, owner),
    }
    loss = torch.zeros((), device=labels.device)
    shares = {}
    for layer, heads in _SUPERVISED_HEADS.items():
        attention = tower.encoder.layers[layer].self_attn.shares[:, : len(heads), 1:, 1:].float()
        for head, relation in enumerate(heads):
            related = related_patches[relation]
            on_related = (attention[:, head] * related).sum(2)[related.any(2)]
            loss = loss - on_related.clamp(min=1e-4).log().mean()
            shares[f"to {relation}"] = float(on_related.detach().mean())
    return loss, shares


def _equal(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Picture × patch × patch: whether the first patch's number is set and equals the second patch's."""
    return (first[:, :, None] == second[:, None, :]) & (first > 0)[:, :, None]


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float,
    **_ignored: Any,
) -> tuple[torch.Tensor, None]:
    """Ordinary attention that keeps its shares on the module."""
    module.shares = softmax(query @ key.transpose(2, 3) * scaling)
    return (module.shares @ value).transpose(1, 2), None


def softmax(scores: torch.Tensor) -> torch.Tensor:
    """Attention shares in the precision of the scores; autocast would double their size."""
    with torch.autocast(scores.device.type, enabled=False):
        return scores.softmax(-1)


ALL_ATTENTION_FUNCTIONS.register(_RECORDING_ATTENTION, _attend)
