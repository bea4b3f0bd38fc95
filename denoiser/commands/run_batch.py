"""`denoise run` over files and folders: what is stale, the work, and what is said about it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from denoiser import __version__
from denoiser.commands import run_models
from denoiser.commands.run_options import Request
from denoiser.commands.run_progress import RunProgress
from denoiser.errors import ExitCode, UsageError, on_one_line, reason
from denoiser.imaging.formats import FORMATS, SUFFIXES, UNWRITTEN
from denoiser.inference import auto
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.document import CONCERNS
from denoiser.pipeline.outcomes import Outcome, Report, Result, Status
from denoiser.pipeline.pipeline import Pipeline
from denoiser.pipeline.plan import Job, Walk, plan
from denoiser.pipeline.record import Record
from denoiser.plugins.manager import Plugins
from denoiser.progress import NullProgress, progress_for, write_above
from denoiser.system import atomic

if TYPE_CHECKING:
    from denoiser.pipeline.cluster import Cluster

_MAX_FIGURE = 120
"""Characters of a model card's own words that the first line has room for."""


class Batch:
    """One run over files and folders."""

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
        self._jobs = planned(request, self._plugins, self._unlisted) if jobs is None else jobs
        self._begun = time.monotonic()
        self._record = Record(request.out, sync=request.sync) if recorded else None
        self._place = request.out if recorded else self._jobs[0].destination
        self._report = Report()
        self._page = None
        if request.report is not None:
            from denoiser.commands.run_report import RunReport

            self._page = RunReport(request, self._place)

    def run(self) -> int:
        """Do what is not up to date; returns the exit code."""
        request = self._request
        for folder in self._unlisted:
            self._tell(folder)
        untrained = run_models.untrained(request)
        if not self._jobs or (self._unlisted and request.fail_fast):
            return self._end()
        if request.dry_run and untrained:
            click.echo(f"Would train first: {run_models.durations(untrained)}.", err=True)
            self._dry_run(self._jobs, lambda _: "new")
        else:
            with run_models.denoiser(request, self._plugins, pixels=_size(self._jobs)) as denoiser:
                pipeline = Pipeline(denoiser, request.output(), self._record)
                stale = self._stale(pipeline)
                if request.dry_run:
                    self._dry_run(stale, pipeline.why_stale)
                else:
                    self._sweep()
                if stale and not request.dry_run:
                    with self._connected() as cluster:
                        self._facts(denoiser, len(stale), cluster)
                        self._make_folders()
                        if cluster is not None:
                            self._prepare(cluster, denoiser, pipeline.made_with, stale[0])
                        self._work(pipeline, stale, cluster)
                if self._page is not None:
                    self._page.describe(denoiser)
        return self._end()

    def _end(self) -> int:
        """Print what was done; returns the exit code."""
        if self._record is not None:
            self._record.close()
        self._print(self._report.as_dict())
        if not self._request.quiet:
            click.echo(self._summary(), err=True)
        page = None if self._request.dry_run or self._report.interrupted else self._page
        if page is not None and not page.write():
            return self._report.exit_code or ExitCode.SOME_FAILED
        return self._report.exit_code

    def _stale(self, pipeline: Pipeline) -> list[Job]:
        """Jobs that are not up to date; tells of those that are."""
        if self._request.force:
            return self._jobs
        stale = []
        for job in self._jobs:
            if pipeline.up_to_date(job):
                self._tell(Result(job.source, job.destination, Status.UP_TO_DATE))
            else:
                stale.append(job)
        foreign = self._foreign(stale)
        if foreign and self._record is not None:
            self._record.refresh()  # another run may have written them since
            foreign = self._foreign(foreign)
        if foreign and self._request.keep:
            for job in foreign:
                self._tell(Result(job.source, job.destination, Status.KEPT))
            return [job for job in stale if job not in foreign]
        if foreign:
            several = len(foreign) > 1
            more = f" (and {len(foreign) - 1} more) exist" if several else " exists"
            were = f" and {'were' if several else 'was'} not written by denoise"
            them = "them" if several else "it"
            raise UsageError(
                f"{foreign[0].destination}{more}{'' if self._record is None else were}.",
                f"Use --force to overwrite, --keep to leave {them} alone, or another --out.",
            )
        return stale

    def _foreign(self, jobs: Iterable[Job]) -> list[Job]:
        """Those whose destination holds something else than an output of ours."""
        return [
            job
            for job in jobs
            if os.path.lexists(job.destination)
            and (self._record is None or not self._record.is_ours(job.relative, job.destination))
        ]

    def _dry_run(self, jobs: Iterable[Job], why_stale: Callable[[Job], str]) -> None:
        """List the jobs, and why each has to be done."""
        for job in jobs:
            why = "--force" if self._request.force else why_stale(job)
            self._tell(Result(job.source, job.destination, Status.PLANNED, why=why))
            if self._data is None:
                click.echo(os.fsencode(on_one_line(f"{job.source} -> {job.destination}  ({why})")))

    def _facts(self, denoiser: Denoiser, count: int, cluster: Cluster | None) -> None:
        """The first line: version, model and its figure, device, plugins, how many images."""
        if self._request.quiet:
            return
        engine = denoiser.probe()
        model = auto.PICTURES if denoiser.auto else engine.model.name
        figure = denoiser.card.get("summary")
        known = f" ({figure[:_MAX_FIGURE]})" if isinstance(figure, str) and figure else ""
        images = "1 image" if count == 1 else f"{count} images"
        facts = (
            f"Cleaning {images} into {self._place}: denoise {__version__}",
            f"{f'auto: digits or {model}' if denoiser.auto else model}{known}",
            f"{engine.name} on {engine.device if cluster is None else cluster}",
            ", ".join(plugin.name for plugin in denoiser.plugins.loaded) or "no plugins",
        )
        click.echo(on_one_line(" | ".join(facts)), err=True)

    def _sweep(self) -> None:
        """Remove what killed runs left, also where nothing else is to be done."""
        atomic.sweep({job.destination.parent for job in self._jobs})
        compare = self._request.compare
        if compare is not None:
            atomic.sweep({(compare / job.relative).parent for job in self._jobs})

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Cluster | None]:
        """Connect to the cluster, whose workers must fit; None without one."""
        request = self._request
        if request.cluster is None:
            yield None
            return
        from denoiser.pipeline.cluster import Cluster

        path_map = dict(text.split("=", 1) for text in request.path_map)
        with Cluster(request.cluster, path_map) as cluster:
            yield cluster

    def _prepare(self, cluster: Cluster, denoiser: Denoiser, made_with: str, first: Job) -> None:
        """Bring all that the workers need to them, and have them show that they can work."""
        from denoiser.pipeline import cluster as clusters

        request = self._request
        setup = clusters.setup(
            denoiser,
            request.output(),
            settings=run_models.settings(request),
            plugins=request.plugins,
            installed_plugins=request.installed_plugins,
            plugin_options=request.plugin_options,
            made_with=made_with,
            source=first.source,
        )
        assert request.out is not None  # noqa: S101 - checked already
        cluster.prepare(setup, request.out)

    def _make_folders(self) -> None:
        for option, folder in (("--out", self._request.out), ("--compare", self._request.compare)):
            _make(option, folder)

    def _work(self, pipeline: Pipeline, jobs: list[Job], cluster: Cluster | None) -> None:
        request = self._request
        bar = progress_for(quiet=request.quiet or request.verbose)
        progress = RunProgress(bar, [job.source for job in jobs])

        def tell(result: Result) -> None:
            self._tell(result)
            progress.told(result)

        watch = None if isinstance(bar, NullProgress) else progress.watch
        try:
            pipeline.run(jobs, tell, fail_fast=request.fail_fast, cluster=cluster, watch=watch)
        except KeyboardInterrupt:
            self._report.interrupted = True
        finally:
            progress.finish()

    def _print(self, row: dict[str, Any]) -> None:
        """Write a JSON line, where JSON was asked for."""
        if self._data is not None:
            self._data.write((json.dumps(row) + "\n").encode("ascii"))
            self._data.flush()

    def _tell(self, result: Result) -> None:
        """Count a result, and say what a person should hear about it."""
        request, outcome = self._request, result.outcome
        fresh = self._report.add(result)
        if self._page is not None:
            self._page.add(result)
        if self._data is not None:
            self._print(result.as_dict())
        lines = []
        if result.status is Status.FAILED:
            lines.append(f"Error: {result.source} {outcome.error}")
        elif request.verbose and result.status is not Status.PLANNED:
            used = ", ".join(outcome.models)
            by = f" by {used}" if used else ""
            noise = "" if outcome.noise is None else f", noise about {255 * outcome.noise:.0f} of 255"
            lines.append(
                f"{result.source} -> {result.output}: {result.status}{by}{noise}, {outcome.seconds:.2f} s"
            )
        if not request.quiet:
            for note in fresh:
                named = (
                    f"{result.source}: {note}" if note in CONCERNS else f"{note}, first in {result.source}"
                )
                lines.append(f"Note: {named}.")
        if lines:
            write_above("\n".join(map(on_one_line, lines)))

    def _summary(self) -> str:
        text = str(self._report)
        if self._report.interrupted:
            text = text if self._report.counts else "0 cleaned"
            return f"Interrupted: {text}. The same command goes on from here."
        text = text[:1].upper() + text[1:] + "."
        if self._report.counts[Status.DONE]:
            results = "The result is" if self._report.counts[Status.DONE] == 1 else "The results are"
            text += f" {results} in {self._place}; it took {_duration(time.monotonic() - self._begun)}."
        return on_one_line(text)


