"""How likely an image lost content when it was cleaned, seen from the image before and after alone.

Noise that was removed leaves a difference without structure. Content that was removed leaves strokes, lines
or a pattern in it. A difference is compared with *its own* noise: film grain is correlated from pixel to
pixel too, but alike in all directions and in all places, and never in a pattern.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
_LAGS = tuple((distance, diagonal) for distance in _DISTANCES for diagonal in (False, True))
"""How far apart pixels are compared, and whether along the diagonals."""

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
_SMALL_PIXELS = 64 * 64 * 3
_TOGETHER = 1 << 16
"""Images of up to so many numbers are measured together, so many numbers at a time: the cache holds them."""

_PRODUCT_SIDE = 48
"""Images of up to this side are summed by a matrix product, which takes less time than NumPy's sums."""

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
        parts = [
            _measured(before[None, start : start + rows], after[None, start : start + rows])[0]
            for start in starts
        ]
        return _joined(parts, list(starts), len(before))
    return _measured(before[None], after[None])[0]


def measure_all(pairs: Sequence[tuple[Floats, Floats]]) -> list[Measures]:
    """Compare images with their results: the same as `measure` of each, and much faster for small ones.

    NumPy takes longer to be called than to compute on a few hundred pixels: small images of equal size are
    measured as one array.

    Args:
        pairs: as `measure` takes them; shapes may differ from pair to pair.

    Raises:
        ValueError: as `measure`.

    """
    found: dict[int, Measures] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (before, after) in enumerate(pairs):
        if before.shape != after.shape or not 0 < before.size <= _SMALL_PIXELS:
            found[index] = measure(before, after)
        else:
            groups.setdefault(before.shape, []).append(index)
    for shape, indices in groups.items():
        at_once = max(1, _TOGETHER // math.prod(shape))
        for start in range(0, len(indices), at_once):
            part = indices[start : start + at_once]
            before, after = (np.stack([pairs[index][which] for index in part]) for which in (0, 1))
            found.update(zip(part, _measured(before, after), strict=True))
    return [found[index] for index in range(len(pairs))]


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


# From here on arrays have an axis more in front: images of one shape that are measured together, (N, H, W).


def _measured(before: Floats, after: Floats) -> list[Measures]:
    """Measure images (N, H, W) or (N, H, W, C)."""
    axes = tuple(range(1, before.ndim))
    change = np.sqrt(np.mean(np.square(before - after), axis=axes, dtype=np.float64))
    planes = [before] if before.ndim == 3 else [before[..., each] for each in range(before.shape[3])]
    levels = [noise_level.noise_of_each(plane) for plane in planes]
    if before.ndim == 4:
        before, after = before.mean(axis=3), after.mean(axis=3)
    found = _structures(_unexplained(before, after, np.ones(len(before), np.float32)), before, after)
    gains = _gains(before, after)
    # Noise that is left in the result makes a gain where there is none.
    (others,) = np.nonzero(np.abs(gains - 1.0) >= _SAME_GAIN)
    if others.size:
        before, after = before[others], after[others]
        again = _structures(_unexplained(before, after, gains[others]), before, after)
        for number, other in zip(others, again, strict=True):
            found[number] = min(found[number], other, key=lambda each: each.ratio)
    measures = []
    for index, structure in enumerate(found):
        known = [level for plane in levels if (level := plane[index]) is not None]
        noise = sum(known) / len(known) if known else None
        measures.append(
            Measures(noise, float(change[index]), structure.amplitude, structure.place, structure.ratio)
        )
    return measures


def _unexplained(before: Floats, after: Floats, gains: Floats) -> Floats:
    """Return what a change of brightness and contrast of the result can't make of the input."""
    rest = before - gains.astype(np.float32)[:, None, None] * after
    return np.asarray(rest - _windows(rest), np.float32)


def _gains(before: Floats, after: Floats) -> Floats:
    """Contrast of each input beside its result's, where the result has most of it, float32 (N,)."""
    count = _counts(after.shape)
    sums = _sums(after)
    shares = (
        np.maximum(_sums(each * after) / count - _sums(each) * sums / count**2, np.float32(0.0))
        for each in (after, before)
    )
    own, shared = (np.asarray(each, np.float32).reshape(len(after), -1) for each in shares)
    # np.quantile imports numpy.ma, which takes as long as a hundred digits.
    upper = _quantile(own, np.ones(own.shape, np.bool_), 0.75, otherwise=0.0)
    strong = own > np.maximum(upper, (4.0 * _STEP) ** 2)[:, None]
    ratios = np.asarray(shared / np.where(strong, own, np.float32(1.0)), np.float32)
    gains = np.clip(_quantile(ratios, strong, 0.5, otherwise=1.0), *_GAIN)
    return np.asarray(gains, np.float32)


def _quantile(values: Floats, known: npt.NDArray[np.bool_], share: float, *, otherwise: float) -> Floats:
    """Quantile of the values (N, M) of each row that are known, float32 (N,); `otherwise` where none is."""
    ordered = np.sort(np.where(known, values, np.float32(np.inf)), axis=1)
    last = np.count_nonzero(known, axis=1) - 1
    at = np.maximum(last, 0) * share
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(last, 0))
    rows = np.arange(len(values))
    low, high = (np.where(last >= 0, ordered[rows, each], 0.0) for each in (below, above))
    return np.where(last >= 0, low + (high - low) * (at - below), otherwise).astype(np.float32)


