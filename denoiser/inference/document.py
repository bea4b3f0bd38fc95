"""What pages need beside their patches: one brightness for all colours, and a look at what was removed.

All of it is for networks on absolute intensities, which make gray paper white.
"""

from __future__ import annotations

from typing import Any

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
_ADVISED = 0.5
"""The strength that the second one advises."""

_NEARLY_WHITE, _AS_WHITE = 0.955, 0.98
"""What is lighter than the second is paper. From the first on, tones are stretched so that none jumps."""

_INK, _REACH = 0.7, 3
"""What is darker than the first is ink. Up to so many pixels from it, light gray is the edge of a letter."""

_LIFTED, _LIFTED_BY = 0.05, 0.05
"""Ink whose darkest pixel nearby is up to the first was not lifted by dirt; by so much more, it was."""

_DARK_INK, _MORE = 0.3, 0.5
"""What is darker than the first is dark ink. Lifted, it gets darker by such a share more than the network
made it darker, and by less the lighter it is: the least error on pages in fonts that training left out."""

_STROKE = 2
"""Pixels from the edge of a letter to where its ink is darkest."""

_ROWS = 256

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601, as Pillow makes gray of colour."""

_WHITE = 0.99
_DARKEST = 1.0 / 255.0
_PAPER_SHARE = 0.02
"""Least share of white pixels in a result from which the colour of the paper can be told."""

_AS_LIGHT = 0.02
"""How much darker than the lightest tenth paper may be of which the tint is told."""

_TINT_KEPT, _TINT = 0.1, 0.06
"""Brightness below white at which all colour is kept, and the largest deviation that white paper loses."""

_COLOURED, _NO_COLOUR = 0.5, 0.1
"""Saturation from which dark ink is coloured; and what is added to its lightest channel: black has noise."""

_DIRT, _CLEAN = 1.35, 1.12
"""How much more than paper a pixel was brightened: dirt from the first on, none up to the second."""

_BLOCK = 64
_SAMPLES = 1_000_000
_MIDDLE, _LIGHT = (0.12, 0.8), 0.93
_TOO_MANY, _AREAS, _TOO_MUCH = 0.5, 0.45, 0.1
"""Shares of the pixels: a photograph has 0.6 to 0.8 of middle tones; real stains and wrinkles lose 0.06."""

_ONE_TONE, _ALL = 0.7, 0.99
"""Shares of the pixels: of one tone, white print on dark paper has 0.8, and most photographs have less than
0.6; a page with anything on it has less white than the second."""

_LEAST = 64


def is_for_paper(model: ModelFile) -> bool:
    """Return True for a network on absolute intensities: it decides how bright paper is."""
    return isinstance(model.config, MixerConfig) and not model.config.center


def whiten(image: Floats) -> Floats:
    """Make paper that is nearly white exactly white, in place; float32 (H, W) in 0..1.

    The faintest print that a network is taught to keep is 12 of 255 levels darker than its paper, 0.953.
    Close to ink nothing changes: there the soft edges of letters are as light as grainy paper is elsewhere.
    """
    slope = np.float32((1.0 - _NEARLY_WHITE) / (_AS_WHITE - _NEARLY_WHITE))
    for start in range(0, len(image), _ROWS):
        rows = image[start : start + _ROWS]
        above = min(start, _REACH)
        # The rows above are whitened already, which makes no ink of them and no paper of ink.
        ink = image[start - above : start + _ROWS + _REACH] < _INK
        edges = _joined(ink, _REACH, np.logical_or)[above : above + len(rows)]
        stretched = rows - np.float32(_NEARLY_WHITE)
        stretched *= slope
        stretched += np.float32(_NEARLY_WHITE)
        np.maximum(rows, stretched, out=rows, where=~edges)
        np.minimum(rows, 1.0, out=rows)
    return image


def deepen(image: Floats, page: Floats) -> Floats:
    """Make dark ink that dirt had lifted about as dark as it was, in place; float32 (H, W), page in 0..1.

    The network has learnt from ink of every gray, and gives lifted ink a tone between black and what the page
    shows; on real pages most of it was black. Ink that it left as it is, as that of a clean page, stays.
    """
    for start in range(0, len(image), _ROWS):
        rows = image[start : start + _ROWS]
        above = min(start, _STROKE)
        around = page[start - above : start + _ROWS + _STROKE]
        darkest = _joined(around, _STROKE, np.minimum)[above : above + len(rows)]
        more = darkest - np.float32(_LIFTED)
        more /= np.float32(_LIFTED_BY)
        np.clip(more, 0.0, 1.0, out=more)
        more *= np.clip(around[above : above + len(rows)] - rows, 0.0, 1.0)
        more *= np.clip(1.0 - rows / np.float32(_DARK_INK), 0.0, 1.0)
        rows -= np.float32(_MORE) * more
        np.maximum(rows, 0.0, out=rows)
    return image


def _joined(values: npt.NDArray[Any], reach: int, operation: np.ufunc) -> npt.NDArray[Any]:
    """Join each value (H, W) with all that lie up to `reach` rows and columns from it."""
    for _ in range(2):  # along the rows, and turned over, along the columns
        result = values.copy()
        for step in range(1, reach + 1):
            operation(result[step:], values[:-step], out=result[step:])
            operation(result[:-step], values[step:], out=result[:-step])
        values = result.T
    return values


def luma(planes: list[Floats]) -> Floats:
    """Return the brightness of three planes (H, W), red, green and blue; float32 (H, W) in 0..1."""
    red, green, blue = planes
    return np.asarray(red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2], np.float32)


def recoloured(
    planes: list[Floats], before: Floats, after: Floats, strength: float = 1.0, *, overwrite: bool = False
) -> list[Floats]:
    """Return the planes of a picture with the brightness of its cleaned luma.

    Each pixel's channels are multiplied by the gain of its luma, so that hues stay. Coloured ink, which the
    network takes for black, stays as light beside the paper as it was. The paper's own tint, that of the
    lightest that became white, is divided out, and pixels that became white lose what is left of it: a weak
    tint everywhere, and any colour where far more was removed than of paper, as of a stain.

    Args:
        planes: red, green and blue, float32 (H, W) in 0..1.
        before: their luma, float32 (H, W).
        after: that luma cleaned and blended with it by `strength`, float32 (H, W) in 0..1.
        strength: 0 to 1; the share of the cleaned picture in the result.
        overwrite: whether the result may take the place of `planes`.

    Returns:
        Three float32 (H, W) in 0..1.

    """
    if strength == 0.0:
        return planes
    if strength != 1.0:  # only the whole of it tells what became white
        after = np.clip(before + (after - before) / np.float32(strength), 0.0, 1.0)
    paper, tints = _gain_and_tints(planes, before, after)
    result = planes if overwrite else [np.empty_like(before) for _ in planes]
    for start in range(0, len(before), _ROWS):
        rows = slice(start, start + _ROWS)
        own = [plane[rows] for plane in planes]
        coloured = _recoloured(own, before[rows], after[rows], paper, tints)
        for whole, part, given in zip(result, coloured, own, strict=True):
            whole[rows] = part if strength == 1.0 else given + np.float32(strength) * (part - given)
    return result


def _recoloured(
    planes: list[Floats], before: Floats, after: Floats, paper: float, tints: list[float]
) -> list[Floats]:
    """Return the planes with the brightness `after`, where paper was brightened by `paper`."""
    beside = np.maximum(before, _DARKEST)
    # Only what became white may lose its colour; a darker pixel keeps its hue.
    whiteness = np.clip((after - (1.0 - _TINT_KEPT)) / _TINT_KEPT, 0.0, 1.0)
    stained = np.clip((after / beside / np.float32(paper) - _CLEAN) / (_DIRT - _CLEAN), 0.0, 1.0) * whiteness
    untinted = [plane / np.float32(tint) for plane, tint in zip(planes, tints, strict=True)]
    most, least = np.maximum.reduce(untinted), np.minimum.reduce(untinted)
    # Blue ink is as dark as black ink in gray, and the network makes black of both.
    ink = np.clip((most - least) / (most + np.float32(_NO_COLOUR)) / np.float32(_COLOURED), 0.0, 1.0)
    light = np.maximum(after, np.minimum(ink * before * np.float32(paper), 1.0))
    gain = light / beside
    gain *= 1.0 - stained
    weak = np.float32(_TINT) * whiteness
    result = []
    for plane in untinted:
        deviation = np.clip((plane - before) * gain, -1.0, 1.0)
        result.append(light + np.sign(deviation) * np.maximum(np.abs(deviation) - weak, 0.0))
    # A channel that is lighter than white would be cut off, and the hue with it.
    over = np.maximum(np.maximum.reduce(result), 1.0)
    return [np.asarray(np.clip(plane / over, 0.0, 1.0), np.float32) for plane in result]


def _gain_and_tints(planes: list[Floats], before: Floats, after: Floats) -> tuple[float, list[float]]:
    """Return how much paper was brightened, and its channels as shares of its luma; ones without any paper.

    The tint is that of the lightest tenth: a map's sea may cover more than its paper, and become white too.
    """
    luma, cleaned, *colours = (_means(each) for each in (before, after, *planes))
    white = (cleaned >= _WHITE) & (luma > _DARKEST)
    if white.mean() < _PAPER_SHARE:
        return 1.0, [1.0 for _ in planes]
    luma, cleaned = luma[white], cleaned[white]
    lightest = luma >= np.quantile(luma, 0.9) - _AS_LIGHT
    tints = [float(np.median(colour[white][lightest] / luma[lightest])) for colour in colours]
    return float(np.median(cleaned / luma)), [float(np.clip(tint, 0.25, 4.0)) for tint in tints]


def _means(image: Floats) -> Floats:
    """Return the means of squares of 4x4 pixels, which have less grain; small images as they are."""
    if min(image.shape) < _LEAST:
        return image
    height, width = (length // 4 * 4 for length in image.shape)
    squares = image[:height, :width].reshape(height // 4, 4, width // 4, 4)
    return np.asarray(squares.mean(axis=(1, 3)), np.float32)


def concerns(before: Floats, after: Floats, strength: float = 1.0) -> tuple[str, ...]:
    """Return what a user should know of a page: that it is a photograph, or lost much that is no dirt.

    A photograph has middle tones beside the paper around them, or even areas of them that the network has
    left. Paper is the 90 % quantile of squares a quarter of the page wide, at least of 64 pixels, and of
    their neighbours. Where one tone has most of the pixels, it is the paper, however dark.

    Args:
        before: the page, float32 (H, W) in 0..1.
        after: what the network made of it, not yet blended, float32 (H, W).
        strength: of the blend; whoever has chosen what a concern advises is not told.

    """
    if min(before.shape) < _LEAST:
        return ()
    step = max(1, int(np.sqrt(before.size / _SAMPLES)))
    given, result = before[::step, ::step], after[::step, ::step]
    side = max(_BLOCK, min(before.shape) // 4) // step
    tones = given / np.maximum(_paper(given, max(8, side)), _DARKEST)
    middle = (tones > _MIDDLE[0]) & (tones < _MIDDLE[1])
    areas = _inner((result > _MIDDLE[0]) & (result < _LIGHT), 2)
    if max(middle.mean() / _TOO_MANY, areas.mean() / _AREAS) > 1.0 and _commonest(given) < _ONE_TONE:
        return (PHOTOGRAPH,)
    if strength <= _ADVISED:
        return ()
    white = result >= _WHITE
    # Grain makes single pixels of middle tones. Where all is white, light tones were no paper either.
    gone = _inner((tones > _MIDDLE[0]) & (tones < _LIGHT) & white, 3).mean() if white.mean() > _ALL else 0.0
    if _inner(middle & white, 1).mean() > _TOO_MUCH or gone > _TOO_MUCH:
        return (TONES_REMOVED,)
    return ()


def _inner(mask: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Return a mask (H, W) without the pixels up to `reach` rows or columns from its borders."""
    return np.asarray(~_joined(~mask, reach, np.logical_or))


def _commonest(image: Floats) -> float:
    """Return the largest share of the pixels within 17 neighbouring of 256 levels."""
    levels = np.bincount(np.rint(255 * image).astype(np.intp).ravel(), minlength=256)
    return float(np.convolve(levels, np.ones(17)).max() / image.size)


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
