"""Make gray or unevenly lit paper white, and leave the ink.

    denoise ./scans --out ./clean --plugin plugins/whiten.py --plugin-option whiten.block=100

The paper's tone is taken in every block of the page, as the tone that most of its light pixels have, and
drawn smoothly over the page; dividing by it makes paper 1. Meant for pages with dark text on light paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from denoiser import hookimpl


@dataclass(frozen=True)
class Options:
    """How the paper is found."""

    block: int = field(default=64, metadata={"help": "side of a block in pixels, larger than a letter"})
    share: float = field(
        default=0.8, metadata={"help": "this share of a block's pixels is darker than its paper, 0..1"}
    )
    white: float = field(default=0.95, metadata={"help": "what is lighter than this part of paper is white"})

    def __post_init__(self) -> None:
        if self.block < 1 or not 0 <= self.share <= 1 or not 0 < self.white <= 1:
            raise ValueError("block is 1 or more, share 0 to 1, and white above 0 and up to 1")


def paper(image: np.ndarray, block: int, share: float) -> np.ndarray:
    """The tone of the paper at every pixel, float32 (H, W)."""
    height, width = image.shape
    rows, columns = max(1, height // block), max(1, width // block)
    tones = np.array(
        [
            [np.quantile(part, share) for part in np.array_split(band, columns, axis=1)]
            for band in np.array_split(image, rows, axis=0)
        ],
        np.float32,
    )
    smooth = Image.fromarray(tones).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(smooth).clip(0.05, 1.0)


@hookimpl
def postprocess(image: np.ndarray, options: Options) -> np.ndarray:
    """Divide by the paper's tone; what is lighter becomes white."""
    return np.clip(image / (options.white * paper(image, options.block, options.share)), 0.0, 1.0)
