"""Guidance by contrast: answers from what is marked rather than from the rest of the picture and the words.

Each guided row has a twin, which sees the picture with what is marked blacked out and reads the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vipcli.asking.interface import Guide, Request
from vipcli.engine.compat import quick_imports

with quick_imports():
    import torch
    from transformers.generation.logits_process import LogitsProcessor
    from transformers.generation.stopping_criteria import StoppingCriteria


class Contrast:
    """The guided rows of a batch, and the hooks for `generate`. The twins follow after all rows."""

    def __init__(self, requests: Sequence[Request]) -> None:
        guides = [
            (row, request.guide)
            for row, request in enumerate(requests)
            if request.guide is not None and request.guide.alpha
        ]
        self.rows = [row for row, _ in guides]
        self.alphas = [guide.alpha for _, guide in guides]
        self.twins = [_twin(requests[row], guide) for row, guide in guides]

    def processors(self) -> list[Any]:
        """What changes the scores of the next tokens."""
        return [_GuidedScores(self.rows, self.alphas)] if self.rows else []

    def watch(self, monitor: StoppingCriteria) -> StoppingCriteria:
        """A monitor for all rows and twins, from one for the rows."""
        return _TwinMonitor(monitor, self.rows) if self.rows else monitor


def _twin(request: Request, guide: Guide) -> Request:
    return replace(
        request,
        images=guide.pictures if request.images else (),
        frames=guide.pictures if request.frames else (),
    )


class _GuidedScores(LogitsProcessor):  # type: ignore[misc]
    """Gives a row and its twin the same scores: 1 + alpha times the row's less alpha times the twin's."""

    def __init__(self, rows: Sequence[int], alphas: Sequence[float]) -> None:
        self._rows = list(rows)
        self._alphas = list(alphas)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        alphas = torch.tensor(self._alphas, device=scores.device, dtype=scores.dtype)[:, None]
        own, twin = scores[self._rows], scores[-len(self._rows) :]
        guided = (1 + alphas) * own - alphas * twin
        # A token that a grammar forbids stays forbidden.
        guided = guided.masked_fill(own == float("-inf"), float("-inf"))
        scores = scores.clone()
        scores[self._rows] = guided
        scores[-len(self._rows) :] = guided
        return scores


class _TwinMonitor(StoppingCriteria):  # type: ignore[misc]
    """Lets twins read the tokens of their rows, and end with them."""

    def __init__(self, monitor: StoppingCriteria, rows: Sequence[int]) -> None:
        self._monitor = monitor
        self._rows = list(rows)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        # Each row draws a token of its own, so the twin's is overwritten before it is read.
        input_ids[-len(self._rows) :, -1] = input_ids[self._rows, -1]
        ended = self._monitor(input_ids[: -len(self._rows)], scores, **kwargs)
        return torch.cat([ended, ended[self._rows]])
