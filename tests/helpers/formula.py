"""The networks as they are written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser.weights.architectures import MixerConfig
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
    assert isinstance(config, MixerConfig)
    token, window, side = config.token, config.window, 28 // config.token
    margin = (window - token) // 2
    given = x.reshape(len(x), 28, 28, -1)
    x = given[..., 0]
    mean = x.mean(axis=(1, 2), keepdims=True) if config.center else np.zeros((1, 1, 1))
    framed = np.pad(
        config.gain * (given - mean[..., None]), ((0, 0), (margin, margin), (margin, margin), (0, 0))
    )
    places = [(token * row, token * column) for row in range(side) for column in range(side)]
    cells = [framed[:, top : top + window, left : left + window] for top, left in places]
    h = dense("embed", np.stack(cells, axis=1).reshape(len(x), side**2, -1))
    h = h + weights.get("position", 0.0)

    def across(name: str, values: Any) -> Any:
        kernel = weights[f"{name}/kernel"]
        if kernel.ndim == 2:
            return dense(name, values.swapaxes(1, 2)).swapaxes(1, 2)
        parts = np.split(values, len(kernel), axis=2)
        mixed = [np.einsum("ntc,tu->nuc", part, own) for part, own in zip(parts, kernel, strict=True)]
        return np.concatenate(mixed, axis=2)

    for index in range(config.blocks):
        if config.token_hidden:
            h = h + across(f"block{index}/tokens_out", relu(across(f"block{index}/tokens_in", h)))
        else:
            h = h + across(f"block{index}/tokens", h)
        h = h + dense(f"block{index}/channels_out", relu(dense(f"block{index}/channels_in", h)))
    canvas = np.zeros((len(x), 28 + 2 * margin, 28 + 2 * margin))
    windows = dense("draw", h).reshape(len(x), side**2, window, window)
    for index, (top, left) in enumerate(places):
        canvas[:, top : top + window, left : left + window] += windows[:, index]
    drawn = canvas[:, margin : margin + 28, margin : margin + 28] / config.gain
    return np.asarray(x - drawn if config.residual else drawn + mean)
