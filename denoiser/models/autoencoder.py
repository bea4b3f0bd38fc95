"""The plain dense autoencoder, one patch in and one patch out: the network of `digits`."""

from __future__ import annotations

from typing import Any

import keras

from denoiser._types import PATCH
from denoiser.models.parts import base_config, card_from_text, card_to_text, dense_weights
from denoiser.weights import architectures


@keras.saving.register_keras_serializable(package="denoiser")
class Autoencoder(keras.Model):
    """Squeeze a 28x28 patch through one narrow dense layer, and draw it again from that.

    `encoder` is Flatten and Dense(latent_dim, relu), (N, 28, 28) -> (N, latent_dim); `decoder` is
    Dense(784, sigmoid) and Reshape, (N, latent_dim) -> (N, 28, 28). `call(x) = decoder(encoder(x))`; values
    are 0..1 in and strictly inside 0..1 out, float32. Compile it with Adam and mean squared error and fit it
    on pairs of noisy and clean patches. All weights exist as soon as it is made.

    `card` is the model card, a plain JSON dict that is saved with the model: its data and their terms, its
    noise, its figures. Raises ValueError for a `latent_dim` that is no whole number from 1 to 8192.
    """

    mode = "whole"

    def __init__(self, latent_dim: int = 64, *, card: dict[str, Any] | None = None, **kwargs: Any) -> None:
        config = architectures.validate("Autoencoder", {"latent_dim": latent_dim})
        super().__init__(**kwargs)
        self.latent_dim: int = config["latent_dim"]
        self._card_text = card_to_text(card)
        patch, dtype = PATCH, self.dtype_policy
        self.encoder = keras.Sequential(
            [
                keras.Input((patch, patch)),
                keras.layers.Flatten(name="flatten", dtype=dtype),
                keras.layers.Dense(self.latent_dim, activation="relu", name="latent", dtype=dtype),
            ],
            name="encoder",
        )
        self.decoder = keras.Sequential(
            [
                keras.Input((self.latent_dim,)),
                keras.layers.Dense(patch * patch, activation="sigmoid", name="pixels", dtype=dtype),
                keras.layers.Reshape((patch, patch), name="patch", dtype=dtype),
            ],
            name="decoder",
        )
        self.built = True  # every weight exists: nothing waits for a first input

    @property
    def card(self) -> dict[str, Any]:
        """The model card: a fresh copy, so that changing it changes nothing here."""
        return card_from_text(self._card_text)

    @card.setter
    def card(self, card: dict[str, Any] | None) -> None:
        self._card_text = card_to_text(card)

    def call(self, inputs: Any) -> Any:
        """Reconstruct patches (N, 28, 28)."""
        return self.decoder(self.encoder(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output has the input's shape."""
        return tuple(input_shape)

    def named_weights(self) -> dict[str, Any]:
        """The variables under the names of `denoiser.weights.architectures.layout`."""
        return {
            **dense_weights("latent", self.encoder.get_layer("latent")),
            **dense_weights("pixels", self.decoder.get_layer("pixels")),
        }

    def get_config(self) -> dict[str, Any]:
        """Everything the constructor needs to make this network again, the card included."""
        return {**base_config(self), "latent_dim": self.latent_dim, "card": self.card}

    @classmethod
    def from_config(cls, config: dict[str, Any], **_: Any) -> Autoencoder:
        """Make the network that `get_config` described, with fresh weights."""
        return cls(**config)
