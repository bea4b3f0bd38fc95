"""What tests of buckets share: a real server, images, and what a run between folders makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import fakes, seaweed
from tests.helpers.buckets import AS_SLOW_AS_TOLD, FILES, Seen, contents, plugin
from tests.helpers.command import Denoise
from tests.helpers.files import noise_images


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
    def name(index: int) -> str:
        return f"{'a b' if index % 3 else 'ü#%'}/{index}.png"

    return noise_images(tmp_path / "in", FILES, name, larger={7: 200})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fakes.sensitive(tmp_path / "random.keras")


@pytest.fixture
def cleaned(denoise: Denoise, digits: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a run from folder to folder makes of the digits."""
    assert denoise(digits, "--out", tmp_path / "one", "--model", model).code == 0
    return contents(tmp_path / "one")


@pytest.fixture
def scans(digits: Path, place: str) -> str:
    """The URL of the digits."""
    Seen(f"{place}/scans").put_all(digits)
    return f"{place}/scans"


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A plugin that takes its time where the environment says so."""
    return plugin(tmp_path, AS_SLOW_AS_TOLD)
