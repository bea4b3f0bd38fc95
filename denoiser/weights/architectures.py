"""What the two networks are, in plain numbers: their parameters, modes and the place of every weight.

The Keras classes, the reader of model files and the NumPy engine must agree on all of this, and only the
first of them may import Keras. So it is written once, here, where nothing of theirs is imported.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from denoiser._types import PATCH

Kind = Literal["Autoencoder", "PatchAutoencoder"]
Mode = Literal["whole", "tile"]

MODES: dict[Kind, Mode] = {"Autoencoder": "whole", "PatchAutoencoder": "tile"}
MAX_WEIGHTS = 32_000_000
"""No network may have more weights: 128 MB, and a hostile file can't make a reader allocate more."""


@dataclass(frozen=True)
class Parameter:
    """One constructor argument: its default (whose type is the argument's) and the values allowed."""

    default: int | float | bool
    low: float = 0.0
    high: float = 1.0

    def check(self, name: str, value: Any) -> int | float | bool:
        """Return `value` as the argument's own type, or raise ValueError saying what is allowed."""
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
            raise ValueError(f"{name} must be true or false, not {_shown(value)}")
        whole = isinstance(self.default, int)
        kind: Any = Integral if whole else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(f"{name} must be a {'whole ' if whole else ''}number, not {_shown(value)}")
        try:
            number: int | float = int(value) if whole else float(value)
        except OverflowError:
            number = math.inf
        if not self.low <= number <= self.high:
            raise ValueError(f"{name} must be from {self.low:g} to {self.high:g}, not {_shown(value)}")
        return number


def _shown(value: Any) -> str:
    """Show a value from anywhere on one line, and briefly."""
    return reprlib.repr(value)


PARAMETERS: dict[Kind, dict[str, Parameter]] = {
    "Autoencoder": {"latent_dim": Parameter(64, 1, 8192)},
    "PatchAutoencoder": {
        "token": Parameter(4, 1, PATCH),
        "window": Parameter(8, 1, 2 * PATCH),
        "context": Parameter(1, 1, 8),
        "channels": Parameter(96, 1, 2048),
        "blocks": Parameter(7, 1, 64),
        "groups": Parameter(12, 1, 2048),
        "token_hidden": Parameter(0, 0, 4096),
        "channel_hidden": Parameter(128, 1, 4096),
        "residual": Parameter(True),
        "center": Parameter(True),
        "gain": Parameter(4.0, 1e-3, 1e3),
        "use_bias": Parameter(True),
    },
}


@dataclass(frozen=True)
class Slot:
    """Where one weight lives in a `.keras` file's `model.weights.h5`, and the shape it must have."""

    path: str
    shape: tuple[int, ...]


