"""The noise of images, measured in their flat areas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser import generator, noise
from denoiser._types import Floats
from denoiser.training import noise_measures
from denoiser.training.noise_measures import Limits, Sampler, measure


def scenes(number: int = 4, side: int = 192) -> list[Floats]:
    rng = np.random.default_rng(4)
    return [0.2 + 0.5 * generator.scene(rng, (side, side)) for _ in range(number)]


def with_noise(text: str) -> list[Floats]:
    rng = np.random.default_rng(5)
    return [noise.parse(text)(image[None], rng)[0] for image in scenes()]


def test_white_noise_is_measured_and_called_independent() -> None:
    found = measure(with_noise("gaussian:sigma=0.06"))
    assert found.enough
    assert found.independent
    assert found.normal
    assert found.turned
    assert found.reach == 0
    assert found.typical == pytest.approx(0.06, rel=0.1)


def test_the_strength_follows_the_tone() -> None:
    rng = np.random.default_rng(6)
    found = measure([rng.poisson(image * 100).astype(np.float32) / np.float32(100) for image in scenes(8)])
    low, high = found.sigma(np.array([0.25, 0.6], np.float32))
    assert low == pytest.approx(np.sqrt(0.25 / 100), rel=0.15)
    assert high == pytest.approx(np.sqrt(0.6 / 100), rel=0.15)


@pytest.mark.parametrize("blur", [0.6, 1.0, 2.0])
def test_grain_is_recognised_and_made_again(blur: float) -> None:
    found = measure(with_noise(f"correlated:sigma=0.08,blur={blur}"))
    assert not found.independent
    assert found.reach >= 1
    rng = np.random.default_rng(7)
    made = np.stack([Sampler(found, 128)(rng) for _ in range(16)])
    true = (
        noise.parse(f"correlated:sigma=0.08,blur={blur}")(np.full((16, 128, 128), 0.5, np.float32), rng) - 0.5
    )
    assert made.std() == pytest.approx(1.0, abs=0.05)
    theirs, ours = (noise_measures.correlation_of(each, 4) for each in (true, made))
    assert np.abs(theirs - ours).max() < 0.15


def test_rows_and_columns_are_told_apart_from_grain() -> None:
    rng = np.random.default_rng(8)
    images = [image + rng.normal(0, 0.06, (len(image), 1)) for image in scenes()]
    found = measure([np.asarray(image + rng.normal(0, 0.03, image.shape), np.float32) for image in images])
    assert found.rows > 0.5
    assert found.columns == 0.0
    assert not found.independent
    assert not found.turned
    made = Sampler(found, 64)(rng)
    assert made.mean(axis=1).std() > 3 * made.mean(axis=0).std()


@pytest.mark.parametrize("white", [0.02, 0.04])
def test_the_strength_of_lines_is_that_of_whole_rows(white: float) -> None:
    """By quiet areas alone the noise would be a sixth too weak, and in each image a third too strong."""
    rng = np.random.default_rng(6)
    images = [image + rng.normal(0, 0.05, (1, image.shape[1])) for image in scenes(6)]
    found = measure([np.asarray(i + rng.normal(0, white, i.shape), np.float32) for i in images])
    sigma = np.hypot(0.05, white)
    assert found.rows < 0.1
    assert found.columns == pytest.approx((0.05 / sigma) ** 2, abs=0.12)
    assert found.typical == pytest.approx(sigma, rel=0.12)
    assert np.median(found.ratios) == pytest.approx(1.0, abs=0.1)


def test_lines_of_gain_grow_with_the_tone_and_those_of_offset_do_not() -> None:
    rng = np.random.default_rng(6)
    images = [
        image * (1 + rng.normal(0, 0.1, (len(image), 1))) + rng.normal(0, 0.04, (1, image.shape[1]))
        for image in scenes(12)
    ]
    found = measure([np.asarray(image, np.float32) for image in images])
    tones = np.array([0.25, 0.45, 0.65], np.float32)
    rows, columns = (np.sqrt(share) * found.sigma(tones) for share in found.shares(tones))
    np.testing.assert_allclose(rows, 0.1 * tones, atol=0.01)
    np.testing.assert_allclose(columns, np.full(3, 0.04, np.float32), atol=0.01)


def test_impulses_are_independent_and_not_normal() -> None:
    found = measure(with_noise("gaussian:sigma=0.01+salt_pepper:amount=0.05"))
    assert found.impulses == pytest.approx(0.05, abs=0.02)
    assert found.independent
    assert not found.normal


def test_impulses_alone_are_no_correlated_noise() -> None:
    """What varies in flat areas is then the scene, which is smooth."""
    found = measure(with_noise("salt_pepper:amount=0.05"))
    assert found.strongest > 0.12
    assert found.impulsive
    assert found.independent


@pytest.mark.parametrize("photons", [4, 100])
def test_counts_of_photons_are_skewed_and_made_again_as_such(photons: int) -> None:
    rng = np.random.default_rng(8)
    counted = [rng.poisson(image * photons) + rng.normal(5, 0.3, image.shape) for image in scenes(8)]
    found = measure([(each / photons).astype(np.float32) for each in counted])
    assert found.independent
    assert found.normal
    assert found.skewed
    again = Sampler(found, 256)(rng)
    assert (float(again.mean()), float(again.std())) == pytest.approx((0.0, 1.0), abs=0.02)
    assert float(np.mean(again**3)) == pytest.approx(found.skewness, abs=0.1)


def test_noise_that_leans_to_the_dark_is_made_again_as_such() -> None:
    rng = np.random.default_rng(8)
    found = measure([(1 - rng.poisson((1 - i) * 20) / 20).astype(np.float32) for i in scenes(8)])
    assert found.skewness < -0.1
    assert float(np.mean(Sampler(found, 256)(rng) ** 3)) == pytest.approx(found.skewness, abs=0.1)


def test_an_image_of_other_noise_stands_out() -> None:
    rng = np.random.default_rng(9)
    sigmas = (0.03, 0.03, 0.03, 0.12)
    images = [i + rng.normal(0, s, i.shape).astype(np.float32) for i, s in zip(scenes(), sigmas, strict=True)]
    ratios = measure(images).ratios
    assert ratios[3] == pytest.approx(4.0, rel=0.3)
    assert max(ratios[:3]) < 1.5


def test_a_camera_of_12_bits_in_a_file_of_16_saturates_at_its_own_white() -> None:
    rng = np.random.default_rng(10)
    counts = [np.clip(5000 * i + rng.normal(0, 200, i.shape), 100, 4095) for i in scenes()]
    images = [(np.rint(each) / 65535).astype(np.float32) for each in counts]
    images[0][:20] = np.float32(4095 / 65535)
    found = noise_measures.limits_of(images)
    assert found.high == pytest.approx(4095 / 65535)
    assert found.low == -np.inf
    assert not found.saturated(images[1] * 0.9).any()


def test_nothing_near_clipped_pixels_is_a_target() -> None:
    rng = np.random.default_rng(11)
    image = np.full((60, 60), 0.5, np.float32)
    image[:, 30:] = np.clip(rng.normal(0.95, 0.1, (60, 30)), 0, 1)
    image[10, 10] = 1.0
    unusable = Limits(0.0, 1.0).unusable(image)
    assert unusable[:, 36:].all()
    assert unusable[10, 10]
    assert unusable[:, :24].sum() == 1
    assert not Limits().unusable(image).any()


def test_too_small_images_have_no_flat_areas() -> None:
    found = measure([np.random.default_rng(0).random((12, 12), np.float32)])
    assert found.areas == 0
    assert not found.enough
    assert found.typical == 0.0


@settings(max_examples=20)
@given(gain=st.floats(1e-3, 50.0), offset=st.floats(-3.0, 3.0))
def test_a_change_of_unit_changes_the_strength_alone(gain: float, offset: float) -> None:
    images = with_noise("gaussian:sigma=0.05")[:2]
    inner = [np.clip(image, 0.01, 0.99) for image in images]
    here, there = measure(inner), measure([np.float32(gain) * i + np.float32(offset) for i in inner])
    assert there.typical / here.typical == pytest.approx(gain, rel=0.1)
    assert there.independent == here.independent
