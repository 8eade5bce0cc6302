"""Batches, drawn by other processes while the model learns. A batch follows from its number and the seed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class _Numbered(Dataset[Batch], Generic[Batch]):
    make: Callable[[random.Random], Batch]
    name: str

    def __getitem__(self, number: int) -> Batch:
        return self.make(random.Random(f"{self.name} {number}"))


def batches(make: Callable[[random.Random], Batch], name: str, start: int, workers: int) -> Iterator[Batch]:
    """Endless batches from number `start` on; `workers` 0 draws them in this process."""
    loader = DataLoader(
        _Numbered(make, name),
        batch_size=None,
        sampler=range(start, start + 10_000_000),
        num_workers=workers,
        prefetch_factor=3 if workers else None,
        worker_init_fn=_quiet,
        multiprocessing_context="spawn" if workers else None,
    )
    return iter(loader)


def _quiet(_: int) -> None:
    """One thread a worker: there is a worker for each spare core. Ctrl-C is for the process that learns."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
