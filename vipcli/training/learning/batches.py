"""Batches made by worker processes while the model trains. Each depends only on the seed and its number."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

BatchType = TypeVar("BatchType")


@dataclass(frozen=True)
class _NumberedBatches(Dataset[BatchType], Generic[BatchType]):
    make: Callable[[random.Random], BatchType]
    seed: str

    def __getitem__(self, number: int) -> BatchType:
        return self.make(random.Random(f"{self.seed} {number}"))


def batches(
    make: Callable[[random.Random], BatchType], seed: str, start: int, workers: int
) -> Iterator[BatchType]:
    """Endless batches from number `start` on; with no workers they are made in this process."""
    loader = DataLoader(
        _NumberedBatches(make, seed),
        batch_size=None,
        sampler=range(start, start + 10_000_000),
        num_workers=workers,
        prefetch_factor=3 if workers else None,
        worker_init_fn=_set_up_worker,
        multiprocessing_context="spawn" if workers else None,
    )
    return iter(loader)


def _set_up_worker(_: int) -> None:
    """Use one thread per worker, and leave Ctrl-C to the training process."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
