"""Objects to objects in one process: fetch, clean as files, put.

Whoever cleans opens the storages itself, by their names and with what its own environment says: only names
travel between processes and machines. While files are cleaned, the next are fetched and the last are put, by
threads. Files of this machine are read and written in place.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from denoiser.errors import reason
from denoiser.pipeline.cleaner import Cleaner
from denoiser.pipeline.meter import Meter
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job
from denoiser.pipeline.walk import MadeWhenAsked
from denoiser.storage.base import Entry, ExistsError, MissingError, Storage, StorageError, name_of
from denoiser.storage.local import LocalStorage

MOST_LOST = THREADS = 16
"""Objects that are fetched or put at once: most of the time of each is waiting. When so many fail, one after
the other, the storage is lost."""

AHEAD_BYTES = 32 << 20
"""So much is fetched ahead of what is being cleaned: as little as there is room for on any disk."""

GROUP_FILES = 64
"""Files that may share a batch: the first of them are cleaned while the others are fetched."""

NOWHERE = Path(os.devnull, "object")
"""The path of an object, which is on no disk of this machine, nor is its folder."""


class Places(NamedTuple):
    """Where objects come from, and where they go: paths or URLs."""

    roots: tuple[str, ...]
    out: str


@dataclass(frozen=True)
class ObjectJob(Job):
    """An object to clean.

    Attributes:
        source, destination: as for a file; NOWHERE for an object.
        relative: key of the output.
        root: number of the input that it belongs to.
        entry: the object, as it was listed.
        replaces: whether an output may be replaced that is there.

    """

    root: int
    entry: Entry
    replaces: bool

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.entry.size


@dataclass
class _Move:
    """An object on its way.

    Attributes:
        job: what is to be done.
        source, output: files on this machine.
        read: the object, as it was read.
        fetched: the fetching, which gives that.
        put: the putting, which gives what was written.
        error: why it could not be fetched.

    """

    job: ObjectJob
    source: Path
    output: Path
    read: Entry
    fetched: Future[Entry] | None = None
    put: Future[Entry] | None = None
    error: str | None = None


class ObjectCleaner:
    """Cleans objects as `Cleaner` does files.

    Args:
        cleaner: cleans the files.
        places: where objects come from and go to.
        open_storage: opens one of these, in the process that cleans.
        scratch: a folder for files that are on their way; None: that of the system.
        stopped: asked after each file whether to begin no other; those that are cleaned are put.

    """

    def __init__(
        self,
        cleaner: Cleaner,
        places: Places,
        open_storage: Callable[[str], Storage],
        scratch: Path | None = None,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._cleaner, self._places, self._open = cleaner, places, open_storage
        self._scratch, self._stopped = scratch, stopped
        self._roots: list[Storage] = []
        self._process = 0
        self._out: Storage
        self._lost = 0

    @property
    def meter(self) -> Meter:
        """Told how far each file is."""
        return self._cleaner.meter

    @meter.setter
    def meter(self, meter: Meter) -> None:
        self._cleaner.meter = meter

    def threads(self, count: int | None) -> None:
        """Compute on so many threads from now on; see `Cleaner`."""
        self._cleaner.threads(count)

    def open(self) -> tuple[Sequence[Storage], Storage]:
        """Return the storages of the inputs and of the output, opened once in each process.

        Raises StorageError if one can't be.
        """
        if self._process != os.getpid():  # connections are not for sharing
            self._roots = [self._open(root) for root in self._places.roots]
            self._out = self._open(self._places.out)
            self._process = os.getpid()
        return self._roots, self._out

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Clean objects; yields one outcome each, in order, once it is put; fewer where it is stopped.

        Raises StorageError if a storage is lost, and what `Cleaner.outcomes` raises.
        """
        self.open()
        try:
            folder = tempfile.TemporaryDirectory(
                prefix="denoiser-", dir=self._scratch, ignore_cleanup_errors=True
            )
        except OSError as error:
            raise StorageError(
                f"Files can't be kept in {self._scratch or tempfile.gettempdir()}: {reason(error)}.",
                "Set TMPDIR to a folder with room.",
            ) from error
        with folder, threads("fetch") as fetching, threads("put") as putting:
            moves = [
                self._move(job, Path(folder.name, str(index)))
                for index, job in enumerate(jobs)
                if isinstance(job, ObjectJob)
            ]
            ahead = _Ahead(moves, lambda move: self._fetch(move, fetching))
            waiting: deque[tuple[_Move, Outcome]] = deque()
            try:
                for first in range(0, len(moves), GROUP_FILES):
                    if self._stopped():
                        break
                    group = moves[first : first + GROUP_FILES]
                    arriving = _Arriving(group, partial(self._arrived, ahead, first))
                    for move, outcome in zip(group, self._cleaner.outcomes(arriving), strict=True):
                        waiting.append((move, self._cleaned(move, outcome, ahead, putting)))
                        while waiting and (_is_over(waiting[0][0]) or len(waiting) > 2 * THREADS):
                            yield self._finished(*waiting.popleft())
                        if self._stopped():
                            break
                while waiting:
                    yield self._finished(*waiting.popleft())
            except KeyboardInterrupt:
                putting.shutdown(wait=True, cancel_futures=True)
                while waiting and _is_over(waiting[0][0], well=True):  # complete already: not to be forgotten
                    yield self._finished(*waiting.popleft())
                raise

    def _move(self, job: ObjectJob, folder: Path) -> _Move:
        """Choose where an object's files are on this machine."""
        root = self._roots[job.root]
        source, output = folder / "in" / _short(job.entry.key or name_of(root.url)), folder / "out"
        if isinstance(root, LocalStorage):
            source = root.path(job.entry.key)
        if isinstance(self._out, LocalStorage):
            return _Move(job, source, self._out.path(job.relative), job.entry)
        return _Move(job, source, output / _short(job.relative), job.entry)

    def _fetch(self, move: _Move, threads: ThreadPoolExecutor) -> None:
        """Have an object fetched."""
        root = self._roots[move.job.root]
        if not isinstance(root, LocalStorage):
            try:
                move.source.parent.mkdir(parents=True)
            except OSError as error:
                move.error = f"can't be fetched: {reason(error)}."
                return
            move.fetched = threads.submit(root.download, move.job.entry.key, move.source)

    def _arrived(self, ahead: _Ahead, first: int, index: int) -> Job:
        """Wait for an object, with others under way; returns the job of its file, which may be missing."""
        try:
            move = ahead.get(first + index)
            if move.fetched is not None:
                move.read = move.fetched.result()
            self._lost = 0
        except MissingError:
            move.error = "is gone."
        except (StorageError, OSError) as error:
            move = ahead.moves[first + index]
            move.error = f"can't be fetched: {error}"
            self._count_lost(error)
        return Job(move.source, move.output, move.job.relative)

    def _count_lost(self, error: Exception) -> None:
        """Give up where one transfer after the other fails: it is not the files then."""
        self._lost += 1
        if self._lost >= MOST_LOST:
            raise StorageError(
                f"One object after the other fails: {error}", "The same command goes on from here."
            )

    def _cleaned(self, move: _Move, outcome: Outcome, ahead: _Ahead, threads: ThreadPoolExecutor) -> Outcome:
        """Have a result put; returns its outcome."""
        if move.fetched is not None:
            move.source.unlink(missing_ok=True)
        ahead.release(move)
        if move.error is not None:
            return Outcome(error=move.error)
        if outcome.error is None and not isinstance(self._out, LocalStorage):
            move.put = threads.submit(self._put, move)
        return outcome

    def _put(self, move: _Move) -> Entry:
        """Put a result, but not over an object that was not written by denoise."""
        key = move.job.relative
        try:
            entry = self._out.write(key, move.output, create=not move.job.replaces)
        except ExistsError:
            # A try that seemed to fail may have been ours, or that of a process that was lost.
            content, there = move.output.read_bytes(), self._out.stat(key)
            if there is None or there.size != len(content) or self._out.read(key) != content:
                raise
            entry = there
        move.output.unlink(missing_ok=True)
        return entry

    def _finished(self, move: _Move, outcome: Outcome) -> Outcome:
        """Wait for a result to be put; returns its outcome, with what was read and what was written."""
        if outcome.error is not None:
            return outcome
        key = move.job.relative
        if move.put is None:  # it lies there already
            assert outcome.written is not None  # noqa: S101 - it is done
            made = Entry(key, outcome.written.size, str(outcome.written.mtime_ns))
            return replace(outcome, stored=(move.read, made))
        try:
            made = move.put.result()._replace(key=key)
        except ExistsError:
            there = f"{self._out.url}/{key} exists and was not written by denoise."
            return Outcome(error=f"can't be put: {there} Use --force to overwrite.")
        except (StorageError, OSError) as error:
            self._count_lost(error)
            return Outcome(error=f"can't be put: {error}")
        return replace(outcome, stored=(move.read._replace(key=move.job.entry.key), made))


