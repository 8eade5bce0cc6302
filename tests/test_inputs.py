"""The inputs of each family, against transformers' own processors and generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from tests.tiny import make_interleave, make_llava, make_onevision, make_vipllava
from vipcli.asking.interface import Request, Sampling, Setup
from vipcli.checkpoints.catalog import INTERLEAVE, ONEVISION
from vipcli.checkpoints.lookup import Checkpoint, find
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.checkpoints.stops import Stop
from vipcli.engine.local import LocalModel
from vipcli.errors import PromptError
from vipcli.geometry import Fit
from vipcli.pictures.images import Pixels

SHORT = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def interleave(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = make_interleave(tmp_path_factory.mktemp("checkpoints") / "interleave")
    return LocalModel(find(str(folder)), Setup(device="cpu"))


@pytest.fixture(scope="module")
def onevision(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = make_onevision(tmp_path_factory.mktemp("checkpoints") / "onevision")
    return LocalModel(find(str(folder)), Setup(device="cpu"))


def _pictures(*sizes: tuple[int, int]) -> tuple[Pixels, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for width, height in sizes)


def _request(
    checkpoint: Checkpoint, images: tuple[Pixels, ...] = (), frames: tuple[Pixels, ...] = (), fit: Fit = "pad"
) -> Request:
    form = checkpoint.form()
    prompt = form.build([Turn("What is this?")], images=len(images), video=bool(frames))
    return Request(prompt, images, frames=frames, fit=fit, stops=form.stops, sampling=SHORT)


class PictureOnlyProcessor(LlavaOnevisionProcessor):  # type: ignore[misc]
    """transformers' own processor, without the video processor, which needs torchvision."""

    def check_argument_for_proper_class(self, *_: Any) -> None:
        pass


def _reference_processor(folder: Path) -> Any:
    return PictureOnlyProcessor(
        LlavaOnevisionImageProcessorPil.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
        None,
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=(folder / "chat_template.jinja").read_text(),
    )


def test_families_are_distinguished(interleave: LocalModel, onevision: LocalModel) -> None:
    assert interleave.checkpoint.family is INTERLEAVE
    assert onevision.checkpoint.family is ONEVISION


@pytest.mark.parametrize("count", [1, 2, 3])
def test_interleave_matches_its_own_processor(interleave: LocalModel, count: int) -> None:
    checkpoint = interleave.checkpoint
    images = _pictures(*[(90 + 40 * number, 60) for number in range(count)])
    request = _request(checkpoint, images, fit="stretch")
    processor = LlavaProcessor.from_pretrained(checkpoint.folder, backend="pil")
    reference = processor(images=list(images), text=request.prompt, return_tensors="pt")
    assert request.prompt == processor.apply_chat_template(
        _messages(images=count), add_generation_prompt=True
    )
    _same_answer(interleave, request, reference)


# From one tile to many, and beyond what the tiles hold.
@pytest.mark.parametrize(
    "size", [(28, 28), (90, 60), (60, 90), (130, 60), (300, 40), (31, 200), (640, 480), (5, 5)]
)
def test_onevision_matches_its_own_processor_on_a_picture(
    onevision: LocalModel, size: tuple[int, int]
) -> None:
    assert onevision.checkpoint.folder is not None
    processor = _reference_processor(onevision.checkpoint.folder)
    request = _request(onevision.checkpoint, _pictures(size))
    reference = processor(images=list(request.images), text=request.prompt, return_tensors="pt")
    assert request.prompt == processor.apply_chat_template(_messages(images=1), add_generation_prompt=True)
    _same_answer(onevision, request, reference)


def test_onevision_matches_its_own_processor_on_several_pictures(onevision: LocalModel) -> None:
    assert onevision.checkpoint.folder is not None
    processor = _reference_processor(onevision.checkpoint.folder)
    request = _request(onevision.checkpoint, _pictures((90, 60), (40, 70), (28, 28)))
    reference = processor(images=[list(request.images)], text=request.prompt, return_tensors="pt")
    assert request.prompt == processor.apply_chat_template(_messages(images=3), add_generation_prompt=True)
    _same_answer(onevision, request, reference)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_onevision_takes_video_frames(onevision: LocalModel, count: int) -> None:
    assert onevision.checkpoint.folder is not None
    processor = _reference_processor(onevision.checkpoint.folder)
    request = _request(onevision.checkpoint, frames=_pictures(*[(90, 60)] * count))
    assert request.prompt == processor.apply_chat_template(_messages(video=True), add_generation_prompt=True)
    inputs = onevision._input_builder([request])
    token = onevision._model.config.video_token_id
    # Pooling leaves one of two by two patches a frame; one more token ends the video.
    assert int((inputs["input_ids"] == token).sum()) == count + 1
    assert inputs["pixel_values_videos"].shape == (1, count, 3, 28, 28)
    assert len(onevision.answer(request).token_ids) > 0


