"""Networks of random weights, and random patches for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser.inference.numpy_engine import NumpyEngine
from denoiser.weights import architectures
from denoiser.weights.modelfile import ModelFile

SMALL = {"channels": 10, "blocks": 2, "groups": 5, "channel_hidden": 9}
OLD = {"window": 4, "groups": 1, "token_hidden": 7}
"""What version 0.1 made: tokens that don't overlap, and one pair of kernels that mixes them."""

Floats = npt.NDArray[np.float32]


def with_weights(model: ModelFile, weights: Any) -> ModelFile:
    """The same model with other weights, as if they had been unpacked from its file."""
    changed = dataclasses.replace(model)
    vars(changed)["weights"] = weights
    return changed


def random_model(kind: Any, config: dict[str, Any], *, bias: float = 0.3, seed: int = 0) -> ModelFile:
    """A model of random weights, of the size that trained ones have."""
    complete = architectures.make_config(kind, config)
    rng = np.random.default_rng(seed)
    weights = {}
    for name, slot in complete.layout().items():
        size = bias if len(slot.shape) == 1 or name == "position" else 0.7 * slot.shape[-2] ** -0.5
        weights[name] = (size * rng.standard_normal(slot.shape)).astype(np.float32)
    return with_weights(ModelFile("random", Path("random.keras"), complete, {}, "0" * 64, b""), weights)


def some_patches(count: int, seed: int = 1, model: ModelFile | None = None) -> Floats:
    shape = model.config.input_shape if model else (28, 28)
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


CONTEXT = "PatchAutoencoder with context"
ALONE = {
    "Autoencoder": random_model("Autoencoder", {"latent_dim": 65}),
    "PatchAutoencoder": random_model("PatchAutoencoder", {"blocks": 1, "channels": 33, "groups": 3}),
    CONTEXT: random_model("PatchAutoencoder", {**OLD, "blocks": 1, "channels": 31, "context": 2}),
}
POOL = some_patches(130, seed=9)
POOLS = dict.fromkeys(ALONE, POOL) | {CONTEXT: some_patches(130, seed=9, model=ALONE[CONTEXT])}
SINGLY = {
    kind: np.concatenate([NumpyEngine(model, jobs=1).reconstruct(patch[None]) for patch in POOLS[kind]])
    for kind, model in ALONE.items()
}
