"""The loop that every stage shares: optimise for a given time, keep a log, resume where it stopped."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from safetensors.torch import load_file, save
from torch import nn

from vipcli.errors import ModelError
from vipcli.files import replace_file


@dataclass(frozen=True)
class Pace:
    """How fast to learn: peak rates, a short start, level for most of the time, then down to nothing."""

    matrices: float = 2e-3
    others: float = 1e-3
    warmup_steps: int = 100
    decline: float = 0.3
    """The share of the time in which the rate falls."""

    def at(self, step: int, progress: float) -> float:
        """The share of the peak rate at that step, that far through the time."""
        start = min((step + 1) / self.warmup_steps, 1.0)
        end = min((1 - progress) / self.decline, 1.0)
        return start * max(end, 0.01)


class Optimizers:
    """Muon for the matrices inside the layers, AdamW for all else."""

    def __init__(self, module: nn.Module, pace: Pace) -> None:
        matrices: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, weight in module.named_parameters():
            if not weight.requires_grad:
                continue
            if weight.ndim == 2 and "layers." in name:
                matrices.append(weight)
            else:
                (decayed if weight.ndim > 1 and "embed" not in name else others).append(weight)
        self.each: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
                lr=pace.others,
                betas=(0.9, 0.98),
            )
        ]
        if matrices:
            self.each.append(
                torch.optim.Muon(
                    matrices,
                    lr=pace.matrices,
                    weight_decay=0.02,
                    ns_steps=4,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self.peaks = [pace.others, pace.matrices]

    def step(self, share: float) -> None:
        for optimizer, peak in zip(self.each, self.peaks, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything to remember, by names of our own, so that no pickle is needed."""
        return {
            f"{which}.{number}.{key}": value
            for which, optimizer in enumerate(self.each)
            for number, state in optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        states: dict[int, dict[int, dict[str, torch.Tensor]]] = defaultdict(lambda: defaultdict(dict))
        for name, value in tensors.items():
            which, number, key = name.split(".")
            states[int(which)][int(number)][key] = value
        for place, optimizer in enumerate(self.each):
            saved = optimizer.state_dict()
            optimizer.load_state_dict({**saved, "state": {k: dict(v) for k, v in states[place].items()}})


@dataclass
class Progress:
    """How far a stage has come."""

    step: int = 0
    seconds: float = 0.0


class Run:
    """One stage in one folder: its weights, its optimizers' state, its log."""

    def __init__(self, module: nn.Module, name: str, folder: Path, pace: Pace, device: torch.device) -> None:
        self.module, self.name, self.pace, self.device = module.to(device), name, pace, device
        self.optimizers = Optimizers(module, pace)
        self.progress = Progress()
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> bool:
        """Go on from the last checkpoint, if there is one."""
        counts = self.folder / "progress.json"
        if not counts.exists():
            return False
        self.progress = Progress(**json.loads(counts.read_text()))
        saved = load_file(self.folder / "weights.safetensors")
        with torch.no_grad():
            for name, weight in self.module.named_parameters():
                weight.copy_(saved[name])
        # Weights that were carried here from another machine may have come alone.
        optimizers = self.folder / "optimizers.safetensors"
        if optimizers.exists():
            self.optimizers.restore(load_file(optimizers))
        return True

    def save(self) -> None:
        """Write the checkpoint, `progress.json` last: without it, a broken-off save is no checkpoint."""
        # By parameter, since words share their weights between reading and writing.
        weights = {name: weight.detach().contiguous() for name, weight in self.module.named_parameters()}
        replace_file(self.folder / "weights.safetensors", save(weights))
        replace_file(self.folder / "optimizers.safetensors", save(self.optimizers.tensors()))
        replace_file(self.folder / "progress.json", json.dumps(vars(self.progress)).encode())

    def train(
        self,
        batches: Iterator[Any],
        minutes: float,
        log: TextIO,
        *,
        every: int = 50,
        most_steps: float = math.inf,
    ) -> None:
        """Learn until the stage has had its minutes or steps, saving now and then."""
        budget = minutes * 60
        begun = last_saved = time.monotonic()
        before = self.progress.seconds
        sums: dict[str, float] = defaultdict(float)
        summed = 0
        while self.progress.seconds < budget and self.progress.step < most_steps:
            batch = next(batches)
            with torch.autocast(self.device.type, torch.bfloat16):
                loss, figures = self.module(_to(batch, self.device))
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
            if not math.isfinite(float(norm)):
                raise ModelError(
                    f"The {self.name} stage came apart at step {self.progress.step}: its gradients are no "
                    "numbers any more. Go on from the last checkpoint, or with lower rates."
                )
            self.optimizers.step(self.pace.at(self.progress.step, self.progress.seconds / budget))
            self.progress.step += 1
            self.progress.seconds = before + time.monotonic() - begun
            for name, value in {"loss": float(loss.detach()), **figures}.items():
                sums[name] += value
            summed += 1
            if self.progress.step % every == 0:
                means = {name: value / summed for name, value in sums.items()}
                _report(self.name, self.progress, means, log)
                sums.clear()
                summed = 0
            if time.monotonic() - last_saved > 300:
                self.save()
                last_saved = time.monotonic()
        self.save()


def _report(name: str, progress: Progress, figures: Mapping[str, float], log: TextIO) -> None:
    shown = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
    print(f"{name} {progress.step} {progress.seconds / 60:.1f} min  {shown}", file=log, flush=True)


def _to(batch: Any, device: torch.device) -> Any:
    return type(batch)(*(part.to(device, non_blocking=True) for part in batch))
