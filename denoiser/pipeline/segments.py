"""The record of an output folder in a storage: segments that are written once, and held as digests.

A bucket can't append, so each wave of files is one object of lines, below `.denoise/`. Their names sort by
time, and have the token of the run that wrote them, so that several may write at once. In memory there are
two numbers for an output, each beside one for its name, as there may be millions. What lies in the storage
decides: a line counts as long as the object that it describes is there, whoever wrote it and when.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from denoiser.pipeline.record import FOLDER
from denoiser.storage.base import Entry, MissingError, Storage, StorageError

if TYPE_CHECKING:
    from denoiser.pipeline.shard import Shard

MOST_SEGMENTS = 64
MERGED_BYTES = 16 << 20
"""When there are more segments, those that are smaller are put together."""

_READ_ATTEMPTS = 5
_UNSORTED = 1 << 16
"""So many numbers are kept in the order in which they come before they are sorted into the others."""

_PARTS = 256
"""Of an index: so many small arrays take no more memory than a few large ones."""

_BEGUN, _FAILED = 1, 2
"""What the last line of an output says that was not finished; 0, which is not kept, for one that was."""

_ENDING = ".jsonl"
_AFTER = f"{FOLDER}0"  # "0" follows "/"
_OF_PART = re.compile(r"[0-9]+-(shard-[0-9]+-of-([0-9]+))-[0-9a-f]+-[0-9]+\.jsonl")


def number(text: str) -> int:
    """Return a number of 64 bits that stands for a text."""
    return int.from_bytes(blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "big")


class Index:
    """Numbers by texts, in 16 bytes each.

    They are kept in sorted parts by the first bits of what stands for a text, each sorted by itself: no more
    than a part of them is ever copied.

    Args:
        last: whether only the last number of each text is kept, and none where that is 0.

    """

    def __init__(self, *, last: bool = False) -> None:
        self._parts = [_IndexPart(last=last) for _ in range(_PARTS)]

    def add(self, text: str, value: int) -> None:
        """Add a number."""
        key = number(text)
        self._parts[key % _PARTS].add(key, value)

    def get(self, text: str) -> int | None:
        """Return the number of a text, the last that was added; None if there is none."""
        values = self._of(text)
        return int(values[-1]) if len(values) else None

    def has(self, text: str, value: int) -> bool:
        """Return True if this number was added for a text, whichever came later."""
        return bool((self._of(text) == np.uint64(value)).any())

    def _of(self, text: str) -> npt.NDArray[Any]:
        key = number(text)
        return self._parts[key % _PARTS].of(key)


class _IndexPart:
    """Numbers by those that stand for texts."""

    def __init__(self, *, last: bool) -> None:
        self._last = last
        self._keys, self._values = array("Q"), array("Q")
        self._sorted: tuple[npt.NDArray[Any], npt.NDArray[Any]] = (
            np.zeros(0, np.uint64),
            np.zeros(0, np.uint64),
        )

    def add(self, key: int, value: int) -> None:
        """Add a number."""
        self._keys.append(key)
        self._values.append(value)
        if len(self._keys) > max(_UNSORTED // _PARTS, len(self._sorted[0]) // 4):
            self._sort()

    def of(self, key: int) -> npt.NDArray[Any]:
        """Return the numbers that were added for this one, in their order."""
        if self._keys:
            self._sort()
        keys, values = self._sorted
        wanted = np.uint64(key)
        first = int(np.searchsorted(keys, wanted))
        if first == len(keys) or keys[first] != wanted:
            return values[:0]
        return values[first : int(np.searchsorted(keys, wanted, side="right"))]

    def _sort(self) -> None:
        """Sort what was added into what is sorted; equal keys stay in their order."""
        keys = np.concatenate((self._sorted[0], np.frombuffer(self._keys, np.uint64)))
        values = np.concatenate((self._sorted[1], np.frombuffer(self._values, np.uint64)))
        self._keys, self._values = array("Q"), array("Q")
        order = np.argsort(keys, kind="stable")
        keys, values = keys[order], values[order]
        if self._last and len(keys):
            kept = np.append(keys[1:] != keys[:-1], True) & (values != 0)
            keys, values = keys[kept], values[kept]
        self._sorted = keys, values


class Numbers:
    """A set of numbers of 64 bits, in 8 bytes each: sorted arrays, each twice the next at least."""

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._sorted: list[npt.NDArray[Any]] = []

    def add(self, value: int) -> bool:
        """Add a number; returns False if it was there."""
        if value in self._new:
            return False
        wanted = np.uint64(value)
        for each in self._sorted:
            place = int(np.searchsorted(each, wanted))
            if place < len(each) and each[place] == wanted:
                return False
        self._new.add(value)
        if len(self._new) >= _UNSORTED:
            self._sort()
        return True

    def _sort(self) -> None:
        latest = np.sort(np.fromiter(self._new, np.uint64, len(self._new)))
        self._new = set()
        while self._sorted and len(self._sorted[-1]) < 2 * len(latest):
            latest = np.sort(np.concatenate((self._sorted.pop(), latest)))
        self._sorted.append(latest)


def identity(output: Entry) -> int:
    """Return what stands for the content of an output."""
    return number(f"{output.size} {output.tag}")


def _state(source: Entry, made_with: str, output: int) -> int:
    """Return what stands for an output of this identity, made of this input with these settings."""
    return number(f"{source.size} {source.tag} {made_with} {output}")


class Segments:
    """The record in a storage; see the module.

    Args:
        storage: the output.
        shard: the part of a job that is done, if it is one. The segments of the other parts are read only if
            an output is there that no other segment knows, and none are put together: others are at work.

    """

    def __init__(self, storage: Storage, shard: Shard | None = None) -> None:
        self._storage, self._shard = storage, shard
        writer = "" if shard is None else f"{shard.writer}-"
        self._run = f"{writer}{os.urandom(4).hex()}"
        self._numbers = itertools.count(1)  # two threads may write
        self._segments: list[Entry] = []
        self._forget()

    def _forget(self) -> None:
        self._states, self._identities, self._unfinished = Index(), Index(), Index(last=True)
        self._seen: set[str] = set()
        self._complete = False

    def read(self, names: Iterable[Entry]) -> None:
        """Read the segments, some of the storage's objects."""
        self._segments = [each for each in names if is_segment(each.key)]
        self._read(lambda: self._segments, lambda each: not self._is_of_another(each))

    def _read(self, listed: Callable[[], Iterable[Entry]], wanted: Callable[[Entry], bool]) -> None:
        """Read wanted segments; all of them once more where another run puts them together meanwhile."""
        for _ in range(_READ_ATTEMPTS):
            try:
                self._add_all(filter(wanted, listed()))
                return
            except MissingError:
                self._forget()
                listed = partial(_segments, self._storage)
        raise StorageError(f"The record of {self._storage.url} changes all the time.", "Try again later.")

    def _is_of_another(self, segment: Entry) -> bool:
        """Return True for a segment of another of the parts, whose outputs are not those of this one."""
        match = _OF_PART.fullmatch(segment.key.rpartition("/")[2])
        return (
            match is not None
            and self._shard is not None
            and int(match[2]) == self._shard.count
            and match[1] != self._shard.writer
        )

    def _knows(self, key: str, output: int) -> bool:
        """Return True if an output is known to be ours, or to have been begun.

        One that seems not to be is asked for in all segments that there are by now. Another run may have
        written it while the outputs were listed; and where inputs came or went, another part.
        """
        if not self._complete and not self._has(key, output):
            self._complete = True
            self._read(partial(_segments, self._storage), lambda each: each.key not in self._seen)
        return self._has(key, output)

    def _has(self, key: str, output: int) -> bool:
        return self._unfinished.get(key) == _BEGUN or self._identities.has(key, output)

    def _add_all(self, segments: Iterable[Entry]) -> None:
        for segment in sorted(segments):
            self._seen.add(segment.key)
            for line in self._storage.read(segment.key).splitlines():
                try:
                    self._add(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue  # no line of ours

    def _add(self, fields: dict[str, Any]) -> None:
        output = fields["output"]
        if "begun" in fields:
            self._unfinished.add(output, _BEGUN)
            return
        if "failed" in fields:
            self._unfinished.add(output, _FAILED)
            return
        made = Entry(output, fields["output_size"], fields["output_tag"])
        source = Entry("", fields["size"], fields["source_tag"])
        self._states.add(output, _state(source, fields["made_with"], identity(made)))
        self._identities.add(output, identity(made))
        self._unfinished.add(output, 0)

    def tidy(self) -> None:
        """Put small segments together where there are many, but not while other parts are at work.

        Each is removed only when what replaces it is there.
        """
        segments, self._segments = self._segments, []
        if len(segments) <= MOST_SEGMENTS or self._shard is not None:
            return
        group: list[Entry] = []
        for segment in [*sorted(segments), None]:
            if segment is None or sum(each.size for each in group) + segment.size > MERGED_BYTES:
                try:
                    self._merge_group(group)
                except MissingError:
                    return  # another run does the same
                group = []
            if segment is not None:
                group.append(segment)

    def _merge_group(self, group: list[Entry]) -> None:
        if len(group) < 2:
            return
        content = b"".join(self._storage.read(each.key).rstrip(b"\n") + b"\n" for each in group)
        self._storage.write(f"{group[-1].key.removesuffix(_ENDING)}-merged{_ENDING}", content)
        for each in group:
            self._storage.delete(each.key)

    def is_up_to_date(self, key: str, output: int, source: Entry, made_with: str) -> bool:
        """Return True if an output of this identity was made of this input with these settings."""
        return self._knows(key, output) and self._states.has(key, _state(source, made_with, output))

    def is_ours(self, key: str, output: int) -> bool:
        """Return True if an output of this identity was written here, or may be what a kill left."""
        return self._knows(key, output)

    def is_recorded(self, key: str) -> bool:
        """Return True if an output was written, or begun, by this program."""
        return self._unfinished.get(key) is not None or self._identities.get(key) is not None

    def begin(self, outputs: Iterable[str]) -> None:
        """Record that these outputs are about to be written."""
        now = time.time_ns()
        self._write([{"output": output, "begun": now} for output in outputs])

    def done(self, outcomes: Iterable[dict[str, Any]]) -> None:
        """Record finished outputs."""
        self._write(list(outcomes))

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if not lines:
            return
        name = f"{time.time_ns():020d}-{self._run}-{next(self._numbers):06d}{_ENDING}"
        content = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines)
        self._storage.write(f"{FOLDER}/{name}", content.encode("ascii"), create=True)


