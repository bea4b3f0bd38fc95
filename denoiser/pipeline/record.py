"""The input and settings of each output, so that finished outputs are skipped next time, as `make` does.

The record is the folder `.denoise` in the output folder. Each run appends to a file of its own there, one
line for each finished output, so that a kill loses nothing and the cost of a long run stays linear; whoever
reads takes the lines of all files together. They stay on the disk: `denoiser.pipeline.record_index` finds
those of an output. A line that says an output is *being* written comes first: it tells an output of ours,
whose finishing line a kill prevented, from a stranger's file. An output is known by its size and modification
time: what lies in the folder decides which line is true.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from denoiser.errors import UsageError, reason
from denoiser.imaging.source import Fingerprint
from denoiser.pipeline.record_index import Index
from denoiser.pipeline.record_lines import Entry, Lines, Recorded, begun_line, checksum
from denoiser.system import atomic
from denoiser.system.atomic import Written

log = logging.getLogger(__name__)

FOLDER = ".denoise"
NAME = ".denoise.jsonl"
"""The record as one file, which earlier versions wrote."""

_ENDING = ".jsonl"
MOST_FILES = 16
"""When there are more files, a run that begins merges those that no run is writing."""

_DAY = 86_400.0


def digest(value: Any) -> str:
    """Hash anything JSON can hold, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _absolute(path: Path) -> str:
    folder, name = os.path.split(path)
    return os.path.join(_folder(folder, os.getcwd()), name)  # noqa: PTH109, PTH118 - faster, for every file


