"""What a training is asked to do: the three ways to learn, for the three networks, and what can't be."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser import generator
from denoiser.errors import DenoiserError, DeviceError, ImagesError, ModelError, UsageError
from denoiser.inference import patches
from denoiser.noise import NoCorruption
from denoiser.plugins.manager import Plugins
from denoiser.training import datasets, recipes
from denoiser.training.task import Task
from tests.helpers import fakes

NETWORKS = tuple(recipes.RECIPES)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Clean and noisy images of equal names, and blank scans."""
    rng = np.random.default_rng(0)
    for index in range(10):
        clean = 0.2 + 0.6 * generator.scene(rng, (160, 170))
        # An image of validation is darker than all others.
        clean = clean * (0.3 if index == 9 else 1.0)
        save(tmp_path / "clean" / f"{index}.png", clean)
        save(tmp_path / "noisy" / f"{index}.png", clean + 0.1)
    for index in range(3):
        save(tmp_path / "blanks" / f"{index}.png", 0.5 + rng.normal(0, 0.05, (140, 140)))
    return tmp_path


def dataset(task: Task) -> datasets.Dataset:
    task.check()
    return datasets.dataset_for(replace(task.plan(Path("x.keras"), Plugins()), minutes=0.01))


@pytest.mark.parametrize("network", NETWORKS)
def test_pairs_are_learnt_from_as_they_are(folders: Path, network: str) -> None:
    found = dataset(Task(network, data=folders / "clean", noisy=folders / "noisy"))
    given, clean = found.feed(320, np.random.default_rng(0))
    added = np.abs(np.round(np.mean(patches.own(given) - clean, axis=(1, 2)), 2))
    assert 0.03 < np.mean(added < 0.02) < 0.3  # some stay clean
    assert np.mean(np.abs(added - 0.1) < 0.03) > 0.6
    given, clean = found.validation
    np.testing.assert_allclose(np.abs(patches.own(given) - clean), 0.1, atol=0.03)
    assert "pairs" in found.data
    levels = {name: (noisy, clean) for name, noisy, clean in found.levels()}
    assert list(levels) == ["clean"]
    np.testing.assert_array_equal(patches.own(levels["clean"][0]), levels["clean"][1])


@pytest.mark.parametrize("network", NETWORKS)
def test_noise_of_blank_scans_is_added_to_clean_images(folders: Path, network: str) -> None:
    task = Task(network, data=folders / "clean", noise_from=folders / "blanks", noises=("quantize:levels=2",))
    found = dataset(task)
    given, clean = found.feed(640, np.random.default_rng(0))
    added = np.std(patches.own(given) - clean, axis=(1, 2))
    assert 0.03 < np.mean(added == 0) < 0.25
    assert 0.2 < np.mean(np.abs(added - 0.05) < 0.012) < 0.7
    assert "blank scans" in task.recipe(datasets.reader_for(Plugins())).noise.name
    assert [name for name, *_ in found.levels()] == ["quantize:levels=2", "clean"]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("noisy", [False, True])
def test_copies_that_are_held_out_are_told(folders: Path, network: str, noisy: bool) -> None:
    task = Task(network, data=folders / "clean", noisy=folders / "noisy" if noisy else None)
    assert not any("are the same as images" in text for text in dataset(task).warnings)
    for name in ("clean", "noisy"):
        content = (folders / name / "4.png").read_bytes()
        for path in (folders / name).iterdir():
            path.write_bytes(content)
    told = "1 of 1 images that are held out are the same as images it learns from: the figures flatter."
    assert told in dataset(task).warnings


@pytest.mark.parametrize("network", ["general", "document"])
def test_images_for_judging_are_not_learnt_from(folders: Path, network: str) -> None:
    found = dataset(Task(network, data=folders / "clean", noises=("gaussian:sigma=0.01",)))
    taught = found.feed(640, np.random.default_rng(0))[1]
    held = found.validation[1]
    assert float(held.max()) < 0.3
    assert np.mean(taught.max(axis=(1, 2)) < 0.25) < 0.2
    half = dataset(Task(network, data=folders / "clean", noises=("gaussian:sigma=0.01",), validation=0.5))
    assert float(half.validation[1].max()) > 0.4


