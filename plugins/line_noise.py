"""A noise for `denoise train`: rows that are brighter or darker, and columns with an offset of their own.

    denoise noises --plugin plugins/line_noise.py
    denoise train ./clean --name camera --noise lines:gain=0.1,offset=0.05 --plugin plugins/line_noise.py

Cameras with an amplifier for each column, and scanners with a lamp that flickers, make such lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from denoiser import hookimpl
from denoiser.noise import Parameter, Register

PARAMETERS = {
    "gain": Parameter(0.1, 0.0, 0.5, "deviation of the rows' gain"),
    "offset": Parameter(0.05, 0.0, 0.5, "deviation of the columns' offset"),
}


def lines(clean: np.ndarray, rng: np.random.Generator, *, gain: Any, offset: Any) -> np.ndarray:
    """Add lines to float32 (N, H, W) in 0..1; each parameter is one number or an array (N, 1, 1)."""
    number, height, width = clean.shape
    rows = rng.standard_normal((number, height, 1), np.float32)
    columns = rng.standard_normal((number, 1, width), np.float32)
    return np.asarray(clean * (1.0 + gain * rows) + offset * columns)


@hookimpl
def register_noise(register: Register) -> None:
    """Make it known as `lines`."""
    register("lines", lines, "rows of uneven gain, columns of uneven offset", parameters=PARAMETERS)
