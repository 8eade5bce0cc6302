"""What a checkpoint's family makes of a request: token ids and pixels. Imported by the engine alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Protocol

from vipcli.asking.interface import Request
from vipcli.checkpoints.catalog import ONEVISION
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.engine.fast_imports import quick_imports
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


class Inputs(Protocol):
    """Turns requests into what a model's `generate` takes."""

    tokenizer: Any

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]: ...


def inputs_for(checkpoint: Checkpoint, config: Any) -> Inputs:
    """How the family of a checkpoint takes its requests; `config` is the model's."""
    return OneVisionInputs(checkpoint, config) if checkpoint.family is ONEVISION else SquareInputs(checkpoint)


def _side_by_side(requests: Sequence[Request]) -> dict[str, Any]:
    """How several prompts become one table: the shorter ones begin later, so that all end together."""
    padding = {"padding": True, "padding_side": "left"} if len(requests) > 1 else {}
    return {"return_tensors": "pt", **padding}


class SquareInputs:
    """One square for each picture: ViP-LLaVA, LLaVA-1.5, llava-interleave."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        # The Pillow backend is what the checkpoints were evaluated with, and needs no torchvision.
        self._processor = LlavaProcessor.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
        self.tokenizer = self._processor.tokenizer

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        images = [self._square(image, request.fit) for request in requests for image in request.images]
        prompts = [request.prompt for request in requests]
        return dict(self._processor(images=images or None, text=prompts, **_side_by_side(requests)))

    def _square(self, image: Pixels, fit: Fit) -> Pixels:
        # SigLIP's processor squeezes what CLIP's would crop.
        if fit == "crop" and not getattr(self._processor.image_processor, "do_center_crop", False):
            return crop_center(image)
        size, padding = self._checkpoint.input_size, self._checkpoint.padding
        # The processor would resize in the same way, only with more copies of the whole picture.
        if fit != "crop" and self._processor.image_processor.resample == Image.Resampling.BICUBIC:
            return model_view(image, fit, size, padding)
        return square(image, fit, size, padding)


class OneVisionInputs:
    """Tiles for a single picture, a square for each of several, and frames: LLaVA-OneVision.

    The stock processor wants torchvision for its videos, so its parts are driven here.
    """

    def __init__(self, checkpoint: Checkpoint, config: Any) -> None:
        from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
            LlavaOnevisionImageProcessorPil,
        )

        self._config = config
        self._checkpoint = checkpoint
        self._pictures = LlavaOnevisionImageProcessorPil.from_pretrained(
            checkpoint.folder, local_files_only=True
        )
        self.tokenizer: Any = AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        counts: list[int] = []
        if any(request.images for request in requests):
            images = [[self._part(image, request.fit) for image in request.images] for request in requests]
            made = self._pictures(images, return_tensors="pt")
            found |= {name: made[name] for name in ("pixel_values", "image_sizes", "batch_num_images")}
            counts = self._places(made["image_sizes"], [len(some) for some in images])
        prompts = []
        for request in requests:
            prompt, taken = request.prompt, len(request.images)
            prompt = self._spread(prompt, self._config.image_token_id, counts[:taken])
            counts = counts[taken:]
            if request.frames:
                found["pixel_values_videos"] = self._video(request.frames)
                places = self._places_of(len(request.frames))
                prompt = self._spread(prompt, self._config.video_token_id, [places])
            prompts.append(prompt)
        return {**self.tokenizer(prompts, **_side_by_side(requests)), **found}

    def _part(self, image: Pixels, fit: Fit) -> Pixels:
        match fit:
            case "pad":
                # Tiles take a picture of any shape as it is.
                return image
            case "crop":
                return crop_center(image)
            case "stretch":
                return resize_to_square(image, self._checkpoint.input_size)

    def _places(self, sizes: torch.Tensor, together: Sequence[int]) -> list[int]:
        """How many tokens each picture takes: as many as the model itself packs its features into.

        `together` is how many pictures each request holds: one is cut into tiles, several are not.
        """
        from transformers.models.llava_onevision.modeling_llava_onevision import (
            LlavaOnevisionModel,
            image_size_to_num_patches,
        )

        alone = [count == 1 for count in together for _ in range(count)]
        grid, square = self._config.image_grid_pinpoints, self._config.vision_config.image_size
        features = [
            torch.zeros(image_size_to_num_patches(size, grid, square) if tiled else 1, self._side**2, 1)
            for size, tiled in zip(sizes, alone, strict=True)
        ]
        _, counts = LlavaOnevisionModel.pack_image_features(
            SimpleNamespace(config=self._config),
            features,
            sizes,
            image_newline=torch.zeros(1),
            vision_aspect_ratio=self._config.vision_aspect_ratio,
        )
        return [int(count) for count in counts]

    def _places_of(self, frames: int) -> int:
        """How many tokens a video takes: a quarter of a square's for each frame, and one at its end."""
        return int(frames * ((self._side + 1) // 2) ** 2 + 1)

    @property
    def _side(self) -> int:
        vision = self._config.vision_config
        return int(vision.image_size // vision.patch_size)

    def _video(self, frames: Sequence[Pixels]) -> torch.Tensor:
        """Frames squeezed into squares, batch × frame × 3 × height × width."""
        size, processor = self._checkpoint.input_size, self._pictures
        pixels = np.stack([resize_to_square(frame, size) for frame in frames]).astype(np.float32)
        mean, deviation = (np.float32(values) for values in (processor.image_mean, processor.image_std))
        normal = (pixels * np.float32(processor.rescale_factor) - mean) / deviation
        return torch.from_numpy(normal).permute(0, 3, 1, 2)[None]

    def _spread(self, prompt: str, token: int, counts: Sequence[int]) -> str:
        """The prompt with a picture's token as often as the picture takes tokens."""
        word = self.tokenizer.convert_ids_to_tokens(token)
        pieces = re.split(re.escape(word), prompt)
        if len(pieces) != len(counts) + 1:
            raise PromptError(
                f"{len(counts)} pictures were given, but the prompt has room for {len(pieces) - 1}."
            )
        spread = "".join(piece + word * count for piece, count in zip(pieces, counts, strict=False))
        return spread + pieces[-1]
