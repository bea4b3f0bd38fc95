"""From jobs to results: who does them, in which order they are told of, and the record that is kept.

Many small files go over processes, everything else is done in this one; what comes out is the same.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence

from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Cleaner, Outcome, Output
from denoiser.pipeline.outcomes import Result
from denoiser.pipeline.plan import Job
from denoiser.pipeline.record import Record, digest

GROUP_FILES = 64
SMALL_BYTES = 64 << 10
PROCESSES_FROM = 256
"""So many small files are worth starting processes for: less than half a second in one of them."""


class Pipeline:
    """Cleans jobs with one denoiser.

    Args:
        denoiser: what cleans arrays.
        output: how results are written.
        record: where finished outputs are noted; None keeps no record.

    """

    def __init__(
        self, denoiser: Denoiser, output: Output | None = None, record: Record | None = None
    ) -> None:
        self._denoiser = denoiser
        self._output = output or Output()
        self._record = record
        self._cleaner = Cleaner(denoiser, self._output)
        self._made_with = ""
        self.late: list[Result] = []
        """What processes had finished when `run` was ended early: done and recorded, and not yielded."""

    @property
    def made_with(self) -> str:
        """Digest of everything but the input that decides an output."""
        if not self._made_with:
            self._made_with = digest([self._denoiser.signature, self._output.format, self._output.color])
        return self._made_with

    def up_to_date(self, job: Job) -> bool:
        """Whether a job's output exists, complete, made from this input with these settings."""
        if self._record is None:
            return False
        compare = self._output.compare
        if compare is not None and not compare.up_to_date(job.relative, job.source, self.made_with):
            return False
        return self._record.up_to_date(job.relative, job.source, job.destination, self.made_with)

    def run(self, jobs: Sequence[Job]) -> Generator[Result, None, None]:
        """Clean the jobs, yielding one result each, in order; raises nothing but what stops everything.

        Close it where not all results are taken: processes end, and what they had finished is recorded.
        """
        groups = _groups(jobs)
        count = self._processes(groups)
        if count < 2:
            yield from self._alone(jobs)
            return
        from denoiser.pipeline.process_pool import Pool

        pool = Pool(self._cleaner, jobs, groups, count, begin=self._begin)
        try:
            for job, outcome in zip(jobs, pool.outcomes(), strict=True):
                yield self._note(job, outcome)
        finally:
            self.late = [self._note(jobs[index], outcome) for index, outcome in pool.stop()]

    def _alone(self, jobs: Sequence[Job]) -> Iterator[Result]:
        for start in range(0, len(jobs), GROUP_FILES):
            mine = jobs[start : start + GROUP_FILES]
            self._begin(mine)
            for job, outcome in zip(mine, self._cleaner.outcomes(mine), strict=True):
                yield self._note(job, outcome)

    def _processes(self, groups: Sequence[range]) -> int:
        """How many processes to use: 1 unless there are many small files, and processes can be had.

        A GPU is not for sharing, and what was compared is known to one process alone.
        """
        small = sum(len(group) for group in groups if len(group) > 1)
        if small < PROCESSES_FROM or self._output.compare is not None:
            return 1
        engines = self._denoiser.engines()
        if any(engine.name != "numpy" for engine in engines):
            return 1
        from denoiser.pipeline.process_pool import possible

        return min(self._denoiser.jobs, len(groups)) if possible() else 1

    def _begin(self, jobs: Sequence[Job]) -> None:
        if self._record is not None:
            self._record.begin(job.relative for job in jobs)

    def _note(self, job: Job, outcome: Outcome) -> Result:
        stamp, written = outcome.stamp, outcome.written
        if stamp is not None and self._output.compare is not None:
            self._output.compare.done(job.relative, job.source, stamp, self.made_with)
        if self._record is not None:
            if stamp is None or written is None:
                self._record.failed(job.relative, job.source, outcome.result.error)
            else:
                self._record.done(job.relative, job.source, stamp, self.made_with, written)
        return outcome.result

    def stream(self, content: bytes) -> tuple[bytes, Result]:
        """Clean one image from memory to memory, all its pages; raises FileError."""
        return self._cleaner.stream(content)


def _groups(jobs: Sequence[Job]) -> list[range]:
    """Places in `jobs` that are worth a batch together, small files; a large one stays by itself."""
    groups: list[range] = []
    start = 0
    for place, job in enumerate(jobs):
        try:
            size = os.stat(job.source).st_size  # noqa: PTH116 - a third of the time, for every file
        except OSError:
            size = 0
        large = size > SMALL_BYTES
        if place > start and (large or place - start >= GROUP_FILES):
            groups.append(range(start, place))
            start = place
        if large:
            groups.append(range(place, place + 1))
            start = place + 1
    if start < len(jobs):
        groups.append(range(start, len(jobs)))
    return groups
