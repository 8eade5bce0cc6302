"""What is known of the checkpoints by name: pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vipcli.geometry import Fit

BUNDLED = "bundled"
"""The checkpoint that comes with vipcli."""
CANNOT_TELL = "I can't tell."
"""What it answers about pictures that it was not made for."""

GIB = 1024**3
PRECISIONS = (16, 8, 4)
"""Bits a weight, as checkpoints are run."""


@dataclass(frozen=True, slots=True)
class Family:
    """Checkpoints that share a transformers class, a prompt form and what they take."""

    name: str
    model_type: str
    module: str
    class_name: str
    form: str
    input_size: int = 336
    fit: Fit = "pad"
    """How it was shown pictures of other shapes than a square."""
    multiple_images: bool = False
    """Whether it was trained on several pictures in one question."""
    video: bool = False
    conversation: int = 2048
    """Tokens to have room for: a question with its pictures, and a long answer."""
    limits: str = ""
    """What it was not made for, in a sentence."""


VIPLLAVA = Family(
    name="ViP-LLaVA",
    model_type="vipllava",
    module="transformers.models.vipllava.modeling_vipllava",
    class_name="VipLlavaForConditionalGeneration",
    form="human",
    limits="Trained on one picture a question, with marks drawn on it.",
)
LLAVA = Family(
    name="LLaVA-1.5",
    model_type="llava",
    module="transformers.models.llava.modeling_llava",
    class_name="LlavaForConditionalGeneration",
    form="llava",
    limits="Trained on one picture a question, and not on marks.",
)
INTERLEAVE = Family(
    name="llava-interleave",
    model_type="llava",
    module=LLAVA.module,
    class_name=LLAVA.class_name,
    form="template",
    input_size=384,
    fit="stretch",
    multiple_images=True,
    limits="Trained on several pictures a question, and not on marks.",
)
ONEVISION = Family(
    name="LLaVA-OneVision",
    model_type="llava_onevision",
    module="transformers.models.llava_onevision.modeling_llava_onevision",
    class_name="LlavaOnevisionForConditionalGeneration",
    form="template",
    input_size=384,
    multiple_images=True,
    video=True,
    # A large picture's tiles alone take 7,300.
    conversation=8192,
    limits="Trained on single pictures, several pictures and video, and not on marks.",
)
FAMILIES = (VIPLLAVA, LLAVA, INTERLEAVE, ONEVISION)


def family_of(config: dict[str, Any]) -> Family | None:
    """The family that a checkpoint's configuration tells of; None where none fits."""
    kind = config.get("model_type")
    text = config.get("text_config")
    # Both are published under one type; what sets them apart is the language model.
    if kind == LLAVA.model_type and isinstance(text, dict) and str(text.get("model_type")).startswith("qwen"):
        return INTERLEAVE
    return next((family for family in FAMILIES if family.model_type == kind), None)


@dataclass(frozen=True, slots=True)
class TextShape:
    """The size of a language model."""

    kind: str
    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    context: int
    tied: bool = False
    """Whether the words that are read and those that are written share their weights."""

    @property
    def key_width(self) -> int:
        return self.width // self.heads * self.key_heads

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.width

    @property
    def matrices(self) -> int:
        """The weights that quantizing makes smaller."""
        attention = 2 * self.width * (self.width + self.key_width)
        return self.layers * (attention + 3 * self.width * self.inner)

    @property
    def parameters(self) -> int:
        biases = self.width + 2 * self.key_width if self.kind == "qwen2" else 0
        small = self.layers * (2 * self.width + biases) + self.width
        return self.embedding * (1 if self.tied else 2) + self.matrices + small


@dataclass(frozen=True, slots=True)
class VisionShape:
    """The size of a vision tower."""

    kind: str
    width: int
    inner: int
    layers: int
    heads: int
    image: int
    patch: int = 14

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def parameters(self) -> int:
        each = 4 * self.width * (self.width + 1) + 2 * self.width * self.inner + self.inner + self.width
        norms = 4 * self.width
        pixels = 3 * self.patch**2 * self.width
        total = self.layers * (each + norms) + pixels + self.patches * self.width
        if self.kind == "siglip_vision_model":
            # A bias of the pixels, and one norm at the end.
            return total + 3 * self.width
        # A token for the whole picture with a place of its own, and a norm at either end.
        return total + 6 * self.width


CLIP = VisionShape("clip_vision_model", 1024, 4096, 24, 16, 336)
SIGLIP = VisionShape("siglip_vision_model", 1152, 4304, 26, 16, 384)
_VICUNA_7B = TextShape("llama", 32_064, 4096, 11_008, 32, 32, 32, 4096)
_VICUNA_13B = TextShape("llama", 32_064, 5120, 13_824, 40, 40, 40, 4096)

_FEATURES = {VIPLLAVA: 5}
"""From how many of the tower's layers features are taken, where it is more than one."""


