"""Keeping TensorFlow's monologue off the user's terminal.

TensorFlow writes lines about its build and about GPUs that it did not find straight to file descriptor 2,
some of them before any setting can stop it. None is of use to somebody who cleans images.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


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