@functools.lru_cache(16)
def _folder(path: str, _: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - a link is an input of its own


_NO_DETOURS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
"""Without following a link, and without waiting for the other end of a pipe."""


class Record:
    """The record of one output folder. Nothing is created before the first line is written.

    It is read when it is first asked, and again by `refresh`. Several runs may share a folder.

    Args:
        folder: the output folder.
        sync: whether what is begun waits until the disk has the line.
        writer: name of the file to write to, without its ending, if it should be that of no other run: there
            may be runs on other machines, which no lock tells of. None goes on in any that is free.

    Raises:
        UsageError: something lies in the record's place that is no file of its own.

    """

    def __init__(self, folder: Path, *, sync: bool = False, writer: str | None = None) -> None:
        self._out = folder
        self._name = writer
        self._folder = folder / FOLDER
        self._sync = sync
        self._index: Index | None = None
        self._asked: tuple[str, Lines] | None = None
        self._behind = False  # whether there are lines of our own that the index doesn't know yet
        self._own: Path | None = None
        self._held: list[str] | None = None
        self._file: int | None = None
        self._torn = False
        self._failed = False
        for path in self._paths():
            self._check(path)

    # --- reading ---

    def _paths(self) -> list[Path]:
        """Return all files of the record."""
        try:
            if not stat.S_ISDIR(self._folder.lstat().st_mode):
                raise self._refused(self._folder, "is not a folder")
            names = os.listdir(self._folder)  # noqa: PTH208 - faster
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise self._refused(self._folder, f"can't be read: {error.strerror}") from error
        paths = [self._folder / name for name in sorted(names) if name.endswith(_ENDING)]
        old = self._out / NAME
        return [old, *paths] if os.path.lexists(old) else paths

    @staticmethod
    def _refused(path: Path, why: str) -> UsageError:
        return UsageError(f"The record {path} {why}.", "Remove it, or use another folder.")

    def _open(self, path: Path, flags: int) -> int:
        """Open a file of the record, but no link that somebody has put in its place.

        Raises UsageError for a link, a file with a second name, and anything but a regular file; OSError.
        """
        try:
            number = os.open(path, flags | _NO_DETOURS, 0o644)
        except OSError as error:
            if path.is_symlink():
                raise self._refused(path, "is a link") from error
            raise
        status = os.fstat(number)
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
            return number
        os.close(number)
        regular = stat.S_ISREG(status.st_mode)
        raise self._refused(path, "has another name, too" if regular else "is no regular file")

    def _check(self, path: Path) -> None:
        """Refuse a file that can't be one of the record."""
        with contextlib.suppress(FileNotFoundError):
            os.close(self._reader(path))

    def _reader(self, path: Path) -> int:
        """Open a file of the record to read it. Raises FileNotFoundError, UsageError."""
        try:
            return self._open(path, os.O_RDONLY)
        except NotADirectoryError as error:
            raise FileNotFoundError(path) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._refused(path, f"can't be read: {error.strerror}") from error

    def refresh(self) -> None:
        """Read the lines that all runs have written by now."""
        self._asked = None
        index = self._index or Index(self._reader)
        for _ in range(MOST_FILES):
            if index.update(self._paths()):
                break
            index.close()  # one was merged into another meanwhile: from the start
            index = Index(self._reader)
        self._index = index

    def _known(self, output: str) -> Lines:
        """Return what the record tells of an output."""
        if self._asked is not None and self._asked[0] == output:
            return self._asked[1]
        if self._behind and self._index is not None and self._own is not None:
            if not self._index.update([self._own]):
                self._index = None
            self._behind = False
        for _ in range(MOST_FILES):
            if self._index is None:
                self.refresh()
            assert self._index is not None  # noqa: S101 - just read
            try:
                lines = self._index.lines(output)
            except FileNotFoundError:
                self._index = None  # merged meanwhile
            else:
                break
        else:
            lines = Lines()
        self._asked = output, lines
        return lines

    def is_recorded(self, output: str) -> bool:
        """Return True if this output was written, or begun, by this program."""
        known = self._known(output)
        return output in known.done or output in known.begun

    def is_ours(self, output: str, destination: Path) -> bool:
        """Return True if the file at `destination` is this output, complete or half-written.

        A file of another size or time has come from somewhere else since; an empty one is what a power cut
        leaves.
        """
        if not self.is_recorded(output):
            return False
        try:
            there = destination.stat()
        except OSError:
            return True  # nothing there to lose
        lines = self._known(output)
        # Begun only: a kill may have come between its renaming and its line.
        return not there.st_size or lines.half_way(output) or bool(lines.entries(output, there))

    def up_to_date(self, output: str, source: Path, destination: Path, made_with: str) -> bool:
        """Return True if the file at `destination` was made from `source` as it is now, with these settings.

        The same size and time is the same input; another time or place but the same content, as after a copy
        or a checkout, is too.
        """
        known = self._known(output)
        if output not in known.done:
            return False
        try:
            there = destination.stat()
            if not stat.S_ISREG(there.st_mode):
                return False
            fitting = [each for each in known.entries(output, there) if each.made_with == made_with]
            status = source.stat()
            fitting = [each for each in fitting if each.size == status.st_size]
            path = _absolute(source)
            if any(each.mtime_ns == status.st_mtime_ns and each.source == path for each in fitting):
                return True
            if not fitting:
                return False
            content = checksum(source)
            return any(each.sha256 == content for each in fitting)
        except OSError:
            return False

    def notes(self, output: str, destination: Path) -> tuple[str, ...]:
        """Return what was noted of the output that is at `destination`, as `Outcome.notes`."""
        try:
            fitting = self._known(output).entries(output, destination.stat())
        except OSError:
            return ()
        return fitting[-1].notes if fitting else ()

    def why_stale(self, output: str, source: Path, destination: Path, made_with: str) -> str:
        """Say why an output is not up to date, in a few words."""
        known = self._known(output)
        if self.up_to_date(output, source, destination, made_with):
            return "its comparison is missing or old"
        if output not in known.done:
            return "was not finished" if output in known.begun else "new"
        try:
            entries = known.entries(output, destination.stat())
        except OSError:
            return "its result is missing"
        if not entries:
            return "its result was changed"
        same = any(each.made_with == made_with for each in entries)
        return "its input changed" if same else "another model, setting or plugin"

    def outputs(self) -> Iterator[Recorded]:
        """Yield what is recorded of each output, in no order: of a finished one its newest line.

        An output that was finished once and failed later is a finished one if its file is still there: its
        `error` then tells of the later try.
        """
        self.refresh()
        assert self._index is not None  # noqa: S101 - just read
        for lines in self._index.pieces():
            for output, entries in lines.done.items():
                if output in lines.failed and not (self._out / output).exists():
                    continue
                try:
                    fitting = lines.entries(output, (self._out / output).stat())
                except OSError:
                    fitting = []
                newest = max(fitting or entries, key=lambda entry: entry.output_mtime_ns or 0)
                later = lines.failed.get(output)
                if later is not None and later.finished_ns is None:
                    later = None  # of an earlier version: it may have been before
                yield Recorded(
                    output,
                    newest.source,
                    newest.made_with,
                    newest.output_mtime_ns,
                    newest.size,
                    newest.mtime_ns,
                    newest.sha256,
                    error=None if later is None else later.error or "it failed",
                    notes=newest.notes,
                )
            for output, failure in lines.failed.items():
                if output not in lines.done or not (self._out / output).exists():
                    yield failure

    # --- writing ---

    def begin(self, outputs: Iterable[str]) -> None:
        """Record that these outputs are about to be written."""
        now = time.time_ns()
        self._append([begun_line(output, now) for output in dict.fromkeys(outputs)], sync=self._sync)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is recorded in the block at its end, with one write; not if it raises."""
        self._held = []
        try:
            yield
            lines, self._held = self._held, None
            self._append(lines)
        finally:
            self._held = None

    def failed(self, output: str, source: Path | None = None, error: str | None = None) -> None:
        """Record that this output failed. Any file at the destination is from an earlier run."""
        path = None if source is None else _absolute(source)
        failure = Recorded(output, path, finished_ns=time.time_ns(), failed=True, error=error)
        self._append([failure.line()])

    def done(
        self,
        output: str,
        source: Path,
        fingerprint: Fingerprint,
        made_with: str,
        written: Written,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Record that an output is complete: its input, its settings, its size, its time, and its notes."""
        entry = Entry(_absolute(source), *fingerprint, made_with, *written, notes)
        self._append([entry.line(output)])

    def _append(self, lines: list[str], *, sync: bool = False) -> None:
        if not lines:
            return
        if self._held is not None:
            self._held += lines
            return
        try:
            if self._file is not None and not os.fstat(self._file).st_nlink:
                self.close()  # somebody has removed the folder
                self._own = None
            if self._file is None:
                self._file = self._writer()
            left = memoryview((("\n" if self._torn else "") + "\n".join(lines) + "\n").encode("ascii"))
            while left:
                left = left[os.write(self._file, left) :]
                self._torn = bool(left)
            if sync:
                os.fsync(self._file)
            self._asked, self._behind = None, True
        except OSError as error:
            self._unwritable(error)

    def _unwritable(self, error: OSError) -> None:
        """Say so, once. The files can still be written; what is lost is that they need not be done again."""
        if not self._failed:
            log.warning(
                "The record %s can't be written (%s): files of this run may be done again in the next,"
                " which may need --force.",
                self._folder,
                reason(error),
            )
        self._failed = True

    def open(self) -> None:
        """Open the file of this run, which processes that are forked from this one then write to as well."""
        if self._file is None and not self._failed:
            try:
                self._file = self._writer()
            except OSError as error:
                self._unwritable(error)

    def _writer(self) -> int:
        """Open the file of this run: that of a run that has ended, or a new one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._name is not None:
            own = self._folder / f"{self._name}{_ENDING}"
            with contextlib.suppress(FileExistsError):
                return self._new(own)
            free = self._free([own])
            return self._go_on(*free[0]) if free else self._new()
        paths = self._paths()
        if self._own is not None and self._own in paths:
            free = self._free([self._own])
        else:
            old = (self._out / NAME) in paths
            crowded = len(paths) > MOST_FILES or old
            free = self._free(paths, most=None if crowded else 1)
            if old or (crowded and len(free) > 1):
                return self._merged(free)
        return self._go_on(*free[0]) if free else self._new()

    def _go_on(self, path: Path, number: int) -> int:
        """Write to an open file from now on."""
        self._own = path
        self._torn = False
        if os.fstat(number).st_size:
            os.lseek(number, -1, os.SEEK_END)
            self._torn = os.read(number, 1) != b"\n"
        return number

    def _free(self, paths: Iterable[Path], *, most: int | None = None) -> list[tuple[Path, int]]:
        """Open and lock files that no run writes to, up to `most`."""
        free: list[tuple[Path, int]] = []
        for path in paths:
            if most is not None and len(free) >= most:
                break
            try:
                number = self._open(path, os.O_RDWR | os.O_APPEND)
            except OSError:
                continue  # read-only, or gone
            status, locked = os.fstat(number), atomic.lock(number)
            # Where there are no locks, one that nobody has written to for a day; the old one has none.
            idle = time.time() - status.st_mtime > _DAY or path.name == NAME
            if status.st_nlink and (locked or (locked is None and idle)):
                free.append((path, number))
            else:
                os.close(number)
        return free

    def _new(self, path: Path | None = None) -> int:
        self._own = path or self._folder / f"{os.urandom(4).hex()}{_ENDING}"
        number = self._open(self._own, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        atomic.lock(number)
        self._torn = False
        return number

    def _merged(self, files: list[tuple[Path, int]]) -> int:
        """Begin a new file with the lines of these, and remove them."""
        number = self._new()
        index = Index(self._reader)
        try:
            index.update([path for path, _ in files])
            for lines in index.pieces():
                left = memoryview("".join(f"{line}\n" for line in lines.text()).encode("ascii"))
                while left:
                    left = left[os.write(number, left) :]
            os.fsync(number)
            for path, _ in files:
                path.unlink(missing_ok=True)
        except BaseException:
            os.close(number)
            raise
        finally:
            index.close()
            for _, other in files:
                os.close(other)
        return number

    def close(self) -> None:
        """Close the file; the record can still be asked, and opens it again to write."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._index is not None:
            self._index.close()
