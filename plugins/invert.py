"""Denoise a negative as the positive it shows: turn it around before, and back after.

    denoise ./negatives --out ./clean --plugin plugins/invert.py
    denoise ./mixed --out ./clean --plugin plugins/invert.py --plugin-option invert.threshold=0.4

Both halves are here because what goes in turned should come out as it was. Leave `postprocess` away to get
positives. Name it before other plugins: both halves then judge the page as it was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from denoiser import hookimpl


@dataclass(frozen=True)
class Options:
    """What counts as a negative."""

    threshold: float = field(
        default=1.0, metadata={"help": "turn pages whose median is at most this, 0..1; 1 turns all"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError("threshold is 0 to 1")


@hookimpl
def preprocess(image: np.ndarray, options: Options) -> np.ndarray | None:
    """Turn dark and light around; `image` is float32 (H, W) in 0..1."""
    return 1.0 - image if np.median(image) <= options.threshold else None


@hookimpl
def postprocess(image: np.ndarray, original: np.ndarray, options: Options) -> np.ndarray | None:
    """Turn back what was turned."""
    return 1.0 - image if np.median(original) <= options.threshold else None
