"""The bundled model's shape: a VipLlava small enough for a wheel, and how its weights begin."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, VipLlavaConfig
from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

from vipcli.training.world import INPUT

SIZE, PATCH = INPUT, 16
GRID = SIZE // PATCH

VISION_WIDTH, VISION_LAYERS, VISION_INNER = 384, 5, 1280
TEXT_WIDTH, TEXT_LAYERS, TEXT_INNER = 256, 4, 704
HEAD = 64
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
        embeddings.position_embedding.weight[1:] = 0.5 * _positions(GRID, VISION_WIDTH)
        embeddings.position_embedding.weight[0] = 0
        embeddings.patch_embedding.weight.copy_(_whitening(pictures))
        for layer in tower.encoder.layers:
            _look_near(layer.self_attn)
    return model


def _whitening(pictures: torch.Tensor) -> torch.Tensor:
    """Filters that give every direction in which patches vary the same say.

    Left to chance, a patch's mean colour drowns all else, and a thin stroke or the bend of a letter must
    first be dug out from under it.
    """
    patches = torch.nn.functional.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    patches = patches - patches.mean(0)
    strengths, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    strongest = directions[:, -VISION_WIDTH:] / (strengths[-VISION_WIDTH:] + 1e-2 * strengths.mean()).sqrt()
    # Mixed, so that no feature of the first layer is a single frequency.
    turn = torch.linalg.qr(torch.randn(VISION_WIDTH, VISION_WIDTH)).Q
    filters: torch.Tensor = (strongest @ turn).T.reshape(VISION_WIDTH, 3, PATCH, PATCH)
    return filters


def _positions(grid: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column, as many frequencies as fit."""
    frequencies = torch.exp(torch.linspace(math.log(math.pi / grid), math.log(math.pi), width // 4))
    angles = torch.arange(grid)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    rows = waves[:, None].expand(grid, grid, -1)
    columns = waves[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], 2).reshape(grid * grid, width)


def _look_near(attention: Any) -> None:
    """Begin with heads that compare like with like, so that near positions attend to each other.

    Random queries and keys would have to find the picture's geometry first, which costs a small model
    much of its training (Trockman and Kolter 2023).
    """
    width = VISION_WIDTH
    for head in range(width // HEAD):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        wish = 0.7 * torch.randn(width, width) / width**0.5 + 0.7 * torch.eye(width)
        left, strength, right = torch.linalg.svd(wish)
        scale = strength[:HEAD].sqrt()
        attention.q_proj.weight[rows] = (left[:, :HEAD] * scale).T
        attention.k_proj.weight[rows] = right[:HEAD] * scale[:, None]
    attention.v_proj.weight.copy_(torch.randn(width, width) * width**-0.5)
    attention.out_proj.weight.copy_(0.3 * torch.randn(width, width) * width**-0.5)
