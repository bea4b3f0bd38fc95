"""The optimizer of the patch network, against plain NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from denoiser.training.muon import Muon, orthogonal  # noqa: E402 - Keras may be missing

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(4)


def variable(shape: tuple[int, ...], name: str) -> Any:
    return keras.Variable(RNG.normal(0.0, 0.1, shape).astype(np.float32), name=name)


@pytest.mark.parametrize("shape", [(12, 8), (8, 12), (3, 9, 9), (2, 3, 5, 4)])
def test_orthogonal_keeps_directions_and_levels_their_sizes(shape: tuple[int, ...]) -> None:
    matrices = RNG.normal(size=shape).astype(np.float32)
    result = np.asarray(orthogonal(keras.ops.convert_to_tensor(matrices)))
    left, sizes, right = np.linalg.svd(matrices.astype(np.float64), full_matrices=False)
    own = np.einsum("...ri,...rc,...ic->...i", left, result, right)
    large = sizes > 0.1 * sizes.max(axis=-1, keepdims=True)
    assert (own[large] > 0.6).all()
    assert (own[large] < 1.3).all()
    rebuilt = np.einsum("...ri,...i,...ic->...rc", left, own, right)
    np.testing.assert_allclose(result, rebuilt, atol=2e-3)


def test_each_group_moves_as_if_it_were_alone() -> None:
    """A kernel of three groups gets the steps that its three matrices would get apart."""
    start, gradients = RNG.normal(size=(3, 6, 6)), RNG.normal(size=(2, 3, 6, 6))
    joined = keras.Variable(start.astype(np.float32), name="kernel")
    apart = [keras.Variable(part.astype(np.float32), name="kernel") for part in start]
    one, many = Muon(0.1), Muon(0.1)
    for step in gradients.astype(np.float32):
        one.apply([keras.ops.convert_to_tensor(step)], [joined])
        many.apply([keras.ops.convert_to_tensor(part) for part in step], apart)
    np.testing.assert_allclose(np.asarray(joined), np.stack([np.asarray(v) for v in apart]), atol=1e-5)


def test_one_step_is_what_is_written_down() -> None:
    kernel, gradient = variable((6, 4), "kernel"), RNG.normal(size=(6, 4)).astype(np.float32)
    before = np.asarray(kernel).copy()
    Muon(0.5, decay=0.2).apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    # Nesterov's first step looks along 1.95 times the gradient, which has the same directions.
    direction = np.asarray(orthogonal(keras.ops.convert_to_tensor(1.95 * gradient)))
    expected = before - 0.5 * (math.sqrt(6 / 4) * direction + 0.2 * before)
    np.testing.assert_allclose(np.asarray(kernel), expected, atol=1e-5)


def test_pixels_ends_and_vectors_go_to_adam() -> None:
    from denoiser.models import PatchAutoencoder

    model = PatchAutoencoder(channels=8, groups=2, blocks=1, channel_hidden=6)
    optimizer = Muon(0.012)
    optimizer.build(model.trainable_variables)
    names = {name: optimizer._adam(value) for name, value in model.named_weights().items()}
    assert {name for name, adam in names.items() if not adam} == {
        "block0/tokens/kernel",
        "block0/channels_in/kernel",
        "block0/channels_out/kernel",
    }


def test_adam_steps_by_its_share_of_the_rate_and_is_clipped() -> None:
    bias = variable((5,), "bias")
    before = np.asarray(bias).copy()
    gradient = 1000.0 * np.sign(RNG.normal(size=5)).astype(np.float32)
    Muon(0.12, adam_rate=0.5).apply([keras.ops.convert_to_tensor(gradient)], [bias])
    np.testing.assert_allclose(np.asarray(bias) - before, -0.06 * np.sign(gradient), rtol=1e-4)


def test_it_comes_back_from_its_config() -> None:
    again = Muon.from_config(Muon(0.1, decay=0.3, adam_layers=("first",)).get_config())
    assert (again.decay, again.adam_layers) == (0.3, ("first",))
