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
from denoiser.errors import ExitCode
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
        self._code = int(ExitCode.OK)

    def run(self) -> int:
        """Clean in rounds until Ctrl-C; returns the exit code.

        0 if no file failed, 1 if some did, 130 if Ctrl-C came while files were being cleaned.
        """
        assert self._request.watch is not None  # noqa: S101 - the caller saw to it
        try:
            seconds = self._request.watch
            every = "second" if seconds == 1 else f"{seconds:g} seconds"
            self._say(f"Watching every {every}. Ctrl-C ends it.")
            while True:
                code = self._round()
                if code == ExitCode.INTERRUPTED:
                    return code
                self._code = max(self._code, code)
                self._sleep(self._request.watch)
        except KeyboardInterrupt:
            self._say("Watching has ended.")
            return self._code

    def _round(self) -> int:
        """Clean what stood still since the round before, and was not cleaned as it is."""
        jobs = {str(job.source): job for job in self._jobs()}
        now = {name: state for name in jobs if (state := _state(name)) is not None}
        still = [
            name
            for name, state in now.items()
            if self._before.get(name) == state and self._handled.get(name) != state
        ]
        self._before = now
        if not still:
            return ExitCode.OK
        code = self._clean([jobs[name] for name in still])
        self._handled |= {name: now[name] for name in still}
        return code

    def _say(self, text: str) -> None:
        if not self._request.quiet:
            click.echo(text, err=True)


def _state(name: str) -> State | None:
    with contextlib.suppress(OSError):
        status = os.stat(name)  # noqa: PTH116 - faster, for every file in every round
        return status.st_size, status.st_mtime_ns
    return None
