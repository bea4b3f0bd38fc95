"""Noises of paper: each kind of the generator's dirt, for pages and for patches of any size.

Each function gets float32 (N, H, W) in 0..1, paper near 1, and returns that shape; `Noise` clips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from denoiser._types import Floats
from denoiser.generator import creases, marks, paper
from denoiser.noise.registry import Parameter, Value, register

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]

#: The noises in this module, which suit pages rather than photographs.
NAMES = frozenset({"bleed_through", "crease", "fade", "shadow", "stain", "texture"})
#: Side, in pixels, of the sheets from which the effects of small images are cut.
_SHEET = 448
#: Smallest side, in pixels, of an image that is a page and gets its own drawing.
_PAGE = 200


def _maps(draw: Draw, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return a map of an effect for each of N images: drawn for pages, cut from larger drawings for patches.

    A patch thus looks like a patch of a dirty page: it has a piece of an edge, or nothing.
    """
    number, height, width = shape
    result = np.empty((number, height, width), dtype=np.float32)
    if min(height, width) >= _PAGE:
        for index in range(number):
            result[index] = draw(rng, (height, width))
        return result
    sheet = max(_SHEET, height), max(_SHEET, width)
    # Each pixel of a sheet is used about twice: drawing then takes little time of a training.
    together = max(1, 2 * sheet[0] * sheet[1] // (height * width))
    for start in range(0, number, together):
        part = result[start : start + together]
        pieces = np.lib.stride_tricks.sliding_window_view(draw(rng, sheet), (height, width))
        tops = rng.integers(0, pieces.shape[0], len(part))
        lefts = rng.integers(0, pieces.shape[1], len(part))
        part[:] = pieces[tops, lefts]
    return result


def _lit(clean: Floats, rng: np.random.Generator, *effects: tuple[Value, Draw]) -> Floats:
    """Darken images: effects take `amount` of the light where their maps are 1."""
    result = clean
    for amount, draw in effects:
        if np.any(amount):
            result = result * (1.0 - np.asarray(amount, dtype=np.float32) * _maps(draw, clean.shape, rng))
    return result


def _darkening(**maps: Draw) -> Callable[..., Floats]:
    """Return a noise that darkens; its parameters are the strengths of the maps."""

    def noise(clean: Floats, rng: np.random.Generator, **strengths: Value) -> Floats:
        return _lit(clean, rng, *((strengths[name], draw) for name, draw in maps.items()))

    return noise


def _texture(clean: Floats, rng: np.random.Generator, *, sigma: Value, gray: Value, specks: Value) -> Floats:
    grain = np.asarray(sigma, dtype=np.float32) * _maps(paper.grain, clean.shape, rng)
    result = clean * (1.0 - np.asarray(gray, dtype=np.float32) + grain)
    if np.any(specks):
        result -= np.asarray(specks, dtype=np.float32) * _maps(paper.specks, clean.shape, rng)
    return result


def _fade(clean: Floats, rng: np.random.Generator, *, amount: Value, lift: Value) -> Floats:
    left = 1.0 - np.asarray(lift, dtype=np.float32)
    ink = _lit(left * (1.0 - clean), rng, (amount, paper.wear))
    return np.asarray(1.0 - ink, dtype=np.float32)


def _share(default: float, help: str) -> Parameter:  # noqa: A002 - as in `Parameter`
    return Parameter(default, 0.0, 1.0, help)


register(
    "texture", _texture, "the paper itself: its gray, its grain and fibres, dust",
    parameters={
        "sigma": _share(0.04, "standard deviation of the grain on white, 0..1"),
        "gray": _share(0.12, "how much darker than white the paper is, 0..1"),
        "specks": _share(0.3, "how dark the dust is, 0..1"),
    },
)  # fmt: skip
register(
    "stain", _darkening(amount=marks.stains, prints=marks.prints),
    "blots, drops and cup rings with dark rims, and footprints",
    parameters={
        "amount": _share(0.5, "light that stains take away, 0..1"),
        "prints": _share(0.2, "light that footprints take away, 0..1"),
    },
)  # fmt: skip
register(
    "crease", _darkening(folds=creases.folds, wrinkles=creases.wrinkles),
    "folded and crumpled paper, in light and shade",
    parameters={
        "folds": _share(0.15, "how much darker or lighter folds are, 0..1"),
        "wrinkles": _share(0.2, "how much darker or lighter wrinkles are, 0..1"),
    },
)  # fmt: skip
register(
    "shadow", _darkening(opacity=paper.shadow, uneven=paper.uneven_light),
    "the shade of a book's spine or of a hand, and uneven light",
    parameters={
        "opacity": _share(0.4, "light that the shadow takes away where it is deepest, 0..1"),
        "uneven": _share(0.15, "light that is missing in the darkest parts of the page, 0..1"),
    },
)  # fmt: skip
register(
    "bleed_through", _darkening(alpha=paper.other_side),
    "the print of the other side shows through, mirrored",
    parameters={"alpha": _share(0.2, "how much of that print is seen, 0..1")},
)  # fmt: skip
register(
    "fade", _fade, "ink that is gone in places, and black that is gray",
    parameters={
        "amount": _share(0.5, "ink that is gone where most is, 0..1"),
        "lift": _share(0.1, "how light the blackest ink is, 0..1"),
    },
)  # fmt: skip
