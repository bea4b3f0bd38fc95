"""Builds a report: which files, how many of them are drawn, and where everything is written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from denoiser import __version__
from denoiser.errors import FileError, reason
from denoiser.progress import NullProgress, Progress
from denoiser.report import charts
from denoiser.report.entry import DONE, FAILED, Entry, View, rounded, shown
from denoiser.report.examine import Pair, Unmeasured, examine, finished, read
from denoiser.report.page import Column, Table, data_url, render
from denoiser.report.place import ALL, MOST_ROWS, PICTURE, Draft, Target, real
from denoiser.report.rows import Rows
from denoiser.report.views import Size
from denoiser.system import atomic
from denoiser.system.hardware import cores

ALONE_ROWS = 100
ALONE_BYTES = 10_000_000
"""Largest size of a page that stands alone, in bytes."""

_WEBP = "image/webp"
_ALONE_SIZES = (Size(512, 384, 75, _WEBP), Size(384, 256, 60, _WEBP), Size(256, 192, 50, _WEBP))
"""How large pictures are in a page that stands alone; the first with which it is small enough."""

_LARGE_BYTES, _TOGETHER = 16 << 20, 64
"""Larger files are read one at a time, for the sake of memory; so many others side by side."""

COLUMNS = (
    Column("name", "Name", "Path of the output below the output folder"),
    Column("status", "Status", "done, failed, input changed since, or missing"),
    Column("harm", "Harm", "How likely content was lost: about 0.1 is usual, above 0.4 look at it", 2),
    Column("noise", "Noise", "Standard deviation of the input's noise, of 255", 1),
    Column("change", "Change", "Root mean square of the difference, of 255", 1),
    Column("structure", "Structure", "Strokes, lines and patterns in the difference, of 255", 1),
    Column("pages", "Pages", "Number of pages", 0),
    Column("megapixels", "MP", "Megapixels of the page that is shown", 2),
    Column("notes", "Notes", "Remarks, and errors"),
)
_FIELDS = (*(column.field for column in COLUMNS), "said", "source", "result", "views")


def rows_for(target: Target) -> Rows:
    """Return where rows are collected for a report."""
    return Rows(ALONE_ROWS if target.alone else MOST_ROWS, target.pictures)


def build(
    pairs: Sequence[Pair],
    draft: Draft,
    *,
    rows: Rows | None = None,
    facts: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    limit: float = 500.0,
) -> int:
    """Write a report; returns how many rows it has. One that can't be finished leaves nothing behind.

    Args:
        pairs: inputs and outputs that are to be read.
        draft: where it goes.
        rows: rows that there are already.
        facts: names and values for the summary beside those that follow from the files.
        progress: shows how far it is.
        limit: largest page to read, in millions of pixels.

    Raises:
        FileError: it can't be written.

    """
    rows = rows or rows_for(draft.target)
    try:
        return _build(pairs, draft, rows, facts or {}, progress or NullProgress(), limit)
    except BaseException as error:
        draft.discard()
        if isinstance(error, OSError):
            raise FileError(f"The report {draft.target.path} can't be written: {reason(error)}.") from error
        raise
    finally:
        rows.close()


def _build(
    pairs: Sequence[Pair],
    draft: Draft,
    rows: Rows,
    facts: Mapping[str, str],
    progress: Progress,
    limit: float,
) -> int:
    target = draft.target
    at_once = Size() if not target.alone and len(pairs) <= MOST_ROWS else None
    progress.start(len(pairs), "images", "report")
    pictures = Pictures(draft)
    try:
        for done, entry in enumerate(_examined(pairs, at_once, pictures, limit), 1):
            rows.add(entry)
            progress.update(done)
    finally:
        progress.finish()
    kept = rows.worst()
    if target.alone:
        content = _alone(kept, rows, target, facts, limit)
        atomic.write(target.page, content.encode("utf-8"))
        return len(kept)
    if at_once is None:
        again = {pair.name for pair in pairs}
        missing = [_pair(entry) for entry in kept if entry.name in again and not entry.views]
        drawn = {entry.name: entry.views for entry in _examined(missing, Size(), pictures, limit)}
        kept = [replace(entry, views=drawn.get(entry.name, entry.views)) for entry in kept]
    content = _page(kept, rows, target, facts)
    with atomic.replacing(target.path / ALL) as file:
        rows.write_lines(file)
        file.flush()  # on a full disk, before the page is there
        atomic.write(target.page, content.encode("utf-8"))
    pictures.remove_others(kept)
    return len(kept)


def _pair(entry: Entry) -> Pair:
    """Return the files of a row, to be read again for its pictures."""
    failed = entry.status == FAILED
    return Pair(entry.name, entry.source, entry.output or Path(), failed, entry.error)


class Pictures:
    """Writes the pictures beside a page, named after their content."""

    def __init__(self, draft: Draft) -> None:
        self._folder = draft.target.pictures
        self._token = draft.token
        self._names: set[str] = set()

    def stored(self, entry: Entry) -> Entry:
        """Write what is drawn of a row, and let its views name the files."""
        if self._folder is None:
            return entry
        return replace(entry, views=tuple(self._stored(view) for view in entry.views))

    def _stored(self, view: View) -> View:
        return replace(view, before=self._write(view.before, view), after=self._write(view.after, view))

    def _write(self, content: bytes | Path | None, view: View) -> bytes | Path | None:
        if not isinstance(content, bytes) or view.kind == "image/png":
            return content  # small ones stand in the page
        assert self._folder is not None  # noqa: S101 - asked before
        path = self._folder / f"{self._token}-{hashlib.sha256(content).hexdigest()[:24]}{view.ending}"
        if path.name not in self._names:
            self._names.add(path.name)
            atomic.write(path, content)
        return path

    def remove_others(self, kept: Iterable[Entry]) -> None:
        """Remove pictures of an earlier report in this place, and those of rows that are not shown."""
        if self._folder is None or not self._folder.is_dir():
            return
        views = [view for entry in kept for view in entry.views]
        contents = (content for view in views for content in (view.before, view.after))
        shown = {content.name for content in contents if isinstance(content, Path)}
        for path in self._folder.iterdir():
            if PICTURE.fullmatch(path.name) and path.name not in shown:
                with contextlib.suppress(OSError):
                    path.unlink()


def _examined(pairs: Iterable[Pair], size: Size | None, pictures: Pictures, limit: float) -> Iterator[Entry]:
    """Examine files in order, small ones side by side; in memory are a few of them at a time."""
    with ThreadPoolExecutor(max(1, cores())) as threads:
        for group in _grouped(pairs):
            found: list[Entry | Unmeasured]
            if len(group) == 1:  # its pictures are drawn while no other is in memory
                found = [read(group[0], size=size, limit=limit)]
            else:
                found = list(threads.map(partial(read, size=size, limit=limit), group))
            yield from map(pictures.stored, finished(found, size=size))


def _grouped(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Cut files into groups of neighbours; each large one is a group of its own."""
    group: list[Pair] = []
    for pair in pairs:
        large = _is_large(pair)
        if group and (large or len(group) >= _TOGETHER):
            yield group
            group = []
        group.append(pair)
        if large:
            yield group
            group = []
    if group:
        yield group


