"""What the guide says about training is so: its options are the command's, and its code runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser import generator
from denoiser.commands.train import train as command
from denoiser.training import api, datasets, run
from denoiser.training.plan import Plan
from denoiser.weights import modelfile
from denoiser.weights.architectures import DenseConfig
from tests.helpers import fakes

GUIDE = (Path(__file__).parents[2] / "docs/guide/training.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_every_option_is_explained() -> None:
    for parameter in command.params:
        for name in parameter.opts:
            if name.startswith("--") and name != "--help":
                assert f"`{name}" in GUIDE, name


@pytest.mark.slow
def test_training_from_python(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("good_scans").mkdir()
    for index in range(4):
        pixels = np.rint(255 * generator.scene(rng, (140, 140))).astype(np.uint8)
        Image.fromarray(pixels).save(f"good_scans/{index}.png")
    fakes.identity(store / "models" / "general.keras")  # a small network, as it is to be fast
    monkeypatch.setattr(datasets, "_CROPS_HELD_OUT", 64)
    monkeypatch.setattr(datasets, "_TILES_HELD_OUT", 8)
    whole = run.train_network

    def short(plan: Plan, **settings: Any) -> dict[str, Any]:
        assert plan.minutes == 5
        return whole(replace(plan, minutes=None, epochs=1), **{**settings, "keep_anyway": True})

    monkeypatch.setattr(api, "train_network", short)
    monkeypatch.setattr(datasets, "EPOCH", 1280)
    names: dict[str, Any] = {"list_of_images": [rng.random((50, 60), np.float32)]}
    exec(BLOCKS[0], names)
    card = modelfile.read(names["path"]).card
    assert "speckle:sigma=0.2" in card["noise"]
    assert card["patches"] == 1280
    assert names["results"][0].shape == (50, 60)


@pytest.mark.slow
def test_training_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = generator.glyphs
    monkeypatch.setattr(generator, "glyphs", lambda number, rng: draw(min(number, 600), rng))
    names: dict[str, Any] = {}
    exec(BLOCKS[1], names)
    assert names["codes"].shape == (600, 64)
    assert modelfile.read("mine.keras").config == DenseConfig(64)
