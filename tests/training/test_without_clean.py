"""Figures of a network where nobody has clean images, held against the truth, which these tests know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser import generator
from denoiser._types import Floats
from denoiser.training import noisy_images, without_clean
from denoiser.training.noise_measures import measure
from denoiser.training.noisy_pairs import Shot

SIGMA = 0.07


def smoothed(amount: float) -> Callable[[Floats], Floats]:
    def restore(patches: Floats) -> Floats:
        around = np.pad(patches, ((0, 0), (1, 1), (1, 1)), mode="reflect")
        mean = sum(around[:, i : i + 28, j : j + 28] for i in range(3) for j in range(3)) / 9.0
        return np.asarray((1 - amount) * patches + amount * mean, dtype=np.float32)

    return restore


@pytest.mark.parametrize("in_frames", [False, True])
def test_the_estimated_error_is_near_the_true_one(in_frames: bool) -> None:
    rng = np.random.default_rng(2)
    clean = [0.2 + 0.5 * generator.scene(rng, (256, 256)) for _ in range(4)]
    noisy, other = ([np.asarray(c + rng.normal(0, SIGMA, c.shape), np.float32) for c in clean] for _ in "ab")
    measured = measure(noisy)
    targets = other if in_frames else noisy
    shots = [Shot(a, b, index) for index, (a, b) in enumerate(zip(noisy, targets, strict=True))]
    held = noisy_images.held_out(shots, measured, side=128, context=1, frames=in_frames)
    # The same tiles of the clean images.
    shots = [Shot(a, c, index) for index, (a, c) in enumerate(zip(noisy, clean, strict=True))]
    truth = noisy_images.held_out(shots, measured, side=128, context=1, frames=True)
    assert np.array_equal(truth.inputs, held.inputs)
    for amount in (0.0, 0.5, 1.0):
        restore = smoothed(amount)
        given = truth.inputs if held.noisier is None else held.noisier
        true = float(np.mean(np.square(restore(given) - truth.targets))) + 0.05 * SIGMA**2
        assert held.figures(restore).error == pytest.approx(true, abs=0.06 * SIGMA**2)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_network_that_keeps_one_side_of_skewed_noise_is_estimated_right(sign: int) -> None:
    """Were the noise that is added not skewed, one side would flatter by a fifth of the noise."""
    rng = np.random.default_rng(5)
    clean = [np.asarray(0.2 + 0.5 * generator.scene(rng, (256, 256)), np.float32) for _ in range(6)]
    noisy = [np.asarray(rng.poisson(20 * c) / 20, np.float32) for c in clean]
    measured = measure(noisy)
    pairs = zip(noisy, noisy, strict=True), zip(noisy, clean, strict=True)
    held, truth = (
        noisy_images.held_out(
            [Shot(a, b, index) for index, (a, b) in enumerate(each)],
            measured,
            side=128,
            context=1,
            frames=known,
        )
        for each, known in zip(pairs, (False, True), strict=True)
    )
    assert np.array_equal(truth.inputs, held.inputs)

    def restore(patches: Floats) -> Floats:
        mean = smoothed(1.0)(patches)
        rest = patches - mean
        kept = np.maximum(sign * rest, 0) - 0.4 * np.sqrt(np.mean(np.square(rest)))
        return np.asarray(mean + 0.6 * sign * kept, np.float32)

    assert held.noisier is not None
    true = float(np.mean(np.square(restore(held.noisier) - truth.targets))) + 0.05 * held.variance
    assert held.figures(restore).error == pytest.approx(true, abs=0.03 * held.variance)


def test_removing_white_noise_leaves_a_white_residual_and_blur_does_not() -> None:
    rng = np.random.default_rng(3)
    clean = [0.2 + 0.5 * generator.scene(rng, (256, 256)) for _ in range(3)]
    noisy = [np.asarray(c + rng.normal(0, 0.02, c.shape), np.float32) for c in clean]
    shots = [Shot(a, a, index) for index, a in enumerate(noisy)]
    held = noisy_images.held_out(shots, measure(noisy), side=128, context=1, frames=False)
    assert abs(held.correlation) < 0.12
    nothing = held.figures(lambda patches: np.full_like(patches, 0.4))
    assert nothing.residual > 0.8


def test_hidden_pixels_do_not_show_through() -> None:
    rng = np.random.default_rng(4)
    tiles = rng.random((2, 64, 64), np.float32)
    for reach in (0, 1, 3):
        changed, centres = without_clean.hidden(tiles, reach, np.random.default_rng(0))
        other = tiles.copy()
        other[centres] += 1.0
        again, _ = without_clean.hidden(other, reach, np.random.default_rng(0))
        assert np.array_equal(changed, again)
        assert centres.any()
        assert np.all(changed[centres] != tiles[centres])


def found(gain: float = 0.2, residual: float = 0.0) -> dict[str, object]:
    none = np.zeros((1, 28, 28), np.float32)
    held = without_clean.HeldOut(none, none, none, none, None, None, 0.01, 0.0, "masked pixels")
    before = without_clean.Figures(0.1, 0.0, 0.01)
    after = without_clean.Figures(0.1, residual, 0.01 * 10 ** (-gain / 10))
    return without_clean.described("masked", "so", held, before, after, "general")


@given(gain=st.floats(-3, 3).filter(lambda gain: abs(abs(gain) - 0.05) > 0.002))
def test_within_a_twentieth_of_a_decibel_it_is_kept_with_a_warning(gain: float) -> None:
    figures = found(gain)
    assert (without_clean.refused(figures) is not None) == (gain < -0.05)
    warned = any("no better than general" in text for text in without_clean.cautions(figures))
    assert warned == (gain < 0.05)


def test_errors_that_come_out_too_small_still_show_which_is_smaller() -> None:
    none = np.zeros((1, 28, 28), np.float32)
    held = without_clean.HeldOut(none, none, none, none, None, None, 0.01, 0.0, "masked pixels")
    worse, better = (without_clean.Figures(0.1, 0.0, error) for error in (-0.0004, -0.0006))
    up, down = (
        without_clean.described("masked", "so", held, *pair, "general")["gain_db"]
        for pair in ((worse, better), (better, worse))
    )
    assert up == -down
    assert 0.5 < up < 1.0


def test_a_residual_unlike_the_noise_is_warned_of() -> None:
    assert without_clean.cautions(found(0.2)) == []
    (text,) = without_clean.cautions(found(0.2, residual=0.5))
    assert "may remove structure" in text


def test_the_table_calls_the_figures_what_they_are() -> None:
    text = "\n".join(without_clean.table(found()))
    assert "error at masked pixels, against noisy ones" in text
    assert "No clean image was used: none of this is a PSNR against one." in text
