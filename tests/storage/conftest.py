"""What tests of buckets share: a real server, images, and what a run between folders makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import fakes, seaweed
from tests.helpers.buckets import FILES, contents
from tests.helpers.command import Denoise


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with seaweed.seaweed(tmp_path_factory.mktemp("seaweed")) as environment:
        yield environment


@pytest.fixture
def place(server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder of its own for each test, which the environment leads to."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return f"s3://{seaweed.BUCKET}/{tmp_path.name}"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    rng = np.random.default_rng(11)
    for index in range(FILES):
        side = 200 if index == 7 else 28
        path = folder / ("a b" if index % 3 else "ü#%") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(path)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    config = {"channels": 12, "blocks": 1, "groups": 3, "channel_hidden": 16}
    return fakes.write_model(
        tmp_path / "random.keras", "PatchAutoencoder", config, lambda name, shape: rng.normal(0, 0.2, shape)
    )


@pytest.fixture
def cleaned(denoise: Denoise, digits: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a run from folder to folder makes of the digits."""
    assert denoise(digits, "--out", tmp_path / "one", "--model", model).code == 0
    return contents(tmp_path / "one")
