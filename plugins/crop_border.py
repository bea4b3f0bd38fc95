"""Cut off the black edges that a scanner leaves around a page.

    denoise ./scans --out ./clean --plugin plugins/crop_border.py --plugin-option crop_border.dark=0.3

Rows and columns are cut from the outside for as long as nearly all of their pixels are dark. The output is
smaller than the input where something was cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from denoiser import hookimpl


@dataclass(frozen=True)
class Options:
    """What counts as an edge."""

    dark: float = field(default=0.25, metadata={"help": "pixels below this are dark, 0..1"})
    share: float = field(default=0.9, metadata={"help": "share of a line's pixels that must be dark, 0..1"})
    most: float = field(default=0.2, metadata={"help": "share of the page that a side may lose, 0..0.4"})

    def __post_init__(self) -> None:
        if not (0 <= self.dark <= 1 and 0 < self.share <= 1 and 0 <= self.most <= 0.4):
            raise ValueError("dark is 0 to 1, share above 0 and up to 1, and most 0 to 0.4")


def edge(lines: np.ndarray, most: int) -> int:
    """How many lines from the first are dark, none if there are more than `most`."""
    dark = int(np.argmin(lines)) if not lines.all() else len(lines)
    return dark if dark <= most else 0


@hookimpl
def preprocess(image: np.ndarray, options: Options) -> np.ndarray | None:
    """Cut the four sides; a page that is dark all over stays whole."""
    sides = []
    for axis in (1, 0):
        lines = (image < options.dark).mean(axis=axis) >= options.share
        most = int(options.most * len(lines))
        sides += [edge(lines, most), len(lines) - edge(lines[::-1], most)]
    top, bottom, left, right = sides
    cut = image[top:bottom, left:right]
    return cut if cut.shape != image.shape else None
