"""Short videos for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def make_clip(path: Path, frames: int = 30, size: tuple[int, int] = (160, 120)) -> Path:
    """Write a clip whose frames become redder by 8 per frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, size)
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), (0, 0, 8 * number), np.uint8))
    writer.release()
    return path