class _Ahead:
    """Has objects fetched ahead of the one that is asked for, up to so many bytes."""

    def __init__(self, moves: Sequence[_Move], fetch: Callable[[_Move], None]) -> None:
        self.moves, self._fetch = moves, fetch
        self._next = self._bytes = 0

    def get(self, index: int) -> _Move:
        """Return an object that is fetched or under way, or has an error."""
        while self._next < len(self.moves):
            move = self.moves[self._next]
            if self._next > index and self._bytes + move.job.size > AHEAD_BYTES:
                break
            self._next += 1
            self._bytes += move.job.size
            self._fetch(move)
        return self.moves[index]

    def release(self, move: _Move) -> None:
        """Take note that an object is no longer on the disk."""
        self._bytes -= move.job.size


class _Arriving(MadeWhenAsked[Job]):
    """Jobs that are there when they are asked for."""

    def __init__(self, moves: Sequence[_Move], arrived: Callable[[int], Job]) -> None:
        self._moves, self._arrived = moves, arrived

    def __len__(self) -> int:
        return len(self._moves)

    def _made(self, index: int) -> Job:
        return self._arrived(index)


@contextlib.contextmanager
def threads(name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield threads; those that transfer something are waited for at the end, others don't begin."""
    executor = ThreadPoolExecutor(THREADS, f"denoiser-{name}")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _is_over(move: _Move, *, well: bool = False) -> bool:
    """Return True if nothing is to be waited for; with `well`, only if nothing went wrong, either."""
    if move.put is None:
        return True
    return move.put.done() and not (well and (move.put.cancelled() or move.put.exception() is not None))


def _short(key: str) -> str:
    """Return the name of a file for an object: its last part, cut where it is too long for a file."""
    stem, ending = os.path.splitext(key.rpartition("/")[2])  # noqa: PTH122 - a key
    return os.fsencode(stem)[:150].decode(errors="ignore").replace("\0", "") + ending[:50]
