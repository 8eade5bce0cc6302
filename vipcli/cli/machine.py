"""The commands `vipcli bench` and `vipcli doctor`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli.cli import groups, options
from vipcli.cli.shared import model_of
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
            help="Measure the shape of a known checkpoint without downloading it.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="Compare with the documentation's own code in 16 bits.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    batch: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=1024, help="Pictures in a batch.", rich_help_panel=MEASURING),
    ] = 1,
    tokens: Annotated[
        int,
        typer.Option(metavar="N", min=2, max=4096, help="Length of the answers.", rich_help_panel=MEASURING),
    ] = 64,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=100,
            help="Runs; the median counts.",
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
    model = model_of(settings, quiet=quiet)
    subject = _known_shape(settings.model) if random_weights else model.checkpoint
    with output.status("Loading torch …", quiet):
        from vipcli.asking.interface import Setup
        from vipcli.engine import benchmark
    plan = benchmark.BenchmarkPlan(batch, tokens, repeat)
    plain = None
    if baseline:
        with output.status(f"Measuring {settings.model} as the documentation runs it …", quiet):
            plain = benchmark.measure(subject, Setup(settings.device, "bfloat16"), plan, plain=True)
    with output.status(f"Measuring {settings.model} …", quiet):
        ours = benchmark.measure(subject, model.setup, plan)
    if json:
        output.write_json(benchmark.as_record(subject, ours, plain, plan))
        return
    for line in benchmark.as_lines(subject, ours, plain, plan):
        output.write(line)


def _known_shape(name: str) -> KnownCheckpoint:
    """The shape of a checkpoint that `--random-weights` can imitate."""
    from vipcli.checkpoints.catalog import BY_HUB_NAME, KNOWN

    known = KNOWN.get(name) or BY_HUB_NAME.get(name)
    if known is None:
        raise UsageError(f"The shape of {name!r} is not known. Known shapes: {', '.join(KNOWN)}.")
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


bench_command = groups.command(options.expanded(bench))
doctor_command = groups.command(doctor)
