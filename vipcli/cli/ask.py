"""`vipcli ask`: one question about a picture."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli import config
from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.mark_arguments import is_file
from vipcli.cli.picking import Picked, PickRequest, picking
from vipcli.cli.shared import build_model, save_marked, show_notes
from vipcli.config import Settings
from vipcli.errors import ModelError, UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.asking.interface import Answerer, Grammar
    from vipcli.asking.records import Answer
    from vipcli.asking.values import MarkedInput, Question
    from vipcli.checkpoints.lookup import Checkpoint
    from vipcli.serving.client import ServerInfo


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to print and save besides the answer."""

    save: str | None
    show: bool | None
    dry_run: bool | None
    json: bool | None
    quiet: bool | None
    verbose: bool | None


OUTPUT_OPTIONS = options.OptionGroup(
    {
        "save": Annotated[
            str | None,
            typer.Option(
                "--save-marked",
                metavar="FILE",
                help="Save the marked picture.",
                rich_help_panel=options.OUTPUT,
            ),
        ],
        "show": options.ShowView,
        "dry_run": Annotated[
            bool,
            typer.Option(
                "--dry-run",
                help="Print the exact prompt and the marks without running a model.",
                rich_help_panel=options.OUTPUT,
            ),
        ],
        "json": options.Json,
        "quiet": options.Quiet,
        "verbose": options.Verbose,
    }
)


def ask(
    image: options.Image,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            help="The question; {1}, {2} … stand for the marks. By default, asks about the marks.",
        ),
    ] = None,
    *,
    marks: options.Marks,
    images: options.MoreImages = None,
    frames: options.Frames = None,
    settings: Annotated[
        Settings,
        options.MODEL_OPTIONS,
        options.SERVER_OPTIONS,
        options.ANSWER_OPTIONS,
        options.FIT_OPTIONS,
        options.STYLE_OPTIONS,
        options.PICK_OPTIONS,
    ],
    form: Annotated[options.GrammarChoices, options.GRAMMAR_OPTIONS],
    keep_alive: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Keep the model in memory until this long after the last question: 10m, 2h.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    outputs: Annotated[Outputs, OUTPUT_OPTIONS],
) -> None:
    """Ask about a picture, or about what is marked on it.

    vipcli ask photo.jpg "What is {1}?" --box
    vipcli ask photo.jpg "Is {1} taller than {2}?" --box 5,5,90,90 --arrow 80%,40%
    """
    started = time.perf_counter()
    _check(image, question, outputs)
    grammar = form.read()
    model = build_model(settings, quiet=bool(outputs.quiet))
    request = PickRequest(
        "ask",
        question,
        asks=question is None,
        quiet=bool(outputs.quiet),
        on_shown=(lambda: None) if outputs.dry_run or keep_alive else model.preload,
    )
    checkpoint = model.peek() if marks.has_unplaced else None
    with picking(
        marks, [image, *(images or [])], settings, request, frames=frames, checkpoint=checkpoint
    ) as picked:
        if picked.command is not None:
            # The time that a person took to draw is not the program's.
            started = time.perf_counter()
        _ask(model, picked, grammar, keep_alive, started, outputs)


def _ask(
    model: Model,
    picked: Picked,
    grammar: Grammar | None,
    keep_alive: str | None,
    started: float,
    outputs: Outputs,
) -> None:
    checkpoint, prepared = _prepare(model, picked.marked, picked.question, grammar, outputs)
    if outputs.dry_run:
        _print_prompt(prepared, picked.command, as_json=bool(outputs.json))
        return
    seconds = {"picture": time.perf_counter() - started}
    server = model.server(checkpoint)
    if server is None and model.checkpoint != checkpoint:
        # The checkpoint is downloaded now, so its prompt form is certain.
        preview, prepared = prepared, model.prepare(picked.marked, picked.question, grammar=grammar)
        _show_question_notes(prepared, preview, quiet=bool(outputs.quiet))
    answerer = _connect(model, server, keep_alive, outputs)
    seconds["load"] = time.perf_counter() - started - seconds["picture"]
    _answer(prepared, answerer, model.settings, seconds, picked, outputs)


def _check(image: str, question: str | None, outputs: Outputs) -> None:
    if outputs.save == "-":
        raise UsageError("Standard output is for the answer. Name a file, or use vipcli draw -o -.")
    if question is None and " " in image.strip() and not is_file(image) and "://" not in image:
        raise UsageError(
            f"The picture is missing before the question {image!r}: vipcli ask PICTURE QUESTION."
        )
    if question is not None and not is_file(image) and is_file(question):
        raise UsageError("The picture comes before the question: vipcli ask PICTURE QUESTION.")


