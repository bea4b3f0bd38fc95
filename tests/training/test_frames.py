"""Frames of one scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser import generator
from denoiser._types import Floats
from denoiser.errors import ImagesError
from denoiser.training import frames

FOLDER = Path("noisy")


def scene(seed: int, shape: tuple[int, int] = (160, 200)) -> Floats:
    return generator.scene(np.random.default_rng(seed), shape)


def shot(image: Floats, seed: int, sigma: float = 0.1) -> Floats:
    return np.asarray(image + np.random.default_rng(seed).normal(0, sigma, image.shape), np.float32)


def test_pages_belong_to_their_file_and_files_to_their_folder() -> None:
    first, second = scene(1), scene(2)
    pages = [
        (FOLDER / "stack.tif", shot(first, 1)),
        (FOLDER / "stack.tif", shot(first, 2)),
        (FOLDER / "b/1.png", shot(second, 3)),
        (FOLDER / "b/2.png", shot(second, 4)),
        (FOLDER / "b/3.png", shot(second, 5)),
        (FOLDER / "alone.png", shot(second, 6)),
    ]
    found, texts = frames.scenes(pages, FOLDER)
    assert [(each.name, len(each.frames)) for each in found] == [("noisy/stack.tif", 2), ("noisy/b", 3)]
    assert texts == ["noisy has one frame only, and is left out."]


def test_other_scenes_are_named() -> None:
    pages = [(FOLDER / "stack.tif", shot(scene(seed), seed)) for seed in (1, 2)]
    with pytest.raises(
        ImagesError, match=r"page 2 of .*stack.tif and page 1 of .* are no frames of one scene"
    ):
        frames.scenes(pages, FOLDER)
    pages = [(FOLDER / "a.png", scene(1)), (FOLDER / "b.png", scene(1, (100, 90)))]
    with pytest.raises(ImagesError, match="they are 90x100 and 200x160"):
        frames.scenes(pages, FOLDER)


def test_frames_of_an_empty_scene_are_frames() -> None:
    empty = np.full((160, 200), 0.5, np.float32)
    found, _ = frames.scenes([(FOLDER / "s.tif", shot(empty, seed)) for seed in (1, 2)], FOLDER)
    assert len(found[0].frames) == 2


def test_equal_frames_hold_the_same_noise_and_do_not_count() -> None:
    page = shot(scene(1), 1)
    with pytest.raises(ImagesError, match="No two images"):
        frames.scenes([(FOLDER / "s.tif", page), (FOLDER / "s.tif", page.copy())], FOLDER)


def test_frames_that_moved_are_moved_back_and_said() -> None:
    large = scene(3, (220, 260))
    pages = [shot(large[20:180, 20:220], 1, 0.05), shot(large[23:183, 15:215], 2, 0.05)]
    found, texts = frames.scenes([(FOLDER / "s.tif", page) for page in pages], FOLDER)
    assert "has moved" in texts[0]
    first, second = found[0].frames
    assert first.shape == second.shape == (157, 195)
    assert np.std(first - second) == pytest.approx(0.05 * np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("shown", ["gradient", "stripes", "edge", "blob", "nothing"])
def test_frames_that_did_not_move_stay_where_they_are(shown: str) -> None:
    y, x = np.mgrid[:160, :200] / 200
    image = {
        "gradient": 0.2 + 0.6 * x,
        "stripes": 0.5 + 0.3 * (x * 200 // 16 % 2),
        "edge": 0.3 + 0.4 * (x > 0.5),
        "blob": 0.3 + 0.4 * np.exp(-((x - 0.5) ** 2 + (y - 0.4) ** 2) / 0.08),
        "nothing": 0 * x,
    }[shown]
    pages = [(FOLDER / "s.tif", shot(image, seed)) for seed in range(6)]
    found, texts = frames.scenes(pages, FOLDER)
    assert not texts
    assert found[0].frames[0].shape == (160, 200)


def test_a_flickering_lamp_is_evened_out() -> None:
    image = scene(4)
    pages = [(FOLDER / "s.tif", shot(image, seed) + np.float32(0.05 * seed)) for seed in (1, 2)]
    first, second = frames.scenes(pages, FOLDER)[0][0].frames
    assert abs(float(np.mean(first - second))) < 1e-4


@settings(max_examples=25)
@given(down=st.integers(-12, 12), right=st.integers(-12, 12), seed=st.integers(1, 5))
def test_shifts_are_found_through_noise(down: int, right: int, seed: int) -> None:
    large = scene(seed, (200, 240))
    first = shot(large[20:180, 20:220], 1)
    second = shot(large[20 - down : 180 - down, 20 - right : 220 - right], 2)
    found = frames.shift_of(first, second)
    assert found == pytest.approx((down, right), abs=0.6)
