"""How likely an image lost content when it was cleaned, seen from the image before and after alone.

Noise that was removed leaves a difference without structure. Content that was removed leaves strokes, lines
or a pattern in it. A difference is compared with *its own* noise: film grain is correlated from pixel to
pixel too, but alike in all directions and in all places, and never in a pattern.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from denoiser._types import Floats
from denoiser.inference import noise_level

BLOCK = 16
"""Side of the squares, in pixels, in which structure is looked for."""

_REACH = 8
"""Half the side of the windows in which the result is fitted to the input."""

_STEP = 1.0 / 255.0
_LEAST = 0.25 * _STEP
"""Blocks whose difference is smaller than this have none: rounding alone gives 0.29 of 255."""

_DISTANCES = (1, 2, 3, 4, 6)
_DIRECTIONS = {False: ((0, 1), (1, 0)), True: ((1, 1), (1, -1))}
_RING = {
    (distance, diagonal): 2.0 * math.pi * distance * width / 2.0
    for distance, width in zip(_DISTANCES, (1.0, 1.0, 1.0, 1.5, 2.0), strict=True)
    for diagonal in (False, True)
}
"""Pixels that are about so far from one, half of them along the axes."""

_GAIN = (0.5, 2.0)
"""A result may have up to twice or half the input's contrast, as paper made white has; more is a loss."""

_SAME_GAIN = 0.05
"""A gain that differs less from 1 is none."""

_PART = 4_000_000
"""Pixels that are measured at a time, so that a huge page takes little more memory than it does itself."""

_LEAST_ROWS = 64
_SMALL = 8
"""Side of the squares that tell of noise: small enough to lie between the lines of a text."""

_QUIET = 1 / 6
_QUIETEST, _MOST_QUIET = 0.15, 512
_LOWEST = -0.15
"""Lowest correlation of a noise: a denoiser that takes only the fine part of it leaves a negative one."""

_FAINT = 4.0 * _STEP
_CHANCE = 3.0
"""Deviations of a correlation that chance is granted."""

_WORST = 0.08
"""Share of the blocks that an image is judged by: a line of text on a page is enough."""

_TINY = 1e-9


@dataclass(frozen=True)
class Measures:
    """An image before and after, in numbers on the scale 0..1.

    Attributes:
        noise: standard deviation of the input's white noise; None where too little tells of it.
        change: root mean square of the difference.
        structure: root mean square of that part of the difference that looks like content, where it is worst.
        place: row and column of the pixel in the middle of that part.
        ratio: structure beside the noise that was removed; about 0.1 is usual, above 0.4 content may be lost.

    """

    noise: float | None
    change: float
    structure: float
    place: tuple[int, int]
    ratio: float


