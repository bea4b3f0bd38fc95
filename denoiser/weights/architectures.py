"""The two networks in plain numbers: their arguments, and the path and shape of every weight.

The Keras classes, the reader of model files and the NumPy engine all need these definitions. Only the Keras
classes may import Keras, so the definitions are here.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

from denoiser._types import PATCH, scales_of

Kind = Literal["Autoencoder", "PatchAutoencoder"]
Mode = Literal["whole", "tile"]

MAX_WEIGHTS = 32_000_000
"""Largest number of weights of a network: 128 MB, so that no file can make a reader allocate more."""


@dataclass(frozen=True)
class Parameter:
    """The default and the range of a constructor argument, whose type is that of the default.

    With `several` it may also be a sequence of whole numbers, each larger than the one before it and than
    `low`; a sequence of one number is that number.
    """

    default: int | float | bool
    low: float = 0.0
    high: float = 1.0
    several: bool = False

    def check(self, name: str, value: Any) -> int | float | bool | tuple[int, ...]:
        """Return `value` as the argument's type. Raises ValueError, which says what is allowed."""
        if self.several and isinstance(value, list | tuple):
            return self._sequence(name, value)
        return self._number(name, value)

    def _sequence(self, name: str, values: Sequence[Any]) -> int | tuple[int, ...]:
        if not 0 < len(values) <= self.high:
            raise ValueError(f"{name} must have from 1 to {self.high:g} numbers, not {len(values)}")
        checked = tuple(int(self._number(name, value)) for value in values)
        if len(checked) == 1:
            return checked[0]
        if any(after <= before for before, after in pairwise((int(self.low), *checked))):
            raise ValueError(f"{name} must grow from number to number, and not {reprlib.repr(values)}")
        return checked

    def _number(self, name: str, value: Any) -> int | float | bool:
        shown = reprlib.repr(value)  # one short line, whatever a file contains
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
            raise ValueError(f"{name} must be true or false, not {shown}")
        whole = isinstance(self.default, int)
        kind: Any = Integral if whole else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(f"{name} must be a {'whole ' if whole else ''}number, not {shown}")
        try:
            number: int | float = int(value) if whole else float(value)
        except OverflowError:
            number = math.inf
        if not self.low <= number <= self.high:
            raise ValueError(f"{name} must be from {self.low:g} to {self.high:g}, not {shown}")
        return number


def _argument(default: Any, low: float = 0.0, high: float = 1.0, *, several: bool = False) -> Any:
    """Declare a constructor argument with its default and range."""
    return field(default=default, metadata={"parameter": Parameter(default, low, high, several)})


@dataclass(frozen=True)
class Slot:
    """The path of a weight in a `.keras` file's `model.weights.h5`, and its shape."""

    path: str
    shape: tuple[int, ...]