def _windows(images: Floats) -> Floats:
    """Mean over the square window around each pixel, float32 (N, H, W); windows are cut at the border."""
    number, rows, columns = images.shape
    if max(rows, columns) <= _PRODUCT_SIDE:  # as products with the windows of rows and of columns
        return np.asarray(_window_means(rows) @ (images @ _window_means(columns).T), np.float32)
    down, across = (
        np.minimum(np.arange(length) + _REACH + 1, length) - np.maximum(np.arange(length) - _REACH, 0)
        for length in (rows, columns)
    )
    total = np.zeros((number, rows + 2 * _REACH, columns + 2 * _REACH), np.float32)
    total[:, _REACH : _REACH + rows, _REACH : _REACH + columns] = images
    # Sums of 2, 4, 8 and 16, each of two of the one before, and one pixel more.
    last = total[:, 2 * _REACH :]
    for size in (1, 2, 4, _REACH):
        total = total[:, :-size] + total[:, size:]
    total = total[:, :rows] + last
    last = total[:, :, 2 * _REACH :]
    for size in (1, 2, 4, _REACH):
        total = total[:, :, :-size] + total[:, :, size:]
    total = total[:, :, :columns] + last
    return np.asarray(total / np.outer(down, across).astype(np.float32), np.float32)


@functools.cache
def _window_means(length: int) -> Floats:
    """Matrix whose product with `length` values is their means over windows, which are cut at the ends."""
    places = np.arange(length)
    inside = np.abs(places[:, None] - places) <= _REACH
    return np.asarray(inside / np.count_nonzero(inside, axis=1, keepdims=True), np.float32)


@dataclass(frozen=True)
class _Structure:
    """The content in a difference: its root mean square where it is worst, there, and beside the noise."""

    amplitude: float
    place: tuple[int, int]
    ratio: float


