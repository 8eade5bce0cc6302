"""The first stage: the vision tower learns to say, of every patch, what is there and what is marked."""

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
from vipcli.training.drawing.scenes import Mixture, draw_scene
from vipcli.training.learning.model import GRID, SIZE, VISION_WIDTH
from vipcli.training.learning.patch_labels import WHO, labels, table

PADDING = (122, 116, 104)
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

# Crowded scenes with many marks: a patch that shows nothing teaches little.
CROWDED = Mixture(
    marks=(1, 2, 3, 4, 4, 4, 3, 2),
    things=(1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 3, 3),
    foreign=0.02,
    sizes=((160, 340, 80), (340, 640, 14), (128, 160, 3), (640, 1600, 3)),
)

_WEIGHTS = {
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
# What the middle of the tower already can know; binding takes the layers after it.
_EARLY = ("kind", "color", "texture", "column", "row", "mark", "mark color", "mark column", "mark row")
EARLY_LAYER = 3
_NAMES = [label.name for label in table(GRID)]
_KIND, _MARK = _NAMES.index("kind"), _NAMES.index("mark")
# Empty patches are many and easy.
_BACKGROUND = 0.15

# How many patches of a picture the tower is shown. Bare ground and padding are half of them and teach little,
# so most of those are left out; now and then all are there, as they will be in use.
_SHOWN = GRID * GRID // 2
_ALL_SHOWN = 0.06


# In the last layers some heads are shown what belongs together: a thing with itself, a mark with itself, a
# thing with its mark and its nearest neighbour, and a mark with its thing.
_TYING = {3: ("thing", "mark"), 4: ("its mark", "its mark", "its thing", "its thing", "its neighbor")}
_TIE = 0.5
_WATCHED = "watched"


class Batch(NamedTuple):
    """Pictures, and what is told of their patches."""

    pixels: torch.Tensor
    shown: torch.Tensor
    """The numbers of the patches that the tower is shown."""
    told: torch.Tensor
    """The labels of those."""


def view(image: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What the model sees of a picture, as bytes."""
    return model_view(image, "pad", SIZE, PADDING)


def normal(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes (batch, height, width, RGB) as the processor would hand them to the model."""
    mean, deviation = (torch.tensor(values, device=pixels.device) for values in (MEAN, DEVIATION))
    return ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)


class Drawer:
    """Makes a batch of pictures and their labels from a random.Random."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, rng: random.Random) -> Batch:
        drawn = [draw_scene(rng, CROWDED) for _ in range(self.size)]
        pixels = np.stack([view(one.marked) for one in drawn])
        told = np.stack([labels(one, GRID) for one in drawn])
        shown = _shown(told, rng)
        told = np.take_along_axis(told, shown[:, :, None], 1)
        return Batch(torch.from_numpy(pixels), torch.from_numpy(shown), torch.from_numpy(told))


def _shown(told: NDArray[np.uint8], rng: random.Random) -> NDArray[np.int64]:
    """For each picture, the patches to show: what holds something first, the rest by chance."""
    count = GRID * GRID if rng.random() < _ALL_SHOWN else _SHOWN
    holds = (told[:, :, _KIND] > 0) | (told[:, :, _MARK] > 0)
    chance = np.random.default_rng(rng.getrandbits(64)).random(holds.shape)
    return np.sort(np.argsort(chance - holds, axis=1)[:, :count], axis=1)


class Reader(nn.Module):
    """Reads all labels off a patch's features; it is thrown away once the tower has learned."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.columns = [(number, label) for number, label in enumerate(table(GRID)) if label.name in names]
        self.norm = nn.LayerNorm(VISION_WIDTH)
        self.linear = nn.Linear(VISION_WIDTH, sum(label.classes + 1 for _, label in self.columns))

    def forward(self, features: torch.Tensor, told: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """The weighted loss over all labels, and how often each is right where it is not 0."""
        scores = self.linear(self.norm(features)).float().flatten(0, 1)
        told = told.flatten(0, 1).long()
        loss = scores.new_zeros(())
        right = {}
        start = 0
        for number, label in self.columns:
            some = scores[:, start : start + label.classes + 1]
            start += label.classes + 1
            truth = told[:, number]
            present = truth > 0
            if label.name == "marked by":
                # Whether a thing is marked at all is a question too, but not for the bare ground.
                weight = (told[:, _KIND] > 0).float()
            else:
                weight = present + (_BACKGROUND * ~present if label.background else 0.0)
            each = F.cross_entropy(some, truth, reduction="none")
            loss = loss + _WEIGHTS[label.name] * (each * weight).sum() / weight.sum().clamp(min=1)
            hit = (some.argmax(1) == truth) & present
            right[label.name] = float(hit.sum()) / max(int(present.sum()), 1)
        return loss, right


class VisionStage(nn.Module):
    """The tower with its two readers."""

    name = "vision"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower = model.model.vision_tower
        self.reader = Reader(tuple(_WEIGHTS))
        self.early = Reader(_EARLY)
        self.tower.config._attn_implementation = _WATCHED

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        pixels, shown, told = batch
        embedded = self.tower.embeddings(normal(pixels))
        patches = embedded[:, 1:].gather(1, shown[:, :, None].expand(-1, -1, embedded.shape[2]))
        embedded = torch.cat([embedded[:, :1], patches], 1)
        features = self.tower.pre_layrnorm(embedded)
        for number, layer in enumerate(self.tower.encoder.layers, 1):
            features = layer(features, attention_mask=None)
            if number == EARLY_LAYER:
                early, _ = self.early(features[:, 1:], told)
        loss, right = self.reader(features[:, 1:], told)
        tying, tied = tie(self.tower, told)
        return loss + 0.4 * early + _TIE * tying, right | tied


def tie(tower: Any, told: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    """How little the tying heads look at what belongs to each patch, and the share that they do."""
    owner, stroke, marked_by, target, near, _ = told[:, :, -WHO:].unbind(2)
    other = ~torch.eye(told.shape[1], dtype=torch.bool, device=told.device)
    belonging = {
        "thing": _same(owner, owner) & other,
        "mark": _same(stroke, stroke) & other,
        "its mark": _same(marked_by, stroke),
        "its thing": _same(target, owner),
        "its neighbor": _same(near, owner),
    }
    loss = torch.zeros((), device=told.device)
    tied = {}
    for layer, heads in _TYING.items():
        shares = tower.encoder.layers[layer].self_attn.shares[:, : len(heads), 1:, 1:].float()
        for head, what in enumerate(heads):
            belongs = belonging[what]
            held = (shares[:, head] * belongs).sum(2)[belongs.any(2)]
            loss = loss - held.clamp(min=1e-4).log().mean()
            tied[f"to {what}"] = float(held.detach().mean())
    return loss, tied


def _same(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one[:, :, None] == other[:, None, :]) & (one > 0)[:, :, None]


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float,
    **_ignored: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as ever, that lets itself be watched."""
    module.shares = softmax(query @ key.transpose(2, 3) * scaling)
    return (module.shares @ value).transpose(1, 2), None


def softmax(scores: torch.Tensor) -> torch.Tensor:
    """Shares of attention, kept at the precision of the scores: autocast would double their size."""
    with torch.autocast(scores.device.type, enabled=False):
        return scores.softmax(-1)


ALL_ATTENTION_FUNCTIONS.register(_WATCHED, _attend)
