"""Drawn glyphs and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from denoiser import generator

MAKERS = [
    generator.page,
    generator.shapes,
    generator.textures,
    generator.scene,
    generator.micrograph,
    generator.icon,
]


def test_glyphs_look_like_mnist() -> None:
    found = generator.glyphs(120, np.random.default_rng(0))
    assert found.shape == (120, 28, 28)
    assert found.dtype == np.float32
    assert found.min() == 0.0
    assert found.max() == 1.0
    assert 0.04 < found.mean() < 0.25
    assert found[:, 0].mean() < 0.02
    np.testing.assert_array_equal(found, generator.glyphs(120, np.random.default_rng(0)))
    assert len(np.unique(found, axis=0)) == 120


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("shape", [(64, 96), (150, 40), (28, 28)])
def test_pictures(make: object, shape: tuple[int, int]) -> None:
    assert callable(make)
    first, second = (make(np.random.default_rng(5), shape) for _ in range(2))
    assert first.shape == shape
    assert first.dtype == np.float32
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, make(np.random.default_rng(6), shape)) or shape == (28, 28)


def test_blur_keeps_the_mean_and_flat_images() -> None:
    image = np.random.default_rng(0).random((50, 30), dtype=np.float32)
    smooth = generator.blurred(image, 2.0)
    assert smooth.mean() == pytest.approx(image.mean(), abs=0.02)
    assert smooth.std() < 0.3 * image.std()
    np.testing.assert_allclose(generator.blurred(np.full((9, 9), 0.7, np.float32), 3.0), 0.7, atol=1e-5)
