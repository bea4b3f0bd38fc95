"""Where Keras is not installed: what works without it works, and what doesn't says so in one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.system import hardware
from tests.helpers.command import Denoise


@pytest.fixture
def without_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> Any:
        return None if name == "keras" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)).save(path)
    return path


def test_training_without_keras_says_what_to_install(
    denoise: Denoise, without_keras: None, store: Path
) -> None:
    outcome = denoise("train", "--name", "mine", "--minutes", 1)
    assert outcome.code == 3
    assert len(outcome.err.strip().splitlines()) == 1
    assert "Training needs Keras" in outcome.err
    assert "pip install tensorflow" in outcome.err


def test_the_keras_engine_without_keras_says_what_to_install(
    denoise: Denoise, without_keras: None, picture: Path, tmp_path: Path
) -> None:
    options = ("--out", tmp_path / "out", "--model", "general", "--engine", "keras")
    outcome = denoise(picture, *options)
    assert outcome.code == 3
    assert "The keras engine needs Keras" in outcome.err
    assert not (tmp_path / "out" / "picture.png").exists()


def test_auto_computes_with_numpy_where_there_is_a_gpu_but_no_keras(
    denoise: Denoise,
    without_keras: None,
    monkeypatch: pytest.MonkeyPatch,
    picture: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(hardware, "may_have_gpu", lambda: True)
    monkeypatch.setattr("denoiser.inference.engine.GPU_WORTH", 0.0)
    outcome = denoise(picture, "--out", tmp_path / "out", "--model", "general")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out" / "picture.png").exists()
