"""Many small files over processes: of one process's threads, only one at a time can handle files.

The processes are forked, so that they begin at once, share the models' memory, and have the plugins as they
were loaded. Forking is safe while there is one thread only; where there are more (a plugin may have started
some), or where the system can't fork, one process cleans everything. This process only hands out chunks and
collects the outcomes.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from denoiser.errors import DenoiserError, FileError
from denoiser.pipeline.cleaner import failed
from denoiser.pipeline.meter import Meter, Reading, Watch
from denoiser.pipeline.objects import ObjectJob
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Chunk, Works
from denoiser.plugins.checks import Trace, trace_to
from denoiser.storage.base import Entry
from denoiser.system import atomic
from denoiser.system.interruptions import INTERRUPTIONS, Ending, uninterrupted
from denoiser.system.threads import SILENT_SECONDS, lasting, leave_behind, no_more, say_lasting

AHEAD = 2
"""Chunks a worker has at once: it goes on with the next while this process is busy with the last."""

REPORT_SECONDS = 0.1
WATCH_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1
PATIENCE_SECONDS, PLUGINS_PATIENCE_SECONDS = 10.0, 2.0
"""How long a process that is told to end may take, and how long while it runs a plugin's code."""


def possible() -> bool:
    """Return True if this process can be forked: on Linux, while it has one thread."""
    try:
        return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - as cheap
    except OSError:
        return False


Told = Sequence[tuple[int, Outcome]]


class ProcessPool:
    """Processes that clean chunks of jobs; see `Pool`.

    Args:
        cleaner: does the work; this process's memory is shared with all.
        count: how many processes.
        threads: with how many threads each process computes; None: with one where a chunk has several files,
            else with all.
        watch: called a few times a second with how far each process is in its file.

    """

    def __init__(
        self, cleaner: Works, count: int, *, threads: int | None = None, watch: Watch | None = None
    ) -> None:
        self._cleaner, self._count, self._threads, self._watch = cleaner, count, threads, watch
        self._waiting: deque[Chunk] = deque()
        self._retried: set[int] = set()
        self._workers: list[_Worker] = []
        self._finished: deque[tuple[int, Outcome]] = deque()

    @property
    def ready(self) -> bool:
        """Whether a worker could have another chunk at once."""
        free = len(self._workers) < max(1, self._count) or any(
            len(each.chunks) < AHEAD for each in self._workers
        )
        return free and not self._waiting

    def submit(self, chunk: Chunk) -> None:
        """Accept a chunk."""
        self._waiting.append(chunk)
        self._feed()

    @property
    def at_hand(self) -> int:
        """How many outcomes have been received and not been yielded."""
        return len(self._finished)

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes as they come; raises the error of a worker that no file is at fault for."""
        while True:
            while self._finished:
                yield self._finished.popleft()
            self._feed()
            if not self._workers and self._waiting:
                self._work_here()
                continue
            busy: list[Any] = [worker.pipe for worker in self._workers if worker.chunks]
            if not busy:
                return
            ready = wait(busy, None if self._watch is None else WATCH_SECONDS)
            if self._watch is not None:
                self._watch([worker.meter.reading for worker in self._workers if worker.chunks])
            for worker in [each for each in self._workers if each.pipe in ready]:
                self._receive(worker)

    def _feed(self) -> None:
        """Hand out chunks, to the workers that have fewest first; starts those that are missing."""
        while self._waiting and self._may_start(self._waiting[0]):
            worker = min(self._workers, key=lambda each: len(each.chunks), default=None)
            if len(self._workers) < self._count and (worker is None or worker.chunks):
                others = [each.pipe for each in self._workers]
                try:
                    worker = _Worker(self._cleaner, others, self._threads)
                except OSError as error:
                    no_more(error)
                    self._count = len(self._workers)
                else:
                    self._workers.append(worker)
            if worker is None or len(worker.chunks) >= AHEAD:
                return
            worker.give(self._waiting.popleft())

    def _work_here(self) -> None:
        """Clean the next chunk in this process, as there can be no other, but for files that ended one."""
        chunk = self._waiting.popleft()
        if self._retried.issuperset(chunk.numbers):
            error = FileError("can't be done: the process at it ended, and the system starts no other.")
            outcomes = iter([failed(job, error, time.perf_counter()) for job in chunk.jobs])
        else:
            outcomes = self._cleaner.outcomes(chunk.jobs)
        self._finished += zip(chunk.numbers, outcomes, strict=True)

    def _may_start(self, chunk: Chunk) -> bool:
        """A large file uses all cores and much memory: one at a time. So do files that are retried."""
        return len(chunk) > 1 or not any(len(each) == 1 for worker in self._workers for each in worker.chunks)

    def _receive(self, worker: _Worker) -> None:
        """Receive results from a worker; if it died, reschedule its unfinished files."""
        try:
            with uninterrupted():  # half a message received would be lost, and all after it with it
                self._finished += worker.receive()
        except (EOFError, OSError):
            self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        """Remove a worker that died; each file of its chunk that is unfinished is tried alone, once more."""
        self._workers.remove(worker)
        worker.end()
        unfinished, later = worker.unfinished(), list(worker.chunks)[1:]
        atomic.sweep({job.destination.parent for _, job in unfinished}, own=True)
        alone = []
        for number, job in unfinished:
            if number in self._retried:
                error = FileError(f"can't be done: twice, the process at it {worker.fate()}.")
                self._finished.append((number, failed(job, error, time.perf_counter())))
            else:
                self._retried.add(number)
                alone.append(Chunk(number, (job,)))
        self._waiting.extendleft(reversed([*alone, *later]))

    def close(self) -> list[tuple[int, Outcome]]:
        """End all processes and leave none; returns the outcomes of files that they had finished."""
        for worker in self._workers:
            worker.process.terminate()
        begun = time.monotonic()
        for worker in self._workers:
            with contextlib.suppress(EOFError, OSError, DenoiserError):
                while worker.pipe.poll(max(0.0, begun + worker.patience - time.monotonic())):
                    self._finished += worker.receive()
        names = [name for worker in self._workers if not worker.ends_soon() for name in worker.lasting]
        if names:
            say_lasting(names)
        for worker in self._workers:
            # All have been waited for together.
            if not worker.end(max(SILENT_SECONDS, begun + worker.patience - time.monotonic())):
                atomic.sweep({job.destination.parent for _, job in worker.unfinished()}, own=True)
        self._workers.clear()
        return list(self._finished)


_Packed = tuple[list[tuple[str, list[str]]], list[tuple[int, int, str, bool]]]


def _packed(jobs: Sequence[Job]) -> _Packed:
    """Return the jobs' paths without what they have in common, so that a pipe has room for two chunks."""
    packed = []
    objects = [job for job in jobs if isinstance(job, ObjectJob)]
    for paths in (
        [str(job.source) for job in jobs],
        [str(job.destination) for job in jobs],
        [job.relative for job in jobs],
        [job.entry.key for job in objects],
    ):
        common = os.path.commonprefix(paths)  # noqa: RUF071 - not of folders alone
        packed.append((common, [path[len(common) :] for path in paths]))
    return packed, [(job.root, job.entry.size, job.entry.tag, job.replaces) for job in objects]


