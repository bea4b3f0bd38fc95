"""Noises of sensors, photons, scanners and files, for single pixels or groups of neighbours.

Each function gets float32 (N, H, W) in 0..1 and returns that shape; `Noise` clips.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from denoiser._types import Floats
from denoiser.noise.registry import Parameter, Value, register


def _gaussian(clean: Floats, rng: np.random.Generator, *, sigma: Value) -> Floats:
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    noise *= np.asarray(sigma, dtype=np.float32)
    noise += clean
    return noise


def _salt_pepper(clean: Floats, rng: np.random.Generator, *, amount: Value, salt: Value) -> Floats:
    draw = rng.random(clean.shape, dtype=np.float32)
    amount, salt = np.asarray(amount, dtype=np.float32), np.asarray(salt, dtype=np.float32)
    result = np.where(draw < amount, np.float32(0.0), clean)
    return np.where(draw < amount * salt, np.float32(1.0), result)


def _speckle(clean: Floats, rng: np.random.Generator, *, sigma: Value) -> Floats:
    return _gaussian(clean, rng, sigma=clean * np.asarray(sigma, dtype=np.float32))


def _poisson(clean: Floats, rng: np.random.Generator, *, peak: Value) -> Floats:
    level = np.asarray(peak, dtype=np.float64)
    counts = rng.poisson(np.maximum(clean, 0.0) * level)
    return np.asarray(counts / level, dtype=np.float32)


def _correlated(clean: Floats, rng: np.random.Generator, *, sigma: Value, blur: Value) -> Floats:
    """Add white noise under a Gaussian blur, with deviation `sigma` after the blur."""
    widths = np.asarray(np.maximum(blur, 1e-3), dtype=np.float32).reshape(-1)
    margin = math.ceil(3.0 * float(widths.max()))
    height, width = clean.shape[1:]
    white = rng.standard_normal((len(clean), height + 2 * margin, width + 2 * margin), dtype=np.float32)
    rows, columns = _blur_matrix(height, margin, widths), _blur_matrix(width, margin, widths)
    noise = np.asarray(rows @ white @ columns.transpose(0, 2, 1), dtype=np.float32)
    return np.asarray(clean + np.asarray(sigma) * noise, dtype=np.float32)


def _blur_matrix(size: int, margin: int, widths: Floats) -> Floats:
    """Return (len(widths), size, size + 2 margin): rows of unit energy, so that noise keeps its deviation."""
    offsets = np.arange(size + 2 * margin) - margin - np.arange(size)[:, None]
    kernel = np.exp(-0.5 * (offsets.astype(np.float32) / widths[:, None, None]) ** 2)
    return np.asarray(kernel / np.sqrt(np.sum(kernel**2, axis=2, keepdims=True)), dtype=np.float32)


def _jpeg(clean: Floats, rng: np.random.Generator, *, quality: Value) -> Floats:
    """Encode and decode with Pillow; the 8x8 blocks start anywhere, as in crops of larger images."""
    number, height, width = clean.shape
    high, wide = (math.ceil((side + 7) / 8) * 8 for side in (height, width))
    qualities = np.broadcast_to(np.rint(np.asarray(quality).reshape(-1)).astype(int), (number,))
    tops, lefts = rng.integers(0, 8, (2, number))
    result = np.empty_like(clean)
    pixels = np.rint(clean * 255.0).astype(np.uint8)
    # Blocks are coded independently, so images side by side, each on the block grid, come out as if
    # encoded alone: one call per quality instead of one per image.
    longest = max(1, 60_000 // wide)
    for level in np.unique(qualities):
        same = np.flatnonzero(qualities == level)
        for start in range(0, len(same), longest):
            chosen = same[start : start + longest]
            strip = np.empty((high, len(chosen) * wide), dtype=np.uint8)
            for position, index in enumerate(chosen):
                top, left = int(tops[index]), int(lefts[index])
                padding = ((top, high - height - top), (left, wide - width - left))
                strip[:, position * wide : (position + 1) * wide] = np.pad(
                    pixels[index], padding, mode="edge"
                )
            buffer = io.BytesIO()
            Image.fromarray(strip).save(buffer, "JPEG", quality=int(level))
            with Image.open(buffer) as decoded:
                strip = np.asarray(decoded)
            for position, index in enumerate(chosen):
                top, left = int(tops[index]), int(lefts[index]) + position * wide
                result[index] = strip[top : top + height, left : left + width] / np.float32(255.0)
    return result


def _stripes(clean: Floats, rng: np.random.Generator, *, sigma: Value) -> Floats:
    """Add an offset to every row or, in half of the images, to every column."""
    number, height, width = clean.shape
    rows = rng.standard_normal((number, height, 1), dtype=np.float32)
    columns = rng.standard_normal((number, 1, width), dtype=np.float32)
    lines = np.where(rng.random((number, 1, 1)) < 0.5, rows, columns)
    return np.asarray(clean + np.asarray(sigma, dtype=np.float32) * lines, dtype=np.float32)


def _quantize(clean: Floats, _rng: np.random.Generator, *, levels: Value) -> Floats:
    steps = np.rint(np.asarray(levels, dtype=np.float32)) - np.float32(1.0)
    return np.asarray(np.rint(clean * steps) / steps, dtype=np.float32)


_SIGMA = Parameter(0.1, 0.0, 1.0, "standard deviation, 0..1 (0.1 is 25/255)")

register(
    "gaussian", _gaussian, "sensor noise: an independent normal offset for every pixel",
    parameters={"sigma": _SIGMA},
)  # fmt: skip
register(
    "salt_pepper", _salt_pepper, "dead and hot pixels: some become black or white",
    parameters={
        "amount": Parameter(0.05, 0.0, 1.0, "share of pixels hit"),
        "salt": Parameter(0.5, 0.0, 1.0, "share of those that become white"),
    },
)  # fmt: skip
register(
    "speckle", _speckle, "noise that grows with brightness, as in radar and ultrasound",
    parameters={"sigma": Parameter(0.2, 0.0, 1.0, "standard deviation where the image is white")},
)  # fmt: skip
register(
    "poisson", _poisson, "photon counts, as in low light and microscopy",
    parameters={"peak": Parameter(30.0, 0.1, 1e6, "photons where the image is white; fewer is noisier")},
)  # fmt: skip
register(
    "correlated", _correlated, "grain: noise blurred over neighbouring pixels",
    parameters={"sigma": _SIGMA, "blur": Parameter(0.8, 0.0, 8.0, "the blur's deviation in pixels")},
)  # fmt: skip
register(
    "jpeg", _jpeg, "compression artefacts",
    parameters={"quality": Parameter(30.0, 1.0, 100.0, "JPEG quality; lower is worse")},
)  # fmt: skip
register(
    "stripes", _stripes, "rows or columns of uneven brightness, as scanner lines leave",
    parameters={"sigma": Parameter(0.05, 0.0, 1.0, "standard deviation of the lines' offsets")},
)  # fmt: skip
register(
    "quantize", _quantize, "too few gray levels",
    parameters={"levels": Parameter(16.0, 2.0, 65536.0, "number of gray levels left")},
)  # fmt: skip
