"""From nothing to the bundled model: its words, then seeing, then answering, each resumable."""

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
from vipcli.training.learning import checkpoint as bundle
from vipcli.training.learning import tokenizer as vocabulary
from vipcli.training.learning.answer_training import Drawer as TalkDrawer
from vipcli.training.learning.answer_training import TalkStage, TogetherStage
from vipcli.training.learning.batches import batches
from vipcli.training.learning.loop import Pace, Run
from vipcli.training.learning.model import configuration, fresh
from vipcli.training.learning.patch_training import Drawer as VisionDrawer
from vipcli.training.learning.patch_training import VisionStage, normal
from vipcli.training.questions.generator import conversations

HISTORY = "training.json"
"""In a finished checkpoint: the stages that made it."""

_SCENES_OF_WORDS = 2500
_SCENES_OF_BELIEF = 120
_PICTURES_FOR_EYES = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """What to spend, and where."""

    folder: Path
    minutes: float
    seed: int = 0
    device: str = "cpu"
    workers: int = 1
    batch: int = 96
    start: Path | None = None
    """A trained checkpoint to go on from, instead of from nothing."""
    shares: tuple[float, float, float] = (0.6, 0.3, 0.1)
    """Of the time: learning to see, to answer with what is seen, and both together."""


# Seeing from nothing takes large steps; what was learned since then must not be lost to them.
_SEEING = Pace(matrices=6e-3, others=2e-3, decline=0.85)
_ANSWERING = Pace(matrices=4e-3, others=1.5e-3, decline=0.75)
_TOGETHER = Pace(matrices=8.75e-4, others=3.5e-4, decline=0.95)


def train(plan: Plan) -> Path:
    """Run the stages, or what is left of them, and return the checkpoint folder."""
    torch.manual_seed(plan.seed)
    plan.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(plan)
    model = _model(tokenizer, plan)
    seeing, answering, together = (plan.minutes * share for share in plan.shares)
    with ExitStack() as stack:
        log = stack.enter_context((plan.folder / "log.txt").open("a", encoding="utf-8"))
        eyes = VisionStage(model)
        talk = TalkDrawer(plan.batch // 3, tokenizer)
        done = [_stage(eyes, _SEEING, VisionDrawer(plan.batch), seeing, plan, log)]
        speech = TalkStage(model, tokenizer)
        done.append(_stage(speech, _ANSWERING, talk, answering, plan, log))
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        done.append(_stage(TogetherStage(speech, eyes), _TOGETHER, talk, together, plan, log))
        _go_half_back(model, before)
    finished = plan.folder / "model"
    model.set_attn_implementation("eager")
    bundle.save(model.cpu(), tokenizer, finished)
    done.append(
        {"stage": "calibration", "temperature": round(calibrate(finished, scenes=_SCENES_OF_BELIEF), 3)}
    )
    history = json.dumps(_history(plan) + done, indent=1)
    replace_file(finished / HISTORY, history.encode())
    return finished


def _go_half_back(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> None:
    """Take the mean of what was before the last stage and after, which does better than either."""
    with torch.no_grad():
        # By parameter, since words share their weights between reading and writing.
        for name, weight in model.named_parameters():
            weight.lerp_(before[name].to(weight.device), 0.5)


def _history(plan: Plan) -> list[dict[str, Any]]:
    """What the weights had been through before."""
    told = None if plan.start is None else plan.start / HISTORY
    return json.loads(told.read_text()) if told is not None and told.exists() else []


def _stage(stage: Any, pace: Pace, draw: Any, minutes: float, plan: Plan, log: TextIO) -> dict[str, Any]:
    """Run a stage for its minutes, and say what it came to."""
    run = Run(stage, stage.name, plan.folder, pace, torch.device(plan.device))
    run.resume()
    if run.progress.seconds < minutes * 60:
        name = f"{stage.name} {plan.seed}"
        run.train(batches(draw, name, run.progress.step, plan.workers), minutes, log)
    return {
        "stage": stage.name,
        "steps": run.progress.step,
        "minutes": round(run.progress.seconds / 60, 1),
        "pictures": run.progress.step * draw.size,
        "on": _hardware(plan.device),
    }


def _hardware(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores"


def _tokenizer(plan: Plan) -> Any:
    known = plan.folder / "tokenizer"
    if plan.start is not None:
        return bundle.load_tokenizer(plan.start)
    if not known.exists():
        vocabulary.learn(_words(plan.seed)).save_pretrained(known)
    return bundle.load_tokenizer(known)


def _words(seed: int) -> Iterator[str]:
    """Questions and answers as the stages will meet them."""
    for number in range(_SCENES_OF_WORDS):
        rng = random.Random(f"words {seed} {number}")
        for conversation in conversations(draw_scene(rng).scene, rng, 14):
            for exchange in conversation:
                yield exchange.question
                yield f" {exchange.answer}"


def _model(tokenizer: Any, plan: Plan) -> Any:
    ids = tokenizer.convert_tokens_to_ids(["<image>", "<s>", "</s>", "<pad>"])
    if plan.start is not None:
        return VipLlavaForConditionalGeneration.from_pretrained(
            plan.start, dtype=torch.float32, local_files_only=True
        )
    eyes = VisionDrawer(_PICTURES_FOR_EYES)(random.Random(f"eyes {plan.seed}")).pixels
    return fresh(configuration(len(tokenizer), *ids), normal(eyes))


def spare_cores() -> int:
    """Processes that may draw while one trains."""
    return max((os.cpu_count() or 2) - 1, 1)
