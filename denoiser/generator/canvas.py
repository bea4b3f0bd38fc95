"""The parts of all drawings: lines, letters, words, fractal noise, soft edges."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from denoiser._types import Floats

Shape = tuple[int, int]
Random = np.random.Generator
#: Largest side, in cells, of an array that a matrix product enlarges faster than Pillow.
_SMALL = 72
_STARTS = (*"bcdfghlmnprstvw", "br", "cl", "st", "tr")
_ENDS = ("", "n", "r", "s", "l", "nt")


def draw_stroke(
    draw: ImageDraw.ImageDraw, points: npt.NDArray[np.float64], width: float, ink: int = 255
) -> None:
    """Draw a line with round ends and joints."""
    path = [(float(x), float(y)) for x, y in points]
    draw.line(path, fill=ink, width=max(1, round(width)), joint="curve")
    for x, y in (path[0], path[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)


def curve(points: npt.NDArray[np.float64], fine: int = 8) -> npt.NDArray[np.float64]:
    """Return a Catmull-Rom spline through the points."""
    if len(points) < 3:
        return points
    # The first and the last point get a mirrored neighbour, so that the spline reaches them.
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0.0, 1.0, fine, endpoint=False)[None, :, None]
    a, b, c, d = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    spline = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([spline.reshape(-1, 2), points[-1:]])


def field(rng: Random, shape: Shape, *, cell: float, octaves: int = 4, rough: float = 0.5) -> Floats:
    """Return fractal noise, float32 `shape`, stretched to 0..1 exactly.

    The first octave has smooth random hills `cell` pixels wide; each further one is half as wide and `rough`
    times as high. Use it for pictures; `cloud` is faster, but without bounds, and from a fixed pool.
    """
    total = np.zeros(shape, dtype=np.float32)
    height = 1.0
    for _ in range(octaves):
        coarse = tuple(max(2, math.ceil(side / cell) + 3) for side in shape)
        hills = Image.fromarray(rng.standard_normal(coarse, dtype=np.float32))
        # Start anywhere within a cell of the grid.
        offset = rng.uniform(0.0, 1.0, 2)
        box = (offset[1], offset[0], offset[1] + shape[1] / cell, offset[0] + shape[0] / cell)
        box = (box[0], box[1], min(box[2], coarse[1]), min(box[3], coarse[0]))
        total += height * np.asarray(hills.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box))
        height *= rough
        cell = max(1.0, cell / 2)
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), dtype=np.float32)


def cloud(rng: Random, shape: Shape, *, cell: float, octaves: int = 4, rough: float = 0.5) -> Floats:
    """Return fractal noise, float32 `shape`, of mean 0 and deviation about 1; faster than `field`.

    White noise from a fixed pool makes each octave, on the coarsest grid that shows it. The sum is enlarged
    to the grid of the next octave.
    """
    # An octave finer than a pixel is not visible.
    steps = min(octaves, 1 + max(0, math.floor(math.log2(max(cell, 1.0)))))
    total: Floats | None = None
    power = 0.0
    for octave in range(steps):
        grid = cell / 2.0**octave
        coarse = (math.ceil(shape[0] / grid) + 2, math.ceil(shape[1] / grid) + 2)
        height = rough**octave
        power += height**2
        hills = white(rng, coarse) * np.float32(height)
        if total is not None:
            hills += enlarged(total, coarse)
        total = hills
    assert total is not None  # noqa: S101 - there is at least one octave
    # The variances of the octaves add up; enlarging takes some away, which the 1.2 restores.
    total *= np.float32(1.2 / math.sqrt(power))
    return enlarged(total, shape)


def enlarged(values: Floats, shape: Shape) -> Floats:
    """Return the values resized to `shape` by bicubic interpolation; a new float32 array."""
    if values.shape == shape:
        return values.copy()
    if max(values.shape) > _SMALL:
        large = Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        return np.array(large, dtype=np.float32)
    rows, columns = _interpolation(values.shape[0], shape[0]), _interpolation(values.shape[1], shape[1])
    return np.asarray(rows @ values @ columns.T, dtype=np.float32)


@lru_cache(maxsize=512)
def _interpolation(before: int, after: int) -> Floats:
    """Return the matrix (after, before) that resizes the columns of an image."""
    unit = Image.fromarray(np.eye(before, dtype=np.float32))
    return np.asarray(unit.resize((before, after), Image.Resampling.BICUBIC), dtype=np.float32)


def white(rng: Random, shape: Shape) -> Floats:
    """Return white noise of deviation 1, read-only: a random piece of a fixed pool that is large enough."""
    pool = _white_pool()
    if shape[0] > pool.shape[0] or shape[1] > pool.shape[1]:
        return rng.standard_normal(shape, dtype=np.float32)
    top, left = (int(rng.integers(0, full - side + 1)) for full, side in zip(pool.shape, shape, strict=True))
    piece = pool[top : top + shape[0], left : left + shape[1]]
    # The two bits flip the rows and the columns.
    flips = int(rng.integers(4))
    return piece[:: 1 - 2 * (flips & 1), :: 1 - (flips & 2)]


@cache
def _white_pool() -> Floats:
    pool = np.random.default_rng(11).standard_normal((1200, 1200), dtype=np.float32)
    pool.flags.writeable = False
    return pool


def blurred(image: Floats, sigma: float) -> Floats:
    """Return the image under a Gaussian blur with mirrored edges; float32 of the same shape."""
    if sigma <= 0:
        return image
    result = image
    # A Gaussian is separable: blur along each axis, as a product in the frequency domain.
    for axis in (0, 1):
        size = result.shape[axis]
        margin = min(size, math.ceil(4 * sigma))
        padding = [(0, 0), (0, 0)]
        padding[axis] = (margin, margin)
        padded = np.pad(result, padding, mode="symmetric")
        wave = np.fft.rfftfreq(padded.shape[axis])
        filtered = np.exp(-2.0 * (math.pi * sigma * wave) ** 2)
        spectrum = np.fft.rfft(padded, axis=axis) * (filtered[:, None] if axis == 0 else filtered)
        smooth = np.fft.irfft(spectrum, padded.shape[axis], axis=axis)
        result = smooth.take(np.arange(margin, margin + size), axis=axis).astype(np.float32)
    return result


def clipped(values: npt.NDArray[Any]) -> Floats:
    """Clip to 0..1, as float32."""
    return np.asarray(np.clip(values, 0.0, 1.0), dtype=np.float32)


def soft_step(values: npt.NDArray[Any], at: float, steep: float) -> Floats:
    """Return a soft step from 1 below `at` to 0 above it."""
    return np.asarray(0.5 - 0.5 * np.tanh(0.5 * steep * (values - at)), dtype=np.float32)


def pixel_grid(shape: Shape) -> tuple[Floats, Floats]:
    """Return the row and the column of every pixel, float32 (H, W) each."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    return y, x


def words(rng: Random, number: int) -> list[str]:
    """Return made-up words that look like a language."""
    result = []
    for _ in range(number):
        syllables = int(rng.integers(1, 4))
        word = "".join(
            _STARTS[rng.integers(len(_STARTS))] + "aeiou"[rng.integers(5)] + _ENDS[rng.integers(len(_ENDS))]
            for _ in range(syllables)
        )
        result.append(str(rng.integers(2, 2000)) if rng.random() < 0.05 else word)
    return result


def filaments(draw: ImageDraw.ImageDraw, rng: Random, shape: Shape, *, number: int, width: int) -> None:
    """Draw bent threads of several grays on a canvas twice as large as `shape`."""
    for _ in range(number):
        start = rng.uniform(0, 1, 2) * (2 * shape[1], 2 * shape[0])
        angle = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.25, 6))
        steps = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 2 * min(shape) * rng.uniform(0.03, 0.12)
        points = start + np.cumsum(steps, axis=0)
        draw_stroke(draw, curve(points), float(rng.uniform(1, width)), int(rng.integers(60, 256)))
