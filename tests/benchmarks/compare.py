"""Two ways to do one thing, timed in turns.

Machines are shared and noisy: both ways are timed in one run, each after the other, and turns are compared.
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
    most_more: float | None = None
    """How many seconds more than the baseline's one unit of ours may take."""
    unit: str = "run"
    baseline_units: int = 1
    ours_units: int = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds for a unit of work, turn by turn."""

    comparison: Comparison
    baseline: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def baseline_seconds(self) -> float:
        return statistics.median(self.baseline)

    @property
    def ours_seconds(self) -> float:
        return statistics.median(self.ours)

    @property
    def ratio(self) -> float:
        """How many times as fast as the baseline we are: the median of turns, for a machine's pace drifts."""
        return statistics.median(theirs / own for theirs, own in zip(self.baseline, self.ours, strict=True))

    @property
    def more(self) -> float:
        """How many seconds more we take than the baseline: the median of turns."""
        return statistics.median(own - theirs for theirs, own in zip(self.baseline, self.ours, strict=True))

    @property
    def met(self) -> bool:
        """Whether every bound of the comparison holds."""
        least, most = self.comparison.least_ratio, self.comparison.most_seconds
        more = self.comparison.most_more
        return (
            (least is None or self.ratio >= least)
            and (most is None or self.ours_seconds <= most)
            and (more is None or self.more <= more)
        )


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
        tuple(seconds / comparison.baseline_units for seconds in baseline),
        tuple(seconds / comparison.ours_units for seconds in ours),
    )


def _seconds(way: Callable[[], None]) -> float:
    gc.collect()
    start = time.perf_counter()
    way()
    return time.perf_counter() - start
