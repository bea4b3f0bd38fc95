"""Loss functions and optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoiser.training.recipes import Optimization

_WHITE = 0.998
_OVER_WHITE = 0.025


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

    missing = ops.relu(1.0 + _OVER_WHITE - output)
    error = ops.where(target >= _WHITE, missing, target - output)
    return ops.mean(ops.square(error), axis=-1)


def _known(target: Any, output: Any) -> Any:
    """Return the squared error of the pixels whose target is a number; the others count as right."""
    from keras import ops

    error = ops.where(ops.isnan(target), ops.zeros_like(output), target - output)
    return ops.mean(ops.square(error), axis=-1)


LOSSES: dict[str, Any] = {"mse": "mse", "paper": _paper, "known": _known}
