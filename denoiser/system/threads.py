"""Going on where the system starts no more threads or processes (`ulimit -u`, a container's limit)."""

from __future__ import annotations

import logging

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
