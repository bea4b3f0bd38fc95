"""Tiny models in real files, written without Keras, whose results are known beforehand."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from denoiser.weights import architectures

SMALL = {"channels": 4, "blocks": 1, "groups": 2, "channel_hidden": 4}
LEARNER = {"channels": 16, "blocks": 2, "groups": 4, "channel_hidden": 16}
"""As little as learns something in a few hundred steps; Keras builds its step in a third of the time."""
Fill = Callable[[str, tuple[int, ...]], Any]


def write_model(
    path: Path, kind: architectures.Kind, config: dict[str, Any], fill: Fill, card: Any = None
) -> Path:
    """Write a `.keras` file whose weights are `fill(name, shape)`."""
    complete = architectures.make_config(kind, config)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, slot in complete.layout().items():
            value = np.broadcast_to(np.asarray(fill(name, slot.shape), np.float32), slot.shape)
            file.create_dataset(slot.path, data=value)
    described = {
        "module": "denoiser.models",
        "class_name": kind,
        "config": {**complete.arguments(), "name": "fake", "trainable": True, "card": card or {}},
        "registered_name": f"denoiser>{kind}",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(described))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def identity(path: Path) -> Path:
    """Write a PatchAutoencoder that finds no noise anywhere."""
    return write_model(path, "PatchAutoencoder", {**SMALL, "residual": True}, lambda name, shape: 0.0)


def beginner(path: Path) -> Path:
    """Write a small PatchAutoencoder of random weights: it makes images worse, and can learn not to."""
    rng = np.random.default_rng(0)
    config = {**LEARNER, "use_bias": False}

    def fill(name: str, shape: tuple[int, ...]) -> Any:
        return rng.normal(0, 0.7 / np.sqrt(shape[-2]), shape)

    return write_model(path, "PatchAutoencoder", {**config, "residual": True, "center": True}, fill)


def sensitive(path: Path) -> Path:
    """Write a PatchAutoencoder whose results depend on every bit of what it is given."""
    rng = np.random.default_rng(3)
    config = {"channels": 12, "blocks": 1, "groups": 3, "channel_hidden": 16}
    return write_model(path, "PatchAutoencoder", config, lambda name, shape: rng.normal(0, 0.2, shape))


def flattener(path: Path) -> Path:
    """Write a PatchAutoencoder that replaces each patch by its mean."""
    return write_model(path, "PatchAutoencoder", {**SMALL, "residual": False}, lambda name, shape: 0.0)


def ink(path: Path, level: float = 0.0) -> Path:
    """Write an Autoencoder that answers every image with one tone: the sigmoid of `level`."""
    return write_model(
        path, "Autoencoder", {"latent_dim": 2}, lambda name, shape: level if name == "pixels/bias" else 0.0
    )
