"""The rows of a report: the worst in memory, and of all others figures for the histograms."""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections import Counter
from pathlib import Path
from typing import IO

from denoiser.report.entry import Entry
from denoiser.report.live import discard

_IN_MEMORY = 1 << 20
"""Bytes of results.jsonl that are kept in memory; a longer one waits in a temporary file."""


class Rows:
    """Collects rows, so that a million files take hardly more memory than the worst ten thousand.

    Args:
        most: how many of the worst are kept.
        pictures: the folder of the pictures, from which those of dropped rows are removed.

    Attributes:
        count: how many rows there were.
        pages: how many pages they have.
        statuses: how many rows have each status.
        noise, change, harm: the figures of all that have them, on the scale 0..1.

    """

    def __init__(self, most: int, pictures: Path | None) -> None:
        self._most, self._pictures = most, pictures
        self._kept: list[Entry] = []
        self._lines = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the rows
        self.count = 0
        self.pages = 0
        self.statuses: Counter[str] = Counter()
        self.noise, self.change, self.harm = array("f"), array("f"), array("f")

    def add(self, entry: Entry) -> None:
        """Add a row."""
        self.count += 1
        self.pages += entry.pages
        self.statuses[entry.status] += 1
        for values, value in (
            (self.noise, entry.noise),
            (self.change, entry.change),
            (self.harm, entry.harm),
        ):
            if value is not None:
                values.append(value)
        self._lines.write((json.dumps(entry.as_dict()) + "\n").encode("ascii"))
        self._kept.append(entry)
        if len(self._kept) > 2 * self._most:
            self._prune()

    def _prune(self) -> None:
        self._kept.sort(key=lambda entry: entry.order)
        for entry in self._kept[self._most :]:
            discard(entry, self._pictures)
        del self._kept[self._most :]

    def worst(self) -> list[Entry]:
        """Return the rows that are kept, the worst first."""
        self._prune()
        return list(self._kept)

    def write_lines(self, file: IO[bytes]) -> None:
        """Write all rows as JSON lines, in the order in which they came."""
        self._lines.seek(0)
        shutil.copyfileobj(self._lines, file)

    def close(self) -> None:
        """Free the temporary file."""
        self._lines.close()
