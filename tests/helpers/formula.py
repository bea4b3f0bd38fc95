"""The networks as they are written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser.weights.modelfile import ModelFile
from tests.helpers.chance import (
    Floats,
)


def formula(model: ModelFile, patches: Floats) -> npt.NDArray[np.float64]:
    """The networks as they are written down, in double precision and with nothing clever."""
    weights = {name: value.astype(np.float64) for name, value in model.weights.items()}
    config = model.config

    def dense(name: str, values: Any) -> Any:
        return values @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0.0)

    def relu(values: Any) -> Any:
        return np.maximum(values, 0.0)

    x = patches.astype(np.float64)
    if model.kind == "Autoencoder":
        drawn = dense("pixels", relu(dense("latent", x.reshape(-1, 784))))
        return np.asarray(1 / (1 + np.exp(-drawn))).reshape(x.shape)
    token, side = config["token"], 28 // config["token"]
    given = x.reshape(len(x), 28, 28, -1)
    x = given[..., 0]
    mean = x.mean(axis=(1, 2), keepdims=True) if config["center"] else np.zeros((1, 1, 1))
    cells = (config["gain"] * (given - mean[..., None])).reshape(len(x), side, token, side, token, -1)
    h = dense("embed", cells.transpose(0, 1, 3, 2, 4, 5).reshape(len(x), side**2, -1))
    h = h + weights.get("position", 0.0)
    for index in range(config["blocks"]):
        inner = relu(dense(f"block{index}/tokens_in", h.swapaxes(1, 2)))
        h = h + dense(f"block{index}/tokens_out", inner).swapaxes(1, 2)
        h = h + dense(f"block{index}/channels_out", relu(dense(f"block{index}/channels_in", h)))
    drawn = dense("draw", h).reshape(-1, side, side, token, token).transpose(0, 1, 3, 2, 4)
    drawn = drawn.reshape(x.shape) / config["gain"]
    return np.asarray(x - drawn if config["residual"] else drawn + mean)
