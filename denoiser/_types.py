"""The types of arrays and the size of patches, for the whole package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

PATCH = 28
"""Side of a network's input in pixels: that of MNIST's digits."""
