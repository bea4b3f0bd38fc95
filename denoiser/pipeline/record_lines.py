"""The lines of a record: what they say of an output, and how they are written."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_KEPT = 4  # entries of one output that merging keeps, the newest; older ones can't be of what is there

_NOW = 1 << 63
"""The time of an output that earlier versions recorded, without any."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def _line(entry: dict[str, Any]) -> str:
    return _ENCODER.encode(entry)


class Entry(NamedTuple):
    """A finished output: what it was made from and with, what it is known by, and what was noted of it.

    Of outputs that earlier versions recorded, only the size is known.
    """

    source: str
    size: int
    mtime_ns: int
    sha256: str | None
    made_with: str
    output_size: int
    output_mtime_ns: int | None
    notes: tuple[str, ...] = ()

    def is_there(self, there: os.stat_result) -> bool:
        """Return True if it describes the file that is there."""
        return self.output_size == there.st_size and self.output_mtime_ns in (None, there.st_mtime_ns)

    def line(self, output: str) -> str:
        """Return its line."""
        told = self._asdict()
        if not self.notes:
            del told["notes"]
        return _line({"output": output, **told})


@dataclass(frozen=True)
class Recorded:
    """The newest of what the record tells of one output.

    Attributes:
        output: path of the output, relative to the folder.
        source: absolute path of the input, where it is known: a failed output has none of earlier versions.
        made_with: digest of the settings; "" of a failed output.
        finished_ns: modification time of the output in nanoseconds, where it is known; of a failed one, when
            it failed.
        size, mtime_ns, sha256: size in bytes, modification time in nanoseconds and checksum, where it is
            known, that the input had.
        failed: whether the output was begun and not written.
        error: why it failed, where it is known; of a finished output, why a later try failed.
        notes: what changed that was not asked for, one sentence each, as in `Outcome`.

    """

    output: str
    source: str | None
    made_with: str = ""
    finished_ns: int | None = None
    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    failed: bool = False
    error: str | None = None
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the line of a failed output."""
        told = {"when": self.finished_ns, "source": self.source, "error": self.error}
        return _line(
            {"output": self.output, "failed": True, **{key: value for key, value in told.items() if value}}
        )

    def is_of_another(self, source: Path | None) -> bool:
        """Whether the input is another now than when it was cleaned: its size, or its time and content."""
        if self.failed or source is None:
            return False
        try:
            status = source.stat()
            if (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns):
                return False
            return status.st_size != self.size or checksum(source) != self.sha256
        except OSError:
            return False


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, as a record has it. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Lines:
    """Lines of all files of a record together, of some outputs."""

    def __init__(self) -> None:
        self.done: dict[str, tuple[Entry, ...]] = {}
        self.begun: dict[str, int] = {}
        """Times at which outputs were begun that the same run did not finish."""
        self.failed: dict[str, Recorded] = {}
        """Outputs that failed last, as far as the times of lines tell, or their order in one file."""

    def read(self, lines: Iterable[bytes], changed_ns: int) -> None:
        """Add lines of one file, which was last written to at `changed_ns`."""
        begun: dict[str, int] = {}
        for line in lines:
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
                    self._add_failure(_failure(output, fields))
                    continue
                entry = _entry(fields)
                self.add(output, entry)
                failure = self.failed.get(output)
                if failure is not None and (failure.finished_ns or 0) <= (entry.output_mtime_ns or _NOW):
                    del self.failed[output]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # the torn end of a killed run's last line: that file is simply made again
        for output, when in begun.items():
            self.begun[output] = max(when, self.begun.get(output, 0))

    def _add_failure(self, failure: Recorded) -> None:
        """Add a failure, unless what is known of its output is newer."""
        known = self.failed.get(failure.output)
        times = [entry.output_mtime_ns or 0 for entry in self.done.get(failure.output, ())]
        times.append(0 if known is None else known.finished_ns or 0)
        if failure.finished_ns is None or failure.finished_ns >= max(times):
            self.failed[failure.output] = failure

    def add(self, output: str, entry: Entry) -> None:
        """Add a finished output."""
        before = self.done.get(output, ())
        self.done[output] = (*(each for each in before if each != entry), entry)

    def entries(self, output: str, there: os.stat_result) -> list[Entry]:
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
        yield from (begun_line(output, when) for output, when in self.begun.items() if self.half_way(output))


def _entry(fields: dict[str, Any]) -> Entry:
    numbers = [fields[key] for key in ("size", "mtime_ns", "output_size")]
    texts = [fields["source"], fields["made_with"]]
    notes = fields.get("notes", [])
    known, checksum = fields.get("output_mtime_ns"), fields["sha256"]
    whole = all(isinstance(number, int) for number in (*numbers, known or 0))
    if not whole or not all(isinstance(text, str) for text in (*texts, checksum or "", *notes)):
        raise ValueError("no entry of ours")
    size, mtime_ns, output_size = numbers
    told = tuple(sys.intern(note) for note in notes)  # a few sentences, for many files
    return Entry(texts[0], size, mtime_ns, checksum, sys.intern(texts[1]), output_size, known, told)


def _failure(output: str, fields: dict[str, Any]) -> Recorded:
    source, error, when = fields.get("source"), fields.get("error"), fields.get("when")
    return Recorded(
        output,
        source if isinstance(source, str) else None,
        finished_ns=when if isinstance(when, int) else None,
        failed=True,
        error=error if isinstance(error, str) else None,
    )


def begun_line(output: str, when: int) -> str:
    """Return the line of an output that is about to be written."""
    return _line({"output": output, "begun": when})
