"""`denoise train`, through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from denoiser import generator
from denoiser.errors import TrainingError
from denoiser.training import api
from denoiser.training.task import Task
from denoiser.weights import modelfile
from denoiser.weights.architectures import DenseConfig
from tests.helpers import fakes
from tests.helpers.command import Denoise


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
    for word in ("noisy dB", "restored dB", "SSIM", "gaussian:sigma=0.1", "none: clean images"):
        assert word in outcome.err
    for ending in ("png", "csv", "html"):
        assert (store / "models" / f"mine.{ending}").is_file()
        named = str(store / "models" / f"mine.{ending}") in outcome.err
        assert named == (ending == "html")  # one file to look at
    assert not (store / "models" / "mine.training").exists()
    model = modelfile.read(store / "models" / "mine.keras")
    assert model.card["seed"] == 1
    assert model.card["started_from"]
    assert denoise(pictures, "--out", tmp_path / "out", "--model", "mine").code == 0
    outcome = denoise("train", pictures, *options)
    assert outcome.code == 3
    assert "--force" in outcome.err


def test_precision_is_handed_on(
    denoise: Denoise, store: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def run(task: Task, *_: object, **__: object) -> NoReturn:
        seen.append(task.precision)
        raise TrainingError("enough")

    monkeypatch.setattr(api, "run", run)
    for given, expected in ((("--precision", "bfloat16"), "bfloat16"), ((), "auto")):
        assert denoise("train", pictures, "--name", "mine", *given).code == 3
        assert seen.pop() == expected
    assert denoise("train", pictures, "--precision", "half").code == 2


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
    "latent": (("--latent-dim", 8), 2, "no latent dimension"),
    "recipe": (("--recipe", "general", "--noise", "gaussian"), 2, "--noise"),
    "recipe and model": (("--recipe", "general", "--model", "digits"), 2, "--model says digits"),
    "batch": (("--batch-size", 0), 2, "--batch-size"),
    "validation": (("--validation", 0.9), 2, "up to 0.5"),
    "device": (("--device", "gpu"), 3, "no GPU"),
    "precision": (("--model", "digits", "--precision", "bfloat16"), 2, "float32 only"),
    "plugin": (("--plugin", "nowhere.py"), 3, "nowhere.py"),
    "not blank": (("--noise-from", "PAGES"), 2, "is not blank"),
    "partner": (("--noisy", "OTHERS"), 2, "has no partner"),
    "size": (("--noisy", "SMALLER"), 2, "images of a pair must be equally large"),
    "no folder": (("--noisy", "nowhere"), 2, "nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    denoise: Denoise, store: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    options, code, reason = BAD[case]
    budget = () if "--minutes" in options else ("--minutes", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    others, smaller = (shutil.copytree(pictures, pictures.with_name(name)) for name in ("o", "s"))
    (others / "3.png").unlink()
    Image.new("L", (90, 96)).save(smaller / "3.png")
    pages = pictures.with_name("pages")
    pages.mkdir()
    page = generator.page(np.random.default_rng(0), (300, 300))
    Image.fromarray(np.rint(255 * page).astype(np.uint8)).save(pages / "page.png")
    named = {"PAGES": pages, "OTHERS": others, "SMALLER": smaller}
    outcome = denoise("train", pictures, *(named.get(str(each), each) for each in options), *budget)
    assert outcome.code == code, outcome.err
    assert reason in outcome.err
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1 or "Usage:" in outcome.err
    assert ("3.png" in outcome.err) == (case in ("partner", "size"))
    assert not (store / "models").exists()


def test_no_images_is_said(denoise: Denoise, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = denoise("train", tmp_path / "empty", "--name", "x")
    assert outcome.code == 2
    assert "no images to learn from" in outcome.err
    assert denoise("train", tmp_path / "nowhere").code == 2


@pytest.mark.slow
def test_pairs_are_learnt_from_scratch_with_every_wish(
    denoise: Denoise, store: Path, pictures: Path, tmp_path: Path
) -> None:
    """A small network from pairs of glyphs; what was used is on its card."""
    rng = np.random.default_rng(4)
    for index, clean in enumerate(generator.glyphs(60, rng)):
        for name, image in (("clean", clean), ("noisy", clean + rng.normal(0, 0.3, clean.shape))):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    plugin = tmp_path / "same.py"
    plugin.write_text("from denoiser import hookimpl\n\n@hookimpl\ndef preprocess(image):\n    return None\n")
    outcome = denoise(
        "train",
        tmp_path / "clean",
        *("--noisy", tmp_path / "noisy", "--model", "digits", "--name", "pairs", "--latent-dim", 32),
        *("--batch-size", 16, "--validation", 0.2, "--device", "cpu", "--epochs", 60, "--plugin", plugin),
        "--keep-anyway",
    )
    assert outcome.code == 0, outcome.err
    model = modelfile.read(store / "models" / "pairs.keras")
    assert model.config == DenseConfig(32)
    assert model.card["trained_on"].startswith("60 pairs")
    assert model.card["started_from"] is None
    assert [each["name"] for each in model.card["plugins"]] == ["same"]
    assert model.card["patches"] == 48 * 60
    assert model.card["validation"]["patches"] == 12


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_store_that_can_not_be_written_is_said_first(
    denoise: Denoise, store: Path, pictures: Path, place: str
) -> None:
    if place == "file":
        (store / "models").write_text("no folder")
    else:
        (store / "models" / "mine.keras").mkdir(parents=True)
    outcome = denoise("train", pictures, "--name", "mine", "--noise", "gaussian", "--force")
    assert outcome.code == 3
    assert "models" in outcome.err
    assert "Traceback" not in outcome.err


def test_the_old_model_stays_when_training_fails(denoise: Denoise, store: Path, pictures: Path) -> None:
    kept = fakes.identity(store / "models" / "mine.keras").read_bytes()
    for options in (("--noise", "gaussian"), ("--noise", "nonsense", "--force")):
        assert denoise("train", pictures, "--name", "mine", *options).code in (2, 3)
        assert (store / "models" / "mine.keras").read_bytes() == kept
