"""A decoded page: its pixels, and everything else that must survive the cleaning."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.imaging.metadata import Metadata
from denoiser.page import Page

_QUANTIZED = 1 << 16
"""Pixels that are rounded at a time."""
BECAME_GRAY = "colour became gray (--color keeps it)"
BECAME_8_BIT = "1 bit became 8 bit, as gray edges need it (--bilevel keeps it)"


@dataclass(frozen=True)
class Picture:
    """A decoded page.

    Attributes:
        pixels: float32 in 0..1, (H, W) for gray or (H, W, 3) for colour.
        page: its metadata.
        alpha: uint8 (H, W), written back unchanged.
        span: lowest and highest value of a floating-point file, which 0 and 1 stand for.
        format: the file's format as Pillow names it.
        options: how the file was encoded, for Pillow's `save`.
        notes: changes that reading made.
        metadata: what the page tells about itself.
        bilevel: whether it is to be written with 1 bit.

    """

    pixels: Floats
    page: Page
    alpha: npt.NDArray[np.uint8] | None = None
    span: tuple[float, float] = (0.0, 1.0)
    format: str = "PNG"
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)
    bilevel: bool = False

    def with_pixels(self, pixels: Floats) -> Picture:
        """Return the same page with other pixels; alpha stays only where the size does."""
        if self.alpha is not None and self.alpha.shape != pixels.shape[:2]:
            note = "transparency was left out, as the size changed"
            return replace(self, pixels=pixels, alpha=None, notes=(*self.notes, note))
        return replace(self, pixels=pixels)

    def without_metadata(self) -> Picture:
        """Return the same page without EXIF, XMP and the like; resolution and colour profile stay."""
        return replace(self, metadata=Metadata(), page=replace(self.page, exif=None))

    def as_bilevel(self) -> Picture:
        """Return the page in black and white, cut at 0.5, if it was read from 1 bit; else itself."""
        if self.page.depth != 1:
            return self
        notes = tuple(note for note in self.notes if note != BECAME_8_BIT)
        return replace(self, pixels=(self.pixels >= 0.5).astype(np.float32), notes=notes, bilevel=True)


def quantize(pixels: Floats, depth: int, *, overwrite: bool = False) -> npt.NDArray[Any]:
    """Round float values in 0..1 to uint8 (depth 1 and 8) or uint16 (16).

    With `overwrite` the result lies where the pixels are, if these lie one after the other.
    """
    top, kind = (65535.0, np.uint16) if depth == 16 else (255.0, np.uint8)
    result: npt.NDArray[Any]
    if overwrite and pixels.flags.c_contiguous and pixels.flags.writeable:
        # A number is smaller than the one that it is made of, so none is written where one is yet to be read.
        result = pixels.reshape(-1).view(kind)[: pixels.size].reshape(pixels.shape)
    else:
        result = np.empty(pixels.shape, kind)
    rows = max(1, _QUANTIZED // max(1, pixels[:1].size))
    for start in range(0, len(pixels), rows):
        # A part at a time stays in the cache, and a large page is never in memory once more.
        scaled = np.multiply(pixels[start : start + rows], np.float32(top))
        np.rint(scaled, out=scaled)
        np.minimum(np.maximum(scaled, 0.0, out=scaled), np.float32(top), out=scaled)
        result[start : start + rows] = scaled
    return result
