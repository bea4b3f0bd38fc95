"""Distance of patches from clean ones: squared error, PSNR and SSIM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.inference.patches import own

_CHUNK = 1024
_WINDOW, _SIGMA = 11, 1.5
_STEADY = (0.01**2, 0.03**2)


def weights_of(noisy: Floats, clean: Floats, weight_floor: float) -> Floats:
    """Return the weight of each patch, 1 / (noise + weight_floor): every noise level counts about alike.

    A good denoiser's error grows with the noise, so without weights the noisiest patches would dominate the
    loss. noisy: (N, 28, 28) or (N, 28, 28, planes), clean: (N, 28, 28), NaN where unknown; weight_floor:
    0..1 scale.
    Returns float32 (N,), about 1 at noise 0.2.
    """
    noise = np.sqrt(_mean_error(own(noisy), clean))
    return np.asarray((0.2 + weight_floor) / (noise + weight_floor), dtype=np.float32)


def psnr(error: float) -> float:
    """Return the PSNR in dB of a mean squared error on the 0..1 scale; infinite for 0."""
    return -10.0 * math.log10(error) if error > 0 else math.inf


def restored(model: Any, inputs: Floats) -> Floats:
    """Return a Keras model's outputs for patches, clipped to 0..1 as files are; float32 (N, 28, 28)."""
    result = np.empty(inputs.shape[:3], dtype=np.float32)
    for start in range(0, len(inputs), _CHUNK):
        chunk = inputs[start : start + _CHUNK]
        # Pad to one shape: Keras would compile again for another one.
        padded = np.zeros((_CHUNK, *inputs.shape[1:]), dtype=np.float32)
        padded[: len(chunk)] = chunk
        output = np.asarray(model.predict_on_batch(padded))[: len(chunk)]
        result[start : start + _CHUNK] = np.clip(output, 0.0, 1.0)
    return result


def errors_of(model: Any, noisy: Floats, clean: Floats) -> Floats:
    """Return the mean squared error of each reconstructed patch, clipped to 0..1; float32 (N,).

    Pixels whose clean value is NaN are left out. Where the model's result is NaN, so is the error.
    """
    return _mean_error(restored(model, noisy), clean)


def _mean_error(patches: Floats, clean: Floats) -> Floats:
    """Return the mean squared error of each patch, of the pixels whose clean value is known; float32 (N,)."""
    squares, known = np.square(patches - clean), ~np.isnan(clean)
    if known.all():
        return np.asarray(np.mean(squares, axis=(1, 2)), dtype=np.float32)
    counts = np.maximum(known.sum(axis=(1, 2)), 1)
    return np.asarray(np.where(known, squares, 0).sum(axis=(1, 2)) / counts, dtype=np.float32)


def ssim(first: Floats, second: Floats) -> Floats:
    """Return the structural similarity of pairs of patches, 1 if they are equal.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity" (IEEE Transactions on Image Processing 13, 2004): a Gaussian window of 11x11 with sigma 1.5,
    K1 = 0.01, K2 = 0.03, the mean over all positions of the window within the patch. first, second: (N,
    H, W) of equal shape, sides at least 11, values 0..1. Returns float64 (N,).
    """
    if first.shape != second.shape or first.ndim != 3 or min(first.shape[1:]) < _WINDOW:
        raise ValueError(f"SSIM needs two equal stacks of patches of at least {_WINDOW} pixels a side")
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    kernel = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel /= kernel.sum()

    def blur(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        down, across = (_windows(kernel, side) for side in images.shape[1:])
        return np.asarray(down @ images @ across.T)

    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = blur(a), blur(b)
    spread_a, spread_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    shared = blur(a * b) - mean_a * mean_b
    small, large = _STEADY
    above = (2 * mean_a * mean_b + small) * (2 * shared + large)
    below = (mean_a**2 + mean_b**2 + small) * (spread_a + spread_b + large)
    return np.asarray(np.mean(above / below, axis=(1, 2)))


def _windows(kernel: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Return the matrix (side - 10, side) that blurs one axis at all positions where the window fits."""
    matrix = np.zeros((side - len(kernel) + 1, side))
    for start, row in enumerate(matrix):
        row[start : start + len(kernel)] = kernel
    return matrix
