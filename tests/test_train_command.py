"""`denoise train`, through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import generator, modelfile
from tests import fakes
from tests.conftest import Outcome

Denoise = Callable[..., Outcome]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of clean pictures."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(10):
        Image.fromarray(np.rint(255 * generator.scene(rng, (96, 96))).astype(np.uint8)).save(
            folder / f"{index}.png"
        )
    return folder


@pytest.mark.slow
def test_a_noise_is_learnt_kept_under_its_name_and_used(
    denoise: Denoise, store: Path, pictures: Path, tmp_path: Path
) -> None:
    options = ("--name", "mine", "--noise", "gaussian:sigma=0.1", "--minutes", 0.1, "--seed", 1)
    outcome = denoise("train", pictures, *options)
    assert outcome.code == 0, outcome.err
    assert "gaussian:sigma=0.1" in outcome.err
    assert "denoise ./scans --model mine --out ./clean" in outcome.err
    model = modelfile.read(store / "models" / "mine.keras")
    assert model.card["seed"] == 1
    assert model.card["started_from"]
    assert denoise(pictures, "--out", tmp_path / "out", "--model", "mine").code == 0
    outcome = denoise("train", pictures, *options)
    assert outcome.code == 3
    assert "--force" in outcome.err


@pytest.mark.slow
def test_what_is_worse_than_nothing_is_not_kept(denoise: Denoise, store: Path, pictures: Path) -> None:
    options = ("train", pictures, "--name", "bad", "--noise", "gaussian:sigma=0.001", "--epochs", 1)
    ink = fakes.flattener(store / "models" / "start.keras")
    outcome = denoise(*options[:-2], "--from", ink, "--minutes", 0.02)
    assert outcome.code == 3
    assert "worse than doing nothing" in outcome.err
    assert not (store / "models" / "bad.keras").exists()
    assert denoise(*options[:-2], "--from", ink, "--minutes", 0.02, "--keep-anyway", "--quiet").code == 0
    assert (store / "models" / "bad.keras").exists()
    assert denoise(*options[:-2], "--from", ink, "--minutes", 0.02, "--keep-anyway", "--force").code == 0


BAD = {
    "noise": (("--noise", "gausian"), 2, "gaussian"),
    "parameter": (("--noise", "gaussian:sigm=0.1"), 2, "sigma"),
    "scale": (("--noise", "gaussian:sigma=25"), 2, "25/255"),
    "budgets": (("--minutes", "1", "--epochs", "1"), 2, "two budgets"),
    "name": (("--name", "../x"), 3, "can't be a model's name"),
    "from": (("--from", "nothing_like_it"), 3, "nothing_like_it"),
    "kind": (("--from", "digits"), 3, "Autoencoder"),
    "network": (("--model", "mine"), 2, "digits"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(denoise: Denoise, store: Path, pictures: Path, case: str) -> None:
    options, code, reason = BAD[case]
    outcome = denoise("train", pictures, *options)
    assert outcome.code == code, outcome.err
    assert reason in outcome.err
    assert "Traceback" not in outcome.err
    assert not (store / "models").exists()


def test_no_images_is_said(denoise: Denoise, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = denoise("train", tmp_path / "empty", "--name", "x")
    assert outcome.code == 3
    assert "no images to learn from" in outcome.err
    assert denoise("train", tmp_path / "nowhere").code == 2
