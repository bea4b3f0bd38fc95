"""A small network, and a little to teach it."""

from __future__ import annotations

from typing import Any

import numpy as np

from denoiser import generator, noise

CLEAN = generator.glyphs(600, np.random.default_rng(3))
SPOIL = noise.parse("gaussian:sigma=0.3")
VALIDATION = (SPOIL(CLEAN[500:], np.random.default_rng(9)), CLEAN[500:])


def small(seed: int = 0) -> Any:
    import keras

    from denoiser.models import Autoencoder

    keras.utils.set_random_seed(seed)
    return Autoencoder(latent_dim=16)
