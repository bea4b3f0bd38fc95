"""Whatever cleans chunks of jobs: this process itself, or others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from denoiser.pipeline.meter import Meter
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job


@dataclass(frozen=True)
class Chunk:
    """Neighbouring jobs that are cleaned together; `first` is the number of the first of them in the run."""

    first: int
    jobs: tuple[Job, ...]

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def numbers(self) -> range:
        """Numbers of the jobs in the run."""
        return range(self.first, self.first + len(self.jobs))


class Works(Protocol):
    """Cleans jobs in one process."""

    @property
    def meter(self) -> Meter:
        """Told how far each file is."""

    @meter.setter
    def meter(self, meter: Meter) -> None: ...

    def threads(self, count: int | None) -> None:
        """Compute on so many threads from now on; None: as many as there are for it."""

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield one outcome for each job, in order; raises nothing but what stops everything."""


class Pool(Protocol):
    """Cleans chunks of jobs. How many will come is not known from the start."""

    @property
    def ready(self) -> bool:
        """Whether it would begin with another chunk soon; more than that should not be submitted."""

    def submit(self, chunk: Chunk) -> None:
        """Accept a chunk."""

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes with their jobs' numbers as they come, until all that was submitted is finished.

        More may be submitted meanwhile. Raises the error that no single file is at fault for.
        """

    @property
    def at_hand(self) -> int:
        """How many outcomes are there already, which `outcomes` yields without waiting."""

    def close(self) -> list[tuple[int, Outcome]]:
        """End the work; returns the outcomes of files that were finished and not yielded."""


class SerialPool:
    """Cleans in this process, one chunk at a time."""

    def __init__(self, cleaner: Works) -> None:
        self._cleaner = cleaner
        self._chunk: Chunk | None = None

    @property
    def ready(self) -> bool:
        """Whether the last chunk is finished."""
        return self._chunk is None

    def submit(self, chunk: Chunk) -> None:
        """Accept a chunk."""
        self._chunk = chunk

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Clean what was submitted."""
        while (chunk := self._chunk) is not None:
            last = chunk.numbers[-1]
            for number, outcome in zip(chunk.numbers, self._cleaner.outcomes(chunk.jobs), strict=True):
                if number == last:
                    self._chunk = None
                yield number, outcome

    @property
    def at_hand(self) -> int:
        """None: each outcome is worked for when it is asked for."""
        return 0

    def close(self) -> list[tuple[int, Outcome]]:
        """Nothing is finished that was not yielded."""
        return []
