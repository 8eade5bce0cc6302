"""What is known of the checkpoints by name: pure data."""

from __future__ import annotations

from dataclasses import dataclass

BUNDLED = "bundled"
"""The checkpoint that comes with vipcli."""
CANNOT_TELL = "I can't tell."
"""What it answers about pictures that it was not made for."""


@dataclass(frozen=True, slots=True)
class Family:
    """Checkpoints that share a transformers class and a prompt form."""

    model_type: str
    module: str
    class_name: str
    form: str
    input_size: int = 336


VIPLLAVA = Family(
    model_type="vipllava",
    module="transformers.models.vipllava.modeling_vipllava",
    class_name="VipLlavaForConditionalGeneration",
    form="human",
)
LLAVA = Family(
    model_type="llava",
    module="transformers.models.llava.modeling_llava",
    class_name="LlavaForConditionalGeneration",
    form="template",
)
FAMILIES = {family.model_type: family for family in (VIPLLAVA, LLAVA)}

SHORT_NAMES = {
    "vip-llava-7b": "llava-hf/vip-llava-7b-hf",
    "vip-llava-13b": "llava-hf/vip-llava-13b-hf",
}
KNOWN = dict.fromkeys(SHORT_NAMES.values(), VIPLLAVA)
