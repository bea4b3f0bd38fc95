"""From jobs to results: who cleans them, in which order they are told, and the record that is kept.

Many small files go over processes, and all goes to one where plugins could crash it; everything else is done
in this one. Where a cluster is named, its workers do all of it. The results are the same.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from denoiser.errors import DenoiserError
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.engine import EngineFacts
from denoiser.pipeline.cleaner import Cleaner, Output
from denoiser.pipeline.meter import Watch
from denoiser.pipeline.objects import ObjectJob
from denoiser.pipeline.outcomes import Outcome, Result, Status
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Chunk, Pool, SerialPool, Works
from denoiser.pipeline.record import Record, digest

if TYPE_CHECKING:
    from denoiser.pipeline.cluster import Cluster

GROUP_FILES = 64
SMALL_BYTES = 64 << 10
PROCESSES_FROM = 256
"""So many small files are worth starting processes for: less than half a second in one of them."""

HEAD_FILES = 1_000
"""So many jobs decide who cleans; those that come later are not known then."""

OBJECTS, AHEAD = 256, 3
"""Objects of a chunk, which is one for this long that the last of them is put; and chunks for each core."""

WINDOW_FILES = 16 * GROUP_FILES
"""So many files a core may be finished before the first that is not: the outcomes that wait are bounded."""


Done = Callable[[Job, Outcome], object]
"""Called with each job and how it fared, on the thread that the work was begun on."""


def made_with(denoiser: Denoiser, output: Output) -> str:
    """Return the digest of everything but the input that decides an output."""
    return digest([denoiser.signature, *output.signature])


class Pipeline:
    """Cleans jobs with one denoiser.

    Args:
        denoiser: cleans the pixels.
        output: how results are written.
        record: records finished outputs; None keeps no record.
        cleaner: cleans the files; None: a `Cleaner` with this denoiser.

    """

    def __init__(
        self,
        denoiser: Denoiser,
        output: Output | None = None,
        record: Record | None = None,
        cleaner: Works | None = None,
    ) -> None:
        self._denoiser = denoiser
        self._output = output or Output()
        self._record = record
        self._cleaner: Works = cleaner or Cleaner(denoiser, self._output)
        self._made_with = ""

    @property
    def made_with(self) -> str:
        """Digest of everything but the input that decides an output."""
        if not self._made_with:
            self._made_with = made_with(self._denoiser, self._output)
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

    def run(
        self,
        jobs: Iterable[Job],
        tell: Callable[[Result], None],
        *,
        fail_fast: bool = False,
        cluster: Cluster | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Clean the jobs and tell each result, in order; raises nothing but what stops everything.

        Where it is stopped, files that processes had finished by then are recorded and told, too. Where the
        jobs end with a DenoiserError, those before it are cleaned first.

        Args:
            jobs: the files; they are taken one by one, shortly before their turn.
            tell: called with each result, on this thread.
            fail_fast: whether to stop after the first file that fails.
            cluster: whose workers do the work, prepared for it; None: this machine does.
            watch: called now and then with how far the files are that are being cleaned, on this thread.

        """

        def done(job: Job, outcome: Outcome) -> None:
            status = Status.DONE if outcome.error is None else Status.FAILED
            tell(Result(job.source, job.destination, status, outcome))

        self.work(jobs, done, first=self._record_outcomes, fail_fast=fail_fast, cluster=cluster, watch=watch)

    def work(
        self,
        jobs: Iterable[Job],
        done: Done,
        *,
        first: Callable[[Sequence[tuple[Job, Outcome]]], object] | None = None,
        fail_fast: bool = False,
        cluster: Cluster | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Clean the jobs, and call `done` with each and its outcome, in order; see `run`.

        `first` is called before that with all that come next and are there: what costs much goes once for
        all of them.
        """
        given = _Given(jobs)
        pool, chunks = self._pool(iter(given), cluster, watch)
        window = WINDOW_FILES * (self._denoiser.jobs if cluster is None else cluster.threads)
        pending: dict[int, Job] = {}
        finished: dict[int, Outcome] = {}
        told = known = 0

        def announce(numbers: Sequence[int]) -> None:
            if first is not None and numbers:
                first([(pending[number], finished[number]) for number in numbers])

        try:
            self._submit(pool, chunks, pending, window)
            for number, outcome in pool.outcomes():
                finished[number] = outcome
                if pool.at_hand:
                    continue
                following = range(told, next(each for each in itertools.count(told) if each not in finished))
                announce(following)
                known = following.stop
                while told in finished:
                    # Ctrl-C may come between any two steps: what is counted as told is forgotten later.
                    number, outcome = told, finished[told]
                    told += 1
                    done(pending[number], outcome)
                    del pending[number], finished[number]
                    if fail_fast and outcome.error is not None:
                        return
                self._submit(pool, chunks, pending, window)
        finally:
            finished |= dict(pool.close())
            announce([number for number in sorted(finished) if number >= known])
            for number in sorted(finished):
                if number >= told:
                    done(pending[number], finished[number])
        if given.error is not None:
            raise given.error

    def _submit(self, pool: Pool, chunks: Iterator[Chunk], pending: dict[int, Job], window: int) -> None:
        """Give the pool what it has room for, and record that these outputs are begun."""
        while pool.ready and len(pending) < window:
            chunk = next(chunks, None)
            if chunk is None:
                return
            if self._record is not None:
                self._record.begin(job.relative for job in chunk.jobs)
            pending.update(zip(chunk.numbers, chunk.jobs, strict=True))
            pool.submit(chunk)

    def _pool(
        self, jobs: Iterator[Job], cluster: Cluster | None, watch: Watch | None
    ) -> tuple[Pool, Iterator[Chunk]]:
        """Choose who cleans, and in which chunks: several processes only where there are many small files."""
        head = list(itertools.islice(jobs, HEAD_FILES))
        if cluster is not None:
            from denoiser.pipeline.cluster_pool import ClusterPool, Cutter

            cutter = Cutter(itertools.chain(head, jobs), cluster.threads, files=len(head))
            return ClusterPool(cluster, cutter), cutter
        group = GROUP_FILES
        if head and isinstance(head[0], ObjectJob):
            each = len(head) // (AHEAD * self._denoiser.jobs) if len(head) < HEAD_FILES else OBJECTS
            group = max(16, min(OBJECTS, each))
        sizes = [len(chunk) for chunk in _by_size(head, group)]
        jobs = itertools.chain(head, jobs)
        small = sum(size for size in sizes if size > 1)
        count = min(self._denoiser.jobs, len(sizes)) if small >= PROCESSES_FROM else 1
        if (count > 1 or self._denoiser.plugins.see_images) and self.may_fork():
            from denoiser.pipeline.process_pool import ProcessPool

            if self._output.compare is not None:
                self._output.compare.share()
            if any(engine.name != "numpy" for engine in self._denoiser.engines()):
                count = 1  # a GPU is not for sharing
            if count > 1:
                return ProcessPool(self._cleaner, count, watch=watch), _by_size(jobs, group)
            alone = ProcessPool(self._cleaner, 1, threads=self._denoiser.jobs, watch=watch)
            return alone, _by_number(jobs, group)
        self._cleaner.meter.watch = watch
        return SerialPool(self._cleaner), _by_number(jobs, group)

    def may_fork(self) -> bool:
        """Whether other processes may do the work: a process whose engine has threads can't be forked."""
        engines = self._denoiser.engines()
        if any(engine.name != "numpy" and not isinstance(engine, EngineFacts) for engine in engines):
            return False
        from denoiser.pipeline.process_pool import possible

        return possible()

    def _record_outcomes(self, fared: Sequence[tuple[Job, Outcome]]) -> None:
        """Record how files fared, all of them with one write."""
        with contextlib.nullcontext() if self._record is None else self._record.together():
            for job, outcome in fared:
                fingerprint, written = outcome.fingerprint, outcome.written
                if fingerprint is not None and self._output.compare is not None:
                    self._output.compare.done(
                        job.relative, outcome.compared, job.source, fingerprint, self.made_with
                    )
                if self._record is None:
                    continue
                if fingerprint is None or written is None:
                    self._record.failed(job.relative, job.source, outcome.error)
                else:
                    self._record.done(
                        job.relative, job.source, fingerprint, self.made_with, written, outcome.notes
                    )

    def stream(self, content: bytes) -> tuple[bytes, Outcome]:
        """Clean one image from memory to memory, all its pages; raises FileError."""
        return Cleaner(self._denoiser, self._output).stream(content)


class _Given:
    """Iterates over jobs up to an error by which they end, and keeps that."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = jobs
        self.error: DenoiserError | None = None

    def __iter__(self) -> Iterator[Job]:
        try:
            yield from self._jobs
        except DenoiserError as error:
            self.error = error


def _by_number(jobs: Iterator[Job], files: int) -> Iterator[Chunk]:
    """Cut the jobs into chunks of so many."""
    first = 0
    while group := tuple(itertools.islice(jobs, files)):
        yield Chunk(first, group)
        first += len(group)


def _by_size(jobs: Iterable[Job], files: int) -> Iterator[Chunk]:
    """Cut the jobs into chunks for processes: small files that share batches, each large file by itself."""
    group: list[Job] = []
    first = 0
    for job in jobs:
        large = job.size > SMALL_BYTES
        if group and (large or len(group) >= files):
            yield Chunk(first, tuple(group))
            first += len(group)
            group.clear()
        if large:
            yield Chunk(first, (job,))
            first += 1
        else:
            group.append(job)
    if group:
        yield Chunk(first, tuple(group))
