"""Methods that learn from noisy images alone: what they choose, and the pairs that they make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import generator, noise
from denoiser._types import Floats
from denoiser.errors import ImagesError
from denoiser.plugins.manager import load
from denoiser.training import feed, noisy_pairs
from denoiser.training.datasets import Dataset, dataset_for
from denoiser.training.noise_measures import Measured, measure
from denoiser.training.plan import DataRequest, Plan
from denoiser.training.task import Task


def scenes(number: int = 4, side: int = 160) -> list[Floats]:
    rng = np.random.default_rng(4)
    return [0.2 + 0.5 * generator.scene(rng, (side, side)) for _ in range(number)]


def write(folder: Path, images: list[Floats], *, bits: int = 8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if bits == 8 else np.uint16
    for index, image in enumerate(images):
        pixels = np.rint(np.clip(image, 0, 1) * (2**bits - 1)).astype(kind)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def spoiled(text: str, seed: int = 5, number: int = 4) -> list[Floats]:
    rng = np.random.default_rng(seed)
    return [noise.parse(text)(image[None], rng)[0] for image in scenes(number)]


def dataset(folder: Path, **request: object) -> Dataset:
    task = Task(only_noisy=folder, start="scratch", **request)  # type: ignore[arg-type]
    task.check()
    return dataset_for(task.plan(Path("x.keras"), load([], installed=False)))


def test_independent_noise_of_normal_distribution_is_taken_from_flat_areas(tmp_path: Path) -> None:
    found = dataset(write(tmp_path / "n", spoiled("gaussian:sigma=0.06")))
    assert found.method == "flat"
    assert found.why.startswith("the noise is independent between pixels (0.0")
    assert found.data == "4 noisy images of the user's own"
    assert (found.held, found.held_images) == ("1 of 4 noisy images", 1)


def test_correlated_noise_is_never_fed_to_a_method_that_assumes_independence(tmp_path: Path) -> None:
    folder = write(tmp_path / "n", spoiled("correlated:sigma=0.08,blur=1"))
    found = dataset(folder)
    assert found.method == "flat"
    assert "the noise is correlated (0." in found.why
    for method in ("neighbours", "masked"):
        with pytest.raises(ImagesError, match=f"correlated .* method {method} would learn to keep it"):
            dataset(folder, method=method)


def test_impulses_go_to_neighbours_and_small_images_to_masked(tmp_path: Path) -> None:
    text = "gaussian:sigma=0.02+salt_pepper:amount=0.05"
    assert dataset(write(tmp_path / "n", spoiled(text, number=6))).method == "neighbours"
    alone = dataset(write(tmp_path / "a", spoiled("salt_pepper:amount=0.05", number=6)))
    assert alone.method == "neighbours"
    assert "the noise is single black or white pixels" in alone.why
    small = [image[:50, :50] for image in spoiled(text, number=40)]
    found = dataset(write(tmp_path / "s", small))
    assert found.method == "masked"


def test_skewed_noise_of_few_photons_is_added_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    counts = [rng.poisson(image * 4) * 30 + rng.normal(300, 15, image.shape) for image in scenes(8)]
    found = dataset(write(tmp_path / "n", [(each / 65535).astype(np.float32) for each in counts], bits=16))
    assert found.method == "flat"
    assert "skewed by 0." in found.why
    assert found.held_out is not None
    assert found.held_out.basis == "noise added once more"
    assert found.held_out.alpha == 1.0


def measured(text: str = "gaussian:sigma=0.06") -> Measured:
    return measure(spoiled(text))


@pytest.mark.parametrize("method", ["flat", "neighbours", "masked"])
def test_the_noise_of_input_and_target_is_independent(method: str) -> None:
    """Over many draws, what the target adds to the clean image is not like what the input adds."""
    rng = np.random.default_rng(3)
    clean = np.tile(np.linspace(0.3, 0.6, 128, dtype=np.float32), (128, 1))
    again = noisy_pairs.NoiseAgain(measured(), 128)
    makes: dict[str, noisy_pairs.Make] = {
        "flat": again,
        "neighbours": noisy_pairs.neighbours,
        "masked": noisy_pairs.masked,
    }
    make = makes[method]
    products, sizes, means = [], [], []
    for _ in range(40):
        noisy = np.asarray(clean + rng.normal(0, 0.06, clean.shape), np.float32)
        given, target = make(noisy, noisy, 0, rng)
        true = clean if given.shape == clean.shape else clean[::2, :64] * 0 + clean[::2, ::2]
        products.append(np.nanmean((given - true) * (target - true)))
        sizes.append(np.nanmean(np.square(target - true)))
        means.append(np.nanmean(target - true))
    assert abs(np.mean(products)) < 0.08 * 0.06**2
    assert abs(np.mean(means)) < 0.002
    assert np.mean(sizes) == pytest.approx(
        {"flat": 5, "neighbours": 1, "masked": 1}[method] * 0.06**2, rel=0.1
    )


def test_where_no_noise_shows_the_image_itself_is_the_target() -> None:
    again = noisy_pairs.NoiseAgain(measured(), 64)
    clean = np.full((64, 64), 0.4, np.float32)
    given, target = again(clean, clean, 0, np.random.default_rng(0))
    assert target is clean
    assert np.std(given - clean) == pytest.approx(0.06, rel=0.15)


def test_masked_pixels_alone_are_targets_and_come_from_near_by() -> None:
    image = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    given, target = noisy_pairs.masked(image, image, 0, np.random.default_rng(0))
    changed = given != image
    assert np.array_equal(np.isfinite(target), changed)
    rows, columns = np.divmod(given[changed], 64)
    true_rows, true_columns = np.nonzero(changed)
    assert np.abs(rows - true_rows).max() <= 2
    assert np.abs(columns - true_columns).max() <= 2
    assert changed.mean() == pytest.approx(1 / 16, rel=0.2)


def test_saturated_pixels_are_no_targets(tmp_path: Path) -> None:
    images = spoiled("gaussian:sigma=0.06")
    for image in images:
        image[:60] = 1.0
    for method in noisy_images_methods():
        found = dataset(write(tmp_path / method, images), method=method)
        given, target = found.feed(64, np.random.default_rng(0))
        assert np.isnan(target).any()
        held = found.held_out
        assert held is not None
        assert not (held.targets == 1.0).any()
        assert not (held.hidden_targets == 1.0).any()
        assert np.isfinite(given).all()


def noisy_images_methods() -> tuple[str, ...]:
    return ("flat", "neighbours", "masked")


def test_counts_of_16_bits_are_learnt_from_at_a_usual_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    counts = [(rng.poisson(image * 90) * 20 + rng.normal(300, 10, image.shape)) / 65535 for image in scenes()]
    found = dataset(write(tmp_path / "n", [np.asarray(each, np.float32) for each in counts], bits=16))
    given, _ = found.feed(256, np.random.default_rng(0))
    assert " count as 0.1 to 0.9" in found.data
    assert 0.3 < np.percentile(given, 99) - np.percentile(given, 1) < 1.2
    assert found.held_out is not None
    assert found.held_out.variance > 0.02**2


def test_one_image_works_and_is_said(tmp_path: Path) -> None:
    found = dataset(write(tmp_path / "n", spoiled("gaussian:sigma=0.06", number=1)))
    assert found.held == "a quarter of the one image"
    assert "There is one image only: a quarter of it is held out for the figures." in found.warnings


def test_copies_of_noisy_images_are_said(tmp_path: Path) -> None:
    images = spoiled("gaussian:sigma=0.06", number=4)
    told = "1 of 1 images that are held out are the same as images it learns from: the figures flatter."
    assert told not in dataset(write(tmp_path / "n", images)).warnings
    assert told in dataset(write(tmp_path / "m", [images[0]] * 4)).warnings


def test_images_of_different_noise_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sigmas = (0.03, 0.03, 0.03, 0.1)
    images = [
        np.asarray(i + rng.normal(0, s, i.shape), np.float32) for i, s in zip(scenes(), sigmas, strict=True)
    ]
    folder = write(tmp_path / "n", images)
    (warning,) = [text for text in dataset(folder).warnings if "differs" in text]
    assert str(folder / "3.png") in warning


@pytest.mark.parametrize("what", ["clean", "constant", "nothing"])
def test_images_that_teach_nothing_are_refused(what: str, tmp_path: Path) -> None:
    images = {
        "clean": [np.asarray(np.full((96, 96), 0.5) + np.linspace(0, 0.2, 96), np.float32)] * 3,
        "constant": [np.full((64, 64), 0.5, np.float32)] * 2,
        "nothing": [],
    }[what]
    message = {"clean": "too weak to learn from", "constant": "of one tone", "nothing": "no images"}[what]
    with pytest.raises(ImagesError, match=message):
        dataset(write(tmp_path / "n", images))


def test_frames_are_each_others_targets(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for number, image in enumerate(scenes(3)):
        shots = [np.asarray(image + rng.normal(0, 0.08, image.shape), np.float32) for _ in range(3)]
        write(tmp_path / "n" / str(number), shots)
    found = dataset(tmp_path / "n", frames=True)
    assert found.method == "frames"
    assert found.data == "3 noisy scenes of the user's own, 9 frames"
    given, target = found.feed(2000, np.random.default_rng(0))
    # Noise of one frame, and of the mean of two.
    assert np.nanvar(given - target) == pytest.approx(1.5 * 0.08**2, rel=0.05)
    assert found.held_out is not None
    assert found.held_out.variance == pytest.approx(0.08**2, rel=0.05)
    assert found.held_out.basis == "another frame"


def test_another_method_takes_each_frame_for_itself_and_holds_out_whole_scenes(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for number, image in enumerate(scenes(3)):
        shots = [np.asarray(image + rng.normal(0, 0.08, image.shape), np.float32) for _ in range(2)]
        write(tmp_path / "n" / str(number), shots)
    found = dataset(tmp_path / "n", frames=True, method="masked")
    assert (found.method, found.held) == ("masked", "1 of 3 noisy scenes")
    _, target = found.feed(500, np.random.default_rng(0))
    known = np.isfinite(target)
    assert known.mean() == pytest.approx(1 / 16, rel=0.2)
    assert found.held_out is not None
    assert np.array_equal(found.held_out.inputs, found.held_out.targets)


def test_a_stack_in_one_file_is_frames_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pages = [
        Image.fromarray(
            np.rint(255 * np.clip(scenes(1)[0] + rng.normal(0, 0.08, (160, 160)), 0, 1)).astype(np.uint8)
        )
        for _ in range(4)
    ]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    found = dataset(tmp_path / "stack.tif", frames=True)
    assert found.held == "a quarter of the one scene"
    assert found.data == "1 noisy scene of the user's own, 4 frames"


class Restorer:
    """Stands for a Keras model: it subtracts what `weights` says, and counts the patches that it saw."""

    def __init__(self, amount: float) -> None:
        self.weights = [np.array([amount], np.float32)]

    def get_weights(self) -> list[Floats]:
        return self.weights

    def set_weights(self, weights: list[Floats]) -> None:
        self.weights = weights

    def predict_on_batch(self, patches: Floats) -> Floats:
        return np.asarray(np.clip(patches - self.weights[0], 0, 1), np.float32)


def test_the_regulariser_keeps_the_difference_of_neighbours_and_is_resumed(tmp_path: Path) -> None:
    """With the clean image for what the network makes, all of the difference is restored by and by."""
    image = np.tile(np.linspace(0.2, 0.6, 200, dtype=np.float32), (200, 1))
    noisy = np.asarray(image + np.random.default_rng(0).normal(0, 0.05, image.shape), np.float32)
    found = dataset(write(tmp_path / "n", [noisy] * 3), method="neighbours")
    assert found.refine is not None
    begun = np.random.default_rng(5)
    before = feed.Source(dict(begun.bit_generator.state), {})
    given, target = found.feed(64, begun)
    block = feed.Block(given, target, before, before)
    model = Restorer(0.0)
    found.refine.refresh(model)
    assert np.array_equal(found.refine.targets(block, 0.0), target)
    # What the network makes is the noisy image itself: two thirds of the way from the target to the input.
    changed = found.refine.targets(block, 1.0)
    assert np.abs(changed - (target + (given - target) * 2 / 3)).max() < 0.003
    memory = dict(found.refine.memory)
    found.refine.refresh(Restorer(1.0))
    assert np.abs(found.refine.targets(block, 1.0) - target).max() < 1e-6  # black has no differences
    found.refine.memory.update(memory)
    other = Restorer(0.3)
    found.refine.resume(other)
    assert np.array_equal(found.refine.targets(block, 1.0), changed)
    assert other.weights[0] == np.float32(0.3)


def test_the_context_of_a_start_is_fed_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "n", spoiled("gaussian:sigma=0.06"))
    for method in noisy_images_methods():
        task = Task(only_noisy=folder, start="scratch", method=method)
        recipe = task.recipe()
        from dataclasses import replace

        recipe = replace(recipe, config={**recipe.config, "context": 2})
        found = dataset_for(Plan(recipe, Path("x.keras"), DataRequest(only_noisy=folder, method=method)))
        given, target = found.feed(8, np.random.default_rng(0))
        assert (given.shape, target.shape) == ((8, 28, 28, 2), (8, 28, 28))
