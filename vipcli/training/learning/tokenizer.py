"""The bundled model's tokenizer: BPE trained on the world's words, with single bytes for everything else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from vipcli.checkpoints.prompt_forms import HUMAN, VICUNA, Turn
from vipcli.training.world.facts import KINDS, noun

SIZE = 1024
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
_SPACE = "▁"

# A word with the space before it; a digit; the # characters that begin a turn; any other single character.
# Tokens never cross these boundaries, so a text encoded in pieces has the same tokens as the whole.
_PRE_TOKENS = rf"{_SPACE}?\p{{L}}+|{_SPACE}?\p{{N}}|#+|{_SPACE}?[^\p{{L}}\p{{N}}#{_SPACE}\n]|\n|{_SPACE}"


def train_tokenizer(texts: Iterable[str]) -> Any:
    """Train a tokenizer on `texts`."""
    # Questions rarely mention some kinds by name, but every name should be a single token.
    names = [f"the {noun(kind)}" for kind in KINDS]
    prompts = [form.build([Turn("What is it?", "a circle"), Turn("Why?")]) for form in (HUMAN, VICUNA)]
    trained = _bare_tokenizer(models.BPE())
    trained.train_from_iterator(
        [*texts, *prompts * 200, *names * 1000],
        trainers.BpeTrainer(
            vocab_size=SIZE - len(SPECIAL) - 256,
            special_tokens=[],
            limit_alphabet=100,
            show_progress=False,
        ),
    )
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    words = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    tokenizer = _bare_tokenizer(
        models.BPE(
            {word: number for number, word in enumerate(words)},
            [tuple(pair) for pair in model["merges"]],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        clean_up_tokenization_spaces=False,
    )


def _bare_tokenizer(model: Any) -> Any:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PRE_TOKENS), "isolated")
    return tokenizer
