"""Fit pictures of any shape to the model's square input, and tell which part of them the model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vipcli.geometry import Bounds, Fit

if TYPE_CHECKING:
    from PIL import Image

    from vipcli.pictures.images import Pixels

# A picture whose long side, or whose ratio of long to short side, exceeds these would become a square that no
# memory holds.
LONGEST_SIDE = 14_000
LONGEST_SHAPE = 40


def scale(fit: Fit, width: int, height: int, size: int) -> float:
    """Pixels of the model's input per pixel of the picture, along the side that shrinks most."""
    return size / (min(width, height) if fit == "crop" else max(width, height))


def visible(fit: Fit, width: int, height: int) -> Bounds:
    """The part of the picture that the model sees."""
    if fit != "crop":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def square(image: Pixels, fit: Fit, size: int, padding: tuple[int, int, int]) -> Pixels:
    """The picture prepared for a processor that resizes the short side and crops the center."""
    match fit:
        case "pad":
            return _pad(_shorten(image), padding)
        case "stretch":
            return resize_to_square(image, size)
        case "crop":
            return _cut_to_middle(image)


def resize_to_square(image: Pixels, size: int) -> Pixels:
    """The picture at `size` × `size`, bicubic as in training."""
    return _resize(image, size, size)


def model_view(image: Pixels, fit: Fit, size: int, padding: tuple[int, int, int]) -> Pixels:
    """The square of `size` that the model really sees, before its colors are normalized."""
    match fit:
        case "pad":
            return _pad_and_resize(_shorten(image), size, padding)
        case "stretch":
            return resize_to_square(image, size)
        case "crop":
            return resize_to_square(crop_center(image), size)


def _pad_and_resize(image: Pixels, size: int, padding: tuple[int, int, int]) -> Pixels:
    """What `resize_to_square(_pad(image))` gives, without a padded array of the whole in between."""
    from PIL import Image

    height, width = image.shape[:2]
    if height == width:
        return resize_to_square(image, size)
    side = max(height, width)
    canvas = Image.new("RGB", (side, side), padding)
    canvas.paste(Image.fromarray(image), ((side - width) // 2, (side - height) // 2))
    return _resize(canvas, size, size)


def _resize(image: Pixels | Image.Image, width: int, height: int) -> Pixels:
    import numpy as np
    from PIL import Image

    whole = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC))


def enlarge(image: Pixels, scale: float) -> Pixels:
    """The picture with its sides multiplied by `scale`."""
    height, width = image.shape[:2]
    return _resize(image, max(round(width * scale), 1), max(round(height * scale), 1))


def crop_center(image: Pixels) -> Pixels:
    """The square in the middle of the picture."""
    left, top, right, bottom = (int(edge) for edge in visible("crop", image.shape[1], image.shape[0]))
    return image[top:bottom, left:right]


def _shorten(image: Pixels) -> Pixels:
    """The picture, made smaller if a side is too long."""
    height, width = image.shape[:2]
    if max(height, width) <= LONGEST_SIDE:
        return image
    shrink = LONGEST_SIDE / max(height, width)
    return _resize(image, max(round(width * shrink), 1), max(round(height * shrink), 1))


def _cut_to_middle(image: Pixels) -> Pixels:
    """The picture, cut to its middle if it is very long: a crop looks at nothing else."""
    height, width = image.shape[:2]
    longest = LONGEST_SHAPE * min(height, width)
    top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
    return image[top : height - top, left : width - left]


def _pad(image: Pixels, padding: tuple[int, int, int]) -> Pixels:
    import numpy as np

    height, width = image.shape[:2]
    side = max(height, width)
    if height == width:
        return image
    padded = np.empty((side, side, 3), np.uint8)
    padded[:] = padding
    top, left = (side - height) // 2, (side - width) // 2
    padded[top : top + height, left : left + width] = image
    return padded
