"""The main job on real images, where `DENOISER_DATA` names some: right in kind, nearer to clean."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import Denoise
from tests.helpers.files import pixels

DATA = Path(os.environ.get("DENOISER_DATA", "/nowhere"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="DENOISER_DATA names no folder of real images"),
]


def rmse(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(first.astype(float) - second))))


@pytest.mark.parametrize("sigma", [15, 50])
def test_photographs(denoise: Denoise, tmp_path: Path, sigma: int) -> None:
    rng = np.random.default_rng(sigma)
    noisy, out = tmp_path / "noisy", tmp_path / "out"
    noisy.mkdir()
    originals = {path.name: pixels(path) for path in sorted((DATA / "set12").glob("*.png"))}
    assert len(originals) == 12
    for name, original in originals.items():
        spoilt = np.rint(np.clip(original + rng.normal(0, sigma, original.shape), 0, 255))
        Image.fromarray(spoilt.astype(np.uint8)).save(noisy / name)
    outcome = denoise(noisy, "--out", out, "--quality", "fast")
    assert outcome.code == 0, outcome.err
    assert "general: 12" in outcome.err
    for name, original in originals.items():
        result = pixels(out / name)
        assert result.shape == original.shape
        assert result.dtype == np.uint8
        assert rmse(result, original) < rmse(pixels(noisy / name), original) / 1.5, name


def test_a_scan_of_several_pages(denoise: Denoise, tmp_path: Path) -> None:
    with Image.open(DATA / "scans" / "aim916.tiff") as scan:
        pages = []
        for index in range(2):
            scan.seek(index)
            pages.append(scan.copy())
        resolution = scan.info["resolution"]
    source = tmp_path / "two.tif"
    pages[0].save(source, save_all=True, append_images=pages[1:], compression="group4", dpi=resolution)
    outcome = denoise(source, "--out", tmp_path / "out", "--quality", "fast")
    assert outcome.code == 0, outcome.err
    with Image.open(tmp_path / "out/two.tif") as result:
        assert result.n_frames == 2  # type: ignore[attr-defined]
        for index, page in enumerate(pages):
            result.seek(index)
            assert result.size == page.size
            assert result.mode == "L"
            assert tuple(map(float, result.info["dpi"])) == tuple(map(float, resolution))
            # A bilevel page has next to no noise: it must come back as it was.
            assert rmse(np.asarray(result), np.asarray(page.convert("L"))) < 12
    assert "1 bit became 8 bit" in outcome.err


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_digits(denoise: Denoise, tmp_path: Path, sigma: float) -> None:
    from denoiser.training.mnist import mnist

    digits = mnist("test", folder=DATA / "mnist")
    assert digits is not None
    rng = np.random.default_rng(0)
    noisy, out = tmp_path / "noisy", tmp_path / "out"
    noisy.mkdir()
    for index, digit in enumerate(digits[:1000]):
        spoilt = np.clip(digit / 255 + rng.normal(0, sigma, digit.shape), 0, 1)
        Image.fromarray(np.rint(255 * spoilt).astype(np.uint8)).save(noisy / f"{index}.png")
    outcome = denoise(noisy, "--out", out, "--model", "digits")
    assert outcome.code == 0, outcome.err
    before, after = [], []
    for index, digit in enumerate(digits[:1000]):
        result = pixels(out / f"{index}.png")
        assert result.shape == (28, 28)
        before.append(rmse(pixels(noisy / f"{index}.png"), digit))
        after.append(rmse(result, digit))
    assert np.mean(after) < np.mean(before) / (1.4 if sigma < 0.2 else 2.5)