def _is_large(pair: Pair) -> bool:
    try:
        return pair.source is not None and pair.source.stat().st_size > _LARGE_BYTES
    except OSError:
        return False


def _alone(
    kept: Sequence[Entry],
    rows: Rows,
    target: Target,
    facts: Mapping[str, str],
    limit: float,
) -> str:
    """Return a page that holds its pictures, as large ones as there is room for."""
    for size in _ALONE_SIZES:
        draw: Callable[[Entry], Entry] = partial(_drawn, size=size, limit=limit)
        with ThreadPoolExecutor(max(1, cores())) as threads:
            drawn = list(threads.map(draw, kept))
        content = _page(drawn, rows, target, facts)
        if len(content) <= ALONE_BYTES:
            return content
    while len(content) > ALONE_BYTES and any(entry.views for entry in drawn):
        last = max(index for index, entry in enumerate(drawn) if entry.views)
        for index in range(max(0, last - 4), last + 1):
            drawn[index] = replace(drawn[index], views=())
        content = _page(drawn, rows, target, facts)
    return content


def _drawn(entry: Entry, size: Size, limit: float) -> Entry:
    return replace(entry, views=examine(_pair(entry), size=size, inline=True, limit=limit).views)


def _page(kept: Sequence[Entry], rows: Rows, target: Target, facts: Mapping[str, str]) -> str:
    left = rows.count - len(kept)
    hint = f"The {len(kept):,} worst of {rows.count:,} are listed." if left else ""
    if left and not target.alone:
        hint += f" {ALL} has all of them."
    drawings = [
        charts.histogram("Noise of the inputs, of 255", _levels(rows.noise)),
        charts.histogram("Change, of 255", _levels(rows.change)),
        charts.histogram("Likely harm", rows.harm),
    ]
    links = _Links(target)
    table = Table(COLUMNS, _FIELDS, [_row(entry, links) for entry in kept])
    return render("What denoise did", {**_summary(rows), **facts}, drawings, table, hint)


