"""Does `digits` explain a small image better than `general`? The gate of `--model auto`.

`digits` draws a glyph whatever it is given, so a sign of another script, an icon or a small photograph must
not come back from it. Where its reconstruction is right, only noise is left over: large, and without
structure. Where it is wrong, strokes are left over.

Two rules decide, both logistic regressions (D. R. Cox, "The regression analysis of binary sequences", 1958).
The first sees what `digits` leaves over. Where it doubts, `general` reconstructs the image too, as one patch,
and the second rule compares both. Each predicts which of the two reconstructions is nearer to the clean
image; `benchmarks/gate.py --fit` fits them, and without `--fit` measures them on images that they were not
fitted to.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.inference.noise_level import MAD

Flags = npt.NDArray[np.bool_]
General = Callable[[npt.NDArray[np.intp]], Floats]

FIRST = (
    (-2.244, -1.652, -0.08104, -16.67, 0, 0, 0, 0, 1.175, -0.257, -0.2524, 8.224),
    (-2.241, -1.86, -0.02067, -5.835, 0.06603, -2.132, -0.3881, 0.3816, 2.024, -0.1719, -0.2337, 6.595),
)
"""Weights of `first_features`, for images of 28 pixels and for those that were resized to 28."""
SECOND = (
    (
        0.6947,
        0.3075,
        -0.1005,
        -11.41,
        0,
        0,
        0,
        0,
        0.8911,
        -0.09442,
        -0.1427,
        0.5442,
        -0.2034,
        -1.663,
        0.1187,
        -0.009586,
    ),
    (
        2.384,
        -0.4883,
        -0.09199,
        -5.377,
        3.018,
        -1.653,
        -0.4761,
        0.285,
        1.529,
        -0.1255,
        -0.2329,
        0.2479,
        1.004,
        -1.729,
        0.06373,
        -0.01822,
    ),
)
"""Weights of `second_features`, likewise."""
DOUBT = (-4.0, 0.5)
"""Scores of the first rule between which the second decides: odds of 1 to 55, and 5 to 3.

Asking `general` costs seven times what `digits` does, and noisy digits are the usual case.
"""

_LEAST = 1e-5
"""Variance of what rounding to 8 bits leaves over; below it nothing can be told."""
_LEAST_NOISE = 3e-3
"""Likewise, as a deviation."""


def looks_like_glyph(patches: Floats, digits: Floats, scales: Floats, general: General) -> Flags:
    """Tell the images for which `digits` is expected to be nearer to the clean image than `general`.

    Args:
        patches: float32 (N, 28, 28), 0..1, ink light on dark, as `patches.whole_from_image` makes them.
        digits: Their reconstructions by `digits`, of the same shape.
        scales: float32 (N,), by how much each image was enlarged to 28 pixels: 1 is not at all.
        general: Reconstructs those of the patches whose indices it is given by `general`.

    Returns:
        bool (N,).
    """
    if not len(patches):
        return np.zeros(0, dtype=np.bool_)
    score = _scores(first_features(patches, digits, scales), FIRST, scales)
    flags = score > 0.0
    doubtful = np.flatnonzero((score > DOUBT[0]) & (score < DOUBT[1]))
    if doubtful.size:
        few = patches[doubtful], digits[doubtful], general(doubtful), scales[doubtful]
        flags[doubtful] = _scores(second_features(*few), SECOND, scales[doubtful]) > 0.0
    return flags


def first_features(patches: Floats, digits: Floats, scales: Floats) -> Floats:
    """Return how much `digits` left over of each patch, and how much of that is noise.

    Structure in what is left over shows in the correlation of neighbouring pixels, which noise lacks, and in
    its power beside the noise of the image. A glyph's ink is bright, so the reconstruction's brightest pixel
    counts, and the scale, as enlarging makes neighbouring pixels' noise alike.

    Args:
        patches: float32 (N, 28, 28), 0..1, ink light on dark.
        digits: Their reconstructions by `digits`, of the same shape.
        scales: float32 (N,), by how much each image was enlarged to 28 pixels.

    Returns:
        float32 (N, 12), the first column 1.
    """
    left = patches - digits
    power = _mean_square(left)
    return np.stack(
        (
            *_shared_features(patches, left, power, scales),
            digits.max(axis=(1, 2)),
        ),
        axis=1,
    )


def second_features(patches: Floats, digits: Floats, general: Floats, scales: Floats) -> Floats:
    """Return the same and what `general` left over, its structure, and how far both are apart; (N, 16)."""
    left, others = patches - digits, patches - general
    power, other_power = _mean_square(left), _mean_square(others)
    log_apart = np.log(_mean_square(digits - general))
    return np.stack(
        (
            *_shared_features(patches, left, power, scales),
            np.log(other_power),
            _correlation(others) / other_power,
            log_apart,
            np.square(log_apart),
            log_apart * np.log(power),
        ),
        axis=1,
    )


def _shared_features(patches: Floats, left: Floats, power: Floats, scales: Floats) -> tuple[Floats, ...]:
    log_power, log_noise = np.log(power), np.log(_noise(patches) + np.float32(_LEAST_NOISE))
    enlarged, reduced = np.log(np.maximum(scales, 1.0)), np.log(np.minimum(scales, 1.0))
    return (
        np.ones_like(power),
        log_power,
        np.square(log_power),
        _correlation(left) / power,
        enlarged,
        enlarged * log_power,
        reduced,
        reduced * log_power,
        log_noise,
        np.square(log_noise),
        log_noise * log_power,
    )


def _noise(patches: Floats) -> Floats:
    """Deviation of the noise, from the median of the diagonal Haar coefficients; see `noise_level.noise`.

    Pixels at 0 and 1 count here: nearly all of a clean glyph is at 0, and then the answer is 0.
    """
    rows = patches[:, :-1] - patches[:, 1:]
    diagonal = np.abs(rows[:, :, :-1] - rows[:, :, 1:]) / np.float32(2.0)
    values = diagonal.reshape(len(patches), diagonal[0].size)
    middle = values.shape[1] // 2  # the number is odd; numpy.median would import numpy.ma first
    return np.asarray(np.partition(values, middle, axis=1)[:, middle] / np.float32(MAD))


def _scores(features: Floats, weights: tuple[tuple[float, ...], ...], scales: Floats) -> Floats:
    rows = np.asarray(weights, np.float32)[(scales != 1.0).astype(np.intp)]
    # No matrix product: its last bits, and so a decision, could depend on how many images are asked about.
    return np.asarray((features * rows).sum(axis=1))


def _mean_square(values: Floats) -> Floats:
    return np.asarray(np.mean(np.square(values), axis=(1, 2)) + np.float32(_LEAST))


def _correlation(values: Floats) -> Floats:
    """Mean product of neighbouring pixels, below and beside each other."""
    down = np.mean(values[:, 1:] * values[:, :-1], axis=(1, 2))
    across = np.mean(values[:, :, 1:] * values[:, :, :-1], axis=(1, 2))
    return np.asarray((down + across) / np.float32(2.0))
