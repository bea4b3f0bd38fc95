"""Keeping libraries' monologues off the user's terminal.

libtiff and others write what they think of a damaged file straight to file descriptor 2, thousands of lines
that name no file; TensorFlow writes lines about its build and about GPUs that it did not find, some of them
before any setting can stop it. None is of use to somebody who cleans images.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_python() -> Iterator[None]:
    """Let Python's own stderr through, and nothing that C code writes to descriptor 2."""
    before = sys.stderr
    try:
        if before.fileno() != 2 or not isinstance(before, io.TextIOWrapper):
            raise OSError("not the process's own")
        before.flush()
        kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError, AttributeError):
        yield  # there is none, or it leads elsewhere
        return
    os.dup2(nothing, 2)
    os.close(nothing)
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
    """Hold back what is written to stderr, by C++ too; if the block raises, it is written after all.

    It holds for the whole process, so that only imports of libraries belong in it.
    """
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
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
