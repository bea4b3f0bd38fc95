"""How noisy an image is, seen from the image alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats

_FEWEST = 16
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
    rows, columns = (side - side % 2 for side in image.shape)
    blocks = np.asarray(image[:rows, :columns], np.float32).reshape(rows // 2, 2, columns // 2, 2)
    first, second, third, fourth = (blocks[:, i, :, j] for i in (0, 1) for j in (0, 1))
    inside = np.minimum(np.minimum(first, second), np.minimum(third, fourth)) > 0.0
    inside &= np.maximum(np.maximum(first, second), np.maximum(third, fourth)) < 1.0
    coefficients = np.abs((first - second - third + fourth)[inside]) / 2.0
    return float(np.median(coefficients)) / MAD if coefficients.size >= _FEWEST else None


def noise_of(patches: Floats) -> Floats:
    """Deviation of the independent noise in each patch, float32 (N,).

    J. Immerkaer, "Fast noise variance estimation" (1996): second differences along both axes leave nothing of
    smooth shading, and 6 times the noise.
    """
    rows = patches[:, :-2] - 2.0 * patches[:, 1:-1] + patches[:, 2:]
    both = rows[:, :, :-2] - 2.0 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return np.asarray(np.sqrt(np.mean(np.square(both), axis=(1, 2))) / 6.0, dtype=np.float32)
