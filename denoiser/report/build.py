"""Builds a report: which files, how many of them are drawn, and where everything is written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from denoiser import __version__
from denoiser.errors import FileError, UsageError, reason
from denoiser.imaging.formats import NO_FOLDERS, SUFFIXES
from denoiser.progress import NullProgress, Progress
from denoiser.report import charts
from denoiser.report.entry import DONE, FAILED, Entry, View, rounded, shown
from denoiser.report.examine import Pair, examine
from denoiser.report.page import MARK, Column, Table, data_url, render
from denoiser.report.rows import Rows
from denoiser.report.views import Size
from denoiser.system import atomic
from denoiser.system.hardware import cores

MOST_ROWS = 10_000
ALONE_ROWS = 100
ALONE_BYTES = 10_000_000
"""Largest size of a page that stands alone, in bytes."""

_WEBP = "image/webp"
_ALONE_SIZES = (Size(512, 384, 75, _WEBP), Size(384, 256, 60, _WEBP), Size(256, 192, 50, _WEBP))
"""How large pictures are in a page that stands alone; the first with which it is small enough."""

PAGE, ALL, PICTURES = "index.html", "results.jsonl", "img"
_PICTURE = re.compile(r"[0-9a-f]{24}\.(jpg|webp|png)")
_ROW_BYTES, _LITTLE_BYTES = 500_000, 500_000_000
"""Most that the pictures of a file take, whole and detail before and after; and what is not worth a word."""

_LARGE_BYTES = 16 << 20
"""Larger files are read one at a time, for the sake of memory."""

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


@dataclass(frozen=True)
class Target:
    """Where a report goes: a folder, or one file that stands alone."""

    path: Path

    @property
    def alone(self) -> bool:
        """Whether it is one file."""
        return self.path.suffix.lower() in (".html", ".htm")

    @property
    def folder(self) -> Path:
        """The folder that links start from."""
        return self.path.parent if self.alone else self.path

    @property
    def pictures(self) -> Path | None:
        """The folder of the pictures; None where they stand in the page."""
        return None if self.alone else self.path / PICTURES

    @property
    def page(self) -> Path:
        """The page."""
        return self.path if self.alone else self.path / PAGE


def check(target: Target, out: Path, folders: Iterable[Path]) -> None:
    """Refuse a report that would lie inside an input folder or the output folder, or replace a foreign file.

    Args:
        target: where the report is to go.
        out: the output folder.
        folders: the folders of inputs.

    Raises:
        UsageError: it would.

    """
    place = _real(target.folder if target.alone else target.path)
    results = _real(out)
    if place == results or place.is_relative_to(results):
        raise UsageError(
            f"The report {target.path} would lie in the output folder {out}.", "Choose another place for it."
        )
    if not target.alone and results.is_relative_to(place):
        raise UsageError(f"The report's folder {target.path} holds the output folder.", "Name another one.")
    for folder in folders:
        if place.is_relative_to(_real(folder)):
            raise UsageError(
                f"The report {target.path} would lie in the input folder {folder}.",
                "Choose another place for it.",
            )
    _check_foreign(target)


def _check_foreign(target: Target) -> None:
    page = target.page
    ending = target.path.suffix.lower()
    if ending in NO_FOLDERS | SUFFIXES and not target.alone and not target.path.is_dir():
        raise UsageError(
            f"The report {target.path} can't be a {ending}.", "Name a folder, or a file that ends in .html."
        )
    if target.alone and target.path.is_dir():
        raise UsageError(f"{target.path} is a folder.", "Choose another name for the report.")
    if not target.alone and target.path.exists() and not target.path.is_dir():
        raise UsageError(f"{target.path} is a file.", "Name a folder, or a file that ends in .html.")
    if page.exists():
        try:
            with page.open("rb") as file:
                ours = MARK.encode() in file.read(1024)
        except OSError as error:
            raise UsageError(f"{page} can't be read: {reason(error)}.") from error
        if not ours:
            raise UsageError(f"{page} exists and is no report of denoise.", "Choose another place for it.")
    elif not target.alone and target.path.is_dir() and not _is_begun(target):
        raise UsageError(f"The folder {target.path} holds other files.", "Name a new folder for the report.")


def _is_begun(target: Target) -> bool:
    """Whether a folder holds nothing, or no more than the pictures of a report that a killed run began."""
    names = {path.name for path in target.path.iterdir()}
    if names - {PICTURES}:
        return not names
    pictures = target.path / PICTURES
    if not pictures.exists():
        return True
    atomic.sweep([pictures])
    return all(_PICTURE.fullmatch(path.name) for path in pictures.iterdir())


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def input_folders(out: Path, sources: Iterable[Path]) -> set[Path]:
    """Return the folders of which the files below are inputs, as far as these tell.

    The folder of files that were named one by one is none; in it, images are left that were not cleaned.
    """
    folders: dict[Path, set[str]] = {}
    for source in sources:
        folders.setdefault(source.parent, set()).add(source.name)
    found = set()
    for folder, names in folders.items():
        real = _real(folder)
        if _real(out).is_relative_to(real):
            with contextlib.suppress(OSError):
                there = {each.name for each in folder.iterdir() if each.suffix.lower() in SUFFIXES}
                if len(names) < 2 or not there <= names:
                    continue
        found.add(real)
    return found


def rows_for(target: Target) -> Rows:
    """Return where rows are collected for a report."""
    return Rows(ALONE_ROWS if target.alone else MOST_ROWS, target.pictures)


def build(
    pairs: Sequence[Pair],
    target: Target,
    *,
    rows: Rows | None = None,
    facts: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    limit: float = 500.0,
) -> int:
    """Write a report; returns how many rows it has.

    Args:
        pairs: inputs and outputs that are to be read.
        target: where it goes.
        rows: rows that there are already.
        facts: names and values for the summary beside those that follow from the files.
        progress: shows how far it is.
        limit: largest page to read, in millions of pixels.

    Raises:
        FileError: it can't be written.

    """
    rows = rows or rows_for(target)
    at_once = Size() if not target.alone and len(pairs) <= MOST_ROWS else None
    bar = progress or NullProgress()
    bar.start(len(pairs), "images", "report")
    writing = Pictures(target)
    try:
        for done, entry in enumerate(_examined(pairs, at_once, writing, limit), 1):
            rows.add(entry)
            bar.update(done)
    finally:
        bar.finish()
    kept = rows.worst()
    try:
        if target.alone:
            content = _alone(kept, rows, target, facts or {}, limit)
        else:
            if at_once is None:
                read = {pair.name for pair in pairs}
                again = [_pair(entry) for entry in kept if entry.name in read and not entry.views]
                drawn = {entry.name: entry.views for entry in _examined(again, Size(), writing, limit)}
                kept = [replace(entry, views=drawn.get(entry.name, entry.views)) for entry in kept]
            content = _page(kept, rows, target, facts or {})
            with atomic.replacing(target.path / ALL) as file:
                rows.write_lines(file)
        atomic.write(target.page, content.encode("utf-8"))
    except OSError as error:
        raise FileError(f"The report {target.path} can't be written: {reason(error)}.") from error
    finally:
        rows.close()
    writing.remove_others(kept)
    return len(kept)


def _pair(entry: Entry) -> Pair:
    """Return the files of a row, to be read again for its pictures."""
    failed = entry.status == FAILED
    return Pair(entry.name, entry.source, entry.output or Path(), failed, entry.error)


def space(target: Target, count: int) -> str | None:
    """Say how much disk a report of so many files may take; None where that is little.

    Raises:
        UsageError: so much is not free.

    """
    files = 0 if target.alone else min(count, MOST_ROWS)
    needed = files * _ROW_BYTES
    if needed < _LITTLE_BYTES:
        return None
    place = next(folder for folder in (target.path, *_real(target.path).parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UsageError(
            f"The report of {files:,} files may take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
            f"for {target.path}.",
            "Choose another place, or one file: --report worst.html",
        )
    return f"the pictures of the report may take up to {needed / 1e9:.1f} GB in {target.path}"


class Pictures:
    """Writes the pictures beside a page, named after their content."""

    def __init__(self, target: Target) -> None:
        self._folder = target.pictures
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
        path = self._folder / f"{hashlib.sha256(content).hexdigest()[:24]}{view.ending}"
        if path.name not in self._names:
            self._names.add(path.name)
            if not path.exists():
                try:
                    atomic.write(path, content)
                except OSError as error:
                    raise FileError(
                        f"The report's picture {path} can't be written: {reason(error)}."
                    ) from error
        return path

    def remove_others(self, kept: Iterable[Entry]) -> None:
        """Remove pictures of an earlier report in this place, and those of rows that are not shown."""
        if self._folder is None or not self._folder.is_dir():
            return
        views = [view for entry in kept for view in entry.views]
        contents = (content for view in views for content in (view.before, view.after))
        shown = {content.name for content in contents if isinstance(content, Path)}
        for path in self._folder.iterdir():
            if _PICTURE.fullmatch(path.name) and path.name not in shown:
                with contextlib.suppress(OSError):
                    path.unlink()


def _examined(pairs: Sequence[Pair], size: Size | None, pictures: Pictures, limit: float) -> Iterator[Entry]:
    """Examine files in order, small ones side by side; in memory are a few of them at a time."""
    one = partial(_one, size=size, pictures=pictures, limit=limit)
    small: list[Pair] = []
    with ThreadPoolExecutor(max(1, cores())) as threads:
        for pair in pairs:
            if _is_large(pair):
                yield from threads.map(one, small)
                small = []
                yield one(pair)
            else:
                small.append(pair)
                if len(small) >= 64:
                    yield from threads.map(one, small)
                    small = []
        yield from threads.map(one, small)


def _one(pair: Pair, *, size: Size | None, pictures: Pictures, limit: float) -> Entry:
    return pictures.stored(examine(pair, size=size, limit=limit))


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
        self._start = _real(target.folder)
        self._folders: dict[Path, str] = {}

    def to(self, path: Path | None) -> str | None:
        """Return a link to a file: its folder's links are resolved, and not its own."""
        if path is None:
            return None
        folder = self._folders.get(path.parent)
        if folder is None:
            folder = self._folders[path.parent] = self._to_folder(path.parent)
        return folder + quote(os.fsencode(path.name))

    def _to_folder(self, folder: Path) -> str:
        real = _real(folder)
        try:
            relative = os.path.relpath(real, self._start)
        except ValueError:  # another drive
            return real.as_uri().rstrip("/") + "/"
        return "" if relative == "." else quote(os.fsencode(relative.replace(os.sep, "/"))) + "/"
