"""Loss functions and optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoiser.training.recipes import Optimization

_WHITE = 0.998
_OVER_WHITE, _OVER_WHITE_AT_INK = 0.035, 0.008
"""How far above white the loss wants what is white: only then is blank paper white to the last pixel. Close
to ink less, as there the edges of letters, a little darker than paper, would come out white too."""
_INK = 0.7
_REACH = 3
"""Pixels: what is no farther from ink is close to it."""


def compile_settings(optimization: Optimization) -> dict[str, Any]:
    """Return the arguments of `keras.Model.compile` for this optimization."""
    return {
        "optimizer": optimizer(optimization.optimizer, optimization.learning_rate),
        "loss": LOSSES[optimization.loss],
        "jit_compile": _jit() if optimization.jit_compile else "auto",
    }


def optimizer(name: str, learning_rate: float) -> Any:
    """Return a new optimizer: "adam", "nadam" or "muon"."""
    import keras

    if name == "adam":
        return keras.optimizers.Adam(learning_rate, global_clipnorm=1.0)
    if name == "nadam":
        return keras.optimizers.Nadam(learning_rate, beta_2=0.97, global_clipnorm=1.0)
    from denoiser.training.muon import Muon

    return Muon(learning_rate)


def _jit() -> bool | str:
    from keras import backend

    return "auto" if backend.backend() == "torch" else True  # PyTorch's compiler also needs a C++ compiler


def _paper(target: Any, output: Any) -> Any:
    """Return the squared error, where any output slightly above white is right for a white target."""
    from keras import ops

    darkest = -ops.max_pool(-target[..., None], 2 * _REACH + 1, strides=1, padding="same")[..., 0]
    over = ops.where(darkest < _INK, _OVER_WHITE_AT_INK, _OVER_WHITE)
    error = ops.where(target >= _WHITE, ops.relu(1.0 + over - output), target - output)
    return ops.mean(ops.square(error), axis=-1)


def _known(target: Any, output: Any) -> Any:
    """Return the squared error of the pixels whose target is a number; the others count as right."""
    from keras import ops

    error = ops.where(ops.isnan(target), ops.zeros_like(output), target - output)
    return ops.mean(ops.square(error), axis=-1)


LOSSES: dict[str, Any] = {"mse": "mse", "paper": _paper, "known": _known}
