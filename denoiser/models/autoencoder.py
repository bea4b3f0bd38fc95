"""The plain dense autoencoder, one patch in and one patch out: the network of `digits`."""

from __future__ import annotations

from typing import Any

import keras

from denoiser._types import PATCH
from denoiser.models.parts import Network, dense_weights
from denoiser.weights.architectures import DenseConfig


@keras.saving.register_keras_serializable(package="denoiser")
class Autoencoder(Network):
    """Compress a 28x28 patch with one dense layer, and reconstruct it with another.

    `encoder` is Flatten and Dense(latent_dim, relu), (N, 28, 28) -> (N, latent_dim); `decoder` is
    Dense(784, sigmoid) and Reshape, (N, latent_dim) -> (N, 28, 28). `call(x) = decoder(encoder(x))`; inputs
    are 0..1, and outputs are strictly inside 0..1, float32. Compile it with Adam and mean squared error and
    fit it on pairs of noisy and clean patches. The constructor creates all weights.

    Args:
        latent_dim: Width of the latent layer, 1 to 8192.
        card: Model card, a plain JSON dict that is saved with the model: its data and their terms, its noise,
            its figures.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: `latent_dim` is not a whole number in range.
    """

    mode = "whole"

    def __init__(self, latent_dim: int = 64, *, card: dict[str, Any] | None = None, **kwargs: Any) -> None:
        config = DenseConfig(latent_dim)
        super().__init__(config, card, **kwargs)
        self.latent_dim = config.latent_dim
        dtype = self.dtype_policy
        self.encoder = keras.Sequential(
            [
                keras.Input((PATCH, PATCH)),
                keras.layers.Flatten(name="flatten", dtype=dtype),
                keras.layers.Dense(self.latent_dim, activation="relu", name="latent", dtype=dtype),
            ],
            name="encoder",
        )
        self.decoder = keras.Sequential(
            [
                keras.Input((self.latent_dim,)),
                keras.layers.Dense(PATCH * PATCH, activation="sigmoid", name="pixels", dtype=dtype),
                keras.layers.Reshape((PATCH, PATCH), name="patch", dtype=dtype),
            ],
            name="decoder",
        )
        self.built = True  # the weights exist already

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their names in `denoiser.weights.architectures`."""
        return {
            **dense_weights("latent", self.encoder.get_layer("latent")),
            **dense_weights("pixels", self.decoder.get_layer("pixels")),
        }
