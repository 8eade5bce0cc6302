"""`python -m vipcli`, and the command of that name."""

import os
import signal
import sys

from vipcli.errors import INTERRUPTED


def main() -> None:
    """Run the command line, and leave with its exit code."""
    try:
        code = _by_server()
        if code is None:
            from vipcli.cli.app import main as run

            code = run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED and os.name == "posix":
        # A shell stops its loop only if the signal itself was what ended us; it shows the same code.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    # Taking torch's modules apart would take a second, and free what the system frees anyway.
    os._exit(code)


def _by_server() -> int | None:
    """The exit code of a question that a running server carried out; None where none did."""
    arguments = sys.argv[1:]
    unwanted = "--no-server" in arguments or os.environ.get("VIPCLI_NO_SERVER")
    if os.name != "posix" or arguments[:1] != ["ask"] or unwanted:
        return None
    from vipcli.serving.handoff import hand_over

    return hand_over(arguments)


if __name__ == "__main__":
    main()
