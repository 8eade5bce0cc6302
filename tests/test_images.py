"""Pictures read from files, addresses and pipes, and written back."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import io
import os
import random
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vipcli.errors import ImageError, OutputError
from vipcli.pictures import decoding, fetching, images
from vipcli.pictures.images import (
    Picture,
    encode,
    load_mask,
    load_picture,
    open_picture,
    read_picture,
    save_picture,
)

as_root = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")

RED, GREEN, BLUE, GRAY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def quarters(width: int = 48, height: int = 32) -> Image.Image:
    """A picture whose quarters differ, so that any turn of it shows."""
    image = Image.new("RGB", (width, height), GRAY)
    paint = ImageDraw.Draw(image)
    for x, y, color in ((0, 0, RED), (width // 2, 0, GREEN), (0, height // 2, BLUE)):
        paint.rectangle((x, y, x + width // 2 - 1, y + height // 2 - 1), color)
    return image


def noise(width: int = 24, height: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8))


def file_bytes(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, row: bytes, *before: bytes) -> bytes:
    """A PNG of kinds that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(b"\0" + row)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *before,
            chunk(b"IDAT", data),
            chunk(b"IEND", b""),
        ]
    )


def tiff(width: int, bits: tuple[int, ...], photometric: int, row: bytes, *more: tuple[int, int]) -> bytes:
    """An uncompressed TIFF of one row, of kinds that Pillow does not write."""
    tags = dict([(256, width), (257, 1), (259, 1), (262, photometric), (277, len(bits)), (278, 1), *more])
    after = 8 + 2 + 12 * (len(tags) + 3) + 4
    depths = struct.pack(f"<{len(bits)}H", *bits)
    entries = {tag: struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()}
    # Up to four bytes lie in the entry itself, more of them behind the directory.
    inside = depths.ljust(4, b"\0") if len(depths) <= 4 else struct.pack("<I", after)
    entries[258] = struct.pack("<HHI", 258, 3, len(bits)) + inside
    entries[273] = struct.pack("<HHII", 273, 4, 1, after + len(depths))
    entries[279] = struct.pack("<HHII", 279, 4, 1, len(row))
    directory = b"".join(entries[tag] for tag in sorted(entries))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + depths + row


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes, str], str]:
    def write(data: bytes, name: str = "picture") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


Put = Callable[..., str]


# What is read


def test_a_picture_is_its_pixels_its_name_and_the_hash_of_its_file(put: Put) -> None:
    image = noise(24, 16)
    data = file_bytes(image, "PNG")
    picture = load_picture(put(data, "photo.png"))
    assert (picture.width, picture.height) == (24, 16)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    assert not picture.pixels.flags.writeable
    assert np.array_equal(picture.pixels, np.asarray(image))
    assert picture.name.endswith("photo.png")
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


EXACT: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("BMP", {}),
    ("JPEG2000", {}),
    ("PPM", {}),
    ("QOI", {}),
    ("SGI", {}),
    ("TGA", {"compression": "tga_rle"}),
]
LOSSY: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"quality": 95, "subsampling": 0}),
    ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
    ("WEBP", {"quality": 95}),
    ("AVIF", {"quality": 95}),
    ("GIF", {}),
]


@pytest.mark.parametrize(("format", "options"), EXACT)
def test_exact_formats(put: Put, format: str, options: dict[str, Any]) -> None:
    # Larger than a read buffer, for decoders that read behind Python's back.
    image = noise(80, 60)
    data = file_bytes(image, format, **options)
    picture = load_picture(put(data))
    assert np.array_equal(picture.pixels, np.asarray(image))
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(("format", "options"), LOSSY)
def test_lossy_formats(put: Put, format: str, options: dict[str, Any]) -> None:
    picture = load_picture(put(file_bytes(quarters(), format, **options)))
    corners = picture.pixels[8::16, 12::24].reshape(-1, 3).astype(int)
    assert np.abs(corners - [RED, GREEN, BLUE, GRAY]).max() <= 6


UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {"quality": 95}),
    ],
)
def test_every_orientation_is_set_upright(
    put: Put, orientation: int, format: str, options: dict[str, Any]
) -> None:
    undo = UNDO[orientation]
    stored = quarters() if undo is None else quarters().transpose(undo)
    exif = Image.Exif()
    exif[274] = orientation
    picture = load_picture(put(file_bytes(stored, format, exif=exif, **options)))
    assert picture.pixels.shape == (32, 48, 3)
    corners = picture.pixels[8::16, 12::24].reshape(-1, 3).astype(int)
    assert np.abs(corners - [RED, GREEN, BLUE, GRAY]).max() <= 6


def test_deep_gray_is_set_upright_too(put: Put) -> None:
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(np.array([[0, 65535, 0]], np.uint16))
    picture = load_picture(put(file_bytes(image, "PNG", exif=exif)))
    assert picture.pixels[:, :, 0].tolist() == [[0], [255], [0]]


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\x08\0\0\0",
        b"Exif\0\0MM\0*\0\0\xff\xff",
        b"Exif\0\0" + bytes(40),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 274, 3, 1, 9),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 274, 2, 4, 0x363636),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 274, 5, 1, 4000),
        b"nonsense",
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_changes_nothing(put: Put, format: str, exif: bytes) -> None:
    picture = load_picture(put(file_bytes(quarters(), format, exif=exif)))
    assert picture.pixels.shape == (32, 48, 3)


