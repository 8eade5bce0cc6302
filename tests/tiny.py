"""Small checkpoints of the real classes with random weights, made for the tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Writes the same text as the published one: a space after each part, and no </s> after an answer.
LLAVA_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'] | upper }}: {% endif %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}"
    "{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)

QWEN_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'video' %}<video>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ '\n' + part['text'] }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

HUMAN_SYSTEM = "A chat between a curious human and an artificial intelligence assistant."
CORPUS = [
    HUMAN_SYSTEM,
    "###Human: What is within the red rectangle?###Assistant: A small dog on a green chair.",
    "USER: What is pointed to by the blue arrow? ASSISTANT: The left wheel of a car.",
    "Is the person within the yellow ellipse taller than the person at the lime point? Yes.",
] * 4


def make_vipllava(folder: Path, *, size: int = 28, hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Save a ViP-LLaVA with its own tokenizer in `folder`; by default it has a few thousand weights."""
    from transformers import VipLlavaConfig
    from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

    tokenizer = _tokenizer()
    config = VipLlavaConfig(**_parts(tokenizer, size, hidden, layers))
    # Every version reads this name from a file, while each constructor takes only its own.
    config.vision_feature_layers = [-2, -3, 1]
    return _save(VipLlavaForConditionalGeneration, config, tokenizer, folder, size, seed)


def make_endless(folder: Path, *, size: int = 28, hidden: int = 256, layers: int = 4) -> Path:
    """Save a ViP-LLaVA that writes "arrow" or "chair" and never ends its answer."""
    import torch
    from transformers import AutoTokenizer
    from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

    make_vipllava(folder, size=size, hidden=hidden, layers=layers)
    model = VipLlavaForConditionalGeneration.from_pretrained(folder)
    arrow, chair = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(["Ġarrow", "Ġchair"])
    with torch.no_grad():
        weight = model.lm_head.weight
        direction = weight[arrow].clone()
        weight.zero_()
        # One of these two scores is always above zero, and all others are zero.
        weight[arrow], weight[chair] = direction, -direction
    model.save_pretrained(folder)
    return folder


def make_llava(folder: Path, *, size: int = 28, hidden: int = 32, seed: int = 1) -> Path:
    """Save a LLaVA-1.5 of a few thousand weights, with its chat template, in `folder`."""
    from transformers import LlavaConfig
    from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration

    tokenizer = _tokenizer()
    config = LlavaConfig(**_parts(tokenizer, size, hidden, layers=2), vision_feature_layer=-2)
    return _save(
        LlavaForConditionalGeneration, config, tokenizer, folder, size, seed, template=LLAVA_TEMPLATE
    )


def make_interleave(folder: Path, *, size: int = 28, hidden: int = 32, seed: int = 2) -> Path:
    """Save a llava-interleave of a few thousand weights: SigLIP, Qwen2 and a chat template."""
    from transformers import LlavaConfig
    from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
    from transformers.models.llava.processing_llava import LlavaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = _qwen_tokenizer()
    config = LlavaConfig(
        **_qwen_parts(tokenizer, size, hidden),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    processor = LlavaProcessor(
        SiglipImageProcessorPil(**_siglip_pictures(size)),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="full",
        chat_template=QWEN_TEMPLATE,
    )
    return _save_model(LlavaForConditionalGeneration, config, tokenizer, processor, folder, seed)


def make_onevision(folder: Path, *, size: int = 28, hidden: int = 32, seed: int = 3) -> Path:
    """Save a LLaVA-OneVision of a few thousand weights, with tiles of up to three by three squares."""
    from transformers import LlavaOnevisionConfig
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        LlavaOnevisionForConditionalGeneration,
    )

    tokenizer = _qwen_tokenizer()
    grid = [[size * rows, size * columns] for rows in (1, 2, 3, 4) for columns in (1, 2, 3, 4)]
    config = LlavaOnevisionConfig(
        **_qwen_parts(tokenizer, size, hidden),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    pictures = LlavaOnevisionImageProcessorPil(**_siglip_pictures(size), image_grid_pinpoints=grid)
    # Published checkpoints have these files too, but the whole processor needs torchvision.
    pictures.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    return _save_model(LlavaOnevisionForConditionalGeneration, config, tokenizer, tokenizer, folder, seed)


def _siglip_pictures(size: int) -> dict[str, Any]:
    middle = [0.5, 0.5, 0.5]
    return {"size": {"height": size, "width": size}, "image_mean": middle, "image_std": middle}


def _qwen_parts(tokenizer: Any, size: int, hidden: int) -> dict[str, Any]:
    from transformers import Qwen2Config, SiglipVisionConfig

    vision = SiglipVisionConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=size,
        patch_size=14,
        vision_use_head=False,
    )
    text = Qwen2Config(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return {"vision_config": vision, "text_config": text}


def _parts(tokenizer: Any, size: int, hidden: int, layers: int) -> dict[str, Any]:
    from transformers import CLIPVisionConfig, LlamaConfig

    vision = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        projection_dim=hidden,
        num_hidden_layers=layers + 2,
        num_attention_heads=4,
        image_size=size,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return {
        "vision_config": vision,
        "text_config": text,
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "image_seq_length": (size // 14) ** 2,
    }


def _save(
    model_class: Any,
    config: Any,
    tokenizer: Any,
    folder: Path,
    size: int,
    seed: int,
    template: str | None = None,
) -> Path:
    return _save_model(model_class, config, tokenizer, _processor(tokenizer, size, template), folder, seed)


def _save_model(
    model_class: Any, config: Any, tokenizer: Any, processor: Any, folder: Path, seed: int
) -> Path:
    import torch
    from transformers.utils import logging as transformers_logging

    torch.manual_seed(seed)
    model = model_class(config)
    # Larger weights than usual, so that greedy decoding does not repeat one token.
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _qwen_tokenizer() -> Any:
    """A tokenizer like Qwen's: it adds no token before a text, and one token ends each turn."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_train_tokenizer(
            ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
        ),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={"image_token": "<image>", "video_token": "<video>"},
    )


def _tokenizer() -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    raw = _train_tokenizer(["<unk>", "<s>", "</s>", "<pad>", "<image>"])
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )


def _train_tokenizer(special: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE(byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    return raw


def _processor(tokenizer: Any, size: int, template: str | None) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.processing_llava import LlavaProcessor

    images = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


if __name__ == "__main__":
    print(make_vipllava(Path(sys.argv[1])))
