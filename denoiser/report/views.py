"""Pictures of an image before and after, small enough for a page, and scaled for the eye."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoiser._types import Floats
from denoiser.report.entry import View

SMALL = 128
"""Images with no longer side than this are shown as they are."""

SHOWN_BY_BROWSERS = frozenset((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"))
_AT_ONCE = 1 << 20
"""Pixels that are scaled at a time, for the sake of memory."""

_TAILS = (0.1, 99.9)
_ENOUGH = 0.5
"""Deep images that use less than this share of their range are stretched."""


@dataclass(frozen=True)
class Size:
    """How large pictures are: longest side of the whole, side of the detail, and how they are encoded.

    WebP is smaller than JPEG, and takes ten times as long.
    """

    whole: int = 512
    detail: int = 512
    quality: int = 88
    kind: str = "image/jpeg"


def span_for_the_eye(before: Floats, depth: int) -> tuple[float, float]:
    """Return which values to show as black and as white: 0 and 1, but for deep images that use few."""
    if depth <= 8:
        return 0.0, 1.0
    sample = before[:: max(1, before.shape[0] // 512), :: max(1, before.shape[1] // 512)]
    low, high = (float(each) for each in np.percentile(sample, _TAILS))
    if high - low >= _ENOUGH or high <= low:
        return 0.0, 1.0
    return low, high


def views(
    before: Floats,
    after: Floats | None,
    place: tuple[int, int],
    *,
    span: tuple[float, float] = (0.0, 1.0),
    size: Size | None = None,
    files: Sequence[Path] = (),
) -> tuple[View, ...]:
    """Draw the whole, and the part around a place at full size.

    Args:
        before: the input, (H, W) or (H, W, C) in 0..1.
        after: the result; of another size where 28x28 pixels were written or a plugin cut it.
        place: row and column to show the surroundings of.
        span: values to show as black and as white.
        size: how large; None: as for a folder.
        files: input and output, where a browser may show them themselves if they are small.

    """
    size = size or Size()
    height, width = before.shape[:2]
    if max(height, width) <= SMALL:
        if len(files) == 2 and span == (0.0, 1.0):
            return (View("whole", width, height, files[0], files[1]),)
        small = None if after is None else _png(_bytes(after, span))
        return (View("whole", width, height, _png(_bytes(before, span)), small, "image/png"),)
    whole = View(
        "whole",
        width,
        height,
        _encoded(_reduced(before, span, size.whole), size),
        None if after is None else _encoded(_reduced(after, span, size.whole), size),
        size.kind,
    )
    if max(height, width) <= size.whole or after is None or after.shape[:2] != (height, width):
        return (whole,)
    rows, columns = (
        _around(at, size.detail, length) for at, length in zip(place, (height, width), strict=True)
    )
    part = (rows, columns)
    detail = View(
        "detail",
        columns.stop - columns.start,
        rows.stop - rows.start,
        _encoded(Image.fromarray(_bytes(before[part], span)), size),
        _encoded(Image.fromarray(_bytes(after[part], span)), size),
        size.kind,
    )
    return whole, detail


def _around(at: int, side: int, length: int) -> slice:
    start = max(0, min(at - side // 2, length - side))
    return slice(start, min(length, start + side))


def _bytes(pixels: Floats, span: tuple[float, float]) -> npt.NDArray[np.uint8]:
    result = np.empty(pixels.shape, np.uint8)
    rows = max(1, _AT_ONCE // max(1, pixels[:1].size))
    for start in range(0, len(pixels), rows):
        scaled = (pixels[start : start + rows] - np.float32(span[0])) * np.float32(
            255.0 / (span[1] - span[0])
        )
        result[start : start + rows] = np.rint(np.clip(scaled, 0.0, 255.0, out=scaled), out=scaled)
    return result


def _reduced(pixels: Floats, span: tuple[float, float], longest: int) -> Image.Image:
    image = Image.fromarray(_bytes(pixels, span))
    factor = max(image.size) // longest
    if factor > 1:
        image = image.reduce(factor)
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    return image


def _encoded(image: Image.Image, size: Size) -> bytes:
    file = io.BytesIO()
    image.save(file, size.kind.removeprefix("image/").upper(), quality=size.quality, method=1)
    return file.getvalue()


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
