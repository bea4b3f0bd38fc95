"""Files to files in one process: open ahead, group small files, clean, save, and tell how each one fared.

Small images are cleaned in groups that share a batch; everything else goes by itself, page by page, so that
memory is that of a few pages. Whatever is wrong with a file fails that file and no other. The record is kept
elsewhere: several processes may clean at once, and only one of them records the results.
"""

from __future__ import annotations

import functools
import io
import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from denoiser.errors import DenoiserError, DeviceError, FileError, ModelError
from denoiser.imaging import formats, writer
from denoiser.imaging.open import open_builtin, open_image
from denoiser.imaging.picture import Picture
from denoiser.imaging.plugin_files import PluginFile
from denoiser.imaging.source import Source
from denoiser.inference import noise_level
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.reconstruction import Cleaned
from denoiser.pipeline.comparison import Comparisons
from denoiser.pipeline.meter import Meter, Reading
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job
from denoiser.pipeline.prefetch import can_start, consume_behind, one_ahead, prefetch
from denoiser.planes import channels_of
from denoiser.system.atomic import Written

log = logging.getLogger(__name__)

REDUCED = "detail was reduced to 28x28 pixels (--mode tile keeps it)"
SMALL_PIXELS = 128 * 128
AHEAD_PIXELS = 32_000_000
PACKED_PIXELS = 64 * SMALL_PIXELS
"""Most of the small pages of one file that are in memory at once."""

_REPORTED, _COMPARED, _RECOLOURED = 6, 3, 3
"""Bytes of memory that each channel takes more for `--report`, for `--compare`, for `document` in colour.

Measured with `benchmarks/memory.py --also`.
"""

_Saved = tuple[Written, list[str]]


class Examiner(Protocol):
    """Looks at each page before and after it is cleaned, while both are in memory."""

    def page(self, job: Job, before: Picture, after: Picture, seen: Any) -> Any:
        """Return what is to be known of a file: of this page and, in `seen`, of those before it.

        The result is sent between processes. Raises nothing: no file fails for being looked at.
        """

    def pages(self, files: Sequence[tuple[Job, Picture, Picture]]) -> list[Any]:
        """Return the same of small files of one page each, all at once; raises nothing either."""


@dataclass(frozen=True)
class Output:
    """What to write, apart from the pixels: the format (None: as the input), colour, guards, comparison.

    strip_metadata: whether to leave out EXIF, XMP and the like; resolution and colour profile stay.
    bilevel: whether pages of 1 bit stay such, cut at 0.5.
    examiner: looks at each page before and after.
    estimate: whether to estimate how noisy each image is.
    sync: whether to wait for each file to be on the disk.
    """

    format: str | None = None
    color: bool = False
    strip_metadata: bool = False
    bilevel: bool = False
    max_megapixels: float = 500.0
    compare: Comparisons | None = None
    examiner: Examiner | None = None
    estimate: bool = False
    sync: bool = False

    @property
    def signature(self) -> list[Any]:
        """What decides how the pixels are written, for telling whether an output is up to date."""
        return [self.format, self.color, self.strip_metadata, self.bilevel]


@dataclass
class _Work:
    """A file on its way.

    Attributes:
        source: the open file.
        pages: its pages, decoded one by one.
        picture: its only page, decoded, if that is small enough to share a batch.
        behind: whether its next page is decoded and its last one encoded while one is computed.

    """

    job: Job
    started: float
    source: Source
    pages: Iterator[Picture]
    picture: Picture | None = None
    behind: bool = False
    models: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    before: deque[Picture] = field(default_factory=deque)
    seen: Any = None
    compared: list[tuple[str, Written]] = field(default_factory=list)

    def outcome(self, written: Written | None, notes: Iterable[str]) -> Outcome:
        """Return the outcome of a file that was saved, with the notes of its saving."""
        return Outcome(
            pages=self.models.total(),
            models=dict(self.models),
            notes=tuple(dict.fromkeys((*self.notes, *notes))),
            noise=float(np.mean(self.noise)) if self.noise else None,
            seconds=time.perf_counter() - self.started,
            fingerprint=self.source.fingerprint,
            written=written,
            seen=self.seen,
            compared=tuple(self.compared),
        )


