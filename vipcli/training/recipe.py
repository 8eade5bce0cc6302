"""The recipe of the bundled model: tokenizer, vision, answers, both together, calibration; all resumable."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

from vipcli.files import replace_file
from vipcli.training.drawing.scenes import draw_scene
from vipcli.training.judging.calibration import calibrate
from vipcli.training.learning.answer_training import AnswerBatchMaker, AnswerStage, JointStage
from vipcli.training.learning.batches import batches
from vipcli.training.learning.checkpoint import load_tokenizer, save_checkpoint
from vipcli.training.learning.loop import LearningRates, StageRun
from vipcli.training.learning.model import initialize, model_config
from vipcli.training.learning.patch_training import PatchBatchMaker, VisionStage, normalize
from vipcli.training.learning.tokenizer import train_tokenizer
from vipcli.training.questions.generator import conversations

HISTORY = "training.json"
"""File of a finished checkpoint with the stages that made it."""

_TOKENIZER_SCENES = 2500
_CALIBRATION_SCENES = 120
_WHITENING_PICTURES = 200


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long to train, on what, and where to put the results."""

    folder: Path
    minutes: float
    seed: int = 0
    device: str = "cpu"
    workers: int = 1
    batch: int = 96
    start: Path | None = None
    """A trained checkpoint to start from, instead of random weights."""
    shares: tuple[float, float, float] = (0.6, 0.3, 0.1)
    """Shares of the time for vision, for answers, and for both together."""


# Training from random weights takes high rates; later stages must not destroy what was learned before.
_VISION_RATES = LearningRates(matrices=6e-3, others=2e-3, decay=0.85)
_ANSWER_RATES = LearningRates(matrices=4e-3, others=1.5e-3, decay=0.75)
_JOINT_RATES = LearningRates(matrices=8.75e-4, others=3.5e-4, decay=0.95)


def train(plan: TrainingPlan) -> Path:
    """Run the stages that are not finished yet, and return the checkpoint folder."""
    torch.manual_seed(plan.seed)
    plan.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(plan)
    model = _model(tokenizer, plan)
    vision_minutes, answer_minutes, joint_minutes = (plan.minutes * share for share in plan.shares)
    with ExitStack() as stack:
        log = stack.enter_context((plan.folder / "log.txt").open("a", encoding="utf-8"))
        vision = VisionStage(model)
        history = [_run(vision, _VISION_RATES, PatchBatchMaker(plan.batch), vision_minutes, plan, log)]
        answers = AnswerStage(model, tokenizer)
        make_answers = AnswerBatchMaker(plan.batch // 3, tokenizer)
        history.append(_run(answers, _ANSWER_RATES, make_answers, answer_minutes, plan, log))
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        joint = JointStage(answers, vision)
        history.append(_run(joint, _JOINT_RATES, make_answers, joint_minutes, plan, log))
        _average_weights(model, before)
    finished = plan.folder / "model"
    model.set_attn_implementation("eager")
    save_checkpoint(model.cpu(), tokenizer, finished)
    temperature = calibrate(finished, scenes=_CALIBRATION_SCENES)
    history.append({"stage": "calibration", "temperature": round(temperature, 3)})
    replace_file(finished / HISTORY, json.dumps(_earlier_history(plan) + history, indent=1).encode())
    return finished


def _average_weights(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> None:
    """Average the weights before and after the last stage, which does better than either."""
    with torch.no_grad():
        # Named parameters list the tied word embeddings only once.
        for name, weight in model.named_parameters():
            weight.lerp_(before[name].to(weight.device), 0.5)


def _earlier_history(plan: TrainingPlan) -> list[dict[str, Any]]:
    """The stages that made the checkpoint that training starts from."""
    file = None if plan.start is None else plan.start / HISTORY
    return json.loads(file.read_text()) if file is not None and file.exists() else []


def _run(
    stage: Any, rates: LearningRates, make_batch: Any, minutes: float, plan: TrainingPlan, log: TextIO
) -> dict[str, Any]:
    """Run a stage for its remaining minutes, and return its entry in the history."""
    run = StageRun(stage, stage.name, plan.folder, rates, torch.device(plan.device))
    run.resume()
    if run.progress.seconds < minutes * 60:
        seed = f"{stage.name} {plan.seed}"
        run.train(batches(make_batch, seed, run.progress.step, plan.workers), minutes, log)
    return {
        "stage": stage.name,
        "steps": run.progress.step,
        "minutes": round(run.progress.seconds / 60, 1),
        "pictures": run.progress.step * make_batch.size,
        "on": _hardware(plan.device),
    }


def _hardware(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores"


def _tokenizer(plan: TrainingPlan) -> Any:
    folder = plan.folder / "tokenizer"
    if plan.start is not None:
        return load_tokenizer(plan.start)
    if not folder.exists():
        train_tokenizer(_texts(plan.seed)).save_pretrained(folder)
    return load_tokenizer(folder)


def _texts(seed: int) -> Iterator[str]:
    """Questions and answers like those that the stages train on."""
    for number in range(_TOKENIZER_SCENES):
        rng = random.Random(f"words {seed} {number}")
        for conversation in conversations(draw_scene(rng).scene, rng, 14):
            for turn in conversation:
                yield turn.question
                yield f" {turn.answer}"


def _model(tokenizer: Any, plan: TrainingPlan) -> Any:
    ids = tokenizer.convert_tokens_to_ids(["<image>", "<s>", "</s>", "<pad>"])
    if plan.start is not None:
        return VipLlavaForConditionalGeneration.from_pretrained(
            plan.start, dtype=torch.float32, local_files_only=True
        )
    pictures = PatchBatchMaker(_WHITENING_PICTURES)(random.Random(f"eyes {plan.seed}")).pixels
    return initialize(model_config(len(tokenizer), *ids), normalize(pictures))


def spare_cores() -> int:
    """The number of worker processes that leaves one core for training."""
    return max((os.cpu_count() or 2) - 1, 1)
