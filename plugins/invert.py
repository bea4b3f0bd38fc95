"""Denoise a negative as the positive it shows: turn it around before, and back after.

    denoise ./negatives --out ./clean --plugin plugins/invert.py

Both halves are here because what goes in turned should come out as it was. Leave `postprocess` away to get
positives.
"""

from __future__ import annotations

import numpy as np

from denoiser import hookimpl


@hookimpl
def preprocess(image: np.ndarray) -> np.ndarray:
    """Turn dark and light around; `image` is float32 (H, W) in 0..1."""
    return 1.0 - image


@hookimpl
def postprocess(image: np.ndarray) -> np.ndarray:
    """Turn them back."""
    return 1.0 - image
