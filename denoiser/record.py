"""What each output was made from and with, so that a finished output is skipped next time as `make` would.

The record is `.denoise.jsonl` in the output folder: one line appended for each finished file, so that a kill
loses nothing and the cost of a long run stays linear. A line that says an output is *being* written comes
first: it tells an output of ours, whose finishing line a kill prevented, from a stranger's file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiser.errors import UsageError, reason

log = logging.getLogger(__name__)

NAME = ".denoise.jsonl"


@dataclass(frozen=True)
class Stamp:
    """An input file's state: size in bytes, modification time in nanoseconds, and SHA-256 of its content."""

    size: int
    mtime_ns: int
    sha256: str | None = None


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


class Record:
    """The record of one output folder. Nothing is created before the first line is written.

    Several runs may share a folder: every line is one `write` to a file opened for appending.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        # Lines as they are written: a third of what they take as objects.
        self._entries: dict[str, str] = {}
        self._before: dict[str, str | None] = {}
        self._file: int | None = None
        self._torn = False
        self._failed = False
        self._read()

    def _open(self, flags: int) -> int:
        """Open the record's own file, and nothing that somebody has put there to lead elsewhere.

        Raises UsageError for a link, a file that has another name too, and what is no file; OSError.
        """
        number = os.open(self._path, flags | _NO_DETOURS, 0o644)
        status = os.fstat(number)
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
            return number
        os.close(number)
        raise self._refused("has another name, too" if stat.S_ISREG(status.st_mode) else "is no regular file")

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"The record {self._path} {why}.", "Remove it, or use another folder.")

    def _read(self) -> None:
        try:
            with os.fdopen(self._open(os.O_RDONLY), "rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if self._path.is_symlink():
                raise self._refused("is a link") from error
            raise self._refused(f"can't be read: {error.strerror}") from error
        self._torn = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                self._entries[entry["output"]] = _line(entry)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # the torn end of a killed run's last line: that file is simply made again

    def knows(self, output: str) -> bool:
        """Whether this output was written, or begun, by us."""
        # Quotes within a name are escaped, so that this can only be the mark itself.
        return '"failed":true' not in self._entries.get(output, '"failed":true')

    def ours(self, output: str, destination: Path) -> bool:
        """Whether what lies at `destination` is this output, as it was written or half-way to it.

        A file of another size has come from somewhere else since; an empty one is what a power cut leaves.
        """
        if not self.knows(output):
            return False
        written = json.loads(self._entries[output]).get("output_size")
        if written is None:  # begun, and a kill may have come between its renaming and its line
            return True
        try:
            return destination.stat().st_size in (written, 0)
        except OSError:
            return True  # nothing there to lose

    def up_to_date(self, output: str, source: Path, destination: Path, made_with: str) -> bool:
        """Whether the record says that `output` was made from `source` as it is now, with these settings.

        The output must have the size at `destination` that was written: an emptied one is made again. The
        same size and time is the same input; another time or place but the same content, as after a copy or
        a checkout, is too.
        """
        entry: dict[str, Any] = json.loads(self._entries.get(output, "{}"))
        if entry.get("made_with") != made_with:
            return False
        try:
            status = source.stat()
            if entry.get("size") != status.st_size or entry.get("output_size") != destination.stat().st_size:
                return False
            if entry.get("mtime_ns") == status.st_mtime_ns and entry.get("source") == _absolute(source):
                return True
            with source.open("rb") as file:
                return bool(hashlib.file_digest(file, "sha256").hexdigest() == entry.get("sha256"))
        except OSError:
            return False

    def begin(self, outputs: Iterable[str]) -> None:
        """Note that these outputs are about to be written."""
        before = {output: self._entries.get(output) for output in outputs}
        self._before |= before
        self._append((output, _line({"output": output, "begun": True})) for output in before)

    def failed(self, output: str) -> None:
        """Note that an output that was begun was not written: what is there is what was there before."""
        self._append([(output, self._before.pop(output, None) or _line({"output": output, "failed": True}))])

    def done(self, output: str, source: Path, stamp: Stamp, made_with: str, *, output_size: int) -> None:
        """Note that an output is complete, and what it was made from and with."""
        self._before.pop(output, None)
        entry = {
            "output": output,
            "source": _absolute(source),
            "size": stamp.size,
            "mtime_ns": stamp.mtime_ns,
            "sha256": stamp.sha256,
            "made_with": made_with,
            "output_size": output_size,
        }
        self._append([(output, _line(entry))])

    def _append(self, entries: Iterable[tuple[str, str]]) -> None:
        lines = dict(entries)
        if not lines:
            return
        self._entries |= lines
        text = "\n".join(lines.values()) + "\n"
        left = memoryview((("\n" if self._torn else "") + text).encode("ascii"))
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._open(os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            while left:
                left = left[os.write(self._file, left) :]
                self._torn = bool(left)
        except OSError as error:
            # The files themselves may still be written; what is lost is that they need not be done again.
            if not self._failed:
                log.warning(
                    "The record %s can't be written (%s): files of this run may be done again in the next,"
                    " which may need --force.",
                    self._path,
                    reason(error),
                )
            self._failed = True

    def close(self) -> None:
        """Close the file; the record can still be asked, and opens it again to write."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
