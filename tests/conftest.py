"""What all tests share: a store of their own, a way to call the command, and images to call it on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from denoiser import __main__ as command
from denoiser import generator
from denoiser.generator import fonts
from tests.helpers import fakes
from tests.helpers.command import Outcome
from tests.helpers.dask import Dask, dask

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("denoiser", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("denoiser")


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, so that no test sees the models of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DENOISER_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def same_chance_in_any_order(request: pytest.FixtureRequest) -> None:
    """Have a module's random numbers, `RNG`, begin anew: the order of tests must not decide their ends."""
    rng = getattr(request.module, "RNG", None)
    if isinstance(rng, np.random.Generator):
        rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture(autouse=True)
def ctrl_c_as_before() -> Iterator[None]:
    """Fail a test that leaves Ctrl-C to do something else in the tests after it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    after = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    assert after == before


@pytest.fixture(scope="session", autouse=True)
def pillows_font_alone() -> Iterator[None]:
    """Draw pages in Pillow's own font, so that no test depends on the fonts that a machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fonts, "_folders", list)
        fonts.system_fonts.cache_clear()
        yield
    fonts.system_fonts.cache_clear()


@pytest.fixture
def denoise(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line in this process, through the function that the entry point calls."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = command.run([os.fspath(each) if isinstance(each, Path) else str(each) for each in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A model file that changes nothing."""
    return fakes.identity(tmp_path / "models" / "identity.keras")


@pytest.fixture
def flattener(tmp_path: Path) -> Path:
    """A model file that replaces each patch by its mean."""
    return fakes.flattener(tmp_path / "models" / "flattener.keras")


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Dask]:
    """A Dask scheduler without workers."""
    with dask(tmp_path / "dask") as started:
        yield started


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A small folder of images in a tree."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "scans"
    (folder / "box").mkdir(parents=True)
    for name, shape in (("a.png", (40, 60)), ("b.png", (33, 70)), ("box/c.tif", (64, 64))):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def umask() -> Iterator[None]:
    """A known umask."""
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A few clean pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        scene = generator.scene(rng, (64, 64))
        Image.fromarray(np.rint(255 * scene).astype(np.uint8)).save(folder / f"{index}.png")
    return folder
