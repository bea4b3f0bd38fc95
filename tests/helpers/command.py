"""What a call of the command comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What a call of the command came to."""

    code: int
    out: str
    err: str


Denoise = Callable[..., Outcome]
