"""Stains and prints of soles, tyres and fingers: maps of darkness in 0..1, float32 (H, W)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from denoiser._types import Floats
from denoiser.generator.canvas import Random, Shape, cloud, enlarged, white
from denoiser.generator.fonts import sized

_PATTERNS = ("squares", "bars", "waves", "lugs", "letters", "ridges")


@dataclass(frozen=True)
class _Cloth:
    """Noise for the edges and the insides of all stains of a page, drawn once."""

    edges: Floats
    insides: Floats


def stains(rng: Random, shape: Shape) -> Floats:
    """Draw blots, drops and the crescents of cups, with darker rims and mottled insides."""
    result = np.zeros(shape, dtype=np.float32)
    size = max(min(shape), 48)
    cloth = _Cloth(
        edges=cloud(rng, shape, cell=size * float(rng.uniform(0.1, 0.25)), octaves=5, rough=0.5),
        insides=cloud(rng, shape, cell=size / 8, octaves=6, rough=float(rng.uniform(0.6, 0.95))),
    )
    for _ in range(int(rng.integers(1, 6))):
        if rng.random() < 0.6:
            _crescent(result, cloth, rng, float(rng.uniform(0.1, 0.45)) * size)
        else:
            _blot(result, cloth, rng, float(np.exp(rng.uniform(math.log(0.02), math.log(0.35)))) * size)
    for _ in range(int(rng.integers(0, 8))):
        _blot(result, cloth, rng, float(rng.uniform(0.8, 4.0)))
    return np.minimum(result, np.float32(1.0), out=result)


def _around(result: Floats, rng: Random, reach: float) -> tuple[tuple[slice, slice], Floats, Floats] | None:
    """Return a window around a random point, and its pixels' offsets (y, x); None outside of the page."""
    middle = rng.uniform(0.0, 1.0, 2) * result.shape
    top, left = (max(0, int(center - reach)) for center in middle)
    bottom, right = (
        min(side, int(center + reach) + 1) for center, side in zip(middle, result.shape, strict=True)
    )
    if bottom <= top or right <= left:
        return None
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(middle[0])
    x = np.arange(left, right, dtype=np.float32) - np.float32(middle[1])
    return np.s_[top:bottom, left:right], y, x


def _blot(result: Floats, cloth: _Cloth, rng: Random, radius: float) -> None:
    """Draw an ellipse; a large one has a ragged edge."""
    around = _around(result, rng, 1.7 * radius + 2)
    if around is None:
        return
    window, y, x = around
    squeeze = np.float32(rng.uniform(0.7, 1.4))
    inside = _away(y * squeeze, x / squeeze)
    np.subtract(np.float32(radius), inside, out=inside)
    if radius > 5.0:
        inside += cloth.edges[window] * np.float32(radius * rng.uniform(0.05, 0.25))
    _soak(result, window, inside, cloth, rng, radius)


def _away(y: Floats, x: Floats) -> Floats:
    """Return the distance of each pixel, from its offsets y (H, 1) and x (W); float32 (H, W)."""
    squared: Floats = np.square(y) + np.square(x)
    return np.sqrt(squared, out=squared)


def _crescent(result: Floats, cloth: _Cloth, rng: Random, radius: float) -> None:
    """Draw the area between two circles with different centres, or a part of it."""
    around = _around(result, rng, 1.15 * radius + 2)
    if around is None:
        return
    window, y, x = around
    turn, shift = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.0, 0.09)
    wide = max(1.5, radius * float(rng.uniform(0.03, 0.15)))
    edge = cloth.edges[window] * np.float32(radius * rng.uniform(0.005, 0.035))
    # Depth inside the outer circle, and outside of the inner one: the smaller of the two counts.
    inside = _away(y, x)
    np.subtract(np.float32(radius), inside, out=inside)
    inside += edge
    hole = _away(y - np.float32(shift * math.sin(turn)), x - np.float32(shift * math.cos(turn)))
    hole -= np.float32(radius - wide)
    edge *= np.float32(rng.uniform(-1.0, 1.0))
    hole += edge
    np.minimum(inside, hole, out=inside)
    if rng.random() < 0.7:
        # Leave out a part on one side, with pointed or ragged ends.
        aside = float(turn + math.pi + rng.normal(0.0, 0.4))
        beyond = y * np.float32(math.sin(aside) / radius) + x * np.float32(math.cos(aside) / radius)
        beyond -= np.float32(rng.uniform(-0.6, 0.9))
        beyond *= np.float32(3.0 * wide)
        inside -= np.clip(beyond, 0.0, np.float32(2.0 * wide), out=beyond)
    _soak(result, window, inside, cloth, rng, wide)


def _soak(
    result: Floats, window: tuple[slice, slice], inside: Floats, cloth: _Cloth, rng: Random, size: float
) -> None:
    """Darken a window where `inside`, the distance in pixels from the stain's edge, is positive."""
    sharp, depth = float(rng.uniform(0.4, 2.5)), float(rng.uniform(0.2, 0.8))
    near = np.maximum(inside, 0.0)
    # A dark rim and a mottled inside.
    body = np.exp(near * np.float32(-1.0 / max(0.8, size * rng.uniform(0.02, 0.12))))
    body *= np.float32(rng.uniform(0.0, 0.9))
    body += cloth.insides[window] * np.float32(rng.uniform(0.05, 0.3))
    body += np.float32(1.0)
    # Some stains fade towards the middle.
    if rng.random() < 0.3:
        near *= np.float32(-rng.uniform(0.2, 2.0) / size)
        body *= np.exp(near, out=near)
    # The edge of the stain is soft over `sharp` pixels.
    inside *= np.float32(1.0 / sharp)
    inside += np.float32(0.5)
    body *= np.clip(inside, 0.0, 1.0, out=inside)
    body *= np.float32(depth)
    np.clip(body, 0.0, 1.0, out=body)
    # Two stains darken like two layers of a filter.
    view = result[window]
    body *= 1.0 - view
    view += body


