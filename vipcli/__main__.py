"""`python -m vipcli`."""

from vipcli.cli import main

if __name__ == "__main__":
    main()
