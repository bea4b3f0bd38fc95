"""Teaching a new Autoencoder in coordinates in which it learns fast.

Pixels and hidden units are never below 0, so whatever a weight learns moves its unit's bias along, and all of
them have to wait for that one direction: LeCun, Bottou, Orr and Müller, "Efficient BackProp" (1998), section
4.3, takes the means away. And most directions of a noisy patch hold nothing but noise. Weighed by Wiener's
C / (C + noise), C being the clean patches' covariance, weights begin and move among what patches are made of.
The network stays what it is: all of this is folded into its weights in the end.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from denoiser._types import PATCH, Floats

_NOISE, _LEAST = 0.05, 0.1
"""Variance of the noise that directions are weighed against, 0..1 scale, and what the emptiest ones keep."""

_SMALL = 0.5
"""The first kernel's share of the usual: what is learnt soon outgrows it."""

_SURE = 0.01


class Conditioned(keras.Model):
    """A new Autoencoder behind fixed affine maps, with that network's own weights to train.

    model: an Autoencoder; its first weights are changed, so that the first answer is about the mean clean
    patch. noisy, clean: some thousand patches, float32 (N, 28, 28), like those that it will
    learn from. Train this, then `fold` it; before that the network itself is of no use.
    """

    def __init__(self, model: Any, noisy: Floats, clean: Floats, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._model = model
        kernel = model.named_weights()["latent/kernel"]
        kernel.assign(_SMALL * keras.ops.convert_to_numpy(kernel))
        self._mean, self._map = noisy.reshape(len(noisy), -1).mean(axis=0), _among(clean)
        _begin_at_the_mean(model, clean)
        self._code = np.float32(0.0)
        self._code = keras.ops.convert_to_numpy(self._encoded(noisy)).mean(axis=0)
        self.built = True

    def _encoded(self, inputs: Any) -> Any:
        seen = keras.ops.matmul(keras.ops.reshape(inputs, (-1, PATCH * PATCH)) - self._mean, self._map)
        return self._model.encoder(keras.ops.reshape(seen, (-1, PATCH, PATCH))) - self._code

    def call(self, inputs: Any) -> Any:
        """Reconstruct patches (N, 28, 28)."""
        return self._model.decoder(self._encoded(inputs))

    def fold(self) -> None:
        """Put the maps into the network's weights: it now answers as this did."""
        weights = self._model.named_weights()
        value = {name: keras.ops.convert_to_numpy(each).astype(np.float64) for name, each in weights.items()}
        kernel = self._map @ value["latent/kernel"]
        weights["latent/kernel"].assign(kernel)
        weights["latent/bias"].assign(value["latent/bias"] - self._mean @ kernel)
        weights["pixels/bias"].assign(value["pixels/bias"] - self._code @ value["pixels/kernel"])


def _among(clean: Floats) -> Floats:
    """Map pixels to as many, among which the directions that clean patches vary in are the larger ones."""
    flat = clean.reshape(len(clean), -1)
    variances, directions = np.linalg.eigh(np.cov(flat, rowvar=False))
    variances = np.maximum(variances, 0.0)
    gains = np.sqrt(variances / (variances + _NOISE)) + _LEAST
    gains /= np.sqrt(np.mean(np.square(gains)))
    return np.asarray((directions * gains) @ directions.T, dtype=np.float32)


def _begin_at_the_mean(model: Any, clean: Floats) -> None:
    """Let the first answer be the mean of these patches.

    Most of a glyph's patch is background. To learn that, sigmoids are driven so far that they hardly learn
    any more: without this, digits are at 16.4 dB after 77,000 patches, and with it at 21.6 (sigma 0.3).
    """
    mean = np.clip(clean.mean(axis=0).ravel(), _SURE, 1.0 - _SURE)
    model.named_weights()["pixels/bias"].assign(np.log(mean / (1.0 - mean)))
