"""How a picture of any shape becomes the model's square, and what of it the model then sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vipcli.geometry import Bounds, Fit

if TYPE_CHECKING:
    from vipcli.pictures.images import Pixels

# Beyond these, a strip of a picture would become a square that no memory holds.
LONGEST_SIDE = 14_000
LONGEST_SHAPE = 40


def scale(fit: Fit, width: int, height: int, size: int) -> float:
    """Pixels at the model's input for one of the picture's, along the side that shrinks most."""
    return size / (min(width, height) if fit == "crop" else max(width, height))


def visible(fit: Fit, width: int, height: int) -> Bounds:
    """The part of the picture that the model sees."""
    if fit != "crop":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def square(image: Pixels, fit: Fit, size: int, padding: tuple[int, int, int]) -> Pixels:
    """The picture ready for a processor that resizes the short side and crops the centre."""
    match fit:
        case "pad":
            return _padded(_shortened(image), padding)
        case "stretch":
            return resize_to_square(image, size)
        case "crop":
            return _middle(image)


def resize_to_square(image: Pixels, size: int) -> Pixels:
    """The picture at `size` × `size`, bicubic as in training."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def model_view(image: Pixels, fit: Fit, size: int, padding: tuple[int, int, int]) -> Pixels:
    """The square of `size` that the model really sees, before its colors are normalized."""
    match fit:
        case "pad":
            return _padded_and_resized(_shortened(image), size, padding)
        case "stretch":
            return resize_to_square(image, size)
        case "crop":
            return resize_to_square(crop_center(image), size)


def _padded_and_resized(image: Pixels, size: int, padding: tuple[int, int, int]) -> Pixels:
    """What `resized(_padded(image))` gives, without a padded copy of the whole in between."""
    import numpy as np
    from PIL import Image

    height, width = image.shape[:2]
    side = max(height, width)
    picture = Image.fromarray(image)
    if height != width:
        canvas = Image.new("RGB", (side, side), padding)
        canvas.paste(picture, ((side - width) // 2, (side - height) // 2))
        picture = canvas
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def crop_center(image: Pixels) -> Pixels:
    """The square in the middle of the picture."""
    left, top, right, bottom = (int(edge) for edge in visible("crop", image.shape[1], image.shape[0]))
    return image[top:bottom, left:right]


def _shortened(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    if max(height, width) <= LONGEST_SIDE:
        return image
    import numpy as np
    from PIL import Image

    shrink = LONGEST_SIDE / max(height, width)
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _middle(image: Pixels) -> Pixels:
    """The picture, cut to its middle if it is a strip: a crop looks at nothing else."""
    height, width = image.shape[:2]
    longest = LONGEST_SHAPE * min(height, width)
    top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
    return image[top : height - top, left : width - left]


def _padded(image: Pixels, padding: tuple[int, int, int]) -> Pixels:
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
