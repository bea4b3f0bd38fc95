"""Training on another backend of Keras; the file that comes of it gives the same pixels here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from denoiser.inference.engine import open_engine
from denoiser.weights import modelfile

CODE = """
import sys
from dataclasses import replace
import numpy as np
from pathlib import Path
from denoiser import generator, models, noise
from denoiser.training import datasets, recipes
from denoiser.training.plan import Plan
from denoiser.training.run import train_network
from denoiser.weights import architectures, modelfile

datasets._DRAWN = 400
digits = replace(recipes.RECIPES["digits"], config={"latent_dim": 16})
datasets._CROPS_HELD_OUT, datasets._TILES_HELD_OUT, datasets.EPOCH = 64, 8, 640
small = {"channels": 16, "blocks": 2, "groups": 4, "channel_hidden": 16}
general = replace(recipes.RECIPES["general"], config=small)
import keras
assert keras.backend.backend() == "jax"
for recipe, epochs, size in ((digits, 2, 20), (general, 1, 32)):
    path = Path(sys.argv[1]) / (recipe.network + ".keras")
    recipe = replace(recipe, optimization=replace(recipe.optimization, batch_size=size))
    card = train_network(Plan(recipe, path, epochs=epochs), keep_anyway=True)
    assert card["versions"]["backend"] == "jax"
    model = models.from_file(modelfile.read(path))
    shape = (7, *architectures.make_config(recipe.kind, recipe.arguments).input_shape)
    inputs = np.random.default_rng(0).random(shape, np.float32)
    outputs = np.asarray(model.predict_on_batch(inputs))
    np.savez(sys.argv[1] + "/" + recipe.network, inputs=inputs, outputs=outputs)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_it_trains_on_jax_too(tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environment.pop("DENOISER_DATA", None)
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for network in ("digits", "general"):
        engine = open_engine(modelfile.read(tmp_path / f"{network}.keras"), engine="numpy")
        with np.load(tmp_path / f"{network}.npz") as theirs:
            np.testing.assert_allclose(engine.reconstruct(theirs["inputs"]), theirs["outputs"], atol=1e-4)
