"""`vipcli bench` and `vipcli doctor`: how fast this machine is, and what it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from vipcli.cli import groups, options
from vipcli.cli.shared import model_of
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output

MEASURING = "Measuring"


def bench(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A checkpoint; the default one without it.",
            autocompletion=options.complete_model,
        ),
    ] = None,
    *,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights",
            help="Measure a known checkpoint's shape without fetching it.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="Measure the documentation's own loop in 16 bits too, and compare.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    batch: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=1024, help="Pictures side by side.", rich_help_panel=MEASURING),
    ] = 1,
    tokens: Annotated[
        int,
        typer.Option(metavar="N", min=2, max=4096, help="Length of the answers.", rich_help_panel=MEASURING),
    ] = 64,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=100, help="How often; the median counts.", rich_help_panel=MEASURING
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
    from vipcli.checkpoints.catalog import BY_HUB_NAME, KNOWN

    if name is not None:
        settings = replace(settings, model=name)
    model = model_of(settings, quiet=quiet)
    name = settings.model
    subject = KNOWN.get(name) or BY_HUB_NAME.get(name) if random_weights else model.checkpoint
    if subject is None:
        raise UsageError(f"The shape of {name!r} is not known. Those that are: {', '.join(KNOWN)}.")
    with output.status("Loading torch …", quiet):
        from vipcli.asking.interface import Setup
        from vipcli.engine import benchmark
    plan = benchmark.Plan(batch, tokens, repeat)
    plain = None
    if baseline:
        with output.status(f"Measuring {name} as the documentation runs it …", quiet):
            plain = benchmark.measure(subject, Setup(settings.device, "bfloat16"), plan, plain=True)
    with output.status(f"Measuring {name} …", quiet):
        ours = benchmark.measure(subject, model.setup, plan)
    if json:
        output.write_json(benchmark.record(subject, ours, plain, plan))
        return
    for line in benchmark.report(subject, ours, plain, plan):
        output.write(line)


def doctor(json: options.Json = False) -> None:
    """Show what this machine has, which checkpoints fit, and what is missing."""
    from vipcli.engine import doctor as checks

    report = checks.look()
    if json:
        output.write_json(checks.record(report))
        return
    for line in checks.lines(report):
        output.write(line)
    for advice in report.advice:
        output.note(advice)


bench_command = groups.command(options.expanded(bench))
doctor_command = groups.command(doctor)
