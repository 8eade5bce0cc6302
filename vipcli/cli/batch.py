"""`vipcli batch`: ask about many pictures or regions, and write a row for each."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vipcli.cli import batch_options, options
from vipcli.cli.batch_options import OutputChoices, SourceChoices, SpeedChoices
from vipcli.cli.groups import command
from vipcli.cli.options import ChoiceOptions
from vipcli.cli.shared import build_model, note_unused, show_notes
from vipcli.config import Settings
from vipcli.errors import INTERRUPTED, SOME_FAILED, UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.asking.interface import Grammar
    from vipcli.batch.items import ItemStream
    from vipcli.batch.job import Backend, Outcome, RowTarget
    from vipcli.batch.preparing import BatchConfig
    from vipcli.cli.batch_output import TerminalBatchEvents
    from vipcli.marks.kinds import TypedMark


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="A folder, pictures, a glob, a list (.txt, or - for standard input), tasks (.jsonl, .csv) "
            "or annotations (COCO, labelme, YOLO, VOC, masks, ViP-Bench).",
        ),
    ],
    *,
    selection: Annotated[SourceChoices, batch_options.SOURCE_OPTIONS],
    out: Annotated[OutputChoices, batch_options.OUTPUT_OPTIONS],
    marks: options.Marks,
    frames: options.Frames = None,
    settings: Annotated[
        Settings,
        options.MODEL_OPTIONS,
        options.ANSWER_OPTIONS,
        options.SCORING_OPTIONS,
        options.FIT_OPTIONS,
        options.STYLE_OPTIONS,
    ],
    form: Annotated[options.GrammarChoices, options.GRAMMAR_OPTIONS],
    choice: Annotated[ChoiceOptions, options.CHOICE_OPTIONS],
    speed: Annotated[SpeedChoices, batch_options.SPEED_OPTIONS],
) -> None:
    """Ask about many pictures or regions, and save each answer as soon as it comes.

    vipcli batch photos/ --question "What is {1}?" --box 25%,25%,75%,75% -o a.jsonl
    vipcli batch annotations.json --question "What color is the {label}?" -o a.csv
    """
    sources, selection = _accept_old_question(sources, selection, quiet=out.quiet)
    if selection.question is not None and not selection.question.strip():
        raise UsageError("The question is empty. Write one, or leave out --question for a default question.")
    if out.coco_out is not None and len(sources) > 1:
        raise UsageError("With --coco-out, name one COCO file as the only source.")
    stream = _gather(sources, selection, marks.typed, frames, out)
    # Without a fixed seed, a resumed batch would sample differently.
    settings = replace(settings, seed=settings.seed or 0)
    grammar = form.read()
    target = _target(sources, selection, grammar, out)
    if target is not None and not out.dry_run:
        target.check()
    model = build_model(settings, quiet=out.quiet)
    texts = choice.texts(settings.model)
    if texts:
        from vipcli.asking.choices import check_alone

        check_alone(texts, grammar, settings.guide)
        note_unused(settings, has_choices=True, quiet=out.quiet)
    config = replace(_config(model, selection, speed, frames, out), choices=texts, grammar=grammar)
    if out.dry_run:
        _dry_run(stream, config, as_json=out.json)
    else:
        _run(stream, target, _backend(model, config, speed, quiet=out.quiet), out)


def _accept_old_question(
    sources: list[str], choices: SourceChoices, *, quiet: bool
) -> tuple[list[str], SourceChoices]:
    """Accept a question after `-q`, as earlier versions did."""
    if choices.question is not None or not quiet or len(sources) < 2:
        return sources, choices
    sentences = [source for source in sources if re.search(r"\s|\?$", source) and not _exists(source)]
    if len(sentences) != 1:
        return sources, choices
    output.note("-q is --quiet. Give the question with --question.")
    return [source for source in sources if source != sentences[0]], replace(choices, question=sentences[0])


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _gather(
    sources: list[str],
    choices: SourceChoices,
    marks: list[TypedMark],
    frames: int | None,
    out: OutputChoices,
) -> ItemStream:
    from vipcli.batch.items import ItemOptions
    from vipcli.batch.sources import gather
    from vipcli.marks.regions import RegionFilter

    item_options = ItemOptions(
        question=choices.question,
        marks=tuple(marks),
        image_folder=None if choices.images is None else _folder(choices.images),
        form=choices.form,
        joint=bool(choices.joint),
        region_filter=RegionFilter(
            tuple(choices.label or ()), choices.min_size, choices.max_size, choices.min_score
        ),
        include_videos=frames is not None,
        excluded_folders=() if out.save_marked is None else (Path(out.save_marked),),
    )
    stream = gather(sources, item_options)
    show_notes(stream.notes, quiet=out.quiet)
    return stream if choices.limit is None else stream.first(choices.limit)


def _folder(path: str) -> Path:
    if not _exists(path) or not Path(path).is_dir():
        raise UsageError(f"There is no folder {path[:200]!r}. Check the path.")
    return Path(path)


def _target(
    sources: list[str], choices: SourceChoices, grammar: Grammar | None, out: OutputChoices
) -> RowTarget | None:
    """The output file; None for standard output."""
    with output.status("Loading …", out.quiet):
        from vipcli.asking.grammars import columns
        from vipcli.batch.job import RowTarget
    if out.out is None:
        return None
    return RowTarget(
        Path(out.out),
        resume=out.resume or out.retry_failed,
        retry_failed=out.retry_failed,
        is_complete=choices.limit is None,
        coco=None if out.coco_out is None else (Path(sources[0]), Path(out.coco_out)),
        fields=columns(grammar),
    )


def _config(
    model: Model, choices: SourceChoices, speed: SpeedChoices, frames: int | None, out: OutputChoices
) -> BatchConfig:
    from vipcli.asking.interface import Sampling, Scoring
    from vipcli.asking.values import Drawing
    from vipcli.batch.preparing import BatchConfig
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    settings = model.settings
    config = BatchConfig(
        model.checkpoint,
        model.setup,
        Drawing.of(settings),
        choices.drawn_as,
        settings.prompt,
        settings.system,
        settings.fit,
        settings.zoom,
        Sampling.of(settings),
        Scoring.of(settings),
        guide=settings.guide,
        max_pixels=settings.max_pixels or DEFAULT_MAX_PIXELS,
        save_marked=None if out.save_marked is None else Path(out.save_marked),
        spelling=options.as_option,
    )
    overrides: dict[str, Any] = {
        "frames": frames,
        "batch_size": _batch_size(speed.together, settings, quiet=out.quiet),
        "readers": speed.readers,
    }
    return replace(config, **{name: value for name, value in overrides.items() if value is not None})


def _batch_size(together: int | None, settings: Settings, *, quiet: bool) -> int | None:
    """How many questions to answer at a time; None for the default."""
    if settings.temperature:
        if together is not None and together > 1:
            show_notes(
                ["With --temperature, questions are answered one at a time, so the seed repeats answers."],
                quiet=quiet,
            )
        return 1
    from vipcli.checkpoints.catalog import BUNDLED

    if together is None and settings.model != BUNDLED:
        from vipcli.engine.devices import runs_on_cpu

        # On a CPU, a large model takes minutes per batch, and rows should be saved more often than that.
        return 1 if runs_on_cpu(settings.device) else None
    return together


def _backend(model: Model, config: BatchConfig, speed: SpeedChoices, *, quiet: bool) -> Backend:
    if speed.on is None:
        from vipcli.batch.job import local_backend

        return local_backend(config, model.local)
    from vipcli.batch.ray_cluster import ray_backend

    return ray_backend(config, speed.workers, lambda message: show_notes([message], quiet=quiet))


def _dry_run(stream: ItemStream, config: BatchConfig, *, as_json: bool) -> None:
    from vipcli.batch.job import dry_run
    from vipcli.cli.batch_output import print_row

    failed = 0
    with closing(dry_run(stream, config)) as rows:
        for row in rows:
            failed += row["error"] is not None
            print_row(row, "question", as_json=as_json)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _run(stream: ItemStream, target: RowTarget | None, backend: Backend, out: OutputChoices) -> None:
    """Run the batch, print a summary, and exit with an error code unless every item was answered."""
    from vipcli.batch import job
    from vipcli.cli.batch_output import PrintedRows, TerminalBatchEvents

    events = TerminalBatchEvents(prints_rows=target is None, quiet=out.quiet)
    if target is None:
        outcome = job.run(stream, PrintedRows(as_json=out.json), backend, events)
    else:
        outcome = job.run_to_file(stream, target, backend, events)
    _print_outcome(outcome, events, target, out)
    if outcome.stopped:
        raise typer.Exit(INTERRUPTED)
    if outcome.tally.errors:
        raise typer.Exit(SOME_FAILED)


def _print_outcome(
    outcome: Outcome, events: TerminalBatchEvents, target: RowTarget | None, out: OutputChoices
) -> None:
    from vipcli.cli.batch_output import summary

    if out.json and target is not None:
        timing = {"seconds": round(events.seconds, 3), "rate": round(events.rate, 3)}
        output.write_json({**outcome.record, **timing})
    else:
        row_path = None if target is None else target.row_path
        show_notes(list(summary(outcome, events, row_path)), quiet=out.quiet)
    if target is None:
        return
    if outcome.stopped:
        show_notes(["To continue, run the same command with --resume."], quiet=out.quiet)
    elif outcome.tally.errors:
        show_notes(
            ["The rows of failed items say why. --retry-failed asks about them again."], quiet=out.quiet
        )


batch_command = command(options.expand_groups(batch), marks=True)
