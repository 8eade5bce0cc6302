"""Picture files decoded to RGB arrays. The only place that knows their formats.

Colors are taken as stored, without the embedded profile, because the checkpoints were trained on pictures
read that way.
"""

from __future__ import annotations

import ctypes
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from vipcli.errors import ImageError
from vipcli.memory import available_memory

if TYPE_CHECKING:
    from vipcli.pictures.images import Pixels

PictureFile = io.BufferedReader | io.BytesIO

WHITE, BLACK = 255, 0

# What Pillow decodes by itself. Left out are formats that start other programs (EPS) or hold no photos.
READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "QOI", "SGI", "TGA")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}
# These move the top row of a stored picture to the bottom or to the right.
_REVERSING = {_TURNS[orientation] for orientation in (3, 4, 6, 7)}
_BITS_PER_SAMPLE = 258
# Pixels converted at a time: enough to be fast, few enough to take little memory.
_STRIP = 2**20

_HEAD = 1024
_KNOWN_BEGINNING = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0|....ftypavi[fs]|\0\0\0\x0cjP"
    rb"|\xff\x4f\xff\x51|P[1-6Ff]\s|qoif|\x01\xda[\0\1][\1\2]",
    re.DOTALL,
)
_OTHER_BEGINNINGS = (
    (
        re.compile(rb"\s*<(?:!doctype html|html|head|body)", re.IGNORECASE),
        "is a web page, not a picture",
        "Give the address of the picture itself.",
    ),
    (re.compile(rb"\s*<(?:.*<)?svg\b", re.DOTALL), "is an SVG drawing", "Convert it to PNG first."),
    (re.compile(rb"%PDF-"), "is a PDF document", "Convert its page to PNG first."),
    (
        re.compile(rb"....ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL),
        "is a HEIC photo, which vipcli does not read",
        "Convert it to JPEG first.",
    ),
    (
        re.compile(rb"version https://git-lfs"),
        "holds only a pointer to the picture",
        "Get the picture itself with `git lfs pull`.",
    ),
    *(
        (
            re.compile(beginning, re.DOTALL),
            f"is {name}, which vipcli does not read",
            "Convert it to PNG first.",
        )
        for beginning, name in (
            (rb"8BPS", "a Photoshop picture (PSD)"),
            (rb"DDS ", "a texture (DDS)"),
            (rb"\0\0[\x01\x02]\0[^\0]\0", "an icon or cursor (ICO, CUR)"),
            (rb"icns", "an icon (ICNS)"),
            (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing (EPS)"),
            (rb"gimp xcf", "a GIMP picture (XCF)"),
            (rb"\x0a[\0-\x05]\x01[\x01\x02\x04\x08]", "a Paintbrush picture (PCX)"),
            (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows drawing (WMF, EMF)"),
            (rb"SIMPLE  =", "an astronomical image (FITS)"),
            (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture"),
            (rb"v/1\x01", "an OpenEXR picture"),
            (rb"#\?RADIANCE", "a Radiance picture (HDR)"),
        )
    ),
)


def decode(file: PictureFile, label: str, max_pixels: int) -> Pixels:
    """The RGB pixels of a file, upright, transparent parts laid over white."""
    with opened(file, label, max_pixels) as image:
        image.load()
        return to_pixels(image, WHITE)


def decode_gray(file: PictureFile, label: str, max_pixels: int) -> Pixels:
    """The gray levels of a file, height × width, upright, transparent parts laid over black."""
    with opened(file, label, max_pixels) as image:
        image.load()
        return to_pixels(image, BLACK, gray=True)


def from_pillow(image: Image.Image, label: str, max_pixels: int) -> Pixels:
    """The RGB pixels of a Pillow image, upright, transparent parts laid over white."""
    if 0 in image.size:
        raise ImageError(f"{label} has no pixels.")
    check_size(image.size, label, max_pixels)
    try:
        # Load it before reading its orientation, because Pillow turns a TIFF upright while loading it.
        with _QUIET_PILLOW:
            image.load()
    except Exception as error:
        raise _damaged(label) from error
    return to_pixels(image, WHITE)


@contextmanager
def opened(file: PictureFile, label: str, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image; whatever then goes wrong with it becomes an ImageError."""
    file.seek(0)
    head = file.read(_HEAD)
    if not head:
        raise ImageError(f"{label} is empty.")
    with _QUIET_PILLOW:
        if not _KNOWN_BEGINNING.match(head):
            _refuse_other_formats(file, head, label)
        try:
            with Image.open(file, formats=READABLE) as image:
                check_size(image.size, label, max_pixels)
                yield image
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError(f"{label} does not fit into memory.", "Make it smaller first.") from error
        except UnidentifiedImageError as error:
            if _KNOWN_BEGINNING.match(head):
                raise _damaged(label) from error
            raise ImageError(
                f"{label} is not a picture that can be read.", "JPEG, PNG, WebP, TIFF, BMP, GIF and AVIF can."
            ) from error
        # Damaged data can make a decoder fail in any way: struct, zlib, index, assertion and key errors too.
        except Exception as error:
            raise _damaged(label) from error


_BYTES_PER_PIXEL = 12
"""What reading, marking and fitting a picture takes at its peak."""
_ALWAYS_ALLOWED = 2**28
"""For at most this many bytes, free memory is not checked."""


def check_size(size: tuple[int, int], label: str, max_pixels: int) -> None:
    """Refuse a picture of too many pixels, or one for which there is too little memory now."""
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{label} is {width} × {height} pixels, more than the limit of {max_pixels:,}.",
            "Raise it with {max_pixels} if there is memory enough.",
        )
    _check_memory(width * height * _BYTES_PER_PIXEL, f"{label} is {width} × {height} pixels")


def _check_memory(needed: int, subject: str) -> None:
    free = available_memory() if needed > _ALWAYS_ALLOWED else None
    if free is not None and needed > free:
        raise ImageError(
            f"{subject}, which takes about {needed / 1e9:.1f} GB of memory. "
            f"Only {free / 1e9:.1f} GB is free.",
            "Make it smaller first.",
        )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """The width and height that an opened image will have once it is upright."""
    width, height = image.size
    # Pillow turns TIFFs by itself, and gives the size that they will have.
    sideways = image.format != "TIFF" and _turn(image) in _SIDEWAYS
    return (height, width) if sideways else (width, height)


def to_pixels(image: Image.Image, paper: int, *, gray: bool = False) -> Pixels:
    """The pixels of a loaded image, RGB or gray, upright, transparent parts laid over a gray level.

    Converted strip by strip: Pillow holds four bytes a pixel, so each copy of the whole would be larger than
    the result.
    """
    turn, flatten = _turn(image), _flattening(image, paper)
    size = image.size if turn in _SIDEWAYS else image.size[::-1]
    pixels = np.empty(size if gray else (*size, 3), np.uint8)
    for top, strip in _strips(image):
        flat = flatten(strip).convert("RGB")
        flat = flat.convert("L") if gray else flat
        first, last = top, top + flat.height
        if turn in _REVERSING:
            first, last = image.height - last, image.height - first
        target = pixels[:, first:last] if turn in _SIDEWAYS else pixels[first:last]
        target[:] = np.asarray(flat if turn is None else flat.transpose(turn))
    return pixels


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Full-width strips of an image, each with the row where it begins."""
    rows = max(_STRIP // image.width, 1)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


# Formats


class _QuietPillow:
    """Silences Pillow's warnings and libtiff's messages, and lifts Pillow's limit in favor of `max_pixels`.

    All three belong to the whole process, so they are restored when the last of several threads is done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._undo.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self._undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None
                for set_handler in _libtiff_handlers():
                    self._undo.callback(set_handler, set_handler(None))
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._undo.close()


_QUIET_PILLOW = _QuietPillow()


@cache
def _libtiff_handlers() -> tuple[Callable[[int | None], int | None], ...]:
    """libtiff's functions that set the handler for its errors or warnings and return the previous one.

    Pillow leaves the default handlers in place, which print to standard error. Where its libtiff cannot be
    reached, as on Windows, they stay in place.
    """
    from PIL import _imaging

    try:
        library = ctypes.CDLL(_imaging.__file__)
        handlers = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
    except (AttributeError, OSError, TypeError):
        return ()
    for set_handler in handlers:
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    return handlers


def _refuse_other_formats(file: PictureFile, head: bytes, label: str) -> None:
    """Raise an error that names the format of a file that vipcli does not read.

    TGA has no magic number, so its decoder would try such a file and call it damaged.
    """
    for beginning, fact, advice in _OTHER_BEGINNINGS:
        if beginning.match(head.removeprefix(b"\xef\xbb\xbf")):
            raise ImageError(f"{label} {fact}.", advice)
    Image.init()
    # A format without a magic number would accept any file.
    others = [
        name for name, (_, accepts) in Image.OPEN.items() if accepts is not None and name not in READABLE
    ]
    file.seek(0)
    try:
        with Image.open(file, formats=others) as image:
            name, description = image.format, image.format_description
    # No plugin accepts the file, or the one that does cannot read its header.
    except Exception:
        return
    finally:
        file.seek(0)
    in_words = f" ({description})" if description and description != name else ""
    raise ImageError(
        f"{label} is in the format {name}{in_words}, which vipcli does not read.", "Convert it to PNG first."
    )


def _damaged(label: str) -> ImageError:
    return ImageError(
        f"{label} is damaged or cut off.", "Get it again, or save it again with another program."
    )


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns a loaded image upright; None where it is upright or its EXIF data is broken."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Damaged EXIF data raises as many kinds of errors as damaged pictures.
    except Exception:
        return None


# Colors


def _flattening(image: Image.Image, paper: int) -> Callable[[Image.Image], Image.Image]:
    """A function that makes a strip of this image opaque, with eight bits a channel."""
    if image.mode == "F":
        unit = all(_lies_in_unit(np.asarray(strip)) for _, strip in _strips(image))
        return lambda strip: _fill_transparent(strip, _from_floats(np.asarray(strip), unit), paper)
    if image.mode.startswith("I"):
        depth = _depth(image)
        return lambda strip: _fill_transparent(strip, _from_integers(np.asarray(strip), depth), paper)
    if image.has_transparency_data:
        return lambda strip: _over(strip, paper)
    return lambda strip: strip


def _over(image: Image.Image, paper: int) -> Image.Image:
    """The image laid over a gray level."""
    # Pillow cannot convert premultiplied gray directly.
    layer = image.convert("LA") if image.mode == "La" else image
    layer = layer.convert("RGBA")
    flat = Image.new("RGB", image.size, (paper, paper, paper))
    flat.paste(layer, mask=layer)
    return flat


def _fill_transparent(image: Image.Image, gray: Pixels, paper: int) -> Image.Image:
    """Set pixels to `paper` where the original image has the value that it declares transparent."""
    hole = image.info.get("transparency")
    if isinstance(hole, int):
        gray[np.asarray(image) == hole] = paper
    return Image.fromarray(gray)


def _depth(image: Image.Image) -> int:
    """How many bits per pixel a gray image of more than eight bits really uses."""
    # Pillow gives the 12-bit values of a TIFF unscaled, as 16-bit integers.
    tags = getattr(image, "tag_v2", {})
    depth = 12 if tags.get(_BITS_PER_SAMPLE) == (12,) else 16
    # Integers of 32 bits mostly hold 16 bits' worth, and nothing says so but the values.
    most = max(int(np.asarray(strip).max()) for _, strip in _strips(image))
    return 31 if most >> depth else depth


def _from_integers(values: NDArray[np.integer[Any]], depth: int) -> Pixels:
    """The upper eight bits, which Pillow takes too from colors of more than eight bits a channel."""
    gray: Pixels = (np.maximum(values, 0) >> (depth - 8)).astype(np.uint8)
    return gray


def _lies_in_unit(values: NDArray[np.floating[Any]]) -> bool:
    values = np.nan_to_num(values)
    return bool(values.min() >= 0 and values.max() <= 1)


def _from_floats(values: NDArray[np.floating[Any]], unit: bool) -> Pixels:
    """Convert floats to eight bits. With `unit`, they range from 0 to 1, otherwise from 0 to 255."""
    values = np.nan_to_num(values)
    gray: Pixels = np.rint((values * 255 if unit else values).clip(0, 255)).astype(np.uint8)
    return gray
