"""Backgrounds of scenes, degradation by camera and file, and foreign pictures with nothing of this world."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vipcli.marks.colors import RGB
from vipcli.pictures.images import Pixels

Floats = NDArray[np.float32]


def background(width: int, height: int, rng: random.Random) -> tuple[Pixels, tuple[RGB, ...]]:
    """A flat, graded, noisy or textured background, and the colors that it ranges over."""
    base = _base_color(rng)
    style = rng.choices(("flat", "graded", "noisy", "textured"), (35, 25, 20, 20))[0]
    if style == "flat":
        return _flat(width, height, base), (base,)
    if style == "graded":
        end = tuple(min(max(part + rng.randint(-60, 60), 0), 255) for part in base)
        return _gradient(width, height, base, end, rng), (base, (end[0], end[1], end[2]))
    if style == "noisy":
        strength = rng.uniform(3, 14)
        return _to_pixels(_flat(width, height, base) + _noise(width, height, rng) * strength), (base,)
    return _textured(width, height, base, rng), (base,)


def _base_color(rng: random.Random) -> RGB:
    """A color for a background: mostly pale, sometimes strong or dark."""
    if rng.random() < 0.55:
        tone = rng.randint(195, 255)
        return _vary((tone, tone, tone), rng, 14)
    if rng.random() < 0.5:
        return _vary((rng.randint(140, 255), rng.randint(150, 255), rng.randint(140, 255)), rng, 0)
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def _vary(color: RGB, rng: random.Random, spread: int) -> RGB:
    red, green, blue = (min(max(part + rng.randint(-spread, spread), 0), 255) for part in color)
    return red, green, blue


def _flat(width: int, height: int, color: RGB) -> Pixels:
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = color
    return canvas


def _gradient(
    width: int, height: int, start: Sequence[int], end: Sequence[int], rng: random.Random
) -> Pixels:
    if rng.random() < 0.7:
        angle = rng.uniform(0, 2 * math.pi)
        across, down = math.cos(angle), math.sin(angle)
        share = np.add.outer(np.linspace(-down, down, 64), np.linspace(-across, across, 64)) / 2.9 + 0.5
    else:
        x, y = rng.uniform(0, 1), rng.uniform(0, 1)
        share = np.sqrt(np.add.outer(np.linspace(-y, 1 - y, 64) ** 2, np.linspace(-x, 1 - x, 64) ** 2))
    mix = np.clip(share, 0, 1).astype(np.float32)[:, :, None]
    small = _to_pixels(mix * np.array(end, np.float32) + (1 - mix) * np.array(start, np.float32))
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _textured(width: int, height: int, base: RGB, rng: random.Random) -> Pixels:
    canvas = _flat(width, height, base)
    sign = -1 if sum(base) > 380 else 1
    other = tuple(min(max(part + sign * rng.randint(8, 26), 0), 255) for part in base)
    style = rng.choice(("grid", "lines", "checks", "clouds", "specks"))
    step = max(round(max(width, height) * rng.uniform(0.025, 0.09)), 4)
    if style == "clouds":
        coarse = _generator(rng).normal(0, rng.uniform(4, 16), (rng.randint(3, 9), rng.randint(3, 9), 1))
        smooth = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        return _to_pixels(canvas + smooth[:, :, None])
    if style == "checks":
        ys, xs = np.ogrid[0:height, 0:width]
        canvas[((ys // step) + (xs // step)) % 2 == 1] = other
    elif style == "specks":
        generator = _generator(rng)
        count = rng.randint(60, 400)
        for x, y in zip(
            generator.integers(0, width, count), generator.integers(0, height, count), strict=True
        ):
            cv2.circle(canvas, (int(x), int(y)), max(step // 16, 1), other, -1)
    else:
        line = max(step // 12, 1)
        for y in range(rng.randrange(step), height, step):
            canvas[y : y + line] = other
        if style == "grid":
            for x in range(rng.randrange(step), width, step):
                canvas[:, x : x + line] = other
    return canvas


def degrade(image: Pixels, rng: random.Random) -> Pixels:
    """Degrade a picture at random as a camera and a file would: brightness, blur, noise and JPEG."""
    if rng.random() < 0.3:
        gain, lift = rng.uniform(0.82, 1.12), rng.uniform(-12, 12)
        image = _to_pixels(image.astype(np.float32) * gain + lift)
    if rng.random() < 0.2:
        sigma = rng.uniform(0.3, 0.0022 * max(image.shape) + 0.3)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    if rng.random() < 0.15:
        image = _to_pixels(image + _noise(image.shape[1], image.shape[0], rng) * rng.uniform(2, 8))
    if rng.random() < 0.5:
        # In a small picture, a JPEG block is as large as a letter.
        quality = rng.randint(40 if max(image.shape) >= 480 else 65, 95)
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return image


def foreign_picture(width: int, height: int, rng: random.Random) -> Pixels:
    """A picture that shows nothing of this world."""
    return rng.choice(FOREIGN_PAINTERS)(width, height, rng)


def _noise_picture(width: int, height: int, rng: random.Random) -> Pixels:
    grain = rng.choice((1, 1, 2, 4, 8, 16))
    channels = rng.choice((1, 3))
    small = _generator(rng).integers(0, 256, (height // grain + 1, width // grain + 1, channels), np.uint8)
    if channels == 1:
        small = np.repeat(small, 3, axis=2)
    method = rng.choice((cv2.INTER_NEAREST, cv2.INTER_LINEAR))
    return np.asarray(cv2.resize(small, (width, height), interpolation=method), np.uint8)


def _strong_gradient(width: int, height: int, rng: random.Random) -> Pixels:
    start, end = ((rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)) for _ in range(2))
    return _gradient(width, height, start, end, rng)


def _waves(width: int, height: int, rng: random.Random) -> Pixels:
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32) / max(width, height)
    planes = []
    for _ in range(3):
        waves = [
            np.sin((xs * rng.uniform(-40, 40) + ys * rng.uniform(-40, 40)) + rng.uniform(0, 6))
            for _ in range(2)
        ]
        planes.append(128 + 60 * sum(waves))
    return _to_pixels(np.stack(planes, 2))


def _blobs(width: int, height: int, rng: random.Random) -> Pixels:
    coarse = _generator(rng).integers(0, 256, (rng.randint(4, 14), rng.randint(4, 14), 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _scribbled_page(width: int, height: int, rng: random.Random) -> Pixels:
    canvas = _flat(width, height, _base_color(rng))
    for _ in range(rng.randint(2, 14)):
        ink = _vary((rng.randint(0, 255),) * 3, rng, 90)
        points = _generator(rng).uniform(0, 1, (rng.randint(3, 14), 2)) * (width, height)
        fine = cv2.resize(points.astype(np.float32), (2, 60), interpolation=cv2.INTER_CUBIC)
        stroke = max(round(max(width, height) * rng.uniform(0.003, 0.015)), 1)
        cv2.polylines(canvas, [np.round(fine).astype(np.int32)], False, ink, stroke, cv2.LINE_AA)
    return canvas


def _color_bands(width: int, height: int, rng: random.Random) -> Pixels:
    """Bands of color, as on a flag or a test card."""
    canvas = np.empty((height, width, 3), np.uint8)
    count, upright = rng.randint(3, 14), rng.random() < 0.5
    for band in range(count):
        color = _vary((rng.randint(0, 255),) * 3, rng, 120)
        if upright:
            canvas[:, band * width // count : (band + 1) * width // count] = color
        else:
            canvas[band * height // count : (band + 1) * height // count] = color
    return canvas


def _crossing_lines(width: int, height: int, rng: random.Random) -> Pixels:
    """Straight lines from edge to edge."""
    canvas = _flat(width, height, _base_color(rng))
    for _ in range(rng.randint(6, 40)):
        ends = [(rng.randint(-width, 2 * width), rng.randint(-height, 2 * height)) for _ in range(2)]
        ink = _vary((rng.randint(0, 255),) * 3, rng, 90)
        cv2.line(canvas, ends[0], ends[1], ink, max(round(max(width, height) * rng.uniform(0.002, 0.02)), 1))
    return canvas


def _plain_background(width: int, height: int, rng: random.Random) -> Pixels:
    return background(width, height, rng)[0]


def _fractal_noise(width: int, height: int, rng: random.Random, channels: int = 1) -> Floats:
    """Fractal noise from about -1 to 1: like bark, hills, fur and sky in photographs."""
    generator = _generator(rng)
    total = np.zeros((height, width, channels), np.float32)
    fade = rng.uniform(0.45, 0.75)
    for octave in range(1, 8):
        cells = 2**octave
        coarse = generator.standard_normal((cells + 1, cells + 1, channels), np.float32) * fade**octave
        finer = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        total += finer.reshape(height, width, channels)
    return total / max(float(np.abs(total).max()), 1e-6)


def _fractal_clouds(width: int, height: int, rng: random.Random) -> Pixels:
    color = np.array([rng.randint(40, 215) for _ in range(3)], np.float32)
    return _to_pixels(color + _fractal_noise(width, height, rng, rng.choice((1, 3))) * rng.uniform(60, 190))


def _landscape(width: int, height: int, rng: random.Random) -> Pixels:
    """A sky over several ridges of rough ground, like an outdoor photograph."""
    sky = [rng.randint(90, 255) for _ in range(3)]
    canvas = _gradient(
        width, height, (sky[0], sky[1], sky[2]), tuple(min(part + 60, 255) for part in sky), rng
    )
    texture = _fractal_noise(width, height, rng)
    rows = np.arange(height)[:, None]
    horizon = rng.uniform(0.2, 0.6)
    for _ in range(rng.randint(1, 4)):
        ridge = _fractal_noise(width, 8, rng)[4, :, 0] * rng.uniform(0.03, 0.15) + horizon
        ground = _to_pixels(
            np.array([rng.randint(10, 190) for _ in range(3)], np.float32) + texture * rng.uniform(30, 90)
        )
        below = rows > ridge[None] * height
        canvas[below] = ground[below]
        horizon += rng.uniform(0.08, 0.25)
    return canvas


def _out_of_focus(width: int, height: int, rng: random.Random) -> Pixels:
    """Soft discs and large soft shapes, like the background of a portrait."""
    canvas = _fractal_clouds(width, height, rng)
    longer = max(width, height)
    for _ in range(rng.randint(4, 25)):
        middle = rng.randint(0, width), rng.randint(0, height)
        axes = int(longer * rng.uniform(0.03, 0.3)), int(longer * rng.uniform(0.03, 0.3))
        ink = rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)
        over = cv2.ellipse(canvas.copy(), middle, axes, rng.uniform(0, 180), 0, 360, ink, -1)
        canvas = np.asarray(cv2.addWeighted(over, 0.5, canvas, 0.5, 0), np.uint8)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), longer * rng.uniform(0.01, 0.04)), np.uint8)


def _collage(width: int, height: int, rng: random.Random) -> Pixels:
    """Overlapping torn pieces over the whole picture, none with a shape that has a name."""
    canvas = _fractal_clouds(width, height, rng)
    longer = max(width, height)
    for _ in range(rng.randint(12, 60)):
        x, y, reach = rng.uniform(0, width), rng.uniform(0, height), longer * rng.uniform(0.08, 0.4)
        corners = sorted(rng.uniform(0, 2 * math.pi) for _ in range(rng.randint(3, 9)))
        points = [
            (
                x + reach * rng.uniform(0.3, 1) * math.cos(turn),
                y + reach * rng.uniform(0.3, 1) * math.sin(turn),
            )
            for turn in corners
        ]
        ink = rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)
        cv2.fillPoly(canvas, [np.round(np.array(points)).astype(np.int32)], ink)
    return _to_pixels(canvas + _fractal_noise(width, height, rng) * rng.uniform(0, 70))


FOREIGN_PAINTERS = (
    _noise_picture,
    _strong_gradient,
    _waves,
    _blobs,
    _scribbled_page,
    _color_bands,
    _crossing_lines,
    _plain_background,
    _fractal_clouds,
    _landscape,
    _out_of_focus,
    _collage,
)


def _noise(width: int, height: int, rng: random.Random) -> Floats:
    """Grain of one or two pixels, gray or colored, repeated from a single tile."""
    grain = rng.choice((1, 1, 2))
    tile = _generator(rng).standard_normal((192, 192, rng.choice((1, 3))), np.float32)
    tile = np.repeat(np.repeat(tile, grain, 0), grain, 1)
    side = 192 * grain
    return np.tile(tile, (-(-height // side), -(-width // side), 1))[:height, :width]


def _generator(rng: random.Random) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(rng.getrandbits(64)))


def _to_pixels(values: NDArray[np.floating]) -> Pixels:
    pixels: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return pixels
