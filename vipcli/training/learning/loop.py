"""The training loop of all stages: optimize for a given time, write a log, resume after an interruption."""

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

_SAVE_INTERVAL = 300


@dataclass(frozen=True)
class LearningRates:
    """Learning rates: warm up, stay at the peak, then decay to almost nothing."""

    matrices: float = 2e-3
    others: float = 1e-3
    warmup_steps: int = 100
    decay: float = 0.3
    """Share of the time in which the rates decay."""

    def factor(self, step: int, elapsed: float) -> float:
        """Factor of the peak rates at a step, after this share of the time has elapsed."""
        warmup = min((step + 1) / self.warmup_steps, 1.0)
        decay = min((1 - elapsed) / self.decay, 1.0)
        return warmup * max(decay, 0.01)


class Optimizers:
    """Muon for the matrices inside the layers, AdamW for everything else."""

    def __init__(self, module: nn.Module, rates: LearningRates) -> None:
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
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
                lr=rates.others,
                betas=(0.9, 0.98),
            )
        ]
        if matrices:
            self.optimizers.append(
                torch.optim.Muon(
                    matrices,
                    lr=rates.matrices,
                    weight_decay=0.02,
                    ns_steps=4,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self.peak_rates = [rates.others, rates.matrices]

    def step(self, factor: float) -> None:
        for optimizer, peak in zip(self.optimizers, self.peak_rates, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The optimizers' state as named tensors, which can be saved without pickle."""
        return {
            f"{index}.{number}.{key}": value
            for index, optimizer in enumerate(self.optimizers)
            for number, state in optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        states: dict[int, dict[int, dict[str, torch.Tensor]]] = defaultdict(lambda: defaultdict(dict))
        for name, value in tensors.items():
            optimizer_index, number, key = name.split(".")
            states[int(optimizer_index)][int(number)][key] = value
        for index, optimizer in enumerate(self.optimizers):
            current = optimizer.state_dict()
            optimizer.load_state_dict({**current, "state": {k: dict(v) for k, v in states[index].items()}})


@dataclass
class StageProgress:
    """Steps and training time of a stage so far."""

    step: int = 0
    seconds: float = 0.0


class StageRun:
    """A stage with its folder: weights, optimizer state and progress."""

    def __init__(
        self, module: nn.Module, name: str, folder: Path, rates: LearningRates, device: torch.device
    ) -> None:
        self.module, self.name, self.rates, self.device = module.to(device), name, rates, device
        self.optimizers = Optimizers(module, rates)
        self.progress = StageProgress()
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> bool:
        """Load the last checkpoint, if there is one."""
        progress = self.folder / "progress.json"
        if not progress.exists():
            return False
        self.progress = StageProgress(**json.loads(progress.read_text()))
        saved = load_file(self.folder / "weights.safetensors")
        with torch.no_grad():
            for name, weight in self.module.named_parameters():
                weight.copy_(saved[name])
        # The optimizer state may be missing if only the weights were copied from another machine.
        optimizers = self.folder / "optimizers.safetensors"
        if optimizers.exists():
            self.optimizers.restore(load_file(optimizers))
        return True

    def save(self) -> None:
        """Write the checkpoint, `progress.json` last, so that an interrupted save does not count."""
        # Named parameters list the tied word embeddings only once.
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
        log_interval: int = 50,
        max_steps: float = math.inf,
    ) -> None:
        """Train until the time or the steps are used up, saving a checkpoint every five minutes."""
        budget = minutes * 60
        started = last_saved = time.monotonic()
        earlier_seconds = self.progress.seconds
        averages = _Averages()
        while self.progress.seconds < budget and self.progress.step < max_steps:
            metrics = self._step(next(batches), self.progress.seconds / budget)
            self.progress.step += 1
            self.progress.seconds = earlier_seconds + time.monotonic() - started
            averages.add(metrics)
            if self.progress.step % log_interval == 0:
                self._log(averages.take(), log)
            if time.monotonic() - last_saved > _SAVE_INTERVAL:
                self.save()
                last_saved = time.monotonic()
        self.save()

    def _step(self, batch: Any, elapsed: float) -> dict[str, float]:
        """Update the weights once, and return the loss and other metrics."""
        batch = type(batch)(*(part.to(self.device, non_blocking=True) for part in batch))
        with torch.autocast(self.device.type, torch.bfloat16):
            loss, metrics = self.module(batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        if not math.isfinite(float(norm)):
            raise ModelError(
                f"Stage {self.name} diverged at step {self.progress.step}: its gradients are not finite.",
                "Resume from the last checkpoint, or use lower learning rates.",
            )
        self.optimizers.step(self.rates.factor(self.progress.step, elapsed))
        return {"loss": float(loss.detach()), **metrics}

    def _log(self, metrics: Mapping[str, float], log: TextIO) -> None:
        values = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        minutes = self.progress.seconds / 60
        print(f"{self.name} {self.progress.step} {minutes:.1f} min  {values}", file=log, flush=True)


class _Averages:
    """Averages of metrics between two lines of the log."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0

    def add(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._sums[name] += value
        self._count += 1

    def take(self) -> dict[str, float]:
        """The averages so far; start over."""
        averages = {name: value / self._count for name, value in self._sums.items()}
        self._sums.clear()
        self._count = 0
        return averages
