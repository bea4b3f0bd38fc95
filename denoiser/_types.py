"""The arrays and the size that everything here agrees on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

PATCH = 28
"""Side of the square that a network is shown, in pixels: that of MNIST's digits."""
