"""Many small files over processes: of one process's threads, only one at a time can handle files.

The processes are forked, so that they begin at once, share the models' memory, and have the plugins as they
were loaded. Forking is safe while there is one thread only; where there are more (a plugin may have started
some), or where the system can't fork, one process does it all. This process only hands out work and collects
what came of it, in order.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from denoiser.errors import DenoiserError, FileError
from denoiser.pipeline.cleaner import Cleaner, Outcome, failed
from denoiser.pipeline.outcomes import Result, Status
from denoiser.pipeline.plan import Job
from denoiser.pipeline.record import Stamp
from denoiser.plugins.checks import Trace, trace_to
from denoiser.system import atomic
from denoiser.system.threads import no_more

Packed = tuple[Any, ...]

AHEAD = 2
"""Tasks a worker has at once: it goes on with the next while this process is busy with the last."""

WINDOW = 16
"""So many tasks a worker may be done before the first of them that is not: what waits here is bounded."""

_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
REPORT_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
PATIENCE_SECONDS = 10.0


def possible() -> bool:
    """Whether this process can be forked: on Linux, while it has one thread."""
    try:
        return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - as cheap
    except OSError:
        return False


class Pool:
    """Processes that clean one sequence of jobs.

    Args:
        cleaner: does the work; this process's memory is shared with all.
        jobs: all of them.
        tasks: ranges of places in `jobs`, in order, each done by one process at a time.
        count: how many processes.
        begin: called here with a task's jobs before a process has them.
        threads: with how many threads each process computes; None: with one where a task has several files,
            else with all.

    """

    def __init__(
        self,
        cleaner: Cleaner,
        jobs: Sequence[Job],
        tasks: Sequence[range],
        count: int,
        *,
        begin: Callable[[Sequence[Job]], None],
        threads: int | None = None,
    ) -> None:
        self._threads = threads
        self._cleaner, self._jobs, self._begin, self._count = cleaner, jobs, begin, count
        self._waiting = deque(tasks)
        self._again: set[int] = set()
        self._workers: list[_Worker] = []
        self._done: dict[int, Outcome] = {}
        self._next = 0

    def outcomes(self) -> Iterator[Outcome]:
        """Give every job's outcome, in order; raises what no file is at fault for."""
        while self._next < len(self._jobs):
            self._feed()
            if not self._workers:
                self._work_here()
            busy: list[Any] = [worker.pipe for worker in self._workers if worker.tasks]
            ready = wait(busy) if busy else ()
            for worker in [each for each in self._workers if each.pipe in ready]:
                self._hear(worker)
            while self._next in self._done:
                outcome = self._done.pop(self._next)
                self._next += 1
                yield outcome

    def _feed(self) -> None:
        """Give every worker something to do, starting those that are missing."""
        while len(self._workers) < min(self._count, len(self._waiting)):
            try:
                others = [each.pipe for each in self._workers]
                worker = _Worker(self._cleaner, self._jobs, others, self._threads)
            except OSError as error:
                no_more(error)
                self._count = len(self._workers)
                break
            self._workers.append(worker)
        limit = self._next + WINDOW * self._count * max(map(len, self._waiting), default=1)
        for depth in range(AHEAD):
            for worker in self._workers:
                if not self._waiting or self._waiting[0].start >= limit:
                    return
                if len(worker.tasks) == depth and self._may_have(self._waiting[0]):
                    task = self._waiting.popleft()
                    if not self._again.issuperset(task):
                        self._begin(self._jobs[task.start : task.stop])
                    worker.give(task)

    def _work_here(self) -> None:
        """Do the next task in this process, as there can be no other, but for files that have ended one."""
        task = self._waiting.popleft()
        jobs = self._jobs[task.start : task.stop]
        if self._again.issuperset(task):
            error = FileError("can't be done: the process at it ended, and the system starts no other.")
            self._done.update(
                (place, failed(self._jobs[place], error, time.perf_counter())) for place in task
            )
            return
        self._begin(jobs)
        for place, outcome in enumerate(self._cleaner.outcomes(jobs), task.start):
            self._done[place] = outcome

    def _may_have(self, task: range) -> bool:
        """A large file uses all cores and much memory: one at a time. So are those that are tried again."""
        return len(task) > 1 or not any(len(each) == 1 for worker in self._workers for each in worker.tasks)

    def _hear(self, worker: _Worker) -> None:
        """Receive results from a worker; if it died, reschedule its unfinished files."""
        try:
            told = worker.hear()
        except (EOFError, OSError):
            self._bury(worker)
            return
        self._take(told)

    def _take(self, told: Sequence[tuple[int, Packed]]) -> None:
        for place, packed in told:
            self._done[place] = _unpacked(self._jobs[place], packed)

    def _bury(self, worker: _Worker) -> None:
        """Replace a worker that died, and have each of the files that it was at tried alone, once more."""
        self._workers.remove(worker)
        worker.end()
        left, later = worker.left(), list(worker.tasks)[1:]
        atomic.sweep({self._jobs[place].destination.parent for place in left})
        alone = []
        for place in left:
            if place in self._again:
                error = FileError(f"can't be done: twice, the process at it {worker.fate()}.")
                self._done[place] = failed(self._jobs[place], error, time.perf_counter())
            else:
                self._again.add(place)
                alone.append(range(place, place + 1))
        self._waiting.extendleft(reversed([*alone, *later]))

    def stop(self) -> list[tuple[int, Outcome]]:
        """End all processes and leave none; returns what they had finished and nobody was told of."""
        for worker in self._workers:
            worker.process.terminate()
        until = time.monotonic() + PATIENCE_SECONDS
        for worker in self._workers:
            with contextlib.suppress(EOFError, OSError, DenoiserError):
                while worker.pipe.poll(max(0.0, until - time.monotonic())):
                    self._take(worker.hear())
            worker.end()
        self._workers.clear()
        finished, self._done = self._done, {}
        return sorted(finished.items())


