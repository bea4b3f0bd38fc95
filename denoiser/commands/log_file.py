"""`--log-file`: the messages of a run, with their times, in a file too."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from denoiser.errors import DenoiserError, UsageError, on_one_line, reason
from denoiser.imaging.formats import SUFFIXES


class _Copied:
    """A stderr whose lines go to a file too. The bar, which goes back to the start of its line, does not."""

    def __init__(self, stream: Any, file: IO[bytes], path: Path) -> None:
        self._stream, self._file, self._begun = stream, file, ""
        self._path, self._incomplete = path, False

    def write(self, text: str) -> int:
        """Write to both."""
        if "\r" not in text:
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self.note(line)
        return int(self._stream.write(text) or 0)

    def note(self, line: str) -> None:
        """Write a line to the file alone; a full disk is told once, and must not end the run."""
        if not line:
            return
        try:
            text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n"
            self._file.write(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            if not self._incomplete:
                self._incomplete = True
                text = f"The log file {self._path} can't be written: {reason(error)}."
                self._stream.write(on_one_line(text) + "\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _refuse_images(path: Path) -> None:
    """Refuse to append text to an image, or to any other file that holds no text. Raises UsageError."""
    with contextlib.suppress(OSError):  # told when it is opened
        if path.suffix.lower() in SUFFIXES or (path.is_file() and b"\0" in _head(path)):
            raise UsageError(f"--log-file {path} is no text file.", "Choose another, such as run.log.")


def _refuse_own(path: Path, own: Iterable[tuple[str, str]]) -> None:
    """Refuse to append to a file that the run reads. Raises UsageError."""
    for name, given in own:
        with contextlib.suppress(OSError):
            if path.samefile(given):
                raise UsageError(f"--log-file {path} is also {name}.", "Choose another, such as run.log.")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


@contextlib.contextmanager
def logged(path: Path | None, own: Iterable[tuple[str, str]] = ()) -> Iterator[None]:
    """Append what is written to stderr to a file, if there is one, and the error that ends the block.

    Raises UsageError if the file can't be opened, is an image or another file that holds no text, or one of
    those that the run reads itself.

    Args:
        path: the file.
        own: options that name such files, and the files.

    """
    if path is None:
        yield
        return
    _refuse_own(path, own)
    _refuse_images(path)
    try:
        file = path.open("ab", buffering=0)  # what a buffer still holds would be an error when it is closed
    except OSError as error:
        raise UsageError(
            f"--log-file {path} can't be written: {reason(error)}.", "Choose another."
        ) from error
    before = sys.stderr
    with file:
        copied = _Copied(before, file, path)
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
