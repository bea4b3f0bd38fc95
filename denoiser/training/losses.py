"""What a network is taught to make small, and what makes it so."""

from __future__ import annotations

from typing import Any

_WHITE = 0.998
_OVER_WHITE = 0.02


def optimizer(name: str, learning_rate: float) -> Any:
    """Make the optimizer of that name: "adam", "nadam" or "muon"."""
    import keras

    if name == "adam":
        return keras.optimizers.Adam(learning_rate, global_clipnorm=1.0)
    if name == "nadam":
        return keras.optimizers.Nadam(learning_rate, beta_2=0.97, global_clipnorm=1.0)
    from denoiser.training.muon import Muon

    return Muon(learning_rate)


def _paper(target: Any, drawn: Any) -> Any:
    """Squared error, but where the target is white, anything from a little above white is right."""
    from keras import ops

    missing = ops.relu(1.0 + _OVER_WHITE - drawn)
    error = ops.where(target >= _WHITE, missing, target - drawn)
    return ops.mean(ops.square(error), axis=-1)


LOSSES: dict[str, Any] = {"mse": "mse", "paper": _paper}