def _levels(values: array[float]) -> array[float]:
    return array("f", (255.0 * value for value in values))


def _summary(rows: Rows) -> dict[str, str]:
    counts = rows.statuses
    rest = "".join(f", {number:,} {status}" for status, number in counts.items() if status != DONE)
    return {
        "Files": f"{counts[DONE]:,} done{rest}",
        "Pages": f"{rows.pages:,}",
        "Report": f"denoise {__version__}, {time.strftime('%Y-%m-%d %H:%M')}",
    }


def _row(entry: Entry, links: _Links) -> list[Any]:
    values = {
        "name": shown(entry.name),
        "status": entry.status,
        "harm": rounded(entry.harm, 3),
        **{
            field: rounded(None if value is None else 255.0 * value, 2)
            for field in ("noise", "change", "structure")
            for value in (getattr(entry, field),)
        },
        "pages": entry.pages or None,
        "megapixels": rounded(entry.width * entry.height / 1e6, 3) if entry.width else None,
        "notes": ". ".join(shown(text) for text in (entry.error, *entry.notes) if text),
        "said": _said(entry),
        "source": links.to(entry.source),
        "result": links.to(entry.output),
        "views": [
            [
                view.name,
                view.width,
                view.height,
                _image(view.before, view, links),
                _image(view.after, view, links),
            ]
            for view in entry.views
        ],
    }
    return [values[field] for field in _FIELDS]


def _said(entry: Entry) -> str:
    if not entry.width:
        return ""
    bits = "floating point" if entry.depth == 32 else f"{entry.depth} bit"
    page = f"page {entry.page} of {entry.pages}, the worst; " if entry.pages > 1 else ""
    return f"{page}{entry.width} x {entry.height} pixels, {bits}"


def _image(content: bytes | Path | None, view: View, links: _Links) -> str | None:
    if isinstance(content, bytes):
        return data_url(content, view.kind)
    return links.to(content)


class _Links:
    """Links from a page to files, whatever their names are made of.

    Args:
        target: where the page is.

    """

    def __init__(self, target: Target) -> None:
        self._start = real(target.folder)
        self._folders: dict[Path, str] = {}

    def to(self, path: Path | None) -> str | None:
        """Return a link to a file that is there: its folder's links are resolved, and not its own."""
        if path is None or not os.path.exists(path):  # noqa: PTH110 - which never raises
            return None
        folder = self._folders.get(path.parent)
        if folder is None:
            folder = self._folders[path.parent] = self._to_folder(path.parent)
        return folder + quote(os.fsencode(path.name))

    def _to_folder(self, folder: Path) -> str:
        resolved = real(folder)
        try:
            relative = os.path.relpath(resolved, self._start)
        except ValueError:  # another drive
            return resolved.as_uri().rstrip("/") + "/"
        return "" if relative == "." else quote(os.fsencode(relative.replace(os.sep, "/"))) + "/"
