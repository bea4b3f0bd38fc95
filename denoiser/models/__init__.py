"""The networks as plain Keras models, and the one way to publish them.

Importing this package imports Keras and registers the classes, so that `keras.models.load_model` opens a
model file. What must start fast reads model files with `denoiser.weights.modelfile` instead.
"""

from __future__ import annotations

from denoiser.models.autoencoder import Autoencoder
from denoiser.models.patch_autoencoder import PatchAutoencoder
from denoiser.models.publish import from_file, publish

__all__ = ["Autoencoder", "PatchAutoencoder", "from_file", "publish"]