_Writing = tuple[_Work, Future[_Saved]]


class Cleaner:
    """Cleans jobs with one denoiser, one after the other.

    Args:
        denoiser: cleans the pixels.
        output: how results are written.
        meter: told how far each file is.

    """

    def __init__(self, denoiser: Denoiser, output: Output, meter: Meter | None = None) -> None:
        self._denoiser = denoiser
        self.meter = meter or Meter()
        self._output = output
        hooks = {hook for plugin in denoiser.plugins.loaded for hook in plugin.hooks}
        # Nothing but these needs a page as it was when it is clean.
        self._looks_at_both = bool(output.examiner or output.compare or output.estimate)
        self._reading: dict[str, Any] = {
            "color": output.color,
            "max_megapixels": output.max_megapixels,
            "beside": _REPORTED * bool(output.examiner)
            + _COMPARED * bool(output.compare)
            + _RECOLOURED * (output.color and denoiser.cleans_luma),
        }
        self._one_thread = not hooks.isdisjoint(("read_pages", "write_pages"))

    def threads(self, count: int | None) -> None:
        """Compute on so many threads from now on; None: as many as the denoiser was given."""
        self._denoiser.limit(count)

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Clean the jobs; yields one outcome each, in order, and raises nothing but what stops everything."""
        decoding, encoding = (ThreadPoolExecutor(1, f"denoiser-{name}") for name in ("reader", "writer"))
        writing: list[_Writing] = []
        try:
            for group in _grouped(one_ahead(self._opened(jobs, decoding, encoding))):
                work = group[0] if isinstance(group[0], _Work) and group[0].behind else None
                if work is None or all(saved.done() for _, saved in writing):
                    yield from _written(writing, leave=0)
                if work is None:
                    yield from self._cleaned(group)
                else:
                    saved = consume_behind(self._pages(work), partial(self._save, work), encoding)
                    writing.append((work, saved))
                    yield from _written(writing, leave=1)
            yield from _written(writing, leave=0)
        except KeyboardInterrupt:
            done = [(work, saved) for work, saved in writing if saved.done() and not saved.exception()]
            yield from _written(done, leave=0)  # complete already: not to be forgotten
            raise
        finally:
            for executor in (decoding, encoding):
                executor.shutdown(cancel_futures=True)

    # --- open ahead ---

    def _opened(
        self, jobs: Sequence[Job], decoding: Executor, encoding: Executor
    ) -> Iterator[_Work | Outcome]:
        """Open the jobs; a small file is decoded, and the first page of a larger one is on its way.

        Plugins run on this thread alone, one at a time. Nor is there anything to gain from a single page, and
        the largest pages are to be in memory one at a time.
        """
        can_overlap = functools.cache(lambda: can_start((decoding, encoding)))  # asked where it first matters
        for job in jobs:
            started = time.perf_counter()
            try:
                source = open_image(job.source, self._denoiser.plugins, **self._reading)
                work = _Work(job, started, source, source.pages())
                pixels, several = source.size[0] * source.size[1], len(jobs) > 1 or source.count > 1
                medium = SMALL_PIXELS < pixels <= AHEAD_PIXELS
                if source.count == 1 and pixels <= SMALL_PIXELS:
                    with source:
                        work.picture = next(work.pages)
                elif several and not self._one_thread and medium and can_overlap():
                    work.pages, work.behind = prefetch(work.pages, decoding), True
            except Exception as error:
                yield failed(job, error, started)
            else:
                yield work

    # --- clean ---

    def _cleaned(self, group: Sequence[_Work | Outcome]) -> Iterator[Outcome]:
        """Clean and save a group of small files, or a single larger one; failures stay in their places."""
        small = [work for work in group if isinstance(work, _Work) and work.picture is not None]
        pictures = [work.picture for work in small if work.picture is not None]
        results: Iterator[Cleaned | Exception]
        try:
            results = self._denoiser.clean_pages([(each.pixels, each.page) for each in pictures])
        except Exception as error:
            results = itertools.repeat(error)
        completed = self._completed(small, results)
        for work in group:
            if isinstance(work, Outcome):
                yield work
            elif work.picture is not None:
                yield _outcome(work, partial(self._save_small, work, next(completed)))
            else:
                yield _outcome(work, partial(self._save, work, self._pages(work)))

    def _pages(self, work: _Work) -> Iterator[Picture]:
        """Clean the pages of a file one by one, or several small ones at once."""
        size = 0 if work.source.fingerprint is None else work.source.fingerprint.size
        count = work.source.count

        def tell(done: float, page: int, *patches: int) -> None:
            self.meter.report(Reading(done / count * size, page, count, *patches))

        def tick(patches: int, of: int) -> None:
            tell(index + patches / of, index + 1, patches, of)

        index = 0
        for pack in _packs(work.pages):
            pages, alone = [(each.pixels, each.page) for each in pack], len(pack) == 1
            tell(index, index + 1)
            results = self._denoiser.clean_pages(
                pages, tick=tick if alone else None, overwrite=not self._looks_at_both
            )
            del pages
            while pack:
                if not alone:
                    tell(index, index + 1)  # before the plugins' second half
                cleaned, picture = next(results), pack.popleft()
                if not pack:
                    results = iter(())  # what is left of it keeps the pages that it was given
                if isinstance(cleaned, Exception):
                    raise cleaned
                done = self._complete(work, picture, cleaned)
                del picture, cleaned  # or a large page would stay in memory while it is written
                index += 1
                if not alone:
                    tell(index, index)
                yield done
                del done

    def _completed(
        self, works: Sequence[_Work], results: Iterator[Cleaned | Exception]
    ) -> Iterator[Picture | Exception]:
        """Yield the only page of each small file, or the error that it failed with; looks at all of them."""
        completed: list[Picture | Exception] = []
        for work, cleaned in zip(works, results, strict=False):
            assert work.picture is not None  # noqa: S101 - small ones have one
            if isinstance(cleaned, Exception):
                completed.append(cleaned)
                continue
            try:
                completed.append(self._complete(work, work.picture, cleaned))
            except Exception as error:
                completed.append(error)
        examiner = self._output.examiner
        if examiner is not None:
            pages = [
                (work, done) for work, done in zip(works, completed, strict=True) if isinstance(done, Picture)
            ]
            seen = examiner.pages([(work.job, work.before.popleft(), done) for work, done in pages])
            for (work, _), each in zip(pages, seen, strict=True):
                work.seen = each
        yield from completed

    def _complete(self, work: _Work, picture: Picture, cleaned: Cleaned) -> Picture:
        """Return a picture with its cleaned pixels; counts it, and compares the two where that is wanted."""
        done = picture.with_pixels(cleaned.pixels)
        if self._output.strip_metadata:
            done = done.without_metadata()
        if self._output.bilevel:
            done = done.as_bilevel()
        work.models[cleaned.model] += 1
        work.notes.extend(done.notes)
        if cleaned.reduced:
            work.notes.append(REDUCED)
        work.notes.extend(cleaned.concerns)
        if self._output.estimate:
            levels = map(noise_level.noise, channels_of(picture.pixels))
            work.noise.extend(level for level in levels if level is not None)
        if self._output.examiner is not None:
            work.before.append(picture)
        if self._output.compare is not None:
            page, name = picture.page, work.job.relative
            made = self._output.compare.write(name, page.index, page.count, picture.pixels, done.pixels)
            work.compared.append(made)
        return done

    # --- save, tell ---

    def _target(self, source: Source) -> str:
        named = self._output.format
        return formats.FORMATS[named][0] if named else source.format

    def _examined(self, work: _Work, pages: Iterator[Picture]) -> Iterator[Picture]:
        """Look at pages on their way to the file: on the thread that encodes, while the next is computed."""
        examiner = self._output.examiner
        assert examiner is not None  # noqa: S101 - asked before
        for done in pages:
            work.seen = examiner.page(work.job, work.before.popleft(), done, work.seen)
            yield done
            del done  # or a page would stay in memory while the next is computed

    def _save(self, work: _Work, pages: Iterator[Picture]) -> _Saved:
        if self._output.examiner is not None:
            pages = self._examined(work, pages)
        return self._write(work, pages)

    def _save_small(self, work: _Work, page: Picture | Exception) -> _Saved:
        if isinstance(page, Exception):
            raise page
        return self._write(work, iter((page,)))

    def _write(self, work: _Work, pages: Iterator[Picture]) -> _Saved:
        path = work.job.destination
        target: str | None = self._target(work.source)
        if isinstance(work.source, PluginFile) and formats.SAVED_AS.get(path.suffix.lower()) != target:
            target = None  # its name is a plugin's, and so must be what is in it
        return writer.save(
            path,
            pages,
            target,
            count=work.source.count,
            plugins=self._denoiser.plugins,
            sync=self._output.sync,
        )

    def stream(self, content: bytes) -> tuple[bytes, Outcome]:
        """Clean one image from memory to memory, all its pages; raises FileError."""
        started, path, result = time.perf_counter(), Path("-"), io.BytesIO()
        if not content:
            raise FileError("is empty.")
        with open_builtin(io.BytesIO(content), path, **self._reading) as source:
            work = _Work(Job(path, path, "-"), started, source, source.pages())
            target = self._target(source)
            try:
                notes = writer.write(result, self._pages(work), target, count=source.count)
            except OSError as error:
                raise FileError(f"can't be encoded as {target}: {error}.") from error
        return result.getvalue(), work.outcome(None, notes)


def _grouped(works: Iterable[_Work | Outcome]) -> Iterator[list[_Work | Outcome]]:
    """Group neighbouring small files, with failures between them; every other file is a group of its own."""
    group: list[_Work | Outcome] = []
    for work in works:
        if isinstance(work, Outcome) or work.picture is not None:
            group.append(work)
            continue
        if group:
            yield group
            group = []
        yield [work]
    if group:
        yield group


def _packs(pages: Iterable[Picture]) -> Iterator[deque[Picture]]:
    """Pack neighbouring small pages, so that they share batches; every other page is a pack of its own."""
    pack: deque[Picture] = deque()
    held = 0
    for page in pages:
        pixels = page.pixels.shape[0] * page.pixels.shape[1]
        if pack and (pixels > SMALL_PIXELS or held + pixels > PACKED_PIXELS):
            yield pack
            pack, held = deque(), 0
        pack.append(page)
        held += pixels
        del page
        if pixels > SMALL_PIXELS:
            yield pack
            pack, held = deque(), 0
    if pack:
        yield pack


def _written(writing: list[_Writing], *, leave: int) -> Iterator[Outcome]:
    """Wait for files to be written, but for the last `leave` of them."""
    while len(writing) > leave:
        work, saved = writing[0]
        outcome = _outcome(work, saved.result)
        del writing[0]
        yield outcome


def _outcome(work: _Work, save: Callable[[], _Saved]) -> Outcome:
    """Save a file and close its input, whatever comes of it; an error is the outcome."""
    try:
        with work.source:
            return work.outcome(*save())
    except Exception as error:
        return failed(work.job, error, work.started)


def failed(job: Job, error: Exception, started: float) -> Outcome:
    """Return the outcome of a file that an error ended; raises the error if it is no single file's fault."""
    if isinstance(error, ModelError | DeviceError):
        raise error
    if isinstance(error, DenoiserError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "needs more memory than there is."
    else:
        # A fault of our own; the user still gets the file's name and goes on, the log has the rest.
        log.debug("%s", job.source, exc_info=error)
        text = f"failed unexpectedly: {type(error).__name__}: {error}. Run with --verbose for the details."
    return Outcome(error=text, seconds=time.perf_counter() - started)
