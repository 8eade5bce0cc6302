"""The model families and published checkpoints that vipcli knows. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vipcli.geometry import Fit

BUNDLED = "bundled"
"""The name of the checkpoint that comes with vipcli."""
CANNOT_TELL = "I can't tell."
"""What the bundled model answers about pictures of a kind that it was not trained on."""

GIB = 1024**3
PRECISIONS = (16, 8, 4)
"""Bits per weight that a checkpoint can run at."""


@dataclass(frozen=True, slots=True)
class Family:
    """Checkpoints that share a transformers class, a prompt form, and the inputs they take."""

    name: str
    model_type: str
    module: str
    class_name: str
    form: str
    """The name of the default prompt form."""
    input_size: int = 336
    fit: Fit = "pad"
    """How pictures that are not square were fitted in training."""
    multiple_images: bool = False
    """Whether it was trained on several pictures in one question."""
    video: bool = False
    planned_tokens: int = 2048
    """Tokens to reserve memory for: enough for a question with its pictures, and a long answer."""
    limits: str = ""
    """What it was and was not trained on, in one sentence."""


VIPLLAVA = Family(
    name="ViP-LLaVA",
    model_type="vipllava",
    module="transformers.models.vipllava.modeling_vipllava",
    class_name="VipLlavaForConditionalGeneration",
    form="human",
    limits="Trained on one picture per question, with marks drawn on it.",
)
LLAVA = Family(
    name="LLaVA-1.5",
    model_type="llava",
    module="transformers.models.llava.modeling_llava",
    class_name="LlavaForConditionalGeneration",
    form="llava",
    limits="Trained on one picture per question, and not on marks.",
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
    limits="Trained on several pictures per question, and not on marks.",
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
    # The tiles of a large picture take 7,300 tokens.
    planned_tokens=8192,
    limits="Trained on single pictures, several pictures and video, and not on marks.",
)
FAMILIES = (VIPLLAVA, LLAVA, INTERLEAVE, ONEVISION)


def family_of(config: dict[str, Any]) -> Family | None:
    """Return the family that a checkpoint's configuration belongs to, or None."""
    kind = config.get("model_type")
    text = config.get("text_config")
    # LLaVA-1.5 and llava-interleave have the same type, but different language models.
    if kind == LLAVA.model_type and isinstance(text, dict) and str(text.get("model_type")).startswith("qwen"):
        return INTERLEAVE
    return next((family for family in FAMILIES if family.model_type == kind), None)


@dataclass(frozen=True, slots=True)
class TextShape:
    """The dimensions of a language model."""

    model_type: str
    vocabulary: int
    width: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    context: int
    tied: bool = False
    """Whether the input and the output embeddings share their weights."""

    @property
    def key_value_width(self) -> int:
        return self.width // self.heads * self.key_value_heads

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.width

    @property
    def matrices(self) -> int:
        """The number of weights that quantization makes smaller."""
        attention = 2 * self.width * (self.width + self.key_value_width)
        return self.layers * (attention + 3 * self.width * self.intermediate)

    @property
    def parameters(self) -> int:
        biases = self.width + 2 * self.key_value_width if self.model_type == "qwen2" else 0
        norms_and_biases = self.layers * (2 * self.width + biases) + self.width
        return self.embedding * (1 if self.tied else 2) + self.matrices + norms_and_biases


@dataclass(frozen=True, slots=True)
class VisionShape:
    """The dimensions of a vision tower."""

    model_type: str
    width: int
    intermediate: int
    layers: int
    heads: int
    image: int
    patch: int = 14

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def parameters(self) -> int:
        attention = 4 * self.width * (self.width + 1)
        feed_forward = 2 * self.width * self.intermediate + self.intermediate + self.width
        norms = 4 * self.width
        pixels = 3 * self.patch**2 * self.width
        total = self.layers * (attention + feed_forward + norms) + pixels + self.patches * self.width
        if self.model_type == "siglip_vision_model":
            # A bias of the patch embedding, and one norm at the end.
            return total + 3 * self.width
        # A class token with its position, and a norm at either end.
        return total + 6 * self.width