def line(output: Entry, source: Entry, url: str, made_with: str, sha256: str | None) -> dict[str, Any]:
    """Return the line of a finished output: the fields of a folder's record, and the two tags."""
    return {
        "output": output.key,
        "source": url,
        "size": source.size,
        "mtime_ns": _time(source) or 0,
        "sha256": sha256,
        "made_with": made_with,
        "output_size": output.size,
        "output_mtime_ns": _time(output),
        "source_tag": source.tag,
        "output_tag": output.tag,
    }


def failure(output: str, url: str, error: str | None) -> dict[str, Any]:
    """Return the line of an output that was not written."""
    return {"output": output, "failed": True, "source": url, "error": error}


def _time(entry: Entry) -> int | None:
    """Return the modification time in nanoseconds that the tag of a file is."""
    return int(entry.tag) if entry.tag.isdecimal() and 15 < len(entry.tag) < 20 else None


def _segments(storage: Storage) -> Iterator[Entry]:
    """Yield the parts of the record, which any storage lists before nearly all else."""
    for entry in storage.list():
        if is_segment(entry.key):
            yield entry
        elif entry.key > _AFTER:
            return


def is_segment(key: str) -> bool:
    """Return True if an object is a part of the record."""
    return key.startswith(f"{FOLDER}/") and key.endswith(_ENDING)
