"""What pages need beside their patches: one brightness for all colours, and a look at what was removed.

All of it is for networks on absolute intensities, which make gray paper white.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.weights.architectures import MixerConfig
from denoiser.weights.modelfile import ModelFile

PHOTOGRAPH = "it looks like a photograph, which this model is not for (--model general keeps its tones)"
TONES_REMOVED = (
    "much that is neither ink nor paper became white (--compare shows it, --strength 0.5 keeps half)"
)
CONCERNS = (PHOTOGRAPH, TONES_REMOVED)

_NEARLY_WHITE, _AS_WHITE = 0.955, 0.98
"""What is lighter than the second is paper. From the first on, tones are stretched so that none jumps."""

_INK, _REACH = 0.7, 3
"""What is darker than the first is ink. Up to so many pixels from it, light gray is the edge of a letter."""

_ROWS = 256

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601, as Pillow makes gray of colour."""

_WHITE = 0.99
_DARKEST = 1.0 / 255.0
_PAPER_SHARE = 0.02
"""Least share of white pixels in a result from which the colour of the paper can be told."""

_TINT_KEPT, _TINT = 0.1, 0.06
"""Brightness below white at which all colour is kept, and the largest deviation that white paper loses."""

_DIRT, _CLEAN = 1.35, 1.12
"""How much more than paper a pixel was brightened: dirt from the first on, none up to the second."""

_BLOCK = 64
_SAMPLES = 1_000_000
_MIDDLE = (0.12, 0.8)
_TOO_MANY, _TOO_MUCH = 0.5, 0.2
"""Shares of the pixels: a photograph has 0.6 to 0.8 of middle tones; real stains and wrinkles lose 0.13."""

_LEAST = 64


def is_for_paper(model: ModelFile) -> bool:
    """Return True for a network on absolute intensities: it decides how bright paper is."""
    return isinstance(model.config, MixerConfig) and not model.config.center


def whiten(image: Floats) -> Floats:
    """Make paper that is nearly white exactly white, in place; float32 (H, W) in 0..1.

    The faintest print that a network keeps is 12 of 255 levels darker than its paper, 0.953. Close to ink
    nothing changes: there the soft edges of letters are as light as grainy paper is elsewhere.
    """
    slope = np.float32((1.0 - _NEARLY_WHITE) / (_AS_WHITE - _NEARLY_WHITE))
    for start in range(0, len(image), _ROWS):
        rows = image[start : start + _ROWS]
        above = min(start, _REACH)
        # The rows above are whitened already, which makes no ink of them and no paper of ink.
        ink = image[start - above : start + _ROWS + _REACH] < _INK
        edges = _grown(_grown(ink, _REACH).T, _REACH).T[above : above + len(rows)]
        stretched = rows - np.float32(_NEARLY_WHITE)
        stretched *= slope
        stretched += np.float32(_NEARLY_WHITE)
        np.maximum(rows, stretched, out=rows, where=~edges)
        np.minimum(rows, 1.0, out=rows)
    return image


def _grown(mask: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Return a mask (H, W) that is True up to `reach` rows above and below each True pixel."""
    result = mask.copy()
    for step in range(1, reach + 1):
        result[step:] |= mask[:-step]
        result[:-step] |= mask[step:]
    return result


def luma(planes: list[Floats]) -> Floats:
    """Return the brightness of three planes (H, W), red, green and blue; float32 (H, W) in 0..1."""
    red, green, blue = planes
    return np.asarray(red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2], np.float32)


def recoloured(planes: list[Floats], before: Floats, after: Floats) -> list[Floats]:
    """Return the planes of a picture with the brightness of its cleaned luma.

    Each pixel's channels are multiplied by the gain of its luma, so that hues stay. The paper's own tint,
    the median of all pixels that became white, is divided out, and pixels that became white lose what is
    left of it: a weak tint everywhere, and any colour where far more was removed than of paper, as of a
    stain.

    Args:
        planes: red, green and blue, float32 (H, W) in 0..1.
        before: their luma, float32 (H, W).
        after: that luma cleaned, float32 (H, W) in 0..1.

    Returns:
        Three float32 (H, W) in 0..1.

    """
    gain = after / np.maximum(before, _DARKEST)
    white = (after >= _WHITE) & (before > _DARKEST)
    paper, tints = 1.0, [1.0, 1.0, 1.0]
    if white.mean() >= _PAPER_SHARE:
        paper = float(np.median(gain[white]))
        tints = [float(np.clip(np.median(plane[white] / before[white]), 0.25, 4.0)) for plane in planes]
    # Only what became white may lose its colour; a darker pixel keeps its hue.
    whiteness = np.clip((after - (1.0 - _TINT_KEPT)) / _TINT_KEPT, 0.0, 1.0)
    stained = np.clip((gain / np.float32(paper) - _CLEAN) / (_DIRT - _CLEAN), 0.0, 1.0) * whiteness
    result = []
    for plane, tint in zip(planes, tints, strict=True):
        deviation = (plane / np.float32(tint) - before) * gain
        np.clip(deviation, -1.0, 1.0, out=deviation)
        deviation *= 1.0 - stained
        weak = np.float32(_TINT) * whiteness
        deviation = np.sign(deviation) * np.maximum(np.abs(deviation) - weak, 0.0)
        result.append(np.asarray(np.clip(after + deviation, 0.0, 1.0), np.float32))
    return result


def concerns(before: Floats, after: Floats) -> tuple[str, ...]:
    """Return what a user should know of a page: that it is a photograph, or lost much that is no dirt.

    Tones are measured beside the paper around them: the 90 % quantile of squares a quarter of the page wide,
    at least of 64 pixels, and of their neighbours. before, after: float32 (H, W) in 0..1.
    """
    if min(before.shape) < _LEAST:
        return ()
    step = max(1, int(np.sqrt(before.size / _SAMPLES)))
    given, result = before[::step, ::step], after[::step, ::step]
    side = max(_BLOCK, min(before.shape) // 4) // step
    tones = given / np.maximum(_paper(given, max(8, side)), _DARKEST)
    middle = (tones > _MIDDLE[0]) & (tones < _MIDDLE[1])
    if middle.mean() > _TOO_MANY:
        return (PHOTOGRAPH,)
    if (middle & (result >= _WHITE)).mean() > _TOO_MUCH:
        return (TONES_REMOVED,)
    return ()


def _paper(image: Floats, side: int) -> Floats:
    """Return how bright the paper is around each pixel: of its square and the eight beside, the brightest."""
    height, width = image.shape
    rows, columns = -(-height // side), -(-width // side)
    padded = np.pad(image, ((0, rows * side - height), (0, columns * side - width)), mode="reflect")
    squares = padded.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, -1)
    level = np.quantile(squares, 0.9, axis=2)
    around = np.pad(level, 1, mode="edge")
    level = np.max([around[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)
    return np.asarray(level.repeat(side, axis=0)[:height].repeat(side, axis=1)[:, :width], np.float32)
