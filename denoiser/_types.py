"""The types of arrays and the size of patches, for the whole package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

PATCH = 28
"""Side of a network's input in pixels: that of MNIST's digits."""

Context = int | tuple[int, ...]
"""Widths of the surroundings that a network sees beside a patch, in patches; 1 for none."""


def scales_of(context: Context) -> tuple[int, ...]:
    """Return the widths of the surroundings as a tuple, which is empty if there are none."""
    if isinstance(context, tuple):
        return context
    return () if context == 1 else (context,)
