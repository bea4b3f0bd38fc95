"""Objects of which only the names are known: size and tag of each are asked for, many at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from denoiser.pipeline.objects import MOST_LOST, THREADS, threads
from denoiser.storage.base import Entry, Storage, StorageError

AHEAD = 8 * THREADS
"""So many are asked for, or have been, before the first of them is taken."""


class Described(NamedTuple):
    """An object as a list names it.

    Attributes:
        entry: the object; with neither size nor tag if it was not asked for, or has none.
        wanted: whether it was asked for.
        error: why it can't be cleaned.

    """

    entry: Entry
    wanted: bool
    error: str | None = None


def described(storage: Storage, keys: Iterable[tuple[str, bool]]) -> Iterator[Described]:
    """Ask for the objects whose keys are wanted; yields all, in order.

    Raises StorageError where the storage seems to be lost.
    """
    with threads("ask") as asking:
        waiting: deque[tuple[str, Future[Entry | None] | None]] = deque()
        answers = _Answers()
        for key, wanted in keys:
            waiting.append((key, asking.submit(storage.stat, key) if wanted else None))
            while waiting and (waiting[0][1] is None or len(waiting) > AHEAD):
                yield answers.take(*waiting.popleft())
        while waiting:
            yield answers.take(*waiting.popleft())


class _Answers:
    """What becomes of the questions; where one after the other fails, it is not the objects."""

    def __init__(self) -> None:
        self._lost = 0

    def take(self, key: str, answer: Future[Entry | None] | None) -> Described:
        """Wait for an answer. Raises StorageError."""
        if answer is None:
            return Described(Entry(key, 0, ""), wanted=False)
        try:
            found = answer.result()
        except StorageError as error:
            self._lost += 1
            if self._lost >= MOST_LOST:
                raise
            return Described(Entry(key, 0, ""), wanted=True, error=f"can't be fetched: {error}")
        self._lost = 0
        if found is None:
            return Described(Entry(key, 0, ""), wanted=True, error="doesn't exist.")
        return Described(found._replace(key=key), wanted=True)