def _prepare(
    model: Model, marked: MarkedInput, question: str | None, grammar: Grammar | None, outputs: Outputs
) -> tuple[Checkpoint, Question]:
    """Build the question before a checkpoint is downloaded, and show or save what the model would see."""
    quiet = bool(outputs.quiet)
    checkpoint = model.peek()
    if checkpoint.needs_unknown_template(model.settings.prompt) and not outputs.dry_run:
        checkpoint = model.checkpoint
    prepared = model.prepare(marked, question, checkpoint, grammar=grammar)
    _show_question_notes(prepared, quiet=quiet)
    if outputs.save is not None:
        save_marked(marked, outputs.save, quiet=quiet)
    if outputs.show:
        _show_view(prepared, checkpoint)
    if outputs.dry_run and checkpoint.family_is_guess:
        text = f"{checkpoint.name} is not downloaded yet. This is the prompt of the ViP-LLaVA checkpoints."
        show_notes([text], quiet=quiet)
    return checkpoint, prepared


def _connect(model: Model, server: ServerInfo | None, keep_alive: str | None, outputs: Outputs) -> Answerer:
    if keep_alive is not None and server is None:
        seconds = config.parse_value(config.parse_duration, keep_alive, "--keep-alive")
        server = model.start_server(seconds)
        if not model.is_held_by(server):
            text = f"The running server holds {server.model}, or runs it with other settings."
            show_notes([f"{text} Stop it with vipcli serve --stop."], quiet=bool(outputs.quiet))
            server = None
    if server is not None and outputs.verbose:
        output.note(f"Answered by the running server: {server.model} on {server.device}.")
    return model.connect(server)


def _answer(
    question: Question,
    answerer: Answerer,
    settings: Settings,
    seconds: dict[str, float],
    picked: Picked,
    outputs: Outputs,
) -> None:
    from vipcli.asking import pipeline, records
    from vipcli.asking.interface import Sampling

    sampling = Sampling.of(settings)
    if outputs.json:
        answer: Answer = pipeline.ask(question, answerer, sampling, picked.on_text)
        answer = replace(answer, seconds={**seconds, **answer.seconds})
        output.write_json({**answer.record(), **_command_entry(picked.command)})
    elif question.grammar is not None:
        answer = pipeline.ask(question, answerer, sampling, picked.on_text)
        _write_whole(answer)
    else:
        with output.answer_line() as on_text:
            answer = pipeline.ask(question, answerer, sampling, picked.also_to(on_text))
    picked.on_answer(answer)
    show_notes(tuple(records.doubts(answer)), quiet=bool(outputs.quiet))
    if outputs.verbose:
        output.note(records.summary(answer, seconds))


def _write_whole(answer: Answer) -> None:
    """Write an answer that must follow a schema or a pattern, unless it was cut off before it did."""
    from vipcli.asking.records import cut_off_note

    if answer.is_cut_off:
        note = cut_off_note(answer)
        raise ModelError(note.fact, note.advice)
    output.write(answer.text)


def _command_entry(command: str | None) -> dict[str, str]:
    """The entry of the record for marks that were drawn by hand."""
    return {} if command is None else {"command": command}


def _show_question_notes(question: Question, preview: Question | None = None, *, quiet: bool) -> None:
    """Show the notes on a question, except those already shown for its preview."""
    if not question.by_user and preview is None and not quiet:
        output.note(f"Asking: {question.text}")
    already_shown = () if preview is None else preview.notes
    show_notes([text for text in question.notes if text not in already_shown], quiet=quiet)


def _show_view(question: Question, checkpoint: Checkpoint) -> None:
    from vipcli.pictures.fitting import model_view

    for picture in question.marked.pictures:
        output.show_picture(
            model_view(picture.pixels, question.fit, checkpoint.input_size, checkpoint.padding)
        )


def _print_prompt(question: Question, command: str | None, *, as_json: bool) -> None:
    from vipcli.asking import records

    if as_json:
        output.write_json(
            {
                "question": question.text,
                "prompt": question.prompt,
                **records.describe_question(question),
                **_command_entry(command),
            }
        )
        return
    output.write(question.prompt)
    for number, mark in enumerate(question.marked.marks, 1):
        on = records.placement(question.marked, number)
        output.write(f"{{{number}}} {mark.phrase}: {mark.kind} {records.location(mark)}{on}")


ask_command = command(options.expand_groups(ask), marks=True)
