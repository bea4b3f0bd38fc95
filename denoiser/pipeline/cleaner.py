"""Files to files in one process: reads, cleans and writes jobs, and tells how each one fared.

Small images are cleaned in groups that share a batch; everything else goes by itself, page by page, so that
memory is that of a few pages. Whatever is wrong with a file fails that file and no other. The record is kept
elsewhere: several processes may clean at once, and only one of them tells what was done.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from denoiser._types import Floats
from denoiser.errors import DenoiserError, DeviceError, FileError, ModelError
from denoiser.imaging import formats, writer
from denoiser.imaging.open import open_builtin, open_image
from denoiser.imaging.picture import Picture
from denoiser.imaging.source import Fingerprint, Source
from denoiser.inference import noise_level
from denoiser.inference.denoiser import Cleaned, Denoiser
from denoiser.pipeline.comparison import Comparisons
from denoiser.pipeline.outcomes import Result, Status
from denoiser.pipeline.plan import Job
from denoiser.pipeline.prefetch import Ahead, Aside, Behind, one_ahead
from denoiser.system.atomic import Written

log = logging.getLogger(__name__)

SMALL_PIXELS = 128 * 128
AHEAD_PIXELS = 32_000_000


@dataclass(frozen=True)
class Output:
    """What to write, apart from the pixels: the format (None: as the input), colour, guards, comparison.

    estimate: whether to tell how noisy each image was.
    sync: whether to wait for each file to be on the disk.
    """

    format: str | None = None
    color: bool = False
    max_megapixels: float = 500.0
    compare: Comparisons | None = None
    estimate: bool = False
    sync: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a file fared, and for the record what it was made from and what its output is known by."""

    result: Result
    fingerprint: Fingerprint | None = None
    written: Written | None = None


@dataclass
class _Work:
    """A file on its way."""

    job: Job
    started: float
    source: Source
    models: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pages: int = 0
    noise: list[float] = field(default_factory=list)
    ahead: Ahead[Picture] | None = None
    written: Written | None = None


@dataclass
class _Writing:
    """A file that is being written, and what kept it from being computed."""

    work: _Work
    file: Behind[Picture]
    error: Exception | None = None


