"""Weights from training when there are none, on an installation whose bundled ones were removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import generator
from denoiser.training import datasets, recipes
from denoiser.weights import modelfile
from denoiser.weights import store as models
from tests.helpers.command import Denoise


@pytest.fixture
def stripped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No bundled weights, no data, no network, and a budget of seconds instead of minutes."""
    monkeypatch.setattr(models, "BUNDLED", tmp_path / "nothing")
    monkeypatch.delenv("DENOISER_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def no_network(*_: object, **__: object) -> None:
        raise OSError("the network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("socket.socket.connect", no_network)
    short = {
        name: recipe.__class__(**{**vars(recipe), "minutes": 0.15})
        for name, recipe in recipes.RECIPES.items()
    }
    monkeypatch.setattr(recipes, "RECIPES", short)
    monkeypatch.setattr(datasets, "_DRAWN", 2000)


@pytest.fixture
def glyphs(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Noisy glyphs in files, and the clean ones."""
    rng = np.random.default_rng(1)
    clean = generator.glyphs(20, rng)
    folder = tmp_path / "glyphs"
    folder.mkdir()
    for index, noisy in enumerate(np.clip(clean + rng.normal(0, 0.4, clean.shape), 0, 1)):
        Image.fromarray(np.rint(255 * noisy).astype(np.uint8)).save(folder / f"{index:02}.png")
    return folder, clean


def error(folder: Path, clean: np.ndarray) -> float:
    files = sorted(folder.glob("*.png"))
    assert len(files) == len(clean)
    seen = np.stack([np.asarray(Image.open(path)) / 255 for path in files])
    return float(np.mean(np.square(seen - clean)))


@pytest.mark.slow
@pytest.mark.usefixtures("stripped")
def test_a_network_without_weights_is_trained_first_and_kept(
    denoise: Denoise, store: Path, glyphs: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    folder, clean = glyphs
    outcome = denoise(folder, "--out", tmp_path / "out", "--model", "digits")
    assert outcome.code == 0, outcome.err
    assert "No weights yet: training digits (about " in outcome.err
    assert error(tmp_path / "out", clean) < error(folder, clean)
    assert modelfile.read(store / "models" / "digits.keras").kind == "Autoencoder"
    again = denoise(folder, "--out", tmp_path / "out", "--model", "digits")
    assert "training" not in again.err
    assert "20 up to date" in again.err


@pytest.mark.slow
@pytest.mark.usefixtures("stripped")
def test_missing_weights_by_file_are_trained_and_saved_there(
    denoise: Denoise, store: Path, glyphs: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    folder, clean = glyphs
    weights = tmp_path / "deep" / "mine.keras"
    common = (folder, "--out", tmp_path / "out", "--model", "digits", "--weights", weights)
    outcome = denoise(*common)
    assert outcome.code == 0, outcome.err
    assert str(weights) in outcome.err
    assert error(tmp_path / "out", clean) < error(folder, clean)
    assert weights.exists()
    assert not (store / "models").exists()


@pytest.mark.usefixtures("stripped")
def test_never_in_a_dry_run(
    denoise: Denoise, glyphs: tuple[Path, np.ndarray], store: Path, tmp_path: Path
) -> None:
    outcome = denoise(glyphs[0], "--out", tmp_path / "out", "--dry-run")
    assert outcome.code == 0
    assert "Would train first: digits" in outcome.err
    assert "general" in outcome.err
    assert "20 would be cleaned" in outcome.err
    assert not (store / "models").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("stripped")
def test_no_train_makes_it_an_error(
    denoise: Denoise, glyphs: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    outcome = denoise(glyphs[0], "--out", tmp_path / "out", "--no-train")
    assert outcome.code == 3
    assert "--no-train" in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("stripped")
def test_nothing_is_trained_for_a_device_that_is_not_there(
    denoise: Denoise, glyphs: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("denoiser.system.hardware.may_have_gpu", lambda: False)
    outcome = denoise(glyphs[0], "--out", tmp_path / "out", "--device", "gpu")
    assert outcome.code == 3
    assert "GPU" in outcome.err
    assert "training" not in outcome.err


@pytest.mark.usefixtures("stripped")
def test_a_data_folder_without_images_is_said(
    denoise: Denoise, glyphs: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    common = (glyphs[0], "--out", tmp_path / "out", "--model", "general", "--data")
    outcome = denoise(*common, tmp_path / "empty")
    assert outcome.code == 2
    assert "no images to learn from" in outcome.err
    assert denoise(*common, tmp_path / "nowhere").code == 2


@pytest.mark.usefixtures("stripped")
@pytest.mark.parametrize("more", [("--dry-run",), ()])
def test_weights_that_may_not_be_trained(
    denoise: Denoise, glyphs: tuple[Path, np.ndarray], tmp_path: Path, more: tuple[str, ...]
) -> None:
    weights = ("--weights", tmp_path / "nowhere.keras", "--out", tmp_path / "out", *more)
    assert denoise(glyphs[0], "--model", "digits", "--no-train", *weights).code == 3
    outcome = denoise(glyphs[0], "--model", "mine", *weights)
    assert outcome.code == 2
    assert "mine is not one" in outcome.err
    assert not (tmp_path / "out").exists()