class _Config:
    """Base of the configs: checks the arguments, and counts the weights."""

    def __post_init__(self) -> None:
        for name, parameter in parameters_of(type(self)).items():
            object.__setattr__(self, name, parameter.check(name, getattr(self, name)))
        self._check()
        if self.parameters > MAX_WEIGHTS:
            raise ValueError(f"{self.parameters:,} weights are more than the {MAX_WEIGHTS:,} allowed")

    def _check(self) -> None:
        """Raise ValueError if the arguments are not possible together."""

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments as plain JSON values."""
        values = {name: getattr(self, name) for name in parameters_of(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(slot.shape) for slot in self.layout().values())

    def layout(self) -> dict[str, Slot]:
        """Name every weight, in the order of computation."""
        raise NotImplementedError


@dataclass(frozen=True)
class DenseConfig(_Config):
    """Constructor arguments of `denoiser.models.Autoencoder`, checked.

    Raises ValueError, in one line, for a wrong type, a value out of range, or a network of more than
    `MAX_WEIGHTS` weights.
    """

    kind: ClassVar[Kind] = "Autoencoder"
    mode: ClassVar[Mode] = "whole"
    context: ClassVar[int] = 1
    input_shape: ClassVar[tuple[int, ...]] = (PATCH, PATCH)

    latent_dim: int = _argument(64, 1, 8192)

    @property
    def multiply_adds(self) -> int:
        """Number of multiplications for one patch."""
        return 2 * PATCH * PATCH * self.latent_dim

    def layout(self) -> dict[str, Slot]:
        """Name every weight, in the order of computation."""
        pixels = PATCH * PATCH
        return {
            **_dense("latent", "encoder/layers/dense", pixels, self.latent_dim),
            **_dense("pixels", "decoder/layers/dense", self.latent_dim, pixels),
        }


@dataclass(frozen=True)
class MixerConfig(_Config):
    """Constructor arguments of `denoiser.models.PatchAutoencoder`, checked.

    Raises ValueError like `DenseConfig`, and for a token that does not divide 28, a window that is not the
    token plus an even number, or groups that do not divide the channels.
    """

    kind: ClassVar[Kind] = "PatchAutoencoder"
    mode: ClassVar[Mode] = "tile"

    token: int = _argument(4, 1, PATCH)
    window: int = _argument(8, 1, 2 * PATCH)
    context: int | tuple[int, ...] = _argument(1, 1, 8, several=True)
    channels: int = _argument(96, 1, 2048)
    blocks: int = _argument(7, 1, 64)
    groups: int = _argument(12, 1, 2048)
    token_hidden: int = _argument(0, 0, 4096)
    channel_hidden: int = _argument(128, 1, 4096)
    residual: bool = _argument(True)
    center: bool = _argument(True)
    gain: float = _argument(4.0, 1e-3, 1e3)
    use_bias: bool = _argument(True)

    def _check(self) -> None:
        if PATCH % self.token:
            raise ValueError(f"token must divide {PATCH}, not {self.token}")
        if self.window < self.token or (self.window - self.token) % 2:
            raise ValueError(f"window must be token ({self.token}) plus an even number, not {self.window}")
        if self.channels % self.groups:
            raise ValueError(f"groups must divide channels ({self.channels}), and {self.groups} doesn't")

    @property
    def side(self) -> int:
        """Number of tokens along a side of the patch."""
        return PATCH // self.token

    @property
    def tokens(self) -> int:
        """Number of tokens of a patch."""
        return self.side**2

    @property
    def margin(self) -> int:
        """Number of pixels that a window reaches beyond its token on each side."""
        return (self.window - self.token) // 2

    @property
    def planes(self) -> int:
        """Number of input planes: the patch, and one for each width of its surroundings."""
        return 1 + len(scales_of(self.context))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (28, 28), or (28, 28, planes) with context."""
        return (PATCH, PATCH) if self.planes == 1 else (PATCH, PATCH, self.planes)

    @property
    def encoder_blocks(self) -> int:
        """Number of blocks in the encoder: half of them, rounded up."""
        return (self.blocks + 1) // 2

    @property
    def shares_token_mixing(self) -> bool:
        """True for the token mixing of version 0.1: two Dense layers, with biases, for all channels."""
        return self.groups == 1 and self.token_hidden > 0

    @property
    def token_kernels(self) -> dict[str, tuple[int, int]]:
        """Names of the kernels that mix the tokens of a block, with their numbers of inputs and outputs."""
        tokens, hidden = self.tokens, self.token_hidden
        if hidden:
            return {"tokens_in": (tokens, hidden), "tokens_out": (hidden, tokens)}
        return {"tokens": (tokens, tokens)}

    @property
    def channel_kernels(self) -> dict[str, tuple[int, int]]:
        """Names of the kernels that mix the channels of a block, with their numbers of inputs and outputs."""
        channels, hidden = self.channels, self.channel_hidden
        return {"channels_in": (channels, hidden), "channels_out": (hidden, channels)}

    @property
    def multiply_adds(self) -> int:
        """Number of multiplications for one patch; a shared kernel counts for each token or channel."""
        ends = self.tokens * self.channels * self.window**2 * (self.planes + 1)
        token_mixing = self.channels * sum(map(math.prod, self.token_kernels.values()))
        channel_mixing = self.tokens * sum(map(math.prod, self.channel_kernels.values()))
        return ends + self.blocks * (token_mixing + channel_mixing)

    def layout(self) -> dict[str, Slot]:
        """Name every weight, in the order of computation.

        A Dense layer called `x` has `x/kernel`, shape (inputs, outputs), and, with biases, `x/bias`. A kernel
        for each group of channels has shape (groups, inputs, outputs) and no bias. The paths follow the
        attribute and class names of `denoiser.models`, as Keras 3 writes them.
        """
        pixels, bias = self.window**2, self.use_bias
        slots = _dense("embed", "encoder/embed", self.planes * pixels, self.channels, bias=False)
        if bias:
            slots["position"] = Slot("encoder/vars/0", (self.tokens, self.channels))
        for block in range(self.blocks):
            half, index = ("encoder", block)
            if block >= self.encoder_blocks:
                half, index = "decoder", block - self.encoder_blocks
            # Keras numbers the layers of a class from the second one on.
            path = f"{half}/blocks/mixer_block{f'_{index}' if index else ''}"
            for name, shape in self.token_kernels.items():
                if self.shares_token_mixing:
                    slots |= _dense(f"block{block}/{name}", f"{path}/{name}", *shape, bias=bias)
                else:
                    kernel = Slot(f"{path}/{name}/vars/0", (self.groups, *shape))
                    slots[f"block{block}/{name}/kernel"] = kernel
            for name, shape in self.channel_kernels.items():
                slots |= _dense(f"block{block}/{name}", f"{path}/{name}", *shape, bias=bias)
        return slots | _dense("draw", "decoder/draw", self.channels, pixels, bias=bias)


Config = DenseConfig | MixerConfig
CONFIGS: dict[Kind, type[DenseConfig] | type[MixerConfig]] = {
    config.kind: config for config in (DenseConfig, MixerConfig)
}


def parameters_of(config: Any) -> dict[str, Parameter]:
    """Return the arguments of a config class by name, each with its default and range."""
    return {argument.name: argument.metadata["parameter"] for argument in fields(config)}


def make_config(kind: Kind, arguments: Mapping[str, Any]) -> Config:
    """Check the constructor arguments of a network, and fill in the defaults.

    Raises ValueError, in one line, for an unknown argument, and as `DenseConfig` and `MixerConfig` do.
    """
    unknown = next((name for name in arguments if name not in parameters_of(CONFIGS[kind])), None)
    if unknown is not None:
        raise ValueError(f"{kind} has no parameter {reprlib.repr(unknown)}")
    return CONFIGS[kind](**arguments)


def upgraded(kind: Kind, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in a model file, with those that version 0.1 did not have.

    Its tokens did not overlap, and one pair of kernels mixed the tokens of all channels.
    """
    if kind == "PatchAutoencoder":
        return {"window": arguments.get("token", 4), "groups": 1, **arguments}
    return dict(arguments)


def _dense(name: str, path: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Slot]:
    """Name the weights of a Dense layer."""
    slots = {f"{name}/kernel": Slot(f"{path}/vars/0", (inputs, outputs))}
    if bias:
        slots[f"{name}/bias"] = Slot(f"{path}/vars/1", (outputs,))
    return slots
