"""Whatever cleans chunks of jobs: this process itself, or others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from denoiser.pipeline.cleaner import Cleaner
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job

Chunk = range
"""Indices of neighbouring jobs that are cleaned together."""


class Pool(Protocol):
    """Cleans chunks of one sequence of jobs, which it knows from the start."""

    @property
    def ready(self) -> bool:
        """Whether it would begin with another chunk soon; more than that should not be submitted."""

    def submit(self, chunk: Chunk) -> None:
        """Accept a chunk."""

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes with their jobs' indices as they come, until all that was submitted is finished.

        More may be submitted meanwhile. Raises the error that no single file is at fault for.
        """

    def close(self) -> list[tuple[int, Outcome]]:
        """End the work; returns the outcomes of files that were finished and not yielded."""


class SerialPool:
    """Cleans in this process, one chunk at a time."""

    def __init__(self, cleaner: Cleaner, jobs: Sequence[Job]) -> None:
        self._cleaner, self._jobs = cleaner, jobs
        self._chunk: Chunk = range(0)

    @property
    def ready(self) -> bool:
        """Whether the last chunk is finished."""
        return not self._chunk

    def submit(self, chunk: Chunk) -> None:
        """Accept a chunk."""
        self._chunk = chunk

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Clean what was submitted."""
        while chunk := self._chunk:
            outcomes = self._cleaner.outcomes(self._jobs[chunk.start : chunk.stop])
            for index, outcome in zip(chunk, outcomes, strict=True):
                if index == chunk[-1]:
                    self._chunk = range(0)
                yield index, outcome

    def close(self) -> list[tuple[int, Outcome]]:
        """Nothing is finished that was not yielded."""
        return []
