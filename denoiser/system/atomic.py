"""Files that are either complete or not there.

A file is written under a temporary name beside its destination and renamed when it is complete. The writer
holds a lock on it meanwhile, so that a later run can tell what a killed one left behind, which it removes,
from what a run beside it is still writing, which it leaves alone.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Buffer

try:
    import fcntl
except ImportError:  # Windows: an open file can't be removed there, which protects it as a lock does
    fcntl = None  # type: ignore[assignment]

_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
_BLOCK, _SET = getattr(signal, "SIG_BLOCK", 0), getattr(signal, "SIG_SETMASK", 0)

SUFFIX = ".denoise-tmp"
_RUN = os.urandom(4).hex()
"""Token of this run, in the names of its temporary files."""

_TEMPORARY = re.compile(rf"\..*\.([0-9a-f]{{8}}-)?[0-9a-f]{{12}}{re.escape(SUFFIX)}(\.[^.]*)?", re.DOTALL)
_DAY = 86_400.0

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def lock(number: int) -> bool | None:
    """Take the lock of an open file without waiting.

    Returns False where another process holds it, None where there are no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None  # a file system without locks
    return True


def _mask(how: int, signals: Collection[int]) -> Collection[int]:
    """Change which signals wait; returns those that waited before."""
    return signal.pthread_sigmask(how, signals) if hasattr(signal, "pthread_sigmask") else ()


def make_folders(folder: str) -> None:
    """Make a folder and those above it, which may be deeper than Python's calls; another may be first."""
    missing = []
    while folder:
        try:
            os.mkdir(folder)  # noqa: PTH102 - faster
        except FileNotFoundError:
            missing.append(folder)
            folder = os.path.dirname(folder)  # noqa: PTH120 - a string already
            continue
        except FileExistsError:
            if not os.path.isdir(folder):  # noqa: PTH112 - a string already
                raise
        if not missing:
            return
        folder = missing.pop()


def _create(destination: Path, ending: str = "") -> tuple[str, int]:
    folder, name = os.path.split(destination)
    # Long names leave no room for more: the temporary one is cut, as its uniqueness is in the token.
    short = os.fsencode(name)[:100].decode(errors="ignore")
    while True:
        path = os.path.join(folder, f".{short}.{_RUN}-{os.urandom(6).hex()}{SUFFIX}{ending}")  # noqa: PTH118 - faster
        try:
            number = os.open(path, _NEW, 0o666)
        except FileNotFoundError:
            make_folders(folder)
            continue
        # Between creating and locking it, a run that tidies up may have taken it for a dead one's.
        if lock(number) is not False and os.fstat(number).st_nlink:
            return path, number
        os.close(number)


def _sync_folder(folder: str) -> None:
    number = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class Written(NamedTuple):
    """What a file that was written is known by: its size in bytes and modification time in nanoseconds."""

    size: int
    mtime_ns: int


def _flush(number: int, size: int, *, sync: bool) -> Written:
    """Raise OSError unless all that was written to an open file, `size` bytes, is there."""
    # The system's own time of writing is that of its last tick, and may be another run's, too.
    now = time.time_ns()
    if os.utime in os.supports_fd:
        os.utime(number, ns=(now, now))
    if sync:
        os.fsync(number)
    # Network file systems tell at closing that a disk is full; closing a duplicate keeps the lock.
    os.close(os.dup(number))
    status = os.fstat(number)
    if status.st_size != size:
        raise OSError(errno.EIO, "not all that was written is there")
    return Written(size, status.st_mtime_ns)


@contextlib.contextmanager
def _replacing(destination: Path, ending: str = "", *, sync: bool = False) -> Iterator[tuple[str, int]]:
    """Make a locked temporary file that becomes `destination` when the block ends well, and goes when not.

    Gives its path and its descriptor.
    """
    # An interruption between making the file and being ready to remove it would leave it behind.
    before = _mask(_BLOCK, _INTERRUPTIONS)
    path = None
    try:
        path, number = _create(destination, ending)
        _mask(_SET, before)
        try:
            yield path, number
            if os.name != "nt":
                os.replace(path, destination)  # noqa: PTH105 - faster
        finally:
            with contextlib.suppress(OSError):  # what closing could tell has been told to `_flush`
                os.close(number)
        if os.name == "nt":
            os.replace(path, destination)  # noqa: PTH105
        if sync and os.name != "nt":
            _sync_folder(os.path.dirname(path))  # noqa: PTH120 - a string already
    except BaseException:
        _mask(_SET, before)
        if path is None:
            raise
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
        raise


class Whole(io.BufferedRandom):
    """A file that encoders can only write to through Python, which raises what goes wrong.

    Given a descriptor, Pillow's encoders write to it in C and don't notice when a disk takes less than all.
    """

    end = 0
    """Where the furthest byte was written."""

    written = Written(0, 0)
    """What the file is known by, once it is complete."""

    def fileno(self) -> int:
        """Raise `io.UnsupportedOperation`, so that encoders write through Python."""
        raise io.UnsupportedOperation("fileno")

    def write(self, content: Buffer, /) -> int:
        """Write all of it."""
        written = super().write(content)
        self.end = max(self.end, self.tell())
        return written


@contextlib.contextmanager
def replacing(destination: Path, *, sync: bool = False) -> Iterator[Whole]:
    """Open a binary file for reading and writing that becomes `destination` when the block ends well.

    Folders are made as needed. If the block raises, an existing destination stays as it was.

    Args:
        destination: the file to write or replace.
        sync: whether to wait until the file and its name are on the disk.

    Raises:
        OSError: the file can't be created, written in full or renamed.

    """
    with _replacing(destination, sync=sync) as (_, number):
        file = Whole(io.FileIO(number, "r+b", closefd=False))
        try:
            yield file
            file.flush()
            file.written = _flush(number, file.end, sync=sync)
        finally:
            with contextlib.suppress(OSError):  # on a full disk, what is left can't be flushed either
                file.close()


def write(destination: Path, content: bytes, *, sync: bool = False) -> Written:
    """Make `content` the whole file `destination`, as `replacing` does but without a file object.

    Returns what it is known by from now on.

    Raises:
        OSError: the file can't be created, written in full or renamed.

    """
    with _replacing(destination, sync=sync) as (_, number):
        left = memoryview(content)
        while left:
            left = left[os.write(number, left) :]
        return _flush(number, len(content), sync=sync)


@contextlib.contextmanager
def replacing_path(destination: Path, *, sync: bool = False) -> Iterator[Path]:
    """As `replacing`, for writers that want a path: an empty file beside `destination`, with its ending.

    The writer may replace that file by another; it is locked only while it does not.

    Raises:
        OSError: the file can't be created, written or renamed.

    """
    with _replacing(destination, destination.suffix, sync=sync) as (path, _):
        yield Path(path)
        if sync:
            with open(path, "rb") as file:  # noqa: PTH123 - it may be another file by now
                os.fsync(file.fileno())


def sweep(folders: Iterable[Path]) -> int:
    """Remove what killed runs left in these folders (not below them); returns how many files.

    Where there are no locks, a file counts as left when it is a day old.
    """
    removed = 0
    for folder in folders:
        try:
            names = [name for name in os.listdir(folder) if _TEMPORARY.fullmatch(name)]  # noqa: PTH208 - faster
        except OSError:
            continue
        for name in names:
            with contextlib.suppress(OSError), (folder / name).open("r+b") as file:
                locked = lock(file.fileno())
                old = time.time() - os.fstat(file.fileno()).st_mtime > _DAY
                if locked or (locked is None and old):
                    (folder / name).unlink()
                    removed += 1
    return removed