def _unpacked(packed: _Packed) -> list[Job]:
    texts = ([common + rest for rest in each] for common, each in packed[0])
    sources, destinations, relatives, keys = texts
    jobs = [
        Job(Path(source), Path(destination), relative)
        for source, destination, relative in zip(sources, destinations, relatives, strict=True)
    ]
    if not keys:
        return jobs
    return [
        ObjectJob(job.source, job.destination, job.relative, root, Entry(key, size, tag), replaces)
        for job, key, (root, size, tag, replaces) in zip(jobs, keys, packed[1], strict=True)
    ]


class _Lasting(NamedTuple):
    """A worker's last word: the names of threads that may keep it from ending."""

    names: tuple[str, ...]


class _Worker:
    """One process, seen from outside."""

    def __init__(self, cleaner: Works, others: Sequence[Connection], threads: int | None) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.chunks: deque[Chunk] = deque()
        self._received = 0
        self._trace = Trace()
        self.lasting: tuple[str, ...] = ()
        self.meter = Meter()
        given = (theirs, [*others, self.pipe], cleaner, threads, self._trace, self.meter)
        self.process = context.Process(target=_serve, args=given, name="denoiser", daemon=True)
        # What is run at a fork by other modules swallows the KeyboardInterrupt of a signal, with a traceback.
        with uninterrupted():
            self.process.start()
        theirs.close()

    def give(self, chunk: Chunk) -> None:
        """Hand over a chunk."""
        self.chunks.append(chunk)
        with contextlib.suppress(OSError):  # dead, which shows when its results are received
            self.pipe.send((chunk.first, _packed(chunk.jobs)))

    def receive(self) -> Told:
        """Receive outcomes; raises the error that the worker sends, EOFError or OSError if it is dead."""
        told: Told | _Lasting | Exception = self.pipe.recv()
        if isinstance(told, Exception):
            raise told
        if isinstance(told, _Lasting):
            self.lasting = told.names
            return []
        self._received += len(told)
        while self.chunks and self._received >= len(self.chunks[0]):
            self._received -= len(self.chunks.popleft())
        return told

    def unfinished(self) -> list[tuple[int, Job]]:
        """Return the jobs of its first chunk whose outcomes were not received, with their numbers."""
        if not self.chunks:
            return []
        chunk = self.chunks[0]
        return list(zip(chunk.numbers, chunk.jobs, strict=True))[self._received :]

    @property
    def patience(self) -> float:
        """How many seconds it may take to end. Plugins can make it deaf, and have nothing to finish."""
        return PLUGINS_PATIENCE_SECONDS if self._trace.read() else PATIENCE_SECONDS

    def ends_soon(self) -> bool:
        """Whether it ends at once; a thread of a plugin there may keep it."""
        if self.lasting:
            self.process.join(SILENT_SECONDS)
        return self.process.exitcode is not None

    def end(self, patience: float | None = None) -> bool:
        """Wait for its end; kill it if that doesn't come, and return False then."""
        self.pipe.close()
        self.process.join(self.patience if patience is None else patience)
        if self.process.exitcode is not None:
            return True
        self.process.kill()
        self.process.join()
        return False

    def fate(self) -> str:
        """Describe how it ended."""
        code = self.process.exitcode or 0
        ended = f"was killed (signal {-code})" if code < 0 else f"ended (exit code {code})"
        where = self._trace.read()
        return f"{ended} in {where}" if where else ended


