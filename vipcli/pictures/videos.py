"""Evenly spaced frames of a video file, decoded by OpenCV."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# FFmpeg would print to standard error about damaged files.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from vipcli.errors import ImageError
from vipcli.pictures.images import Picture, Pixels

ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
DEFAULT_FRAMES = 8
MOST_FRAMES = 128


@dataclass(frozen=True, slots=True)
class Video:
    """Which frames of a video file were taken."""

    source: str
    frames: int
    """How many frames the file has."""
    rate: float
    """Frames per second."""
    chosen: tuple[int, ...]
    """Their positions, counted from 0."""


def is_video(source: str) -> bool:
    """Whether a file name has the extension of a video."""
    return Path(source).suffix.lower() in ENDINGS


def load_video(source: str, count: int, *, max_pixels: int) -> tuple[Video, tuple[Picture, ...]]:
    """Read `count` frames, evenly spaced from first to last, or all where the video has fewer."""
    path = Path(source)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ImageError(f"There is no file {source!r}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{source!r} cannot be read: {reason}.", "Videos are read from files.") from None
    total, rate = _count_and_rate(path, max_pixels)
    positions = _spaced_positions(total, count)
    chosen, frames = _read_frames(path, positions)
    if len(frames) < len(positions):
        # A header may announce more frames than the file holds.
        total = sum(1 for _ in _frame_positions(path))
        chosen, frames = _read_frames(path, _spaced_positions(total, count))
    if not frames:
        raise ImageError(f"{source!r} holds no frame that can be read.", "It may be damaged.")
    pictures = tuple(
        Picture(pixels, f"{source}#{position}", digest)
        for position, pixels in zip(chosen, frames, strict=True)
    )
    return Video(source, total, rate, tuple(chosen)), pictures


def _spaced_positions(total: int, count: int) -> list[int]:
    return sorted({round(position) for position in np.linspace(0, max(total - 1, 0), count).tolist()})


def _count_and_rate(path: Path, max_pixels: int) -> tuple[int, float]:
    with _open_video(path) as capture:
        width, height = (
            int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > max_pixels:
            raise ImageError(
                f"{str(path)!r} has frames of {width} × {height} pixels, more than {max_pixels:,}.",
                "Raise the limit with {max_pixels} if there is memory enough.",
            )
        total, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), float(capture.get(cv2.CAP_PROP_FPS))
    # Some files do not state their length.
    return total if total > 0 else sum(1 for _ in _frame_positions(path)), rate


def _frame_positions(path: Path) -> Iterator[int]:
    """The positions of all frames that can be decoded."""
    with _open_video(path) as capture:
        position = 0
        while capture.grab():
            yield position
            position += 1


def _read_frames(path: Path, chosen: Sequence[int]) -> tuple[list[int], list[Pixels]]:
    """The frames at these positions, up to the first that cannot be decoded, and where they are."""
    wanted = set(chosen)
    frames: list[Pixels] = []
    with _open_video(path) as capture:
        # Frame by frame, since seeking is not exact in every format.
        for position in range(max(chosen) + 1):
            if not capture.grab():
                break
            if position in wanted:
                ok, pixels = capture.retrieve()
                if not ok:
                    break
                frame = np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
                frame.setflags(write=False)
                frames.append(frame)
    return list(chosen)[: len(frames)], frames


@contextmanager
def _open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        try:
            if not capture.isOpened():
                raise ImageError(
                    f"{str(path)!r} is not a video that can be read.", "Convert it to MP4 first."
                )
            yield capture
        finally:
            capture.release()
    finally:
        cv2.utils.logging.setLogLevel(before)
