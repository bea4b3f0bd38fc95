"""Write files atomically: a file is complete, or it does not exist.

A file is written under a temporary name beside its destination, and renamed when it is complete. Meanwhile
the writer holds a lock on it. A later run thus removes the temporary files of killed runs, which are not
locked, and keeps those of other runs.
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

from denoiser.system.interruptions import INTERRUPTIONS

if TYPE_CHECKING:
    from typing_extensions import Buffer

try:
    import fcntl
except ImportError:  # Windows: an open file can't be removed there, which protects it as a lock does
    fcntl = None  # type: ignore[assignment]

_BLOCK, _SET = getattr(signal, "SIG_BLOCK", 0), getattr(signal, "SIG_SETMASK", 0)

SUFFIX = ".denoise-tmp"
_RUN = os.urandom(4).hex()
"""Token of this run, in the names of its temporary files."""

_TEMPORARY = re.compile(rf"\..*\.([0-9a-f]{{8}}-)?[0-9a-f]{{12}}{re.escape(SUFFIX)}(\.[^.]*)?", re.DOTALL)
_DAY = 86_400.0

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def lock(number: int) -> bool | None:
    """Lock an open file without waiting.

    Returns False if another process holds the lock, and None if there are no locks.
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


# The function below the one of `signal`, which makes enumerations of numbers that nobody looks at.
_sigmask = getattr(signal, "pthread_sigmask", None)
_sigmask = getattr(_sigmask, "__wrapped__", _sigmask)


def _mask(how: int, signals: Collection[int]) -> Collection[int]:
    """Change which signals wait; returns those that waited before."""
    return () if _sigmask is None else _sigmask(how, signals)


_VANISHED = 100
"""How often a folder may be missing although the one above it is there."""


def make_folders(folder: str) -> None:
    """Make a folder and those above it, which may be deeper than Python's calls; another may be first."""
    missing: list[str] = []
    vanished = 0
    while folder:
        try:
            os.mkdir(folder)  # noqa: PTH102 - faster
        except FileNotFoundError:
            above = os.path.dirname(folder)  # noqa: PTH120 - a string already
            if not above or os.path.isdir(above):  # noqa: PTH112 - likewise
                # Somebody has just made the folder above, or taken ours away; or it takes none, as /proc.
                vanished += 1
                if vanished > _VANISHED:
                    raise
            missing.append(folder)
            folder = above or folder
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
    vanished = 0
    while True:
        path = os.path.join(folder, f".{short}.{_RUN}-{os.urandom(6).hex()}{SUFFIX}{ending}")  # noqa: PTH118 - faster
        try:
            number = os.open(path, _NEW, 0o666)
        except FileNotFoundError:
            vanished += 1
            if vanished > _VANISHED:  # as in /proc, which takes no files
                raise
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
    """Size in bytes and modification time in nanoseconds of a written file, which identify it."""

    size: int
    mtime_ns: int


def _flush(number: int, size: int, *, sync: bool) -> Written:
    """Flush an open file. Raises OSError if it does not have all `size` bytes that were written."""
    # Set an exact time: the system's clock of files is coarse, and two writes could have the same time.
    now = time.time_ns()
    if os.utime in os.supports_fd:
        os.utime(number, ns=(now, now))
    if sync:
        os.fsync(number)
    # Network file systems report a full disk only on close; closing a duplicate keeps the lock.
    os.close(os.dup(number))
    status = os.fstat(number)
    if status.st_size != size:
        raise OSError(errno.EIO, "the file is shorter than what was written")
    return Written(size, status.st_mtime_ns)


