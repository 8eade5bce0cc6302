"""The commands `vipcli bench` and `vipcli doctor`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli.cli import groups, options
from vipcli.cli.shared import build_model
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.checkpoints.catalog import KnownCheckpoint

MEASURING = "Measuring"


def bench(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A checkpoint. Default: the configured model.",
            autocompletion=options.complete_model,
        ),
    ] = None,
    *,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights",
            help="Measure a known checkpoint with random weights, without downloading it.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="Compare with the example code of the transformers documentation, in 16 bits.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    batch: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=1024, help="Pictures per batch.", rich_help_panel=MEASURING),
    ] = 1,
    tokens: Annotated[
        int,
        typer.Option(metavar="N", min=2, max=4096, help="Tokens per answer.", rich_help_panel=MEASURING),
    ] = 64,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=100,
            help="Number of runs; the median is reported.",
            rich_help_panel=MEASURING,
        ),
    ] = 3,
    settings: Annotated[Settings, options.RUN_OPTIONS],
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how fast a checkpoint answers here, and how much memory that takes.

    vipcli bench --tokens 8
    vipcli bench vip-llava-7b --random-weights --quantize 4bit --baseline
    """
    if name is not None:
        settings = replace(settings, model=name)
    model = build_model(settings, quiet=quiet)
    subject = _known_shape(settings.model) if random_weights else model.checkpoint
    with output.status("Loading torch …", quiet):
        from vipcli.asking.interface import Setup
        from vipcli.engine import benchmark
    plan = benchmark.BenchmarkPlan(batch, tokens, repeat)
    baseline_run = None
    if baseline:
        with output.status(f"Measuring {settings.model} as the transformers documentation runs it …", quiet):
            baseline_run = benchmark.measure(subject, Setup(settings.device, "bfloat16"), plan, plain=True)
    with output.status(f"Measuring {settings.model} …", quiet):
        run = benchmark.measure(subject, model.setup, plan)
    if json:
        output.write_json(benchmark.as_record(subject, run, baseline_run, plan))
        return
    for line in benchmark.as_lines(subject, run, baseline_run, plan):
        output.write(line)


def _known_shape(name: str) -> KnownCheckpoint:
    """Look up the shape of a checkpoint for `--random-weights`."""
    from vipcli.checkpoints.catalog import BY_HUB_NAME, KNOWN

    known = KNOWN.get(name) or BY_HUB_NAME.get(name)
    if known is None:
        raise UsageError(f"{name!r} is not a known checkpoint. The known ones are {', '.join(KNOWN)}.")
    return known


def doctor(json: options.Json = False) -> None:
    """Show what this machine has, which checkpoints fit, and what is missing."""
    from vipcli.engine import doctor as checks

    report = checks.inspect_machine()
    if json:
        output.write_json(checks.as_record(report))
        return
    for line in checks.as_lines(report):
        output.write(line.spelled(options.as_option))
    for advice in report.advice:
        output.note(advice)


bench_command = groups.command(options.expand_groups(bench))
doctor_command = groups.command(doctor)
