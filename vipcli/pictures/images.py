"""Pictures read from files, addresses, standard input and memory, and written to files.

Every picture in memory is RGB, uint8, height × width × 3, upright.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vipcli.errors import ImageError, OutputError
from vipcli.files import replace_file, write_failure
from vipcli.pictures.decoding import (
    PictureFile,
    check_size,
    decode,
    decode_gray,
    from_pillow,
    opened,
    upright_size,
)
from vipcli.pictures.fetching import append_limited, fetch

Pixels = NDArray[np.uint8]
PictureSource = str | os.PathLike[str] | bytes | Image.Image | Pixels
"""A path, an http or https address, the bytes of a file, a Pillow image, or an RGB array."""

DEFAULT_MAX_PIXELS = 200_000_000

# What Pillow registers for the formats that are read, written down since asking it imports all its plugins.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp"),
    *(".gif", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".sgi", ".rgb", ".rgba", ".bw", ".tga", ".icb"),
    *(".vda", ".vst"),
)
"""The file extensions of pictures, common ones first."""
_WRITABLE = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
# Thin colored marks suffer first from compression, so each format keeps all it can. Making the files
# a tenth smaller would take several times as long.
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 2},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "method": 0, "quality": 0},
}

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://|(data):", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=//)[^/?#]*@")


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
            return _in_memory(from_pillow(source, "The image", max_pixels))
        case _:
            return _in_memory(_copy_of_rgb(source, max_pixels))


def is_location(source: PictureSource) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a picture is given by a path or an address."""
    return isinstance(source, str | os.PathLike)


def _copy_of_rgb(array: object, max_pixels: int) -> Pixels:
    pixels = np.asarray(array)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ImageError(
            f"An array of shape {pixels.shape} and type {pixels.dtype} is not a picture.",
            "Give height × width × 3 of uint8, in RGB order.",
        )
    check_size((pixels.shape[1], pixels.shape[0]), "The array", max_pixels)
    return np.array(pixels, order="C")


def _in_memory(pixels: Pixels) -> Picture:
    """A picture that no file holds, known by its pixels."""
    pixels.setflags(write=False)
    return Picture(pixels, "memory", hashlib.sha256(pixels.reshape(-1).data).hexdigest())


def hash_of(source: str) -> str:
    """The SHA-256 of the bytes at a path or an address, decoded or not."""
    with _opened(source, None) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: str) -> tuple[int, int]:
    """The width and height of a picture, upright, without decoding it where its beginning tells them."""
    with _opened(path, None) as file, opened(file, _shown(path), DEFAULT_MAX_PIXELS) as image:
        return upright_size(image)


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
        gray = Image.fromarray(decode_gray(file, shown, max(DEFAULT_MAX_PIXELS, width * height)))
    if not _same_shape(gray.size, (width, height)):
        raise ImageError(
            f"The mask {shown} is {gray.width} × {gray.height} pixels, "
            f"but the picture is {width} × {height}.",
            "Give a mask of the picture's size.",
        )
    mask = np.asarray(gray.resize((width, height), Image.Resampling.NEAREST)) > 127
    if not mask.any():
        raise ImageError(
            f"The mask {shown} marks nothing: it is dark all over.", "Its marked part must be white."
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
def _opened(source: str, stdin: BinaryIO | None) -> Iterator[PictureFile]:
    try:
        with _open(source, stdin) as file:
            yield file
    except OSError as error:
        raise ImageError(_why_unread(error, _shown(source))) from error


def _open(source: str, stdin: BinaryIO | None) -> PictureFile:
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


def _open_path(path: str) -> PictureFile:
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
        append_limited(buffer, chunk, shown)
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


def _picture(file: PictureFile, shown: str, name: str, max_pixels: int) -> Picture:
    pixels = decode(file, shown, max_pixels)
    pixels.setflags(write=False)
    file.seek(0)
    return Picture(pixels, name, hashlib.file_digest(file, "sha256").hexdigest())


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
