"""`denoise run` where inputs or outputs lie in a storage that a URL names."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from denoiser import __version__
from denoiser.commands import run_cluster, run_models
from denoiser.commands.run_batch import COUNT_EVERY, COUNT_SECONDS, COUNT_SLICE, duration
from denoiser.commands.run_options import Request
from denoiser.commands.run_plan import Ahead
from denoiser.commands.run_progress import RunProgress
from denoiser.commands.telling import Telling
from denoiser.errors import UsageError, on_one_line
from denoiser.imaging.formats import FORMATS, SUFFIXES, UNWRITTEN
from denoiser.inference import auto
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Cleaner
from denoiser.pipeline.objects import ObjectCleaner, Places
from denoiser.pipeline.outcomes import Report, Result, Status
from denoiser.pipeline.pipeline import HEAD_FILES, Done, Pipeline
from denoiser.pipeline.plan import Job, renamer
from denoiser.pipeline.transfer import Item, Root, Transfer
from denoiser.pipeline.walk import Walk
from denoiser.plugins.manager import Plugins
from denoiser.progress import NullProgress, progress_for
from denoiser.storage.base import Storage, name_of, scheme_of
from denoiser.storage.local import LocalStorage
from denoiser.storage.opening import open_storage

if TYPE_CHECKING:
    from denoiser.pipeline.apart import Apart
    from denoiser.pipeline.cluster import Cluster


class Remote:
    """One run over storages."""

    def __init__(self, request: Request, data: IO[bytes] | None) -> None:
        self._request, self._data = request, data
        self._plugins = request.load_plugins()
        self._report = Report()
        self._telling = Telling(request, data, self._report)
        self._begun = time.monotonic()
        self._told: Callable[[Result], object] = lambda _: None
        for path in request.paths:
            if scheme_of(path) is None and not os.path.exists(path):  # noqa: PTH110 - text
                raise UsageError(f"{path}: no such file or folder.")
        inputs = request.paths if request.listed is None else (request.listed.root,)
        out = request.out_url if request.out_url is not None else str(request.out)
        self._places = Places(tuple(map(_whole, inputs)), _whole(out))
        self._roots: list[Root] = []

    def _open(self) -> None:
        """Open the storages, if they are not. Plugins may start threads for them: see `_pipeline`."""
        if self._roots:
            return
        self._out = self._opened(self._places.out)
        storages = list(map(self._opened, self._places.roots))
        several = len(storages) > 1
        self._roots = [
            Root(each, name_of(each.url) if several else "", self._request.listed) for each in storages
        ]

    def _opened(self, text: str) -> Storage:
        return open_storage(text, self._plugins.open_storage)

    def run(self) -> int:
        """Do what is not up to date; returns the exit code."""
        request = self._request
        untrained = run_models.untrained(request)
        if request.dry_run and untrained:
            raise UsageError(
                f"The model has to be trained first: {run_models.durations(untrained)}.",
                "Do that, then try again.",
            )
        if untrained:  # a training that ends with a URL that can't be opened is in vain
            self._open()
        with (
            run_models.denoiser(request, self._plugins) as denoiser,
            tempfile.TemporaryDirectory(prefix="denoiser-", ignore_cleanup_errors=True) as scratch,
        ):
            cleaner = Cleaner(denoiser, request.output())
            objects = ObjectCleaner(cleaner, self._places, self._opened, Path(scratch))
            pipeline = Pipeline(denoiser, request.output(), cleaner=objects)
            with self._pipeline(pipeline) as working:
                self._open()
                transfer = self._transfer(pipeline)
                if request.dry_run:
                    self._dry_run(transfer)
                else:
                    transfer.tidy()
                    self._work(transfer, working, denoiser, pipeline.made_with)
        self._report.end(fail_fast=request.fail_fast)
        self._telling.print(self._report.as_dict())
        if not request.quiet:
            click.echo(self._summary(), err=True)
        return self._report.exit_code

    @contextlib.contextmanager
    def _pipeline(self, pipeline: Pipeline) -> Iterator[Pipeline | Apart]:
        """Have another process clean where this one can be forked: it will have threads soon."""
        request = self._request
        if request.cluster is not None or request.dry_run or not pipeline.may_fork():
            yield pipeline
            return
        from denoiser.pipeline.apart import Apart

        pipeline.made_with  # noqa: B018 - loads the models, which both processes then share
        with Apart(pipeline) as apart:
            yield apart

    def _transfer(self, pipeline: Pipeline) -> Transfer:
        request = self._request
        read = self._plugins.suffixes("read_pages")
        return Transfer(
            pipeline,
            self._roots,
            self._out,
            walk=Walk(request.patterns, request.recursive, request.follow_links, SUFFIXES | read),
            renamed=_renamer(request, self._plugins),
            tell=self._tell,
            force=request.force,
            keep=request.keep,
            shard=request.shard,
            left_out=request.say_left_out,
        )

    def _dry_run(self, transfer: Transfer) -> None:
        """List what is stale, and why."""
        with contextlib.closing(transfer.stale()) as items:
            for item in items:
                url, why = f"{self._out.url}/{item.output}", transfer.why_stale(item)
                self._telling.tell(Result(item.url, url, Status.PLANNED, why=why))
                if self._data is None:
                    click.echo(os.fsencode(on_one_line(f"{item.url} -> {url}  ({why})")))

    def _work(
        self, transfer: Transfer, pipeline: Pipeline | Apart, denoiser: Denoiser, made_with: str
    ) -> None:
        with contextlib.closing(transfer.stale()) as items:
            first = next(items, None)
            if first is None:
                return
            with run_cluster.connected(self._request) as cluster:
                self._facts(denoiser, cluster)
                if cluster is not None:
                    self._prepare(cluster, denoiser, made_with, first)
                self._run(transfer, itertools.chain((first,), items), pipeline, cluster)

    def _prepare(self, cluster: Cluster, denoiser: Denoiser, made_with: str, first: Item) -> None:
        out: Path | Storage = self._out
        if scheme_of(self._places.out) is None:
            out = Path(self._places.out)
            out.mkdir(parents=True, exist_ok=True)
        run_cluster.prepare(
            *(cluster, self._request, denoiser, made_with, out),
            places=self._places,
            entry=(self._roots.index(first.root), first.source),
        )

    def _run(
        self,
        transfer: Transfer,
        items: Iterator[Item],
        pipeline: Pipeline | Apart,
        cluster: Cluster | None,
    ) -> None:
        request = self._request
        bar = progress_for(quiet=request.quiet or request.verbose)
        shown = not isinstance(bar, NullProgress)
        head = list(itertools.islice(items, HEAD_FILES if shown else 1))
        progress = RunProgress(
            bar, [item.source.size for item in head], transfer.stale_found, final=transfer.complete
        )
        ahead, counted = Ahead(transfer.count()), time.monotonic()

        def expect() -> None:
            """Say how many there will be: all that are not yet known to be up to date."""
            left = ahead.found - transfer.known + transfer.stale_found
            if transfer.complete or left < transfer.stale_found:
                left = transfer.stale_found
            progress.expect(left, final=transfer.complete or ahead.complete)

        def told(result: Result) -> None:
            nonlocal counted
            progress.told(result)
            if shown and time.monotonic() > counted + COUNT_EVERY:
                if not transfer.complete:
                    ahead.count(COUNT_SLICE)
                counted = time.monotonic()
                expect()

        def work(jobs: Iterable[Job], done: Done, *, fail_fast: bool) -> None:
            watch = progress.watch if shown else None
            if isinstance(pipeline, Pipeline):
                pipeline.work(jobs, done, fail_fast=fail_fast, cluster=cluster, watch=watch)
            else:
                pipeline.work(jobs, done, fail_fast=fail_fast, watch=watch)

        if shown and not transfer.complete:
            ahead.count(COUNT_SECONDS)
            expect()
        self._told = told
        try:
            transfer.run(itertools.chain(head, items), work, fail_fast=request.fail_fast)
        except KeyboardInterrupt:
            self._report.interrupted = True
        finally:
            progress.finish()

    def _tell(self, result: Result) -> None:
        self._telling.tell(result)
        self._told(result)

    def _facts(self, denoiser: Denoiser, cluster: Cluster | None) -> None:
        """The first line: version, model, device, plugins."""
        if self._request.quiet:
            return
        engine = denoiser.probe()
        inputs = ", ".join(root.storage.url for root in self._roots)
        facts = (
            f"Cleaning {inputs} into {self._out.url}: denoise {__version__}",
            f"auto (digits, or {auto.PICTURES})" if denoiser.auto else engine.model.name,
            f"{engine.name} on {engine.device if cluster is None else cluster}",
            ", ".join(plugin.name for plugin in denoiser.plugins.loaded) or "no plugins",
            *(() if self._request.shard is None else (f"part {self._request.shard}",)),
        )
        click.echo(on_one_line(" | ".join(facts)), err=True)

    def _summary(self) -> str:
        text = str(self._report)
        if self._report.interrupted:
            return f"Interrupted: {text}. The same command goes on from here."
        text = text[:1].upper() + text[1:] + "."
        if self._report.counts[Status.DONE]:
            text += (
                f" The results are in {self._out.url}; it took {duration(time.monotonic() - self._begun)}."
            )
        return on_one_line(text)


def _renamer(request: Request, plugins: Plugins) -> Callable[[str], str] | None:
    """Return what gives the name of an output for that of an input."""
    unwritten = plugins.suffixes("read_pages") - plugins.suffixes("write_pages") - SUFFIXES
    suffixes = None if request.format == "keep" else FORMATS[request.format][1]
    return renamer(suffixes, dict.fromkeys(unwritten, UNWRITTEN))


def _whole(text: str) -> str:
    """Return the name by which all processes open a storage: they may be in another folder."""
    return text if scheme_of(text) is not None else LocalStorage(Path(text)).url
