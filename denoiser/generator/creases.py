"""Folds and wrinkles of paper: maps of light and shade, about -1 (brighter) to 1 (darker)."""

from __future__ import annotations

import math

import numpy as np

from denoiser._types import Floats
from denoiser.generator.canvas import Random, Shape, cloud, enlarged


def folds(rng: Random, shape: Shape) -> Floats:
    """Draw straight folds across the page: broken light or dark lines with light and shade beside them."""
    size = max(min(shape), 64)
    wobble = cloud(rng, shape, cell=size / 2, octaves=4) * np.float32(rng.uniform(0.2, 2.0))
    cracks = cloud(rng, shape, cell=float(rng.uniform(4.0, 14.0)), octaves=3, rough=0.8)
    lines = np.zeros(shape, dtype=np.float32)
    # The shade beside a fold is soft: a quarter of the pixels are enough.
    shades = np.zeros((math.ceil(shape[0] / 2), math.ceil(shape[1] / 2)), dtype=np.float32)
    for _ in range(int(rng.integers(1, 6))):
        square = rng.random() < 0.5
        angle = rng.choice([0.0, math.pi / 2]) + rng.normal(0.0, 0.03) if square else rng.uniform(0, math.pi)
        away = _distance(rng, shape, float(angle))
        away += wobble
        half = np.ascontiguousarray(away[::2, ::2])
        near = np.abs(half)
        step = np.tanh(half * np.float32(1.0 / rng.uniform(0.8, 3.0)))
        step *= np.float32(rng.uniform(-0.5, 0.7))
        step *= np.exp(near * np.float32(-1.0 / rng.uniform(0.03 * size, 0.4 * size)))
        shades += step
        shades += np.float32(rng.uniform(0.0, 0.35)) * np.exp(
            near * np.float32(-1.0 / rng.uniform(3.0, 0.1 * size))
        )
        # The crack itself is worn white or dirty, and strong in some parts and missing in others.
        np.square(away, out=away)
        away *= np.float32(-1.0 / rng.uniform(0.7, 1.8) ** 2)
        np.exp(away, out=away)
        patches = cracks * np.float32(0.6)
        patches += np.float32(rng.uniform(0.1, 0.8))
        np.clip(patches, 0.0, 1.0, out=patches)
        away *= patches
        away *= np.float32(rng.choice([-1.1, -0.8, 0.9]))
        lines += away
    lines += enlarged(shades, shape)
    return lines


def _distance(rng: Random, shape: Shape, angle: float) -> Floats:
    """Return the signed distance in pixels to a line of this angle through a random point."""
    y = np.arange(shape[0], dtype=np.float32) - np.float32(rng.uniform(0, shape[0]))
    x = np.arange(shape[1], dtype=np.float32) - np.float32(rng.uniform(0, shape[1]))
    return np.asarray(
        y[:, None] * np.float32(math.cos(angle)) + x * np.float32(math.sin(angle)), dtype=np.float32
    )


def wrinkles(rng: Random, shape: Shape) -> Floats:
    """Draw crumpled paper: ridges of all angles and lengths, each with a lit and a shaded side."""
    # The forms of a large page are soft: a grid of half the resolution is enough.
    grain = 2 if min(shape) >= 300 else 1
    grid = (math.ceil(shape[0] / grain), math.ceil(shape[1] / grain))
    result = np.zeros(grid, dtype=np.float32)
    size = max(min(grid), 48)
    # Ridges bend: the same soft hills shift the coordinates of all of them.
    bend = size * float(rng.uniform(0.005, 0.05))
    rows = np.arange(grid[0], dtype=np.float32)[:, None] + bend * cloud(rng, grid, cell=size / 3, octaves=4)
    columns = np.arange(grid[1], dtype=np.float32) + bend * cloud(rng, grid, cell=size / 3, octaves=4)
    light = float(rng.uniform(0.0, 2.0 * math.pi))
    # Paper that was crumpled hard has small facets; paper that was rolled has long soft waves.
    coarsest, finest = float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.03, 0.07))
    power = float(rng.uniform(0.0, 0.5))
    density = grid[0] * grid[1] / size**2
    lengths = [
        size * length
        for length in np.geomspace(coarsest, finest, 7)
        for _ in range(math.ceil(density * float(rng.uniform(0.6, 1.6)) * min(2.0 / length, 22.0)))
    ]
    for length, draws in zip(lengths, rng.random((len(lengths), 8)).tolist(), strict=True):
        _ridge(result, rows, columns, float(length), (length / size) ** power, light, draws)
    result /= max(2.2 * float(result.std()), 1e-6)
    np.clip(result, -1.3, 1.6, out=result)
    return enlarged(result, shape) if grain > 1 else result


def _ridge(
    result: Floats,
    rows: Floats,
    columns: Floats,
    length: float,
    height: float,
    light: float,
    draws: list[float],
) -> None:
    """Add one ridge: shade on one side of a line and light on the other, both fading with the distance."""
    length *= 0.6 + draws[0]
    down, right = ((1.2 * draw - 0.1) * side for draw, side in zip(draws[1:3], result.shape, strict=True))
    angle = math.pi * draws[3]
    cos, sin = math.cos(angle), math.sin(angle)
    sharp, wide = 0.5 + 1.5 * draws[4], length * (0.1 + 0.35 * draws[5])
    # Draw only a window around the ridge: beyond it, less than a twentieth of the shade is left.
    high, broad = (abs(a) * length + 3.0 * abs(b) * wide + 2 for a, b in ((sin, cos), (cos, sin)))
    window = np.s_[
        max(0, int(down - high)) : max(0, int(down + high)),
        max(0, int(right - broad)) : max(0, int(right + broad)),
    ]
    if result[window].size == 0:
        return
    y, x = rows[window] - np.float32(down), columns[window] - np.float32(right)
    across, along = y * np.float32(cos), x * np.float32(cos)
    y *= np.float32(sin)
    x *= np.float32(sin)
    across -= x
    along += y
    # The light on a slope that faces this way.
    lit = math.sin(angle + light) + 0.8 * (draws[6] - 0.5)
    near = np.abs(across)
    across *= np.float32(1.0 / sharp)
    shade = np.tanh(across, out=across)
    shade *= np.float32(lit)
    shade -= np.float32(1.1 * draws[7] - 0.3) * np.exp(near * np.float32(-1.0 / (sharp + 0.5)))
    near *= np.float32(-1.0 / wide)
    shade *= np.exp(near, out=near)
    along *= np.float32(1.0 / length)
    np.square(along, out=along)
    np.subtract(1.0, along, out=along)
    shade *= np.maximum(along, 0.0, out=along)
    shade *= np.float32(height)
    result[window] += shade
