"""Find the lines of an output in the files of a record, which may be much larger than the memory.

Lines of one folder lie together, more or less, as folders are cleaned one after the other. So the index keeps
for each folder (more exactly: for each of so many groups of folders) which stretches of the files have lines
of it. When an output is asked for, the stretches of its folder are read, and 16 bytes a line say where each
output's lines are. The lines themselves are read again when they are needed.
"""

from __future__ import annotations

import bisect
import json
import os
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from denoiser.pipeline.record_lines import Lines

GROUPS = 1 << 14
"""Groups of folders, which bound the index whatever the number of folders."""

GAP = 1 << 16
"""Bytes of other folders' lines that are read along, rather than kept as a gap."""

PIECE = 50_000
"""Lines that are in memory at a time where all of them are read."""

RECENT = 10_000
"""Outputs whose lines may stand apart from the others of a folder before these are read again."""

_LOADED = 8
_OPEN = 32
_BLOCK = 1 << 18
_START = b'{"output":"'
_OFFSET_BITS = 44
_MASK = (1 << 64) - 1


class _File:
    """A file of the record, read up to `end`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity: tuple[int, int] | None = None
        self.end = 0
        self.changed_ns = 0


@dataclass
class _Table:
    """Where the lines of outputs are: digests of the outputs, sorted, and the places of their lines.

    `recent` has the places of lines that were written since, by digest.
    """

    digests: memoryview
    places: memoryview
    recent: dict[int, list[int]] = field(default_factory=dict)


class Index:
    """Where the lines are in some files, which only grow.

    Args:
        reader: opens a file to read it; raises FileNotFoundError if it is gone.

    """

    def __init__(self, reader: Callable[[Path], int]) -> None:
        self._reader = reader
        self._files: list[_File] = []
        self._numbers: dict[Path, int] = {}
        self._stretches: dict[int, array[int]] = {}
        """Of each group of folders, in turn: the place where a stretch starts, the offset where it ends."""
        self._tables: OrderedDict[int, _Table] = OrderedDict()
        self._opened: OrderedDict[int, int] = OrderedDict()

    def update(self, paths: Iterable[Path]) -> bool:
        """Read what files have that was not read yet; returns False if one is gone or was replaced."""
        for path in paths:
            number = self._numbers.setdefault(path, len(self._files))
            if number == len(self._files):
                self._files.append(_File(path))
            file = self._files[number]
            try:
                opened = self._open(number)
            except FileNotFoundError:
                return False
            status = os.fstat(opened)
            identity = status.st_dev, status.st_ino
            if not status.st_nlink or status.st_size < file.end or file.identity not in (None, identity):
                return False
            file.identity, file.changed_ns = identity, status.st_mtime_ns
            if status.st_size > file.end:
                self._read(number, status.st_size)
        return True

    def _read(self, number: int, size: int) -> None:
        """Note where the new lines of a file are."""
        file = self._files[number]
        folder, group = None, 0
        for offset, line in self._lines(number, file.end, size):
            if not line.endswith(b"\n"):
                break  # not written to the end, or torn
            file.end = offset + len(line)
            output = _output(line)
            if output is None:
                continue
            its_folder = output.rpartition("/")[0]
            if its_folder != folder:
                folder, group = its_folder, hash(its_folder) % GROUPS
            place = number << _OFFSET_BITS | offset
            stretches = self._stretches.setdefault(group, array("Q"))
            same = stretches and stretches[-2] >> _OFFSET_BITS == number
            if same and offset - stretches[-1] <= GAP:
                stretches[-1] = file.end
            else:
                stretches.extend((place, file.end))
            table = self._tables.get(group)
            if table is not None:
                table.recent.setdefault(hash(output) & _MASK, []).append(place)
                if len(table.recent) > RECENT:
                    del self._tables[group]

    def _lines(self, number: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the lines between two offsets with their own offsets; the last may have no end."""
        rest: list[bytes] = []  # of a line, and `offset` is where that starts
        offset = start
        while start < end:
            block = _read_at(self._open(number), min(_BLOCK, end - start), start)
            if not block:
                break
            start += len(block)
            *lines, last = block.split(b"\n")
            for line in lines:
                whole = b"".join((*rest, line, b"\n"))
                rest.clear()
                yield offset, whole
                offset += len(whole)
            rest.append(last)
        if any(rest):
            yield offset, b"".join(rest)

    def _open(self, number: int) -> int:
        """Return an open file; only so many are open at once."""
        if number in self._opened:
            self._opened.move_to_end(number)
            return self._opened[number]
        opened = self._reader(self._files[number].path)
        self._opened[number] = opened
        while len(self._opened) > _OPEN:
            os.close(self._opened.popitem(last=False)[1])
        return opened

    def lines(self, output: str) -> Lines:
        """Return one output's lines, and perhaps others. Raises FileNotFoundError if a file is gone."""
        table = self._table(hash(output.rpartition("/")[0]) % GROUPS)
        digest = hash(output) & _MASK
        first = bisect.bisect_left(table.digests, digest)
        last = bisect.bisect_right(table.digests, digest, first)
        found = Lines()
        places = sorted([*table.places[first:last], *table.recent.get(digest, ())])
        self._take(found, places)
        return found

    def pieces(self) -> Iterator[Lines]:
        """Yield all lines in pieces that memory has room for, those of one output together."""
        for group in list(self._stretches):
            self._tables.pop(group, None)  # its recent lines stand apart
            table = self._table(group)
            first = 0
            while first < len(table.digests):
                last = min(first + PIECE, len(table.digests))
                last = bisect.bisect_right(table.digests, table.digests[last - 1])
                found = Lines()
                self._take(found, sorted(table.places[first:last]))
                yield found
                first = last

    def _take(self, lines: Lines, places: list[int]) -> None:
        """Read the lines at places, which are sorted, file by file."""
        by_file: dict[int, list[bytes]] = {}
        for place in places:
            number, offset = place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1)
            by_file.setdefault(number, []).append(self._line(number, offset))
        for number, found in by_file.items():
            lines.read(found, self._files[number].changed_ns)

    def _line(self, number: int, offset: int) -> bytes:
        size, line = 1 << 10, b""
        while b"\n" not in line:
            more = _read_at(self._open(number), size, offset + len(line))
            if not more:
                break
            line += more
            size *= 4
        return line.partition(b"\n")[0]

    def _table(self, group: int) -> _Table:
        """Return where the lines of a group of folders are."""
        if group in self._tables:
            self._tables.move_to_end(group)
            return self._tables[group]
        import numpy as np

        digests, places = array("Q"), array("Q")
        stretches = self._stretches.get(group, array("Q"))
        begun: dict[tuple[int, int], int] = {}
        for index in range(0, len(stretches), 2):
            number, offset = stretches[index] >> _OFFSET_BITS, stretches[index] & ((1 << _OFFSET_BITS) - 1)
            folder, inside = None, False
            for at, line in self._lines(number, offset, stretches[index + 1]):
                output = _output(line)
                if output is None:
                    continue
                its_folder = output.rpartition("/")[0]
                if its_folder != folder:
                    folder, inside = its_folder, hash(its_folder) % GROUPS == group
                if not inside:
                    continue
                digest, place = hash(output) & _MASK, number << _OFFSET_BITS | at
                if b'"begun"' in line:
                    begun[digest, number] = place  # a later line of the same file takes its place
                    continue
                begun.pop((digest, number), None)
                digests.append(digest)
                places.append(place)
        for (digest, _), place in begun.items():
            digests.append(digest)
            places.append(place)
        del begun
        if not digests:
            return self._keep(group, _Table(memoryview(digests), memoryview(places)))
        order = np.argsort(np.frombuffer(digests, np.uint64))
        ordered = np.frombuffer(digests, np.uint64)[order]
        del digests
        table = _Table(ordered.data, np.frombuffer(places, np.uint64)[order].data)
        return self._keep(group, table)

    def _keep(self, group: int, table: _Table) -> _Table:
        self._tables[group] = table
        while len(self._tables) > _LOADED:
            self._tables.popitem(last=False)
        return table

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        while self._opened:
            os.close(self._opened.popitem()[1])


def _read_at(number: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(number, size, offset)
    os.lseek(number, offset, os.SEEK_SET)
    return os.read(number, size)


def _output(line: bytes) -> str | None:
    """Return the output that a line is of; None if it is no line of a record."""
    if line.startswith(_START):
        name, quote, _ = line[len(_START) :].partition(b'"')
        if quote and b"\\" not in name and name.isascii():
            return name.decode("ascii")
    try:
        output = json.loads(line)["output"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return output if isinstance(output, str) else None
