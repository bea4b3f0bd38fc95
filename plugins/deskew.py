"""Turn a scanned page so that its lines of text lie level.

    denoise ./scans --out ./clean --plugin plugins/deskew.py --plugin-option deskew.limit=3

Level lines make the sums of the rows jump between ink and paper. The angle at which they jump most is looked
for on a small copy, coarsely and then finely; a page where no angle stands out stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from denoiser import hookimpl

SIDE = 600
STANDS_OUT = 1.1


@dataclass(frozen=True)
class Options:
    """How far a page may be turned."""

    limit: float = field(default=5.0, metadata={"help": "largest angle looked for, in degrees"})

    def __post_init__(self) -> None:
        if not 0 < self.limit <= 45:
            raise ValueError("limit is an angle above 0 and up to 45")


def turned(image: np.ndarray, angle: float) -> np.ndarray:
    """Turn float32 (H, W) by degrees, counter-clockwise; the corners get the page's median."""
    paper = float(np.median(image))
    page = Image.fromarray(image).rotate(angle, Image.Resampling.BICUBIC, fillcolor=paper)
    return np.asarray(page).clip(0.0, 1.0)


def score(image: np.ndarray, angle: float) -> float:
    """How much the sums of neighbouring rows differ once the image is turned."""
    return float(np.square(np.diff(turned(image, angle).sum(axis=1))).sum())


def slant(image: np.ndarray, limit: float) -> float:
    """The angle in degrees that levels the page, 0 where none stands out."""
    factor = max(1, max(image.shape) // SIDE)
    height, width = (side // factor * factor for side in image.shape)
    small = image[:height, :width].reshape(height // factor, factor, width // factor, factor).mean((1, 3))
    best = 0.0
    for reach, step in ((limit, 0.5), (0.5, 0.1)):
        angles = np.arange(-reach, reach + step / 2, step) + best
        best = float(max(angles, key=lambda angle: score(small, angle)))
    # Turning blurs, which level pages are spared.
    if abs(best) < 0.1 or score(small, best) < STANDS_OUT * score(small, 0.0):
        return 0.0
    return best


@hookimpl
def preprocess(image: np.ndarray, options: Options) -> np.ndarray | None:
    """Level the page; its size stays."""
    angle = slant(image, options.limit)
    return turned(image, angle) if angle else None