def ycck_red() -> bytes:
    """A JPEG whose Adobe marker says YCCK; Pillow writes the inverted values under a CMYK marker."""
    data = bytearray(file_bytes(Image.new("CMYK", (16, 16), (76, 84, 254, 0)), "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def first_of_many(format: str, **options: Any) -> bytes:
    rest = [Image.new("RGB", (8, 8), BLUE), Image.new("RGB", (8, 8), GREEN)]
    return file_bytes(Image.new("RGB", (8, 8), RED), format, save_all=True, append_images=rest, **options)


def palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    return image


def gray(*values: float, of: type[np.generic] = np.uint16) -> Image.Image:
    return Image.fromarray(np.array([values], of))


def big_endian_gray() -> bytes:
    return b"MM" + struct.pack(
        ">HIH" + "HHIHH" * 6 + "HHII" * 2 + "I" + "HH",
        *(42, 8, 8),
        *(256, 3, 1, 2, 0, 257, 3, 1, 1, 0, 258, 3, 1, 16, 0, 259, 3, 1, 1, 0, 262, 3, 1, 1, 0),
        *(277, 3, 1, 1, 0, 273, 4, 1, 110, 279, 4, 1, 4, 0),
        *(65535, 32768),
    )


HALF = [(255,) * 3, (128,) * 3]

ROWS: list[tuple[str, Callable[[], bytes], Sequence[tuple[int, ...]]]] = [
    ("bilevel", lambda: file_bytes(Image.fromarray(np.array([[True, False]])), "PNG"), [WHITE, BLACK]),
    ("gray", lambda: file_bytes(gray(7, 200, of=np.uint8), "PNG"), [(7,) * 3, (200,) * 3]),
    ("gray 16 PNG", lambda: file_bytes(gray(65535, 32768), "PNG"), HALF),
    ("gray 16 TIFF", lambda: file_bytes(gray(65535, 32768), "TIFF"), HALF),
    ("gray 16 PGM", lambda: b"P5 2 1 65535\n\xff\xff\x80\0", HALF),
    ("gray 16 big-endian TIFF", big_endian_gray, HALF),
    ("gray 12 TIFF", lambda: tiff(2, (12,), 1, b"\xff\xf8\x00"), HALF),
    ("gray 16 in 32 TIFF", lambda: file_bytes(gray(65535, 32768, of=np.int32), "TIFF"), HALF),
    ("gray 32 TIFF", lambda: file_bytes(gray(2**31 - 1, 2**30, of=np.int32), "TIFF"), HALF),
    ("negative", lambda: file_bytes(gray(-5, 32768, of=np.int32), "TIFF"), [BLACK, (128,) * 3]),
    ("gray 16 and a hole", lambda: png(2, 1, 16, 0, b"\x80\0\x80\1", chunk(b"tRNS", b"\x80\0")), HALF),
    ("float to 1", lambda: file_bytes(gray(1, 0.5, of=np.float32), "TIFF"), HALF),
    ("float to 255", lambda: file_bytes(gray(300, 128.2, of=np.float32), "TIFF"), HALF),
    ("float below 0", lambda: file_bytes(gray(-1, 0.5, of=np.float32), "TIFF"), [BLACK, BLACK]),
    ("not a number", lambda: file_bytes(gray(np.nan, 1, of=np.float32), "TIFF"), [BLACK, WHITE]),
    ("infinite", lambda: file_bytes(gray(np.inf, 128, of=np.float32), "TIFF"), HALF),
    ("RGB 16 PNG", lambda: png(2, 1, 16, 2, b"\xff\xff" * 3 + b"\x80\0" * 3), HALF),
    ("RGBA 16 PNG", lambda: png(2, 1, 16, 6, b"\0" * 8 + b"\x80\0" * 3 + b"\xff\xff"), HALF),
    ("LA 16 PNG", lambda: png(2, 1, 16, 4, b"\0" * 4 + b"\x80\0\xff\xff"), HALF),
    (
        "RGB and a hole",
        lambda: png(2, 1, 8, 2, bytes([1, 2, 3, *RED]), chunk(b"tRNS", b"\0\1\0\2\0\3")),
        [WHITE, RED],
    ),
    ("palette", lambda: file_bytes(palette(), "PNG"), [RED, BLUE]),
    ("palette and a hole", lambda: file_bytes(palette(), "PNG", transparency=0), [WHITE, BLUE]),
    (
        "palette, half a hole",
        lambda: file_bytes(palette(), "PNG", transparency=b"\x80\xff"),
        [(255, 127, 127), BLUE],
    ),
    ("GIF and a hole", lambda: file_bytes(palette(), "GIF", transparency=0), [WHITE, BLUE]),
    ("gray and alpha", lambda: file_bytes(Image.new("LA", (1, 1), (0, 128)), "PNG"), [(127,) * 3]),
    (
        "RGB and alpha",
        lambda: file_bytes(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG"),
        [(255, 127, 127)],
    ),
    ("RGB and alpha WebP", lambda: file_bytes(Image.new("RGBA", (1, 1), (*RED, 0)), "WEBP"), [WHITE]),
    ("opaque", lambda: file_bytes(Image.new("RGBA", (1, 1), (*RED, 255)), "TIFF"), [RED]),
    ("premultiplied RGB", lambda: tiff(1, (8,) * 4, 2, b"\x80\0\0\x80", (338, 1)), [(255, 127, 127)]),
    ("premultiplied gray", lambda: tiff(1, (8,) * 2, 1, b"\x40\x80", (338, 1)), [(191,) * 3]),
    ("CMYK JPEG", lambda: file_bytes(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), [RED]),
    ("CMYK TIFF", lambda: file_bytes(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [RED]),
    ("YCCK JPEG", ycck_red, [RED]),
    ("YCbCr TIFF", lambda: file_bytes(Image.new("YCbCr", (1, 1), (76, 85, 255)), "TIFF"), [RED]),
    (
        "LAB TIFF",
        lambda: file_bytes(Image.new("RGB", (1, 1), (200, 30, 40)).convert("LAB"), "TIFF"),
        [(200, 30, 40)],
    ),
    ("many in a GIF", lambda: first_of_many("GIF"), [RED]),
    ("many in a PNG", lambda: first_of_many("PNG"), [RED]),
    ("many in a WebP", lambda: first_of_many("WEBP", lossless=True), [RED]),
    ("many in a TIFF", lambda: first_of_many("TIFF"), [RED]),
    ("many in an AVIF", lambda: first_of_many("AVIF", quality=100), [RED]),
    ("many in an MPO", lambda: first_of_many("MPO", quality=100, subsampling=0), [RED]),
]


@pytest.mark.parametrize(("make", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_kind_of_color_becomes_rgb(
    put: Put, make: Callable[[], bytes], expected: Sequence[tuple[int, ...]]
) -> None:
    pixels = load_picture(put(make())).pixels
    assert pixels.shape[2] == 3
    assert np.abs(pixels[0, : len(expected)].astype(int) - expected).max() <= 2, pixels[0]


@pytest.mark.parametrize("size", [(1, 1), (30000, 1), (1, 30000)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_slivers(put: Put, size: tuple[int, int], format: str) -> None:
    picture = load_picture(put(file_bytes(Image.new("RGB", size, WHITE), format)))
    assert (picture.width, picture.height) == size
    assert (picture.pixels == 255).all()


def deep_gray() -> Image.Image:
    values = np.random.default_rng(7).integers(0, 2**16, (32, 48), np.uint16)
    return Image.fromarray(values)


def test_every_kind_of_color_in_strips(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    for make, _ in (row[1:] for row in ROWS):
        path = put(make())
        whole = load_picture(path).pixels
        with monkeypatch.context() as strips:
            strips.setattr(decoding, "_STRIP", 1)
            assert (load_picture(path).pixels == whole).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "image",
    [
        quarters(),
        noise(48, 32),
        Image.merge("RGBA", (*noise(48, 32).split(), noise(48, 32).getchannel(0))),
        quarters().quantize(8),
        deep_gray(),
        Image.fromarray(np.asarray(deep_gray()).astype(np.int32) * 16),
        Image.fromarray(np.asarray(deep_gray()).astype(np.float32) / 65535),
    ],
    ids=["RGB", "noise", "RGBA", "palette", "16 bits", "32 bits", "float"],
)
def test_strips_make_up_the_whole(
    put: Put, monkeypatch: pytest.MonkeyPatch, image: Image.Image, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    # Pillow itself turns a TIFF.
    format = "TIFF" if image.mode in ("I", "F") else "PNG"
    path = put(file_bytes(image, format, exif=exif))
    whole = load_picture(path).pixels
    monkeypatch.setattr(decoding, "_STRIP", 48 * 5)
    assert np.array_equal(load_picture(path).pixels, whole)


def test_a_large_picture_takes_little_more_memory_than_its_pixels(put: Put) -> None:
    path = put(file_bytes(Image.new("RGBA", (5000, 5000), (*RED, 128)), "PNG"))
    code = """
import sys
from pathlib import Path
from vipcli.pictures.images import load_picture

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before = peak()
picture = load_picture(sys.argv[1])
print((peak() - before) / picture.pixels.nbytes)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    # Pillow's own image takes four thirds of the result.
    assert float(done.stdout) < 2.8


def test_a_pillow_image_is_set_upright_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name in ("a.tif", "a.png"):
        quarters().transpose(Image.Transpose.ROTATE_90).save(tmp_path / name, exif=exif)
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(open_picture(image).pixels, np.asarray(quarters()))


def test_a_pillow_image_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(file_bytes(noise(64, 64), "PNG")[:500])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(ImageError, match="The image is damaged"):
        open_picture(image)
    with pytest.raises(ImageError, match="The image has no pixels"):
        open_picture(Image.new("RGB", (0, 5)))


# What cannot be read

BAD = [
    ("nothing in it", b"", "is empty"),
    ("text", b"hello, this is not a picture", "not a picture that can be read. JPEG, PNG"),
    ("web page", b"\xef\xbb\xbf\n<!DOCTYPE html><p>hello", "is a web page"),
    ("svg", b'<?xml version="1.0"?>\n<svg width="1">', "SVG drawing"),
    ("pdf", b"%PDF-1.7 ...", "PDF document"),
    ("heic", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "HEIC photo"),
    ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ("icon", file_bytes(noise(), "ICO", sizes=[(16, 16)]), "is an icon or cursor (ICO, CUR), which vipcli"),
    ("texture", file_bytes(noise(), "DDS"), "is a texture (DDS), which vipcli does not read"),
    ("paintbrush", file_bytes(noise(), "PCX"), "is a Paintbrush picture (PCX)"),
    ("mac icon", file_bytes(noise(), "ICNS"), "is an icon (ICNS)"),
    (
        "photoshop",
        b"8BPS\0\1" + bytes(30),
        "is a Photoshop picture (PSD), which vipcli",
    ),
    ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is a PostScript drawing"),
    ("no width", png(0, 5, 8, 2, b""), "is damaged"),
    (
        "bmp without height",
        b"BM" + bytes(12) + struct.pack("<IiiHHIIIIII", 40, 5, 0, 1, 24, *[0] * 6),
        "is damaged",
    ),
    ("only a beginning", b"\xff\xd8\xff\xe0", "is damaged"),
    ("bad checksum", file_bytes(noise(), "PNG").replace(b"IDAT", b"IDAT\0"), "is damaged"),
    ("too many", png(60000, 50000, 8, 2, b""), "60000 × 50000 pixels, more than the limit of 200,000,000"),
    ("far too many", png(2**31 - 1, 2**31 - 1, 8, 2, b""), "max_pixels"),
]


@pytest.mark.parametrize(("data", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_no_picture_in_it(put: Put, data: bytes, message: str) -> None:
    path = put(data, "photo.jpg")
    with pytest.raises(ImageError) as caught:
        load_picture(path)
    assert message in str(caught.value)
    assert "photo.jpg" in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("format", "options"), EXACT + LOSSY)
def test_a_truncated_file_is_an_error(put: Put, format: str, options: dict[str, Any], share: float) -> None:
    data = file_bytes(noise(64, 64), format, **options)
    with pytest.raises(ImageError):
        load_picture(put(data[: int(len(data) * share)]))


def sun_raster() -> bytes:
    return struct.pack(">8I", 0x59A66A95, 2, 1, 24, 6, 1, 0, 0) + bytes(6)


@pytest.mark.parametrize(
    ("data", "format"),
    [(file_bytes(noise(), "DIB"), "DIB (Windows Bitmap)"), (sun_raster(), "SUN (Sun Raster File)")],
    ids=["dib", "sun"],
)
def test_any_other_format_that_pillow_knows_is_named(put: Put, data: bytes, format: str) -> None:
    path = put(data, "photo")
    with pytest.raises(ImageError) as caught:
        load_picture(path)
    assert str(caught.value) == (
        f"{path!r} is in the format {format}, which vipcli does not read. Convert it to PNG first."
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_a_tga_is_taken_for_no_other_format(put: Put, mode: str, compression: str | None) -> None:
    image = quarters().convert(mode)
    pixels = load_picture(put(file_bytes(image, "TGA", compression=compression))).pixels
    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


def test_libtiff_prints_nothing(put: Put, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(file_bytes(noise(80, 60), "TIFF", compression="tiff_lzw"))
    data[200:4000] = bytes(3800)
    path = put(bytes(data), "photo.tif")
    # Pillow alone lets libtiff print, without which this test would show nothing.
    with suppress(OSError), Image.open(path) as image:
        image.load()
    assert capfd.readouterr().err
    with pytest.raises(ImageError) as caught:
        load_picture(path)
    assert str(caught.value).startswith(f"{path!r} is damaged or cut off.")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    with suppress(OSError), Image.open(path) as image:
        image.load()
    assert capfd.readouterr().err, "the handlers were not restored"


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_adobe_deflate"])
def test_libtiff_prints_nothing_whatever_the_compression(
    put: Put, capfd: pytest.CaptureFixture[str], compression: str
) -> None:
    data = file_bytes(noise(64, 64), "TIFF", compression=compression)
    with suppress(ImageError):
        load_picture(put(data[:400] + bytes(3000) + data[3400:]))
    assert capfd.readouterr() == ("", "")


def test_the_extensions_are_all_that_pillow_knows_for_these_formats() -> None:
    Image.init()
    formats = {*decoding.READABLE, "MPO"}
    expected = {end for end, format in Image.registered_extensions().items() if format in formats}
    assert set(images.ENDINGS) == expected
    assert len(images.ENDINGS) == len(expected)


@pytest.mark.parametrize("extension", images.ENDINGS)
def test_every_listed_extension_is_read(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"photo{extension}"
    image = Image.new("L" if extension == ".bw" else "RGB", (8, 8), "white")
    if extension == ".pfm":
        image = image.convert("F")
    image.save(path)
    assert (load_picture(str(path)).pixels == 255).all()


def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def below_a_file(tmp_path: Path) -> str:
    (tmp_path / "file").touch()
    return str(tmp_path / "file" / "photo.jpg")


def link_to_itself(tmp_path: Path) -> str:
    link = tmp_path / "loop.jpg"
    link.symlink_to(link)
    return str(link)


def lonely_pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


NO_FILE: list[tuple[str | Callable[[Path], str], str]] = [
    ("missing.jpg", "There is no file 'missing.jpg'"),
    ("", "There is no file ''"),
    ("~/no-such-photo.jpg", "There is no file '~/no-such-photo.jpg'"),
    ("a\0b.jpg", "cannot be the name of a file"),
    ("\ud800.jpg", "cannot be the name of a file"),
    ("a\nb.jpg", r"'a\nb.jpg'"),
    ("x" * 5000, "…"),
    (folder, "is a folder"),
    (below_a_file, "There is no file"),
    (link_to_itself, "cannot be read"),
    (lonely_pipe, "is empty"),
    ("/dev/zero", "'/dev/zero' is a device"),
    ("/dev/null", "'/dev/null' is a device"),
    ("file:///tmp/photo.jpg", "path of a file"),
    ("ftp://example.org/photo.jpg", "http or https address"),
    ("s3://me:secret@bucket/photo.jpg?key=secret", "'s3://bucket/photo.jpg?…' is not an address"),
    ("data:image/png;base64," + "A" * 5000, "http or https address"),
]


@pytest.mark.parametrize(("source", "message"), NO_FILE)
def test_no_file_to_read(tmp_path: Path, source: str | Callable[[Path], str], message: str) -> None:
    source = source if isinstance(source, str) else source(tmp_path)
    with pytest.raises(ImageError) as caught:
        load_picture(source)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "secret" not in str(caught.value)


@as_root
def test_a_forbidden_file(put: Put) -> None:
    path = put(b"x")
    Path(path).chmod(0)
    with pytest.raises(ImageError, match="may not be read"):
        load_picture(path)


def test_a_file_that_the_system_withholds(monkeypatch: pytest.MonkeyPatch) -> None:
    def withhold(path: str) -> io.BytesIO:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(images, "_open_path", withhold)
    with pytest.raises(ImageError, match=r"'photo.jpg' may not be read. Check its permissions."):
        load_picture("photo.jpg")


def test_too_little_memory(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(decoding, "to_pixels", fail)
    with pytest.raises(ImageError, match="does not fit into memory"):
        load_picture(put(file_bytes(noise(), "PNG")))


def test_the_pixel_limit_is_the_callers(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(file_bytes(noise(20, 10), "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    assert load_picture(path, max_pixels=200).width == 20
    with pytest.raises(ImageError, match="20 × 10 pixels, more than the limit of 199"):
        load_picture(path, max_pixels=199)
    assert Image.MAX_IMAGE_PIXELS == 3


def test_many_at_once_leave_the_process_as_it_was(put: Put) -> None:
    paths = [put(file_bytes(noise(), "PNG"), "good.png"), put(b"bad", "bad.png")] * 8
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    def load(path: str) -> None:
        with suppress(ImageError):
            load_picture(path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, paths))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert filters == list(warnings.filters)


FUZZED = [*EXACT, *LOSSY, ("TIFF", {"compression": "tiff_adobe_deflate"})]


@pytest.mark.parametrize(("format", "options"), FUZZED)
def test_damaged_bytes_give_a_picture_or_an_error(put: Put, format: str, options: dict[str, Any]) -> None:
    chance = random.Random(f"{format} {options}")
    exif = Image.Exif()
    exif[274] = 6
    takes_exif = format in {"JPEG", "PNG", "WEBP", "TIFF", "AVIF"}
    whole = file_bytes(noise(), format, **options, **({"exif": exif} if takes_exif else {}))
    for _ in range(16):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 2, 8, 40])):
            # Headers break in more interesting ways than pixels.
            data[chance.randrange(chance.choice([64, len(data)]))] = chance.randrange(256)
        if chance.random() < 0.25:
            del data[chance.randrange(len(data)) :]
        try:
            picture = load_picture(put(bytes(data)), max_pixels=1_000_000)
        except ImageError:
            continue
        assert isinstance(picture, Picture)
        assert picture.pixels.ndim == 3


# Standard input and pipes


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_bytes() -> None:
    data = file_bytes(noise(), "PNG")
    picture = read_picture(data, "Picture 1")
    assert (picture.name, picture.sha256) == ("Picture 1", hashlib.sha256(data).hexdigest())
    assert np.array_equal(picture.pixels, np.asarray(noise())) and not picture.pixels.flags.writeable
    with pytest.raises(ImageError, match=r"^Picture 1 is damaged or cut off"):
        read_picture(data[:200], "Picture 1")
    with pytest.raises(ImageError, match=r"^Picture 1 is 24 × 16 pixels, more than the limit of 300"):
        read_picture(data, "Picture 1", max_pixels=300)


def test_standard_input() -> None:
    data = file_bytes(noise(), "PNG")
    picture = load_picture("-", stdin=io.BytesIO(data))
    assert picture.name == "-"
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert np.array_equal(picture.pixels, np.asarray(noise()))


def test_standard_input_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file_bytes(noise(), "PNG"))))
    assert load_picture("-").width == 24
    with pytest.raises(ImageError, match="Standard input is empty"):
        load_picture("-")


def test_no_standard_input_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ImageError, match="Nothing is piped in"):
        load_picture("-")


def test_a_terminal_is_no_picture() -> None:
    with pytest.raises(ImageError, match="Nothing is piped in"):
        load_picture("-", stdin=Terminal())


def test_endless_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 2**20)
    with Path("/dev/zero").open("rb") as zeros, pytest.raises(ImageError, match="more than 1 MiB"):
        load_picture("-", stdin=zeros)


class Failing(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise IsADirectoryError(errno.EISDIR, "Is a directory")


def test_a_folder_as_standard_input() -> None:
    with pytest.raises(ImageError, match="Standard input is a folder"):
        load_picture("-", stdin=Failing())


def test_a_pipe_with_a_path(tmp_path: Path) -> None:
    data = file_bytes(noise(200, 200), "PNG")
    reading, writing = os.pipe()

    def write() -> None:
        time.sleep(0.05)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert load_picture(f"/dev/fd/{reading}").width == 200
    finally:
        os.close(reading)
        writer.join()


# Addresses

PICTURE = file_bytes(noise(), "PNG")
BOMB = zlib.compress(bytes(2**26))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        with suppress(ConnectionError):
            getattr(self, f"answer_{self.path.strip('/').partition('?')[0]}")()

    def send(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_picture(self) -> None:
        self.send(200, PICTURE, Content_Type="image/png")

    def answer_mislabelled(self) -> None:
        self.send(200, PICTURE, Content_Type="text/html")

    def answer_private(self) -> None:
        allowed = self.headers.get("Authorization") == "Basic bWU6c2VjcmV0"
        self.send(*((200, PICTURE) if allowed else (403,)))

    def answer_redirect(self) -> None:
        self.send(302, Location="/picture")

    def answer_endless_redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/picture")
        self.end_headers()
        self.pour()

    def answer_loop(self) -> None:
        self.send(302, Location="/loop")

    def answer_elsewhere(self) -> None:
        self.send(302, Location="ftp://example.org/photo.jpg")

    def answer_missing(self) -> None:
        self.send(404, b"<html>gone")

    def answer_forbidden(self) -> None:
        self.send(403)

    def answer_busy(self) -> None:
        self.send(429)

    def answer_broken(self) -> None:
        self.send(500)

    def answer_teapot(self) -> None:
        self.send(418)

    def answer_unchanged(self) -> None:
        self.send(304)

    def answer_page(self) -> None:
        self.send(200, b"<!doctype html><html><body>hello", Content_Type="text/html")

    def answer_empty(self) -> None:
        self.send(200)

    def answer_half(self) -> None:
        self.send(200, PICTURE[:200])

    def answer_short(self) -> None:
        self.send(200, PICTURE[:200], Content_Length=str(len(PICTURE)))

    def answer_long(self) -> None:
        self.send(200, PICTURE, Content_Length="200")

    def answer_badlength(self) -> None:
        self.send(200, PICTURE, Content_Length="many")

    def answer_huge(self) -> None:
        self.send(200, PICTURE, Content_Length=str(2**40))

    def answer_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.pour()

    def pour(self) -> None:
        while True:
            self.wfile.write(bytes(2**16))

    def answer_bomb(self) -> None:
        self.send(200, BOMB, Content_Encoding="deflate")

    def answer_compressed(self) -> None:
        encoding = self.path.partition("?")[2]
        compress = zlib.compress if encoding == "deflate" else gzip.compress
        self.send(200, compress(PICTURE), Content_Encoding=encoding)

    def answer_brotli(self) -> None:
        self.send(200, PICTURE, Content_Encoding="br")

    def answer_garbled(self) -> None:
        self.send(200, PICTURE, Content_Encoding="gzip")

    def answer_drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.drip()

    def answer_drippingheaders(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        self.drip()

    def drip(self) -> None:
        for _ in range(200):
            self.wfile.write(b"x")
            time.sleep(0.02)

    def answer_silent(self) -> None:
        time.sleep(1)

    def answer_noise(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.15)
    monkeypatch.setattr(fetching, "DEADLINE", 0.3)


COMPRESSED = [f"compressed?{encoding}" for encoding in ("gzip", "X-GZIP", "deflate")]


@pytest.mark.parametrize(
    "path", ["picture", "picture?size=1", "redirect", "endless_redirect", "mislabelled", *COMPRESSED]
)
def test_an_address(server: str, path: str) -> None:
    picture = load_picture(f"{server}/{path}")
    assert np.array_equal(picture.pixels, np.asarray(noise()))
    assert picture.name == f"{server}/{path}"
    assert picture.sha256 == hashlib.sha256(PICTURE).hexdigest()


def test_an_address_with_a_password(server: str) -> None:
    address = server.replace("http://", "HTTP://me:secret@")
    picture = load_picture(f"{address}/private")
    assert picture.width == 24
    assert "secret" not in picture.name
    with pytest.raises(ImageError) as caught:
        load_picture(f"{address}/missing?token=secret")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


REFUSED = [
    ("missing", "answered 404 (not found)"),
    ("private", "answered 403 (access denied)"),
    ("forbidden", "answered 403"),
    ("busy", "answered 429 (too many requests). Wait a while"),
    ("broken", "answered 500 (server error)"),
    ("teapot", "answered 418 instead of a picture"),
    ("unchanged", "answered 304"),
    ("page", "is a web page, not a picture"),
    ("empty", "is empty"),
    ("half", "is damaged or cut off"),
    ("short", "was cut off"),
    ("long", "is damaged or cut off"),
    ("badlength", "was cut off"),
    ("huge", "more than 0 MiB"),
    ("endless", "more than 0 MiB"),
    ("bomb", "more than 0 MiB"),
    ("garbled", "its compression is damaged"),
    ("brotli", "the server compresses it as 'br'"),
    ("noise", "was cut off"),
    ("loop", "redirected too many times"),
    ("elsewhere", "does not lead to an http or https address"),
]


@pytest.mark.parametrize(("path", "message"), REFUSED)
def test_no_picture_at_an_address(
    server: str, path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 200_000)
    with pytest.raises(ImageError) as caught:
        load_picture(f"{server}/{path}")
    assert message in str(caught.value)
    assert f"{server}/{path}" in str(caught.value)


def test_a_bomb_is_counted_as_it_expands(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="more than 1 MiB"):
            load_picture(f"{server}/bomb")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_an_address_in_a_notebook_whose_loop_runs(server: str) -> None:
    async def cell() -> Picture:
        return load_picture(f"{server}/picture")

    assert asyncio.run(cell()).width == 24


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["drip", "drippingheaders", "silent"])
def test_a_server_that_takes_for_ever(server: str, path: str) -> None:
    began = time.monotonic()
    with pytest.raises(ImageError, match="the server is too slow"):
        load_picture(f"{server}/{path}")
    assert time.monotonic() - began < 3


def test_a_server_without_certificate(server: str) -> None:
    with pytest.raises(ImageError, match="a secure connection cannot be made"):
        load_picture(f"{server.replace('http', 'https')}/picture")


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ImageError, match="the server refuses the connection"):
            load_picture(f"http://127.0.0.1:{port}/photo.jpg")


def test_a_port_beyond_all_ports() -> None:
    with pytest.raises(ImageError, match="cannot be fetched"):
        images.load_picture("http://127.0.0.1:99999/x.png")


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ImageError, match="no server of that name"):
        load_picture("http://photos.example/photo.jpg")


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://host:port/photo.jpg",
        "http://me:secret/@host:port/photo.jpg",
        "http://host/\n",
    ],
)
def test_an_address_that_makes_no_sense(address: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_picture(address)
    assert "does not lead to an http or https address" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "nonsense://me:secret@proxy"),
        ("HTTP_PROXY", "http://me:secret@host:port"),
        ("SSL_CERT_FILE", "/missing/secret.pem"),
    ],
)
def test_surroundings_that_make_no_sense(
    server: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImageError, match="a proxy or certificate named in the environment") as caught:
        load_picture(f"{server}/picture")
    assert "secret" not in str(caught.value)


# Masks


def mask_file(put: Put, image: Image.Image, format: str = "PNG", **options: Any) -> str:
    return put(file_bytes(image, format, **options), "mask.png")


def left_half(width: int, height: int) -> Image.Image:
    image = Image.new("L", (width, height))
    image.paste(255, (0, 0, width // 2, height))
    return image


def test_a_mask_is_true_where_it_is_white(put: Put) -> None:
    values = gray(0, 127, 128, 255, of=np.uint8)
    mask = load_mask(mask_file(put, values), 4, 1)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_masks_of_every_mode(put: Put, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(left_half(8, 6)).astype(np.uint16) * 257)
    else:
        image = left_half(8, 6).convert(mode)
    mask = load_mask(mask_file(put, image, "TIFF" if mode == "CMYK" else "PNG"), 8, 6)
    assert mask[:, :4].all()
    assert not mask[:, 4:].any()


def test_what_is_transparent_is_not_marked(put: Put) -> None:
    image = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    image.putpixel((0, 0), (255, 255, 255, 255))
    assert load_mask(mask_file(put, image), 2, 1).tolist() == [[True, False]]


def test_a_mask_is_upright(put: Put) -> None:
    exif = Image.Exif()
    exif[274] = 3
    mask = load_mask(mask_file(put, left_half(8, 6), exif=exif), 8, 6)
    assert mask[:, 4:].all()
    assert not mask[:, :4].any()


@pytest.mark.parametrize("size", [(80, 60), (40, 30), (160, 120), (39, 29), (27, 20), (81, 60)])
def test_a_mask_of_the_same_shape_is_scaled(put: Put, size: tuple[int, int]) -> None:
    mask = load_mask(mask_file(put, left_half(*size)), 80, 60)
    assert mask.shape == (60, 80)
    assert mask[:, :38].all()
    assert not mask[:, 42:].any()


@pytest.mark.parametrize("size", [(60, 80), (80, 80), (84, 60), (40, 33), (1, 60)])
def test_a_mask_of_another_shape_is_an_error(put: Put, size: tuple[int, int]) -> None:
    path = mask_file(put, left_half(*size))
    with pytest.raises(ImageError) as caught:
        load_mask(path, 80, 60)
    assert f"{size[0]} × {size[1]} pixels, but the picture is 80 × 60" in str(caught.value)
    assert "mask.png" in str(caught.value)


def test_a_mask_that_marks_nothing(put: Put) -> None:
    with pytest.raises(ImageError, match="marks nothing"):
        load_mask(mask_file(put, Image.new("L", (4, 4), 1)), 4, 4)


def test_a_mask_that_is_missing() -> None:
    with pytest.raises(ImageError, match=r"There is no file 'missing.png'"):
        load_mask("missing.png", 4, 4)


# Writing

PIXELS = np.asarray(noise())


@pytest.mark.parametrize(
    "name", ["a.png", "a.PNG", "a.webp", "a.tif", "a.tiff", "a.bmp", "a.b.png", "é \n.png"]
)
def test_exact_formats_keep_every_pixel(tmp_path: Path, name: str) -> None:
    save_picture(PIXELS, tmp_path / name)
    assert np.array_equal(load_picture(str(tmp_path / name)).pixels, PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_keeps_thin_colors(tmp_path: Path, name: str) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 15] = RED
    save_picture(pixels, str(tmp_path / name))
    saved = load_picture(str(tmp_path / name)).pixels
    assert np.abs(saved[:, 15].astype(int) - RED).max() < 20
    with Image.open(tmp_path / name) as image:
        assert image.format == "JPEG"
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_encode(format: str) -> None:
    with Image.open(io.BytesIO(encode(PIXELS[:, ::-1], format))) as image:
        assert image.format == format
        assert image.size == (24, 16)


def test_a_picture_too_large_for_its_format(tmp_path: Path) -> None:
    sliver = np.zeros((1, 20000, 3), np.uint8)
    with pytest.raises(OutputError, match="20000 × 1 pixels cannot be written as WEBP"):
        save_picture(sliver, tmp_path / "a.webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a", "does not say which format"),
        ("a.txt", "Let it end in .png"),
        ("png", "does not say"),
        (".png", "does not say"),
        ("-", "does not say"),
        ("", "does not say"),
        ("missing/a.png", "There is no folder"),
        ("file/a.png", "There is no folder"),
        ("folder.png", "is a folder"),
        ("pipe.png", "is a device or a pipe"),
        ("loop.png", "cannot be written"),
        ("a\0.png", "cannot be the name"),
        ("\ud800.png", "cannot be the name"),
        ("x" * 300 + ".png", "cannot be written"),
    ],
)
def test_no_such_place_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder.png").mkdir()
    os.mkfifo("pipe.png")
    Path("loop.png").symlink_to("loop.png")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError) as caught:
        save_picture(PIXELS, name)
    assert message in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@as_root
def test_a_forbidden_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="is not writable"):
        save_picture(PIXELS, tmp_path / "a.png")
    tmp_path.chmod(0o700)


def test_a_read_only_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="is not writable"):
        save_picture(PIXELS, path)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "The disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), OutputError, "The disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), OutputError, "is not writable"),
        (OSError(errno.EIO, "Input/output error"), OutputError, "Input/output error"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
    raised: type[BaseException],
    message: str,
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 2, "nothing was on its way"
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(raised, match=message):
        save_picture(PIXELS, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_usual_permissions(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_picture(PIXELS, tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode


def test_an_old_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    path.chmod(0o640)
    save_picture(PIXELS, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert load_picture(str(path)).width == 24


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("a.png")
    save_picture(PIXELS, tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert load_picture(str(tmp_path / "a.png")).width == 24


@pytest.mark.parametrize(
    "written", ["photo.png", "./photo.png", "soft.png", "hard.png", "folder/../photo.png"]
)
@pytest.mark.parametrize("read", ["photo.png", "soft.png", "hard.png"])
def test_the_picture_that_was_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, read: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(PICTURE)
    Path("soft.png").symlink_to("photo.png")
    Path("hard.png").hardlink_to("photo.png")
    Path("folder").mkdir()
    sources = ["-", "http://example.org/photo.png", "missing.png", "a\0b", read]
    with pytest.raises(OutputError, match="is the picture that was read, and it is kept"):
        save_picture(PIXELS[:1], written, sources=sources)
    assert Path("photo.png").read_bytes() == PICTURE
    save_picture(PIXELS[:1], "other.png", sources=sources)


def test_the_picture_on_standard_input_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PICTURE)
    was, descriptor = os.dup(0), os.open(path, os.O_RDONLY)
    os.dup2(descriptor, 0)
    try:
        with pytest.raises(OutputError, match="it is kept"):
            save_picture(PIXELS, path, sources=["-"])
    finally:
        os.dup2(was, 0)
        os.close(was)
        os.close(descriptor)


def test_a_picture_that_memory_cannot_hold_is_refused_before_it_is_decoded(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(png(10_000, 10_000, 8, 2, b""))
    monkeypatch.setattr(decoding, "available_memory", lambda: 10**9)
    with pytest.raises(ImageError, match=r"takes about 1\.2 GB of memory\. Only 1\.0 GB is free\. Make it"):
        load_picture(path)
    # Where nobody knows what is free, the picture is read, and found damaged.
    monkeypatch.setattr(decoding, "available_memory", lambda: None)
    with pytest.raises(ImageError, match="damaged"):
        load_picture(path)
