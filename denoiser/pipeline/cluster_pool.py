"""Jobs as tasks of a cluster, and their outcomes, whatever happens to a worker.

The second form of `Pool`; see `denoiser.pipeline.process_pool` for the first. Dask reruns the tasks of a
worker that is lost. A task whose workers die again and again is taken apart, and its files are tried one by
one with nothing beside them, as Dask blames all tasks that such a worker had.
"""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoiser.errors import ClusterError, DenoiserError, FileError
from denoiser.pipeline.cleaner import failed
from denoiser.pipeline.cluster import (
    AGAIN,
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    WORKERLESS_SECONDS,
    Cluster,
    first_line,
    gone,
)
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Chunk
from denoiser.system import atomic

TASK_FILES = 256
TASK_BYTES = 32 << 20
TASK_SECONDS = 5.0
"""A task is at most so many files or bytes of one folder, and should take no longer than this."""

FIRST_BYTES = 1 << 20
"""Size of a task before it is known how fast the workers are."""

DRAIN_SECONDS = 0.05
"""How often a run that is being stopped looks what has been finished."""

AHEAD = 3
"""Tasks in flight for each thread of the workers: none of them waits for this process."""


class Cutter:
    """Cuts jobs into tasks: of one folder, and of the size that takes the workers a few seconds.

    Args:
        jobs: all of them, taken as tasks are asked for.
        threads: how many threads there are to keep busy.
        files: how many jobs there are at least.

    """

    def __init__(self, jobs: Iterator[Job], threads: int, *, files: int = 0) -> None:
        self._jobs, self._threads, self._files = jobs, threads, files
        self._next: Job | None = None
        self._cut = 0
        self._rate = 0.0
        self._sizes: dict[int, int] = {}

    def measured(self, chunk: Chunk, seconds: float) -> None:
        """Take note of how long a task took."""
        size = self._sizes.pop(chunk.first, 0)
        if size:
            rate = seconds / size
            self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate

    @property
    def _most_bytes(self) -> float:
        return min(TASK_BYTES, TASK_SECONDS / self._rate) if self._rate else FIRST_BYTES

    @property
    def _most_files(self) -> int:
        """So many that all threads have something to do, as far as it is known how many there are."""
        return min(TASK_FILES, -(-max(1, self._files, self._cut) // (AHEAD * self._threads)))

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        """Cut the next task; a file that is larger than a task is one by itself."""
        jobs: list[Job] = []
        most_files, most_bytes, total = self._most_files, self._most_bytes, 0
        while len(jobs) < most_files:
            job = self._next or next(self._jobs, None)
            self._next = None
            if job is None:
                break
            size = job.size
            if jobs and (_folder(job) != _folder(jobs[0]) or total + size > most_bytes):
                self._next = job
                break
            jobs.append(job)
            total += size
        if not jobs:
            raise StopIteration
        chunk = Chunk(self._cut, tuple(jobs))
        self._sizes[chunk.first] = total
        self._cut += len(jobs)
        return chunk


class ClusterPool:
    """The workers of a cluster, which clean chunks of jobs; see `Pool`."""

    def __init__(self, cluster: Cluster, cutter: Cutter) -> None:
        self._cluster, self._cutter = cluster, cutter
        self._in_flight: dict[str, tuple[Any, Chunk]] = {}
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._suspects: deque[Chunk] = deque()
        self._finished: deque[tuple[int, Outcome]] = deque()
        self._workers = cluster.look()
        self._seen = time.monotonic()
        self._folders: set[Path] = set()

    @property
    def ready(self) -> bool:
        """Whether the workers' threads should have another task; none while suspects are tried."""
        return not self._suspects and len(self._in_flight) < AHEAD * self._cluster.threads

    def submit(self, chunk: Chunk) -> None:
        """Accept a chunk."""
        future = self._cluster.submit(chunk.jobs)
        self._in_flight[future.key] = future, chunk
        future.add_done_callback(lambda done: self._done.put(done.key))

    @property
    def at_hand(self) -> int:
        """How many outcomes have been received and not been yielded."""
        return len(self._finished)

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes as they come; raises the error that no file is at fault for."""
        while self._in_flight or self._suspects or self._finished:
            while self._finished:
                yield self._finished.popleft()
            if self._suspects and not self._in_flight:
                self.submit(self._suspects.popleft())
                self._receive(alone=True)
            elif self._in_flight:
                self._receive()

    def _receive(self, *, alone: bool = False) -> None:
        """Wait for a task, and take what has become of it; a suspect is waited for to its end."""
        while True:
            if self._cluster.due:
                self._count()
            try:
                key = self._done.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if self._cluster.lost:
                    raise gone() from None
                continue
            if key in self._in_flight:
                self._settle(key, alone=alone)
                return

    def _settle(self, key: str, *, alone: bool = False) -> None:
        """Take what has become of a task. Ctrl-C may come meanwhile: then the task can be taken once more."""
        future, chunk = self._in_flight[key]
        try:
            self._take(future, chunk, alone=alone)
        except KeyboardInterrupt:
            raise
        except BaseException:
            del self._in_flight[key]
            future.release()
            raise
        del self._in_flight[key]
        future.release()

    def _take(self, future: Any, chunk: Chunk, *, alone: bool = False) -> None:
        """Take what has become of a task. Nobody asks for its state, which may be lost with its worker."""
        from concurrent.futures import CancelledError

        import distributed

        self._folders.add(chunk.jobs[0].destination.parent)
        try:
            outcomes, seconds = future.result()
        except distributed.KilledWorker:
            if len(chunk) > 1:
                each = zip(chunk.numbers, chunk.jobs, strict=True)
                self._suspects.extend(Chunk(number, (job,)) for number, job in each)
            elif not alone:
                self._suspects.append(chunk)
            else:
                error = FileError("can't be done: again and again, the worker at it was lost.")
                self._finished.append((chunk.first, failed(chunk.jobs[0], error, time.perf_counter())))
            return
        except DenoiserError:
            raise
        except (CancelledError, distributed.client.FutureCancelledError, OSError, TimeoutError) as error:
            raise gone() from error
        except Exception as error:
            raise ClusterError(
                f"A worker failed: {type(error).__name__}: {first_line(error)}.", AGAIN
            ) from error
        self._cutter.measured(chunk, seconds)
        self._finished += zip(chunk.numbers, outcomes, strict=False)  # fewer where the run is being stopped

    def _count(self) -> None:
        """Count the workers, and remove the temporary files that those left that are lost."""
        now = self._cluster.look()
        if self._workers - now:
            self._sweep()
        self._folders.clear()
        self._workers = now
        if now:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > WORKERLESS_SECONDS:
            raise ClusterError("The cluster has no workers any more.", f"Start some. {AGAIN}")

    def _sweep(self) -> None:
        busy = {chunk.jobs[0].destination.parent for _, chunk in self._in_flight.values()}
        atomic.sweep(self._folders | busy)

    def close(self) -> list[tuple[int, Outcome]]:
        """End the work; returns what is finished after the files that the workers are at, or after 10 s."""
        if not self._cluster.lost:
            try:
                if self._in_flight:
                    self._drain()
                self._count()
            except ClusterError:
                pass  # it is gone meanwhile; what was received stays
        self._in_flight.clear()
        return list(self._finished)

    def _drain(self) -> None:
        """Stop the workers, and receive what they have finished."""
        self._suspects.clear()
        self._cluster.stop()
        until = time.monotonic() + PATIENCE_SECONDS
        while self._in_flight and time.monotonic() < until:
            # Not by the queue: Ctrl-C may have come when a task had been taken from it, and not settled.
            done = [key for key, (future, _) in self._in_flight.items() if future.done()]
            for key in done:
                with contextlib.suppress(DenoiserError):
                    self._settle(key)
            if not done:
                time.sleep(DRAIN_SECONDS)


def _folder(job: Job) -> str:
    return os.path.dirname(job.relative)  # noqa: PTH120 - a string already
