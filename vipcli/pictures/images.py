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

# The extensions that Pillow registers for the formats that are read. They are listed here because asking
# Pillow for them would import all its plugins.
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
    name: str
    """The path as typed, the address without its password, or "-"; for bytes, what messages call them."""
    sha256: str
    """Of the bytes that it was read from."""

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


def load_picture(
    source: str, *, max_pixels: int = DEFAULT_MAX_PIXELS, stdin: BinaryIO | None = None
) -> Picture:
    """Read the picture at a path or an http or https address, or, for `-`, on standard input."""
    name = _USERINFO.sub("", source) if is_address(source) else source
    with _open_source(source, stdin) as file:
        return _decode_picture(file, _label(source), name, max_pixels)


def open_picture(source: PictureSource, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Take a picture from a path, an address, the bytes of a file, a Pillow image or an RGB array."""
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
    """Whether a source is a path or an address, not a picture in memory."""
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
    """A picture that comes from no file, identified by the hash of its pixels."""
    pixels.setflags(write=False)
    return Picture(pixels, "memory", hashlib.sha256(pixels.reshape(-1).data).hexdigest())


def hash_of(source: str) -> str:
    """The SHA-256 of the bytes at a path or an address, without decoding them."""
    with _open_source(source, None) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: str) -> tuple[int, int]:
    """The width and height of a picture once upright, read from its header where possible."""
    with _open_source(path, None) as file, opened(file, _label(path), DEFAULT_MAX_PIXELS) as image:
        return upright_size(image)


def read_picture(data: bytes, name: str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture from the bytes of a file; messages call it by that name."""
    return _decode_picture(io.BytesIO(data), name, name, max_pixels)


def is_address(source: str) -> bool:
    """Whether a source is an address rather than the name of a file."""
    return _SCHEME.match(source) is not None


def without_password(address: str) -> str:
    """The address without the user name and password in it."""
    return _USERINFO.sub("", address)


def load_mask(path: str, width: int, height: int) -> NDArray[np.bool_]:
    """Where a black-and-white image is white, height × width, for a picture of that size.

    An image of another size but the same aspect ratio is scaled. Transparent parts count as black.
    """
    return load_hashed_mask(path, width, height)[0]


def load_hashed_mask(path: str, width: int, height: int) -> tuple[NDArray[np.bool_], str]:
    """The same, and the SHA-256 of the image's bytes."""
    label = _label(path)
    with _open_source(path, None) as file:
        gray = Image.fromarray(decode_gray(file, label, max(DEFAULT_MAX_PIXELS, width * height)))
        digest = _digest(file)
    if not _same_shape(gray.size, (width, height)):
        raise ImageError(
            f"The mask {label} is {gray.width} × {gray.height} pixels, "
            f"but the picture is {width} × {height}.",
            "Give a mask of the picture's size.",
        )
    mask = np.asarray(gray.resize((width, height), Image.Resampling.NEAREST)) > 127
    if not mask.any():
        raise ImageError(
            f"The mask {label} marks nothing: it is dark everywhere.", "The marked part must be white."
        )
    return mask, digest


def encode(pixels: Pixels, format: str = "PNG") -> bytes:
    """Encode pixels as an image file, in a format by its name in Pillow."""
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, format, **_OPTIONS.get(format, {}))
    except (OSError, ValueError, MemoryError) as error:
        height, width = pixels.shape[:2]
        raise OutputError(
            f"A picture of {width} × {height} pixels cannot be written as {format}.", "Try PNG."
        ) from error
    return buffer.getvalue()


def check_target(path: str | Path) -> None:
    """Raise OutputError if a picture could not be written there, as far as that can be told beforehand."""
    target, label = Path(path), repr(str(path))
    _format_of(target, label)
    if not target.parent.is_dir():
        raise OutputError(write_failure(FileNotFoundError(errno.ENOENT, ""), label, target))


def _format_of(target: Path, label: str) -> str:
    format = _WRITABLE.get(target.suffix.lower())
    if format is None:
        raise OutputError(
            f"The name {label} does not say which format to write.",
            "Let it end in .png, .jpg, .webp, .tif or .bmp.",
        )
    return format


