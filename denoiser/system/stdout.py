"""Keep stdout for data."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from denoiser.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDOUT = "stdout"


class _Stdout(io.FileIO):
    """A descriptor of stdout, whose errors say that they are of stdout."""

    def write(self, content: Buffer, /) -> int:
        """Write as `FileIO` does; raises OSError with a name."""
        try:
            return super().write(content)
        except OSError as error:
            error.filename = STDOUT
            raise


def name_stdout() -> None:
    """Let errors of `sys.stdout` say where they happened, as "the disk is full" alone could be any disk."""
    if sys.stdout is None:
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Stdout(1, "wb", closefd=False)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=sys.stdout.isatty(),
    )


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
        with io.BufferedWriter(_Stdout(os.dup(saved), "wb")) as data:
            yield data
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
