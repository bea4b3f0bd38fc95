"""`--log-file`: the messages of a run, with their times, in a file too."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from denoiser.errors import DenoiserError, UsageError, on_one_line, reason


class _Copied:
    """A stderr whose lines go to a file too. The bar, which goes back to the start of its line, does not."""

    def __init__(self, stream: Any, file: IO[str]) -> None:
        self._stream, self._file, self._begun = stream, file, ""

    def write(self, text: str) -> int:
        """Write to both."""
        if "\r" not in text:
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self.note(line)
        return int(self._stream.write(text) or 0)

    def note(self, line: str) -> None:
        """Write a line to the file alone; a full disk must not end the run."""
        if line:
            with contextlib.suppress(OSError):
                self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
                self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def logged(path: Path | None) -> Iterator[None]:
    """Append what is written to stderr to a file, if there is one, and the error that ends the block.

    Raises UsageError if the file can't be opened.
    """
    if path is None:
        yield
        return
    try:
        file = path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"--log-file {path} can't be written: {reason(error)}.", "Choose another."
        ) from error
    before = sys.stderr
    with file:
        copied = _Copied(before, file)
        copied.note(on_one_line(f"denoise {shlex.join(sys.argv[1:])}"))
        sys.stderr = copied
        try:
            yield
        except DenoiserError as error:
            copied.note(on_one_line(f"Error: {error}"))
            raise
        except KeyboardInterrupt:
            copied.note("Interrupted.")
            raise
        finally:
            sys.stderr = before
