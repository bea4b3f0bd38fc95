"""`denoise run` over files and folders: what is stale, the work, and what is said about it."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from denoiser import __version__
from denoiser.commands import run_cluster, run_models
from denoiser.commands.run_options import Request
from denoiser.commands.run_plan import Ahead, Planned
from denoiser.commands.run_progress import RunProgress
from denoiser.commands.telling import Telling
from denoiser.errors import ExitCode, UsageError, on_one_line
from denoiser.inference import auto
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.outcomes import Report, Result, Status
from denoiser.pipeline.pipeline import HEAD_FILES, Pipeline
from denoiser.pipeline.plan import Job, Selection, selections
from denoiser.pipeline.record import Record
from denoiser.progress import NullProgress, progress_for
from denoiser.system import atomic

if TYPE_CHECKING:
    from denoiser.pipeline.cleaner import Output
    from denoiser.pipeline.cluster import Cluster

COUNT_SECONDS = 0.2
"""How long files are counted ahead before the work begins."""

COUNT_EVERY, COUNT_SLICE = 0.5, 0.05
"""So often, for so long, they are counted while the work goes on, in seconds."""

_MAX_FIGURE = 120
"""Characters of a model card's own words that the first line has room for."""


class Batch:
    """One run over files and folders.

    Folders are planned, checked and cleaned one after the other. What has to be known of the whole before the
    work begins is taken from the first so many files; up to that number, everything is checked before it.
    """

    def __init__(
        self,
        request: Request,
        data: IO[bytes] | None,
        jobs: list[Job] | None = None,
        *,
        recorded: bool = True,
    ) -> None:
        assert request.out is not None  # noqa: S101 - checked already
        self._request = request
        self._data = data
        self._plugins = request.load_plugins()
        self._unlisted: list[Result] = []
        if jobs is None:
            planned = Planned(request, self._plugins, self._unlisted)
            self._folders, self._ahead = iter(planned), Ahead(planned.count())
        else:
            self._folders, self._ahead = selections(jobs, request.out), Ahead(iter((len(jobs),)))
        self._planned = 0
        self._complete = False
        self._head = deque(self._first_folders())
        self._begun = time.monotonic()
        self._record = Record(request.out, sync=request.sync, writer=request.writer) if recorded else None
        self._place = request.out if recorded else self._head[0][0].destination
        self._report = Report()
        self._telling = Telling(request, data, self._report)
        self._working = False
        self._page = None
        if request.report is not None:
            from denoiser.commands.run_report import RunReport

            self._page = RunReport(request, self._place, self._record)

    def _first_folders(self) -> Iterator[Selection]:
        """Plan the folders that decide how the work is done, and one more, to see whether they are all."""
        enough = False
        while not enough and not self._complete:
            enough = self._planned >= HEAD_FILES
            folder = self._next_folder()
            if folder is not None:
                yield folder

    def _next_folder(self) -> Selection | None:
        """Plan a folder; None if there is none left."""
        folder = next(self._folders, None)
        self._complete = folder is None
        self._planned += len(folder or ())
        return folder

    def run(self) -> int:
        """Do what is not up to date; returns the exit code."""
        request = self._request
        stopped = self._tell_unlisted()
        untrained = run_models.untrained(request)
        if stopped or not self._head:
            return self._end()
        if request.dry_run and untrained:
            click.echo(f"Would train first: {run_models.durations(untrained)}.", err=True)
            for folder in self._each_folder(self._head):
                self._dry_run(folder, lambda _: "new")
        else:
            apart = not request.dry_run
            with run_models.denoiser(request, self._plugins, pixels=self._pixels(), apart=apart) as denoiser:
                try:
                    self._clean(Pipeline(denoiser, self._output(), self._record), denoiser)
                except UsageError:
                    if self._working:  # what was done before is told, too
                        self._report.refused = True
                        self._end()
                    raise
                if self._page is not None:
                    self._page.describe(denoiser)
        return self._end()

    def _output(self) -> Output:
        """Say what to write; a report is made of the pages in memory, where they are in this machine's."""
        output = self._request.output()
        if self._page is None or self._request.cluster is not None:
            return output
        return replace(output, examiner=self._page.examiner)

    def _tell_unlisted(self) -> bool:
        """Tell of folders that can't be listed; returns whether that ends the run."""
        told = bool(self._unlisted)
        while self._unlisted:
            self._tell(self._unlisted.pop(0))
        return told and self._request.fail_fast

    def _each_folder(self, first: deque[Selection]) -> Iterator[Selection]:
        """Yield the folders: the first ones, then the others as they are planned."""
        while first:
            yield first.popleft()
        while not self._complete:
            folder = self._next_folder()
            if self._tell_unlisted():
                return
            if folder is not None:
                yield folder
            del folder  # the next one is listed meanwhile

    def _clean(self, pipeline: Pipeline, denoiser: Denoiser) -> None:
        """Clean what is not up to date, or say what that is."""
        first: deque[Selection] = deque()
        while self._head:  # all of them are checked before the first is begun
            first.append(self._stale(pipeline, self._head.popleft()))
        stale = sum(map(len, first)) if self._complete else None
        sample = [job.source for job in itertools.islice(itertools.chain.from_iterable(first), HEAD_FILES)]
        known = len(first)
        folders = (
            folder if index < known else self._stale(pipeline, folder)
            for index, folder in enumerate(self._each_folder(first))
        )
        if self._request.dry_run:
            for folder in folders:
                self._dry_run(folder, pipeline.why_stale)
        else:
            self._work(pipeline, denoiser, self._jobs(folders), stale, sample)

    def _jobs(self, folders: Iterable[Selection]) -> Iterator[Job]:
        """Yield the jobs of folders; what killed runs left there is removed first, even if there are none."""
        compare, alone = self._request.compare, self._request.shard is None
        for folder in folders:
            atomic.sweep([Path(folder.destination)], alone=alone)
            if compare is not None:
                atomic.sweep([compare / folder.relative], alone=alone)
            yield from folder
            del folder  # the next one is listed meanwhile

    def _end(self) -> int:
        """Print what was done; returns the exit code."""
        if self._record is not None:
            self._record.close()
        self._report.end(fail_fast=self._request.fail_fast)
        self._telling.print(self._report.as_dict())
        if not self._request.quiet:
            click.echo(self._summary(), err=True)
        unfinished = self._request.dry_run or self._report.interrupted or self._report.refused
        if unfinished and self._page is not None:
            self._page.drop()
        page = None if unfinished else self._page
        if page is not None and not page.write():
            return self._report.exit_code or ExitCode.SOME_FAILED
        return self._report.exit_code

    def _stale(self, pipeline: Pipeline, folder: Selection) -> Selection:
        """Return the jobs of a folder that are not up to date; tells of those that are.

        Raises UsageError if a file is in the way that is not ours.
        """
        if self._request.force or not os.path.isdir(folder.destination):  # noqa: PTH112 - text
            return folder
        stale, foreign = array("Q"), array("Q")
        for index, job in enumerate(folder):
            there = os.path.lexists(job.destination)
            if there and pipeline.up_to_date(job):
                self._tell(Result(job.source, job.destination, Status.UP_TO_DATE))
                continue
            stale.append(index)
            if there and self._is_foreign(job):
                foreign.append(index)
        kept = self._not_ours(pipeline, folder, foreign) if foreign else set()
        return (
            folder
            if len(stale) == len(folder) and not kept
            else folder.only(index for index in stale if index not in kept)
        )

    def _not_ours(self, pipeline: Pipeline, folder: Selection, foreign: Iterable[int]) -> set[int]:
        """Return which jobs are to be left alone, as their outputs seem not to be ours, and tell of them."""
        left, in_the_way = set(), []
        if self._record is not None:
            self._record.refresh()  # another run may have written them since
        for index in foreign:
            job = folder[index]
            if pipeline.up_to_date(job):
                self._tell(Result(job.source, job.destination, Status.UP_TO_DATE))
                left.add(index)
            elif self._is_foreign(job):
                in_the_way.append(index)
        if in_the_way and not self._request.keep:
            several = len(in_the_way) > 1
            more = f" (and {len(in_the_way) - 1} more) exist" if several else " exists"
            were = f" and {'were' if several else 'was'} not written by denoise"
            keep = f"--keep to leave {'them' if several else 'it'} alone"
            both = f"{keep}," if self._request.watch is not None else f"--force to overwrite, {keep},"
            raise UsageError(
                f"{folder[in_the_way[0]].destination}{more}{'' if self._record is None else were}.",
                f"Use {both} or another --out.",
            )
        for index in in_the_way:
            self._tell(Result(folder[index].source, folder[index].destination, Status.KEPT))
        return left.union(in_the_way)

    def _is_foreign(self, job: Job) -> bool:
        """Whether what is at the destination of a job is something else than an output of ours."""
        return self._record is None or not self._record.is_ours(job.relative, job.destination)

    def _dry_run(self, jobs: Iterable[Job], why_stale: Callable[[Job], str]) -> None:
        """List the jobs, and why each has to be done."""
        for job in jobs:
            why = "--force" if self._request.force else why_stale(job)
            self._tell(Result(job.source, job.destination, Status.PLANNED, why=why))
            if self._data is None:
                click.echo(os.fsencode(on_one_line(f"{job.source} -> {job.destination}  ({why})")))

    def _facts(self, denoiser: Denoiser, stale: int | None, cluster: Cluster | None) -> None:
        """The first line: version, model and its figure, device, plugins, how many images."""
        if self._request.quiet:
            return
        engine = denoiser.probe()
        model = auto.PICTURES if denoiser.auto else engine.model.name
        figure = denoiser.card.get("summary")
        known = f" ({figure[:_MAX_FIGURE]})" if isinstance(figure, str) and figure else ""
        exact = ""
        if self._request.precision != "float32":
            exact = f" in {denoiser.engine().precision}"
        facts = (
            f"Cleaning {self._images(stale)} into {self._place}: denoise {__version__}",
            f"{f'auto: digits or {model}' if denoiser.auto else model}{known}",
            f"{engine.name} on {engine.device if cluster is None else cluster}{exact}",
            ", ".join(plugin.name for plugin in denoiser.plugins.loaded) or "no plugins",
            *(() if self._request.shard is None else (f"part {self._request.shard}",)),
        )
        click.echo(on_one_line(" | ".join(facts)), err=True)

    def _images(self, stale: int | None) -> str:
        """Say how many images will be cleaned, as far as that is known."""
        if stale is not None:
            return "1 image" if stale == 1 else f"{stale} images"
        self._ahead.count(COUNT_SECONDS)
        return f"up to {self._left()} images" if self._ahead.complete else f"{self._left()} images so far"

    def _left(self) -> int:
        """How many files are not known to need no work, as far as their number is known."""
        counts = self._report.counts
        return self._total() - counts[Status.UP_TO_DATE] - counts[Status.KEPT]

    def _total(self) -> int:
        """How many files there are, as far as that is known."""
        return self._planned if self._complete else max(self._planned, self._ahead.found)

    def _work(
        self,
        pipeline: Pipeline,
        denoiser: Denoiser,
        jobs: Iterator[Job],
        stale: int | None,
        sample: list[Path],
    ) -> None:
        """Clean the jobs; `stale` is their number, if it is known, and `sample` are the first of them."""
        first = next(jobs, None)
        if first is None:
            return
        with run_cluster.connected(self._request) as cluster:
            self._facts(denoiser, stale, cluster)
            if self._page is not None:
                self._page.space(self._left() if stale is None else stale)
            self._make_folders()
            if cluster is not None:
                assert self._request.out is not None  # noqa: S101 - checked already
                run_cluster.prepare(
                    *(cluster, self._request, denoiser, pipeline.made_with, self._request.out),
                    source=first.source,
                )
            self._run(pipeline, itertools.chain((first,), jobs), stale, sample, cluster)

    def _make_folders(self) -> None:
        """Make the folders for results before any work, so that one that can't be made is said once."""
        for option, folder in (("--out", self._request.out), ("--compare", self._request.compare)):
            try:
                if folder is not None:
                    folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                assert folder is not None  # noqa: S101 - it could not be made
                above = (folder, *folder.parents)
                link = next((each for each in above if each.is_symlink() and not each.exists()), None)
                why = error.strerror if link is None else f"{link} is a link that leads nowhere"
                raise UsageError(
                    f"The folder {folder} of {option} can't be made: {why}.", "Choose another folder."
                ) from error

    def _run(
        self,
        pipeline: Pipeline,
        jobs: Iterator[Job],
        stale: int | None,
        sample: list[Path],
        cluster: Cluster | None,
    ) -> None:
        request = self._request
        bar = progress_for(quiet=request.quiet or request.verbose)
        count = self._left() if stale is None else stale
        progress = RunProgress(bar, sample, count, final=stale is not None)
        counted = time.monotonic()
        estimated = not isinstance(bar, NullProgress) and stale != len(sample)

        self._report.untried = stale

        def tell(result: Result) -> None:
            nonlocal counted
            self._tell(result)
            if self._report.untried is not None:
                self._report.untried -= 1
            progress.told(result)
            if estimated and time.monotonic() > counted + COUNT_EVERY:
                if stale is None:
                    self._ahead.count(COUNT_SLICE)
                counted = time.monotonic()
                final = stale is not None or self._complete or self._ahead.complete
                progress.expect(self._left() if stale is None else stale, final=final)

        watch = None if isinstance(bar, NullProgress) else progress.watch
        self._working = True
        try:
            pipeline.run(jobs, tell, fail_fast=request.fail_fast, cluster=cluster, watch=watch)
        except KeyboardInterrupt:
            self._report.interrupted = True
        finally:
            progress.finish()

    def _pixels(self) -> int:
        """About how many pixels there are: compressed or not, a byte stands for one or two."""
        total = sized = 0
        for job in itertools.islice(itertools.chain.from_iterable(self._head), HEAD_FILES):
            sized += 1
            with contextlib.suppress(OSError):
                total += os.stat(job.source).st_size  # noqa: PTH116 - a third of the time, for every file
        if not self._complete:
            self._ahead.count(COUNT_SECONDS)
        return total * self._total() // max(1, sized)

    def _tell(self, result: Result) -> None:
        """Count a result, and say what a person should hear about it."""
        if self._page is not None:
            self._page.add(result)
        self._telling.tell(result)

    def _summary(self) -> str:
        text = str(self._report)
        if self._report.interrupted:
            text = text if self._report.counts else "0 cleaned"
            report = "" if self._page is None else ", and writes the report"
            return f"Interrupted: {text}. The same command goes on from here{report}."
        text = text[:1].upper() + text[1:] + "."
        if self._report.counts[Status.DONE]:
            results = "The result is" if self._report.counts[Status.DONE] == 1 else "The results are"
            text += f" {results} in {self._place}; it took {duration(time.monotonic() - self._begun)}."
        return on_one_line(text)


def duration(seconds: float) -> str:
    """Say how long something took, in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
