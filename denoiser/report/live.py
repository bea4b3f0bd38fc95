"""Rows of a report that are made while a run has the pixels in memory, so that no file is read again."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from denoiser._types import Floats
from denoiser.imaging.picture import BECAME_GRAY, Picture, quantize
from denoiser.pipeline.plan import Job
from denoiser.report.entry import Entry, View
from denoiser.report.examine import compared, drawn, measured, notes, plain
from denoiser.report.harm import Measures
from denoiser.report.views import Size
from denoiser.system import atomic

log = logging.getLogger(__name__)

NOT_SEEN = False
"""Of a file whose pages were not seen as a reader of the files would see them."""


class Live:
    """Makes a file's row from its pages, in whichever process cleans it.

    Args:
        pictures: the folder for the pictures; None draws none.
        token: begins their names.

    """

    def __init__(self, pictures: Path | None, token: str) -> None:
        self._pictures, self._token = pictures, token

    def page(self, job: Job, before: Picture, after: Picture, seen: Any) -> Any:
        """Return the row of a file after one more of its pages; `NOT_SEEN` where the files must be read."""
        if seen is NOT_SEEN or BECAME_GRAY in before.notes:
            return NOT_SEEN  # the picture before would be gray
        entry = seen if isinstance(seen, Entry) else Entry(job.relative, job.source, job.destination)
        try:
            result = _as_written(after)
            return self._page(entry, before, result, measured([(before.pixels, result)])[0])
        except Exception as error:
            log.debug("the report of %s", job.source, exc_info=error)
            return NOT_SEEN

    def pages(self, files: Sequence[tuple[Job, Picture, Picture]]) -> list[Any]:
        """Return the rows of small files of one page each, which are measured together."""
        found: list[Any] = [NOT_SEEN] * len(files)
        gray = [BECAME_GRAY in before.notes for _, before, _ in files]
        shown = [(index, *file) for index, file in enumerate(files) if not gray[index]]
        try:
            results = [_as_written(after) for *_, after in shown]
            pairs = [
                (before.pixels, result) for (_, _, before, _), result in zip(shown, results, strict=True)
            ]
            for (index, job, before, _), result, figures in zip(shown, results, measured(pairs), strict=True):
                entry = Entry(job.relative, job.source, job.destination)
                found[index] = self._page(entry, before, result, figures)
        except Exception as error:
            log.debug("the report of %d small files", len(files), exc_info=error)
        return found

    def _page(self, entry: Entry, before: Picture, result: Floats, found: Measures | None) -> Entry:
        entry, worst = compared(entry, before.page.index, before, result, found)
        if worst is None:
            return entry
        pages = before.page.count
        remarks = tuple(notes(worst, pages, pages))
        if entry.notes != remarks:
            entry = replace(entry, notes=remarks)
        if self._pictures is None:
            return entry
        assert entry.source is not None  # noqa: S101 - a run knows it
        assert entry.output is not None  # noqa: S101 - and where the result goes
        files = (entry.source, entry.output)
        shown = drawn(entry, worst, Size(), files if plain(files, before, pages) else ())
        views = tuple(self._stored(shown.name, view) for view in shown.views)
        return shown if views == shown.views else replace(shown, views=views)

    def _stored(self, name: str, view: View) -> View:
        """Write the pictures of a row; those of a page before, which was not as bad, are replaced."""
        if view.kind == "image/png" or not isinstance(view.before, bytes):
            return view  # small ones stand in the page, or the page shows the files
        before, after = (
            self._write(f"{name}\0{view.name}\0{which}", content, view.ending)
            for which, content in (("before", view.before), ("after", view.after))
        )
        return replace(view, before=before, after=after)

    def _write(self, key: str, content: bytes | Path | None, ending: str) -> bytes | Path | None:
        if not isinstance(content, bytes):
            return content
        assert self._pictures is not None  # noqa: S101 - asked before
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        path = self._pictures / f"{self._token}-{digest[:24]}{ending}"
        atomic.write(path, content)
        return path


def _as_written(picture: Picture) -> Floats:
    """Return pixels as a reader of the file sees them: rounded to 8 bit, where it has no more."""
    if picture.page.depth > 8:
        return picture.pixels
    rounded = quantize(picture.pixels, 8).astype(np.float32)
    rounded *= np.float32(1.0 / 255.0)
    return rounded


def discard(entry: Entry, pictures: Path | None) -> None:
    """Remove a row's pictures."""
    for view in entry.views:
        for content in (view.before, view.after):
            if isinstance(content, Path) and content.parent == pictures:
                with contextlib.suppress(OSError):
                    content.unlink()
