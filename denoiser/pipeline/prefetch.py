"""Reading ahead and writing behind, each on a thread of its own, while the pages between are computed.

Both are bounded: one page is decoded ahead, and one waits to be written, so that memory stays that of a few
pages. What goes wrong there is raised where the page is asked for or the file is finished, as if it had been
done in turn.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
_NOTICE_SECONDS = 0.05


class Abandoned(Exception):  # noqa: N818 - not an error
    """What a writer is told when there is nothing more to come, so that it leaves no trace."""


class Ahead(Generic[Item]):
    """Iterates over something with the next item always under way. Begins at once."""

    def __init__(self, reader: ThreadPoolExecutor, items: Iterator[Item]) -> None:
        self._reader, self._items = reader, items
        self._next = self._begin()

    def _begin(self) -> Future[list[Item]]:
        return self._reader.submit(lambda: [item for item in [next(self._items, None)] if item is not None])

    def __iter__(self) -> Iterator[Item]:
        while found := self._next.result():
            self._next = self._begin()
            yield found.pop()  # and nothing here keeps it


class Behind(Generic[Item]):
    """One file that is written on another thread, from items that are handed over one by one."""

    def __init__(self, writer: ThreadPoolExecutor, write: Callable[[Iterator[Item]], Any]) -> None:
        self._items: queue.Queue[list[Item] | None] = queue.Queue(maxsize=1)
        self._abandoned = False
        self._written = writer.submit(write, self._given())

    def _given(self) -> Iterator[Item]:
        while (item := self._items.get()) is not None:
            if self._abandoned:
                break
            yield item.pop()
        if self._abandoned:
            raise Abandoned

    def _put(self, item: list[Item] | None) -> None:
        while not self._written.done():
            try:
                self._items.put(item, timeout=_NOTICE_SECONDS)
            except queue.Full:
                continue
            return

    def hand(self, item: Item) -> bool:
        """Hand over the next item, when there is room; False where the writing has failed meanwhile."""
        self._put([item])
        return not self._written.done()

    def end(self) -> None:
        """Say that all items were handed over."""
        self._put(None)

    def abandon(self) -> None:
        """Have it end without a result; returns when it has."""
        self._abandoned = True
        self._put(None)
        self._written.exception()

    @property
    def done(self) -> bool:
        """Whether the file is written, or has failed."""
        return self._written.done()

    def finish(self) -> Any:
        """Wait until the file is written; returns what `write` returned, or raises what went wrong."""
        return self._written.result()


class Aside:
    """The two threads, started when they are first used; at its end, nothing is left under way."""

    def __init__(self) -> None:
        self._reader: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._files: list[Behind[Any]] = []

    def read(self, items: Iterator[Item]) -> Ahead[Item]:
        """Read ahead."""
        self._reader = self._reader or ThreadPoolExecutor(1, "denoiser-reader")
        return Ahead(self._reader, items)

    def write(self, write: Callable[[Iterator[Item]], Any]) -> Behind[Item]:
        """Write behind; files that were begun before are written before."""
        self._writer = self._writer or ThreadPoolExecutor(1, "denoiser-writer")
        self._files = [file for file in self._files if not file.done]
        file: Behind[Item] = Behind(self._writer, write)
        self._files.append(file)
        return file

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.abandon()
        for executor in (self._reader, self._writer):
            if executor is not None:
                executor.shutdown(cancel_futures=True)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield each item only after the next one has been produced."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if len(held) > 1:
            yield held.pop(0)
    yield from held
