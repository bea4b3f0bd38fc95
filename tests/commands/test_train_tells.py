"""What `denoise train` says of the data and of the result, and the name it gives."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser import generator
from denoiser.commands import training_progress
from denoiser.errors import ImagesError
from denoiser.progress import NullProgress
from denoiser.training import datasets, recipes, run
from denoiser.weights import modelfile
from denoiser.weights import store as models
from tests.helpers import fakes
from tests.helpers.command import Denoise


@pytest.fixture
def folders(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pairs of 10 images, the noisy ones also under wrong names; and a small network to start from."""
    rng = np.random.default_rng(1)
    for index in range(10):
        clean = generator.scene(rng, (64, 64))
        noisy = clean + rng.normal(0, 0.1, clean.shape)
        for name, image in (("clean", clean), ("noisy", noisy)):
            save(tmp_path / name / f"{index}.png", image)
        save(tmp_path / "mixed" / f"{(index + 3) % 10}.png", noisy)
    fakes.identity(store / "models" / "general.keras")
    monkeypatch.setattr(datasets, "_CROPS_HELD_OUT", 64)
    monkeypatch.setattr(datasets, "_TILES_HELD_OUT", 8)
    monkeypatch.setattr(datasets, "EPOCH", 1280)
    return tmp_path


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)).save(path)


def test_the_help_says_the_default_minutes(denoise: Denoise) -> None:
    assert run.DEFAULT_MINUTES == {"digits": 2.0, "general": 20.0, "document": 20.0}
    help_text = " ".join(denoise("train", "--help").out.split())
    assert "[default: 20; for digits 2]" in help_text


def test_a_start_of_another_shape_is_told_unless_it_is_bundled(tmp_path: Path) -> None:
    own = tmp_path / "mine.keras"
    shutil.copy(models.BUNDLED / "general.keras", own)
    for path, sentences in ((models.BUNDLED / "general.keras", 1), (own, 2)):
        plan: Any = SimpleNamespace(
            recipe=recipes.RECIPES["general"],
            start=modelfile.read(path, name=path.name),
            destination=tmp_path / "new.keras",
            minutes=1.0,
            epochs=None,
            data=SimpleNamespace(noisy=None),
        )
        dataset: Any = SimpleNamespace(data="3 images", method=None, warnings=[])
        told: list[str] = []
        run._announce(plan, dataset, told.append)
        assert len(told) == sentences, told
    assert "The start, mine.keras, has another shape (context 2) than a new general (context 1)" in told[1]


def test_mixed_up_pairs_are_refused_before_the_training(denoise: Denoise, store: Path, folders: Path) -> None:
    options = ("--noisy", folders / "mixed", "--name", "mine")
    outcome = denoise("train", folders / "clean", *options)
    assert outcome.code == 2
    assert outcome.err == (
        "Error: 10 of 10 noisy images are more like the clean image of another pair than like their own."
        " Pairs go by their names: give both images of a pair the same name.\n"
    )
    with pytest.raises(ImagesError, match="10 of 10"):
        denoiser.train(name="mine", data=folders / "clean", noisy=folders / "mixed")


@pytest.mark.slow
def test_swapped_folders_are_asked_about_and_the_length_is_said_first(
    denoise: Denoise, store: Path, folders: Path
) -> None:
    options = ("--noisy", folders / "clean", "--epochs", 1, "--keep-anyway", "--name", "mine")
    outcome = denoise("train", folders / "noisy", *options)
    assert outcome.code == 0, outcome.err
    lines = outcome.err.splitlines()
    assert lines[0].startswith("Training mine: general from general, for 1 epoch, on 10 pairs")
    assert (
        lines[1] == "Warning: The noisy images are smoother than the clean ones. Are the two folders swapped?"
    )
    assert outcome.err.count("swapped?") == 1
    assert "Warning: The figures rest on 1 of 10 pairs, which is few." in outcome.err
    assert "On images it has not seen (1 of 10 pairs):" in lines
    card = modelfile.read(store / "models" / "mine.keras").card
    assert card["validated_on"] == "1 of 10 pairs"
    assert len(card["warnings"]) >= 2


@pytest.mark.slow
def test_noise_on_top_of_that_of_pairs_is_said_first(denoise: Denoise, store: Path, folders: Path) -> None:
    options = ("--noisy", folders / "noisy", "--epochs", 1, "--keep-anyway", "--name")
    first = denoise("train", folders / "clean", *options, "pairs").err.splitlines()[0]
    assert first.endswith(" Noise: that of the images.")
    added = ("more", "--noise", "gaussian:sigma=0.1")
    first = denoise("train", folders / "clean", *options, *added).err.splitlines()[0]
    assert first.endswith(" Noise: 100% gaussian:sigma=0.1, added to the noisy images of the pairs.")


