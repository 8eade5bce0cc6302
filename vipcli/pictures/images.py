"""Pictures from files, addresses and standard input, and back into files. The only place that knows formats.

Every picture in memory is RGB, uint8, height × width × 3, upright. Its colours are taken as they
are stored, without the embedded profile, for the checkpoints were trained on pictures read that way.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import os
import re
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, _imaging

from vipcli.errors import ImageError, OutputError
from vipcli.files import replace_file, write_failure
from vipcli.pictures.fetching import add, fetch

Pixels = NDArray[np.uint8]
PictureSource = str | os.PathLike[str] | bytes | Image.Image | Pixels
"""A path, an http or https address, the bytes of a file, a Pillow image, or an RGB array."""

DEFAULT_MAX_PIXELS = 200_000_000

# What Pillow decodes by itself. Left out are formats that start other programs (EPS) or hold no photos.
READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "QOI", "SGI", "TGA")
# Pillow's own extensions for these, written down because listing them imports all of its plugins.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp"),
    *(".gif", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".sgi", ".rgb", ".rgba", ".bw", ".tga", ".icb"),
    *(".vda", ".vst"),
)
"""The file extensions of pictures."""
_WRITABLE = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
# Thin coloured marks suffer first from compression, so each format keeps all it can. To make the
# files a tenth smaller would take several times as long.
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 2},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "method": 0, "quality": 0},
}

# What sets the pixels upright, by the EXIF orientation; each is a view of the array.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
_SIDEWAYS = (5, 6, 7, 8)
_STRIP = 2**22
"""Pixels that are converted at a time, so that a large picture needs little more memory than its array."""
_WHITE, _BLACK = 255, 0
_BITS_PER_SAMPLE = 258

_HEAD = 1024
_KNOWN_BEGINNING = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0|....ftypavi[fs]|\0\0\0\x0cjP",
    re.DOTALL,
)
_OTHER_BEGINNINGS = (
    (
        re.compile(rb"\s*<(?:!doctype html|html|head|body)", re.IGNORECASE),
        "is a web page, not a picture. Give the address of the picture itself",
    ),
    (re.compile(rb"\s*<(?:.*<)?svg\b", re.DOTALL), "is an SVG drawing. Turn it into a PNG first"),
    (re.compile(rb"%PDF-"), "is a PDF document. Turn its page into a PNG first"),
    (
        re.compile(rb"....ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL),
        "is a HEIC photo, which is not read here. Turn it into a JPEG first",
    ),
    (
        re.compile(rb"version https://git-lfs"),
        "holds only a pointer to the picture. Get the picture itself with `git lfs pull`",
    ),
    *(
        (re.compile(beginning, re.DOTALL), f"is {name}, which vipcli does not read. Turn it into a PNG first")
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

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://|(data):", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=//)[^/?#]*@")

_File = io.BufferedReader | io.BytesIO


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture in memory: RGB, uint8, height × width × 3, upright, read-only."""

    pixels: Pixels
    # As the person named it: the path, the address without its password, or "-". Else its place among others.
    name: str
    # Of the bytes that it was read from.
    sha256: str

    @property
    def width(self) -> int:
        """Its pixels from left to right."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Its pixels from top to bottom."""
        return int(self.pixels.shape[0])


def load_picture(
    source: str, *, max_pixels: int = DEFAULT_MAX_PIXELS, stdin: BinaryIO | None = None
) -> Picture:
    """The picture at a path, at an http or https address, or, for `-`, on standard input."""
    name = _USERINFO.sub("", source) if is_address(source) else source
    with _opened(source, stdin) as file:
        return _picture(file, _shown(source), name, max_pixels)


