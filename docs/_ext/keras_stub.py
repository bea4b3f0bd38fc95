"""A stand-in for Keras, so that the pages on the models are built where neither Keras nor TensorFlow is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from unittest.mock import MagicMock


class Model:
    """In place of `keras.Model`."""


class Layer:
    """In place of `keras.layers.Layer`."""


def _unchanged(**_: object) -> Callable[[type], type]:
    return lambda cls: cls


def install() -> None:
    """Put the stand-in where `import keras` finds it, even if Keras is installed."""
    keras = MagicMock()
    keras.Model, keras.layers.Layer = Model, Layer
    keras.saving.register_keras_serializable = _unchanged
    sys.modules |= {"keras": keras, "keras.ops": keras.ops, "keras.layers": keras.layers}
