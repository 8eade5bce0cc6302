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
    asked = parser.parse_args(arguments)
    if asked.repeat < 1:
        parser.error("--repeat takes a number from 1")
    modules = [module.name for module in pkgutil.iter_modules(tests.benchmarks.__path__)]
    found = _chosen([name for name in modules if name not in NOT_BENCHMARKS], asked.names, parser)
    progress = Console(stderr=True)
    measurements = []
    for comparison in found:
        with progress.status(f"{comparison.name} …"):
            measurements.append(measure(comparison, asked.repeat))
    if asked.json:
        print(json.dumps([_record(one) for one in measurements], indent=2))
    else:
        Console().print(_table(measurements))
    return 0 if all(one.met for one in measurements) else 1


def _chosen(modules: list[str], names: list[str], parser: argparse.ArgumentParser) -> list[Comparison]:
    """The comparisons of the modules named, and those named themselves."""
    # A module that was named is all that must be imported.
    wanted = names if set(names) <= set(modules) and names else modules
    found = [
        (module, comparison)
        for module in modules
        if module in wanted
        for comparison in importlib.import_module(f"tests.benchmarks.{module}").comparisons()
    ]
    known = {*modules, *(comparison.name for _, comparison in found)}
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no benchmark {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return [one for module, one in found if not names or module in names or one.name in names]


def _table(measurements: list[Measurement]) -> Table:
    table = Table("comparison", "baseline", "ours", "speed", "target", "met")
    for one in measurements:
        table.add_row(
            one.comparison.name,
            f"{one.comparison.baseline_name}\n{_pace(one.baseline_seconds, one.comparison.unit)}",
            f"{one.comparison.ours_name}\n{_pace(one.ours_seconds, one.comparison.unit)}",
            f"{one.ratio:,.2f} ×" if one.ratio < 10 else f"{one.ratio:,.0f} ×",
            one.comparison.target,
            "[green]yes[/]" if one.met else "[red]no[/]",
        )
    return table


def _pace(seconds: float, unit: str) -> str:
    spent = f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
    return f"{spent} a {unit}, {1 / seconds:,.0f} a second" if seconds < 0.1 else f"{spent} a {unit}"


def _record(one: Measurement) -> dict[str, Any]:
    return {
        "name": one.comparison.name,
        "unit": one.comparison.unit,
        "baseline": one.comparison.baseline_name,
        "baseline_seconds": one.baseline_seconds,
        "ours": one.comparison.ours_name,
        "ours_seconds": one.ours_seconds,
        "ratio": one.ratio,
        "target": one.comparison.target,
        "met": one.met,
    }


if __name__ == "__main__":
    sys.exit(main())