def prints(rng: Random, shape: Shape) -> Floats:
    """Draw the print of a sole, tyre or finger: a patchy, smudged pattern in perspective."""
    # Half the resolution is enough for the pattern of a large page.
    half = (max(8, shape[0] // 2), max(8, shape[1] // 2)) if min(shape) >= 200 else shape
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
    drawn = _ridges(rng, half) if pattern == "ridges" else _tread(rng, half, pattern)
    image = Image.fromarray(drawn).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    result = np.array(image, dtype=np.float32)
    patches = cloud(rng, shape, cell=max(shape) / 6, octaves=7, rough=float(rng.uniform(0.55, 0.8)))
    ink = patches * np.float32(0.4)
    ink += np.float32(rng.uniform(0.4, 0.9))
    np.clip(ink, 0.0, 1.3, out=ink)
    ink *= np.float32(1.0 / 255.0)
    result *= ink
    if rng.random() < 0.6:
        # Scratches and streaks in the direction of the step.
        lines = white(rng, (max(2, shape[0] // 24), shape[1])) - np.float32(1.0)
        lines = np.clip(lines, 0.0, 2.0, out=lines) * np.float32(rng.uniform(0.05, 0.25))
        result += enlarged(lines, shape)
    patches *= np.float32(rng.uniform(0.0, 0.15))
    result += np.maximum(patches, 0.0, out=patches)
    return np.clip(result, 0.0, 1.0, out=result)


def _ridges(rng: Random, shape: Shape) -> npt.NDArray[np.uint8]:
    """Draw bent parallel lines, as of a finger or of fine rubber."""
    hills = cloud(rng, shape, cell=max(shape) / 2, octaves=3, rough=0.4)
    turns = hills * np.float32(max(shape) / rng.uniform(4.0, 10.0) / 4.0)
    lines = np.sin(turns * np.float32(2.0 * math.pi / rng.uniform(1.5, 5.0)))
    mask = np.clip(cloud(rng, shape, cell=max(shape) / 3, octaves=3) + 0.3, 0.0, 1.0)
    return np.asarray(np.clip(lines * 2.0, 0.0, 1.0) * mask * 255.0, dtype=np.uint8)


def _tread(rng: Random, shape: Shape, pattern: str) -> npt.NDArray[np.uint8]:
    """Draw the blocks of a sole's tread on a tilted grid."""
    image = Image.new("L", (shape[1], shape[0]))
    draw = ImageDraw.Draw(image)
    step = max(shape) * float(rng.uniform(0.06, 0.25))
    aspect, gap = float(rng.uniform(0.5, 2.0)), float(rng.uniform(0.1, 0.35))
    angle, tilt = float(rng.uniform(0, 2 * math.pi)), rng.normal(0.0, 0.25, 2) / max(shape)
    cos, sin = math.cos(angle), math.sin(angle)
    middle = np.array([shape[1], shape[0]]) / 2.0

    def placed(points: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
        """Turn points about the middle, and put them in perspective."""
        turned = points @ np.array([[cos, sin], [-sin, cos]])
        near = 1.0 / np.clip(1.0 + turned @ tilt, 0.5, 2.0)
        bent = turned * near[:, None]
        return [(float(x), float(y)) for x, y in bent + middle]

    cells = math.ceil(0.75 * max(shape) / step) + 1
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * 0.5
    dark = int(rng.integers(110, 256))
    for row in range(-cells, cells):
        for column in range(-cells, cells):
            if rng.random() < 0.1:
                continue
            # Rows of lugs are offset by half a block, like bricks.
            at = np.array([column + (0.5 * (row % 2) if pattern == "lugs" else 0.0), row * aspect])
            if pattern == "waves":
                x = np.linspace(-0.5, 0.5, 7)
                wave = np.stack([x, 0.25 * np.sin(2 * math.pi * x)], axis=1)
                draw.line(placed((wave + at) * step), fill=dark, width=max(1, round(step * gap)))
                continue
            # Squares are four nested blocks, dark and light in turn; lugs are one block, the others two.
            form = square * ((1 - gap), aspect * (1 - gap)) + rng.normal(0.0, 0.02, (4, 2))
            for ring, shade in enumerate((dark, dark // 4, dark, dark // 3)):
                draw.polygon(
                    placed((form * (1 - 0.24 * ring) + at) * step), fill=int(shade * rng.uniform(0.6, 1.0))
                )
                if pattern != "squares" and (ring or pattern == "lugs"):
                    break
    if pattern == "letters":
        signs = "".join(chr(65 + int(index)) for index in rng.integers(0, 26, 5))
        font = sized(None, max(6, round(step * 3)))
        draw.text(
            (0, shape[0] * float(rng.uniform(0.0, 0.6))),
            signs,
            fill=dark,
            font=font,
            stroke_width=int(step / 10),
        )
    return np.asarray(image)
