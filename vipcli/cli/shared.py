"""What several commands share: progress in the terminal, notes, and saving marked pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from vipcli.api import Events, Model
from vipcli.cli.options import as_option
from vipcli.config import ResolvedSetting, Settings
from vipcli.errors import Message, UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.asking.values import MarkedInput


_UNUSED_WITH_CHOICES = ("max_new_tokens", "temperature", "top_p", "seed")


class TerminalEvents(Events):
    """Downloads, loading and notes on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def fetching(self, name: str, size: int) -> None:
        if self._quiet:
            return
        from vipcli.checkpoints.hub_cache import format_size

        output.note(f"Downloading {format_size(size)} of {name}. Ctrl-C stops it; finished files are kept.")

    def loading(self, text: str) -> AbstractContextManager[None]:
        return output.status(text, self._quiet)

    def note(self, text: str) -> None:
        output.note(text)


def build_model(settings: Settings, *, quiet: bool, resident: bool = False) -> Model:
    """The model named in the settings; downloads and loading are shown in the terminal."""
    if "quantize_all" in settings.explicit and settings.quantize_all and settings.quantize == "none":
        show_notes(["--quantize-all does nothing without --quantize."], quiet=quiet)
    return Model(settings, TerminalEvents(quiet=quiet), resident=resident)


def show_notes(messages: Sequence[Message | str], *, quiet: bool) -> None:
    """Show notes, with settings spelled as options, unless quiet."""
    if not quiet:
        for message in messages:
            output.note(message.spelled(as_option) if isinstance(message, Message) else message)


def note_unused(settings: Settings, *, has_choices: bool, quiet: bool) -> None:
    """Name the options that do nothing, since choices are not sampled and other answers not scored."""
    names = _UNUSED_WITH_CHOICES if has_choices else ("score",)
    unused = [as_option(name, None) for name in names if name in settings.explicit]
    if unused:
        does = "does" if len(unused) == 1 else "do"
        show_notes(
            [f"{' and '.join(unused)} {does} nothing {'with' if has_choices else 'without'} choices."],
            quiet=quiet,
        )


def check_output(path: str | None) -> None:
    """Raise OutputError if the marked picture could not be written there."""
    if path not in (None, "-"):
        from vipcli.pictures.images import check_target

        check_target(str(path))


def save_marked(marked: MarkedInput, path: str, *, quiet: bool) -> None:
    """Write the marked picture to a file or standard output; several pictures go to numbered files."""
    from vipcli.pictures import images

    if path == "-":
        if sys.stdout.isatty():
            raise UsageError("The terminal cannot show binary data. Name a file, or pipe the output.")
        if len(marked.pictures) > 1:
            raise UsageError(
                f"Standard output can take one picture, not {len(marked.pictures)}. Name a file."
            )
        output.write_bytes(images.encode(marked.pixels))
        return
    source_files = [
        *(marked_picture.picture.name for marked_picture in marked.pictures),
        *(mark.file for mark in marked.typed if mark.file is not None),
    ]
    target = Path(path)
    names = [path]
    if len(marked.pictures) > 1:
        names = [str(target.with_stem(f"{target.stem}-{n}")) for n in range(1, len(marked.pictures) + 1)]
    for marked_picture, name in zip(marked.pictures, names, strict=True):
        images.save_picture(marked_picture.pixels, name, sources=source_files)
    if len(names) > 1 and not quiet:
        output.note(f"The {len(names)} pictures are in {names[0]} to {names[-1]}.")


def origin(resolved: ResolvedSetting) -> str:
    """Where the value of a setting came from."""
    from vipcli import config

    match resolved.source:
        case "environment":
            return f"from {resolved.setting.variable}"
        case "file":
            return f"from {config.path()}"
        case source:
            return source