CLIP = VisionShape("clip_vision_model", 1024, 4096, 24, 16, 336)
SIGLIP = VisionShape("siglip_vision_model", 1152, 4304, 26, 16, 384)
_VICUNA_7B = TextShape("llama", 32_064, 4096, 11_008, 32, 32, 32, 4096)
_VICUNA_13B = TextShape("llama", 32_064, 5120, 13_824, 40, 40, 40, 4096)

_FEATURE_LAYERS = {VIPLLAVA: 5}
"""How many vision layers features are taken from, for families that use more than one."""


@dataclass(frozen=True, slots=True)
class KnownCheckpoint:
    """A published checkpoint."""

    short_name: str
    hub_name: str
    family: Family
    text: TextShape
    vision: VisionShape
    license: str
    single_picture: bool = False
    """Whether it was trained on single pictures only, as the first stage of LLaVA-OneVision was."""

    @property
    def limits(self) -> str:
        """What it was and was not trained on, in one sentence."""
        if self.single_picture:
            return "Trained on single pictures in fine tiles, and not on marks."
        return self.family.limits

    @property
    def projector(self) -> int:
        """The number of parameters between the vision tower and the language model."""
        features, width = self.vision.width * _FEATURE_LAYERS.get(self.family, 1), self.text.width
        extra = 2 * features if self.family is VIPLLAVA else width if self.family is ONEVISION else 0
        return features * width + width + width * (width + 1) + extra

    @property
    def parameters(self) -> int:
        return self.text.parameters + self.vision.parameters + self.projector

    @property
    def download(self) -> int:
        """Bytes to download; published weights have 16 bits."""
        return 2 * self.parameters

    def weights(self, bits: int) -> int:
        """Return the bytes of the weights: the language model's matrices at `bits`, the rest at 16."""
        return round(2 * (self.parameters - self.text.matrices) + self.text.matrices * BYTES_PER_WEIGHT[bits])

    def memory(self, bits: int, tokens: int | None = None) -> int:
        """Return the bytes of memory needed to answer with that many tokens in the context."""
        tokens = self.family.planned_tokens if tokens is None else tokens
        cache = 2 * self.text.layers * self.text.key_value_width * 2 * tokens
        return self.weights(bits) + cache + WORKING_MEMORY


BYTES_PER_WEIGHT = {32: 4.0, 16: 2.0, 8: 1.0, 4: 0.516}
"""Keyed by bits. At 4 bits, each block of 64 weights also stores a scale of 8 bits."""
WORKING_MEMORY = GIB // 2
"""Bytes needed besides weights and cache: activations of the vision tower, and the logits."""


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
                single_picture=stage == "si",
            )
            for size, text in sizes.items()
            for stage in ("si", "ov")
        ),
    )


KNOWN = {known.short_name: known for known in _known()}
"""The published checkpoints by their short names."""
BY_HUB_NAME = {known.hub_name: known for known in KNOWN.values()}


def smallest(family: Family | None = None) -> KnownCheckpoint:
    """Return the published checkpoint with the smallest download, of one family or of all."""
    candidates = [known for known in KNOWN.values() if family in (None, known.family)]
    return min(candidates, key=lambda known: known.download)


def model_config(known: KnownCheckpoint) -> dict[str, Any]:
    """Return the arguments for the transformers configuration class of a checkpoint."""
    text, vision = known.text, known.vision
    siglip = vision.model_type == SIGLIP.model_type
    parts: dict[str, Any] = {
        "text_config": {
            "model_type": text.model_type,
            "vocab_size": text.vocabulary,
            "hidden_size": text.width,
            "intermediate_size": text.intermediate,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.key_value_heads,
            "max_position_embeddings": text.context,
            "tie_word_embeddings": text.tied,
        },
        "vision_config": {
            "model_type": vision.model_type,
            "hidden_size": vision.width,
            "intermediate_size": vision.intermediate,
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
