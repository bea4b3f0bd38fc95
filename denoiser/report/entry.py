"""One row of a report: an image, how it fared, and the pictures of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from denoiser.errors import on_one_line

FAILED, DONE, CHANGED, MISSING = "failed", "done", "input changed", "missing"


@dataclass(frozen=True)
class View:
    """A part of an image before and after, encoded for a browser.

    Attributes:
        name: "whole" or "detail".
        width, height: pixels of the image that it shows.
        before, after: encoded images, as bytes; or paths of files that a browser can show itself; None of a
            result that there isn't.
        kind: MIME type of the bytes.

    """

    name: str
    width: int
    height: int
    before: bytes | Path | None
    after: bytes | Path | None
    kind: str = "image/jpeg"

    @property
    def ending(self) -> str:
        """The ending of a file with an image of this kind."""
        return {"image/jpeg": ".jpg", "image/webp": ".webp", "image/png": ".png"}[self.kind]


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes:
        name: what to call it: the path of its output below the folder, or of its input.
        source, output: the files, where they are known.
        status: "failed", "done", "input changed" (since it was cleaned) or "missing" (the input or output).
        harm: how likely content was lost, 0 and up; see `harm.of`. None where it could not be measured.
        noise, change, structure: see `harm.Measures`, the worst page's.
        page, pages: number of the worst page from 1, and how many there are.
        width, height, depth: that page's size in pixels, and bits a sample.
        notes: sentences about it, without a full stop.
        error: why it failed.
        url: where the input is, if it is in a storage.

    """

    name: str
    source: Path | None
    output: Path | None
    status: str = DONE
    harm: float | None = None
    noise: float | None = None
    change: float | None = None
    structure: float | None = None
    page: int = 1
    pages: int = 0
    width: int = 0
    height: int = 0
    depth: int = 0
    notes: tuple[str, ...] = ()
    error: str | None = None
    url: str | None = None
    views: tuple[View, ...] = field(default=(), compare=False)

    @property
    def order(self) -> tuple[int, float, str]:
        """Sort key, worst first: failures, then likely harm, to which each note adds a little."""
        first = (FAILED, MISSING, CHANGED, DONE).index(self.status) if self.harm is None else 3
        return first, -(self.harm or 0.0) - 0.02 * len(self.notes), self.name

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the JSON object of results.jsonl; levels are on the scale 0..1."""
        return {
            "name": self.name,
            "source": self.url if self.source is None else str(self.source),
            "output": None if self.output is None else str(self.output),
            "status": self.status,
            "harm": rounded(self.harm, 3),
            "noise": rounded(self.noise, 5),
            "change": rounded(self.change, 5),
            "structure": rounded(self.structure, 5),
            "page": self.page,
            "pages": self.pages,
            "width": self.width,
            "height": self.height,
            "depth": self.depth,
            "notes": list(self.notes),
            "error": self.error,
        }


def rounded(value: float | None, digits: int) -> float | None:
    """Round what is there."""
    return None if value is None else round(float(value), digits)


def shown(text: str) -> str:
    """Return a file's name as a page may show it: one line, no turning of its direction, valid Unicode."""
    return on_one_line(os.fsencode(text).decode("utf-8", "backslashreplace"))
