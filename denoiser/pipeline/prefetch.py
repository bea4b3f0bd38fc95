"""Reading ahead and writing behind, each on a thread of its own, while the pages between are computed.

Both are bounded: one page is decoded ahead, and one waits to be written, so that memory stays that of a few
pages. An error is raised where the page is asked for, or where the file's result is.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

from denoiser.system.threads import no_more

Item = TypeVar("Item")
Result = TypeVar("Result")


class Abandoned(BaseException):
    """Raised inside a consumer when no more items will come, so that it leaves no trace."""


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield each item only after the next one has been produced."""
    return (item for item, _ in itertools.pairwise(itertools.chain(items, (None,))) if item is not None)


def can_start(executors: Iterable[Executor]) -> bool:
    """Start a thread in each; False where the system has none to give."""
    try:
        for executor in executors:
            executor.submit(int)
    except RuntimeError as error:
        no_more(error)
        return False
    return True


def prefetch(items: Iterator[Item], executor: Executor) -> Iterator[Item]:
    """Iterate over items with the next one always under way on the executor; the first begins at once."""

    def begin() -> Future[list[Item]]:
        return executor.submit(lambda: list(itertools.islice(items, 1)))

    def rest(future: Future[list[Item]]) -> Iterator[Item]:
        while produced := future.result():
            future = begin()
            yield produced.pop()  # and nothing here keeps it

    return rest(begin())


def consume_behind(
    items: Iterator[Item], consume: Callable[[Iterator[Item]], Result], executor: Executor
) -> Future[Result]:
    """Produce items on this thread, and consume them on the executor meanwhile.

    Args:
        items: produced here; an error of theirs is raised inside `consume`.
        consume: takes the items one by one; when it fails, no more are produced.
        executor: has one thread, or earlier files would not be finished first.

    Returns:
        What `consume` returns or raises. By then, all items are produced.

    """
    handed: queue.SimpleQueue[list[Item] | BaseException | None] = queue.SimpleQueue()
    room, ended = threading.Semaphore(1), threading.Event()

    def received() -> Iterator[Item]:
        while (item := handed.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item.pop()

    def run() -> Result:
        try:
            return consume(received())
        finally:
            ended.set()
            room.release()

    end: BaseException | None = Abandoned()  # unless the items end, or one fails
    try:
        future = executor.submit(run)
        for item in items:
            room.acquire()
            if ended.is_set():
                break
            handed.put([item])
            del item
        end = None
    except Exception as error:
        end = error
    finally:
        handed.put(end)  # never waits, so that an interruption can't keep the consumer waiting
    return future
