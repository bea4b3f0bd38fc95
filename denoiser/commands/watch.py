"""`--watch`: clean what arrives in folders, again and again, until Ctrl-C.

Folders are listed every so many seconds, since network shares tell of no changes. A file counts when its size
and time were the same in two rounds: what is still being copied does not.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import click

from denoiser.commands.run_options import Request
from denoiser.errors import ExitCode, UsageError, on_one_line
from denoiser.pipeline.plan import Job

State = tuple[int, int]
"""Size and modification time in nanoseconds."""


class Watch:
    """The rounds of a watched run.

    Args:
        request: The options, with `watch`.
        jobs: Lists the files that are there.
        clean: Cleans some of them, and returns the exit code of that.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        request: Request,
        jobs: Callable[[], list[Job]],
        clean: Callable[[list[Job]], int],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._request, self._jobs, self._clean, self._sleep = request, jobs, clean, sleep
        self._before: dict[str, State] = {}
        self._handled: dict[str, State] = {}
        self._told: set[str] = set()
        self._begun = False
        self._code = int(ExitCode.OK)

    def run(self) -> int:
        """Clean in rounds until Ctrl-C; returns the exit code.

        0 if no file failed, 1 if some did, 130 if Ctrl-C came while files were being cleaned. Raises
        UsageError where nothing can be done from the start.
        """
        assert self._request.watch is not None  # noqa: S101 - the caller saw to it
        try:
            seconds = self._request.watch
            every = "second" if seconds == 1 else f"{seconds:g} seconds"
            self._say(f"Watching every {every}. Ctrl-C ends it.")
            now: dict[str, Job] | None = self._listed()
            while True:
                code = self._round(now)
                if code == ExitCode.INTERRUPTED:
                    return code
                self._code = max(self._code, code)
                self._sleep(self._request.watch)
                now = self._listed_again()
        except KeyboardInterrupt:
            self._say("Watching has ended.")
            return self._code

    def _listed(self) -> dict[str, Job]:
        """Return the files that are there, by name."""
        return {str(job.source): job for job in self._jobs()}

    def _listed_again(self) -> dict[str, Job] | None:
        """Return them; None, once it was said why, where they can't be listed: a share may be back later."""
        try:
            found = self._listed()
        except UsageError as error:
            if str(error) not in self._told:
                self._tell(error)
            self._told.add(str(error))
            return None
        self._told.clear()
        return found

    def _round(self, jobs: dict[str, Job] | None) -> int:
        """Clean what stood still since the round before, and was not cleaned as it is."""
        if jobs is None:
            return ExitCode.SOME_FAILED
        now = {name: state for name in jobs if (state := _state(name)) is not None}
        self._handled = {name: state for name, state in self._handled.items() if name in now}
        still = [
            name
            for name, state in now.items()
            if self._before.get(name) == state and self._handled.get(name) != state
        ]
        self._before = now
        if not still:
            return ExitCode.OK
        code = self._cleaned([jobs[name] for name in still])
        self._handled |= {name: now[name] for name in still}
        return code

    def _cleaned(self, jobs: list[Job]) -> int:
        """Clean files; one that can't be, as where somebody's file is in the way, doesn't stop the others."""
        try:
            code = self._clean(jobs)
        except UsageError as error:
            if not self._begun:
                raise  # it may be the settings, and nothing was done
            if len(jobs) == 1:
                return self._tell(error)
            half = len(jobs) // 2
            code = self._cleaned(jobs[:half])
            return code if code == ExitCode.INTERRUPTED else max(code, self._cleaned(jobs[half:]))
        self._begun = True
        return code

    def _tell(self, error: UsageError) -> int:
        click.echo(on_one_line(f"Error: {error}"), err=True)
        return ExitCode.SOME_FAILED

    def _say(self, text: str) -> None:
        if not self._request.quiet:
            click.echo(text, err=True)


def _state(name: str) -> State | None:
    with contextlib.suppress(OSError):
        status = os.stat(name)  # noqa: PTH116 - faster, for every file in every round
        return status.st_size, status.st_mtime_ns
    return None
