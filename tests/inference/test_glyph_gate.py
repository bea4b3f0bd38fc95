from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from denoiser import generator, noise
from denoiser.generator.scripts import SCRIPTS, sign
from denoiser.inference import glyph_gate, noise_level
from denoiser.inference.denoiser import Denoiser
from denoiser.training import mnist

RNG = np.random.default_rng(0)
DIGITS = np.stack([generator.digit(RNG) for _ in range(60)])


@pytest.fixture(scope="module")
def auto() -> Iterator[Denoiser]:
    with Denoiser() as denoiser:
        yield denoiser


def spoilt(clean: np.ndarray, sigma: float) -> np.ndarray:
    noisy: np.ndarray = noise.parse(f"gaussian:sigma={sigma}")(clean, np.random.default_rng(1))
    return noisy


def share(auto: Denoiser, images: np.ndarray | list[np.ndarray]) -> float:
    """Share of the images that go to `digits`."""
    return float(np.mean([each.model == "digits" for each in auto.clean(list(images))]))


def test_noise_is_measured() -> None:
    flat = np.full((300, 28, 28), 0.5, dtype=np.float32)
    for sigma in (0.0, 0.02, 0.1):
        assert noise_level.noise_of(spoilt(flat, sigma)).mean() == pytest.approx(sigma, rel=0.05, abs=1e-6)
    y, x = np.mgrid[0:28, 0:28].astype(np.float32) / 28
    assert noise_level.noise_of((0.3 * x + 0.5 * y)[None]).max() < 1e-6


@pytest.mark.parametrize("sigma", [0.2, 0.3, 0.4])
def test_noisy_digits_go_to_digits_in_both_polarities(auto: Denoiser, sigma: float) -> None:
    noisy = spoilt(DIGITS, sigma)
    assert share(auto, noisy) >= 0.9
    assert share(auto, 1.0 - noisy) >= 0.9


def test_clean_glyphs_go_to_general_and_come_back_as_they_are(auto: Denoiser) -> None:
    """`digits` redraws a clean glyph at 30 dB."""
    clean = [*DIGITS, *(sign(RNG, script) for script in SCRIPTS for _ in range(10))]
    assert share(auto, clean) == 0.0
    for image, result in zip(clean, auto.clean(clean), strict=True):
        assert np.mean(np.square(result.pixels - image)) < 10**-3.5


def test_signs_of_another_script_with_little_noise_go_to_general(auto: Denoiser) -> None:
    signs = np.stack([sign(np.random.default_rng(seed), "kana") for seed in range(60)])
    assert share(auto, spoilt(signs, 0.05)) <= 0.05
    assert share(auto, spoilt(signs, 0.1)) <= 0.6


def test_only_doubtful_images_are_shown_to_general(auto: Denoiser) -> None:
    """With much noise it is plain that they are digits; with little, `general` may do as well."""
    noisy = np.concatenate([spoilt(DIGITS, 0.3), spoilt(DIGITS, 0.1)])
    digits = Denoiser("digits").engine().reconstruct(noisy)
    asked: list[int] = []

    def general(indices: np.ndarray) -> np.ndarray:
        asked.extend(indices)
        return np.asarray(noisy[indices])

    glyph_gate.looks_like_glyph(noisy, digits, np.ones(len(noisy), np.float32), general)
    assert len(asked) > len(DIGITS) / 4
    assert min(asked) >= len(DIGITS)


def test_the_answer_does_not_depend_on_the_batch(auto: Denoiser) -> None:
    signs = [sign(np.random.default_rng(seed), "loops") for seed in range(20)]
    noisy = list(spoilt(np.stack([*DIGITS[:20], *signs]), 0.15))
    together = [each.model for each in auto.clean(noisy)]
    assert together == [auto.clean([image])[0].model for image in noisy]
    assert len(set(together)) == 2
    empty = np.zeros((0, 28, 28), np.float32)
    assert glyph_gate.looks_like_glyph(empty, empty, np.zeros(0, np.float32), lambda _: empty).shape == (0,)


@pytest.mark.data
def test_digits_of_mnist_pass_at_every_size_and_other_pictures_do_not(auto: Denoiser) -> None:
    found = mnist.mnist("test")
    if found is None:
        pytest.skip("no MNIST: DENOISER_DATA is unset")
    rng = np.random.default_rng(5)
    clean = found[:300].astype(np.float32) / np.float32(255.0)
    assert share(auto, noise.parse("gaussian:sigma=0.15..0.4")(clean, rng)) > 0.95
    large = np.stack([np.asarray(Image.fromarray(image).resize((40, 40))) for image in clean[:100]])
    assert share(auto, noise.parse("gaussian:sigma=0.2..0.4")(large, rng)) > 0.6
    pictures = [generator.textures, generator.icon, generator.scene, generator.shapes]
    others = [pictures[index % 4](rng, (int(rng.integers(12, 57)), 40)) for index in range(200)]
    assert share(auto, others) < 0.02
