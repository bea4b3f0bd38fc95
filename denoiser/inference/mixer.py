"""The forward pass of a PatchAutoencoder in NumPy.

`together` patches lie side by side, value by value: the state is (channels, tokens, together). So one product
mixes the channels of all tokens of all patches, and one a channel mixes its tokens; nothing is rearranged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from denoiser._types import PATCH, Floats
from denoiser.weights.architectures import MixerConfig
from denoiser.weights.modelfile import ModelFile

Doubles = npt.NDArray[np.float64]

TOGETHER = (16, 8, 4, 2, 1)
"""How many patches may be computed together, the fastest first: 16 fill the lanes of a processor."""

_LANES = 8
_FOLD_LIMIT = 4.0
_MOST_VALUES = 4 << 20
_PIXELS = PATCH * PATCH


def sizes(config: MixerConfig) -> list[int]:
    """Those of `TOGETHER` whose buffers a network's size allows; at least the last one."""
    each = (
        config.tokens * (2 * config.channels + config.window**2 * (config.planes + 1))
        + max(config.tokens * config.channel_hidden, config.token_hidden * config.channels)
        + 2 * (config.planes + 1) * _PIXELS
    )
    return [size for size in TOGETHER if size * each <= _MOST_VALUES] or [TOGETHER[-1]]


@dataclass
class _Step:
    """One mixing: v + out(max(into(v), threshold)); with no `out` it is linear, and `into` has the v in it.

    Then `constant` is added, if there is one: (channels, tokens), as every constant here. Kernels across
    tokens are (groups, 1, outputs, inputs), kernels along channels (outputs, inputs).
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
    add to the drawn windows, (pixels, tokens).
    """

    def __init__(self, model: ModelFile) -> None:
        config = model.config
        assert isinstance(config, MixerConfig)  # noqa: S101 - no other network gets here
        self._weights = {name: weight.astype(np.float64) for name, weight in model.weights.items()}
        self._groups = config.groups
        self.embed = _floats(self._weights["embed/kernel"].T)
        self.draw = _floats(self._weights["draw/kernel"].T)
        self.steps: list[_Step] = []
        self.end: Floats | None = None
        constant = self._weights["position"].T if config.use_bias else None
        for block in range(config.blocks):
            for mix in (self._across, self._along):
                step, constant = mix(f"block{block}", constant)
                if constant is not None and np.abs(constant).max() > _FOLD_LIMIT:
                    step.constant = _floats(constant)
                    constant = np.zeros_like(constant)
                self.steps.append(step)
        if constant is not None:
            bias = self._weights["draw/bias"][:, None]
            self.end = _floats(self._weights["draw/kernel"].T @ constant + bias)

    def _across(self, block: str, constant: Doubles | None) -> tuple[_Step, Doubles | None]:
        """Make the step across tokens; return it and the constant after it."""
        grouped = None if constant is None else constant.reshape(self._groups, -1, constant.shape[-1])
        if f"{block}/tokens/kernel" in self._weights:
            kernel = self._kernels(f"{block}/tokens")
            kernel += np.eye(kernel.shape[-1])
            after = None if grouped is None else grouped @ kernel.swapaxes(1, 2)
            step = _Step(_floats(kernel[:, None]), None, None)
        else:
            into, out = self._kernels(f"{block}/tokens_in"), self._kernels(f"{block}/tokens_out")
            after = threshold = None
            if grouped is not None:
                inner = grouped @ into.swapaxes(1, 2) + self._bias(f"{block}/tokens_in")
                after = grouped + inner @ out.swapaxes(1, 2) + self._bias(f"{block}/tokens_out")
                threshold = _floats(-inner)
            step = _Step(_floats(into[:, None]), _floats(out[:, None]), threshold)
        return step, None if after is None or constant is None else after.reshape(constant.shape)

    def _along(self, block: str, constant: Doubles | None) -> tuple[_Step, Doubles | None]:
        """Make the step along channels; return it and the constant after it."""
        into, out = (self._weights[f"{block}/channels_{end}/kernel"].T for end in ("in", "out"))
        threshold = None
        if constant is not None:
            into_bias, out_bias = (
                np.reshape(self._bias(f"{block}/channels_{end}"), (-1, 1)) for end in ("in", "out")
            )
            inner = into @ constant + into_bias
            constant = constant + out @ inner + out_bias
            threshold = _floats(-inner)
        return _Step(_floats(into), _floats(out), threshold), constant

    def _kernels(self, name: str) -> Doubles:
        """Turn a kernel that mixes tokens into (groups, outputs, inputs)."""
        kernel = self._weights[f"{name}/kernel"]
        return np.swapaxes(kernel if kernel.ndim == 3 else kernel[None], 1, 2).copy()

    def _bias(self, name: str) -> Doubles | float:
        return self._weights.get(f"{name}/bias", 0.0)


