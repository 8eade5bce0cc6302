"""Read pictures or a video and draw marks on them, for every command."""

from __future__ import annotations

from collections.abc import Sequence

from vipcli.asking.pipeline import mark
from vipcli.asking.values import DEFAULT_DRAWING, Drawing, MarkedInput
from vipcli.errors import UsageError
from vipcli.marks.kinds import TypedMark
from vipcli.pictures.images import DEFAULT_MAX_PIXELS, Picture, PictureSource, is_location, open_picture
from vipcli.pictures.videos import DEFAULT_FRAMES, Video, is_video, load_video


def load_marked(
    sources: Sequence[PictureSource],
    typed: Sequence[TypedMark],
    drawing: Drawing = DEFAULT_DRAWING,
    *,
    frames: int | None = None,
    max_pixels: int | None = None,
) -> MarkedInput:
    """Load pictures, or the frames of a video, and draw the marks on them."""
    pictures, video = load(sources, frames=frames, max_pixels=max_pixels)
    return mark(pictures, typed, drawing, video=video)


def load(
    sources: Sequence[PictureSource], *, frames: int | None = None, max_pixels: int | None = None
) -> tuple[tuple[Picture, ...], Video | None]:
    """Load pictures, or a video and its frames.

    A source is a video if its file extension says so, or if a number of frames is given.
    """
    max_pixels = max_pixels or DEFAULT_MAX_PIXELS
    names = [str(source) if is_location(source) else None for source in sources]
    if frames is None and not any(name is not None and is_video(name) for name in names):
        return tuple(open_picture(source, max_pixels=max_pixels) for source in sources), None
    if len(sources) > 1:
        raise UsageError("A video cannot be combined with other pictures.")
    if names[0] is None:
        raise UsageError("A video must be a file.", "Give its path.")
    video, pictures = load_video(names[0], frames or DEFAULT_FRAMES, max_pixels=max_pixels)
    return pictures, video
