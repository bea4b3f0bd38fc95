"""Does a small image look like a glyph to `digits`? The gate of `--model auto`.

`digits` draws a glyph whatever it is given, so a small photograph or icon must not reach its output. The test
is whether the reconstruction explains the image: if it is right, what is left over is noise, which has no
structure; if the image is something else, whole areas of it are left over. So the left-over is averaged over
neighbourhoods of 3x3 pixels, where noise shrinks to a third and structure stays, and compared with its noise,
measured between neighbouring pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.inference.noise_level import noise_of

Flags = npt.NDArray[np.bool_]

#: What a glyph may leave over after the averaging: a part for the network's own error, a part of the noise.
#: Set on MNIST's training digits against crops of photographs, icons and text; see benchmarks/gate.py.
ALLOWED = 0.01
ALLOWED_OF_NOISE = 0.9

#: A glyph's ink is bright: where `digits` draws nothing but gray it makes the best of something else.
INK = 0.96

# The mean of noise clipped at 0 over its deviation, both of a normal variable's upper half with the lower one
# at 0: sqrt(1 / 2 pi) / sqrt(1 / 2 - 1 / 2 pi).
_CLIPPED = 0.683


def looks_like_glyph(patches: Floats, reconstructions: Floats) -> Flags:
    """Whether each reconstruction differs from its patch by no more than the patch's noise explains.

    patches: float32 (N, 28, 28), 0..1, ink light on dark, as `patches.whole_from_image` makes them.
    reconstructions: what `digits` made of them, same shape. Returns bool (N,).
    """
    left = patches - reconstructions
    noise = noise_of(left)[:, None, None]
    # Clipped noise is brighter than nothing on black and darker than white on white: that is no structure.
    left = left - np.float32(_CLIPPED) * noise * (1.0 - 2.0 * np.clip(reconstructions, 0.0, 1.0))
    structure = np.sqrt(np.mean(np.square(_averaged(left)), axis=(1, 2)))
    explained = structure <= ALLOWED + ALLOWED_OF_NOISE * noise[:, 0, 0]
    return np.asarray(explained & (reconstructions.max(axis=(1, 2)) > INK), dtype=np.bool_)


def _averaged(patches: Floats) -> Floats:
    """Means of 3x3 pixels, (N, 26, 26)."""
    rows = patches[:, :-2] + patches[:, 1:-1] + patches[:, 2:]
    return np.asarray((rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9.0, dtype=np.float32)