def _floats(array: Doubles) -> Floats:
    return np.ascontiguousarray(array, np.float32)


class Mixer:
    """decoder(encoder(x)) of a PatchAutoencoder: one thread's buffers, for up to `size` patches at a time."""

    def __init__(self, model: ModelFile, folded: Folded, together: int) -> None:
        config = model.config
        assert isinstance(config, MixerConfig)  # noqa: S101 - no other network gets here
        self._folded, self.size = folded, together
        self._residual, self._center = config.residual, config.center
        self._gain = np.float32(config.gain)
        side, token, window = config.side, config.token, config.window
        groups, tokens, channels = config.groups, config.tokens, config.channels

        def buffer(*shape: int) -> Floats:
            return np.zeros((*shape, together), np.float32)

        span = PATCH + 2 * config.margin
        framed = buffer(span, span, config.planes)
        inner = slice(config.margin, config.margin + PATCH)
        self._signal = framed[inner, inner]
        # Every window as a view of the framed patches, in the order of the rows of `embed`.
        views = np.lib.stride_tricks.sliding_window_view(framed, (window, window), (0, 1))
        self._views = views[::token, ::token].transpose(4, 5, 2, 0, 1, 3)
        self._windows = buffer(window * window * config.planes, tokens)
        self._states = buffer(2, groups, channels // groups, tokens)
        # The two kinds of mixing take turns in one buffer.
        across = (groups, channels // groups, config.token_hidden, together)
        along = (config.channel_hidden, tokens, together)
        hidden = np.empty(max(np.prod(across), np.prod(along)), np.float32)
        self._across = hidden[: np.prod(across)].reshape(across)
        self._along = hidden[: np.prod(along)].reshape(along)
        self._thresholds = [self._threshold(index, step) for index, step in enumerate(folded.steps)]
        self._drawn = buffer(window, window, side, side)
        # A window ends in a cell of the canvas: the cells that no token begins in are its lower right edge.
        cells = side + (window - 1) // token
        canvas = buffer(cells * token, cells * token)
        self._canvas, self._reconstructed = canvas, canvas[inner, inner]
        grid = canvas.reshape(cells, token, cells, token, together)
        corners = [(top, left) for top in range(0, window, token) for left in range(0, window, token)]
        self._parts = [self._part(grid, top, left, side) for top, left in corners]

    def _threshold(self, index: int, step: _Step) -> Floats | None:
        """What a step's inner values are held above, in their layout; None for a linear step."""
        if step.out is None:
            return None
        inner = self._across if index % 2 == 0 else self._along
        # NumPy compares two arrays four times as fast as an array and a number.
        threshold = np.zeros(inner.shape, np.float32)
        if step.threshold is not None:
            threshold[...] = step.threshold[..., None]
        return threshold

    def _part(self, grid: Floats, top: int, left: int, side: int) -> tuple[Floats, Floats]:
        """Up to a token of all windows, from (top, left) of each, and where on the canvas they are added."""
        token, window = grid.shape[1], len(self._drawn)
        high, wide = min(token, window - top), min(token, window - left)
        down, right = top // token, left // token
        drawn = self._drawn[top : top + high, left : left + wide].transpose(2, 0, 3, 1, 4)
        return grid[down : down + side, :high, right : right + side, :wide], drawn

    def run(self, given: Floats, result: Floats) -> None:
        """Reconstruct up to `size` patches into `result` (n, 28, 28); fewer are filled up with zeros."""
        patches = given if given.ndim == 3 else given[..., 0]
        means = None
        if self._center:
            means = np.ascontiguousarray(patches).reshape(len(given), _PIXELS).mean(axis=1)
        state, spare = self._states
        np.matmul(self._folded.embed, self._cut(given, means), out=_rows(state))
        for index, (step, threshold) in enumerate(zip(self._folded.steps, self._thresholds, strict=True)):
            mix = self._mix_tokens if index % 2 == 0 else self._mix_channels
            state, spare = mix(step, threshold, state, spare)
            if step.constant is not None:
                whole = state.reshape(*step.constant.shape, self.size)
                np.add(whole, step.constant[..., None], out=whole)
        self._join(state, result)
        if self._residual:
            np.subtract(patches, result, out=result)
        elif means is not None:
            np.add(result, means[:, None, None], out=result)

    def _mix_tokens(
        self, step: _Step, threshold: Floats | None, state: Floats, spare: Floats
    ) -> tuple[Floats, Floats]:
        if step.out is None or threshold is None:
            self._across_tokens(step.into, state, spare)
            return spare, state
        self._across_tokens(step.into, state, self._across)
        np.maximum(self._across, threshold, out=self._across)
        self._across_tokens(step.out, self._across, spare)
        np.add(state, spare, out=state)
        return state, spare

    def _across_tokens(self, kernel: Floats, given: Floats, made: Floats) -> None:
        if self.size >= _LANES:
            np.matmul(kernel, given, out=made)
            return
        # Fewer columns round otherwise, and take longer: the channels of a group go side by side, too.
        columns = np.ascontiguousarray(given.swapaxes(1, 2))
        groups, inputs = columns.shape[:2]
        products = kernel[:, 0] @ columns.reshape(groups, inputs, -1)
        np.copyto(made.swapaxes(1, 2), products.reshape(groups, -1, *columns.shape[2:]))

    def _mix_channels(
        self, step: _Step, threshold: Floats | None, state: Floats, spare: Floats
    ) -> tuple[Floats, Floats]:
        assert step.out is not None  # noqa: S101 - only steps across tokens are linear
        assert threshold is not None  # noqa: S101 - the same
        np.matmul(step.into, _rows(state), out=_rows(self._along))
        np.maximum(self._along, threshold, out=self._along)
        np.matmul(step.out, _rows(self._along), out=_rows(spare))
        np.add(state, spare, out=state)
        return state, spare

    def _cut(self, given: Floats, means: Floats | None) -> Floats:
        """Cut the windows of the centred and scaled input: (pixels, tokens * together)."""
        count, signal = len(given), self._signal
        planar = given.reshape(count, PATCH, PATCH, -1)
        np.copyto(signal[..., :count], planar.transpose(1, 2, 3, 0))
        if means is not None:
            np.subtract(signal[..., :count], means, out=signal[..., :count])
        np.multiply(signal, self._gain, out=signal)
        signal[..., count:] = 0.0
        np.copyto(self._windows.reshape(self._views.shape), self._views)
        return self._windows.reshape(len(self._windows), -1)

    def _join(self, state: Floats, result: Floats) -> None:
        """Draw the windows of all tokens and add them up in `result` (count, 28, 28)."""
        drawn = self._drawn.reshape(len(self._folded.draw), -1, self.size)
        np.matmul(self._folded.draw, _rows(state), out=drawn.reshape(len(drawn), -1))
        if self._folded.end is not None:
            np.add(drawn, self._folded.end[..., None], out=drawn)
        np.divide(drawn, self._gain, out=drawn)
        self._canvas[...] = 0.0
        for part, windows in self._parts:
            np.add(part, windows, out=part)
        np.copyto(result, self._reconstructed[..., : len(result)].transpose(2, 0, 1))


def _rows(values: Floats) -> Floats:
    """View (..., tokens, together) as (everything before, tokens * together)."""
    return values.reshape(-1, values.shape[-2] * values.shape[-1])
