"""`vipcli ask`: one question about a picture."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli import config
from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.places import is_file
from vipcli.cli.shared import load_marks, model_of, notes, save_marked
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.asking.interface import Answerer
    from vipcli.asking.records import Answer
    from vipcli.asking.values import Question
    from vipcli.checkpoints.lookup import Checkpoint
    from vipcli.serving.client import ServerInfo


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
    ],
    keep_alive: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="Keep the model in memory until this long after the last question: 10m, 2h.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            "--save-marked", metavar="FILE", help="Save the marked picture.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    show: options.ShowView = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the exact prompt and the marks; run no model.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask about a picture, or about what is marked on it.

    vipcli ask photo.jpg "What is {1}?" --box 40,60,200,220
    vipcli ask photo.jpg "Is {1} taller than {2}?" --box 5,5,90,90 --arrow 80%,40%
    """
    started = time.perf_counter()
    _check(image, question, save)
    model = model_of(settings, quiet=quiet)
    marked = load_marks([image, *(images or [])], marks, settings, frames)
    # Find mistakes in the question before downloading a checkpoint.
    checkpoint = model.peek()
    if checkpoint.lacks_template(settings.prompt) and not dry_run:
        checkpoint = model.checkpoint
    prepared = model.prepare(marked, question, checkpoint)
    _show_notes(prepared, quiet=quiet)
    if save is not None:
        save_marked(marked, save, quiet=quiet)
    if show:
        _show_view(prepared, checkpoint)
    if dry_run:
        if checkpoint.assumed and not quiet:
            output.note(
                f"{checkpoint.name} is not downloaded yet. This is the prompt of the ViP-LLaVA checkpoints."
            )
        _print_prompt(prepared, as_json=json)
        return
    seconds = {"picture": time.perf_counter() - started}
    held = model.server(checkpoint)
    if held is None and model.checkpoint != checkpoint:
        first, prepared = prepared, model.prepare(marked, question)
        _show_notes(prepared, first, quiet=quiet)
    answerer = _connect(model, held, keep_alive, verbose=verbose)
    seconds["load"] = time.perf_counter() - started - seconds["picture"]
    _answer(prepared, answerer, settings, seconds, json=json, quiet=quiet, verbose=verbose)


def _check(image: str, question: str | None, save: str | None) -> None:
    if save == "-":
        raise UsageError("Standard output is for the answer. Name a file, or use vipcli draw -o -.")
    if question is not None and not is_file(image) and is_file(question):
        raise UsageError("The picture comes before the question: vipcli ask PICTURE QUESTION.")


def _connect(model: Model, held: ServerInfo | None, keep_alive: str | None, *, verbose: bool) -> Answerer:
    if keep_alive is not None and held is None:
        held = model.start_server(config.checked(config.read_span, keep_alive, "--keep-alive"))
    if held is not None and verbose:
        output.note(f"Answered by the running server: {held.model} on {held.device}.")
    return model.connect(held)


def _answer(
    question: Question,
    answerer: Answerer,
    settings: Settings,
    seconds: dict[str, float],
    *,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    from vipcli.asking import pipeline, records
    from vipcli.asking.interface import Sampling

    sampling = Sampling.of(settings)
    if json:
        answer: Answer = pipeline.ask(question, answerer, sampling)
        answer = replace(answer, seconds={**seconds, **answer.seconds})
        output.say_json(answer.record())
    else:
        with output.ended_line() as on_text:
            answer = pipeline.ask(question, answerer, sampling, on_text)
    notes(tuple(records.doubts(answer)), quiet=quiet)
    if verbose:
        output.note(records.summary(answer, seconds))


def _show_notes(question: Question, first: Question | None = None, *, quiet: bool) -> None:
    """Show the notes on a question, except those already shown for its first version."""
    if not question.by_user and first is None and not quiet:
        output.note(f"Asking: {question.text}")
    known = () if first is None else first.notes
    notes([text for text in question.notes if text not in known], quiet=quiet)


def _show_view(question: Question, checkpoint: Checkpoint) -> None:
    from vipcli.pictures.fitting import model_view

    for shown in question.marked.pictures:
        output.show(model_view(shown.pixels, question.fit, checkpoint.input_size, checkpoint.padding))


def _print_prompt(question: Question, *, as_json: bool) -> None:
    from vipcli.asking import records

    if as_json:
        output.say_json(
            {"question": question.text, "prompt": question.prompt, **records.describe_question(question)}
        )
        return
    output.say(question.prompt)
    for number, mark in enumerate(question.marked.marks, 1):
        on = records.placement(question.marked, number)
        output.say(f"{{{number}}} {mark.phrase}: {mark.kind} {records.location(mark)}{on}")


ask_command = command(options.expanded(ask), marks=True)
