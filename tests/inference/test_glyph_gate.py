from __future__ import annotations

import numpy as np
import pytest

from denoiser import generator, noise
from denoiser.inference import glyph_gate, noise_level
from denoiser.inference.denoiser import Denoiser
from denoiser.training import mnist

CLEAN = generator.glyphs(100, np.random.default_rng(0))
CLEAN /= CLEAN.max(axis=(1, 2), keepdims=True)


def spoilt(clean: np.ndarray, sigma: float) -> np.ndarray:
    return noise.parse(f"gaussian:sigma={sigma}")(clean, np.random.default_rng(1))


def test_noise_is_measured() -> None:
    flat = np.full((300, 28, 28), 0.5, dtype=np.float32)
    for sigma in (0.0, 0.02, 0.1):
        assert noise_level.noise_of(spoilt(flat, sigma)).mean() == pytest.approx(sigma, rel=0.05, abs=1e-6)
    y, x = np.mgrid[0:28, 0:28].astype(np.float32) / 28
    assert noise_level.noise_of((0.3 * x + 0.5 * y)[None]).max() < 1e-6


def never(indices: np.ndarray) -> np.ndarray:
    raise AssertionError(f"asked about {indices}")


def smoothed(noisy: np.ndarray) -> glyph_gate.General:
    """A model for pictures that does what one can do without knowing glyphs."""
    return lambda indices: np.stack([generator.blurred(noisy[index], 0.7) for index in indices])


@pytest.mark.parametrize("sigma", [0.2, 0.3, 0.4])
def test_a_perfect_reconstruction_of_a_noisy_glyph_is_taken(sigma: float) -> None:
    noisy = spoilt(CLEAN, sigma)
    assert glyph_gate.looks_like_glyph(noisy, CLEAN, smoothed(noisy)).mean() >= 0.97


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.4])
def test_another_glyph_or_nothing_is_no_explanation(sigma: float) -> None:
    noisy = spoilt(CLEAN, sigma)
    assert glyph_gate.looks_like_glyph(noisy, np.roll(CLEAN, 1, axis=0), smoothed(noisy)).mean() < 0.1
    assert not glyph_gate.looks_like_glyph(noisy, np.zeros_like(CLEAN), smoothed(noisy)).any()


def test_a_clean_image_is_never_asked_about_twice() -> None:
    """`general` keeps clean glyphs as they are, which `digits` can't; that needs no second opinion."""
    rng = np.random.default_rng(2)
    nearly = np.clip(CLEAN + rng.normal(0.0, 0.03, CLEAN.shape), 0, 1).astype(np.float32)
    assert not glyph_gate.looks_like_glyph(CLEAN, nearly, never).any()
    blank = np.zeros((2, 28, 28), np.float32)
    assert not glyph_gate.looks_like_glyph(blank, blank, never).any()


def test_the_answer_does_not_depend_on_the_batch() -> None:
    noisy = spoilt(CLEAN, 0.15)
    drawn = np.where(np.arange(100)[:, None, None] % 2, CLEAN, np.roll(CLEAN, 7, axis=0))
    together = glyph_gate.looks_like_glyph(noisy, drawn, smoothed(noisy))
    alone = [
        bool(glyph_gate.looks_like_glyph(one, drawn[i : i + 1], smoothed(one))[0])
        for i, one in enumerate(noisy[:, None])
    ]
    assert together.tolist() == alone
    assert 0 < together.sum() < 100
    assert glyph_gate.looks_like_glyph(CLEAN[:0], CLEAN[:0], never).shape == (0,)


@pytest.mark.data
def test_noisy_digits_pass_and_everything_else_does_not() -> None:
    found = mnist.mnist("test")
    if found is None:
        pytest.skip("no MNIST: DENOISER_DATA is unset")
    rng = np.random.default_rng(5)
    clean = found[:300].astype(np.float32) / np.float32(255.0)
    pictures = [generator.textures, generator.icon, generator.scene, generator.shapes]
    others = [pictures[index % 4](rng, (int(rng.integers(12, 57)), 40)) for index in range(200)]
    with Denoiser() as auto:
        noisy = noise.parse("gaussian:sigma=0.15..0.4")(clean, rng)
        assert np.mean([each.model == "digits" for each in auto.clean(list(noisy))]) > 0.95
        assert np.mean([each.model == "digits" for each in auto.clean(others)]) < 0.02
        unharmed = np.stack([each.pixels for each in auto.clean(list(clean))])
        assert np.mean(np.mean(np.square(unharmed - clean), axis=(1, 2)) < 1e-4) > 0.98
