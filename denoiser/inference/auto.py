"""Which model an image goes to where none is named: `digits` if it is a glyph, else `general`."""

from __future__ import annotations

from collections.abc import Sequence

from denoiser._types import Floats

AUTO = "auto"
GLYPHS, PICTURES = "digits", "general"
NETWORKS = (GLYPHS, PICTURES)
"""Both are needed: which image goes where shows only when it is read."""

GLYPH_SIDE = 56
"""Images with a longer side than this can't be glyphs."""


def small_enough(images: Sequence[Floats]) -> list[int]:
    """Return the places of the images, (H, W), that may be glyphs by their size."""
    return [index for index, image in enumerate(images) if max(image.shape) <= GLYPH_SIDE]


def glyphs_among(indices: Sequence[int], patches: Floats, reconstructions: Floats) -> list[int]:
    """Return those of `indices` whose patch looks like a glyph to `digits`; see `glyph_gate`."""
    from denoiser.inference.glyph_gate import looks_like_glyph

    looks = looks_like_glyph(patches, reconstructions)
    return [index for index, yes in zip(indices, looks, strict=True) if yes]


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
