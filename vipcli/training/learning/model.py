"""The bundled model's shape: a VipLlava small enough for a wheel, and how its weights begin."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, VipLlavaConfig
from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

from vipcli.training.world.facts import INPUT

SIZE, PATCH = INPUT, 16
GRID = SIZE // PATCH

VISION_WIDTH, VISION_LAYERS, VISION_INNER = 384, 5, 1280
TEXT_WIDTH, TEXT_LAYERS, TEXT_INNER = 256, 4, 704
HEAD = 64
# The features that show what a patch holds; the rest say where it is.
_CONTENT = VISION_WIDTH - 4 * GRID
_LOOKING_NEAR = 3
# Counted from the end, as the released checkpoints do: what is near the answer, and what is near the pixels.
FEATURES = [-1, -2, -4]
CONTEXT = 1024


def configuration(tokens: int, image_token: int, bos: int, eos: int, pad: int) -> Any:
    """The configuration of the bundled model, for a vocabulary of that many tokens."""
    vision = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=VISION_INNER,
        projection_dim=VISION_WIDTH,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=VISION_WIDTH // HEAD,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        hidden_size=TEXT_WIDTH,
        intermediate_size=TEXT_INNER,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_WIDTH // HEAD,
        num_key_value_heads=TEXT_WIDTH // HEAD,
        vocab_size=tokens,
        max_position_embeddings=CONTEXT,
        # Slow turns: what a head looks for in the picture has no place that it would be found at.
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
        tie_word_embeddings=True,
    )
    config = VipLlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token,
        image_seq_length=GRID * GRID,
        tie_word_embeddings=True,
    )
    # Both names, since transformers renamed it within 5.x.
    config.vision_feature_layer = FEATURES
    config.vision_feature_layers = FEATURES
    return config


def fresh(config: Any, pictures: torch.Tensor) -> Any:
    """A model that has learned nothing yet, but begins with eyes for what varies in these pictures.

    Pictures are as the processor hands them over: batch × 3 × height × width.
    """
    model = VipLlavaForConditionalGeneration(config)
    tower = model.model.vision_tower
    with torch.no_grad():
        embeddings = tower.embeddings
        embeddings.class_embedding.zero_()
        embeddings.position_embedding.weight.zero_()
        embeddings.position_embedding.weight[1:, _CONTENT:] = _positions()
        embeddings.patch_embedding.weight.zero_()
        embeddings.patch_embedding.weight[:_CONTENT] = _whitening(pictures)
        offsets = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
        for number, layer in enumerate(tower.encoder.layers):
            if number < _LOOKING_NEAR:
                _look_near(layer.self_attn, offsets[number % 2 :: 2] + offsets, 1 + number // 2)
            else:
                _look_alike(layer.self_attn)
    return model


def _whitening(pictures: torch.Tensor) -> torch.Tensor:
    """Filters that give every direction in which patches vary the same say.

    Left to chance, a patch's mean colour drowns all else, and a thin stroke or the bend of a letter must
    first be dug out from under it.
    """
    patches = torch.nn.functional.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    patches = patches - patches.mean(0)
    strengths, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    strongest = directions[:, -_CONTENT:] / (strengths[-_CONTENT:] + 1e-2 * strengths.mean()).sqrt()
    # Mixed, so that no feature of the first layer is a single frequency.
    turn = torch.linalg.qr(torch.randn(_CONTENT, _CONTENT)).Q
    filters: torch.Tensor = (strongest @ turn).T.reshape(_CONTENT, 3, PATCH, PATCH)
    return filters


def _waves(places: torch.Tensor) -> torch.Tensor:
    """Sine and cosine of places along one side, for as many frequencies as tell all of them apart."""
    angles = places[:, None] * torch.arange(1, GRID + 1) * (math.pi / GRID)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def _positions() -> torch.Tensor:
    """Row and column of each patch, in features of their own."""
    # Stronger than what a patch shows, or flat patches, which show little, would outshout all others.
    waves = 4.0 * _waves(torch.arange(GRID, dtype=torch.float32))
    rows = waves[:, None].expand(GRID, GRID, -1)
    columns = waves[None].expand(GRID, GRID, -1)
    return torch.cat([rows, columns], 2).reshape(GRID * GRID, -1)


def _look_near(attention: Any, offsets: list[tuple[int, int]], stride: int) -> None:
    """Begin as a convolution does: each head looks at one neighbour.

    Random queries and keys would have to find the picture's geometry first, which costs a small model
    much of its training.
    """
    _plainly(attention)
    frequencies = torch.arange(1, GRID + 1) * (math.pi / GRID)
    # High frequencies fade, so that a head looks at a spot with soft edges.
    strength = 0.77 * torch.exp(-((frequencies * 0.5) ** 2) / 4).repeat_interleave(2).repeat(2)
    for head in range(VISION_WIDTH // HEAD):
        first = head * HEAD
        rows = slice(first, first + 4 * GRID)
        turned = _turn(torch.cat([frequencies * (stride * step) for step in offsets[head]]))
        attention.q_proj.weight[rows, _CONTENT:] = torch.diag(strength)
        attention.k_proj.weight[rows, _CONTENT:] = strength[:, None] * turned


def _turn(angles: torch.Tensor) -> torch.Tensor:
    """The matrix that moves waves by these angles: what a place looks like from so many steps before it."""
    turn = torch.zeros(2 * len(angles), 2 * len(angles))
    sine, cosine = torch.arange(0, len(turn), 2), torch.arange(1, len(turn), 2)
    turn[sine, sine] = turn[cosine, cosine] = angles.cos()
    turn[cosine, sine] = angles.sin()
    turn[sine, cosine] = -angles.sin()
    return turn


def _look_alike(attention: Any) -> None:
    """Begin with heads that compare like with like (Trockman and Kolter 2023)."""
    _plainly(attention)
    width = VISION_WIDTH
    for head in range(width // HEAD):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        wish = 0.3 * torch.randn(width, width) / width**0.5 + 0.3 * torch.eye(width)
        left, strength, right = torch.linalg.svd(wish)
        scale = strength[:HEAD].sqrt()
        attention.q_proj.weight[rows] = (left[:, :HEAD] * scale).T
        attention.k_proj.weight[rows] = right[:HEAD] * scale[:, None]


def _plainly(attention: Any) -> None:
    """Small random queries and keys, and values that pass on what was looked at."""
    width = VISION_WIDTH
    for projection, strength in (
        (attention.q_proj, 0.02),
        (attention.k_proj, 0.02),
        (attention.v_proj, width**-0.5),
        (attention.out_proj, 0.3 * width**-0.5),
    ):
        projection.weight.copy_(strength * torch.randn(width, width))
