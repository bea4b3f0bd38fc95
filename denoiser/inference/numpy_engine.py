"""The forward passes in NumPy, straight from a model file's arrays; nearly every job runs on them.

A patch's result must not depend on its neighbours, its place among them or the number of threads, to the last
bit, or an output could never be reproduced. A matrix product promises nothing of the kind: how its kernels
round depends on where in the matrix a row lies. So patches are computed in blocks of fixed size, in which the
position of a patch has been tested and makes no difference. Blocks of another size compute where they cost
less, if they have been tested to give the same bits.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from denoiser._types import PATCH, Floats
from denoiser.inference.mixer import Folded, Mixer, sizes
from denoiser.inference.precision import Precision
from denoiser.system.blas import one_thread
from denoiser.system.hardware import cores
from denoiser.system.threads import no_more
from denoiser.weights.architectures import MixerConfig
from denoiser.weights.modelfile import ModelFile

_PIXELS = PATCH * PATCH
_BLOCKS = (16, 8, 4, 1)
_WIDE = 64
"""Patches of a block that fills a core better, for as many patches as nearly fill it."""
_FEW = 1 / 2
"""Up to such a share of what is computed together, patches cost less in smaller numbers."""


class Work(Protocol):
    """One thread's buffers for one network, for up to `size` patches at a time."""

    @property
    def size(self) -> int:
        """The most patches at a time."""

    def run(self, given: Floats, result: Floats) -> None:
        """Reconstruct up to `size` patches into `result` (n, 28, 28), both contiguous float32."""


