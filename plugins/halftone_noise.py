"""A noise for `denoise train`: the dots that printing makes of gray.

    denoise noises --plugin plugins/halftone_noise.py
    denoise train ./clean --name press --noise halftone:period=3..6 --plugin plugins/halftone_noise.py

A network that has learnt it smooths scans of newspapers and books.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from denoiser import hookimpl
from denoiser.noise import Parameter, Register

PARAMETERS = {
    "period": Parameter(4.0, 2.0, 12.0, "distance of the dots in pixels"),
    "angle": Parameter(45.0, 0.0, 90.0, "angle of the screen in degrees"),
    "softness": Parameter(0.3, 0.05, 2.0, "how far ink runs and the scanner blurs; 2 leaves hardly a dot"),
}


def halftone(
    clean: np.ndarray, rng: np.random.Generator, *, period: Any, angle: Any, softness: Any
) -> np.ndarray:
    """Screen float32 (N, H, W) in 0..1; each parameter is one number or an array (N, 1, 1)."""
    down, across = np.indices(clean.shape[1:], np.float32)
    # Patches are cut anywhere from a print, so the screen starts anywhere.
    y = down + rng.uniform(0, 100, (len(clean), 1, 1))
    x = across + rng.uniform(0, 100, (len(clean), 1, 1))
    turn, rate = np.deg2rad(angle), 2.0 * np.pi / np.asarray(period)
    screen = np.cos(rate * (x * np.cos(turn) + y * np.sin(turn)))
    screen = screen + np.cos(rate * (y * np.cos(turn) - x * np.sin(turn)))
    # Where the image is lighter than the screen there is paper; a soft step is the blur.
    step = (2.0 * clean - 1.0 - screen / 2.0) / np.asarray(softness)
    return np.asarray(0.5 + 0.5 * np.tanh(2.0 * step))


@hookimpl
def register_noise(register: Register) -> None:
    """Make it known as `halftone`."""
    register("halftone", halftone, "the dots of a print", parameters=PARAMETERS)
