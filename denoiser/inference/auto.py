"""Which model an image goes to where none is named: `digits` if it is a glyph, else `general`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from denoiser._types import PATCH, Floats

AUTO = "auto"
GLYPHS, PICTURES = "digits", "general"
NETWORKS = (GLYPHS, PICTURES)
"""Both are needed: which image goes where shows only when it is read."""

GLYPH_SIDE = 56
"""Images with a longer side than this can't be glyphs."""


def small_enough(images: Sequence[Floats]) -> list[int]:
    """Return the places of the images, (H, W), that may be glyphs by their size."""
    return [index for index, image in enumerate(images) if max(image.shape) <= GLYPH_SIDE]


def glyphs_among(
    images: Sequence[Floats],
    indices: Sequence[int],
    patches: Floats,
    digits: Floats,
    general: Callable[[Floats], Floats],
) -> list[int]:
    """Return those of `indices` whose patch `digits` reconstructs better than `general`; see `glyph_gate`.

    Args:
        images: float32 (H, W) each.
        indices: Index of each patch's image among them.
        patches: float32 (N, 28, 28), 0..1, ink light on dark.
        digits: Their reconstructions by `digits`.
        general: Reconstructs patches by `general`; it is called with the doubtful ones alone.
    """
    from denoiser.inference.glyph_gate import looks_like_glyph

    scales = np.array([PATCH / max(images[index].shape) for index in indices], np.float32)
    flags = looks_like_glyph(patches, digits, scales, lambda doubtful: general(patches[doubtful]))
    return [index for index, flag in zip(indices, flags, strict=True) if flag]


def whole_pictures(indices: Sequence[int], channels: Sequence[int]) -> list[int]:
    """Return those of `indices` that belong to pictures all of whose channels are among them.

    channels: how many consecutive images each picture has. A colour of a glyph's picture that is no glyph by
    itself makes the picture none: its channels must come back alike in size and kind.
    """
    chosen, whole, start = set(indices), list[int](), 0
    for count in channels:
        picture = range(start, start + count)
        if chosen.issuperset(picture):
            whole.extend(picture)
        start += count
    return whole