def _serve(
    pipe: Connection,
    others: Sequence[Connection],
    cleaner: Works,
    threads: int | None,
    trace: Trace,
    meter: Meter,
) -> None:
    """Clean the chunks that come through the pipe until it is closed: the main function of a worker."""
    ending = Ending(held=True)  # what is finished is told, whenever the signal comes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which will say what to do
    signal.signal(signal.SIGTERM, ending)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)  # blocked while it was forked
    for other in others:
        other.close()  # or a parent that is gone would never be noticed
    trace_to(trace)
    cleaner.meter = meter
    gc.freeze()  # what was there before stays shared
    end_with_parent()
    with pipe:
        with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
            _work(pipe, cleaner, threads, ending, meter)
        names = tuple(each.name for each in lasting())
        if names:
            leave_behind(0, say=False)  # the parent says so, unless it is gone
            with contextlib.suppress(OSError):
                pipe.send(_Lasting(names))


def _work(pipe: Connection, cleaner: Works, threads: int | None, ending: Ending, meter: Meter) -> None:
    """Clean the chunks that come; raises what ends that."""
    parent = os.getppid()
    while True:
        with ending.allowed():
            first, packed = pipe.recv()
        jobs = _unpacked(packed)
        # Small files leave the other cores to the other workers; a large one has them all.
        cleaner.threads(threads or (1 if len(jobs) > 1 else None))
        sender, results = _Sender(pipe), iter(cleaner.outcomes(jobs))
        try:
            for number in itertools.count(first):
                with ending.allowed():
                    outcome = next(results, None)
                if outcome is None:
                    break
                meter.report(Reading())  # what is finished is no longer under way
                sender.send(number, outcome)
                if os.getppid() != parent:
                    return
        except DenoiserError as error:
            sender.flush()
            pipe.send(error)
            return
        finally:
            sender.flush()


def end_with_parent() -> None:
    """Have the system send SIGTERM when the parent dies, which may be in the middle of a large file."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


class _Sender:
    """Sends outcomes together, but not so many that anybody has to wait for them."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._ready: list[tuple[int, Outcome]] = []
        self._sent = time.monotonic()

    def send(self, number: int, outcome: Outcome) -> None:
        """Send an outcome, now or soon."""
        self._ready.append((number, outcome))
        if time.monotonic() - self._sent > REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is left."""
        if self._ready:
            self._pipe.send(self._ready)
        self._ready = []
        self._sent = time.monotonic()
