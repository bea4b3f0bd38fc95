"""Dirty pages as scanners see them: faded print on stained, creased and shaded paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from denoiser._types import Floats
from denoiser.generator.canvas import Random, Shape, blurred
from denoiser.generator.creases import folds, wrinkles
from denoiser.generator.marks import prints, stains
from denoiser.generator.paper import grain, other_side, shadow, soft, specks, uneven_light, wear

#: The effects on the paper: the map, the share of pages that have it, and the range of its strength.
_EFFECTS: tuple[tuple[Callable[[Random, Shape], Floats], float, float, float], ...] = (
    # The core of a strong stain is nearly as dark as ink.
    (stains, 0.42, 0.1, 0.92),
    (prints, 0.27, 0.08, 0.5),
    (folds, 0.33, 0.04, 0.22),
    (wrinkles, 0.35, 0.06, 0.3),
    (shadow, 0.22, 0.08, 0.6),
    (uneven_light, 0.35, 0.02, 0.3),
)
_CREASES = (folds, wrinkles)


def dirt(clean: Floats, rng: Random, *, system_fonts: bool = True) -> Floats:
    """Make a page dirty: gray, textured paper with several kinds of dirt.

    The kinds are stains, footprints, folds, wrinkles, shadows, uneven light, bleed-through, faded ink, specks
    and a scanner's blur. clean: float32 (H, W), paper 1. system_fonts: as for `page`, for the text of the
    other side. Returns a new float32 (H, W) in 0..1.
    """
    shape = clean.shape[0], clean.shape[1]
    if rng.random() < 0.08:
        # A network must also learn to leave clean pages alone.
        return _scanned(np.array(clean, dtype=np.float32), rng)
    result = 1.0 - clean
    if rng.random() < 0.25:
        result *= 1.0 - np.float32(rng.uniform(0.0, 0.45)) * wear(rng, shape)
    np.subtract(1.0, result, out=result)
    if rng.random() < 0.25:
        behind = other_side(rng, shape, system_fonts=system_fonts)
        # Its blur, or being mirrored, is all that tells it from faint print.
        if rng.random() < 0.8:
            behind = np.clip(blurred(behind, float(rng.uniform(0.8, 3.0))), 0.0, 1.0)
        result *= 1.0 - np.float32(rng.uniform(0.03, 0.3)) * behind
    # Ink may be black or lifted; what is lifted further would look like print that is meant to be gray.
    lift = float(rng.uniform(0.0, 0.2)) if rng.random() < 0.6 else 0.0
    if rng.random() < 0.12:
        return _scanned(_lifted(result, lift) * _light_cover(rng, shape), rng)
    cover, rubbed = _cover(rng, shape)
    if rubbed.any():
        lift = float(rng.uniform(0.04, 0.2))  # scans of creased paper lift all ink, by 0.1 on average
    result = _lifted(result, lift)
    result += rubbed * (1.0 - result)
    result *= cover
    return _scanned(result, rng)


def _lifted(page: Floats, lift: float) -> Floats:
    """Return the page with its ink lighter; white stays white."""
    return np.float32(lift) + np.float32(1.0 - lift) * page


def _light_cover(rng: Random, shape: Shape) -> Floats:
    """Return the lightness of paper that has nothing but its tone and a fine grain; about 0.8..1.05."""
    fine = grain(rng, shape) * np.float32(rng.uniform(0.0, 0.012))
    return np.asarray(fine + np.float32(rng.uniform(0.82, 1.03)), dtype=np.float32)


def _cover(rng: Random, shape: Shape) -> tuple[Floats, Floats]:
    """Return the lightness of the paper, about 0.1..1.2, and the share of ink that is off, 0..0.6; (H, W)."""
    tone = 1.02 - 0.45 * float(rng.beta(1.3, 2.6))
    cover = grain(rng, shape)
    cover *= np.float32(rng.uniform(0.002, 0.012) if rng.random() < 0.3 else rng.uniform(0.012, 0.045))
    cover += np.float32(tone)
    present = rng.random(len(_EFFECTS)) < [odds for _, odds, _, _ in _EFFECTS]
    # Most pages have at least one of the first four effects.
    if not present[:4].any() and rng.random() < 0.7:
        present[rng.integers(4)] = True
    rubbed = np.zeros(shape, dtype=np.float32)
    # On most creased sheets ink breaks off, and what is left shines: letters get lighter where paper darkens.
    worn = np.float32(rng.uniform(0.0, 1.2) if rng.random() < 0.7 else 0.0)
    for index in np.flatnonzero(present):
        draw, _, low, high = _EFFECTS[index]
        effect = np.float32(rng.uniform(low, high)) * draw(rng, shape)
        cover *= 1.0 - effect
        if draw in _CREASES:
            rubbed += worn * np.abs(effect)
    return np.asarray(cover, dtype=np.float32), np.minimum(rubbed, np.float32(0.6))


def _scanned(image: Floats, rng: Random) -> Floats:
    """Add the scanner's faults: dust on its glass, blur, noise and clipping."""
    if rng.random() < 0.35:
        image = image - np.float32(rng.uniform(0.1, 0.8)) * specks(rng, (image.shape[0], image.shape[1]))
    if rng.random() < 0.4:
        image = soft(image, float(rng.uniform(0.02, 0.2)))
    if rng.random() < 0.5:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + noise * np.float32(rng.uniform(0.0, 0.02))
    clipped: Floats = np.clip(image, np.float32(0.0), np.float32(1.0))
    return clipped
