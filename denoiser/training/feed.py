"""A thread that makes patches while the network learns from earlier ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats

#: Makes the next patches: `feed(number, rng)` -> (inputs, clean), float32 (number, 28, 28), 0..1; inputs may
#: be (number, 28, 28, planes). A feed with state between calls has it in the attribute `memory`, a dict of
#: arrays.
Feed = Callable[[int, np.random.Generator], tuple[Floats, Floats]]


REFINED = "refined/"
"""Beginning of the names in the memory of a `Refine`."""


@dataclass(frozen=True)
class Source:
    """State of a feed after a block: the generator's state, as plain JSON, and the feed's memory."""

    generator: dict[str, Any]
    memory: dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Block:
    """Patches for some steps, and the state of the feed before and after them."""

    inputs: Floats
    clean: Floats
    before: Source
    after: Source


class Refine(Protocol):
    """Changes the targets of patches by what the network makes of images so far.

    Attributes:
        memory: All that it must remember to resume, as arrays.
    """

    memory: dict[str, npt.NDArray[Any]]

    def refresh(self, model: Any) -> None:
        """Use this model, with its present weights, from now on."""

    def resume(self, model: Any) -> None:
        """Restore the state that is in the memory, and leave the model's weights as they are."""

    def targets(self, block: Block, fraction: float) -> Floats:
        """Return the targets of a block, float32 (N, 28, 28), at this share of the training."""


def _state(feed: Feed, rng: np.random.Generator) -> Source:
    """Copy the state of a feed."""
    memory = {key: value.copy() for key, value in getattr(feed, "memory", {}).items()}
    return Source(dict(rng.bit_generator.state), memory)


def rewind(feed: Feed, source: Source) -> np.random.Generator:
    """Restore the state of a feed, and return its generator."""
    kind = getattr(np.random, str(source.generator.get("bit_generator")), None)
    if kind not in (np.random.PCG64, np.random.PCG64DXSM):
        raise ValueError("an unknown kind of random numbers")
    bits = kind()
    bits.state = source.generator
    memory = getattr(feed, "memory", None)
    if memory is not None:
        memory.update({key: value.copy() for key, value in source.memory.items()})
    return np.random.Generator(bits)


def looked_at(feed: Feed, number: int, seed: int) -> tuple[Floats, Floats]:
    """Return some patches without changing the state of the feed, so that training misses none."""
    rng = np.random.default_rng(seed)
    before = _state(feed, rng)
    patches = feed(number, rng)
    rewind(feed, before)
    return patches


@contextmanager
def ahead(feed: Feed, number: int, rng: np.random.Generator) -> Iterator[Iterator[Block]]:
    """Yield blocks of `number` patches, which a thread makes while the network learns from earlier ones."""
    ready: queue.Queue[Block | BaseException] = queue.Queue(2)
    stopped = threading.Event()

    def put(item: Block | BaseException) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            while not stopped.is_set():
                before = _state(feed, rng)
                inputs, clean = feed(number, rng)
                put(Block(inputs, clean, before, _state(feed, rng)))
        except BaseException as error:  # handed to the thread that waits for the block
            put(error)

    def blocks() -> Iterator[Block]:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="patches", daemon=True)
    thread.start()
    try:
        yield blocks()
    finally:
        stopped.set()
        thread.join()
