"""What `denoise train` refuses before it does anything, and what it says of a training cut short."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import denoiser
from denoiser.errors import UsageError
from denoiser.training import image_folders
from tests.helpers.command import Denoise


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--name", ""), "'' can't be a model's name"),
        (("--name", "scratch"), "'scratch' can't be a model's name. It has its own meaning: choose another."),
        (("--batch-size", 10_000_000), "The batch size is 10,000,000"),
        (("--from", ""), "The model to start from has no name."),
        (("--name", "digits"), "this trains general. Choose another --name. To train digits, use --model"),
        (("--name", "general", "--model", "document"), "this trains document. Choose another --name."),
    ],
)
def test_what_can_not_be_meant_is_refused(
    options: tuple[object, ...], message: str, denoise: Denoise, store: Path, pictures: Path
) -> None:
    outcome = denoise("train", pictures, "--noise", "gaussian:sigma=0.1", *options)
    assert outcome.code == (3 if "can't be a model's name" in message else 2)
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (store / "models").exists()


def test_pairs_without_a_difference_are_refused(denoise: Denoise, store: Path, pictures: Path) -> None:
    outcome = denoise("train", pictures, "--noisy", pictures, "--name", "same")
    assert outcome.code == 2
    assert "there is no noise to learn" in outcome.err
    assert not (store / "models/same.keras").exists()


@pytest.mark.parametrize("network", ["digits", "general"])
def test_a_noise_that_does_nothing_is_refused(
    network: str, denoise: Denoise, store: Path, pictures: Path
) -> None:
    options = ("--model", network, "--noise", "gaussian:strength=0", "--name", "mine", "--epochs", 1)
    outcome = denoise("train", pictures, *options)
    assert outcome.code == 2
    assert "leaves the validation images unchanged" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (store / "models").exists()


def test_quiet_is_without_warnings(denoise: Denoise, pictures: Path) -> None:
    """In a process of its own, as only there warnings go where they go in use."""
    (pictures / "broken.png").write_text("no image")
    Image.new("L", (300, 20)).save(pictures / "flat.png")
    options = ("--noise", "gaussian:strength=0", "--name", "mine", "--epochs", "1")
    command = [sys.executable, "-m", "denoiser", "train", str(pictures), *options]
    plain, quiet = (
        subprocess.run([*command, *more], capture_output=True, text=True, check=False).stderr.splitlines()
        for more in ((), ("-q",))
    )
    assert [line for line in plain if "is left out of training" in line] == plain[:2]
    assert len(plain) == 3
    assert quiet == plain[2:]
    before = logging.getLogger("denoiser").level
    denoise("train", pictures, *options, "-q")
    assert logging.getLogger("denoiser").level == before


@pytest.mark.parametrize("name", ["m.training", "m.png", "m"])
def test_a_model_file_has_its_ending(name: str, store: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end in \.keras"):
        denoiser.train("general", destination=tmp_path / name, data=pictures, noise="gaussian", minutes=0.05)
    assert not (tmp_path / name).exists()


def test_a_name_of_another_network_is_refused_in_python_too(
    store: Path, pictures: Path, tmp_path: Path
) -> None:
    for network, name in (("general", "digits"), ("document", "general")):
        with pytest.raises(UsageError, match=f"in place of the network {name}, and this trains {network}"):
            denoiser.train(network, name=name, data=pictures, noise="gaussian")
    with pytest.raises(UsageError, match="has no name"):
        denoiser.train("general", name="mine", data=pictures, noise="gaussian", start="")
    assert not (store / "models").exists()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_has_a_range(seed: int, pictures: Path) -> None:
    with pytest.raises(UsageError, match="seed"):
        denoiser.train("general", name="mine", data=pictures, seed=seed)


@pytest.mark.parametrize("name", ["data", "noisy", "noise_from", "only_noisy", "destination"])
def test_an_empty_name_is_not_the_current_folder(name: str, store: Path, pictures: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} is empty"):
        denoiser.train(**{"data": pictures, name: ""})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"validation": None}, "validation is None"),
        ({"seed": None}, "seed is None"),
        ({"network": ["general"]}, "no network called"),
    ],
)
def test_what_is_of_a_wrong_type_is_one_sentence(wrong: dict[str, Any], message: str, pictures: Path) -> None:
    with pytest.raises(UsageError, match=message):
        denoiser.train(data=pictures, **wrong)


@given(st.integers(2, 300), st.floats(0.01, 0.5))
def test_the_share_held_out_is_the_share_asked_for(number: int, share: float) -> None:
    held = image_folders.held_out(number, share)
    assert 1 <= len(held) < number
    assert abs(len(held) - number * share) <= 1
    assert all(0 <= index < number for index in held)


def test_one_in_ten_is_the_tenth() -> None:
    assert image_folders.held_out(30, 0.1) == [9, 19, 29]


def test_an_interruption_and_a_replacement_are_told(tmp_path: Path) -> None:
    command = import_module("denoiser.commands.train")
    figure = {"noise": "n", "input_db": 1.0, "output_db": 2.0, "input_ssim": 0.1, "output_ssim": 0.2}
    card = {
        "interrupted": True,
        "minutes": 0.4,
        "validation": figure,
        "figures": [],
        "validated_on": "1 of 9",
    }
    lines = list(command._summary(card, "general", tmp_path / "general.keras"))
    assert "Interrupted after 0.4 minutes: the best so far is kept." in lines
    assert any(line.endswith("denoise models remove general") for line in lines)
    lines = list(command._summary({**card, "interrupted": False}, "mine", tmp_path / "mine.keras"))
    assert not any("Interrupted" in line or "remove" in line for line in lines)
