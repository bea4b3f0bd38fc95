"""Schedules of the learning rate, as a share of its peak."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "constant"]

WARM_UP = {"cosine": 500, "constant": 200}
"""Number of steps in which the rate rises from zero to its peak."""

DECAY = 0.15
"""The part of a constant schedule, at its end or after a branch, in which the rate falls to nothing."""


def share(schedule: Schedule, step: int, fraction: float) -> float:
    """Return the share of the peak rate after so many steps and at such a fraction of the budget.

    "cosine" falls from the warm-up to the end (Loshchilov and Hutter, 2017). "constant" stays until the last
    15 %, and falls to nothing there (Hägele et al., "Scaling laws and compute-optimal training beyond fixed
    training durations", 2024), so that the same training can go on longer from before its fall.
    """
    steps = (step + 1) / WARM_UP[schedule]
    if schedule == "constant":
        return min(1.0, steps) * min(1.0, max(0.0, 1.0 - fraction) / DECAY)
    return min(1.0, max(steps, fraction / 0.05)) * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction)))