@pytest.mark.slow
def test_without_a_name_nothing_is_replaced(denoise: Denoise, store: Path, folders: Path) -> None:
    kept = (store / "models" / "general.keras").read_bytes()
    for number in (1, 2):
        options = ("--noise", "gaussian:sigma=0.1", "--epochs", 1, "--keep-anyway")
        outcome = denoise("train", folders / "clean", *options)
        assert outcome.code == 0, outcome.err
        lines = outcome.err.splitlines()
        assert lines[0].startswith(f"Training general-{number}: general from general, for 1 epoch, on 10 ")
        assert f"The model is called general-{number}." in lines
        assert lines[-1] == f"  denoise ./scans --model general-{number} --out ./clean"
        assert (store / "models" / f"general-{number}.keras").is_file()
    assert (store / "models" / "general.keras").read_bytes() == kept


@pytest.mark.slow
def test_python_calls_back_and_makes_a_name(store: Path, folders: Path) -> None:
    seen: list[tuple[float, str]] = []
    settings: dict[str, Any] = {"noise": "gaussian:sigma=0.1", "epochs": 2, "keep_anyway": True}
    path = denoiser.train(
        data=folders / "clean",
        start="general",
        progress=lambda done, text: seen.append((done, text)),
        **settings,
    )
    assert path == store / "models" / "general-1.keras"
    shares = [done for done, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert all(re.fullmatch(r"[\d,]+ patches/s(, [\d.]+ dB)?", text) for _, text in seen)


@pytest.mark.slow
def test_a_killed_training_without_a_name_is_resumed_and_another_gets_another_name(
    store: Path, folders: Path
) -> None:
    settings: dict[str, Any] = {"data": folders / "clean", "start": "general", "epochs": 4, "batch_size": 32}

    def stop(done: float, _: str) -> None:
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoiser.train(noise="gaussian:sigma=0.1", progress=stop, **settings)
    unfinished = store / "models" / "general-1.training"
    assert unfinished.is_file()
    other = denoiser.train(noise="gaussian:sigma=0.2", keep_anyway=True, **settings)
    assert other.name == "general-2.keras"
    assert unfinished.is_file()
    same = denoiser.train(noise="gaussian:sigma=0.1", keep_anyway=True, **settings)
    assert same.name == "general-1.keras"
    assert modelfile.read(same).card["continued"] == 1


@pytest.mark.slow
def test_ctrl_c_before_the_network_is_of_use_keeps_what_it_has_learnt(
    denoise: Denoise, store: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "EPOCH", 3200)
    small = replace(recipes.RECIPES["general"], config=fakes.LEARNER)
    monkeypatch.setitem(recipes.RECIPES, "general", small)

    class Bar(NullProgress):
        def update(self, done: float, text: str = "") -> None:
            if done > 30:
                raise KeyboardInterrupt

    options = ("--from", "scratch", "--noise", "gaussian:sigma=0.001", "--epochs", 1, "--batch-size", 32)
    command = ("train", folders / "clean", *options, "--name", "mine")
    with monkeypatch.context() as patch:
        patch.setattr(training_progress, "training_progress", lambda **_: Bar())
        outcome = denoise(*command)
    assert outcome.code == 130, outcome.err
    assert "than doing nothing" in outcome.err  # worse, or no better: it has hardly learnt
    assert outcome.err.endswith(
        "so far; nothing was written. The same command resumes the training.\n\nInterrupted.\n"
    )
    assert [path.name for path in (store / "models").glob("mine*")] == ["mine.training"]
    assert "Resuming the unfinished training of mine" in denoise(*command).err


@pytest.mark.slow
def test_a_line_now_and_then_in_a_pipe(
    denoise: Denoise, store: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_progress, "EVERY", 0.0)
    options = ("--noise", "gaussian:sigma=0.1", "--epochs", 1, "--keep-anyway", "--name", "mine")
    outcome = denoise("train", folders / "clean", *options)
    assert outcome.code == 0, outcome.err
    assert re.search(r"^Training general: 100 %, [\d,]+ patches/s", outcome.err, re.MULTILINE)
    assert "Training general:" not in denoise("train", folders / "clean", *options, "--force", "-q").err


@pytest.mark.slow
def test_a_full_disk_is_noticed_before_the_training(
    denoise: Denoise, store: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        options = ("--noise", "gaussian:sigma=0.1", "--from", "scratch", "--name", "mine")
        outcome = denoise("train", folders / "clean", *options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.code == 3
    assert outcome.err == (
        f"Error: {store / 'models' / 'mine.keras'} can't be written: {os.strerror(27)}. Choose another place"
        " before the training, with DENOISER_HOME if it is the store.\n"
    )
    assert [path.name for path in (store / "models").iterdir()] == ["general.keras"]