def test_different_frames_give_a_different_answer(onevision: LocalModel) -> None:
    dark = tuple(np.zeros((60, 90, 3), np.uint8) for _ in range(4))
    first = onevision.answer(_request(onevision.checkpoint, frames=dark))
    other = onevision.answer(_request(onevision.checkpoint, frames=_pictures(*[(90, 60)] * 4)))
    assert first.token_ids != other.token_ids


@pytest.mark.parametrize(("fit", "size"), [("pad", (60, 200)), ("crop", (60, 60)), ("stretch", (28, 28))])
def test_onevision_can_crop_or_stretch(onevision: LocalModel, fit: Fit, size: tuple[int, int]) -> None:
    inputs = onevision._input_builder([_request(onevision.checkpoint, _pictures((200, 60)), fit=fit)])
    assert inputs["image_sizes"].tolist() == [list(size)]


BATCH_SIZES = [(90, 60), (28, 28), (40, 130), (300, 40)]


@pytest.mark.parametrize("make", [make_vipllava, make_llava, make_interleave, make_onevision])
def test_a_batch_gives_the_answers_of_single_requests(make: Any, tmp_path: Path) -> None:
    model = LocalModel(find(str(make(tmp_path / "tiny"))))
    form = model.checkpoint.form()
    questions = ["What?", "What is within the red rectangle, and what is pointed to by the blue arrow?"]
    requests = [
        Request(form.build([Turn(questions[number % 2])]), _pictures(size), stops=form.stops, sampling=SHORT)
        for number, size in enumerate(BATCH_SIZES)
    ]
    single = [model.answer(request) for request in requests]
    for reply, batched in zip(single, model.answer_batch(requests), strict=True):
        assert reply.token_ids == batched.token_ids
        assert (reply.text, reply.ended, reply.prompt_tokens) == (
            *(batched.text, batched.ended, batched.prompt_tokens),
        )
        assert reply.probability == pytest.approx(batched.probability, abs=1e-3)


def test_requests_with_one_and_with_several_pictures_share_a_batch(onevision: LocalModel) -> None:
    requests = [
        _request(onevision.checkpoint, _pictures((90, 60))),
        _request(onevision.checkpoint, _pictures((90, 60), (40, 40))),
        _request(onevision.checkpoint, _pictures((28, 200))),
    ]
    batched = onevision.answer_batch(requests)
    assert [reply.token_ids for reply in batched] == [
        onevision.answer(request).token_ids for request in requests
    ]


def test_videos_of_different_lengths_are_answered_one_by_one(onevision: LocalModel) -> None:
    requests = [_request(onevision.checkpoint, frames=_pictures(*[(90, 60)] * count)) for count in (2, 5)]
    assert [reply.token_ids for reply in onevision.answer_batch(requests)] == [
        onevision.answer(request).token_ids for request in requests
    ]


def test_a_row_that_stops_early_does_not_end_the_batch(interleave: LocalModel) -> None:
    form = interleave.checkpoint.form()
    prompt = form.build([Turn("What is this?")])
    first = interleave.answer(Request(prompt, _pictures((90, 60)), sampling=SHORT))
    stop = interleave._input_builder.tokenizer.decode(first.token_ids[2:3])
    requests = [
        Request(prompt, _pictures((90, 60)), stops=(Stop(stop),), sampling=SHORT),
        Request(prompt, _pictures((28, 28)), sampling=SHORT),
    ]
    stopped, complete = interleave.answer_batch(requests)
    assert stopped.ended == "stop"
    assert stopped.token_ids == first.token_ids[:3]
    assert len(complete.token_ids) == 6


def test_pictures_without_a_token_are_refused(onevision: LocalModel) -> None:
    request = _request(onevision.checkpoint, _pictures((90, 60)))
    with pytest.raises(PromptError, match="2 pictures were given, but the prompt has room for 1"):
        onevision.answer(Request(request.prompt, _pictures((90, 60), (60, 90))))


def _messages(*, images: int = 0, video: bool = False) -> list[dict[str, Any]]:
    pictures = [{"type": "image"}] * images + [{"type": "video"}] * video
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": "What is this?"}]}]


def _same_answer(model: LocalModel, request: Request, reference: Any) -> None:
    """Compare the inputs with those of the reference processor, and the answers to both."""
    inputs = model._input_builder([request])
    assert inputs.keys() == dict(reference).keys()
    for name, value in reference.items():
        torch.testing.assert_close(inputs[name], torch.as_tensor(value), atol=0, rtol=0)
    output = model._model.generate(**reference, max_new_tokens=6, do_sample=False)
    assert model.answer(request).token_ids == tuple(output[0, reference["input_ids"].shape[1] :].tolist())
