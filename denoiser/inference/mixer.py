"""The forward pass of a PatchAutoencoder in NumPy.

`together` patches lie side by side, token by token: the state is (packs, tokens, together, channels), so
that one product mixes the channels of a whole pack. To mix tokens, the channels of each group are gathered
from all patches of a pack, and one product a group does them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from denoiser._types import PATCH, Floats
from denoiser.weights.architectures import MixerConfig
from denoiser.weights.modelfile import ModelFile

Doubles = npt.NDArray[np.float64]

TOGETHER = (12, 6, 4, 3, 2, 1)
"""Sizes of a pack, the fastest first."""

_FOLD_LIMIT = 4.0
_FLOATS = 4 << 20
_PIXELS = PATCH * PATCH


@dataclass
class _Step:
    """One mixing, whose result is added to the state, and then `constant`, if there is one.

    With `out` the mixing is out(max(into(v), threshold)); without it, it is linear, into(v). Kernels across
    tokens are (groups, outputs, inputs), kernels along channels (inputs, outputs).
    """

    into: Floats
    out: Floats | None
    threshold: Floats | None
    constant: Floats | None = None


class Folded:
    """A PatchAutoencoder's matrices, with every additive constant folded into the thresholds of the ReLUs.

    relu(v + b) = max(v, -b) + b, and a constant added before a layer is another constant after it. So the
    position and the biases travel through the network once, here, instead of with every patch. On the way
    they grow, as no ReLU holds them back, and float32 would lose in them what they are added to: before they
    exceed `_FOLD_LIMIT`, they are handed to the state and begin again at nothing. `end` is what is left to
    add to the drawn windows.
    """

    def __init__(self, model: ModelFile) -> None:
        config = model.config
        assert isinstance(config, MixerConfig)  # noqa: S101 - no other network gets here
        self._weights = {name: weight.astype(np.float64) for name, weight in model.weights.items()}
        self._groups = config.groups
        self.embed, self.draw = model.weights["embed/kernel"], model.weights["draw/kernel"]
        self.steps: list[_Step] = []
        self.end: Floats | None = None
        constant = self._weights["position"] if config.use_bias else None
        for block in range(config.blocks):
            for across in (True, False):
                step, constant = self._step(f"block{block}", constant, across=across)
                if constant is not None and np.abs(constant).max() > _FOLD_LIMIT:
                    step.constant = _floats(constant)
                    constant = np.zeros_like(constant)
                self.steps.append(step)
        if constant is not None:
            self.end = _floats(constant @ self._weights["draw/kernel"] + self._weights["draw/bias"])

    def _step(self, block: str, constant: Doubles | None, *, across: bool) -> tuple[_Step, Doubles | None]:
        """Make the step across tokens or along channels; return it and the constant after it."""
        if across and f"{block}/tokens/kernel" in self._weights:
            kernel = self._across(f"{block}/tokens")
            if constant is not None:
                constant = constant + self._ungrouped(kernel @ self._grouped(constant))
            return _Step(_floats(kernel), None, None), constant
        way = f"{block}/{'tokens' if across else 'channels'}"
        if across:
            into, out = self._across(f"{way}_in"), self._across(f"{way}_out")
        else:
            into, out = self._weights[f"{way}_in/kernel"], self._weights[f"{way}_out/kernel"]
        threshold = None
        if constant is not None:
            into_bias, out_bias = (self._bias(f"{way}_{end}", across=across) for end in ("in", "out"))
            if across:
                inner = into @ self._grouped(constant) + into_bias
                constant = constant + self._ungrouped(out @ inner + out_bias)
            else:
                inner = constant @ into + into_bias
                constant = constant + inner @ out + out_bias
            threshold = _floats(-inner)
        return _Step(_floats(into), _floats(out), threshold), constant

    def _across(self, name: str) -> Doubles:
        """Turn a kernel that mixes tokens into (groups, outputs, inputs)."""
        kernel = self._weights[f"{name}/kernel"]
        return np.swapaxes(kernel if kernel.ndim == 3 else kernel[None], 1, 2)

    def _bias(self, name: str, *, across: bool) -> Doubles | float:
        bias = self._weights.get(f"{name}/bias")
        if bias is None:
            return 0.0
        return bias[:, None] if across else bias

    def _grouped(self, constant: Doubles) -> Doubles:
        """(tokens, channels) as (groups, tokens, width)."""
        return constant.reshape(len(constant), self._groups, -1).swapaxes(0, 1)

    def _ungrouped(self, constant: Doubles) -> Doubles:
        return constant.swapaxes(0, 1).reshape(constant.shape[1], -1)


def _floats(array: Doubles) -> Floats:
    return np.ascontiguousarray(array, np.float32)


class Mixer:
    """decoder(encoder(x)) of a PatchAutoencoder: one thread's buffers, for up to `size` patches at a time."""

    def __init__(self, model: ModelFile, folded: Folded, together: int) -> None:
        config = model.config
        assert isinstance(config, MixerConfig)  # noqa: S101 - no other network gets here
        self._folded, self._together = folded, together
        self._planes = config.planes
        self._token, self._window, self._margin = config.token, config.window, config.margin
        self._side = side = config.side
        self._groups = groups = config.groups
        tokens, channels, pixels = config.tokens, config.channels, self._window**2
        wide, hidden = config.channel_hidden, config.token_hidden
        each = (
            tokens * (3 * channels + pixels * (self._planes + 1)) + max(tokens * wide, hidden * channels)
        ) + 4 * _PIXELS
        # Small buffers stay in the cache of a core, and a huge network must not take all memory.
        packs = max(1, min(TOGETHER[0], _FLOATS // each) // together)
        self.size = packs * together
        self._residual, self._center = config.residual, config.center
        self._gain = np.float32(config.gain)

        def buffer(*shape: int) -> Floats:
            return np.empty((packs, *shape), np.float32)

        span = PATCH + 2 * self._margin
        self._framed = np.zeros((self.size, span, span, self._planes), np.float32)
        self._own = np.empty((self.size, PATCH, PATCH), np.float32)
        self._windows = buffer(tokens * together, pixels * self._planes)
        self._drawn = buffer(tokens * together, pixels)
        self._state = buffer(tokens * together, channels)
        self._change = buffer(tokens * together, channels)
        self._packed = buffer(groups, tokens, together * channels // groups)
        self._mixed = buffer(groups, tokens, together * channels // groups)
        # The two kinds of mixing take turns in one buffer.
        inner = np.empty(self.size * max(hidden * channels, wide * tokens), np.float32)
        self._across = inner[: self.size * hidden * channels].reshape(
            packs, groups, hidden, together * channels // groups
        )
        self._along = inner[: self.size * tokens * wide].reshape(packs, tokens * together, wide)
        cells = side + (self._window - 1) // self._token
        self._canvas = buffer(together, cells * self._token, cells * self._token)
        self._thresholds = [self._threshold(index, step) for index, step in enumerate(folded.steps)]

    def _threshold(self, index: int, step: _Step) -> Floats | None:
        """What a step's inner values are held above, in their layout; None for a linear step."""
        if step.out is None:
            return None
        across = index % 2 == 0
        if step.threshold is None:
            # NumPy compares two arrays four times as fast as an array and a number.
            return np.zeros((self._across if across else self._along).shape[1:], np.float32)
        if across:
            return np.tile(step.threshold, (1, 1, self._together))
        return np.repeat(step.threshold, self._together, axis=0)

    def run(self, given: Floats, result: Floats) -> None:
        """Reconstruct up to `size` patches into `result` (n, 28, 28); a pack that isn't full has zeros."""
        count, folded = len(given), self._folded
        packs = -(-count // self._together)
        state = self._state[:packs]
        patches = given
        if self._planes > 1:
            patches = self._own[:count]
            np.copyto(patches, given[..., 0])
        means = patches.reshape(count, _PIXELS).mean(axis=1)[:, None, None] if self._center else None
        np.matmul(self._cut(given, means), folded.embed, out=state)
        for index, (step, threshold) in enumerate(zip(folded.steps, self._thresholds, strict=True)):
            if index % 2 == 0:
                self._mix_tokens(state, step, threshold)
            elif step.out is not None and threshold is not None:
                self._mix_channels(state, step.into, threshold, step.out)
            if step.constant is not None:
                apart = state.reshape(packs, -1, self._together, state.shape[-1])
                np.add(apart, step.constant[:, None, :], out=apart)
        self._join(state, result)
        if self._residual:
            np.subtract(patches, result, out=result)
        elif means is not None:
            np.add(result, means, out=result)

    def _mix_tokens(self, state: Floats, step: _Step, threshold: Floats | None) -> None:
        packs, groups, together = len(state), self._groups, self._together
        mixed = self._mixed[:packs]
        apart = state.reshape(packs, -1, together, groups, state.shape[-1] // groups)
        if groups == 1:
            packed = state.reshape(mixed.shape)
        else:
            packed = self._packed[:packs]
            into = packed.reshape(packs, groups, -1, together, apart.shape[-1])
            np.copyto(into, apart.transpose(0, 3, 1, 2, 4))
        if step.out is None or threshold is None:
            np.matmul(step.into, packed, out=mixed)
        else:
            across = self._across[:packs]
            np.matmul(step.into, packed, out=across)
            np.maximum(across, threshold, out=across)
            np.matmul(step.out, across, out=mixed)
        change = mixed.reshape(packs, groups, -1, together, apart.shape[-1]).transpose(0, 2, 3, 1, 4)
        np.add(apart, change, out=apart)

    def _mix_channels(self, state: Floats, into: Floats, threshold: Floats, out: Floats) -> None:
        along, change = self._along[: len(state)], self._change[: len(state)]
        np.matmul(state, into, out=along)
        np.maximum(along, threshold, out=along)
        np.matmul(along, out, out=change)
        np.add(state, change, out=state)

    def _cut(self, given: Floats, means: Floats | None) -> Floats:
        """Cut the windows of the centred and scaled input: (packs, tokens * together, pixels)."""
        count, together, planes, margin = len(given), self._together, self._planes, self._margin
        packs = -(-count // together)
        inner = slice(margin, margin + PATCH)
        signal = self._framed[:count, inner, inner]
        planar = given.reshape(count, PATCH, PATCH, planes)
        if means is None:
            np.multiply(planar, self._gain, out=signal)
        else:
            np.subtract(planar, means[..., None], out=signal)
            np.multiply(signal, self._gain, out=signal)
        self._framed[count : packs * together] = 0.0
        side, token, window = self._side, self._token, self._window
        framed = self._framed[: packs * together]
        patch, row, column, plane = framed.strides
        views = np.lib.stride_tricks.as_strided(
            framed,
            (packs, side, side, together, window, window, planes),
            (patch * together, row * token, column * token, patch, row, column, plane),
            writeable=False,
        )
        windows = self._windows[:packs]
        np.copyto(windows.reshape(views.shape), views)
        return windows

    def _join(self, state: Floats, result: Floats) -> None:
        """Draw the windows of all tokens and add them up in `result` (count, 28, 28)."""
        packs, together, side, token = len(state), self._together, self._side, self._token
        drawn, window = self._drawn[:packs], self._window
        np.matmul(state, self._folded.draw, out=drawn)
        if self._folded.end is not None:
            apart = drawn.reshape(packs, -1, together, window * window)
            np.add(apart, self._folded.end[:, None, :], out=apart)
        np.divide(drawn, self._gain, out=drawn)
        windows = drawn.reshape(packs, side, side, together, window, window).transpose(0, 3, 1, 4, 2, 5)
        canvas = self._canvas[:packs]
        canvas[...] = 0.0
        cells = canvas.shape[-1] // token
        grid = canvas.reshape(packs, together, cells, token, cells, token)
        for top in range(0, window, token):
            for left in range(0, window, token):
                high, wide = min(token, window - top), min(token, window - left)
                down, across = top // token, left // token
                part = grid[:, :, down : down + side, :high, across : across + side, :wide]
                np.add(part, windows[:, :, :, top : top + high, :, left : left + wide], out=part)
        inner = slice(self._margin, self._margin + PATCH)
        np.copyto(result, canvas.reshape(-1, *canvas.shape[2:])[: len(result), inner, inner])
