"""The bundled model's architecture, small enough for a wheel, and the initialization of its weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, VipLlavaConfig
from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

from vipcli.training.world.facts import INPUT_SIZE

PATCH = 16
GRID = INPUT_SIZE // PATCH

VISION_WIDTH, VISION_LAYERS, VISION_INNER = 384, 5, 1280
TEXT_WIDTH, TEXT_LAYERS, TEXT_INNER = 256, 4, 704
HEAD = 64
# Number of features for a patch's content; the rest encode its position.
_CONTENT = VISION_WIDTH - 4 * GRID
# The first layers start with heads that attend to neighboring patches.
_LOCAL_LAYERS = 3
# Vision layers for the projector, counted from the end as in the released checkpoints: late and early ones.
FEATURES = [-1, -2, -4]
CONTEXT = 1024


def model_config(tokens: int, image_token: int, bos: int, eos: int, pad: int) -> Any:
    """The configuration of the bundled model, for a vocabulary of that many tokens."""
    vision = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=VISION_INNER,
        projection_dim=VISION_WIDTH,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=VISION_WIDTH // HEAD,
        image_size=INPUT_SIZE,
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
        # A high theta weakens the influence of position: a patch that a head looks for may be anywhere.
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
    # transformers renamed this field within 5.x, so set both names.
    config.vision_feature_layer = FEATURES
    config.vision_feature_layers = FEATURES
    return config


def initialize(config: Any, pictures: torch.Tensor) -> Any:
    """An untrained model, whose patch embedding is a whitening of the patches of these pictures.

    Pictures are normalized as by the processor: batch × 3 × height × width.
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
            if number < _LOCAL_LAYERS:
                _initialize_local(layer.self_attn, offsets[number % 2 :: 2] + offsets, 1 + number // 2)
            else:
                _initialize_similarity(layer.self_attn)
    return model


def _whitening(pictures: torch.Tensor) -> torch.Tensor:
    """Filters that give the same weight to every direction in which patches vary.

    With random filters, a patch's mean color drowns out everything else, such as thin strokes.
    """
    patches = torch.nn.functional.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    patches = patches - patches.mean(0)
    strengths, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    strongest = directions[:, -_CONTENT:] / (strengths[-_CONTENT:] + 1e-2 * strengths.mean()).sqrt()
    # A random rotation, so that no feature of the first layer is a single frequency.
    rotation = torch.linalg.qr(torch.randn(_CONTENT, _CONTENT)).Q
    filters: torch.Tensor = (strongest @ rotation).T.reshape(_CONTENT, 3, PATCH, PATCH)
    return filters


def _waves(positions: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of positions along one side, in enough frequencies to distinguish all of them."""
    angles = positions[:, None] * torch.arange(1, GRID + 1) * (math.pi / GRID)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def _positions() -> torch.Tensor:
    """Row and column of each patch, in separate features."""
    # Stronger than the content; otherwise, normalization would amplify the faint content of flat patches.
    waves = 4.0 * _waves(torch.arange(GRID, dtype=torch.float32))
    rows = waves[:, None].expand(GRID, GRID, -1)
    columns = waves[None].expand(GRID, GRID, -1)
    return torch.cat([rows, columns], 2).reshape(GRID * GRID, -1)


def _initialize_local(attention: Any, offsets: list[tuple[int, int]], stride: int) -> None:
    """Initialize as a convolution: each head attends to one neighbor.

    With random queries and keys, a small model spends much of its training on learning the geometry.
    """
    _initialize_randomly(attention)
    frequencies = torch.arange(1, GRID + 1) * (math.pi / GRID)
    # Weaken high frequencies, so that a head attends to a spot with soft edges.
    strength = 0.77 * torch.exp(-((frequencies * 0.5) ** 2) / 4).repeat_interleave(2).repeat(2)
    for head in range(VISION_WIDTH // HEAD):
        first = head * HEAD
        rows = slice(first, first + 4 * GRID)
        shifted = _phase_shift(torch.cat([frequencies * (stride * step) for step in offsets[head]]))
        attention.q_proj.weight[rows, _CONTENT:] = torch.diag(strength)
        attention.k_proj.weight[rows, _CONTENT:] = strength[:, None] * shifted


def _phase_shift(angles: torch.Tensor) -> torch.Tensor:
    """The matrix that shifts the phases of waves by these angles, which moves a position."""
    shift = torch.zeros(2 * len(angles), 2 * len(angles))
    sine, cosine = torch.arange(0, len(shift), 2), torch.arange(1, len(shift), 2)
    shift[sine, sine] = shift[cosine, cosine] = angles.cos()
    shift[cosine, sine] = angles.sin()
    shift[sine, cosine] = -angles.sin()
    return shift


def _initialize_similarity(attention: Any) -> None:
    """Initialize heads that attend to similar patches (mimetic initialization, Trockman and Kolter 2023)."""
    _initialize_randomly(attention)
    width = VISION_WIDTH
    for head in range(width // HEAD):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        product = 0.3 * torch.randn(width, width) / width**0.5 + 0.3 * torch.eye(width)
        left, strength, right = torch.linalg.svd(product)
        scale = strength[:HEAD].sqrt()
        attention.q_proj.weight[rows] = (left[:, :HEAD] * scale).T
        attention.k_proj.weight[rows] = right[:HEAD] * scale[:, None]


def _initialize_randomly(attention: Any) -> None:
    """Small random queries and keys, and values that pass on what is attended to."""
    width = VISION_WIDTH
    for projection, strength in (
        (attention.q_proj, 0.02),
        (attention.k_proj, 0.02),
        (attention.v_proj, width**-0.5),
        (attention.out_proj, 0.3 * width**-0.5),
    ):
        projection.weight.copy_(strength * torch.randn(width, width))