def _structures(rest: Floats, before: Floats, after: Floats) -> list[_Structure]:
    """Look for what in differences is not noise, as their own quiet parts and the images' have it."""
    number, rows, columns = rest.shape
    usual = _usual(rest)
    found = [_Structure(0.0, (rows // 2, columns // 2), 0.0)] * number
    (changed,) = np.nonzero(usual)
    if not changed.size:
        return found
    if changed.size < number:
        usual, rest, before, after = usual[changed], rest[changed], before[changed], after[changed]
    count = _counts(rest.shape)
    # Single pixels, as those of salt and pepper, would decide how alike all of a block is.
    most = (3.0 * usual + _FAINT).astype(np.float32)[:, None, None]
    rest = _balanced(np.clip(rest, -most, most), count)
    amplitude = _content(rest, count, *_bounds(rest, before))
    # An engraving that lost a tenth of its contrast is still there; a word that lost all of it is not.
    kept = _balanced(after, count)
    amplitude *= amplitude / (amplitude + 0.5 * np.sqrt(_sums(kept * kept) / count) + _TINY)
    across = amplitude.shape[2]
    flat = amplitude.reshape(len(amplitude), -1)
    ordered = np.sort(flat, axis=1)[:, ::-1][:, : math.ceil(_WORST * flat.shape[1])]
    worst = np.sqrt(np.mean(np.square(ordered), axis=1))
    ratios = worst / (usual + 2.0 * _STEP)
    for index, at, value, ratio in zip(changed, flat.argmax(axis=1), worst, ratios, strict=True):
        row, column = (int(each) * BLOCK + BLOCK // 2 for each in divmod(int(at), across))
        place = min(rows - 1, row), min(columns - 1, column)
        found[index] = _Structure(float(value), place, float(ratio))
    return found


def _content(rest: Floats, count: Floats, low: Floats, high: Floats) -> Floats:
    """Return how high that part of each block is whose correlation is not a noise's, (N, rows, columns).

    A block is judged by itself and with the eight around it, in which fainter content shows. `low` and `high`
    are the bounds of noise, (N, len(_LAGS)).
    """
    ring = np.array([_RING[lag] for lag in _LAGS], np.float32)
    spread = np.asarray(_CHANCE * np.sqrt(1.0 + np.square(high) @ ring), np.float32)[:, None, None]
    energy = _sums(rest * rest)
    power, number = (energy, _around(energy)), (count, _around(count))
    off = [np.full(energy.shape, -np.inf, np.float32) for _ in power]
    for index, (distance, diagonal) in enumerate(_LAGS):
        least, most = low[:, index, None, None], high[:, index, None, None]
        for step in _DIRECTIONS[diagonal]:
            shared = _shared(rest, distance, step)
            for each, products in enumerate((shared, _around(shared))):
                here = products / np.maximum(power[each], _TINY)
                np.maximum(off[each], np.maximum(here - most, least - here), out=off[each])
    parts = [
        np.sqrt(power[each] / number[each] * np.clip(off[each] - spread / np.sqrt(number[each]), 0.0, 1.0))
        for each in (0, 1)
    ]
    return np.asarray(np.where(energy > count * _LEAST**2, np.maximum(*parts), 0.0), np.float32)


def _bounds(rest: Floats, images: Floats) -> tuple[Floats, Floats]:
    """Return lowest and highest correlation of noise at each of _LAGS, float32 (N, len(_LAGS)).

    A denoiser may take away all of the noise or only the fine part of it, but nothing that is not alike in
    all directions: the bounds are those of the quietest blocks of both the difference and the image.
    """
    usual = [_alike(*_quietest(rest, balanced=True)), _alike(*_quietest(images))]
    most = np.array([1.2 * math.exp(-distance / 3.0) for distance, _ in _LAGS], np.float32)
    high = np.minimum(np.maximum(np.maximum(*usual), np.float32(0.0)), most)
    return np.clip(usual[0], _LOWEST, 0.0).astype(np.float32), high


def _quietest(images: Floats, *, balanced: bool = False) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the small blocks of each image that differ least from their mean, without flat ones.

    The blocks are (N, M, 8, 8), with a root mean square of 1; which of them count is (N, M).
    """
    number, *sides = images.shape
    rows, columns = (side // _SMALL for side in sides)
    if not rows * columns:
        return np.zeros((number, 0, _SMALL, _SMALL), np.float32), np.zeros((number, 0), np.bool_)
    cut = images[:, : rows * _SMALL, : columns * _SMALL].reshape(number, rows, _SMALL, columns, _SMALL)
    blocks = cut.transpose(0, 1, 3, 2, 4).reshape(number, -1, _SMALL, _SMALL)
    if not balanced:
        blocks = blocks - blocks.mean(axis=(2, 3), keepdims=True)
    level = np.sqrt(np.mean(np.square(blocks), axis=(2, 3)))
    flat = np.count_nonzero(level <= _LEAST, axis=1)
    wanted = np.minimum(_MOST_QUIET, np.ceil(_QUIETEST * (level.shape[1] - flat))).astype(np.intp)
    each = np.arange(int(wanted.max()))
    at = np.minimum(flat[:, None] + each, level.shape[1] - 1)
    chosen = np.take_along_axis(np.argsort(level, axis=1), at, axis=1)
    blocks = np.take_along_axis(blocks, chosen[:, :, None, None], axis=1)
    own = np.take_along_axis(level, chosen, axis=1)[:, :, None, None]
    return np.asarray(blocks / np.maximum(own, _TINY), np.float32), each < wanted[:, None]


def _usual(rest: Floats) -> Floats:
    """Root mean square of the quieter blocks of each difference, float32 (N,); 0 where it is flat."""
    count, energy = _counts(rest.shape, _SMALL), _sums(rest * rest, _SMALL)
    known = (energy > count * _LEAST**2).reshape(len(rest), -1)
    return _quantile(np.sqrt(energy / count).reshape(len(rest), -1), known, _QUIET, otherwise=0.0)


def _alike(blocks: Floats, known: npt.NDArray[np.bool_]) -> Floats:
    """Correlation of blocks with themselves at each of _LAGS, float32 (N, len(_LAGS)); 0 where none is known.

    It is the same in all directions: the median over the blocks and two directions at right angles.

    Args:
        blocks: (N, M, 8, 8), with a root mean square of 1.
        known: which of them count, (N, M).

    """
    number, many = known.shape
    if not many:
        return np.zeros((number, len(_LAGS)), np.float32)
    means = np.empty((number, len(_LAGS), 2 * many), np.float32)
    every = slice(None)
    for index, (distance, diagonal) in enumerate(_LAGS):
        first, last = slice(0, _SMALL - distance), slice(distance, _SMALL)
        if diagonal:
            pairs = (((first, first), (last, last)), ((first, last), (last, first)))
        else:
            pairs = (((first, every), (last, every)), ((every, first), (every, last)))
        for which, (here, there) in enumerate(pairs):
            products = blocks[:, :, *here] * blocks[:, :, *there]
            flat = products.reshape(number, many, -1)
            means[:, index, which * many : (which + 1) * many] = flat.mean(axis=2)
    both = np.repeat(np.concatenate([known, known], axis=1), len(_LAGS), axis=0)
    medians = _quantile(means.reshape(-1, 2 * many), both, 0.5, otherwise=0.0)
    return medians.reshape(number, len(_LAGS))


def _shared(rest: Floats, distance: int, step: tuple[int, int]) -> Floats:
    """Sum over each block of its product with itself `distance` pixels on, where the image goes on."""
    down, right = distance * step[0], distance * step[1]
    _, rows, columns = rest.shape
    if down >= rows or abs(right) >= columns:
        return np.zeros((len(rest), *_counts(rest.shape).shape), np.float32)
    product = np.empty_like(rest)
    product[:, rows - down :] = 0.0
    product[:, :, (slice(columns - right, columns) if right > 0 else slice(0, -right))] = 0.0
    across = slice(max(0, -right), columns - max(0, right))
    here = (slice(None), slice(0, rows - down), across)
    there = (slice(None), slice(down, rows), slice(max(0, right), columns - max(0, -right)))
    np.multiply(rest[here], rest[there], out=product[here])
    return _sums(product)


def _balanced(images: Floats, count: Floats) -> Floats:
    """Take its mean from each block."""
    _, rows, columns = images.shape
    means = (_sums(images) / count).repeat(BLOCK, axis=1)[:, :rows].repeat(BLOCK, axis=2)[:, :, :columns]
    return np.asarray(images - means, np.float32)


def _around(blocks: Floats) -> Floats:
    """Sum over the 3x3 blocks around each, (..., rows, columns)."""
    *many, rows, columns = blocks.shape
    wide = np.zeros((*many, rows + 2, columns + 2), np.float32)
    wide[..., 1:-1, 1:-1] = blocks
    tall = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    return np.asarray(tall[..., :-2] + tall[..., 1:-1] + tall[..., 2:], np.float32)


def _sums(images: Floats, side: int = BLOCK) -> Floats:
    """Sum of each block, float32 (N, rows, columns); blocks at the border are smaller."""
    number, rows, columns = images.shape
    if max(rows, columns) <= _PRODUCT_SIDE:
        down, across = -(-rows // side), -(-columns // side)
        sums = images.reshape(number, -1) @ _members(rows, columns, side)
        return np.asarray(sums.reshape(number, down, across), np.float32)
    whole = rows // side
    bands = np.empty((number, -(-rows // side), columns), np.float32)
    # `reduceat` along the rows takes ten times as long.
    np.sum(images[:, : whole * side].reshape(number, whole, side, columns), axis=2, out=bands[:, :whole])
    if whole < bands.shape[1]:
        np.sum(images[:, whole * side :], axis=1, out=bands[:, whole])
    return np.asarray(np.add.reduceat(bands, np.arange(0, columns, side), axis=2), np.float32)


@functools.cache
def _members(rows: int, columns: int, side: int) -> Floats:
    """Matrix whose product with an image's pixels is the sums of its blocks, float32 (pixels, blocks)."""
    down, across = (
        np.arange(length)[:, None] // side == np.arange(-(-length // side)) for length in (rows, columns)
    )
    return np.asarray(np.kron(down, across), np.float32)


def _counts(shape: tuple[int, ...], side: int = BLOCK) -> Floats:
    """How many pixels each block of images (N, H, W) has, float32 (rows, columns)."""
    down, across = (
        np.minimum(side, length - np.arange(0, length, side)).astype(np.float32) for length in shape[1:]
    )
    return np.asarray(np.outer(down, across), np.float32)


def of(found: Measures) -> float:
    """Return the likely harm, 0 and up: structure first, then change beyond the noise."""
    beyond = math.log2(max(1.0, found.change / ((found.noise or 0.0) + 2.0 * _STEP)))
    return found.ratio + 0.05 * beyond
