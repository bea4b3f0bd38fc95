"""`denoise train --only-noisy`, through the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser import generator
from denoiser.errors import NotKeptError
from denoiser.training import noisy_images, recipes, without_clean
from denoiser.weights import modelfile
from tests.helpers import fakes
from tests.helpers.command import Denoise


@pytest.fixture
def frames(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three scenes of two noisy frames each; and a small network to start from, which spoils them."""
    rng = np.random.default_rng(0)
    for number in range(3):
        scene = 0.2 + 0.6 * generator.scene(rng, (96, 96))
        folder = tmp_path / "noisy" / str(number)
        folder.mkdir(parents=True)
        for frame in range(2):
            pixels = np.rint(255 * np.clip(scene + rng.normal(0, 0.1, scene.shape), 0, 1)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{frame}.png")
    fakes.beginner(store / "models" / "general.keras")
    recipe = replace(recipes.RECIPES["general"], config=fakes.LEARNER)
    monkeypatch.setitem(recipes.RECIPES, "general", recipe)
    monkeypatch.setattr(noisy_images, "EPOCH", 6400)
    monkeypatch.setattr(noisy_images, "FIGURES_FROM", 256)
    return tmp_path / "noisy"


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--frames",), (), ("--method", "neighbours"), ("--method", "masked")])
def test_noisy_images_alone_teach_a_network(
    options: tuple[str, ...], denoise: Denoise, store: Path, frames: Path, tmp_path: Path
) -> None:
    outcome = denoise("train", "--only-noisy", frames, *options, "--name", "mine", "--epochs", 3)
    assert outcome.code == 0, outcome.err
    method = "frames" if "--frames" in options else options[1] if options else "flat"
    lines = outcome.err.splitlines()
    assert lines[0].startswith("Training mine: general from general, for 3 epochs, on ")
    assert lines[1].startswith(f"Method {method}: ")
    assert "error at masked pixels, against noisy ones" in outcome.err
    assert "none of this is a PSNR against one" in outcome.err
    assert lines[-1] == "  denoise ./scans --model mine --out ./clean"
    card = modelfile.read(store / "models" / "mine.keras").card
    figures = card["without_clean"]
    assert card["validation"] is None
    assert figures["method"] == method
    assert figures["gain_db"] > 0.5
    assert figures["masked_pixel_error"] > figures["noise"]
    page = (store / "models" / "mine.html").read_text("utf-8")
    assert "Error at masked pixels, against noisy ones" in page
    assert "Correlation of neighbours in what is removed" in page
    assert denoise(frames, "--out", tmp_path / "out", "--model", "mine").code == 0
    shown = json.loads(denoise("models", "show", "mine", "--json").out)
    assert shown["card"]["without_clean"] == figures


@pytest.mark.slow
def test_what_is_worse_than_its_start_is_not_kept(
    denoise: Denoise, store: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(without_clean, "KEPT", 30.0)  # so that every training is worse
    options = ("--only-noisy", frames, "--frames", "--name", "mine", "--epochs", 1)
    outcome = denoise("train", *options)
    assert outcome.code == 1
    assert "The trained network is worse than general" in outcome.err
    assert not (store / "models/mine.keras").exists()
    with pytest.raises(NotKeptError):
        denoiser.train(only_noisy=frames, frames=True, name="mine", start="general", epochs=1)


@pytest.mark.slow
def test_from_scratch_it_is_compared_with_doing_nothing_in_python_too(store: Path, frames: Path) -> None:
    path = denoiser.train(only_noisy=frames, frames=True, name="mine", epochs=1, keep_anyway=True)
    card = modelfile.read(path).card
    assert card["without_clean"]["compared_with"] == "doing nothing"
    assert card["started_from"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--noise", "gaussian:sigma=0.1"), "--noise goes with them"),
        (("--recipe", "general"), "--recipe goes with them"),
        (("--model", "digits"), "can't teach digits"),
        (("--method", "frames"), "needs frames of one scene"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: tuple[str, ...], message: str, denoise: Denoise, frames: Path, store: Path
) -> None:
    outcome = denoise("train", "--only-noisy", frames, "--name", "mine", *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_options_for_noisy_images_need_noisy_images(denoise: Denoise, pictures: Path) -> None:
    for options in (("--frames",), ("--method", "flat")):
        outcome = denoise("train", pictures, *options)
        assert outcome.code == 2
        assert "Give them with --only-noisy." in outcome.err


def test_pages_of_other_scenes_are_named(denoise: Denoise, frames: Path) -> None:
    (frames / "1" / "1.png").replace(frames / "0" / "1.png")
    outcome = denoise("train", "--only-noisy", frames, "--frames", "--name", "mine")
    assert outcome.code == 2
    assert f"{frames / '0' / '1.png'} and {frames / '0' / '0.png'} are no frames of one scene" in outcome.err
    assert len(outcome.err.splitlines()) == 1