def _duration(seconds: float) -> str:
    """Say how long something took, in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _make(option: str, folder: Path | None) -> None:
    """Make a folder for results before any work, so that one that can't be is said once."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} of {option} can't be made: {error.strerror}.", "Choose another folder."
        ) from error


def _apart(compare: Path, jobs: Iterable[Job], out: Path) -> None:
    """Refuse a folder for comparisons in which they could meet inputs or outputs."""
    own, results = (Path(os.path.realpath(folder)) for folder in (compare, out))
    if own.is_relative_to(results) or results.is_relative_to(own):
        raise UsageError("--compare and --out must not lie in one another.", "Name two folders side by side.")
    for job in jobs:
        if Path(os.path.realpath(job.source)).is_relative_to(own):
            raise UsageError(
                f"The input {job.source} lies in {compare}, the --compare folder.", "Choose another folder."
            )


def _size(jobs: Iterable[Job]) -> int:
    """About how many pixels there are: compressed or not, a byte stands for one or two."""
    total = 0
    for job in jobs:
        with contextlib.suppress(OSError):
            total += os.stat(job.source).st_size  # noqa: PTH116 - a third of the time, for every file
    return total


def planned(request: Request, plugins: Plugins, unlisted: list[Result]) -> list[Job]:
    """List the files to clean; each folder that can't be listed becomes a failure in `unlisted`.

    Raises:
        UsageError: See `denoiser.pipeline.plan.plan`.
    """
    assert request.out is not None  # noqa: S101 - checked already
    read = plugins.suffixes("read_pages")
    unwritten = read - plugins.suffixes("write_pages") - SUFFIXES

    def onerror(folder: Job, error: OSError) -> None:
        text = f"can't be read: {reason(error)}."
        unlisted.append(Result(folder.source, folder.destination, Status.FAILED, Outcome(error=text)))

    jobs = plan(
        request.paths,
        request.out,
        walk=Walk(
            request.patterns, request.recursive, request.follow_links, SUFFIXES | read, request.say_left_out
        ),
        suffixes=None if request.format == "keep" else FORMATS[request.format][1],
        renamed=dict.fromkeys(unwritten, UNWRITTEN),
        aside=[folder for folder in (request.compare, request.report) if folder is not None],
        onerror=onerror,
    )
    if request.compare is not None:
        _apart(request.compare, jobs, request.out)
    return jobs