class NumpyEngine:
    """Computes a model with NumPy, on one thread for each core.

    `jobs` is the number of threads, the caller's own included; None takes one for each core that the process
    may use.
    """

    name = "numpy"
    device = "cpu"
    precision: Precision = "float32"

    def __init__(self, model: ModelFile, *, jobs: int | None = None) -> None:
        self.model = model
        self.jobs = jobs or cores()
        self._make: Callable[[], _Either] = _MAKERS[model.kind](model)
        self._idle: list[_Either] = []
        # Counts helpers over all calls at once: callers from many threads must not start many each.
        self._helpers = threading.Semaphore(self.jobs - 1)

    def reconstruct(self, patches: Floats) -> Floats:
        """Reconstruct patches.

        `patches` is (N, 28, 28), for a network with context (N, 28, 28, planes), values about 0..1; anything
        but contiguous float32 is copied. Returns a new float32 (N, 28, 28), not clipped. Raises ValueError
        for another shape. Equal patches give equal bytes in any company, any order and with any number of
        jobs.
        """
        given = checked(patches, self.model)
        result = np.empty((len(given), PATCH, PATCH), np.float32)
        with one_thread(), self._work() as work:
            whole = work.usual.size  # chunks of whole blocks, and one for each thread
            even = -(-len(given) // (whole * self.jobs)) * whole
            chunks = _Chunks(given, result, max(whole, min(work.size, even)))
            helpers = self._start(chunks)
            try:
                chunks.run(work)
            finally:
                for helper in helpers:
                    helper.join()
        if chunks.error is not None:
            raise chunks.error
        return result

    def _start(self, chunks: _Chunks) -> list[threading.Thread]:
        helpers: list[threading.Thread] = []
        while len(helpers) < min(chunks.count, self.jobs) - 1 and self._helpers.acquire(blocking=False):
            helper = threading.Thread(target=self._help, args=(chunks,), name="denoiser", daemon=True)
            try:
                helper.start()
            except RuntimeError as error:  # those there are do the work
                self._helpers.release()
                no_more(error)
                break
            helpers.append(helper)
        return helpers

    def _help(self, chunks: _Chunks) -> None:
        try:
            with self._work() as work:
                chunks.run(work)
        except Exception:  # noqa: S110 - what failed while computing is kept, and raised by the caller
            pass
        finally:
            self._helpers.release()

    @contextmanager
    def _work(self) -> Iterator[_Either]:
        try:
            work = self._idle.pop()
        except IndexError:
            work = self._make()
        try:
            yield work
        finally:
            self._idle.append(work)

    def close(self) -> None:
        """Free the buffers; a later call makes new ones."""
        self._idle.clear()


def checked(patches: Floats, model: ModelFile) -> Floats:
    """Return the patches as contiguous float32; ValueError unless they have the model's input shape."""
    given = np.ascontiguousarray(patches, np.float32)
    shape = model.config.input_shape
    if given.shape[1:] != shape:
        raise ValueError(f"patches must be (N, {', '.join(map(str, shape))}), not {given.shape}")
    return given


class _Chunks:
    """One call's patches, handed out in chunks to the threads that are free."""

    def __init__(self, given: Floats, result: Floats, size: int) -> None:
        self.given, self.result, self.size = given, result, size
        self.count = -(-len(given) // size)
        self.error: BaseException | None = None
        self._next = itertools.count()  # its next() is atomic

    def run(self, work: Work) -> None:
        """Compute chunks until none is left, or a thread has failed."""
        try:
            for index in self._next:
                if index >= self.count or self.error is not None:
                    return
                part = slice(index * self.size, (index + 1) * self.size)
                work.run(self.given[part], self.result[part])
        except BaseException as error:
            self.error = self.error or error
            raise


class _Either:
    """Two ways to compute one network: each call takes the one that costs less.

    Args:
        usual: what computes it where nothing is said for the other way.
        other: makes the other way when it is first wanted; None if there is none that gives the same bits.
        wants_other: tells for a number of patches whether the other way costs less.
        size: the most patches at a time.

    """

    def __init__(
        self, usual: Work, other: Callable[[], Work | None], wants_other: Callable[[int], bool], size: int
    ) -> None:
        self.usual, self.size = usual, size
        self._other, self._wants_other = other, wants_other
        self._made: list[Work | None] = []

    def run(self, given: Floats, result: Floats) -> None:
        """See `Work`."""
        work = self.usual
        if self._wants_other(len(given)):
            if not self._made:
                self._made.append(self._other())
            work = self._made[0] or work
        for start in range(0, len(given), work.size):
            part = slice(start, start + work.size)
            work.run(given[part], result[part])


def _alike(work: Work, other: Work, shape: tuple[int, ...]) -> bool:
    """Return True if both compute the same patches to the same bits."""
    given = _scattered((min(3, work.size, other.size), *shape))
    results = [np.empty((len(given), PATCH, PATCH), np.float32) for _ in range(2)]
    work.run(given, results[0])
    other.run(given, results[1])
    return results[0].tobytes() == results[1].tobytes()


def _plain(model: ModelFile) -> Callable[[], _Either]:
    weights = model.weights
    # Turned round in memory, the products are a quarter faster.
    matrices = (
        np.ascontiguousarray(weights["latent/kernel"].T),
        weights["latent/bias"],
        np.ascontiguousarray(weights["pixels/kernel"].T),
        weights["pixels/bias"],
    )
    size: list[int] = []
    fitting: list[bool] = []

    def make() -> _Either:
        if not size:
            with one_thread():
                size.append(next(each for each in _BLOCKS if _Plain(each, *matrices).position_invariant()))
        usual = _Plain(size[0], *matrices)

        def wide() -> Work | None:
            other = _Plain(_WIDE, *matrices)
            if not fitting:
                fitting.append(other.position_invariant() and _alike(usual, other, (PATCH, PATCH)))
            return other if fitting[0] else None

        return _Either(usual, wide, lambda count: count > _WIDE * 3 // 4, _WIDE)

    return make


class _Plain:
    """decoder(encoder(x)) of an Autoencoder: two products, a ReLU and a sigmoid.

    Patches are columns: BLAS computes those side by side, in lanes that round alike.
    """

    def __init__(self, size: int, into: Floats, into_bias: Floats, out: Floats, out_bias: Floats) -> None:
        self.size = size
        self._weights = (into, into_bias[:, None], out, out_bias[:, None])
        self._columns = np.zeros((_PIXELS, size), np.float32)
        self._latent = np.empty((len(into), size), np.float32)
        self._drawn = np.empty((_PIXELS, size), np.float32)

    def run(self, given: Floats, result: Floats) -> None:
        """See `Work`; a block that isn't full is filled up with zeros."""
        into, into_bias, out, out_bias = self._weights
        count, columns, latent, drawn = len(given), self._columns, self._latent, self._drawn
        columns[:, :count] = given.reshape(count, _PIXELS).T
        columns[:, count:] = 0.0
        np.matmul(into, columns, out=latent)
        np.add(latent, into_bias, out=latent)
        np.maximum(latent, 0.0, out=latent)
        np.matmul(out, latent, out=drawn)
        np.add(drawn, out_bias, out=drawn)
        # sigmoid(v) = 1 / (1 + exp(-v)); the limit keeps exp finite and is far beyond float32's last bit
        np.negative(drawn, out=drawn)
        np.minimum(drawn, 80.0, out=drawn)
        np.exp(drawn, out=drawn)
        np.add(drawn, 1.0, out=drawn)
        np.divide(1.0, drawn, out=drawn)
        result.reshape(count, _PIXELS)[...] = drawn[:, :count].T

    def position_invariant(self) -> bool:
        """Return True if the output for a patch is bit-identical at every position of the block."""
        return _position_invariant(self, (PATCH, PATCH))


def _mixer(model: ModelFile) -> Callable[[], _Either]:
    config = model.config
    assert isinstance(config, MixerConfig)  # noqa: S101 - no other network gets here
    folded, allowed = Folded(model), sizes(config)
    together: list[int] = []
    fitting: list[int] = []

    def make() -> _Either:
        if not together:
            with one_thread():  # as it will be when it counts: more threads cut the products up differently
                together.append(next(each for each in allowed if _mixer_invariant(each)))
        usual = Mixer(model, folded, together[0])

        def fewer() -> Work | None:
            if not fitting:
                shape = model.config.input_shape
                small = [Mixer(model, folded, size) for size in (1, 2, 4) if size < usual.size]
                fitting.append(next((each.size for each in small if _alike(usual, each, shape)), 0))
            return Mixer(model, folded, fitting[0]) if fitting[0] else None

        few = int(_FEW * together[0])
        return _Either(usual, fewer, lambda count: count <= few, usual.size)

    def _mixer_invariant(size: int) -> bool:
        return size == 1 or _position_invariant(Mixer(model, folded, size), model.config.input_shape)

    return make


def _position_invariant(work: Work, shape: tuple[int, ...]) -> bool:
    """Return True if the output for a patch is bit-identical at every position of the block."""
    given = _scattered((1, *shape))
    result = np.empty((work.size, PATCH, PATCH), np.float32)
    work.run(np.repeat(given, work.size, axis=0), result)
    bits = result.view(np.uint32)
    return bool((bits == bits[0]).all())


def _scattered(shape: tuple[int, ...]) -> Floats:
    """Values in 0..1 that look random: importing numpy.random takes longer than what they test."""
    golden = (5**0.5 - 1) / 2
    values = np.modf(np.arange(1, 1 + np.prod(shape)) ** 1.5 * golden)[0]
    return np.asarray(values.reshape(shape), np.float32)


_MAKERS: dict[str, Callable[[ModelFile], Callable[[], _Either]]] = {
    "Autoencoder": _plain,
    "PatchAutoencoder": _mixer,
}
