"""A pipeline in a process of its own, which is forked before this one has threads.

Libraries that speak to storages start threads, and a process that has some can't be forked safely. So the
process that lists objects and keeps the record is this one, and the one that cleans, and forks others for it,
is another, which has none.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from multiprocessing.connection import Connection, wait
from typing import Any

from denoiser.errors import DenoiserError
from denoiser.pipeline.meter import Reading, Watch
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.pipeline import Done, Pipeline
from denoiser.pipeline.plan import Job
from denoiser.pipeline.process_pool import end_with_parent
from denoiser.system.interruptions import INTERRUPTIONS, Ending, uninterrupted
from denoiser.system.threads import PATIENCE_SECONDS

BLOCK = 64
"""Jobs that are handed over at once."""


class _Kind(Enum):
    """What a message is: from the process that cleans, or to it."""

    RUN = auto()
    MORE = auto()
    RESULT = auto()
    READINGS = auto()
    END = auto()


_Message = tuple[_Kind, Any]


class Apart:
    """A pipeline in another process, with the same `work`. Make it while this process has one thread.

    A context manager; the process ends with it.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._received: deque[_Message] = deque()
        self._process = context.Process(target=_serve, args=(theirs, self._pipe, pipeline), name="denoiser")
        with uninterrupted():
            self._process.start()
        theirs.close()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(PATIENCE_SECONDS)
        if self._process.exitcode is None:  # a thread of a plugin keeps it, or its storage
            self._process.kill()
            self._process.join()

    def work(
        self,
        jobs: Iterable[Job],
        done: Done,
        *,
        fail_fast: bool = False,
        watch: Watch | None = None,
    ) -> None:
        """Clean the jobs, and call `done` with each and its outcome, in order; see `Pipeline.work`."""
        given, failure = iter(jobs), deque[DenoiserError](maxlen=1)
        told: deque[tuple[Job, Outcome]] = deque()
        self._send((_Kind.RUN, (fail_fast, watch is not None)))
        try:
            while (message := self._receive()) is not None:
                kind, content = message
                if kind is _Kind.MORE:
                    self._send((kind, _block(given, failure)))
                elif kind is _Kind.READINGS and watch is not None:
                    watch(content)
                elif kind is _Kind.RESULT:
                    told.append(content)
                    done(*told.popleft())
                elif kind is _Kind.END:
                    _raise(content, failure)
                    return
            raise DenoiserError("The process that cleans was killed.", "The same command goes on from here.")
        except BaseException:
            self._stop(told, done)
            raise

    def _stop(self, told: deque[tuple[Job, Outcome]], done: Done) -> None:
        """Have it stop, and tell what is finished."""
        if self._process.exitcode is None and self._process.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self._process.pid, signal.SIGTERM)
        while (message := self._receive()) is not None and message[0] is not _Kind.END:
            if message[0] is _Kind.MORE:
                self._send((_Kind.MORE, []))
            elif message[0] is _Kind.RESULT:
                told.append(message[1])
        while told:
            done(*told.popleft())

    def _send(self, message: _Message) -> None:
        with contextlib.suppress(OSError):  # dead, which shows when something is received
            self._pipe.send(message)

    def _receive(self) -> _Message | None:
        """Receive a message, whole even where it is interrupted; None if the process is gone."""
        if not self._received:
            wait([self._pipe])
            try:
                with uninterrupted():
                    self._received.append(self._pipe.recv())
            except (EOFError, OSError):
                return None
        return self._received.popleft()


def _block(jobs: Iterator[Job], failure: deque[DenoiserError]) -> list[Job]:
    """Take a few jobs, none at the end; an error by which they end is kept for later."""
    block: list[Job] = []
    try:
        for job in itertools.islice(jobs, BLOCK):
            block.append(job)
    except DenoiserError as error:
        failure.append(error)
    return block


def _raise(error: BaseException | None, failure: deque[DenoiserError]) -> None:
    """Raise what ended the work, or the jobs."""
    if error is not None:
        raise error
    if failure:
        raise failure[0]


def _tell(pipe: Connection, ending: Ending, message: _Message) -> None:
    """Send a message, whole."""
    with ending.held():
        pipe.send(message)


def _serve(pipe: Connection, other: Connection, pipeline: Pipeline) -> None:
    """Clean the jobs that come through the pipe: the main function of the other process."""
    ending = Ending()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which will say what to do
    signal.signal(signal.SIGTERM, ending)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)
    other.close()  # or a parent that is gone would never be noticed
    end_with_parent()

    def jobs() -> Iterator[Job]:
        while True:
            _tell(pipe, ending, (_Kind.MORE, None))
            _, block = pipe.recv()
            if not block:
                return
            yield from block

    def done(job: Job, outcome: Outcome) -> None:
        _tell(pipe, ending, (_Kind.RESULT, (job, outcome)))

    def watch(readings: Sequence[Reading]) -> None:
        _tell(pipe, ending, (_Kind.READINGS, readings))

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        _, (fail_fast, watched) = pipe.recv()
        failure: BaseException | None = None
        try:
            pipeline.work(jobs(), done, fail_fast=fail_fast, watch=watch if watched else None)
        except (Exception, KeyboardInterrupt) as error:
            failure = error
        _tell(pipe, ending, (_Kind.END, failure))
