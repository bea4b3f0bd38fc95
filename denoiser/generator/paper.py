"""Paper and light: grain, fibres, uneven light, shadows, faded ink, what shows through.

Every function draws a map of one effect at the scale of a page: 0 where there is no effect and about 1 where
it is strongest, unless it says otherwise. `dirt` and the paper noises apply the maps to pages.
"""

from __future__ import annotations

import math

import numpy as np

from denoiser._types import Floats
from denoiser.generator.canvas import Random, Shape, cloud, enlarged, white
from denoiser.generator.pages import page


def grain(rng: Random, shape: Shape) -> Floats:
    """Draw the texture of paper as a scanner sees it: mean 0, deviation 1; float32 (H, W)."""
    rough = float(rng.uniform(0.75, 1.2))
    result = cloud(rng, shape, cell=float(rng.uniform(8.0, 60.0)), octaves=6, rough=rough)
    result += white(rng, shape) * np.float32(rng.uniform(0.0, 0.9))
    if rng.random() < 0.4:
        # Laid paper has lines, and the cells of a scanner's sensor differ.
        result += rng.standard_normal((1, shape[1]), dtype=np.float32) * np.float32(rng.uniform(0.0, 0.5))
        result += rng.standard_normal((shape[0], 1), dtype=np.float32) * np.float32(rng.uniform(0.0, 0.3))
    if rng.random() < 0.3:
        # Light and dark fibres: noise stretched along one direction.
        fibres = cloud(rng, (shape[0], max(2, -(-shape[1] // 6))), cell=2.0, octaves=1)
        result += np.repeat(fibres, 6, axis=1)[:, : shape[1]] * np.float32(rng.uniform(0.2, 0.6))
    result -= result.mean()
    result /= max(float(result.std()), 1e-6)
    return result


def specks(rng: Random, shape: Shape) -> Floats:
    """Draw dust (dark, positive) and flaws (light, negative) of a few pixels; float32 (H, W) in -1..1."""
    result = np.zeros(shape, dtype=np.float32)
    number = int(shape[0] * shape[1] * 10 ** rng.uniform(-5.0, -2.8)) + 1
    y, x = rng.integers(0, shape[0], number), rng.integers(0, shape[1], number)
    depth = rng.uniform(0.2, 1.0, number).astype(np.float32)
    depth[rng.random(number) < 0.15] *= -1.0
    result[y, x] = depth
    large = rng.random(number) < 0.3
    for down, right in ((0, 1), (1, 0), (1, 1)):
        result[np.minimum(y[large] + down, shape[0] - 1), np.minimum(x[large] + right, shape[1] - 1)] = depth[
            large
        ] * np.float32(0.7)
    return result


def uneven_light(rng: Random, shape: Shape) -> Floats:
    """Draw the light that is missing, in smooth patches; float32 (H, W) in 0..1."""
    result = cloud(rng, shape, cell=max(shape) / float(rng.uniform(1.0, 5.0)), octaves=3)
    low, high = float(result.min()), float(result.max())
    return np.asarray((result - low) / max(high - low, 1e-6), dtype=np.float32)


def shadow(rng: Random, shape: Shape) -> Floats:
    """Draw the shade of a book's spine along a side, or of an object at any angle; 0..1."""
    height, width = shape
    kind = rng.random()
    if kind < 0.6:
        angle = float(rng.choice([0.0, math.pi / 2, math.pi, 1.5 * math.pi]) + rng.normal(0.0, 0.03))
        fall, start = float(rng.uniform(0.02, 0.35)), 0.0
    else:
        angle = float(rng.uniform(0.0, 2.0 * math.pi))
        fall, start = float(rng.uniform(0.2, 1.0)), float(rng.uniform(-0.2, 0.4))
    down = (np.arange(height, dtype=np.float32) / height - 0.5) * np.float32(math.sin(angle))
    right = (np.arange(width, dtype=np.float32) / width - 0.5) * np.float32(math.cos(angle))
    reach = 0.5 * (abs(math.sin(angle)) + abs(math.cos(angle)))
    away = down[:, None] + right + np.float32(reach - start)
    if kind > 0.85:
        # An object in the light shades a half plane with a soft border.
        away -= np.float32(rng.uniform(0.1, 0.5))
        return np.asarray(0.5 - 0.5 * np.tanh(away / np.float32(fall * 0.15)), dtype=np.float32)
    np.maximum(away, 0.0, out=away)
    return np.asarray(np.exp(away * np.float32(-1.0 / fall)), dtype=np.float32)


def wear(rng: Random, shape: Shape) -> Floats:
    """Draw the loss of ink: clouds, spots, or streaks of a worn drum; float32 (H, W) in 0..1."""
    kind = rng.random()
    result = cloud(rng, shape, cell=float(rng.uniform(0.05, 0.5)) * max(shape), octaves=5, rough=0.6)
    if kind < 0.3:
        result += cloud(rng, shape, cell=3.0, octaves=2, rough=1.0)
    elif kind < 0.5:
        result += 1.5 * np.repeat(cloud(rng, (1, shape[1]), cell=12.0, octaves=3), shape[0], axis=0)
    return np.asarray(np.clip(0.5 + 0.4 * result, 0.0, 1.0), dtype=np.float32)


def other_side(rng: Random, shape: Shape, *, system_fonts: bool = True) -> Floats:
    """Draw the ink of the other side, mirrored and softened by the paper; float32 (H, W), ink 1."""
    half = (max(2, math.ceil(shape[0] / 1.5)), max(2, math.ceil(shape[1] / 1.5)))
    behind = np.ascontiguousarray(1.0 - page(rng, half, system_fonts=system_fonts)[:, ::-1], dtype=np.float32)
    return np.asarray(np.clip(enlarged(soft(behind, 0.2), shape), 0.0, 1.0), dtype=np.float32)


def soft(image: Floats, share: float) -> Floats:
    """Blur a little: each pixel gives `share`, 0..0.25, to each neighbour, down and then across; float32."""
    middle, side = np.float32(1.0 - 2.0 * share), np.float32(share)
    down = image * middle
    down[1:] += image[:-1] * side
    down[:-1] += image[1:] * side
    down[0] += image[0] * side
    down[-1] += image[-1] * side
    result = down * middle
    result[:, 1:] += down[:, :-1] * side
    result[:, :-1] += down[:, 1:] * side
    result[:, 0] += down[:, 0] * side
    result[:, -1] += down[:, -1] * side
    return result
