"""Save the trained model as an ordinary checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.utils import logging

from vipcli.training.learning.model import PATCH
from vipcli.training.world.facts import INPUT_SIZE

# The published chat template, without a default system line.
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'][0]['text'] }}"
    "{% else %}###{{ 'Human' if message['role'] == 'user' else 'Assistant' }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}###Assistant:{% endif %}"
)


def save_checkpoint(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write 16-bit weights, tokenizer, processor and generation config."""
    logging.disable_progress_bar()
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    # In every prompt form, an answer ends where the next turn would begin.
    turn = tokenizer.convert_tokens_to_ids("###")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, turn]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    float16_weights = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    original_dtype = model.config.dtype
    model.config.dtype = torch.float16
    model.save_pretrained(folder, state_dict=float16_weights)
    model.config.dtype = original_dtype
    images = CLIPImageProcessorPil(
        size={"shortest_edge": INPUT_SIZE}, crop_size={"height": INPUT_SIZE, "width": INPUT_SIZE}
    )
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE,
    ).save_pretrained(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
