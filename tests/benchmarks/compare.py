"""Two ways to do one thing, timed in turns.

Machines are shared and noisy: both ways are timed in one run, each after the other, and medians are compared.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing to be done, by a baseline and by us.

    Each is called many times, and does a number of units of work (`marks`, `runs` …) per call. Neither may
    prepare anything that belongs to no unit: do that before, where the comparison is made.
    """

    name: str
    baseline_name: str
    ours_name: str
    baseline: Callable[[], None]
    ours: Callable[[], None]
    target: str
    """What is wanted, in words."""
    least_ratio: float | None = None
    """How many times as fast as the baseline a unit must be; below 1, it may be slower."""
    most_seconds: float | None = None
    """How long one unit of ours may take."""
    unit: str = "run"
    baseline_units: int = 1
    ours_units: int = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """Median seconds for a unit of work."""

    comparison: Comparison
    baseline_seconds: float
    ours_seconds: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the baseline we are."""
        return self.baseline_seconds / self.ours_seconds

    @property
    def met(self) -> bool:
        """Whether every bound of the comparison holds."""
        least, most = self.comparison.least_ratio, self.comparison.most_seconds
        return (least is None or self.ratio >= least) and (most is None or self.ours_seconds <= most)


def measure(comparison: Comparison, repeat: int) -> Measurement:
    """Time both ways in turns, `repeat` times each, after a first time that does not count."""
    comparison.baseline()
    comparison.ours()
    baseline: list[float] = []
    ours: list[float] = []
    for turn in range(repeat):
        ways = [(comparison.baseline, baseline), (comparison.ours, ours)]
        for way, times in ways if turn % 2 else reversed(ways):
            times.append(_seconds(way))
    return Measurement(
        comparison,
        statistics.median(baseline) / comparison.baseline_units,
        statistics.median(ours) / comparison.ours_units,
    )


def _seconds(way: Callable[[], None]) -> float:
    gc.collect()
    start = time.perf_counter()
    way()
    return time.perf_counter() - start
