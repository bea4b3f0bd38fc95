"""How far the file is that a process cleans.

The process that cleans writes a few numbers into memory that it shares with the one that draws the progress.
Neither waits for the other: a reading may be a moment old.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """How far one process is in the file that it cleans.

    Attributes:
        done: bytes of the file that are cleaned, by the share of its pages and patches.
        page, pages: number of the page that is being cleaned, from 1, and how many there are.
        patches, of: patches of the page that are cleaned, and how many there are.

    """

    done: float = 0.0
    page: int = 0
    pages: int = 0
    patches: int = 0
    of: int = 0


Watch = Callable[[Sequence[Reading]], object]
"""Told how far the files are that are being cleaned."""

_BYTES = 8


class Meter:
    """Holds the reading of one process: of this one, or of one that is forked later.

    Args:
        watch: called in the process that writes, with each reading.

    """

    def __init__(self, watch: Watch | None = None) -> None:
        self._numbers = memoryview(mmap.mmap(-1, len(Reading()) * _BYTES)).cast("d")
        self.watch = watch

    def report(self, reading: Reading) -> None:
        """Write a reading."""
        for index, number in enumerate(reading):
            self._numbers[index] = number
        if self.watch is not None:
            self.watch([reading])

    @property
    def reading(self) -> Reading:
        """What was written last."""
        done, *rest = self._numbers
        return Reading(done, *map(int, rest))