def open_picture(source: PictureSource, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """The picture at a path or an address, in the bytes of a file, in a Pillow image or in an RGB array."""
    match source:
        case str() | os.PathLike():
            return load_picture(os.fspath(source), max_pixels=max_pixels)
        case bytes():
            return read_picture(source, "the picture", max_pixels=max_pixels)
        case Image.Image():
            _check_size(source.size, "The image", max_pixels)
            return _in_memory(_upright(source, _WHITE))
        case _:
            return _in_memory(_rgb(source, max_pixels))


def is_named(source: PictureSource) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a picture is given by a path or an address."""
    return isinstance(source, str | os.PathLike)


def _rgb(array: object, max_pixels: int) -> Pixels:
    pixels = np.asarray(array)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ImageError(
            f"An array of shape {pixels.shape} and type {pixels.dtype} is not a picture. "
            "Give height × width × 3 of uint8, in RGB order."
        )
    _check_size((pixels.shape[1], pixels.shape[0]), "The array", max_pixels)
    return pixels


def _in_memory(pixels: Pixels) -> Picture:
    """A picture that no file holds, known by its pixels."""
    pixels = np.array(pixels)
    pixels.setflags(write=False)
    return Picture(pixels, "memory", hashlib.sha256(pixels.tobytes()).hexdigest())


def hash_of(source: str) -> str:
    """The SHA-256 of the bytes at a path or an address, decoded or not."""
    with _opened(source, None) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: str) -> tuple[int, int]:
    """The width and height of a picture, upright, without decoding it where its beginning tells them."""
    shown = _shown(path)
    with _opened(path, None) as file, _decoder(file, shown, DEFAULT_MAX_PIXELS) as image:
        width, height = image.size
        # Pillow turns TIFFs by itself, and gives the size that they will have.
        sideways = image.format != "TIFF" and _orientation(image) in _SIDEWAYS
        return (height, width) if sideways else (width, height)


def read_picture(data: bytes, name: str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """The picture that the bytes of a file hold; messages call it by that name."""
    return _picture(io.BytesIO(data), name, name, max_pixels)


def is_address(source: str) -> bool:
    """Whether a picture's source is an address and no file's name."""
    return _SCHEME.match(source) is not None


def without_password(address: str) -> str:
    """The address as others may see it: without the name and password of whoever fetches from it."""
    return _USERINFO.sub("", address)


def load_mask(path: str, width: int, height: int) -> NDArray[np.bool_]:
    """Where a black-and-white image is white, height × width, for a picture of that size.

    An image of another size but the same shape is scaled to it. What is transparent counts as black.
    """
    shown = _shown(path)
    with _opened(path, None) as file:
        image = Image.fromarray(_decode(file, shown, max(DEFAULT_MAX_PIXELS, width * height), _BLACK))
    if not _same_shape(image.size, (width, height)):
        raise ImageError(
            f"The mask {shown} is {image.width} × {image.height} pixels, but the picture is "
            f"{width} × {height}. Give a mask of the picture's size."
        )
    grey = image.convert("L").resize((width, height), Image.Resampling.NEAREST)
    mask = np.asarray(grey) > 127
    if not mask.any():
        raise ImageError(
            f"The mask {shown} marks nothing: it is dark all over. Its marked part must be white."
        )
    return mask


def encode(pixels: Pixels, format: str = "PNG") -> bytes:
    """The bytes of an image file, in a format as Pillow names it."""
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, format, **_OPTIONS.get(format, {}))
    except (OSError, ValueError, MemoryError) as error:
        height, width = pixels.shape[:2]
        raise OutputError(
            f"A picture of {width} × {height} pixels cannot be written as {format}. PNG may hold it."
        ) from error
    return buffer.getvalue()


def save_picture(pixels: Pixels, path: str | Path, *, sources: Sequence[str] = ()) -> None:
    """Write a picture in the format of the path's extension: all of it, or nothing.

    A file that is one of `sources`, by whatever name, is never written over.
    """
    target, shown = Path(path), repr(str(path))
    format = _WRITABLE.get(target.suffix.lower())
    if format is None:
        raise OutputError(
            f"The name {shown} does not say which kind of picture to write. "
            "Let it end in .png, .jpg, .webp, .tif or .bmp."
        )
    try:
        _insist_on_replaceable(target, shown, sources)
    except (OSError, ValueError) as error:
        raise OutputError(write_failure(error, shown, target)) from error
    replace_file(target, encode(pixels, format), shown)


# Reading


def _shown(source: str) -> str:
    """How a message names a source: without line breaks, secrets or endless text."""
    if source == "-":
        return "Standard input"
    if is_address(source):
        source = re.sub(r"[?#].*", "?…", _USERINFO.sub("", source), flags=re.DOTALL)
    return repr(source if len(source) <= 160 else f"{source[:60]}…{source[-99:]}")


@contextmanager
def _opened(source: str, stdin: BinaryIO | None) -> Iterator[_File]:
    try:
        with _open(source, stdin) as file:
            yield file
    except OSError as error:
        raise ImageError(_why_unread(error, _shown(source))) from error


def _open(source: str, stdin: BinaryIO | None) -> _File:
    """The bytes of a source as a file that can be read again from its start."""
    if source == "-":
        return _read_stdin(stdin)
    if scheme := _SCHEME.match(source):
        if scheme[0].lower() not in ("http://", "https://"):
            raise ImageError(
                f"{_shown(source)} is not an address that can be fetched. "
                "Give an http or https address, or the path of a file."
            )
        return fetch(source, _shown(source))
    return _open_path(source)


def _open_path(path: str) -> _File:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as a Path, an empty name would be the current folder
    except ValueError as error:
        raise ImageError(f"{_shown(path)} cannot be the name of a file.") from error
    if stat.S_ISFIFO(mode):
        return _read_pipe(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise ImageError(f"{_shown(path)} is a device, not a file. Name a picture file.")
    return Path(path).open("rb")


def _read_pipe(path: str) -> io.BytesIO:
    # Opening a pipe waits for its writer, who may never come.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as pipe:
        os.set_blocking(descriptor, True)
        return _drain(pipe, _shown(path))


def _read_stdin(stdin: BinaryIO | None) -> io.BytesIO:
    if stdin is None and sys.stdin is not None:
        stdin = sys.stdin.buffer
    if stdin is None or stdin.isatty():
        raise ImageError("Nothing is piped in. `-` reads a picture from standard input: `cat photo.jpg | …`.")
    return _drain(stdin, _shown("-"))


def _drain(stream: BinaryIO, shown: str) -> io.BytesIO:
    buffer = io.BytesIO()
    while chunk := stream.read(2**16):
        add(buffer, chunk, shown)
    return buffer


def _why_unread(error: OSError, shown: str) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return f"There is no file {shown}. Check the path."
        case IsADirectoryError():
            return f"{shown} is a folder. Name one picture in it."
        case PermissionError():
            return f"{shown} may not be read. Check its permissions."
        case _:
            return f"{shown} cannot be read: {error.strerror or error}."


# Decoding


def _picture(file: _File, shown: str, name: str, max_pixels: int) -> Picture:
    pixels = _decode(file, shown, max_pixels, _WHITE)
    pixels.setflags(write=False)
    file.seek(0)
    return Picture(pixels, name, hashlib.file_digest(file, "sha256").hexdigest())


class _Taming:
    """Pillow without its warnings, and without its own limit, which knows nothing of `--max-pixels`.

    Both belong to the whole process, so they are put back when the last of several threads is done.
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
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._undo.close()


_TAMED = _Taming()


@contextmanager
def _decoder(file: _File, shown: str, max_pixels: int) -> Iterator[Image.Image]:
    """An image that is about to be read; whatever goes wrong with it becomes an ImageError."""
    file.seek(0)
    head = file.read(_HEAD)
    if not head:
        raise ImageError(f"{shown} is empty.")
    with _TAMED:
        try:
            with Image.open(file, formats=READABLE) as image:
                _check_size(image.size, shown, max_pixels)
                yield image
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError(f"{shown} does not fit into memory. Make it smaller first.") from error
        except UnidentifiedImageError as error:
            raise ImageError(_why_unknown(head, shown)) from error
        # Damaged data can make a decoder fail in any way: struct, zlib, index, assertion and key errors too.
        except Exception as error:
            raise ImageError(_damaged(shown)) from error


def _decode(file: _File, shown: str, max_pixels: int, paper: int) -> Pixels:
    """The upright RGB pixels of an image, its transparent parts laid over a gray `paper`."""
    with _decoder(file, shown, max_pixels) as image:
        if image.format == "TIFF":
            _silence_libtiff()
        image.load()
        return _upright(image, paper)


def _upright(image: Image.Image, paper: int) -> Pixels:
    """The upright RGB pixels of a loaded image, converted strip by strip."""
    width, height = image.size
    turn = _TURNS.get(_orientation(image))
    # Integers and floats of more than eight bits are scaled by their range in the whole image.
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image, paper)
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(_flat(image.crop((0, top, width, bottom)), paper))
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing to standard error; what it cannot decode raises an error anyway."""
    for name in ("TIFFSetErrorHandler", "TIFFSetErrorHandlerExt"):
        # Found through Pillow's own module, which links to it; a Pillow that hides it stays noisy.
        with suppress(AttributeError, OSError):
            getattr(ctypes.CDLL(_imaging.__file__), name)(None)


def _check_size(size: tuple[int, int], shown: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{shown} is {width} × {height} pixels, more than the limit of {max_pixels:,}.",
            "Raise it with {max_pixels} if there is memory enough.",
        )


def _why_unknown(head: bytes, shown: str) -> str:
    for beginning, what in _OTHER_BEGINNINGS:
        if beginning.match(head.removeprefix(b"\xef\xbb\xbf")):
            return f"{shown} {what}."
    if _KNOWN_BEGINNING.match(head):
        return _damaged(shown)
    return f"{shown} is not a picture that can be read. JPEG, PNG, WebP, TIFF, BMP, GIF and AVIF can."


def _damaged(shown: str) -> str:
    return f"{shown} is damaged or cut off. Get it anew, or save it again with another program."


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image; 1, upright, where EXIF data is missing or broken."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    # As with the picture itself, there is no end to the ways of being broken.
    except Exception:
        return 1


def _flat(image: Image.Image, paper: int) -> Image.Image:
    """The image as RGB, its transparent parts laid over a gray."""
    if image.has_transparency_data:
        # Pillow cannot convert premultiplied gray directly.
        whole = image.convert("LA") if image.mode == "La" else image
        whole = whole.convert("RGBA")
        flat = Image.new("RGB", image.size, (paper, paper, paper))
        flat.paste(whole, mask=whole)
        return flat
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, paper: int) -> Image.Image:
    """A grey image from one with deeper pixels: integers or floats."""
    values = np.asarray(image)
    grey = _from_floats(values) if image.mode == "F" else _from_integers(values, _depth(image))
    hole = image.info.get("transparency")
    if isinstance(hole, int):
        grey[values == hole] = paper
    return Image.fromarray(grey)


def _depth(image: Image.Image) -> int:
    # Pillow gives the 12 bits of a TIFF as they are, in 16.
    tags = getattr(image, "tag_v2", {})
    return 12 if tags.get(_BITS_PER_SAMPLE) == (12,) else 16


def _from_integers(values: NDArray[np.integer[Any]], depth: int) -> Pixels:
    """The upper eight bits, as Pillow takes them from deep colours."""
    # Integers of 32 bits mostly hold 16 bits' worth, and nothing says so but the values.
    if values.max() >> depth:
        depth = 31
    grey: Pixels = (np.maximum(values, 0) >> (depth - 8)).astype(np.uint8)
    return grey


def _from_floats(values: NDArray[np.floating[Any]]) -> Pixels:
    """Floats from 0 to 1 if all lie there, else from 0 to 255."""
    values = np.nan_to_num(values)
    if values.min() >= 0 and values.max() <= 1:
        values = values * 255
    grey: Pixels = np.rint(values.clip(0, 255)).astype(np.uint8)
    return grey


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other, scaled and then rounded to whole pixels."""
    (width, height), (other_width, other_height) = one, other
    return abs(width * other_height - height * other_width) < max(*one, *other)


# Writing


def _insist_on_replaceable(target: Path, shown: str, sources: Sequence[str]) -> None:
    """Refuse to write over what is no file, may not be changed, or was read."""
    try:
        old = target.stat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(old.st_mode):
        raise OutputError(f"{shown} is a folder. Name a file in it.")
    if not stat.S_ISREG(old.st_mode):
        raise OutputError(f"{shown} is a device or a pipe. Name a file.")
    if any(_is_same(old, source) for source in sources):
        raise OutputError(
            f"{shown} is the picture that was read, and it is kept. Name another file to write."
        )
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _is_same(file: os.stat_result, source: str) -> bool:
    with suppress(OSError, ValueError):
        # Standard input may be the file itself, as in `… - < photo.png`.
        return os.path.samestat(file, os.fstat(0) if source == "-" else Path(source).stat())
    return False
