"""The input and settings of each output, so that finished outputs are skipped next time, as `make` does.

The record is the folder `.denoise` in the output folder. Each run appends to a file of its own there, one
line for each finished output, so that a kill loses nothing and the cost of a long run stays linear; whoever
reads takes the lines of all files together. A line that says an output is *being* written comes first: it
tells an output of ours, whose finishing line a kill prevented, from a stranger's file. An output is known by
its size and modification time: what lies in the folder decides which line is true.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from denoiser.errors import UsageError, reason
from denoiser.imaging.source import Fingerprint
from denoiser.system import atomic
from denoiser.system.atomic import Written

log = logging.getLogger(__name__)

FOLDER = ".denoise"
NAME = ".denoise.jsonl"
"""The record as one file, which earlier versions wrote."""

_ENDING = ".jsonl"
MOST_FILES = 16
"""When there are more files, a run that begins merges those that no run is writing."""

_KEPT = 4  # entries of one output that merging keeps, the newest; older ones can't be of what is there
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

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def _line(entry: dict[str, Any]) -> str:
    return _ENCODER.encode(entry)


class _Entry(NamedTuple):
    """A finished output: what it was made from and with, and what it is known by.

    Of outputs that earlier versions recorded, only the size is known.
    """

    source: str
    size: int
    mtime_ns: int
    sha256: str | None
    made_with: str
    output_size: int
    output_mtime_ns: int | None

    def is_there(self, there: os.stat_result) -> bool:
        return self.output_size == there.st_size and self.output_mtime_ns in (None, there.st_mtime_ns)

    def line(self, output: str) -> str:
        return _line({"output": output, **self._asdict()})


@dataclass(frozen=True)
class Recorded:
    """The newest of what the record tells of one output.

    Attributes:
        output: path of the output, relative to the folder.
        source: absolute path of the input, where it is known: a failed output has none of earlier versions.
        made_with: digest of the settings; "" of a failed output.
        finished_ns: modification time of the output in nanoseconds, where it is known.
        size, mtime_ns: size in bytes and modification time in nanoseconds that the input had.
        failed: whether the output was begun and not written.
        error: why it failed, where it is known.

    """

    output: str
    source: str | None
    made_with: str = ""
    finished_ns: int | None = None
    size: int | None = None
    mtime_ns: int | None = None
    failed: bool = False
    error: str | None = None

    def line(self) -> str:
        """Return the line of a failed output."""
        told = {"source": self.source, "error": self.error}
        return _line(
            {"output": self.output, "failed": True, **{key: text for key, text in told.items() if text}}
        )

    def is_of_another(self, source: Path | None) -> bool:
        """Whether the input is another now than when it was cleaned, by its size and time."""
        if self.failed or source is None:
            return False
        try:
            status = source.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns)


class _Lines:
    """The lines of all files of a record together."""

    def __init__(self) -> None:
        self.done: dict[str, tuple[_Entry, ...]] = {}
        self.begun: dict[str, int] = {}
        """Times at which outputs were begun that the same run did not finish."""
        self.failed: dict[str, Recorded] = {}
        """Outputs that no later line of the same file finished."""

    def read(self, content: bytes, changed_ns: int) -> None:
        """Add the lines of one file, which was last written to at `changed_ns`."""
        begun: dict[str, int] = {}
        for line in content.splitlines():
            try:
                fields = json.loads(line)
                output = fields["output"]
                if not isinstance(output, str):
                    continue
                if "begun" in fields:
                    when = fields["begun"]
                    begun[output] = changed_ns if isinstance(when, bool) else int(when)
                    continue
                begun.pop(output, None)
                if "failed" in fields:
                    self.failed[output] = _failure(output, fields)
                    continue
                self.add(output, _entry(fields))
                self.failed.pop(output, None)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # the torn end of a killed run's last line: that file is simply made again
        for output, when in begun.items():
            self.begun[output] = max(when, self.begun.get(output, 0))

    def add(self, output: str, entry: _Entry) -> None:
        """Add a finished output."""
        before = self.done.get(output, ())
        self.done[output] = (*(each for each in before if each != entry), entry)

    def entries(self, output: str, there: os.stat_result) -> list[_Entry]:
        """Return the entries of an output that describe the file which is there."""
        known = self.done.get(output, ())
        # A size alone tells little, and nothing where there is better to go by.
        dated = [entry for entry in known if entry.output_mtime_ns is not None]
        return [entry for entry in dated or known if entry.is_there(there)]

    def half_way(self, output: str) -> bool:
        """Return True if an output was begun after its last finished version."""
        newest = max((entry.output_mtime_ns or 0 for entry in self.done.get(output, ())), default=0)
        return self.begun.get(output, -1) > newest

    def text(self) -> Iterator[str]:
        """Yield the lines that can still matter."""
        for output, entries in self.done.items():
            newest = sorted(entries, key=lambda entry: entry.output_mtime_ns or 0)[-_KEPT:]
            yield from (entry.line(output) for entry in newest)
        yield from (failure.line() for failure in self.failed.values())
        yield from (_begun(output, when) for output, when in self.begun.items() if self.half_way(output))


def _entry(fields: dict[str, Any]) -> _Entry:
    numbers = [fields[key] for key in ("size", "mtime_ns", "output_size")]
    texts = [fields["source"], fields["made_with"]]
    known, checksum = fields.get("output_mtime_ns"), fields["sha256"]
    whole = all(isinstance(number, int) for number in (*numbers, known or 0))
    if not whole or not all(isinstance(text, str) for text in (*texts, checksum or "")):
        raise ValueError("no entry of ours")
    size, mtime_ns, output_size = numbers
    return _Entry(texts[0], size, mtime_ns, checksum, sys.intern(texts[1]), output_size, known)


def _failure(output: str, fields: dict[str, Any]) -> Recorded:
    source, error = fields.get("source"), fields.get("error")
    return Recorded(
        output,
        source if isinstance(source, str) else None,
        failed=True,
        error=error if isinstance(error, str) else None,
    )


def _begun(output: str, when: int) -> str:
    return _line({"output": output, "begun": when})


class Record:
    """The record of one output folder. Nothing is created before the first line is written.

    It is read when it is first asked, and again by `refresh`. Several runs may share a folder.

    Args:
        folder: the output folder.
        sync: whether what is begun waits until the disk has the line.

    Raises:
        UsageError: something lies in the record's place that is no file of its own.

    """

    def __init__(self, folder: Path, *, sync: bool = False) -> None:
        self._out = folder
        self._folder = folder / FOLDER
        self._sync = sync
        self._lines: _Lines | None = None
        self._own: Path | None = None
        self._file: int | None = None
        self._torn = False
        self._failed = False
        for path in self._paths():
            self._read(path)

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

    def _read(self, path: Path, lines: _Lines | None = None) -> bool:
        """Read one file into `lines`, if any; returns whether it was there."""
        try:
            with os.fdopen(self._open(path, os.O_RDONLY), "rb") as file:
                if lines is not None:
                    lines.read(file.read(), os.fstat(file.fileno()).st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._refused(path, f"can't be read: {error.strerror}") from error
        return True

    def refresh(self) -> None:
        """Read the lines that all runs have written by now."""
        for _ in range(MOST_FILES):
            lines, paths = _Lines(), self._paths()
            if all(self._read(path, lines) for path in paths):
                break  # else one was merged into another meanwhile: from the start
        self._lines = lines

    def _known(self) -> _Lines:
        if self._lines is None:
            self.refresh()
        assert self._lines is not None  # noqa: S101 - just read
        return self._lines

    def is_recorded(self, output: str) -> bool:
        """Return True if this output was written, or begun, by this program."""
        return output in self._known().done or output in self._known().begun

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
        lines = self._known()
        # Begun only: a kill may have come between its renaming and its line.
        return not there.st_size or lines.half_way(output) or bool(lines.entries(output, there))

    def up_to_date(self, output: str, source: Path, destination: Path, made_with: str) -> bool:
        """Return True if the file at `destination` was made from `source` as it is now, with these settings.

        The same size and time is the same input; another time or place but the same content, as after a copy
        or a checkout, is too.
        """
        known = self._known()
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
            with source.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
            return any(each.sha256 == checksum for each in fitting)
        except OSError:
            return False

    def why_stale(self, output: str, source: Path, destination: Path, made_with: str) -> str:
        """Say why an output is not up to date, in a few words."""
        known = self._known()
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

        An output that was finished once and failed later is a finished one if its file is still there.
        """
        lines = self._known()
        for output, entries in lines.done.items():
            if output in lines.failed and not (self._out / output).exists():
                continue
            try:
                fitting = lines.entries(output, (self._out / output).stat())
            except OSError:
                fitting = []
            newest = max(fitting or entries, key=lambda entry: entry.output_mtime_ns or 0)
            yield Recorded(
                output,
                newest.source,
                newest.made_with,
                newest.output_mtime_ns,
                newest.size,
                newest.mtime_ns,
            )
        for output, failure in lines.failed.items():
            if output not in lines.done or not (self._out / output).exists():
                yield failure

    # --- writing ---

    def begin(self, outputs: Iterable[str]) -> None:
        """Record that these outputs are about to be written."""
        now = time.time_ns()
        names = dict.fromkeys(outputs)
        self._append([_begun(output, now) for output in names], sync=self._sync)
        self._known().begun |= dict.fromkeys(names, now)

    def failed(self, output: str, source: Path | None = None, error: str | None = None) -> None:
        """Record that this output failed. Any file at the destination is from an earlier run."""
        failure = Recorded(output, None if source is None else _absolute(source), failed=True, error=error)
        self._append([failure.line()])
        known = self._known()
        known.begun.pop(output, None)
        known.failed[output] = failure

    def done(
        self, output: str, source: Path, fingerprint: Fingerprint, made_with: str, written: Written
    ) -> None:
        """Record that an output is complete: its input, its settings, its size and its time."""
        entry = _Entry(_absolute(source), *fingerprint, made_with, *written)
        self._append([entry.line(output)])
        known = self._known()
        known.begun.pop(output, None)
        known.add(output, entry)
        known.failed.pop(output, None)

    def _append(self, lines: list[str], *, sync: bool = False) -> None:
        if not lines:
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
        except OSError as error:
            # The files themselves may still be written; what is lost is that they need not be done again.
            if not self._failed:
                log.warning(
                    "The record %s can't be written (%s): files of this run may be done again in the next,"
                    " which may need --force.",
                    self._folder,
                    reason(error),
                )
            self._failed = True

    def _writer(self) -> int:
        """Open the file of this run: that of a run that has ended, or a new one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = self._paths()
        if self._own is not None and self._own in paths:
            free = self._free([self._own])
        else:
            crowded = len(paths) > MOST_FILES or (self._out / NAME) in paths
            free = self._free(paths, most=None if crowded else 1)
            if crowded:
                return self._merged(free)
        if not free:
            return self._new()
        self._own, number = free[0]
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

    def _new(self) -> int:
        self._own = self._folder / f"{os.urandom(4).hex()}{_ENDING}"
        number = self._open(self._own, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        atomic.lock(number)
        self._torn = False
        return number

    def _merged(self, files: list[tuple[Path, int]]) -> int:
        """Begin a new file with the lines of these, and remove them."""
        number = self._new()
        lines = _Lines()
        try:
            for path, _ in files:
                self._read(path, lines)
            content = "".join(f"{line}\n" for line in lines.text()).encode("ascii")
            left = memoryview(content)
            while left:
                left = left[os.write(number, left) :]
            os.fsync(number)
            for path, _ in files:
                path.unlink(missing_ok=True)
        except BaseException:
            os.close(number)
            raise
        finally:
            for _, other in files:
                os.close(other)
        return number

    def close(self) -> None:
        """Close the file; the record can still be asked, and opens it again to write."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