@dataclass(frozen=True, slots=True)
class KnownCheckpoint:
    """A published checkpoint."""

    short_name: str
    hub_name: str
    family: Family
    text: TextShape
    vision: VisionShape
    licence: str
    single: bool = False
    """Whether it was trained on single pictures alone, before the rest of what its family was trained on."""

    @property
    def limits(self) -> str:
        """What it was not made for, in a sentence."""
        alone = "Trained on single pictures in fine tiles, and not on marks."
        return alone if self.single else self.family.limits

    @property
    def projector(self) -> int:
        """The parameters between the tower and the language model."""
        seen, width = self.vision.width * _FEATURES.get(self.family, 1), self.text.width
        extra = 2 * seen if self.family is VIPLLAVA else width if self.family is ONEVISION else 0
        return seen * width + width + width * (width + 1) + extra

    @property
    def parameters(self) -> int:
        return self.text.parameters + self.vision.parameters + self.projector

    @property
    def download(self) -> int:
        """Bytes to fetch: published weights have 16 bits."""
        return 2 * self.parameters

    def weights(self, bits: int) -> int:
        """Bytes of its weights with the language model's matrices at so many bits, the rest at 16."""
        return round(2 * (self.parameters - self.text.matrices) + self.text.matrices * BYTES[bits])

    def memory(self, bits: int, tokens: int | None = None) -> int:
        """Bytes that answering takes, with a conversation of so many tokens."""
        tokens = self.family.conversation if tokens is None else tokens
        kept = 2 * self.text.layers * self.text.key_width * 2 * tokens
        return self.weights(bits) + kept + WORKING


# Of each weight; a block of 64 in 4 bits keeps a scale, itself in 8 bits.
BYTES = {32: 4.0, 16: 2.0, 8: 1.0, 4: 0.516}
WORKING = GIB // 2
"""What answering takes besides: a picture on its way through the tower, the scores of all words."""


def _known() -> tuple[KnownCheckpoint, ...]:
    llama, qwen, apache = "Llama 2 Community License", "Tongyi Qianwen Research License", "Apache-2.0"
    small = TextShape("qwen2", 152_000, 896, 4864, 24, 14, 2, 32_768, tied=True)
    middle = TextShape("qwen2", 152_128, 3584, 18_944, 28, 28, 4, 32_768)
    large = TextShape("qwen2", 152_128, 8192, 29_568, 80, 64, 8, 32_768)
    sizes = {"0.5b": small, "7b": middle, "72b": large}
    return (
        KnownCheckpoint("vip-llava-7b", "llava-hf/vip-llava-7b-hf", VIPLLAVA, _VICUNA_7B, CLIP, llama),
        KnownCheckpoint("vip-llava-13b", "llava-hf/vip-llava-13b-hf", VIPLLAVA, _VICUNA_13B, CLIP, llama),
        KnownCheckpoint("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf", LLAVA, _VICUNA_7B, CLIP, llama),
        KnownCheckpoint("llava-1.5-13b", "llava-hf/llava-1.5-13b-hf", LLAVA, _VICUNA_13B, CLIP, llama),
        KnownCheckpoint(
            "llava-interleave-0.5b",
            "llava-hf/llava-interleave-qwen-0.5b-hf",
            INTERLEAVE,
            TextShape("qwen2", 152_000, 1024, 2816, 24, 16, 16, 32_768, tied=True),
            SIGLIP,
            qwen,
        ),
        KnownCheckpoint(
            "llava-interleave-7b",
            "llava-hf/llava-interleave-qwen-7b-hf",
            INTERLEAVE,
            TextShape("qwen2", 152_000, 4096, 11_008, 32, 32, 32, 32_768),
            SIGLIP,
            qwen,
        ),
        *(
            KnownCheckpoint(
                f"llava-onevision-{size}-{stage}",
                f"llava-hf/llava-onevision-qwen2-{size}-{stage}-hf",
                ONEVISION,
                text,
                SIGLIP,
                apache,
                single=stage == "si",
            )
            for size, text in sizes.items()
            for stage in ("si", "ov")
        ),
    )


KNOWN = {known.short_name: known for known in _known()}
"""The published checkpoints by their short names."""
BY_HUB_NAME = {known.hub_name: known for known in KNOWN.values()}


def smallest(family: Family | None = None) -> KnownCheckpoint:
    """Return the published checkpoint that takes the least to download, of one family or of all."""
    candidates = [known for known in KNOWN.values() if family in (None, known.family)]
    return min(candidates, key=lambda known: known.download)


def model_config(known: KnownCheckpoint) -> dict[str, Any]:
    """What transformers' configuration of that shape is made from."""
    text, vision = known.text, known.vision
    siglip = vision.kind == SIGLIP.kind
    parts: dict[str, Any] = {
        "text_config": {
            "model_type": text.kind,
            "vocab_size": text.vocabulary,
            "hidden_size": text.width,
            "intermediate_size": text.inner,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.key_heads,
            "max_position_embeddings": text.context,
            "tie_word_embeddings": text.tied,
        },
        "vision_config": {
            "model_type": vision.kind,
            "hidden_size": vision.width,
            "intermediate_size": vision.inner,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "image_size": vision.image,
            "patch_size": vision.patch,
            **({"vision_use_head": False} if siglip else {}),
        },
        "tie_word_embeddings": text.tied,
    }
    if known.family is INTERLEAVE:
        parts |= {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}
    return parts
