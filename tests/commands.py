"""Commands run in this process, where importing torch again for each would take seconds."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

from vipcli.cli.app import main


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def run(*arguments: object, stdin: bytes | None = None, environment: Mapping[str, str] | None = None) -> Ran:
    """Run `vipcli` with these arguments, its streams apart from those of the tests."""
    out, err = io.BytesIO(), io.BytesIO()
    with (
        mock.patch.dict(os.environ, environment or {}),
        mock.patch.object(sys, "argv", ["vipcli", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b""), "utf-8")),
        mock.patch.object(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True)),
        mock.patch.object(sys, "stderr", io.TextIOWrapper(err, "utf-8", write_through=True)),
    ):
        code = main()
        return Ran(code, out.getvalue().decode(), err.getvalue().decode())
