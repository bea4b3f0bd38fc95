from __future__ import annotations

import numpy as np
import pytest

from denoiser import generator, noise
from denoiser.inference import glyph_gate, noise_level, patches
from denoiser.inference.engine import open_engine
from denoiser.training import mnist
from denoiser.weights import modelfile, store

CLEAN = generator.glyphs(100, np.random.default_rng(0))
CLEAN /= CLEAN.max(axis=(1, 2), keepdims=True)
WEIGHTS = store.BUNDLED / "digits.keras"


def spoilt(clean: np.ndarray, sigma: float) -> np.ndarray:
    return noise.parse(f"gaussian:sigma={sigma}")(clean, np.random.default_rng(1))


def test_noise_is_measured() -> None:
    flat = np.full((300, 28, 28), 0.5, dtype=np.float32)
    for sigma in (0.0, 0.02, 0.1):
        assert noise_level.noise_of(spoilt(flat, sigma)).mean() == pytest.approx(sigma, rel=0.05, abs=1e-6)
    y, x = np.mgrid[0:28, 0:28].astype(np.float32) / 28
    assert noise_level.noise_of((0.3 * x + 0.5 * y)[None]).max() < 1e-6


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.25, 0.4])
def test_a_perfect_reconstruction_is_a_glyph_at_any_noise(sigma: float) -> None:
    assert glyph_gate.looks_like_glyph(spoilt(CLEAN, sigma), CLEAN).mean() >= 0.99


def test_another_glyph_or_nothing_is_no_explanation() -> None:
    assert glyph_gate.looks_like_glyph(CLEAN, np.roll(CLEAN, 1, axis=0)).mean() < 0.1
    assert not glyph_gate.looks_like_glyph(CLEAN, np.zeros_like(CLEAN)).any()
    assert not glyph_gate.looks_like_glyph(
        np.zeros((2, 28, 28), np.float32), np.zeros((2, 28, 28), np.float32)
    ).any()


def test_the_answer_does_not_depend_on_the_batch() -> None:
    clean = CLEAN[:20]
    noisy = spoilt(clean, 0.4)
    together = glyph_gate.looks_like_glyph(noisy, np.roll(clean, 7, axis=0))
    alone = [
        bool(glyph_gate.looks_like_glyph(noisy[i : i + 1], np.roll(clean, 7, axis=0)[i : i + 1])[0])
        for i in range(20)
    ]
    assert together.tolist() == alone
    assert glyph_gate.looks_like_glyph(clean[:0], clean[:0]).shape == (0,)


@pytest.mark.data
def test_digits_pass_and_other_pictures_do_not() -> None:
    found = mnist.mnist("test")
    if found is None:
        pytest.skip("no MNIST: DENOISER_DATA is unset")
    rng = np.random.default_rng(5)
    engine = open_engine(modelfile.read(WEIGHTS), engine="numpy")
    clean = found[:300].astype(np.float32) / np.float32(255.0)
    digits = noise.parse("gaussian:sigma=0..0.4")(clean, rng)
    assert glyph_gate.looks_like_glyph(digits, engine.reconstruct(digits)).mean() > 0.95
    pictures = [generator.textures, generator.icon, generator.scene, generator.shapes]
    others = [pictures[index % 4](rng, (int(rng.integers(12, 57)), 40)) for index in range(200)]
    fitted = np.stack([patches.whole_from_image(image)[0] for image in others])
    assert glyph_gate.looks_like_glyph(fitted, engine.reconstruct(fitted)).mean() < 0.05
    engine.close()