@contextlib.contextmanager
def _replacing(destination: Path, ending: str = "", *, sync: bool = False) -> Iterator[tuple[str, int]]:
    """Yield the path and descriptor of a locked temporary file, which becomes `destination` on success.

    If the block raises, the file is removed.
    """
    # Block signals until the file can be removed: an interruption in between would leave it behind.
    before = _mask(_BLOCK, INTERRUPTIONS)
    path = None
    try:
        path, number = _create(destination, ending)
        _mask(_SET, before)
        try:
            yield path, number
            if os.name != "nt":
                os.replace(path, destination)  # noqa: PTH105 - faster
        finally:
            with contextlib.suppress(OSError):  # `_flush` has reported any error already
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
    """A file that encoders can write only through Python, which raises all errors.

    With a descriptor, Pillow's encoders would write in C and ignore incomplete writes to a full disk.
    """

    end = 0
    """Position after the last byte that was written."""

    written = Written(0, 0)
    """Size and time of the file, once it is complete."""

    def fileno(self) -> int:
        """Raise `io.UnsupportedOperation`, so that encoders write through Python."""
        raise io.UnsupportedOperation("fileno")

    def write(self, content: Buffer, /) -> int:
        """Write the content, and record its end."""
        written = super().write(content)
        self.end = max(self.end, self.tell())
        return written


@contextlib.contextmanager
def replacing(destination: Path, *, sync: bool = False) -> Iterator[Whole]:
    """Open a binary file for reading and writing, which becomes `destination` if the block does not raise.

    Missing folders are created. If the block raises, an existing destination stays unchanged.

    Args:
        destination: The file to write or replace.
        sync: Whether to wait until the file and its name are on the disk.

    Raises:
        OSError: The file can't be created, written in full or renamed.
    """
    with _replacing(destination, sync=sync) as (_, number):
        file = Whole(io.FileIO(number, "r+b", closefd=False))
        try:
            yield file
            file.flush()
            file.written = _flush(number, file.end, sync=sync)
        finally:
            with contextlib.suppress(OSError):  # on a full disk, the buffer can't be flushed
                file.close()


def write(destination: Path, content: bytes, *, sync: bool = False) -> Written:
    """Write a file like `replacing`, without a file object, and return its size and time.

    Raises OSError if the file can't be created, written in full or renamed.
    """
    with _replacing(destination, sync=sync) as (_, number):
        left = memoryview(content)
        while left:
            left = left[os.write(number, left) :]
        return _flush(number, len(content), sync=sync)


@contextlib.contextmanager
def replacing_path(destination: Path, *, sync: bool = False) -> Iterator[Path]:
    """Yield a path like `replacing`, for writers that need one: an empty file with the destination's ending.

    If the writer replaces the file by another, the lock is lost. Raises OSError if the file can't be created,
    written or renamed.
    """
    with _replacing(destination, destination.suffix, sync=sync) as (path, _):
        yield Path(path)
        if sync:
            with open(path, "rb") as file:  # noqa: PTH123 - the writer may have replaced the file
                os.fsync(file.fileno())


@contextlib.contextmanager
def marker(folder: Path, content: str) -> Iterator[Path]:
    """Yield a small file in a folder that exists, under a name that `sweep` knows; it is removed at the end.

    Raises OSError if it can't be created or written.
    """
    path, number = _create(folder / "marker")
    try:
        os.write(number, content.encode("ascii"))
        os.close(os.dup(number))  # sends it to other machines; closing a duplicate keeps the lock
        yield Path(path)
    finally:
        os.close(number)
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - a string already


def sweep(folders: Iterable[Path], *, own: bool = False, alone: bool = True) -> int:
    """Remove the temporary files of killed runs in these folders (not below them); returns their number.

    Without locks, files that are a day old are removed.

    Args:
        folders: The folders.
        own: Whether only files of this run are removed, of processes that it has lost.
        alone: Whether all runs at work there are on this machine. Some network file systems tell no other
            machine of a lock, so where they may not be, a file must also be a day old.
    """
    removed = 0
    for folder in folders:
        try:
            with os.scandir(folder) as listing:  # one by one: there may be millions
                found = (_TEMPORARY.fullmatch(entry.name) for entry in listing)
                names = [each[0] for each in found if each and (not own or each[1] == f"{_RUN}-")]
        except OSError:
            continue
        for name in names:
            with contextlib.suppress(OSError), (folder / name).open("r+b") as file:
                locked = lock(file.fileno())
                old = time.time() - os.fstat(file.fileno()).st_mtime > _DAY
                if (locked and (alone or old)) or (locked is None and old):
                    (folder / name).unlink()
                    removed += 1
    return removed
