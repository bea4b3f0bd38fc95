"""The forward passes in NumPy, straight from a model file's arrays: what nearly every job runs on.

A patch's result must not depend on its neighbours, its place among them or the number of threads, to the last
bit, or an output could never be reproduced. A matrix product promises nothing of the kind: how its kernels
round depends on where in the matrix a row lies. So the patch network multiplies each patch by itself, in
calls of the same shape, and the plain one, which would be too slow so, works on blocks of fixed size in which
the place of a patch has been seen not to matter.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from denoiser._types import PATCH, Floats
from denoiser.system.blas import one_thread
from denoiser.system.hardware import cores
from denoiser.weights.architectures import input_shape, planes
from denoiser.weights.modelfile import ModelFile

Doubles = npt.NDArray[np.float64]

_WAYS = ("tokens", "channels")
_FOLD_LIMIT = 4.0
_PIXELS = PATCH * PATCH
_MIXER_CHUNK = 12
_TOGETHER = (3, 2, 1)
_MIXER_FLOATS = 4 << 20
_BLOCKS = (16, 8, 4, 1)


class Work(Protocol):
    """One thread's buffers for one network, of use for up to `size` patches at a time."""

    size: int

    def run(self, given: Floats, result: Floats) -> None:
        """Reconstruct up to `size` patches into `result` (n, 28, 28), both contiguous float32."""


class NumpyEngine:
    """Computes a model with NumPy, on one thread for each core.

    `jobs` is the number of threads, the caller's own included; None takes one for each core that the process
    may use.
    """

    name = "numpy"
    device = "cpu"

    def __init__(self, model: ModelFile, *, jobs: int | None = None) -> None:
        self.model = model
        self.jobs = jobs or cores()
        self._make: Callable[[], Work] = _MAKERS[model.kind](model)
        self._idle: list[Work] = []
        # Counts helpers over all calls at once: callers from many threads must not start many each.
        self._helpers = threading.Semaphore(self.jobs - 1)

    def reconstruct(self, patches: Floats) -> Floats:
        """Reconstruct patches.

        `patches` is (N, 28, 28), for a network with context (N, 28, 28, 2), values about 0..1; anything but
        contiguous float32 is copied. Returns a new float32 (N, 28, 28), not clipped. Raises ValueError for
        another shape. Equal patches give equal bytes in any company, any order and with any number of jobs.
        """
        given = checked(patches, self.model)
        result = np.empty((len(given), PATCH, PATCH), np.float32)
        with one_thread(), self._work() as work:
            chunks = _Chunks(given, result, work.size)
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
            except RuntimeError:  # the system gives no more threads: those there are do the work
                self._helpers.release()
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
    def _work(self) -> Iterator[Work]:
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
    """The patches as contiguous float32; raises ValueError where they have not the model's input shape."""
    given = np.ascontiguousarray(patches, np.float32)
    shape = input_shape(model.config)
    if given.shape[1:] != shape:
        raise ValueError(f"patches must be (N, {', '.join(map(str, shape))}), not {given.shape}")
    return given


