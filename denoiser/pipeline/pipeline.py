"""From jobs to results: who cleans them, in which order they are told, and the record that is kept.

Many small files go over processes, and all goes to one where plugins could crash it; everything else is done
in this one. The results are the same.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence

from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Cleaner, Output
from denoiser.pipeline.outcomes import Outcome, Result, Status
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Chunk, Pool, SerialPool
from denoiser.pipeline.record import Record, digest

GROUP_FILES = 64
SMALL_BYTES = 64 << 10
PROCESSES_FROM = 256
"""So many small files are worth starting processes for: less than half a second in one of them."""

WINDOW_FILES = 16 * GROUP_FILES
"""So many files a core may be finished before the first that is not: the outcomes that wait are bounded."""


class Pipeline:
    """Cleans jobs with one denoiser.

    Args:
        denoiser: cleans the pixels.
        output: how results are written.
        record: records finished outputs; None keeps no record.

    """

    def __init__(
        self, denoiser: Denoiser, output: Output | None = None, record: Record | None = None
    ) -> None:
        self._denoiser = denoiser
        self._output = output or Output()
        self._record = record
        self._cleaner = Cleaner(denoiser, self._output)
        self._made_with = ""

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

    def why_stale(self, job: Job) -> str:
        """Say why a job's output is not up to date, in a few words."""
        if self._record is None:
            return "new"
        return self._record.why_stale(job.relative, job.source, job.destination, self.made_with)

    def run(self, jobs: Sequence[Job], tell: Callable[[Result], None], *, fail_fast: bool = False) -> None:
        """Clean the jobs and tell each result, in order; raises nothing but what stops everything.

        Where it is stopped, files that processes had finished by then are recorded and told, too.

        Args:
            jobs: the files.
            tell: called with each result, on this thread.
            fail_fast: whether to stop after the first file that fails.

        """
        pool, chunks = self._pool(jobs)
        finished: dict[int, Outcome] = {}
        told = 0
        try:
            self._submit(pool, chunks, jobs, told)
            for index, outcome in pool.outcomes():
                finished[index] = outcome
                while told in finished:
                    result = self._record_outcome(jobs[told], finished.pop(told))
                    told += 1
                    tell(result)
                    if fail_fast and result.status is Status.FAILED:
                        return
                self._submit(pool, chunks, jobs, told)
        finally:
            drained = finished | dict(pool.close())
            for index in sorted(drained):
                tell(self._record_outcome(jobs[index], drained[index]))

    def _submit(self, pool: Pool, chunks: deque[Chunk], jobs: Sequence[Job], told: int) -> None:
        """Give the pool what it has room for, and record that these outputs are begun."""
        while chunks and pool.ready and chunks[0].start < told + WINDOW_FILES * self._denoiser.jobs:
            chunk = chunks.popleft()
            if self._record is not None:
                self._record.begin(job.relative for job in jobs[chunk.start : chunk.stop])
            pool.submit(chunk)

    def _pool(self, jobs: Sequence[Job]) -> tuple[Pool, deque[Chunk]]:
        """Choose who cleans, and in which chunks: several processes only where there are many small files."""
        chunks = _chunks(jobs)
        small = sum(len(chunk) for chunk in chunks if len(chunk) > 1)
        count = min(self._denoiser.jobs, len(chunks)) if small >= PROCESSES_FROM else 1
        starts = range(0, len(jobs), GROUP_FILES)
        alone = deque(range(start, min(start + GROUP_FILES, len(jobs))) for start in starts)
        if (count > 1 or self._has_plugins()) and self._may_fork():
            from denoiser.pipeline.process_pool import ProcessPool

            if count > 1:
                return ProcessPool(self._cleaner, jobs, count), deque(chunks)
            return ProcessPool(self._cleaner, jobs, 1, threads=self._denoiser.jobs), alone
        return SerialPool(self._cleaner, jobs), alone

    def _may_fork(self) -> bool:
        """Whether other processes may do the work.

        A GPU is not for sharing, and what was compared is known to one process alone.
        """
        if self._output.compare is not None:
            return False
        if any(engine.name != "numpy" for engine in self._denoiser.engines()):
            return False
        from denoiser.pipeline.process_pool import possible

        return possible()

    def _has_plugins(self) -> bool:
        """Whether plugins see the images: should one crash its process, another process must be left."""
        hooks = {hook for plugin in self._denoiser.plugins.loaded for hook in plugin.hooks}
        return bool(hooks - {"register_noise"})

    def _record_outcome(self, job: Job, outcome: Outcome) -> Result:
        """Record how a file fared; returns that with the file's names."""
        fingerprint, written = outcome.fingerprint, outcome.written
        if fingerprint is not None and self._output.compare is not None:
            self._output.compare.done(job.relative, job.source, fingerprint, self.made_with)
        if self._record is not None:
            if fingerprint is None or written is None:
                self._record.failed(job.relative, job.source, outcome.error)
            else:
                self._record.done(job.relative, job.source, fingerprint, self.made_with, written)
        status = Status.DONE if outcome.error is None else Status.FAILED
        return Result(job.source, job.destination, status, outcome)

    def stream(self, content: bytes) -> tuple[bytes, Outcome]:
        """Clean one image from memory to memory, all its pages; raises FileError."""
        return self._cleaner.stream(content)


def _chunks(jobs: Sequence[Job]) -> list[Chunk]:
    """Cut the jobs into chunks for processes: small files that share batches, each large file by itself."""
    chunks: list[Chunk] = []
    start = 0
    for index, job in enumerate(jobs):
        try:
            size = os.stat(job.source).st_size  # noqa: PTH116 - a third of the time, for every file
        except OSError:
            size = 0
        large = size > SMALL_BYTES
        if index > start and (large or index - start >= GROUP_FILES):
            chunks.append(range(start, index))
            start = index
        if large:
            chunks.append(range(index, index + 1))
            start = index + 1
    if start < len(jobs):
        chunks.append(range(start, len(jobs)))
    return chunks
