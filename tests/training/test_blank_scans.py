"""Noise cut from blank scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import generator, noise
from denoiser.errors import ImagesError
from denoiser.training import blank_scans

RNG = np.random.default_rng(8)


def light(shape: tuple[int, int]) -> np.ndarray:
    """Paper in uneven light."""
    down, across = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    return np.asarray(0.7 + 0.15 * np.sin(2.5 * down) - 0.1 * across**2, np.float32)


def grain(shape: tuple[int, int], sigma: float = 0.05) -> np.ndarray:
    spoil = noise.parse(f"correlated:sigma={sigma},blur=0.8")
    return np.asarray(spoil(np.full((1, *shape), 0.5, np.float32), RNG)[0] - 0.5)


def save(folder: Path, name: str, image: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)).save(folder / name)
    return folder


def test_the_background_goes_and_the_noise_stays() -> None:
    wanted = grain((300, 400))
    found = blank_scans.deviation(light((300, 400)) + wanted)
    assert found.dtype == np.float32
    assert abs(float(found.mean())) < 1e-6
    assert np.std(found - wanted) < 0.15 * np.std(wanted)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.98


def test_pieces_are_added_to_clean_images_anew_each_time(tmp_path: Path) -> None:
    for index in range(5):
        save(tmp_path, f"{index}.png", light((200, 150)) + grain((200, 150)))
    taught, held = blank_scans.cut_from(tmp_path, validation=0.2)
    assert "5 blank scans" in taught.name
    for side in (28, 128, 224):
        clean = np.full((40, side, side), 0.5, np.float32)
        noisy = taught(clean, np.random.default_rng(0))
        assert noisy.dtype == np.float32
        assert noisy.shape == clean.shape
        assert float(np.std(noisy)) == pytest.approx(0.05, rel=0.1)
        assert (clean == 0.5).all()
        assert len({patch.tobytes() for patch in noisy}) == 40
        np.testing.assert_array_equal(taught(clean, np.random.default_rng(0)), noisy)
        assert not np.array_equal(held(clean, np.random.default_rng(0)), noisy)
    ends = np.zeros((2, 28, 28), np.float32)
    assert 0.0 <= float(taught(ends, RNG).min()) <= float(taught(ends + 1, RNG).max()) <= 1.0


def test_learnt_and_judged_noise_are_from_different_scans(tmp_path: Path) -> None:
    for index in range(4):
        save(tmp_path, f"{index}.png", light((96, 96)) + grain((96, 96), 0.02 + 0.04 * (index == 3)))
    clean = np.full((20, 28, 28), 0.5, np.float32)
    taught, held = (each(clean, RNG) for each in blank_scans.cut_from(tmp_path, validation=0.25))
    assert np.std(held) > 2 * np.std(taught)


def test_one_scan_is_cut_in_two(tmp_path: Path) -> None:
    image = light((400, 200)) + np.concatenate([grain((200, 200), 0.03), grain((200, 200), 0.05)])
    taught, held = blank_scans.cut_from(save(tmp_path, "only.png", image))
    clean = np.full((20, 28, 28), 0.5, np.float32)
    assert np.std(held(clean, RNG)) > 1.3 * np.std(taught(clean, RNG))


@pytest.mark.parametrize("content", ["page", "scene", "half"])
def test_what_is_not_blank_is_refused(tmp_path: Path, content: str) -> None:
    rng = np.random.default_rng(2)
    image = {
        "page": lambda: generator.page(rng, (400, 300)) * 0.8 + grain((400, 300), 0.01),
        "scene": lambda: generator.scene(rng, (300, 300)) + grain((300, 300), 0.01),
        "half": lambda: (
            np.vstack([light((200, 300)), generator.page(rng, (200, 300))]) + grain((400, 300), 0.01)
        ),
    }[content]()
    save(tmp_path, "blank.png", light((100, 100)) + grain((100, 100)))
    save(tmp_path, "full.png", image)
    with pytest.raises(ImagesError, match=r"full\.png is not blank"):
        blank_scans.cut_from(tmp_path)


def test_dead_pixels_and_dust_are_no_content(tmp_path: Path) -> None:
    image = 0.1 + grain((256, 256), 0.01)
    image[RNG.random(image.shape) < 0.02] = 1.0
    image[100:103, 50:53] = 0.9
    taught, _ = blank_scans.cut_from(save(tmp_path, "dark.png", image))
    noisy = taught(np.full((200, 28, 28), 0.1, np.float32), RNG)
    assert 0.01 < np.mean(noisy > 0.8) < 0.03


def test_too_small_silent_missing_and_none(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"small\.png is 40x90: too small"):
        blank_scans.cut_from(save(tmp_path / "small", "small.png", light((90, 40)) + grain((90, 40))))
    with pytest.raises(ImagesError, match=r"white\.png has no noise in it\. 100% of its pixels"):
        blank_scans.cut_from(save(tmp_path / "white", "white.png", np.ones((100, 100))))
    with pytest.raises(ImagesError, match=r"smooth\.png has no noise in it\. Scan"):
        blank_scans.cut_from(save(tmp_path / "smooth", "smooth.png", np.full((100, 100), 0.5)))
    with pytest.raises(ImagesError, match="doesn't exist"):
        blank_scans.cut_from(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImagesError, match="no images"):
        blank_scans.cut_from(tmp_path / "empty")


def test_saturated_pixels_are_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blank_scans.cut_from(save(tmp_path, "bright.png", 0.97 + grain((200, 200), 0.05)))
    assert "bright.png: " in caplog.text
    assert "their noise can't be seen" in caplog.text