class _Chunks:
    """One call's patches, handed out piece by piece to whoever has time."""

    def __init__(self, given: Floats, result: Floats, size: int) -> None:
        self.given, self.result, self.size = given, result, size
        self.count = -(-len(given) // size)
        self.error: BaseException | None = None
        self._next = itertools.count()  # its next() is atomic

    def run(self, work: Work) -> None:
        """Take pieces until none is left, or a thread has failed."""
        try:
            for index in self._next:
                if index >= self.count or self.error is not None:
                    return
                part = slice(index * self.size, (index + 1) * self.size)
                work.run(self.given[part], self.result[part])
        except BaseException as error:
            self.error = self.error or error
            raise


def _plain(model: ModelFile) -> Callable[[], Work]:
    weights = model.weights
    # Turned round in memory, the products are a quarter faster.
    matrices = (
        np.ascontiguousarray(weights["latent/kernel"].T),
        weights["latent/bias"],
        np.ascontiguousarray(weights["pixels/kernel"].T),
        weights["pixels/bias"],
    )
    size: list[int] = []

    def make() -> Work:
        if not size:
            with one_thread():
                size.append(next(each for each in _BLOCKS if _Plain(each, *matrices).indifferent()))
        return _Plain(size[0], *matrices)

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

    def indifferent(self) -> bool:
        """Whether one patch put in every place comes out the same, to the last bit, in all of them."""
        return _indifferent(self, (PATCH, PATCH))


def _mixer(model: ModelFile) -> Callable[[], Work]:
    folded = _Folded(model)
    together: list[int] = []

    def make() -> Work:
        if not together:
            with one_thread():  # as it will be when it counts: more threads cut the products up differently
                together.append(next(each for each in _TOGETHER if _Mixer(model, folded, each).indifferent()))
        return _Mixer(model, folded, together[0])

    return make


class _Step:
    """One mixing: out(max(into(v), threshold)) is added to the state, then `constant`, if there is one."""

    def __init__(self, into: Doubles, threshold: Doubles | None, out: Doubles) -> None:
        self.into, self.out = _floats(into), _floats(out)
        self.threshold = None if threshold is None else _floats(threshold)
        self.constant: Floats | None = None


class _Folded:
    """A PatchAutoencoder's matrices, with what is additive folded into the ReLUs' thresholds.

    relu(v + b) = max(v, -b) + b, and a constant added before a layer is another constant after it. So the
    position and the biases travel through the network once, here, instead of with every patch. On the way
    they grow, as no ReLU holds them back, and float32 would lose in them what they are added to: before they
    exceed `_FOLD_LIMIT`, they are handed to the state and begin again at nothing. `end` is what is left to
    add to the drawn tokens.
    """

    def __init__(self, model: ModelFile) -> None:
        weights = {name: weight.astype(np.float64) for name, weight in model.weights.items()}
        self.embed, self.draw = model.weights["embed/kernel"], model.weights["draw/kernel"]
        self.steps: list[_Step] = []
        self.end: Floats | None = None
        biased = model.config["use_bias"]
        constant = weights["position"] if biased else None
        for name in (f"block{index}/{way}" for index in range(model.config["blocks"]) for way in _WAYS):
            into, out = weights[f"{name}_in/kernel"], weights[f"{name}_out/kernel"]
            columns = name.endswith("tokens")
            if columns:
                into, out = into.T, out.T
            threshold = None
            if constant is not None:
                into_bias, out_bias = weights[f"{name}_in/bias"], weights[f"{name}_out/bias"]
                if columns:
                    inner = into @ constant + into_bias[:, None]
                    grown = constant + out @ inner + out_bias[:, None]
                else:
                    inner = constant @ into + into_bias
                    grown = constant + inner @ out + out_bias
                threshold = -inner
            self.steps.append(_Step(into, threshold, out))
            if constant is not None:
                constant = grown
                if np.abs(constant).max() > _FOLD_LIMIT:
                    self.steps[-1].constant = _floats(constant)
                    constant = np.zeros_like(constant)
        if constant is not None:
            self.end = _floats(constant @ weights["draw/kernel"] + weights["draw/bias"])


def _floats(array: Doubles) -> Floats:
    return np.ascontiguousarray(array, np.float32)


class _Mixer:
    """decoder(encoder(x)) of a PatchAutoencoder.

    `together` patches lie side by side, token by token: arrays are (groups, tokens, together, channels), and
    one product mixes the channels of them all, which BLAS does faster than one at a time. Tokens are mixed
    patch by patch.
    """

    def __init__(self, model: ModelFile, folded: _Folded, together: int) -> None:
        config = model.config
        token, channels = config["token"], config["channels"]
        hidden, wide = config["token_hidden"], config["channel_hidden"]
        side = PATCH // token
        tokens = side * side
        self._planes = shown = planes(config)
        each = (1 + 2 * shown) * _PIXELS + 2 * tokens * channels + max(hidden * channels, wide * tokens)
        size = max(1, min(_MIXER_CHUNK, _MIXER_FLOATS // each))
        groups = max(1, size // together)
        self.size = groups * together
        self._folded = folded
        self._residual, self._center = config["residual"], config["center"]
        self._gain = np.float32(config["gain"])
        self._side, self._token, self._together = side, token, together
        self._own = np.empty((self.size, PATCH, PATCH), np.float32)
        self._signal = np.zeros((self.size, *input_shape(config)), np.float32)
        self._cells = np.empty((groups, tokens * together, token * token * shown), np.float32)
        self._drawn = np.empty((groups, tokens * together, token * token), np.float32)
        self._state = np.empty((groups, tokens * together, channels), np.float32)
        self._change = np.empty((groups, tokens * together, channels), np.float32)
        # The two kinds of mixing take turns in one buffer, which stays in the cache.
        inner = np.empty(self.size * max(hidden * channels, wide * tokens), np.float32)
        self._across = inner[: self.size * hidden * channels].reshape(groups, together, hidden, channels)
        self._along = inner[: self.size * tokens * wide].reshape(groups, tokens * together, wide)
        self._thresholds = [self._threshold(index, step) for index, step in enumerate(folded.steps)]

    def _threshold(self, index: int, step: _Step) -> Floats:
        """What a step's inner values are held above, in their layout."""
        if index % 2 == 0:
            # NumPy compares two arrays four times as fast as an array and a number.
            return np.zeros(self._across.shape[2:], np.float32) if step.threshold is None else step.threshold
        if step.threshold is None:
            return np.zeros(self._along.shape[1:], np.float32)
        return np.repeat(step.threshold, self._together, axis=0)

    def run(self, given: Floats, result: Floats) -> None:
        """See `Work`; a group that isn't full is filled up with zeros."""
        count, folded, together = len(given), self._folded, self._together
        groups = -(-count // together)
        state, change = self._state[:groups], self._change[:groups]
        across, along = self._across[:groups], self._along[:groups]
        patches = given
        if self._planes == 2:
            patches = self._own[:count]
            np.copyto(patches, given[..., 0])
        means = patches.reshape(count, _PIXELS).mean(axis=1)[:, None, None] if self._center else None
        np.matmul(self._cut(given, means), folded.embed, out=state)
        apart, changed = self._apart(state), self._apart(change)
        for index, (step, threshold) in enumerate(zip(folded.steps, self._thresholds, strict=True)):
            if index % 2 == 0:
                np.matmul(step.into, apart, out=across)
                np.maximum(across, threshold, out=across)
                np.matmul(step.out, across, out=changed)
            else:
                np.matmul(state, step.into, out=along)
                np.maximum(along, threshold, out=along)
                np.matmul(along, step.out, out=change)
            np.add(state, change, out=state)
            if step.constant is not None:
                np.add(apart, step.constant, out=apart)
        self._join(state, result)
        if self._residual:
            np.subtract(patches, result, out=result)
        elif means is not None:
            np.add(result, means, out=result)

    def _apart(self, array: Floats) -> Floats:
        """View (groups, tokens * together, channels) patch by patch: (groups, together, tokens, channels)."""
        groups, rows, channels = array.shape
        return array.reshape(groups, rows // self._together, self._together, channels).swapaxes(1, 2)

    def _cut(self, given: Floats, means: Floats | None) -> Floats:
        """Tokens of the centred and scaled input: (groups, tokens * together, pixels)."""
        count, together, planes = len(given), self._together, self._planes
        groups = -(-count // together)
        signal, cells = self._signal[: groups * together], self._cells[:groups]
        if means is None:
            np.multiply(given, self._gain, out=signal[:count])
        else:
            np.subtract(given, means.reshape(count, *(1,) * (given.ndim - 1)), out=signal[:count])
            np.multiply(signal[:count], self._gain, out=signal[:count])
        signal[count:] = 0.0
        side, token = self._side, self._token
        grid = signal.reshape(groups, together, side, token, side, token, planes)
        np.copyto(
            cells.reshape(groups, side, side, together, token, token, planes),
            grid.transpose(0, 2, 4, 1, 3, 5, 6),
        )
        return cells

    def _join(self, state: Floats, result: Floats) -> None:
        """Draw the pixels of all tokens into `result` (count, 28, 28)."""
        folded, together, side, token = self._folded, self._together, self._side, self._token
        groups = len(state)
        drawn = self._drawn[:groups]
        np.matmul(state, folded.draw, out=drawn)
        if folded.end is not None:
            apart = self._apart(drawn)
            np.add(apart, folded.end, out=apart)
        np.divide(drawn, self._gain, out=drawn)
        grid = drawn.reshape(groups, side, side, together, token, token).transpose(0, 3, 1, 4, 2, 5)
        full = len(result) // together
        shape = (full, together, side, token, side, token)
        np.copyto(result[: full * together].reshape(shape), grid[:full])
        if left := len(result) - full * together:
            np.copyto(result[full * together :].reshape(left, side, token, side, token), grid[full, :left])

    def indifferent(self) -> bool:
        """Whether one patch put in every place comes out the same, to the last bit, in all of them."""
        return self._together == 1 or _indifferent(self, self._signal.shape[1:])


def _indifferent(work: Work, shape: tuple[int, ...]) -> bool:
    """Whether one input put in every place comes out the same, to the last bit, in all of them."""
    given = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    result = np.empty((work.size, PATCH, PATCH), np.float32)
    work.run(np.repeat(given, work.size, axis=0), result)
    bits = result.view(np.uint32)
    return bool((bits == bits[0]).all())


_MAKERS: dict[str, Callable[[ModelFile], Callable[[], Work]]] = {
    "Autoencoder": _plain,
    "PatchAutoencoder": _mixer,
}
