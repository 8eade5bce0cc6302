"""Turn requests into token ids and pixels, as each family of checkpoints needs them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from vipcli.asking.interface import Request
from vipcli.checkpoints.catalog import ONEVISION
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.engine import compat
from vipcli.engine.compat import quick_imports
from vipcli.errors import PromptError
from vipcli.geometry import Fit
from vipcli.pictures.fitting import crop_center, model_view, resize_to_square, square
from vipcli.pictures.images import Pixels

with quick_imports():
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoTokenizer
    from transformers.models.llava.processing_llava import LlavaProcessor


class InputBuilder(Protocol):
    """Turns requests into the arguments of a model's `generate`."""

    tokenizer: Any

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]: ...


def input_builder(checkpoint: Checkpoint, config: Any) -> InputBuilder:
    """The input builder of a checkpoint's family; `config` is the model's."""
    if checkpoint.family is ONEVISION:
        return OneVisionInputBuilder(checkpoint, config)
    return SquareInputBuilder(checkpoint)


def _tokenizer_options(requests: Sequence[Request]) -> dict[str, Any]:
    """Left-pad the prompts of a batch, so that the answers start right after them."""
    padding = {"padding": True, "padding_side": "left"} if len(requests) > 1 else {}
    return {"return_tensors": "pt", **padding}


class SquareInputBuilder:
    """One square for each picture: ViP-LLaVA, LLaVA-1.5, llava-interleave."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        # The checkpoints were evaluated with the Pillow backend, and it does not need torchvision.
        self._processor = LlavaProcessor.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
        self.tokenizer = self._processor.tokenizer

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        images = [self._square(image, request.fit) for request in requests for image in request.images]
        prompts = [request.prompt for request in requests]
        return dict(self._processor(images=images or None, text=prompts, **_tokenizer_options(requests)))

    def _square(self, image: Pixels, fit: Fit) -> Pixels:
        # CLIP's processor crops, SigLIP's stretches.
        if fit == "crop" and not getattr(self._processor.image_processor, "do_center_crop", False):
            return crop_center(image)
        size, padding = self._checkpoint.input_size, self._checkpoint.padding
        # The processor would resize in the same way, with more copies of the whole picture.
        if fit != "crop" and self._processor.image_processor.resample == Image.Resampling.BICUBIC:
            return model_view(image, fit, size, padding)
        return square(image, fit, size, padding)


class OneVisionInputBuilder:
    """LLaVA-OneVision: tiles for a single picture, a square for each of several, and video frames.

    transformers' own processor needs torchvision for videos, so this class uses its parts.
    """

    def __init__(self, checkpoint: Checkpoint, config: Any) -> None:
        from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
            LlavaOnevisionImageProcessorPil,
        )

        self._config = config
        self._checkpoint = checkpoint
        self._image_processor = LlavaOnevisionImageProcessorPil.from_pretrained(
            checkpoint.folder, local_files_only=True
        )
        self.tokenizer: Any = AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        inputs: dict[str, torch.Tensor] = {}
        counts: list[int] = []
        if any(request.images for request in requests):
            images = [[self._fitted(image, request.fit) for image in request.images] for request in requests]
            processed = self._image_processor(images, return_tensors="pt")
            inputs |= {name: processed[name] for name in ("pixel_values", "image_sizes", "batch_num_images")}
            # A single picture is cut into tiles.
            is_tiled = [len(pictures) == 1 for pictures in images for _ in pictures]
            counts = compat.onevision_token_counts(self._config, processed["image_sizes"], is_tiled)
        prompts = []
        for request in requests:
            own_counts, counts = counts[: len(request.images)], counts[len(request.images) :]
            prompt = self._repeat_token(request.prompt, self._config.image_token_id, own_counts)
            if request.frames:
                inputs["pixel_values_videos"] = self._video(request.frames)
                count = self._video_token_count(len(request.frames))
                prompt = self._repeat_token(prompt, self._config.video_token_id, [count])
            prompts.append(prompt)
        return {**self.tokenizer(prompts, **_tokenizer_options(requests)), **inputs}

    def _fitted(self, image: Pixels, fit: Fit) -> Pixels:
        match fit:
            case "pad":
                # Tiles take a picture of any shape.
                return image
            case "crop":
                return crop_center(image)
            case "stretch":
                return resize_to_square(image, self._checkpoint.input_size)

    def _video_token_count(self, frames: int) -> int:
        """The number of tokens of a video: a quarter of a square's for each frame, and one at the end."""
        vision = self._config.vision_config
        side = vision.image_size // vision.patch_size
        return int(frames * ((side + 1) // 2) ** 2 + 1)

    def _video(self, frames: Sequence[Pixels]) -> torch.Tensor:
        """Frames stretched to squares, batch × frame × 3 × height × width."""
        size, processor = self._checkpoint.input_size, self._image_processor
        pixels = np.stack([resize_to_square(frame, size) for frame in frames]).astype(np.float32)
        mean, deviation = (np.float32(values) for values in (processor.image_mean, processor.image_std))
        normalized = (pixels * np.float32(processor.rescale_factor) - mean) / deviation
        return torch.from_numpy(normalized).permute(0, 3, 1, 2)[None]

    def _repeat_token(self, prompt: str, token_id: int, counts: Sequence[int]) -> str:
        """The prompt with each picture token repeated as often as its picture takes tokens."""
        token = self.tokenizer.convert_ids_to_tokens(token_id)
        parts = re.split(re.escape(token), prompt)
        if len(parts) != len(counts) + 1:
            raise PromptError(
                f"{len(counts)} pictures were given, but the prompt has room for {len(parts) - 1}."
            )
        return "".join(part + token * count for part, count in zip(parts, [*counts, 0], strict=True))