def measure(before: Floats, after: Floats) -> Measures:
    """Compare an image with its result.

    Args:
        before: the input, float32 (H, W) or (H, W, C) in 0..1.
        after: the result, of the same shape.

    Raises:
        ValueError: the shapes differ, or the image has no pixels.

    """
    if before.shape != after.shape or not before.size:
        raise ValueError(f"an image of {before.shape} and a result of {after.shape} can't be compared")
    rows = max(_LEAST_ROWS, _PART // max(1, before[:1].size))
    if rows < len(before):
        starts = range(0, len(before), rows)
        parts = [_measure(before[start : start + rows], after[start : start + rows]) for start in starts]
        return _joined(parts, list(starts), len(before))
    return _measure(before, after)


def _joined(parts: list[Measures], starts: list[int], rows: int) -> Measures:
    """Make one of the measures of bands of an image, which begin at these rows: the worst place counts."""
    heights = np.diff([*starts, rows])
    levels = [part.noise for part in parts if part.noise is not None]
    worst = max(range(len(parts)), key=lambda index: parts[index].ratio)
    row, column = parts[worst].place
    return Measures(
        float(np.mean(levels)) if levels else None,
        float(np.sqrt(np.average([part.change**2 for part in parts], weights=heights))),
        parts[worst].structure,
        (starts[worst] + row, column),
        parts[worst].ratio,
    )


def _measure(before: Floats, after: Floats) -> Measures:
    difference = before - after
    change = float(np.sqrt(np.mean(np.square(difference), dtype=np.float64)))
    planes = [before] if before.ndim == 2 else [before[:, :, each] for each in range(before.shape[2])]
    levels = [level for plane in planes if (level := noise_level.noise(plane)) is not None]
    noise = float(np.mean(levels)) if levels else None
    if before.ndim == 3:
        before, after = before.mean(axis=2), after.mean(axis=2)
    gain = _gain(before, after)
    gains = [1.0] if abs(gain - 1.0) < _SAME_GAIN else [1.0, gain]
    # Noise that is left in the result makes a gain where there is none.
    parts = [_structure(_unexplained(before, after, each), before, after) for each in gains]
    found = min(parts, key=lambda each: each.ratio)
    return Measures(noise, change, found.amplitude, found.place, found.ratio)


def _unexplained(before: Floats, after: Floats, gain: float) -> Floats:
    """Return what a change of brightness and contrast of the result can't make of the input."""
    rest = before - np.float32(gain) * after
    return np.asarray(rest - _windows(rest), np.float32)


def _gain(before: Floats, after: Floats) -> float:
    """Contrast of the input beside the result's, where the result has most of it."""
    count = _counts(after.shape)
    own, shared = (
        np.maximum(_sums(image * after) / count - _sums(image) * _sums(after) / count**2, 0.0)
        for image in (after, before)
    )
    strong = own > max(float(np.quantile(own, 0.75)), (4.0 * _STEP) ** 2)
    return float(np.clip(np.median(shared[strong] / own[strong]), *_GAIN)) if strong.any() else 1.0


def _windows(image: Floats) -> Floats:
    """Mean over the square window around each pixel, float32 (H, W); windows are cut at the border."""
    rows, columns = image.shape
    down, across = (
        np.minimum(np.arange(length) + _REACH + 1, length) - np.maximum(np.arange(length) - _REACH, 0)
        for length in image.shape
    )
    total = np.zeros((rows + 2 * _REACH, columns + 2 * _REACH), np.float32)
    total[_REACH : _REACH + rows, _REACH : _REACH + columns] = image
    # Sums of 2, 4, 8 and 16, each of two of the one before, and one pixel more.
    last = total[2 * _REACH :]
    for size in (1, 2, 4, _REACH):
        total = total[:-size] + total[size:]
    total = total[: len(last)] + last
    last = total[:, 2 * _REACH :]
    for size in (1, 2, 4, _REACH):
        total = total[:, :-size] + total[:, size:]
    total = total[:, : last.shape[1]] + last
    return np.asarray(total / np.outer(down, across).astype(np.float32), np.float32)


@dataclass(frozen=True)
class _Structure:
    """The content in a difference: its root mean square where it is worst, there, and beside the noise."""

    amplitude: float
    place: tuple[int, int]
    ratio: float


def _structure(rest: Floats, before: Floats, after: Floats) -> _Structure:
    """Look for what in a difference is not noise, as its own quiet parts and the image's have it."""
    usual = _usual(rest)
    if not usual:
        return _Structure(0.0, (rest.shape[0] // 2, rest.shape[1] // 2), 0.0)
    count = _counts(rest.shape)
    # Single pixels, as those of salt and pepper, would decide how alike all of a block is.
    rest = _balanced(np.clip(rest, -3.0 * usual - _FAINT, 3.0 * usual + _FAINT), count)
    amplitude = _content(rest, count, _bounds(rest, before))
    # An engraving that lost a tenth of its contrast is still there; a word that lost all of it is not.
    kept = _balanced(after, count)
    amplitude *= amplitude / (amplitude + 0.5 * np.sqrt(_sums(kept * kept) / count) + _TINY)
    order = np.argsort(amplitude, axis=None)[::-1][: math.ceil(_WORST * amplitude.size)]
    worst = float(np.sqrt(np.mean(np.square(amplitude.ravel()[order]))))
    row, column = (int(each) * BLOCK + BLOCK // 2 for each in np.unravel_index(order[0], amplitude.shape))
    place = min(rest.shape[0] - 1, row), min(rest.shape[1] - 1, column)
    return _Structure(worst, place, worst / (usual + 2.0 * _STEP))


def _content(rest: Floats, count: Floats, bounds: _Bounds) -> Floats:
    """Return how high that part of each block is whose correlation is not a noise's.

    A block is judged by itself and with the eight around it, in which fainter content shows.
    """
    spread = _CHANCE * math.sqrt(1.0 + sum(_RING[each] * high**2 for each, (_, high) in bounds.items()))
    energy = _sums(rest * rest)
    steps = [(each, step) for each in bounds for step in _DIRECTIONS[each[1]]]
    # All directions at once: of a small image, each call takes longer than its numbers.
    shared = np.stack([_shared(rest, distance, step) for (distance, _), step in steps])
    low, high = np.array([bounds[each] for each, _ in steps], np.float32).T[:, :, None, None]
    parts = []
    for number, power, products in ((count, energy, shared), tuple(map(_around, (count, energy, shared)))):
        here = products / np.maximum(power, _TINY)
        off = np.maximum(here - high, low - here).max(axis=0) - spread / np.sqrt(number)
        parts.append(np.sqrt(power / number * np.clip(off, 0.0, 1.0)))
    return np.asarray(np.where(energy > count * _LEAST**2, np.maximum(*parts), 0.0), np.float32)


_Bounds = dict[tuple[int, bool], tuple[float, float]]


def _bounds(rest: Floats, image: Floats) -> _Bounds:
    """Return lowest and highest correlation of noise, by distance and by whether it is along a diagonal.

    A denoiser may take away all of the noise or only the fine part of it, but nothing that is not alike in
    all directions: the bounds are those of the quietest blocks of both the difference and the image.
    """
    parts = []
    for blocks in (_quietest(rest, balanced=True), _quietest(image)):
        own = np.mean(np.square(blocks), axis=(1, 2), keepdims=True)
        parts.append(np.asarray(blocks / np.sqrt(own), np.float32))  # so that a product is a correlation
    found = {}
    for distance in _DISTANCES:
        for diagonal in (False, True):
            usual = [_alike(blocks, distance, diagonal=diagonal) for blocks in parts]
            high = min(max(0.0, *usual), 1.2 * math.exp(-distance / 3.0))
            found[distance, diagonal] = (min(0.0, max(_LOWEST, usual[0])), high)
    return found


def _quietest(image: Floats, *, balanced: bool = False) -> Floats:
    """Return the small blocks of an image that differ least from their mean, (N, H, W), without flat ones."""
    rows, columns = (side // _SMALL for side in image.shape)
    cut = image[: rows * _SMALL, : columns * _SMALL].reshape(rows, _SMALL, columns, _SMALL)
    blocks = cut.transpose(0, 2, 1, 3).reshape(-1, _SMALL, _SMALL)
    if not balanced:
        blocks = blocks - blocks.mean(axis=(1, 2), keepdims=True)
    level = np.sqrt(np.mean(np.square(blocks), axis=(1, 2)))
    order = np.argsort(level)[np.count_nonzero(level <= _LEAST) :]
    return np.asarray(blocks[order[: min(_MOST_QUIET, math.ceil(_QUIETEST * len(order)))]], np.float32)


def _usual(rest: Floats) -> float:
    """Root mean square of the quieter blocks of a difference."""
    count, energy = _counts(rest.shape, _SMALL), _sums(rest * rest, _SMALL)
    level = np.sqrt(energy / count)[energy > count * _LEAST**2]
    return float(np.quantile(level, _QUIET)) if level.size else 0.0


def _alike(blocks: Floats, distance: int, *, diagonal: bool) -> float:
    """Correlation of blocks with themselves `distance` pixels on, the same in all directions; 0 of none.

    The blocks have a root mean square of 1.
    """
    if not len(blocks):
        return 0.0
    keep = _SMALL - distance
    first, last = slice(0, keep), slice(distance, _SMALL)
    if diagonal:
        pairs = (
            (blocks[:, first, first], blocks[:, last, last]),
            (blocks[:, first, last], blocks[:, last, first]),
        )
    else:
        pairs = ((blocks[:, first], blocks[:, last]), (blocks[:, :, first], blocks[:, :, last]))
    found = np.sort([np.mean(here * there, axis=(1, 2)) for here, there in pairs], axis=None)
    return float(found[(found.size - 1) // 2] + found[found.size // 2]) / 2.0


def _shared(rest: Floats, distance: int, step: tuple[int, int]) -> Floats:
    """Sum over each block of its product with itself `distance` pixels on, where the image goes on."""
    down, right = distance * step[0], distance * step[1]
    rows, columns = rest.shape
    if down >= rows or abs(right) >= columns:
        return np.zeros_like(_counts(rest.shape))
    product = np.empty_like(rest)
    product[rows - down :] = 0.0
    product[:, (slice(columns - right, columns) if right > 0 else slice(0, -right))] = 0.0
    here = (slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
    there = (slice(down, rows), slice(max(0, right), columns - max(0, -right)))
    np.multiply(rest[here], rest[there], out=product[here])
    return _sums(product)


def _balanced(image: Floats, count: Floats) -> Floats:
    """Take its mean from each block."""
    rows, columns = image.shape
    means = (_sums(image) / count).repeat(BLOCK, axis=0)[:rows].repeat(BLOCK, axis=1)[:, :columns]
    return np.asarray(image - means, np.float32)


def _around(blocks: Floats) -> Floats:
    """Sum over the 3x3 blocks around each, (..., rows, columns)."""
    *many, rows, columns = blocks.shape
    wide = np.zeros((*many, rows + 2, columns + 2), np.float32)
    wide[..., 1:-1, 1:-1] = blocks
    tall = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    return np.asarray(tall[..., :-2] + tall[..., 1:-1] + tall[..., 2:], np.float32)


def _sums(image: Floats, side: int = BLOCK) -> Floats:
    """Sum of each block, float32; blocks at the border are smaller."""
    rows, columns = image.shape
    whole = rows // side
    bands = np.empty((-(-rows // side), columns), np.float32)
    # `reduceat` along the rows takes ten times as long.
    np.sum(image[: whole * side].reshape(whole, side, columns), axis=1, out=bands[:whole])
    if whole < len(bands):
        np.sum(image[whole * side :], axis=0, out=bands[whole])
    return np.asarray(np.add.reduceat(bands, np.arange(0, columns, side), axis=1), np.float32)


def _counts(shape: tuple[int, ...], side: int = BLOCK) -> Floats:
    """How many pixels each block has, float32."""
    down, across = (
        np.minimum(side, length - np.arange(0, length, side)).astype(np.float32) for length in shape
    )
    return np.asarray(np.outer(down, across), np.float32)


def of(found: Measures) -> float:
    """Return the likely harm, 0 and up: structure first, then change beyond the noise."""
    beyond = math.log2(max(1.0, found.change / ((found.noise or 0.0) + 2.0 * _STEP)))
    return found.ratio + 0.05 * beyond
