"""Keep the messages of libraries off the user's terminal.

libtiff and others write about a damaged file to file descriptor 2: thousands of lines that do not name the
file. TensorFlow writes about its build and missing GPUs, partly before any setting can stop it. None of this
helps a user who cleans images.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_ours() -> Iterator[None]:
    """Keep what we write to stderr, and discard what C code writes to descriptor 2 and what Pillow logs."""
    # Where nobody handles a library's log, Python writes it to stderr.
    pillow, nobody = logging.getLogger("PIL"), logging.NullHandler()
    pillow.addHandler(nobody)
    try:
        with _only_python():
            yield
    finally:
        pillow.removeHandler(nobody)


@contextmanager
def _only_python() -> Iterator[None]:
    """Discard what C code writes to descriptor 2, and keep Python's own stderr."""
    before = sys.stderr
    try:
        if before.fileno() != 2 or not isinstance(before, io.TextIOWrapper):
            raise OSError("stderr is redirected")
        before.flush()
        kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError, AttributeError):
        yield  # there is no stderr, or it is redirected
        return
    os.dup2(null, 2)
    os.close(null)
    raw = os.fdopen(kept, "wb", buffering=0)
    ours = type(before)(raw, encoding=before.encoding, errors=before.errors, line_buffering=True)
    sys.stderr = ours
    try:
        yield
    finally:
        ours.flush()
        os.dup2(kept, 2)
        sys.stderr = before
        ours.close()


@contextmanager
def quietly() -> Iterator[None]:
    """Discard everything on stderr, also from C++, unless the block fails; then it is printed.

    An interruption is no failure. This affects the whole process: use it only to import libraries.
    """
    import tempfile

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield  # there is no stderr to keep clean
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
