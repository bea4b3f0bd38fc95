"""`register_noise`, and plugins in `denoise train`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser import noise
from denoiser.errors import PluginError, UsageError
from denoiser.plugins import manager
from denoiser.training import datasets, image_folders
from denoiser.weights import store as models
from tests.helpers.command import Denoise
from tests.helpers.plugins import plugin

DUST = """
    from denoiser.noise import Parameter

    def dust(clean, rng, *, amount=0.1):
        return np.where(rng.random(clean.shape) < amount, 0.0, clean)

    @hookimpl
    def register_noise(register):
        register("dust", dust, "dark specks", {"amount": Parameter(0.1, 0, 1, "share of pixels")})
        register("haze", lambda clean, rng, level=0.5: np.maximum(clean, level))
    """


def test_a_plugins_noises_are_listed_and_gone_afterwards(denoise: Denoise, tmp_path: Path) -> None:
    dust = plugin(tmp_path, "specks", DUST)
    before = noise.names()
    text = denoise("noises", "--plugin", dust).out
    assert "dust: dark specks" in text
    assert "amount=0.1  0 to 1, share of pixels" in text
    listed = {row["name"]: row for row in json.loads(denoise("noises", "--plugin", dust, "--json").out)}
    assert listed["haze"]["parameters"]["level"] == {"default": 0.5, "low": None, "high": None, "help": ""}
    assert noise.names() == before
    assert denoise("noises", "--no-plugins").code == 0


def test_a_plugins_noise_takes_ranges(tmp_path: Path) -> None:
    chain = manager.load([str(plugin(tmp_path, "specks", DUST))], installed=False)
    clean = np.full((40, 28, 28), 0.8, np.float32)
    with chain.noises():
        spoilt = noise.parse("dust:amount=0..0.5+haze")(clean, np.random.default_rng(1))
    assert spoilt.dtype == np.float32
    shares = (spoilt == 0.5).mean(axis=(1, 2))
    assert shares.min() < 0.1 < 0.4 < shares.max()


FAULTS = {
    "shape": ("return clean[:, :5]", "returned an array of shape"),
    "nan": ("return clean * np.nan", "NaN or infinite"),
    "raises": ("raise ValueError('no grain')", "failed in the noise dust: ValueError: no grain"),
    "integers": ("return (255 * clean).astype(int)", "an array of int64"),
    "none": ("pass", "returned a NoneType"),
    "in place": ("clean *= 2", "read-only"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_noise_at_fault_is_named_and_nothing_is_kept(
    denoise: Denoise, store: Path, pictures: Path, tmp_path: Path, fault: str
) -> None:
    body, reason = FAULTS[fault]
    hook = "@hookimpl\ndef register_noise(register):\n    register('dust', dust)\n"
    bad = plugin(tmp_path, "bad", f"def dust(clean, rng):\n    {body}\n{hook}")
    outcome = denoise("train", pictures, "--name", "mine", "--noise", "dust", "--plugin", bad)
    assert outcome.code == 3, outcome.err
    assert "bad" in outcome.err
    assert reason in outcome.err
    assert "Traceback" not in outcome.err
    assert not (store / "models").exists()


def test_a_hook_at_fault_is_named(denoise: Denoise, tmp_path: Path) -> None:
    for body, reason in (
        ("register('gaussian', None)", "there is a noise called gaussian already"),
        ("register('a b', max)", "can't be called 'a b'"),
        ("register('shift', lambda clean, rng, strength=0.1: clean)", "a parameter called strength, which"),
        ("1 / 0", "ZeroDivisionError"),
    ):
        bad = plugin(tmp_path, "bad", f"@hookimpl\ndef register_noise(register):\n    {body}\n")
        outcome = denoise("noises", "--plugin", bad)
        assert outcome.code == 3
        assert "lugin bad failed in register_noise" in outcome.err
        assert reason in outcome.err
    assert "gaussian" in noise.names()


def test_training_learns_what_preprocess_makes_of_all_pages(pictures: Path, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((40, 40), tone, np.uint8)) for tone in (10, 20)]
    pages[0].save(pictures / "z.tif", save_all=True, append_images=pages[1:], dpi=(200, 200))
    (pictures / "broken.png").write_text("no image")
    step = plugin(
        tmp_path,
        "step",
        """
        @hookimpl
        def preprocess(image, page):
            assert not image.flags.writeable
            if page.count == 2:
                assert page.dpi == (200, 200) and page.depth == 8
            return 1 - image
        """,
    )
    chain = manager.load([str(step)], installed=False)
    reader = datasets.reader_for(chain)
    plain, changed = image_folders.images(pictures), image_folders.images(pictures, reader)
    assert len(plain) == len(changed) == 6
    for before, after in zip(plain, changed, strict=True):
        np.testing.assert_allclose(after, 1 - before, atol=1e-6)


def test_a_step_that_fails_stops_the_training(
    denoise: Denoise, store: Path, pictures: Path, tmp_path: Path
) -> None:
    bad = plugin(tmp_path, "bad", "@hookimpl\ndef preprocess(image):\n    return image[0]\n")
    outcome = denoise("train", pictures, "--name", "mine", "--plugin", bad)
    assert outcome.code == 3
    assert "0.png: plugin bad returned an array of shape" in outcome.err
    assert not (store / "models").exists()


def test_training_for_a_job_and_from_python_goes_through_plugins_too(
    denoise: Denoise, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "BUNDLED", tmp_path / "nothing")
    bad = plugin(tmp_path, "bad", "@hookimpl\ndef preprocess(image):\n    return image[0]\n")
    job = (pictures, "--out", tmp_path / "o", "--model", "document", "--data", pictures, "--plugin", bad)
    outcome = denoise(*job)
    assert outcome.code == 3
    assert "0.png: plugin bad returned an array of shape" in outcome.err
    assert not (tmp_path / "o").exists()
    with pytest.raises(PluginError, match="plugin bad returned"):
        denoiser.train("general", data=pictures, plugins=[bad])
    with pytest.raises(UsageError, match="no option x"):
        denoiser.train("general", data=pictures, plugins=[bad], plugin_options={"bad.x": 1})


@pytest.mark.slow
def test_a_network_learns_a_plugins_noise(
    denoise: Denoise, store: Path, pictures: Path, tmp_path: Path
) -> None:
    dust = plugin(
        tmp_path, "specks", DUST + "\n    @hookimpl\n    def preprocess(image):\n        return image / 2\n"
    )
    options = ("--noise", "dust:amount=0..0.2", "--plugin", dust, "--no-plugins")
    outcome = denoise("train", pictures, "--name", "mine", *options, "--minutes", 0.03, "--keep-anyway")
    assert outcome.code == 0, outcome.err
    assert "dust:amount=0..0.2" in outcome.err
    assert (store / "models/mine.keras").exists()
