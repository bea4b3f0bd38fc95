"""From an input and its output to a row of the report: read both, measure, draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from denoiser._types import PATCH, Floats
from denoiser.errors import FileError, reason
from denoiser.imaging.open import open_builtin
from denoiser.imaging.picture import BECAME_GRAY, Picture
from denoiser.inference.patches import whole_from_image
from denoiser.report import harm
from denoiser.report.entry import CHANGED, FAILED, MISSING, Entry
from denoiser.report.views import SHOWN_BY_BROWSERS, SMALL, Size, span_for_the_eye, views

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Pair:
    """An input and its output.

    Attributes:
        name: what to call it.
        source: the input, where it is known, and a file.
        output: the output.
        failed: whether it was not written.
        error: why, where it is known.
        changed: whether the input was changed since.
        notes: what is known about it already, one sentence each.
        url: where the input is, if it is in a storage.

    """

    name: str
    source: Path | None
    output: Path
    failed: bool = False
    error: str | None = None
    changed: bool = False
    notes: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True)
class Unmeasured:
    """A small input and output of one page each, which were read and are measured with others.

    Attributes:
        entry: the row, without figures.
        picture: the input.
        result: the pixels of the output.

    """

    entry: Entry
    picture: Picture
    result: Floats


def examine(pair: Pair, *, size: Size | None, inline: bool = False, limit: float = 500.0) -> Entry:
    """Read an input and its output, and return the row; see `read` and `finished`."""
    return finished([read(pair, size=size, inline=inline, limit=limit)], size=size, inline=inline)[0]


def read(pair: Pair, *, size: Size | None, inline: bool = False, limit: float = 500.0) -> Entry | Unmeasured:
    """Read an input and its output, and return the row; never raises for what is wrong with a file.

    NumPy takes longer to be called than to compute on a small image: these are left to be measured together.

    Args:
        pair: the files.
        size: how large pictures are; None draws none.
        inline: whether small files are drawn too, for a page that stands alone.
        limit: largest page to read, in millions of pixels.

    """
    entry = Entry(pair.name, pair.source, pair.output, notes=pair.notes, url=pair.url)
    try:
        if pair.failed:
            return _failed(pair, entry, size, limit)
        if pair.url is not None and pair.output.is_file():
            return _with(entry, notes=(*entry.notes, f"it is not compared, as its input is {pair.url}"))
        if pair.source is None or not pair.source.is_file() or not pair.output.is_file():
            there = pair.url is not None or (pair.source is not None and pair.source.is_file())
            which = "output" if there else "input"
            return _with(entry, status=MISSING, notes=(*entry.notes, f"its {which} is gone"))
        if pair.changed:
            changed = "its input was changed after it was cleaned"
            entry = _with(entry, status=CHANGED, notes=(*entry.notes, changed))
        return _read(pair, entry, size, limit, inline=inline)
    except FileError as error:
        return _with(entry, notes=(*entry.notes, f"it can't be shown: {error.message.rstrip('.')}"))
    except OSError as error:
        return _with(entry, notes=(*entry.notes, f"it can't be read: {reason(error)}"))
    except MemoryError:
        return _with(entry, notes=(*entry.notes, "it needs more memory than there is"))


def finished(found: Sequence[Entry | Unmeasured], *, size: Size | None, inline: bool = False) -> list[Entry]:
    """Return the rows of files that were read, in their order; small ones are measured together."""
    small = [each for each in found if isinstance(each, Unmeasured)]
    figures = iter(measured([(each.picture.pixels, each.result) for each in small]))
    entries = []
    for each in found:
        if isinstance(each, Entry):
            entries.append(each)
            continue
        entry, worst = compared(each.entry, 0, each.picture, each.result, next(figures))
        entries.append(_shown(entry, worst, 1, 1, size, inline=inline))
    return entries


def _with(entry: Entry, **fields: Any) -> Entry:
    from dataclasses import replace

    return replace(entry, **fields)


def _failed(pair: Pair, entry: Entry, size: Size | None, limit: float) -> Entry:
    entry = _with(entry, status=FAILED, error=pair.error, output=None)
    if pair.source is None or size is None:
        return entry
    try:
        with pair.source.open("rb") as file:
            picture = next(iter(open_builtin(file, pair.source, color=True, max_megapixels=limit).pages()))
            span = span_for_the_eye(picture.pixels, picture.page.depth)
            pictures = views(picture.pixels, None, (0, 0), span=span, size=size)
    except (FileError, OSError, MemoryError):
        return entry  # which may be just why it failed
    return _with(entry, **_facts(picture), views=pictures)


@dataclass(frozen=True)
class Worst:
    """The page of a file that is shown: before, after, and the place where most was lost."""

    picture: Picture
    result: Floats
    place: tuple[int, int]


def compared(
    entry: Entry, index: int, picture: Picture, result: Floats, found: harm.Measures | None
) -> tuple[Entry, Worst | None]:
    """Compare a page before and after; returns the row of the worst page so far, and this one if that is it.

    Args:
        entry: the row, with the figures of the pages before; its `pages` are those, 0 before the first.
        index: number of the page, from 0.
        picture: the page before.
        result: its pixels after, (H, W) or (H, W, C) in 0..1.
        found: what `measured` found of the two.

    """
    value = _UNKNOWN if found is None else harm.of(found)
    highest = -1.0 if not entry.pages else _UNKNOWN if entry.harm is None else entry.harm
    pages = max(index + 1, entry.pages)
    if value <= highest:
        return _with(entry, pages=pages), None
    middle = (picture.pixels.shape[0] // 2, picture.pixels.shape[1] // 2)
    entry = _with(entry, page=index + 1, pages=pages, **_facts(picture), **_figures(found))
    return entry, Worst(picture, result, middle if found is None else found.place)


_UNKNOWN = -0.5
"""Takes the place of the harm of pages that can't be measured."""


