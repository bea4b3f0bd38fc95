"""What both networks share: the model card's text, the base of a config, and the weights of a Dense layer."""

from __future__ import annotations

import json
from typing import Any

import keras


def card_to_text(card: dict[str, Any] | None) -> str:
    """Write a card as JSON text, the one form that Keras neither tracks nor wraps.

    Raises TypeError or ValueError where the card is not a dict of plain JSON values.
    """
    if not isinstance(card, dict | None):
        raise TypeError(f"card must be a dict, not {type(card).__name__}")
    return json.dumps(card or {}, allow_nan=False)


def card_from_text(text: str) -> dict[str, Any]:
    """Read what `card_to_text` wrote."""
    card: dict[str, Any] = json.loads(text)
    return card


def base_config(model: Any) -> dict[str, Any]:
    """The part of a config that every Keras model has: name, trainable and, unless it is float32, dtype."""
    config: dict[str, Any] = {"name": model.name, "trainable": model.trainable}
    if model.dtype_policy.name != "float32":
        config["dtype"] = keras.dtype_policies.serialize(model.dtype_policy)
    return config


def dense_weights(name: str, layer: Any) -> dict[str, Any]:
    """The variables of a built Dense layer, as `name/kernel` and, where it has one, `name/bias`."""
    weights = {f"{name}/kernel": layer.kernel}
    if layer.use_bias:
        weights[f"{name}/bias"] = layer.bias
    return weights