class _Worker:
    """One process, seen from outside."""

    def __init__(
        self, cleaner: Cleaner, jobs: Sequence[Job], others: Sequence[Connection], threads: int | None
    ) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.tasks: deque[range] = deque()
        self._told = 0
        self._trace = Trace()
        given = (theirs, [*others, self.pipe], cleaner, jobs, threads, self._trace)
        self.process = context.Process(target=_serve, args=given, name="denoiser", daemon=True)
        # What is run at a fork by other modules swallows the KeyboardInterrupt of a signal, with a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, task: range) -> None:
        """Hand over a task."""
        self.tasks.append(task)
        with contextlib.suppress(OSError):  # dead, which shows when it is heard
            self.pipe.send((task.start, task.stop))

    def hear(self) -> Sequence[tuple[int, Packed]]:
        """Take the outcomes that it sends; raises what it raised, EOFError or OSError where it is dead."""
        told = self.pipe.recv()
        if isinstance(told, Exception):
            raise told
        self._told += len(told)
        while self.tasks and self._told >= len(self.tasks[0]):
            self._told -= len(self.tasks.popleft())
        return told  # type: ignore[no-any-return]

    def left(self) -> Sequence[int]:
        """Places of its first task that it has told nothing of."""
        return self.tasks[0][self._told :] if self.tasks else ()

    def end(self) -> None:
        """Wait for its end, and bring it about if it doesn't come."""
        self.pipe.close()
        self.process.join(PATIENCE_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()

    def fate(self) -> str:
        """How it ended, in words."""
        code = self.process.exitcode or 0
        ended = f"was killed (signal {-code})" if code < 0 else f"ended (exit code {code})"
        where = self._trace.read()
        return f"{ended} in {where}" if where else ended


class _Ending:
    """What SIGTERM does in a worker: it ends the work at once, but not the telling of what was done."""

    def __init__(self) -> None:
        self.asked = False
        self._held = False

    def __call__(self, *_: object) -> None:
        self.asked = True
        if not self._held:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it back for as long as the block lasts."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.asked:
            raise KeyboardInterrupt


def _serve(
    pipe: Connection,
    others: Sequence[Connection],
    cleaner: Cleaner,
    jobs: Sequence[Job],
    threads: int | None,
    trace: Trace,
) -> None:
    """Be a worker: do what comes through the pipe until it is closed."""
    ending = _Ending()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which will say what to do
    signal.signal(signal.SIGTERM, ending)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTIONS)  # blocked while it was forked
    for other in others:
        other.close()  # or a parent that is gone would never be noticed
    trace_to(trace)
    gc.freeze()  # what was there before stays shared
    parent = os.getppid()
    _end_with_parent()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            start, stop = pipe.recv()
            # Small files leave the other cores to the other workers; a large one has them all.
            cleaner.threads(threads or (1 if stop - start > 1 else None))
            teller = _Teller(pipe, ending)
            try:
                for place, outcome in enumerate(cleaner.outcomes(jobs[start:stop]), start):
                    teller.tell(place, outcome)
                    if os.getppid() != parent:
                        return
            except DenoiserError as error:
                with ending.held():
                    pipe.send(error)
                return
            finally:
                teller.flush()


def _end_with_parent() -> None:
    """Have the system send SIGTERM when the parent dies, which may be in the middle of a large file."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


class _Teller:
    """Sends outcomes together, but not so many that anybody has to wait for them."""

    def __init__(self, pipe: Connection, ending: _Ending) -> None:
        self._pipe, self._ending = pipe, ending
        self._ready: list[tuple[int, Packed]] = []
        self._sent = time.monotonic()

    def tell(self, place: int, outcome: Outcome) -> None:
        """Send an outcome, now or soon."""
        self._ready.append((place, _packed(outcome)))
        if time.monotonic() - self._sent > REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is left."""
        with self._ending.held():
            if self._ready:
                self._pipe.send(self._ready)
            self._ready = []
            self._sent = time.monotonic()


def _packed(outcome: Outcome) -> Packed:
    """An outcome without what its job says; pickling paths would take longer than all the rest."""
    result, stamp = outcome.result, outcome.stamp
    return (
        result.pages,
        dict(result.models),
        result.notes,
        result.error,
        result.noise,
        result.seconds,
        outcome.written,
        None if stamp is None else (stamp.size, stamp.mtime_ns, stamp.sha256),
    )


def _unpacked(job: Job, packed: Packed) -> Outcome:
    pages, models, notes, error, noise, seconds, written, stamp = packed
    status = Status.DONE if error is None else Status.FAILED
    result = Result(job.source, job.destination, status, pages, models, notes, error, noise, seconds)
    return Outcome(result, None if stamp is None else Stamp(*stamp), written)
