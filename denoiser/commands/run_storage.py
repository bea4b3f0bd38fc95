"""`denoise run` where inputs or outputs lie in a storage that a URL names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import IO

import click

from denoiser import __version__
from denoiser.commands import run_models
from denoiser.commands.run_batch import duration
from denoiser.commands.run_options import Request
from denoiser.commands.telling import Telling
from denoiser.errors import UsageError, on_one_line
from denoiser.imaging.formats import FORMATS, SUFFIXES, UNWRITTEN
from denoiser.inference import auto
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.outcomes import Report, Result, Status
from denoiser.pipeline.pipeline import Pipeline
from denoiser.pipeline.plan import renamer
from denoiser.pipeline.transfer import Item, Root, Transfer
from denoiser.pipeline.walk import Walk
from denoiser.plugins.manager import Plugins
from denoiser.storage.base import name_of, scheme_of
from denoiser.storage.opening import open_storage


class Remote:
    """One run over storages."""

    def __init__(self, request: Request, data: IO[bytes] | None) -> None:
        self._request, self._data = request, data
        self._plugins = request.load_plugins()
        self._report = Report()
        self._telling = Telling(request, data, self._report)
        self._begun = time.monotonic()
        for path in request.paths:
            if scheme_of(path) is None and not os.path.exists(path):  # noqa: PTH110 - text
                raise UsageError(f"{path}: no such file or folder.")
        place = request.out_url if request.out_url is not None else str(request.out)
        self._out = open_storage(place, self._plugins.open_storage)
        storages = [open_storage(path, self._plugins.open_storage) for path in request.paths]
        several = len(storages) > 1
        self._roots = [Root(each, name_of(each.url) if several else "") for each in storages]

    def run(self) -> int:
        """Do what is not up to date; returns the exit code."""
        request = self._request
        untrained = run_models.untrained(request)
        if request.dry_run and untrained:
            raise UsageError(
                f"The model has to be trained first: {run_models.durations(untrained)}.",
                "Do that, then try again.",
            )
        with run_models.denoiser(request, self._plugins) as denoiser:
            transfer = self._transfer(denoiser)
            if request.dry_run:
                self._dry_run(transfer)
            else:
                self._work(transfer, denoiser)
        self._telling.print(self._report.as_dict())
        if not request.quiet:
            click.echo(self._summary(), err=True)
        return self._report.exit_code

    def _transfer(self, denoiser: Denoiser) -> Transfer:
        request = self._request
        read = self._plugins.suffixes("read_pages")
        return Transfer(
            Pipeline(denoiser, request.output()),
            self._roots,
            self._out,
            walk=Walk(request.patterns, request.recursive, request.follow_links, SUFFIXES | read),
            renamed=_renamer(request, self._plugins),
            tell=self._telling.tell,
            force=request.force,
            keep=request.keep,
            shard=request.shard,
            left_out=self._say_left_out,
        )

    def _dry_run(self, transfer: Transfer) -> None:
        """List what is stale, and why."""
        for item in transfer.stale():
            url, why = f"{self._out.url}/{item.output}", transfer.why_stale(item)
            self._telling.tell(Result(item.url, url, Status.PLANNED, why=why))
            if self._data is None:
                click.echo(os.fsencode(on_one_line(f"{item.url} -> {url}  ({why})")))

    def _work(self, transfer: Transfer, denoiser: Denoiser) -> None:
        items = transfer.stale()
        first = next(items, None)
        if first is None:
            return
        self._facts(denoiser)

        def all_items() -> Iterator[Item]:
            yield first
            yield from items

        try:
            transfer.run(all_items(), fail_fast=self._request.fail_fast)
        except KeyboardInterrupt:
            self._report.interrupted = True

    def _facts(self, denoiser: Denoiser) -> None:
        """The first line: version, model, device, plugins."""
        if self._request.quiet:
            return
        engine = denoiser.probe()
        inputs = ", ".join(root.storage.url for root in self._roots)
        facts = (
            f"Cleaning {inputs} into {self._out.url}: denoise {__version__}",
            f"auto (digits, or {auto.PICTURES})" if denoiser.auto else engine.model.name,
            f"{engine.name} on {engine.device}",
            ", ".join(plugin.name for plugin in denoiser.plugins.loaded) or "no plugins",
            *(() if self._request.shard is None else (f"part {self._request.shard}",)),
        )
        click.echo(on_one_line(" | ".join(facts)), err=True)

    def _say_left_out(self, url: str) -> None:
        """Say that a folder in a folder is left out since it holds results of ours."""
        if not self._request.quiet:
            text = f"Note: {url} holds results of denoise and is left out. Name it to clean it."
            click.echo(on_one_line(text), err=True)

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


def _renamer(request: Request, plugins: Plugins) -> Callable[[str], str]:
    """Return what gives the name of an output for that of an input."""
    unwritten = plugins.suffixes("read_pages") - plugins.suffixes("write_pages") - SUFFIXES
    suffixes = None if request.format == "keep" else FORMATS[request.format][1]
    return renamer(suffixes, dict.fromkeys(unwritten, UNWRITTEN)) or (lambda name: name)
