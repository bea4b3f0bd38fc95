"""How noisy an image is, seen from the image alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats

_FEWEST = 16
_SORTED = 1 << 12
"""Images of up to so many pixels are sorted together; of larger ones the median alone is found."""

MAD = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""


def noise(image: npt.NDArray[np.floating]) -> float | None:
    """Standard deviation of the white noise in an image, on its own scale.

    image: (H, W), 0..1. The median of the finest diagonal Haar coefficients, which smooth content and
    straight edges leave near nothing (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage",
    Biometrika 1994). Pixels at 0 or 1 are left out, as what was clipped there shows no noise. Fine texture
    counts as noise; grain that is correlated over neighbouring pixels counts less than it is.
    Returns None where too little is left to judge by.
    """
    coefficients, inside = _finest(image)
    known = coefficients[inside]
    return float(np.median(known)) / MAD if known.size >= _FEWEST else None


def noise_of_each(images: npt.NDArray[np.floating]) -> list[float | None]:
    """Return what `noise` returns of each of some images (N, H, W); of many small ones much faster."""
    if images[0].size > _SORTED:
        return [noise(image) for image in images]
    coefficients, inside = (each.reshape(len(images), -1) for each in _finest(images))
    ordered = np.sort(np.where(inside, coefficients, np.float32(np.inf)), axis=1)
    counts = np.count_nonzero(inside, axis=1)
    rows, middle = np.arange(len(images)), np.maximum(counts, 1)
    if not ordered.shape[1]:
        return [None] * len(images)
    medians = (
        ordered[rows, (middle - 1) // 2] + ordered[rows, np.minimum(middle // 2, len(ordered[0]) - 1)]
    ) / 2.0
    return [
        float(median) / MAD if count >= _FEWEST else None
        for median, count in zip(medians, counts, strict=True)
    ]


def _finest(images: npt.NDArray[np.floating]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return size of the diagonal Haar coefficients of (..., H, W), and which show noise."""
    *many, height, width = images.shape
    rows, columns = height // 2, width // 2
    blocks = np.asarray(images[..., : 2 * rows, : 2 * columns], np.float32).reshape(
        *many, rows, 2, columns, 2
    )
    first, second, third, fourth = (blocks[..., i, :, j] for i in (0, 1) for j in (0, 1))
    inside = np.minimum(np.minimum(first, second), np.minimum(third, fourth)) > 0.0
    inside &= np.maximum(np.maximum(first, second), np.maximum(third, fourth)) < 1.0
    return np.abs(first - second - third + fourth) / np.float32(2.0), inside


def noise_of(patches: Floats) -> Floats:
    """Deviation of the independent noise in each patch, float32 (N,).

    J. Immerkaer, "Fast noise variance estimation" (1996): second differences along both axes leave nothing of
    smooth shading, and 6 times the noise.
    """
    rows = patches[:, :-2] - 2.0 * patches[:, 1:-1] + patches[:, 2:]
    both = rows[:, :, :-2] - 2.0 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return np.asarray(np.sqrt(np.mean(np.square(both), axis=(1, 2))) / 6.0, dtype=np.float32)
