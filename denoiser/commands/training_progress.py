"""How far a training is: a bar on a terminal, a line a minute in a pipe or a log file."""

from __future__ import annotations

import time
from collections.abc import Callable

from denoiser.progress import NullProgress, Progress, progress_for, write_above

EVERY = 60.0
"""Seconds between two lines."""


class Lines:
    """A line of text every so many seconds, for stderr that no person watches."""

    def __init__(
        self,
        write: Callable[[str], None] = write_above,
        clock: Callable[[], float] = time.monotonic,
        every: float | None = None,
    ) -> None:
        self._write, self._clock = write, clock
        self._every = EVERY if every is None else every
        self._total, self._text = 1.0, ""
        self._begun = self._told = 0.0
        self._first: float | None = None

    def start(self, total: float, unit: str, text: str) -> None:  # noqa: ARG002 - a Progress has it
        """Begin to count."""
        self._total, self._text = total, text[:1].upper() + text[1:]
        self._begun = self._told = self._clock()

    def update(self, done: float, text: str = "") -> None:
        """Write a line if one is due."""
        now = self._clock()
        if self._first is None:
            self._first = done  # above 0 if the training was resumed
        if now - self._told < self._every:
            return
        self._told = now
        parts = [f"{self._text}: {100.0 * done / self._total:.0f} %", *([text] if text else [])]
        if done > self._first:
            left = (now - self._begun) * (self._total - done) / (done - self._first)
            parts.append("less than a minute left" if left < 60 else f"about {left / 60:.0f} min left")
        self._write(", ".join(parts))

    def finish(self) -> None:
        """End."""


def training_progress(*, quiet: bool) -> Progress:
    """Return the progress of a training for this stderr."""
    progress = progress_for(quiet=quiet)
    return Lines() if isinstance(progress, NullProgress) and not quiet else progress