def test_recipe_and_wishes(folders: Path) -> None:
    recipe = Task("digits", latent_dim=32, batch_size=7).recipe()
    assert recipe.arguments["latent_dim"] == 32
    assert recipe.optimization.batch_size == 7
    assert recipe.noise is recipes.RECIPES["digits"].noise
    assert Task("general", as_released=True).recipe() == recipes.RECIPES["general"]
    assert Task("general", as_released=True).start_model() is None
    assert Task("digits", start="scratch").start_model() is None


@pytest.mark.parametrize("network", NETWORKS)
def test_the_recipe_of_the_bundled_weights_stays_as_it_is_with_pairs(folders: Path, network: str) -> None:
    task = Task(network, data=folders / "clean", noisy=folders / "noisy", as_released=True)
    released = recipes.RECIPES[network]
    assert task.recipe() == released
    found = dataset(task)
    assert "pairs of noisy and clean images of the user's own" in found.data
    assert ("drawn by the built-in generator" in found.data) == (released.generated_share > 0)
    levels = [name for name, *_ in found.levels()]
    assert levels == list(released.levels)


def test_drawn_pages_are_learnt_from_beside_pairs(folders: Path) -> None:
    """The clean images are gray all over: what is brighter or darker by far was drawn."""
    for half, tone in (("clean", 0.5), ("noisy", 0.45)):
        for index in range(10):
            image = np.full((160, 170), tone)
            image[::8] += 0.02
            save(folders / half / f"{index}.png", image)
    task = Task("document", data=folders / "clean", noisy=folders / "noisy", as_released=True)
    plan = task.plan(Path("x.keras"), Plugins())
    recipe = replace(plan.recipe, noise=NoCorruption())
    found = datasets.dataset_for(replace(plan, recipe=recipe, minutes=0.01))
    given, clean = found.feed(2200, np.random.default_rng(0))
    paired = np.abs(clean - 0.51).max(axis=(1, 2)) < 0.03
    assert 0.3 < np.mean(paired) < 0.6  # 0.4 and the tenth that stays clean, of 1.1
    darker = np.abs(np.mean((clean - patches.own(given))[paired], axis=(1, 2)) - 0.05) < 0.01
    assert 0.5 < np.mean(darker) < 1.0


def test_weights_to_go_on_from(store: Path, tmp_path: Path) -> None:
    begun = Task("digits").start_model()
    assert begun is not None
    assert begun.name == "digits"
    assert Task("digits", latent_dim=asdict(begun.config)["latent_dim"]).start_model() is not None
    assert Task("digits", latent_dim=8).start_model() is None  # no bundled weights have that width
    with pytest.raises(ModelError, match="latent dimension"):
        Task("digits", latent_dim=8, start="digits").start_model()
    with pytest.raises(ModelError, match="PatchAutoencoder"):
        Task("digits", start="general").start_model()
    fakes.identity(store / "models" / "digits.keras")  # somebody's own model of that name, of another kind
    assert Task("digits").start_model() is None


