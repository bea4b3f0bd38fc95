"""Threads that can't be started (`ulimit -u`, a container's limit), and those of plugins that don't end."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence

from denoiser.errors import on_one_line

PATIENCE_SECONDS, SILENT_SECONDS = 10.0, 2.0
"""How long the end of a run waits for threads of plugins, and how long without a word."""

log = logging.getLogger(__name__)
_told = False


def no_more(error: Exception) -> None:
    """Say once that the work goes on with fewer threads or processes; `error` is what starting one raised."""
    global _told
    if not _told:
        _told = True
        log.warning(
            "The system starts no more threads or processes (%s): the work goes on more slowly with those"
            " there are.",
            getattr(error, "strerror", None) or error,
        )


def lasting() -> list[threading.Thread]:
    """Return the other threads of this process that Python would wait for at its end."""
    main = threading.main_thread()
    return [each for each in threading.enumerate() if each is not main and not each.daemon]


def say_lasting(names: Iterable[str]) -> None:
    """Say that threads of plugins, of these names, are waited for."""
    log.warning(
        "The work is done, but a thread of a plugin goes on (%s): the run ends without it in %.0f s.",
        on_one_line(", ".join(sorted(set(names)))),
        PATIENCE_SECONDS - SILENT_SECONDS,
    )


def leave_behind(code: int, *, say: bool = True) -> None:
    """Have this process end with `code` after `PATIENCE_SECONDS`, though threads of plugins may go on.

    Call it at the very end: Python would wait for them for ever, as for all threads that are not daemons.
    It says so after `SILENT_SECONDS`, unless somebody else does.
    """
    threads = lasting()
    if threads:
        with contextlib.suppress(RuntimeError):  # there are no more threads to be had
            threading.Thread(target=_leave, args=(code, threads if say else ()), daemon=True).start()


def _leave(code: int, threads: Sequence[threading.Thread]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    time.sleep(SILENT_SECONDS)  # ends with the process, where the threads do
    if threads:
        say_lasting(each.name for each in threads if each.is_alive())
    time.sleep(max(0.0, until - time.monotonic()))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
