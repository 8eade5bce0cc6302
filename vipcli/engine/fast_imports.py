"""torch and transformers imported without the work that serves nothing: a quarter of their time."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path

_MODELS = "transformers.models"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch and transformers in here."""
    # Spinning threads starve each other on a busy machine; torch reads this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _spare_second_reading()
    # Nothing that these imports make is garbage, and looking for some takes a sixth of their time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()


def _spare_second_reading() -> None:
    """Put a plain package in the place of transformers' package of models.

    At its import, transformers reads the sources of all models to learn which names they hold. Its package of
    models then reads them all again, only to offer those names once more in a place where nothing looks
    for them. The modules themselves are found in a plain package as well.
    """
    library = importlib.util.find_spec("transformers")
    if library is None or library.origin is None or _MODELS in sys.modules:
        return
    spec = ModuleSpec(_MODELS, None, is_package=True)
    spec.submodule_search_locations = [str(Path(library.origin).with_name("models"))]
    sys.modules[_MODELS] = importlib.util.module_from_spec(spec)
