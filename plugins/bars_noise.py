"""A noise for `denoise train`: vertical bars that hide what is behind them.

    denoise noises --plugin plugins/bars_noise.py
    denoise train ./digits --model digits --name bars --noise bars:number=1..3 --plugin plugins/bars_noise.py

A network that has learnt it draws what the bars hide, as scratches on film and dead columns of a sensor do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from denoiser import hookimpl
from denoiser.noise import Parameter, Register

PARAMETERS = {
    "number": Parameter(2.0, 0.0, 14.0, "bars for every 28 pixels of width"),
    "width": Parameter(2.0, 1.0, 14.0, "their width in pixels"),
    "tone": Parameter(1.0, 0.0, 1.0, "0 for black bars, 1 for white ones"),
}


def bars(clean: np.ndarray, rng: np.random.Generator, *, number: Any, width: Any, tone: Any) -> np.ndarray:
    """Hide columns of float32 (N, H, W) in 0..1; each parameter is one number or an array (N, 1, 1)."""
    images, _, across = clean.shape
    wide = np.rint(width)
    # Each column begins a bar by chance, so that large images get as many for their size as small ones.
    begins = rng.random((images, 1, across)) < np.asarray(number) / 28.0
    place = np.where(begins, np.arange(across), -across)
    last = np.maximum.accumulate(place, axis=2)
    hidden = np.arange(across) - last < wide
    return np.where(hidden, np.float32(1.0) * tone, clean)


@hookimpl
def register_noise(register: Register) -> None:
    """Make it known as `bars`."""
    register("bars", bars, "vertical bars that hide what is behind them", parameters=PARAMETERS)
