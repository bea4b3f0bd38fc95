"""Parts that both networks share: the model card, the config, and the names of the weights."""

from __future__ import annotations

import json
from typing import Any

import keras

from denoiser.weights.architectures import Config


class Network(keras.Model):
    """Base of the two networks: an encoder, a decoder, a config and a model card."""

    def __init__(self, config: Config, card: dict[str, Any] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.card = card  # the setter checks it

    @property
    def card(self) -> dict[str, Any]:
        """The model card, as a copy: changing the copy does not change the model.

        Setting it raises TypeError or ValueError if the card is not a dict of plain JSON values.
        """
        card: dict[str, Any] = json.loads(self._card_text)
        return card

    @card.setter
    def card(self, card: dict[str, Any] | None) -> None:
        if not isinstance(card, dict | None):
            raise TypeError(f"card must be a dict, not {type(card).__name__}")
        self._card_text = json.dumps(card or {}, allow_nan=False)  # Keras would wrap and track a dict

    def call(self, inputs: Any) -> Any:
        """Reconstruct patches (N, 28, 28), or (N, 28, 28, planes) with their surroundings."""
        return self.decoder(self.encoder(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output: one reconstruction of each patch."""
        return tuple(input_shape)[:3]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, the card included."""
        return {**base_config(self), **self.config.arguments(), "card": self.card}

    @classmethod
    def from_config(cls, config: dict[str, Any], **_: Any) -> Any:
        """Make the network of a config, with new weights."""
        return cls(**config)


def base_config(model: Any) -> dict[str, Any]:
    """Return the arguments that every Keras model has; the dtype only if it is not float32."""
    config: dict[str, Any] = {"name": model.name, "trainable": model.trainable}
    if model.dtype_policy.name != "float32":
        config["dtype"] = keras.dtype_policies.serialize(model.dtype_policy)
    return config


def dense_weights(name: str, layer: Any) -> dict[str, Any]:
    """Return the variables of a built Dense layer as `name/kernel` and, if it has a bias, `name/bias`."""
    weights = {f"{name}/kernel": layer.kernel}
    if layer.use_bias:
        weights[f"{name}/bias"] = layer.bias
    return weights