def saved(kind: Kind, config: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the arguments that a model file holds: version 0.1 had no windows and no groups.

    Its tokens did not overlap, and one pair of kernels mixed the tokens of all channels. Returns a new dict.
    """
    if kind == "PatchAutoencoder":
        return {"window": config.get("token", 4), "groups": 1, **config}
    return dict(config)


def validate(kind: Kind, config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a network's constructor arguments and fill in the defaults.

    Raises ValueError, one line, for an unknown name, a wrong type, a value out of range, a window that is
    not its token plus an even number, groups that don't divide the channels, or a network of more than
    `MAX_WEIGHTS` weights.
    """
    known = PARAMETERS[kind]
    for name in config:
        if name not in known:
            raise ValueError(f"{kind} has no parameter {_shown(name)}")
    checked: dict[str, Any] = {
        name: parameter.check(name, config.get(name, parameter.default)) for name, parameter in known.items()
    }
    if PATCH % checked.get("token", 1):
        raise ValueError(f"token must divide {PATCH}, not {checked['token']}")
    if kind == "PatchAutoencoder":
        _check_mixer(checked)
    count = parameters(kind, checked)
    if count > MAX_WEIGHTS:
        raise ValueError(f"{count:,} weights are more than the {MAX_WEIGHTS:,} allowed")
    return checked


def _check_mixer(config: Mapping[str, Any]) -> None:
    token, window, channels, groups = (config[name] for name in ("token", "window", "channels", "groups"))
    if window < token or (window - token) % 2:
        raise ValueError(f"window must be token ({token}) plus an even number, not {window}")
    if channels % groups:
        raise ValueError(f"groups must divide channels ({channels}), and {groups} doesn't")


def parameters(kind: Kind, config: Mapping[str, Any]) -> int:
    """Count a network's weights."""
    return sum(math.prod(slot.shape) for slot in layout(kind, config).values())


def multiply_adds(kind: Kind, config: Mapping[str, Any]) -> int:
    """Count the multiplications in the products of one patch.

    A shared kernel is used once for each token or channel.
    """
    if kind == "Autoencoder":
        return 2 * PATCH * PATCH * int(config["latent_dim"])
    tokens, channels = (PATCH // config["token"]) ** 2, config["channels"]
    ends = tokens * channels * config["window"] ** 2 * (planes(config) + 1)
    across = channels * sum(inputs * outputs for inputs, outputs in token_kernels(config).values())
    along = 2 * tokens * channels * config["channel_hidden"]
    return int(ends + config["blocks"] * (across + along))


def planes(config: Mapping[str, Any]) -> int:
    """How many pictures of a place a network is shown: the patch, and perhaps its averaged surroundings."""
    return 1 if config.get("context", 1) == 1 else 2


def input_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Shape of one input: (28, 28), or (28, 28, 2) where the surroundings come with the patch."""
    return (PATCH, PATCH) if planes(config) == 1 else (PATCH, PATCH, 2)


def encoder_blocks(blocks: int) -> int:
    """How many of a PatchAutoencoder's blocks its encoder has: half of them, the odd one included."""
    return (blocks + 1) // 2


def margin(config: Mapping[str, Any]) -> int:
    """How many pixels a token's window reaches beyond the token on each side."""
    return int(config["window"] - config["token"]) // 2


def shares_token_mixing(config: Mapping[str, Any]) -> bool:
    """Return True for the token mixing of version 0.1: two Dense layers, with biases, for all channels."""
    return bool(config["groups"] == 1 and config["token_hidden"])


def token_kernels(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Name the kernels that mix the tokens of one block, each with its numbers of inputs and outputs."""
    tokens, hidden = (PATCH // config["token"]) ** 2, config["token_hidden"]
    if hidden:
        return {"tokens_in": (tokens, hidden), "tokens_out": (hidden, tokens)}
    return {"tokens": (tokens, tokens)}


def layout(kind: Kind, config: Mapping[str, Any]) -> dict[str, Slot]:
    """Name every weight of a network with a complete config, in the order of computation.

    A Dense layer called `x` has `x/kernel`, shape (inputs, outputs), and, with biases, `x/bias`; a kernel a
    group makes that (groups, inputs, outputs), without biases. The paths follow the attribute and class names
    of `denoiser.models`, as Keras 3 writes them.
    """
    if kind == "Autoencoder":
        pixels, latent = PATCH * PATCH, config["latent_dim"]
        return {
            **_dense("latent", "encoder/layers/dense", pixels, latent),
            **_dense("pixels", "decoder/layers/dense", latent, pixels),
        }
    token, channels, bias = config["token"], config["channels"], config["use_bias"]
    tokens, split = (PATCH // token) ** 2, encoder_blocks(config["blocks"])
    pixels = config["window"] ** 2
    slots = _dense("embed", "encoder/embed", planes(config) * pixels, channels, bias=False)
    if bias:
        slots["position"] = Slot("encoder/vars/0", (tokens, channels))
    for index in range(config["blocks"]):
        part, place = ("encoder", index) if index < split else ("decoder", index - split)
        path = f"{part}/blocks/mixer_block{f'_{place}' if place else ''}"
        for name, shape in token_kernels(config).items():
            if shares_token_mixing(config):
                slots |= _dense(f"block{index}/{name}", f"{path}/{name}", *shape, bias=bias)
            else:
                kernel = (config["groups"], *shape)
                slots[f"block{index}/{name}/kernel"] = Slot(f"{path}/{name}/vars/0", kernel)
        hidden = config["channel_hidden"]
        for name, shape in {"channels_in": (channels, hidden), "channels_out": (hidden, channels)}.items():
            slots |= _dense(f"block{index}/{name}", f"{path}/{name}", *shape, bias=bias)
    return slots | _dense("draw", "decoder/draw", channels, pixels, bias=bias)


def _dense(name: str, path: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Slot]:
    slots = {f"{name}/kernel": Slot(f"{path}/vars/0", (inputs, outputs))}
    if bias:
        slots[f"{name}/bias"] = Slot(f"{path}/vars/1", (outputs,))
    return slots