class Cleaner:
    """Cleans jobs with one denoiser, one after the other."""

    def __init__(self, denoiser: Denoiser, output: Output) -> None:
        self._denoiser = denoiser
        self._output = output

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Clean the jobs in order, the small ones together; raises nothing but what stops everything.

        Of larger files, the next page is decoded and the last one encoded while one is computed.
        """
        with Aside() as aside:
            under_way: list[_Writing] = []
            try:
                yield from self._outcomes(one_ahead(self._opened(jobs, aside)), aside, under_way)
            except KeyboardInterrupt:
                for writing in under_way:
                    if writing.file.done and writing.error is None:
                        yield self._written(writing)  # complete already: that should not be forgotten
                raise

    def _outcomes(
        self, works: Iterator[_Work | Outcome], aside: Aside, under_way: list[_Writing]
    ) -> Iterator[Outcome]:
        """Clean what was opened; files that are not written yet are in `under_way`, in order."""
        batch: list[tuple[_Work, Picture, list[Floats]]] = []
        for opened in works:
            work = opened if isinstance(opened, _Work) else None
            small = work is not None and work.source.count == 1 and _pixels(work.source) <= SMALL_PIXELS
            if not small:
                yield from self._batch(batch)  # what came before is told of before
            if work is None or work.ahead is None or all(writing.file.done for writing in under_way):
                yield from self._finished(under_way, leave=0)
            if isinstance(opened, Outcome):
                yield opened
            elif small:
                try:
                    picture = next(opened.source.pages())
                    batch.append((opened, picture, self._prepare(picture)))
                except Exception as error:
                    yield from self._batch(batch)
                    yield _failure(opened, error)
            elif opened.ahead is None:
                try:
                    self._write(opened, self._pages(opened))
                    yield self._finish(opened)
                except Exception as error:
                    yield _failure(opened, error)
            else:
                under_way.append(_Writing(opened, aside.write(partial(self._write, opened))))
                self._compute(under_way[-1])
                yield from self._finished(under_way, leave=1)
        yield from self._batch(batch)
        yield from self._finished(under_way, leave=0)

    def _finished(self, under_way: list[_Writing], *, leave: int) -> Iterator[Outcome]:
        """Wait for files to be written, but for the last `leave` of them."""
        while len(under_way) > leave:
            outcome = self._written(under_way[0])
            del under_way[0]
            yield outcome

    def _opened(self, jobs: Sequence[Job], aside: Aside) -> Iterator[_Work | Outcome]:
        """Open the jobs; of those that can be read ahead, the first page is on its way.

        Plugins run on this thread alone, one at a time. Nor is there anything to gain from a single page, and
        the largest ones are to be in memory one at a time.
        """
        hooks = {hook for plugin in self._denoiser.plugins.loaded for hook in plugin.hooks}
        alone = not hooks.isdisjoint(("read_pages", "write_pages"))
        for job in jobs:
            started = time.perf_counter()
            try:
                work = self._open(job, started)
                several = len(jobs) > 1 or work.source.count > 1
                if several and not alone and SMALL_PIXELS < _pixels(work.source) <= AHEAD_PIXELS:
                    work.ahead = aside.read(work.source.pages())
            except Exception as error:
                yield failed(job, error, started)
            else:
                yield work

    def _compute(self, writing: _Writing) -> None:
        """Compute all pages of a file that is written meanwhile; what goes wrong is kept."""
        try:
            for picture in self._pages(writing.work):
                if not writing.file.hand(picture):
                    break
                del picture
            writing.file.end()
        except Exception as error:
            writing.error = error
            writing.file.abandon()

    def _written(self, writing: _Writing) -> Outcome:
        """Wait for a file to be written; returns what it came to."""
        try:
            if writing.error is not None:
                raise writing.error
            writing.file.finish()
            return self._finish(writing.work)
        except Exception as error:
            return _failure(writing.work, error)

    def _batch(self, batch: list[tuple[_Work, Picture, list[Floats]]]) -> Iterator[Outcome]:
        """Clean small pictures together, write them one by one, and empty the batch."""
        batch, rest = batch[:], batch
        rest.clear()
        planes = [plane for _, _, mine in batch for plane in mine]
        try:
            cleaned = iter(self._denoiser.clean(planes, channels=[len(mine) for _, _, mine in batch]))
        except Exception as error:
            yield from (_failure(work, error) for work, _, _ in batch)
            return
        for work, picture, mine in batch:
            results = [next(cleaned) for _ in mine]
            try:
                done = self._complete(work, picture, results)
                self._write(work, iter([done]))
                yield self._finish(work)
            except Exception as error:
                yield _failure(work, error)

    def _open(self, job: Job, started: float) -> _Work:
        color, limit = self._output.color, self._output.max_megapixels
        source = open_image(job.source, self._denoiser.plugins, color=color, max_megapixels=limit)
        return _Work(job, started, source)

    def threads(self, count: int | None) -> None:
        """Compute on so many threads from now on; None: as many as the denoiser was given."""
        self._denoiser.limit(count)

    def _prepare(self, picture: Picture) -> list[Floats]:
        """Return the planes to clean: one for gray, three for colour, after the plugins' first half."""
        return [self._denoiser.plugins.preprocess(plane, picture.page) for plane in _planes(picture.pixels)]

    def _pages(self, work: _Work) -> Iterator[Picture]:
        for picture in work.source.pages() if work.ahead is None else work.ahead:
            planes = self._prepare(picture)
            cleaned = self._denoiser.clean(planes, channels=[len(planes)])
            del planes
            done = self._complete(work, picture, cleaned)
            del picture, cleaned  # or a large page would stay in memory while it is written
            yield done

    def _complete(self, work: _Work, picture: Picture, cleaned: Sequence[Cleaned]) -> Picture:
        """The plugins' second half, the planes together again, and the comparison if one is wanted."""
        planes = [
            self._denoiser.plugins.postprocess(result.pixels, original, picture.page)
            for result, original in zip(cleaned, _planes(picture.pixels), strict=True)
        ]
        pixels = planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)
        done = picture.with_pixels(pixels)
        name = cleaned[0].model
        work.models[name] = work.models.get(name, 0) + 1
        work.pages += 1
        work.notes.extend(done.notes)
        if self._output.estimate:
            found = (noise_level.noise(plane) for plane in _planes(picture.pixels))
            work.noise.extend(level for level in found if level is not None)
        if self._output.compare is not None:
            page = picture.page
            self._output.compare.write(work.job.relative, page.index, page.count, picture.pixels, pixels)
        return done

    def _target(self, work: _Work) -> str:
        named = self._output.format
        return formats.FORMATS[named][0] if named else work.source.format

    def _write(self, work: _Work, pictures: Iterator[Picture]) -> None:
        work.written, notes = writer.save(
            work.job.destination,
            pictures,
            self._target(work),
            count=work.source.count,
            plugins=self._denoiser.plugins,
            sync=self._output.sync,
        )
        work.notes.extend(notes)

    def _finish(self, work: _Work) -> Outcome:
        work.source.close()
        job = work.job
        result = Result(
            job.source,
            job.destination,
            Status.DONE,
            pages=work.pages,
            models=work.models,
            notes=tuple(dict.fromkeys(work.notes)),
            noise=float(np.mean(work.noise)) if work.noise else None,
            seconds=time.perf_counter() - work.started,
        )
        return Outcome(result, work.source.fingerprint, work.written)

    def stream(self, content: bytes) -> tuple[bytes, Result]:
        """Clean one image from memory to memory, all its pages; raises FileError."""
        started = time.perf_counter()
        path = Path("-")
        if not content:
            raise FileError("is empty.")
        result, color, limit = io.BytesIO(), self._output.color, self._output.max_megapixels
        source = open_builtin(io.BytesIO(content), path, color=color, max_megapixels=limit)
        work = _Work(Job(path, path, "-"), started, source)
        try:
            notes = writer.write(result, self._pages(work), self._target(work), count=work.source.count)
        except OSError as error:
            raise FileError(f"can't be encoded as {self._target(work)}: {error}.") from error
        work.notes.extend(notes)
        told, seconds = tuple(dict.fromkeys(work.notes)), time.perf_counter() - started
        done = Result(path, path, Status.DONE, work.pages, work.models, told, seconds=seconds)
        return result.getvalue(), done


def _failure(work: _Work, error: Exception) -> Outcome:
    work.source.close()
    return failed(work.job, error, work.started)


def failed(job: Job, error: Exception, started: float) -> Outcome:
    """What a file comes to that could not be cleaned; raises the error again where it is no file's fault."""
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
    seconds = time.perf_counter() - started
    return Outcome(Result(job.source, job.destination, Status.FAILED, error=text, seconds=seconds))


def _pixels(source: Source) -> int:
    width, height = source.size
    return width * height


def _planes(pixels: Floats) -> list[Floats]:
    if pixels.ndim == 2:
        return [pixels]
    return [np.ascontiguousarray(pixels[:, :, channel]) for channel in range(pixels.shape[2])]
