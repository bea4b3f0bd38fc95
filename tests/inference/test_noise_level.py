"""The estimate of an image's noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import generator
from denoiser.inference import noise_level
from tests.helpers.command import Denoise

RNG = np.random.default_rng(0)
SCENE = 0.15 + 0.7 * generator.scene(np.random.default_rng(3), (256, 256))


@pytest.mark.parametrize("sigma", [0.02, 0.06, 0.1, 0.2])
def test_white_noise_is_measured(sigma: float) -> None:
    noisy = np.clip(SCENE + RNG.normal(0, sigma, SCENE.shape), 0, 1)
    assert noise_level.noise(noisy) == pytest.approx(sigma, rel=0.15)


def test_content_is_no_noise() -> None:
    assert noise_level.noise(SCENE) == pytest.approx(0, abs=0.01)
    assert noise_level.noise(np.tile([0.2, 0.8], (40, 20)).repeat(8, axis=1)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (3, 5), (33, 41)])
def test_any_size_has_an_answer(shape: tuple[int, int]) -> None:
    enough = (shape[0] // 2) * (shape[1] // 2) >= 16
    for image, limit in ((np.full(shape, 0.5, np.float32), 1e-6), (RNG.uniform(0.1, 0.9, shape), 1.0)):
        found = noise_level.noise(image)
        assert (found is not None and 0.0 <= found < limit) if enough else found is None


def test_clipped_pixels_are_left_out() -> None:
    """A page is mostly white, and white shows no noise."""
    noisy = np.clip(np.where(RNG.random((400, 400)) < 0.6, 1.0, 0.5) + RNG.normal(0, 0.05, (400, 400)), 0, 1)
    assert noise_level.noise(np.where(noisy > 0.75, 1.0, noisy)) == pytest.approx(0.05, rel=0.2)
    assert noise_level.noise(np.ones((40, 40), np.float32)) is None


def test_the_command_tells_it(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    noisy = np.clip(SCENE + RNG.normal(0, 25 / 255, SCENE.shape), 0, 1)
    path = tmp_path / "noisy.png"
    Image.fromarray(np.rint(255 * noisy).astype(np.uint8)).save(path)
    row = json.loads(
        denoise(path, "--out", tmp_path / "1", "--model", identity, "--json").out.splitlines()[0]
    )
    assert 255 * row["noise"] == pytest.approx(25, abs=3)
    told = denoise(path, "--out", tmp_path / "2", "--model", identity, "--verbose").err
    assert any(f"noise about {level} of 255" in told for level in range(22, 29))
    assert "noise about" not in denoise(path, "--out", tmp_path / "3", "--model", identity).err
    Image.merge("RGB", [Image.open(path)] * 3).save(tmp_path / "colour.png")
    outcome = denoise(
        tmp_path / "colour.png", "--out", tmp_path / "4", "--model", identity, "--json", "--color"
    )
    assert json.loads(outcome.out.splitlines()[0])["noise"] == row["noise"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (9, 8), (28, 28), (33, 41), (80, 90)])
def test_images_estimated_together_have_the_noise_of_each_alone(shape: tuple[int, int]) -> None:
    images = np.clip(RNG.normal(0.6, 0.3, (5, *shape)), 0, 1).astype(np.float32)
    images[3] = 1.0
    images[4] = np.round(images[4], 1)
    alone = [noise_level.noise(image) for image in images]
    found = noise_level.noise_of_each(images)
    assert alone[3] is None
    assert [each is None for each in found] == [each is None for each in alone]
    for each, other in zip(found, alone, strict=True):
        assert each is None or each == pytest.approx(other, rel=1e-5)