BAD: dict[str, tuple[dict[str, Any], type[DenoiserError], str]] = {
    "network": ({"network": "digitz"}, UsageError, "digitz"),
    "budgets": ({"minutes": 1, "epochs": 1}, UsageError, "two budgets"),
    "minutes": ({"minutes": float("nan")}, UsageError, "minutes is nan"),
    "epochs": ({"epochs": 0}, UsageError, "epochs must be at least 1"),
    "batch": ({"batch_size": 0}, UsageError, "batch size"),
    "validation": ({"validation": 0.6}, UsageError, "up to 0.5"),
    "none": ({"validation": 0.0}, UsageError, "above 0"),
    "nan": ({"validation": float("nan")}, UsageError, "above 0"),
    "latent": ({"latent_dim": 8}, UsageError, "general has no latent dimension"),
    "wide": ({"network": "digits", "latent_dim": 10**6}, UsageError, "latent_dim"),
    "noisy": ({"noisy": Path("x")}, UsageError, "go with clean ones"),
    "device": ({"device": "gpu"}, DeviceError, "no GPU"),
    "released": ({"as_released": True, "noises": ("gaussian",)}, UsageError, "--noise"),
    "from": ({"as_released": True, "start": "general"}, UsageError, "--from"),
    "long": ({"minutes": "a"}, UsageError, "minutes is 'a'; it must be a number"),
    "part of an epoch": ({"epochs": 1.5}, UsageError, "epochs is 1.5; it must be a whole number"),
    "part of a batch": ({"batch_size": 2.5}, UsageError, "batch_size is 2.5"),
    "seed": ({"seed": "x"}, UsageError, "seed is 'x'"),
    "share": ({"validation": "a"}, UsageError, "validation is 'a'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    wishes, kind, reason = BAD[case]
    with pytest.raises(kind, match=reason):
        Task(**wishes).check()


def test_images_that_teach_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wish = Task("general", data=tmp_path, noises=("gaussian:sigma=0.1",))
    save(tmp_path / "a.png", np.full((60, 60), 0.5))
    with pytest.raises(ImagesError, match="each of one tone"):
        dataset(wish)
    save(tmp_path / "a.png", generator.scene(np.random.default_rng(1), (60, 60)))
    with pytest.raises(ImagesError, match="One image in"):
        dataset(wish)
    save(tmp_path / "b.png", generator.scene(np.random.default_rng(1), (27, 60)))
    (tmp_path / "c.png").write_text("no image")
    with pytest.raises(ImagesError, match="One image in"):
        dataset(wish)
    assert "b.png is left out of training: it is 60x27, smaller than 28 pixels" in caplog.text
    assert "c.png is left out of training" in caplog.text
    (tmp_path / "a.png").unlink()
    with pytest.raises(
        ImagesError, match=r"no images to learn from in .*; 2 had to be left out. A patch has 28x28"
    ):
        dataset(wish)


def test_glyphs_that_teach_nothing(tmp_path: Path) -> None:
    for index, tone in enumerate((0.2, 0.5, 0.8)):
        save(tmp_path / "flat" / f"{index}.png", np.full((28, 28), tone))
    for index, glyph in enumerate(generator.glyphs(3, np.random.default_rng(0))):
        save(tmp_path / "glyphs" / f"{index}.png", glyph)
    flat, glyphs = tmp_path / "flat", tmp_path / "glyphs"
    with pytest.raises(ImagesError, match="each of one tone"):
        dataset(Task("digits", data=flat, noises=("gaussian",)))
    with pytest.raises(ImagesError, match="there is no noise to learn"):
        dataset(Task("digits", data=glyphs, noisy=glyphs))
    for network in NETWORKS:
        with pytest.raises(ImagesError, match="each of one tone"):
            dataset(Task(network, data=flat, noisy=glyphs))


def test_python_has_the_same_checks(store: Path, folders: Path) -> None:
    values: dict[str, Any] = {
        **dict.fromkeys(("name", "data", "noisy", "noise", "start", "destination"), 5),
        **{"plugins": 5, "plugin_options": [5], "progress": 5, "noise_from": [5]},
    }
    for argument, value in values.items():
        with pytest.raises(UsageError, match=argument.replace("_options", ".options")):
            denoiser.train("general", **{argument: value})
    file = folders / "clean" / "0.png"
    with pytest.raises(ImagesError, match=r"0\.png is a file\."):
        denoiser.train("general", name="x", data=file, noise="gaussian")
    with pytest.raises(UsageError, match="two places"):
        denoiser.train("digits", name="x", destination="y.keras")
    with pytest.raises(UsageError, match="gaussian"):
        denoiser.train("general", name="x", data=folders / "clean", noise="gausian")
    with pytest.raises(ModelError, match="nothing_like_it"):
        denoiser.train("general", name="x", start="nothing_like_it")
    kept = fakes.identity(store / "models" / "mine.keras").read_bytes()
    with pytest.raises(ModelError, match="already"):
        denoiser.train("general", name="mine")
    assert (store / "models" / "mine.keras").read_bytes() == kept
    (store / "models" / "dir.keras").mkdir()
    with pytest.raises(ModelError, match="is a folder"):
        denoiser.train("digits", name="dir", force=True)