def drawn(entry: Entry, worst: Worst, size: Size, files: Sequence[Path]) -> Entry:
    """Return the row with pictures of its worst page.

    `files` are the input and the output where a browser may show them as they are, if they are small.
    """
    span = span_for_the_eye(worst.picture.pixels, worst.picture.page.depth)
    if span != (0.0, 1.0):
        top = 2.0 ** min(16, worst.picture.page.depth) - 1.0
        low, high = (f"{each * top:,.0f}" for each in span)
        note = f"shown scaled for the eye: {low} of {top:,.0f} is black, {high} white"
        entry = _with(entry, notes=(*entry.notes, note))
    pictures = views(worst.picture.pixels, worst.result, worst.place, span=span, size=size, files=files)
    return _with(entry, views=pictures)


def _read(pair: Pair, entry: Entry, size: Size | None, limit: float, *, inline: bool) -> Entry | Unmeasured:
    """Compare page by page; the worst one is shown."""
    assert pair.source is not None  # noqa: S101 - looked at before
    worst: Worst | None = None
    with pair.source.open("rb") as first, pair.output.open("rb") as second:
        before = open_builtin(first, pair.source, color=True, max_megapixels=limit)
        after = open_builtin(second, pair.output, color=True, max_megapixels=limit)
        pages, results = before.count, after.count
        if pages == results == 1 and max(*before.size, *after.size) <= SMALL:
            return Unmeasured(entry, next(before.pages()), next(after.pages()).pixels)
        for index, (picture, result) in enumerate(zip(before.pages(), after.pages(), strict=False)):
            found = measured([(picture.pixels, result.pixels)])[0]
            entry, worse = compared(entry, index, picture, result.pixels, found)
            worst = worse or worst
    return _shown(entry, worst, pages, results, size, inline=inline)


def _shown(
    entry: Entry, worst: Worst | None, pages: int, results: int, size: Size | None, *, inline: bool
) -> Entry:
    """Return a row with what there is to say of its pages, and with the pictures of the worst of them."""
    remarks = tuple(dict.fromkeys((*entry.notes, *notes(worst, pages, results))))
    entry = _with(entry, pages=pages, notes=remarks)
    if size is None or worst is None:
        return entry
    assert entry.source is not None  # noqa: S101 - both were read
    assert entry.output is not None  # noqa: S101
    files = (entry.source, entry.output)
    return drawn(entry, worst, size, () if inline or not plain(files, worst.picture, pages) else files)


def plain(files: Iterable[Path], picture: Picture, pages: int) -> bool:
    """Return True if a browser shows the files itself as they were read."""
    known = all(path.suffix.lower() in SHOWN_BY_BROWSERS for path in files)
    return known and pages == 1 and picture.page.depth <= 8 and max(picture.pixels.shape[:2]) <= SMALL


def _facts(picture: Picture) -> dict[str, int]:
    height, width = picture.pixels.shape[:2]
    return {"width": width, "height": height, "depth": picture.page.depth}


def _figures(found: harm.Measures | None) -> dict[str, float | None]:
    if found is None:
        return dict.fromkeys(("harm", "noise", "change", "structure"))
    return {
        "harm": harm.of(found),
        "noise": found.noise,
        "change": found.change,
        "structure": found.structure,
    }


def measured(pages: Sequence[tuple[Floats, Floats]]) -> list[harm.Measures | None]:
    """Measure pages before and after, in gray where one of both is; None of one whose sizes differ."""
    found: list[harm.Measures | None] = [None] * len(pages)
    alike = [_alike(*page) for page in pages]
    comparable = [(index, pair) for index, pair in enumerate(alike) if pair is not None]
    measures = harm.measure_all([pair for _, pair in comparable])
    for (index, _), each in zip(comparable, measures, strict=True):
        found[index] = each
    return found


def _alike(before: Floats, after: Floats) -> tuple[Floats, Floats] | None:
    """Return a page before and after with the same shape; None if their sizes differ."""
    if before.ndim != after.ndim:
        before, after = (image @ _GRAY if image.ndim == 3 else image for image in (before, after))
    if before.shape != after.shape and after.shape[:2] == (PATCH, PATCH):
        before = _as_the_network_saw(before)
    return (before, after) if before.shape == after.shape else None


def _as_the_network_saw(image: Floats) -> Floats:
    planes = (
        [image] if image.ndim == 2 else [np.ascontiguousarray(plane) for plane in np.moveaxis(image, 2, 0)]
    )
    whole = [whole_from_image(plane, darken=False)[0] for plane in planes]
    return whole[0] if image.ndim == 2 else np.stack(whole, axis=-1)


def notes(worst: Worst | None, pages: int, results: int) -> list[str]:
    """Return what there is to say of the output's pages, size and colours."""
    found = []
    if pages != results:
        found.append(f"it has {pages} pages, and its output {results}")
    if worst is not None:
        picture, result = worst.picture, worst.result
        if picture.pixels.ndim == 3 and result.ndim == 2:
            found.append(BECAME_GRAY)
        if picture.pixels.shape[:2] != result.shape[:2]:
            (height, width), (rows, columns) = picture.pixels.shape[:2], result.shape[:2]
            found.append(f"its size was {width}x{height} and is {columns}x{rows}")
    return found
