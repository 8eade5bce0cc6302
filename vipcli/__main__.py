"""`python -m vipcli`, and the command of that name."""

from vipcli.errors import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C leaves quietly from the first moment on."""
    try:
        from vipcli.cli import main as run

        run()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
