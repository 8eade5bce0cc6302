"""The trained model as an ordinary checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.utils import logging

from vipcli.training.learning.model import PATCH, SIZE

# The published form, with no system line of its own.
_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'][0]['text'] }}"
    "{% else %}###{{ 'Human' if message['role'] == 'user' else 'Assistant' }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}###Assistant:{% endif %}"
)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights of 16 bits, tokenizer, processor and generation config."""
    logging.disable_progress_bar()
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    # Whatever the prompt's form, an answer is over where a next turn would begin.
    turn = tokenizer.convert_tokens_to_ids("###")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, turn]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    halves = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    kept = model.config.dtype
    model.config.dtype = torch.float16
    model.save_pretrained(folder, state_dict=halves)
    model.config.dtype = kept
    images = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE,
    ).save_pretrained(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder that `save` wrote."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
