"""Keep stdout for data."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO

from denoiser.errors import UsageError


@contextlib.contextmanager
def stdout_for_data() -> Iterator[IO[bytes]]:
    """Yield stdout for data, and send everything else that plugins or libraries print there to stderr."""
    if sys.stdout is None:
        raise UsageError("stdout is closed, and the results would go there.", "Redirect it into a file.")
    sys.stdout.flush()
    saved = os.dup(1)
    messages = 2  # unless `only_ours` has replaced it
    with contextlib.suppress(OSError, ValueError, AttributeError):
        messages = sys.stderr.fileno()
    os.dup2(messages, 1)
    try:
        with os.fdopen(os.dup(saved), "wb") as data:
            yield data
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
