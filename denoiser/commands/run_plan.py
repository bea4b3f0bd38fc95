"""Which files a run is about: planned folder by folder, and counted ahead by their names."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from denoiser.commands.run_options import Request
from denoiser.errors import UsageError, reason
from denoiser.imaging.formats import FORMATS, SUFFIXES, UNWRITTEN
from denoiser.pipeline.outcomes import Outcome, Result, Status
from denoiser.pipeline.plan import Folder, Job, Plan, Selection, is_in, plan, real, renamer
from denoiser.pipeline.walk import Walk
from denoiser.plugins.manager import Plugins


class Planned:
    """The files of a request, folder by folder; each folder is checked when it is asked for.

    Args:
        request: the options.
        plugins: read and write more kinds of files.
        unlisted: takes each folder that can't be listed, as a failure.

    Raises:
        UsageError: See `denoiser.pipeline.plan.plan`. Iterating raises it, too.

    """

    def __init__(self, request: Request, plugins: Plugins, unlisted: list[Result]) -> None:
        assert request.out is not None  # noqa: S101 - checked already
        self._compare = request.compare
        if request.compare is not None:
            _refuse_nested(request.compare, "--out", request.out)
            if request.report is not None:
                _refuse_nested(request.compare, "--report", request.report)
        self._shard = request.shard
        self._plan = _plan(request, request.out, plugins, unlisted)

    def __iter__(self) -> Iterator[Selection]:
        """Yield the folders that have files."""
        for folder in self._plan:
            if self._compare is not None:
                _refuse_compared(self._compare, folder)
            jobs = Selection(folder, folder.destination, folder.relative)
            if self._shard is not None:
                part = self._shard.indices(folder.first, len(folder))
                jobs = jobs.only(itertools.chain.from_iterable(part))
            if jobs:
                yield jobs
            del folder, jobs  # the next one is listed meanwhile

    def count(self) -> Iterator[int]:
        """Yield the numbers of files found so far; the last one is about how many there are."""
        found = 0
        for number in self._plan.count():
            found += number
            yield found if self._shard is None else self._shard.share(found)


def _plan(request: Request, out: Path, plugins: Plugins, unlisted: list[Result]) -> Plan:
    read = plugins.suffixes("read_pages")
    unwritten = read - plugins.suffixes("write_pages") - SUFFIXES

    def onerror(folder: Job, error: OSError) -> None:
        text = f"can't be read: {reason(error)}."
        unlisted.append(Result(folder.source, folder.destination, Status.FAILED, Outcome(error=text)))

    suffixes = None if request.format == "keep" else FORMATS[request.format][1]
    renamed = dict.fromkeys(unwritten, UNWRITTEN)
    if request.files_from is not None:
        from denoiser.pipeline.listed import FileList, plan_list

        assert isinstance(request.listed, FileList)  # noqa: S101 - else it is no plan of files
        return plan_list(request.listed, out, renamer(suffixes, renamed))
    return plan(
        request.paths,
        out,
        walk=Walk(
            request.patterns, request.recursive, request.follow_links, SUFFIXES | read, request.say_left_out
        ),
        suffixes=suffixes,
        renamed=renamed,
        aside=[folder for folder in (request.compare, request.report) if folder is not None],
        onerror=onerror,
    )


def _refuse_nested(compare: Path, option: str, place: Path) -> None:
    """Refuse a folder for comparisons in which they could meet what another option names."""
    own, other = real(compare), real(place)
    if is_in(own, other) or is_in(other, own):
        raise UsageError(
            f"--compare and {option} must not lie in one another.", "Name two folders side by side."
        )


def _refuse_compared(compare: Path, folder: Folder) -> None:
    """Refuse a folder for comparisons in which they could meet inputs."""
    own = real(compare)
    for part in folder.parts:
        inside = is_in(real(Path(part.folder)), own)
        linked = (name for name in part.links if is_in(real(Path(part.folder, name)), own))
        name = part.names[0] if inside and part.names else next(linked, None)
        if name is not None:
            raise UsageError(
                f"The input {Path(part.folder, name)} lies in {compare}, the --compare folder.",
                "Choose another folder.",
            )


class Ahead:
    """Counts the files of a run by their names, a little at a time, while the work goes on.

    Args:
        numbers: how many have been found so far; the last is all of them.

    Attributes:
        found: how many have been found.
        complete: whether these are all.

    """

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self.found = 0
        self.complete = False

    def count(self, seconds: float) -> None:
        """Count for so long at most."""
        until = time.monotonic() + seconds
        while not self.complete and time.monotonic() < until:
            found = next(self._numbers, None)
            self.complete = found is None
            self.found = self.found if found is None else found