def save_picture(pixels: Pixels, path: str | Path, *, sources: Sequence[str] = ()) -> None:
    """Write a picture atomically, in the format of the path's extension.

    A file that is one of `sources`, by any name, is never overwritten.
    """
    target, label = Path(path), repr(str(path))
    format = _format_of(target, label)
    try:
        _check_replaceable(target, label, sources)
    except (OSError, ValueError) as error:
        raise OutputError(write_failure(error, label, target)) from error
    replace_file(target, encode(pixels, format), label)


# Reading


def _label(source: str) -> str:
    """What messages call a source: short, on one line, and without secrets."""
    if source == "-":
        return "Standard input"
    if is_address(source):
        source = re.sub(r"[?#].*", "?…", _USERINFO.sub("", source), flags=re.DOTALL)
    return repr(source if len(source) <= 160 else f"{source[:60]}…{source[-99:]}")


@contextmanager
def _open_source(source: str, stdin: BinaryIO | None) -> Iterator[PictureFile]:
    try:
        with _read_source(source, stdin) as file:
            yield file
    except OSError as error:
        raise _read_error(error, _label(source)) from error


def _read_source(source: str, stdin: BinaryIO | None) -> PictureFile:
    """A source as a seekable file."""
    if source == "-":
        return _read_stdin(stdin)
    if scheme := _SCHEME.match(source):
        if scheme[0].lower() not in ("http://", "https://"):
            raise ImageError(
                f"{_label(source)} is not an address that can be fetched.",
                "Give an http or https address, or the path of a file.",
            )
        return fetch(source, _label(source))
    return _open_path(source)


def _open_path(path: str) -> PictureFile:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as a Path, an empty name would be the current folder
    except ValueError as error:
        raise ImageError(f"{_label(path)} cannot be the name of a file.") from error
    if stat.S_ISFIFO(mode):
        return _read_pipe(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise ImageError(f"{_label(path)} is a device, not a file.", "Name a picture file.")
    return Path(path).open("rb")


def _read_pipe(path: str) -> io.BytesIO:
    # Opening a named pipe waits for a writer, and there may be none.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as pipe:
        os.set_blocking(descriptor, True)
        return _read_stream(pipe, _label(path))


def _read_stdin(stdin: BinaryIO | None) -> io.BytesIO:
    if stdin is None and sys.stdin is not None:
        stdin = sys.stdin.buffer
    if stdin is None or stdin.isatty():
        raise ImageError(
            "Nothing is piped in.", "`-` reads a picture from standard input: `cat photo.jpg | …`."
        )
    return _read_stream(stdin, _label("-"))


def _read_stream(stream: BinaryIO, label: str) -> io.BytesIO:
    buffer = io.BytesIO()
    while chunk := stream.read(2**16):
        append_limited(buffer, chunk, label)
    return buffer


def _read_error(error: OSError, label: str) -> ImageError:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return ImageError(f"There is no file {label}.", "Check the path.")
        case IsADirectoryError():
            return ImageError(f"{label} is a folder.", "Name one picture in it.")
        case PermissionError():
            return ImageError(f"{label} may not be read.", "Check its permissions.")
        case _:
            return ImageError(f"{label} cannot be read: {error.strerror or error}.")


def _decode_picture(file: PictureFile, label: str, name: str, max_pixels: int) -> Picture:
    pixels = decode(file, label, max_pixels)
    pixels.setflags(write=False)
    return Picture(pixels, name, _digest(file))


def _digest(file: PictureFile) -> str:
    """The SHA-256 of all bytes of a file that has been read."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other, scaled and then rounded to whole pixels."""
    (width, height), (other_width, other_height) = size, other
    return abs(width * other_height - height * other_width) < max(*size, *other)


# Writing


def _check_replaceable(target: Path, label: str, sources: Sequence[str]) -> None:
    """Refuse to overwrite what is not a file, is read-only, or is one of the sources."""
    try:
        old = target.stat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(old.st_mode):
        raise OutputError(f"{label} is a folder.", "Name a file in it.")
    if not stat.S_ISREG(old.st_mode):
        raise OutputError(f"{label} is a device or a pipe.", "Name a file.")
    if any(_is_same(old, source) for source in sources):
        raise OutputError(
            f"{label} is the picture that was read, and it is kept.", "Name another file to write."
        )
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _is_same(file: os.stat_result, source: str) -> bool:
    with suppress(OSError, ValueError):
        # Standard input may be the file itself, as in `… - < photo.png`.
        return os.path.samestat(file, os.fstat(0) if source == "-" else Path(source).stat())
    return False
