"""`denoise --report`: the page of a run, written at its end."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from denoiser.errors import DenoiserError, on_one_line
from denoiser.pipeline.outcomes import Result, Status
from denoiser.progress import progress_for
from denoiser.report import build, place
from denoiser.report.entry import Entry
from denoiser.report.examine import Pair
from denoiser.report.live import Live

if TYPE_CHECKING:
    from denoiser.commands.run_options import Request
    from denoiser.inference.denoiser import Denoiser
    from denoiser.pipeline.record import Record

log = logging.getLogger(__name__)

_SHOWN = (Status.DONE, Status.UP_TO_DATE, Status.FAILED)
_SETTINGS = (
    *("mode", "size", "quality", "stride", "strength", "color", "bilevel", "strip_metadata", "format"),
    *("device", "engine"),
)


class RunReport:
    """Notes how the files of a run fared, and writes the page when it is over.

    Args:
        request: the options, with a report and an output folder.
        results: where the results go: that folder, or the one file.
        record: the record of the output folder, if it has one, which tells what was noted of files that are
            up to date.

    Raises:
        UsageError: the report would lie inside an input or the output folder, replace a foreign file, or
            can't be written.

    """

    def __init__(self, request: Request, results: Path, record: Record | None) -> None:
        assert request.report is not None  # noqa: S101 - asked before
        assert request.out is not None  # noqa: S101 - checked already
        self._request, self._record = request, record
        self._out = request.out
        target = place.Target(request.report)
        place.check(target, results, [Path(path) for path in request.paths if Path(path).is_dir()])
        self._draft = place.Draft(target)
        if not request.dry_run:
            self._draft.try_writing()
        self._pairs: list[Pair] = []
        self._rows = build.rows_for(target)
        self._facts: dict[str, str] = {}
        self._started = time.monotonic()

    @property
    def examiner(self) -> Live:
        """Makes the rows of files while they are cleaned."""
        return Live(self._draft.target.pictures, self._draft.token)

    def space(self, count: int) -> None:
        """Say how much disk the report of so many files may take; raises UsageError if it is not free."""
        text = place.space(self._draft.target, count)
        if text and not self._request.quiet:
            click.echo(on_one_line(f"Note: {text}."), err=True)

    def add(self, result: Result) -> None:
        """Note a result."""
        if result.status not in _SHOWN:
            return
        seen = result.outcome.seen
        if isinstance(seen, Entry) and result.status is Status.DONE:
            if result.outcome.notes:
                seen = replace(seen, notes=tuple(dict.fromkeys((*result.outcome.notes, *seen.notes))))
            self._rows.add(seen)
            return
        source, output = Path(result.source), Path(result.output)
        inside = output.is_relative_to(self._out)
        name = output.relative_to(self._out).as_posix() if inside else output.name
        failed = result.status is Status.FAILED
        notes = result.outcome.notes
        if result.status is Status.UP_TO_DATE and self._record is not None:
            notes = self._record.notes(name, output)
        self._pairs.append(Pair(name, source, output, failed, result.outcome.error, notes=notes))

    def describe(self, denoiser: Denoiser) -> None:
        """Note what cleans, for the summary."""
        from denoiser.inference import auto

        model = auto.PICTURES if denoiser.auto else denoiser.probe().model.name
        figure = denoiser.card.get("summary")
        known = f" ({figure})" if isinstance(figure, str) and figure else ""
        given = {name: getattr(self._request, name) for name in _SETTINGS}
        usual = "tile" if denoiser.auto else denoiser.probe().model.mode
        if (self._request.mode or usual) == "whole":
            del given["quality"], given["stride"]  # of which there is only one patch
        elif given["stride"] is not None:
            del given["quality"]  # which it takes the place of
        self._facts = {
            "Model": f"{f'auto: digits or {model}' if denoiser.auto else model}{known}",
            "Settings": ", ".join(
                name.replace("_", "-") if value is True else f"{name} {value}"
                for name, value in given.items()
                if value not in (None, False)
            ),
            "Plugins": ", ".join(plugin.name for plugin in denoiser.plugins.loaded) or "none",
        }

    def drop(self) -> None:
        """Remove what was drawn already: there will be no page."""
        self._draft.discard()
        self._rows.close()

    def write(self) -> bool:
        """Write the page; returns whether that went well. What goes wrong is said in one line."""
        seconds = time.monotonic() - self._started
        facts = {"Output folder": str(self._out), **self._facts, "Time of the run": f"{seconds:.1f} s"}
        request = self._request
        progress = progress_for(quiet=request.quiet or request.verbose)
        try:
            build.build(
                self._pairs,
                self._draft,
                rows=self._rows,
                facts=facts,
                progress=progress,
                limit=request.max_megapixels,
            )
        except DenoiserError as error:
            text = str(error)
        except Exception as error:  # a page must never fail what was cleaned
            log.debug("the report", exc_info=error)
            text = f"The report {self._draft.target.path} can't be written: {type(error).__name__}: {error}."
        else:
            if not request.quiet:
                click.echo(on_one_line(f"Report: {self._draft.target.page}"), err=True)
            return True
        click.echo(on_one_line(f"Error: {text}"), err=True)
        return False
