"""SIGINT and SIGTERM, held back where half of something would be lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Have the system hold the signals of this thread back until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Ending:
    """Handles SIGTERM in a process that is told to end: one KeyboardInterrupt, however often it is told.

    Args:
        held: whether it waits for `allowed`, or comes anywhere but in `held`. A signal may come between any
            two steps of Python, on the way into a `finally`, too: what must be done in the end is safe only
            where the exception can't begin.

    """

    def __init__(self, *, held: bool = False) -> None:
        self._held, self._asked, self._raised = held, False, False

    def __call__(self, *_: object) -> None:
        """Be the handler."""
        self._asked = True
        self._interrupt()

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Hold the exception back until the end of the block."""
        return self._during(held=True)

    def allowed(self) -> contextlib.AbstractContextManager[None]:
        """Let the exception come in the block."""
        return self._during(held=False)

    def _interrupt(self) -> None:
        if self._asked and not self._held and not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _during(self, *, held: bool) -> Iterator[None]:
        before, self._held = self._held, held
        try:
            self._interrupt()
            yield
        finally:
            self._held = before
        self._interrupt()
