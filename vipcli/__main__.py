"""`python -m vipcli`, and the `vipcli` command."""

import os
import signal
import sys

from vipcli.errors import INTERRUPTED


def main() -> None:
    """Run the command line, and exit with its code."""
    try:
        code = _run_on_server()
        if code is None:
            from vipcli.cli.app import main as run

            code = run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED and os.name == "posix":
        # A shell stops a loop only if the signal itself ended the process. The exit code is the same.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    # Unloading torch would take a second, and free only what the system frees anyway.
    os._exit(code)


def _run_on_server() -> int | None:
    """The exit code of a command that a running server has run; None if no server took it."""
    arguments = sys.argv[1:]
    unwanted = "--no-server" in arguments or os.environ.get("VIPCLI_NO_SERVER")
    if os.name != "posix" or arguments[:1] != ["ask"] or unwanted:
        return None
    from vipcli.serving.handoff import hand_over

    return hand_over(arguments)


if __name__ == "__main__":
    main()
