"""Run the comparisons and print what came out; the exit code is 1 if a target was missed."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

# Before torch is imported anywhere: spinning threads starve each other on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console
from rich.table import Table

import tests.benchmarks
from tests.benchmarks.compare import Comparison, Measurement, measure

NOT_BENCHMARKS = ("__main__", "compare", "gpu")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=tests.benchmarks.__doc__)
    parser.add_argument("names", nargs="*", help="modules or comparisons to run; all without one")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="times each way is timed (7)")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of a table")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat takes a number from 1")
    modules = [module.name for module in pkgutil.iter_modules(tests.benchmarks.__path__)]
    comparisons = _select([name for name in modules if name not in NOT_BENCHMARKS], options.names, parser)
    progress = Console(stderr=True)
    measurements = []
    for comparison in comparisons:
        with progress.status(f"{comparison.name} …"):
            measurements.append(measure(comparison, options.repeat))
    if options.json:
        print(json.dumps([_record(measurement) for measurement in measurements], indent=2))
    else:
        Console().print(_table(measurements))
    return 0 if all(measurement.met for measurement in measurements) else 1


def _select(modules: list[str], names: list[str], parser: argparse.ArgumentParser) -> list[Comparison]:
    """The comparisons with these names, and all of the modules with these names."""
    # Import no other modules if all names are those of modules.
    imported = names if set(names) <= set(modules) and names else modules
    available = [
        (module, comparison)
        for module in modules
        if module in imported
        for comparison in importlib.import_module(f"tests.benchmarks.{module}").comparisons()
    ]
    known = {*modules, *(comparison.name for _, comparison in available)}
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no benchmark {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return [
        comparison
        for module, comparison in available
        if not names or module in names or comparison.name in names
    ]


def _table(measurements: list[Measurement]) -> Table:
    table = Table("comparison", "baseline", "ours", "speed", "target", "met")
    for measurement in measurements:
        comparison = measurement.comparison
        table.add_row(
            comparison.name,
            f"{comparison.baseline_name}\n{_pace(measurement.baseline_seconds, comparison.unit)}",
            f"{comparison.ours_name}\n{_pace(measurement.ours_seconds, comparison.unit)}",
            f"{measurement.ratio:,.2f} ×" if measurement.ratio < 10 else f"{measurement.ratio:,.0f} ×",
            comparison.target,
            "[green]yes[/]" if measurement.met else "[red]no[/]",
        )
    return table


def _pace(seconds: float, unit: str) -> str:
    duration = f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
    return f"{duration} a {unit}, {1 / seconds:,.0f} a second" if seconds < 0.1 else f"{duration} a {unit}"


def _record(measurement: Measurement) -> dict[str, Any]:
    return {
        "name": measurement.comparison.name,
        "unit": measurement.comparison.unit,
        "baseline": measurement.comparison.baseline_name,
        "baseline_seconds": measurement.baseline_seconds,
        "ours": measurement.comparison.ours_name,
        "ours_seconds": measurement.ours_seconds,
        "ratio": measurement.ratio,
        "target": measurement.comparison.target,
        "met": measurement.met,
    }


if __name__ == "__main__":
    sys.exit(main())
