"""Images to 28x28 patches and back: the arithmetic between a picture and what a network sees.

Two ways. *Whole*: the image becomes one patch, and the patch is the result. *Tile*: overlapping patches cover
the image and a weighted average joins them. Everything here is pure NumPy (Pillow resamples), works on
float32 in 0..1, and depends on nothing but its arguments, so equal images give equal bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from denoiser._types import PATCH, Context, Floats, scales_of

Size = Literal["model", "input"]

BAND_PATCHES = 1024
"""Patches computed at once. Fixed, because the bands decide the order in which patches are added up."""

_WHOLES = 32
"""Whole images whose surroundings are computed together: they stay in the cache."""

STRIP_PATCHES = 4 * BAND_PATCHES
"""Patches side by side above which a page is computed in strips; each is more than a band is wide."""


@dataclass(frozen=True)
class Whole:
    """How one image was fitted into one patch.

    Attributes:
        shape: height and width of the image.
        box: top, left, height and width of the image's content inside the patch.
        inverted: whether dark and light were exchanged, so that the patch's background is dark.

    """

    shape: tuple[int, int]
    box: tuple[int, int, int, int]
    inverted: bool


def _resample(image: Floats, shape: tuple[int, int]) -> Floats:
    """Resize float32 (H, W) to `shape`, antialiased when it shrinks (Lanczos), bicubic when it grows."""
    from PIL import Image

    if image.shape == shape:
        return image
    shrinks = shape[0] < image.shape[0] or shape[1] < image.shape[1]
    method = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((shape[1], shape[0]), method)
    return np.clip(np.asarray(resized, np.float32), 0.0, 1.0)


def background(image: Floats) -> float:
    """Median of the outermost pixels of a float32 (H, W) image: what surrounds its content."""
    edges = (image[0], image[-1], image[1:-1, 0], image[1:-1, -1])
    ordered = np.sort(np.concatenate(edges))
    # np.median would do, and import masked arrays for it, which is a tenth of the time to a first result.
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def whole_from_image(image: Floats, *, darken: bool = True) -> tuple[Floats, Whole]:
    """Fit a float32 (H, W) image in 0..1 into one float32 (28, 28) patch.

    The aspect is kept; what is left over is filled with the image's own background. With `darken`, dark and
    light are exchanged where that is light, as the digits network knows ink as light on dark.
    """
    height, width = image.shape
    scale = PATCH / max(height, width)
    rows, cols = (max(1, min(PATCH, round(side * scale))) for side in (height, width))
    top, left = (PATCH - rows) // 2, (PATCH - cols) // 2
    around = background(image)
    patch = _resample(image, (rows, cols))
    if patch.shape != (PATCH, PATCH):
        inside = patch
        patch = np.full((PATCH, PATCH), around, np.float32)
        patch[top : top + rows, left : left + cols] = inside
    inverted = darken and around > 0.5
    if inverted:
        patch = 1.0 - patch
    return patch, Whole((height, width), (top, left, rows, cols), inverted)


def wholes_from_images(images: Sequence[Floats], *, darken: bool = True) -> tuple[Floats, list[Whole]]:
    """Fit several images as `whole_from_image` does each; returns float32 (N, 28, 28).

    Images of 28x28 pixels are fitted together, in a fraction of the time.
    """
    if any(image.shape != (PATCH, PATCH) for image in images):
        fitted = [whole_from_image(image, darken=darken) for image in images]
        return np.stack([patch for patch, _ in fitted]), [whole for _, whole in fitted]
    given = np.stack(images)
    inverted = np.zeros(len(given), np.bool_)
    if darken:
        edges = np.concatenate((given[:, 0], given[:, -1], given[:, 1:-1, 0], given[:, 1:-1, -1]), axis=1)
        edges.sort(axis=1)
        half = edges.shape[1] // 2  # the number is even: twice the median, as in `background`
        inverted = edges[:, half - 1] + edges[:, half] > 1.0
        if inverted.any():
            given[inverted] = 1.0 - given[inverted]
    plain, turned = (Whole((PATCH, PATCH), (0, 0, PATCH, PATCH), inverted=turned) for turned in (False, True))
    return given, [turned if each else plain for each in inverted.tolist()]


def whole_to_image(patch: Floats, whole: Whole, size: Size = "model") -> Floats:
    """Undo `whole_from_image`: polarity back, and for size "input" the content back at the image's size.

    Float32 (28, 28) for "model", float32 of the image's shape for "input".
    """
    image: Floats = 1.0 - patch if whole.inverted else patch
    if size == "model":
        return image
    top, left, rows, cols = whole.box
    return _resample(image[top : top + rows, left : left + cols], whole.shape)


@dataclass(frozen=True)
class Grid:
    """Where the patches of a tiled image lie, along each axis: `counts` patches, `stride` apart.

    `lead` is how far the first patch starts before the image. What patches see outside of the image is its
    reflection, so pixels at the border are averaged over as many patches as those inside.
    """

    shape: tuple[int, int]
    stride: int
    counts: tuple[int, int]
    lead: tuple[int, int]

    @property
    def patches(self) -> int:
        """Number of patches."""
        return self.counts[0] * self.counts[1]

    @property
    def band_rows(self) -> int:
        """Rows of patches computed at once."""
        return max(1, BAND_PATCHES // self.counts[1])


def grid(shape: tuple[int, int], stride: int) -> Grid:
    """Cover an image of `shape` (H, W) with patches `stride` (1 to 28) pixels apart."""
    if not 1 <= stride <= PATCH:
        raise ValueError(f"stride is {stride}, not 1 to {PATCH}")
    margin = (PATCH - stride) // 2
    counts, lead = [], []
    for length in shape:
        count = max(1, -(-(length + 2 * margin - PATCH) // stride) + 1)
        counts.append(count)
        lead.append(((count - 1) * stride + PATCH - length) // 2)
    return Grid(shape, stride, (counts[0], counts[1]), (lead[0], lead[1]))


def _reflected(length: int, start: int, stop: int) -> npt.NDArray[np.intp]:
    """Indices start..stop-1 of what 0..length-1 is when its reflections go on for ever on both sides."""
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (length - 1)
    place = np.arange(start, stop) % period
    return np.minimum(place, period - place)


def split(
    image: Floats, grid: Grid, rows: slice, context: Context = 1, columns: slice | None = None
) -> Floats:
    """Cut the patches of the given rows of the grid, row by row: float32 (N, 28, 28).

    `columns` are those of the grid; None: all.

    With `context` it is (N, 28, 28, planes): each patch, and for each number in `context` the area that many
    times as wide and high around it, averaged down to 28x28.
    """
    stride, scales = grid.stride, scales_of(context)
    margin = margin_of(max(scales, default=1))

    def pixels(axis: int, start: int, stop: int) -> npt.NDArray[np.intp]:
        first = start * stride - grid.lead[axis] - margin
        return _reflected(grid.shape[axis], first, first + (stop - 1 - start) * stride + PATCH + 2 * margin)

    top, bottom, _ = rows.indices(grid.counts[0])
    left, right, _ = (columns or slice(None)).indices(grid.counts[1])
    down, across = bottom - top, right - left
    lines, places = pixels(0, top, bottom), pixels(1, left, right)
    # Of a narrow part of a wide page, whole rows would be much to copy; else they are copied faster.
    band = image[lines][:, places] if across == grid.counts[1] else image[np.ix_(lines, places)]
    if not scales:
        return _windows(band, (down, across), stride).astype(np.float32, order="C").reshape(-1, PATCH, PATCH)
    planes = 1 + len(scales)
    result = np.empty((down, across, PATCH, PATCH, planes), np.float32)
    result[..., 0] = _windows(band[margin:, margin:], (down, across), stride)
    for plane, scale in enumerate(scales, start=1):
        inner = slice(margin - margin_of(scale), len(band) - margin + margin_of(scale))
        beside = slice(inner.start, band.shape[1] - inner.start)
        result[..., plane] = _windows(averaged(band[inner, beside], scale), (down, across), stride, scale)
    return result.reshape(-1, PATCH, PATCH, planes)


def margin_of(scale: int) -> int:
    """Return how far an area `scale` patches wide reaches beyond the patch in its middle, in pixels."""
    return (scale - 1) * PATCH // 2


def _windows(image: Floats, counts: tuple[int, int], stride: int, step: int = 1) -> Floats:
    """View 28x28 windows, `stride` apart, of every `step`-th pixel: (down, across, 28, 28)."""
    rows, columns = image.strides
    return np.lib.stride_tricks.as_strided(
        image,
        (*counts, PATCH, PATCH),
        (stride * rows, stride * columns, step * rows, step * columns),
        writeable=False,
    )


def averaged(images: Floats, size: int) -> Floats:
    """Mean of the `size` x `size` pixels that begin at each: float32 (..., H - size + 1, W - size + 1)."""
    rows, columns = (side - size + 1 for side in images.shape[-2:])
    down = images[..., :rows, :].copy()
    for start in range(1, size):
        down += images[..., start : start + rows, :]
    total = down[..., :columns].copy()
    for start in range(1, size):
        total += down[..., start : start + columns]
    total *= np.float32(1.0 / size**2)
    return total


def own(inputs: Floats) -> Floats:
    """Return a view of patches without their context: (N, 28, 28)."""
    return inputs if inputs.ndim == 3 else inputs[..., 0]


def with_context(images: Floats, context: Context) -> Floats:
    """Whole images, float32 (N, 28, 28), as `split` cuts each: alone, or beside what its reflection shows."""
    scales = scales_of(context)
    if not scales:
        return images
    margin = margin_of(max(scales))
    place = _reflected(PATCH, -margin, PATCH + margin)
    result = np.empty((*images.shape, 1 + len(scales)), np.float32)
    result[..., 0] = images
    for first in range(0, len(images), _WHOLES):
        some = slice(first, first + _WHOLES)
        around = images[some, place[:, None], place]
        for plane, scale in enumerate(scales, start=1):
            inner = slice(margin - margin_of(scale), PATCH + margin + margin_of(scale))
            result[some, ..., plane] = averaged(around[:, inner, inner], scale)[:, ::scale, ::scale]
    return result


def window() -> Floats:
    """Weights of a patch's pixels along one axis, float32 (28,): cos^1.5, falling from the centre to nothing.

    A patch's border is reconstructed worse than its centre, as the network sees only one side of it. What
    falls to nothing also leaves no seam where a patch ends: with a Gaussian of 10 pixels, which gains 0.06 dB
    on little noise at stride 14, differences across the patches' borders are twice those elsewhere.
    """
    offset = np.arange(PATCH) - (PATCH - 1) / 2
    weights: Floats = (np.cos(np.pi * offset / PATCH) ** 1.5).astype(np.float32)
    return weights


class OverlapAdd:
    """Overlap-add of a tiled image's patches, band by band from the top.

    Holds the rows that patches to come will still add to, and no more: memory is that of a band.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        weights = window()
        self._weights = np.outer(weights, weights)
        self._total = tuple(self._coverage(weights, count) for count in grid.counts)
        self._open: Floats = np.zeros((PATCH - grid.stride, self._width), np.float32)
        self._rows = 0

    @property
    def _segments(self) -> int:
        """How many strides a patch spans."""
        return -(-PATCH // self._grid.stride)

    @property
    def _width(self) -> int:
        return (self._grid.counts[1] - 1) * self._grid.stride + PATCH

    def _coverage(self, weights: Floats, count: int) -> Floats:
        total = np.zeros((count - 1) * self._grid.stride + PATCH, np.float32)
        for index in range(count):
            total[index * self._grid.stride :][:PATCH] += weights
        return total

    def add(self, patches: Floats) -> tuple[slice, Floats]:
        """Add the next rows of patches, float32 (rows * across, 28, 28).

        Returns the image's rows that are now complete, as a slice and float32 (rows, W).
        """
        stride, across = self._grid.stride, self._grid.counts[1]
        down = len(patches) // across
        weighted = (patches * self._weights).reshape(down, across, PATCH, PATCH)
        blocks = self._segments - 1
        # Rows and columns in units of the stride: one addition places a segment of every patch.
        total = np.zeros((down + blocks, stride, across + blocks, stride), np.float32)
        for i in range(self._segments):
            for j in range(self._segments):
                part = weighted[:, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
                total[i : i + down, : part.shape[2], j : j + across, : part.shape[3]] += part.swapaxes(1, 2)
        band = total.reshape((down + blocks) * stride, -1)[: (down - 1) * stride + PATCH, : self._width]
        band[: len(self._open)] += self._open
        first = self._rows * stride
        self._rows += down
        last = self._rows == self._grid.counts[0]
        done = len(band) if last else down * stride
        self._open = band[done:].copy()
        return self._finished(band[:done], first)

    def _finished(self, band: Floats, first: int) -> tuple[slice, Floats]:
        (height, width), (above, left) = self._grid.shape, self._grid.lead
        start, stop = max(first, above), min(first + len(band), above + height)
        if stop <= start:
            return slice(0, 0), np.empty((0, width), np.float32)
        inside = band[start - first : stop - first, left : left + width]
        down, across = self._total
        weights = down[start:stop, None] * across[None, left : left + width]
        return slice(start - above, stop - above), inside / weights


def bands(grid: Grid) -> Iterator[slice]:
    """Rows of the grid that are computed together, from the top."""
    for start in range(0, grid.counts[0], grid.band_rows):
        yield slice(start, min(start + grid.band_rows, grid.counts[0]))


def strips(grid: Grid) -> Iterator[tuple[slice, slice, Grid]]:
    """Cut a very wide grid into parts that fit in memory, most grids into one.

    Yields for each the columns of patches to compute, the image's columns that they complete, and a grid of
    that part for `OverlapAdd`. Patches that two parts need are computed twice, so that each pixel is the sum
    of the same patches in the same order as without parts.
    """
    across, stride = grid.counts[1], grid.stride
    if across <= STRIP_PATCHES:
        yield slice(0, across), slice(0, grid.shape[1]), grid
        return
    beside = -(-PATCH // stride)
    for start in range(0, across, STRIP_PATCHES):
        stop = min(start + STRIP_PATCHES, across)
        first = max(0, start - beside)
        left = max(start * stride, grid.lead[1])
        right = grid.lead[1] + grid.shape[1]
        if stop < across:
            right = min(right, stop * stride)
        part = Grid(
            (grid.shape[0], right - left),
            stride,
            (grid.counts[0], stop - first),
            (grid.lead[0], left - first * stride),
        )
        yield slice(first, stop), slice(left - grid.lead[1], right - grid.lead[1]), part


def tile(
    image: Floats,
    grid: Grid,
    reconstruct: Callable[[Floats], Floats],
    context: Context = 1,
    *,
    overwrite: bool = False,
) -> Floats:
    """Reconstruct a float32 (H, W) image by its overlapping patches.

    `reconstruct` maps what `split` cuts with that `context` to float32 (N, 28, 28). With `overwrite` the
    result takes the place of the image, unless it is so wide that its strips see each other's pixels.
    """
    in_place = overwrite and grid.counts[1] <= STRIP_PATCHES
    result = image if in_place else np.empty(grid.shape, np.float32)
    # Rows that a later band still sees, as surroundings or mirrored at the lower edge, have to wait.
    seen = margin_of(max(scales_of(context), default=1)) + 2 * PATCH if in_place else 0
    for columns, inside, part in strips(grid):
        overlap_add = OverlapAdd(part)
        waiting: deque[tuple[slice, Floats]] = deque()
        for rows in bands(part):
            waiting.append(overlap_add.add(reconstruct(split(image, grid, rows, context, columns))))
            done = waiting[-1][0].stop
            while waiting and waiting[0][0].stop <= done - seen:
                ready, pixels = waiting.popleft()
                result[ready, inside] = pixels
        for ready, pixels in waiting:
            result[ready, inside] = pixels
    return result
