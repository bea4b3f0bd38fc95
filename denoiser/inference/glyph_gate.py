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

Flags = npt.NDArray[np.bool_]
General = Callable[[npt.NDArray[np.intp]], Floats]

FIRST = (
    (1.398, 0.5835, -0.1998, -14.37, -2.815, -0.2504, 3.988, 0, 0, 0, 0),
    (-3.244, 0.2684, -0.2581, -7.129, -4.753, -0.3121, 5.431, 2.868, 0.4432, 1.695, 0.391),
)
"""Weights of `first_features`, for images of 28 pixels and for those that were resized to 28."""
SECOND = (
    (2.529, 1.033, -0.1177, -11.36, 0.6448, -3.457, -1.357, 0.09159, -0.04692, 0, 0, 0, 0),
    (
        3.579,
        -0.08754,
        -0.1441,
        -5.681,
        1.078,
        -0.356,
        -1.597,
        0.04037,
        -0.05687,
        6.839,
        -0.182,
        0.02877,
        0.4009,
    ),
)
"""Weights of `second_features`, likewise."""
DOUBT = (-3.0, 0.5)
"""Scores of the first rule between which the second decides: odds of 1 to 20, and 5 to 3.

Asking `general` costs seven times what `digits` does, and noisy digits are the usual case.
"""

_LEAST = 1e-5
"""Variance of what rounding to 8 bits leaves over; below it nothing can be told."""


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
    left = patches - digits
    score = _scores(first_features(left, digits, scales), FIRST, scales)
    flags = score > 0.0
    doubtful = np.flatnonzero((score > DOUBT[0]) & (score < DOUBT[1]))
    if doubtful.size:
        few = patches[doubtful], digits[doubtful], general(doubtful), scales[doubtful]
        flags[doubtful] = _scores(second_features(*few), SECOND, scales[doubtful]) > 0.0
    return flags


def first_features(left: Floats, digits: Floats, scales: Floats) -> Floats:
    """Return how much `digits` left over of each patch, (N, 28, 28), and how much structure is in it.

    The structure shows in the correlation of neighbouring pixels, which noise lacks, and in the largest mean
    over 5x5 pixels. Then come the brightest pixel of the reconstruction, as a glyph's ink is bright, and the
    scale, as enlarging makes neighbouring pixels' noise alike.

    Returns:
        float32 (N, 11), the first column 1.
    """
    power = _mean_square(left)
    log_power = np.log(power)
    worst = np.log(np.abs(_means(left, 5)).max(axis=(1, 2)) + 1e-3)
    return np.stack(
        (
            np.ones_like(power),
            log_power,
            np.square(log_power),
            _correlation(left) / power,
            worst,
            worst * log_power,
            digits.max(axis=(1, 2)),
            *_scale_features(scales, log_power),
        ),
        axis=1,
    )


def second_features(patches: Floats, digits: Floats, general: Floats, scales: Floats) -> Floats:
    """Return how much both models left over, its structure, and how far they are apart; float32 (N, 13)."""
    left, others = patches - digits, patches - general
    power, other_power = _mean_square(left), _mean_square(others)
    log_power, log_apart = np.log(power), np.log(_mean_square(digits - general))
    return np.stack(
        (
            np.ones_like(power),
            log_power,
            np.square(log_power),
            _correlation(left) / power,
            np.log(other_power),
            _correlation(others) / other_power,
            log_apart,
            np.square(log_apart),
            log_apart * log_power,
            *_scale_features(scales, log_power),
        ),
        axis=1,
    )


def _scale_features(scales: Floats, log_power: Floats) -> tuple[Floats, ...]:
    enlarged, reduced = np.log(np.maximum(scales, 1.0)), np.log(np.minimum(scales, 1.0))
    return enlarged, enlarged * log_power, reduced, reduced * log_power


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


def _means(values: Floats, side: int) -> Floats:
    """Means over squares of `side` pixels."""
    count = values.shape[1] - side + 1
    rows = sum((values[:, start : start + count] for start in range(1, side)), start=values[:, :count])
    total = sum((rows[:, :, start : start + count] for start in range(1, side)), start=rows[:, :, :count])
    return np.asarray(total / np.float32(side * side))
