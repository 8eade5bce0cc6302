"""Time two ways to do the same thing.

Machines are shared and noisy, so both ways run alternately in one process, and each run is compared with its
neighbor.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """A task, done by a baseline and by vipcli.

    Each call does a number of units of work (`marks`, `runs` …). Do what belongs to no unit before, where
    the comparison is created.
    """

    name: str
    baseline_name: str
    ours_name: str
    baseline: Callable[[], None]
    ours: Callable[[], None]
    target: str
    """The target in words."""
    least_ratio: float | None = None
    """The least speed as a multiple of the baseline's; below 1, vipcli may be slower."""
    most_seconds: float | None = None
    """The most seconds that a unit may take vipcli."""
    most_more: float | None = None
    """The most seconds that a unit may take vipcli beyond the baseline."""
    unit: str = "run"
    baseline_units: int = 1
    ours_units: int = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds for a unit of work in each run."""

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
        """The speed as a multiple of the baseline's: the median over pairs of runs, since machines drift."""
        return statistics.median(theirs / own for theirs, own in zip(self.baseline, self.ours, strict=True))

    @property
    def more(self) -> float:
        """The seconds beyond the baseline: the median over pairs of runs."""
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
    """Time both ways alternately, `repeat` times each, after a first run that does not count."""
    comparison.baseline()
    comparison.ours()
    baseline: list[float] = []
    ours: list[float] = []
    for run in range(repeat):
        ways = [(comparison.baseline, baseline), (comparison.ours, ours)]
        for way, times in ways if run % 2 else reversed(ways):
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
