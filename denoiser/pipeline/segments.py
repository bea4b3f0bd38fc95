"""The record of an output folder in a storage: segments that are written once, and held as digests.

A bucket can't append, so each wave of files is one object of lines, below `.denoise/`. Their names sort by
time: of two lines on one output, the later counts. In memory there are three numbers for an output, each
beside one for its name, as there may be millions. What lies in the storage decides: a line counts as long as
the object that it describes is there.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser.pipeline.record import FOLDER
from denoiser.storage.base import Entry, MissingError, Storage

MOST_SEGMENTS = 64
MERGED_BYTES = 16 << 20
"""When there are more segments, those that are smaller are put together."""

_READ_ATTEMPTS = 5
_ENDING = ".jsonl"


def number(text: str) -> int:
    """Return a number of 64 bits that stands for a text."""
    return int.from_bytes(blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "big")


class Index:
    """Numbers by texts, in 16 bytes each and as many once they are sorted; the last of several counts."""

    def __init__(self) -> None:
        self._keys, self._values = array("Q"), array("Q")
        self._sorted: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None

    def add(self, text: str, value: int) -> None:
        """Add a number."""
        self._keys.append(number(text))
        self._values.append(value)
        self._sorted = None

    def get(self, text: str) -> int | None:
        """Return the number of a text."""
        if self._sorted is None:
            keys, values = (np.frombuffer(each, np.uint64) for each in (self._keys, self._values))
            order = np.argsort(keys, kind="stable")
            self._sorted = keys[order], values[order]
        keys, values = self._sorted
        wanted = np.uint64(number(text))
        place = int(np.searchsorted(keys, wanted, side="right")) - 1
        return int(values[place]) if place >= 0 and keys[place] == wanted else None


def identity(output: Entry) -> int:
    """Return what stands for the content of an output."""
    return number(f"{output.size} {output.tag}")


def _state(source: Entry, made_with: str, output: int) -> int:
    """Return what stands for an output of this identity, made of this input with these settings."""
    return number(f"{source.size} {source.tag} {made_with} {output}")


class Segments:
    """The record in a storage; see the module."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._run = os.urandom(4).hex()
        self._written = 0
        self._states, self._identities, self._begun = Index(), Index(), Index()

    def read(self, names: Iterable[Entry]) -> None:
        """Read the segments, some of the storage's objects; puts small ones together where there are many."""
        segments = [each for each in names if is_segment(each.key)]
        for _ in range(_READ_ATTEMPTS):
            try:
                self._read(segments)
                break
            except MissingError:  # another run has put them together meanwhile
                segments = [each for each in self._storage.list() if is_segment(each.key)]
        if len(segments) > MOST_SEGMENTS:
            self._merge(segments)

    def _read(self, segments: Iterable[Entry]) -> None:
        self._states, self._identities, self._begun = Index(), Index(), Index()
        for segment in sorted(segments):
            for line in self._storage.read(segment.key).splitlines():
                try:
                    self._add(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue  # no line of ours

    def _add(self, fields: dict[str, Any]) -> None:
        output = fields["output"]
        if "begun" in fields:
            self._begun.add(output, 1)
            return
        if "failed" in fields:
            self._begun.add(output, 0)
            return
        made = Entry(output, fields["output_size"], fields["output_tag"])
        source = Entry("", fields["size"], fields["source_tag"])
        self._states.add(output, _state(source, fields["made_with"], identity(made)))
        self._identities.add(output, identity(made))
        self._begun.add(output, 0)

    def _merge(self, segments: list[Entry]) -> None:
        """Put small segments together; each is removed only when what replaces it is there."""
        group: list[Entry] = []
        for segment in [*sorted(segments), None]:
            if segment is None or sum(each.size for each in group) + segment.size > MERGED_BYTES:
                if len(group) > 1:
                    content = b"".join(self._storage.read(each.key).rstrip(b"\n") + b"\n" for each in group)
                    self._storage.write(f"{group[-1].key.removesuffix(_ENDING)}-merged{_ENDING}", content)
                    for each in group:
                        self._storage.delete(each.key)
                group = []
            if segment is not None:
                group.append(segment)

    def is_up_to_date(self, key: str, output: int, source: Entry, made_with: str) -> bool:
        """Return True if an output of this identity was made of this input with these settings."""
        return self._states.get(key) == _state(source, made_with, output)

    def is_ours(self, key: str, output: int) -> bool:
        """Return True if an output of this identity was written here, or may be what a kill left."""
        return bool(self._begun.get(key)) or self._identities.get(key) == output

    def is_recorded(self, key: str) -> bool:
        """Return True if an output was written, or begun, by this program."""
        return self._begun.get(key) is not None

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
        self._written += 1
        name = f"{time.time_ns():020d}-{self._run}-{self._written:06d}{_ENDING}"
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


def is_segment(key: str) -> bool:
    """Return True if an object is a part of the record."""
    return key.startswith(f"{FOLDER}/") and key.endswith(_ENDING)
