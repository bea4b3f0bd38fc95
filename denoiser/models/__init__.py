"""The networks as plain Keras models, and `publish`, which writes their files.

Importing this package imports Keras and registers the classes, so that `keras.models.load_model` opens model
files. Code that must start fast reads model files with `denoiser.weights.modelfile`.
"""

from __future__ import annotations

from denoiser.models.autoencoder import Autoencoder
from denoiser.models.patch_autoencoder import PatchAutoencoder
from denoiser.models.publish import from_file, publish

__all__ = ["Autoencoder", "PatchAutoencoder", "from_file", "publish"]
