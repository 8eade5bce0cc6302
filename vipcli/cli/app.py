"""The command line as a whole: its commands, and the exit code of each error."""

from __future__ import annotations

import traceback
from typing import Annotated, Any

import typer
import typer.main
from typer.exceptions import TyperException

from vipcli import __version__
from vipcli.cli.groups import group
from vipcli.errors import FAILED, INTERRUPTED, VipcliError
from vipcli.terminal import output

COMMANDS = {
    "ask": ("vipcli.cli.ask:ask_command", "Ask about a picture, or about what is marked on it."),
    "chat": ("vipcli.cli.chat:chat_command", "Talk about a picture, drawing marks as you go."),
    "web": ("vipcli.cli.web:web_command", "Talk about a picture in the browser."),
    "draw": ("vipcli.cli.draw:draw_command", "Draw marks on a picture."),
    "batch": ("vipcli.cli.batch:batch_command", "Ask about many pictures or regions."),
    "serve": ("vipcli.cli.serve:serve_command", "Keep a model in memory."),
    "models": ("vipcli.cli.app:models_command", "List, download and remove checkpoints."),
    "config": ("vipcli.cli.app:config_command", "Show and change saved settings."),
    "bench": ("vipcli.cli.machine:bench_command", "Measure how fast a checkpoint answers."),
    "doctor": ("vipcli.cli.machine:doctor_command", "Show what this machine can run."),
}
_CONFIG = {
    "show": ("vipcli.cli.config:show_command", "Show every setting and where it came from."),
    "set": ("vipcli.cli.config:set_command", "Save a value for a setting."),
    "unset": ("vipcli.cli.config:unset_command", "Return a setting to its default."),
    "path": ("vipcli.cli.config:path_command", "Print the path of the settings file."),
}
_MODELS = {
    "list": ("vipcli.cli.models:list_command", "List known and cached checkpoints."),
    "info": ("vipcli.cli.models:info_command", "Describe a checkpoint."),
    "pull": ("vipcli.cli.models:pull_command", "Download a checkpoint."),
    "rm": ("vipcli.cli.models:rm_command", "Remove a checkpoint from the cache."),
    "use": ("vipcli.cli.models:use_command", "Make a checkpoint the default."),
}

app = group("Point at part of a picture, ask, and get an answer.", COMMANDS, completion=True)


@app.callback()
def _top(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        output.write(f"vipcli {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        output.write(ctx.get_help())


def _subgroup(help: str, commands: dict[str, tuple[str, str]]) -> Any:
    subgroup = group(help, commands)

    @subgroup.callback()
    def show_help(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            output.write(ctx.get_help())

    return typer.main.get_command(subgroup)


models_command = _subgroup("List, download and remove checkpoints.", _MODELS)
config_command = _subgroup("Show and change saved settings.", _CONFIG)


def main() -> int:
    """Run the command line, report any error, and return the exit code."""
    output.open_streams()
    try:
        return _run()
    except VipcliError as error:
        from vipcli.cli.options import as_option

        output.error(error.message.spelled(as_option))
        return error.exit_code
    except MemoryError:
        output.error("There is not enough memory. Make the picture smaller.")
        return FAILED
    except TyperException as error:
        output.error(_usage_message(error))
        return error.exit_code
    except typer.Abort:
        # Ctrl-C or Ctrl-D at a confirmation.
        output.info("")
        return INTERRUPTED


def _run() -> int:
    try:
        code = app(prog_name="vipcli", standalone_mode=False) or 0
        output.flush()
        return code
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            # Typer exits like this when the program reading its help closes the pipe, which is no error.
            return 0
        return error.code if isinstance(error.code, int) else FAILED if error.code else 0
    except OSError as error:
        # Typer prints its help with a function called echo, which nothing else uses.
        if any(frame.name == "echo" for frame in traceback.extract_tb(error.__traceback__)):
            output.error(f"Standard output cannot be written: {error.strerror}.")
        else:
            name = f" on {str(error.filename)[:100]!r}" if error.filename else ""
            output.error(f"Operating system error{name}: {error.strerror or error}.")
        return FAILED


def warm() -> None:
    """Import what a question about a picture needs, except torch and the hub."""
    import vipcli.api
    import vipcli.asking.load_marked
    import vipcli.checkpoints.lookup
    import vipcli.cli.ask
    import vipcli.serving.client
    import vipcli.serving.protocol  # noqa: F401


def _usage_message(error: TyperException) -> str:
    message = error.format_message().rstrip(".?")
    context = getattr(error, "ctx", None)
    command = "vipcli" if context is None else context.command_path
    if "unexpected extra argument" in message and command.endswith(" chat"):
        message += ". Type questions once the conversation has started"
    elif "unexpected extra argument" in message and command.endswith((" ask", " draw")):
        message += ". Put questions, and points separated by spaces, in quotes"
    end = "?" if "Did you mean" in message else "."
    return f"{message}{end} See {command} --help."
