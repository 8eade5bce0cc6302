"""Pictures, masks and checks for tests of annotation files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.plain import LONGEST
from vipcli.annotations.reading import AnnotatedImage


def photo(path: Path, width: int = 64, height: int = 48, **options: Any) -> Path:
    """Save a picture with a gradient."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(path, **options)
    return path


def disc() -> NDArray[np.bool_]:
    """A mask of 48 rows by 64 columns: a disc with a hole, and a speck beside it."""
    y, x = np.mgrid[:48, :64]
    distance = np.hypot(x - 30, y - 25)
    return np.asarray(((distance < 15) & (distance > 6)) | ((x == 60) & (y > 40)))


def assert_sound(item: AnnotatedImage) -> None:
    """What holds for every item, however damaged its file is."""
    assert item.image.isprintable() and item.id.isprintable()
    if item.fault is not None:
        assert item.regions == ()
        assert item.fault.isprintable(), item.fault
        assert item.fault.endswith((".", "?")) and len(item.fault) < 2 * LONGEST, item.fault
    for region in item.regions:
        assert region.label.isprintable() and region.id.isprintable()
        assert region.file is not None or region.bounds is not None
