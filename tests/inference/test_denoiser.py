"""The Python API, the choice of model, and no seams."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import denoiser
from denoiser import generator
from denoiser._types import Floats
from denoiser.errors import FileError, ModelError, UsageError
from denoiser.inference.denoiser import QUALITIES, Denoiser
from denoiser.inference.patches import grid
from denoiser.inference.reconstruction import Cleaned
from denoiser.page import Page
from denoiser.planes import planar

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_an_identity_returns_what_it_got(identity: Path, dtype: type) -> None:
    values = RNG.random((40, 50))
    image: np.ndarray = (
        (values * np.iinfo(dtype).max).astype(dtype) if np.dtype(dtype).kind == "u" else values.astype(dtype)
    )
    result = denoiser.denoise(image, model=identity)
    assert result.dtype == dtype
    assert result.shape == (40, 50)
    np.testing.assert_allclose(result, image, atol=0 if np.dtype(dtype).kind == "u" else 1e-6)


def test_stacks_lists_and_single_images(flattener: Path) -> None:
    stack = RNG.random((3, 30, 40), dtype=np.float32)
    with Denoiser(flattener) as d:
        together = d.reconstruct(stack)
        assert together.shape == stack.shape
        for image, result, alone in zip(stack, together, d.reconstruct(list(stack)), strict=True):
            np.testing.assert_array_equal(result, alone)
            np.testing.assert_array_equal(result, d.reconstruct(image))


def test_bilevel_becomes_8_bit(identity: Path) -> None:
    image = RNG.random((30, 30)) > 0.5
    result = denoiser.denoise(image, model=identity)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.where(image, 255, 0))


def test_one_denoiser_serves_many_threads(flattener: Path) -> None:
    images = [RNG.random((60, 60), dtype=np.float32) for _ in range(8)]
    with Denoiser(flattener) as d:
        expected = [d.reconstruct(image) for image in images]
        got: dict[int, np.ndarray] = {}

        def work(index: int) -> None:
            got[index] = d.reconstruct(images[index])

        threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for index, result in got.items():
        np.testing.assert_array_equal(result, expected[index])
    assert len(got) == 8


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 3, 4, 5)),
        np.zeros((40, 50, 3), np.uint8),
        np.zeros((0, 4)),
        np.full((4, 4), np.nan),
        np.full((4, 4), 255.0),
        np.zeros((4, 4), np.int32),
        np.zeros((4, 4), complex),
    ],
    ids=["4-d", "colour", "empty", "nan", "range", "int32", "complex"],
)
def test_what_is_no_image_is_refused(identity: Path, image: np.ndarray) -> None:
    with pytest.raises(UsageError):
        denoiser.denoise(image, model=identity)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "half"},
        {"size": "big"},
        {"quality": "perfect"},
        {"stride": 0},
        {"strength": 2.0},
        {"jobs": 0},
    ],
)
def test_impossible_options_are_refused(identity: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        denoiser.denoise(np.zeros((30, 30)) + RNG.random((30, 30)) / 2, model=identity, **options)


def test_unknown_models_are_refused() -> None:
    with pytest.raises(ModelError, match="nothing_like_it"):
        Denoiser("nothing_like_it")


def test_plugins_work_from_python(identity: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text(
        "from denoiser import hookimpl\n@hookimpl\ndef preprocess(image):\n    return image / 2\n"
    )
    image = RNG.random((30, 30), dtype=np.float32)
    np.testing.assert_allclose(denoiser.denoise(image, model=identity, plugins=[path]), image / 2, atol=1e-6)
    path.write_text("from denoiser import hookimpl\n@hookimpl\ndef preprocess(image):\n    return 1\n")
    with pytest.raises(FileError, match="plugin half"):
        denoiser.denoise(image, model=identity, plugins=[path])


def test_names_are_found_without_loading_anything() -> None:
    assert set(denoiser.__all__) <= set(dir(denoiser))
    assert callable(denoiser.hookimpl)
    assert denoiser.Page().count == 1
    with pytest.raises(AttributeError):
        _ = denoiser.nothing


# --- what the bundled models promise -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3, 27), (28, 28), (57, 200)])
@pytest.mark.parametrize("level", [0, 40, 128, 254, 255])
def test_blank_paper_stays_as_it_is(shape: tuple[int, int], level: int) -> None:
    result = denoiser.denoise(np.full(shape, level, np.uint8), size="input")
    assert result.shape == shape
    assert (result == level).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 2), (27, 29)])
def test_odd_shapes_work(shape: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, shape, np.uint8)
    assert denoiser.denoise(image, model="general").shape == shape
    assert denoiser.denoise(image, model="digits").shape == shape
    assert denoiser.denoise(image, model="digits", size="model").shape == (28, 28)


@pytest.mark.slow
@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_no_seams(quality: str) -> None:
    """On a gradient with noise, no line stands out that comes again with the patches, 10 % at most.

    Wherever it is: at borders of patches, or of tokens within them.
    """
    stride = QUALITIES[quality]
    rows, columns = np.mgrid[0:384, 0:384].astype(np.float32) / 384
    changes: list[list[float]] = [[] for _ in range(stride)]
    with Denoiser("general", quality=quality) as d:
        for seed in range(3):
            noise = np.random.default_rng(seed).normal(0, 25 / 255, rows.shape)
            image = np.clip(0.2 + 0.42 * columns + 0.18 * rows + noise, 0, 1).astype(np.float32)
            result = d.reconstruct(image)
            for axis in (0, 1):
                lead = grid((384, 384), stride).lead[axis]
                across = np.abs(np.diff(result, axis=axis)).mean(axis=1 - axis)
                for line, change in enumerate(across, 1):
                    changes[(line + lead) % stride].append(change)
    by_place = [np.mean(each) for each in changes]
    assert max(by_place) < 1.1 * np.median(by_place)


def test_a_clean_image_is_nearly_untouched() -> None:
    scene = generator.scene(np.random.default_rng(3), (200, 200))
    result = denoiser.denoise(np.rint(255 * scene).astype(np.uint8), model="general")
    error = np.mean(np.square(result / 255 - scene))
    assert 10 * np.log10(1 / error) > 38


def test_noise_goes() -> None:
    rng = np.random.default_rng(4)
    scene = generator.scene(rng, (200, 200))
    noisy = np.clip(scene + rng.normal(0, 25 / 255, scene.shape), 0, 1).astype(np.float32)
    result = denoiser.denoise(noisy, model="general")
    assert np.mean(np.square(result - scene)) < np.mean(np.square(noisy - scene)) / 5


@pytest.mark.slow
@pytest.mark.parametrize("model", ["general", "digits"])
def test_engines_agree_before_rounding(model: str) -> None:
    """A whole run, cut, computed and merged: at most 1e-4 apart."""
    rng = np.random.default_rng(8)
    scene = generator.scene(rng, (150, 190))
    image = np.clip(scene + rng.normal(0, 0.1, scene.shape), 0, 1).astype(np.float32)
    results = []
    for engine in ("numpy", "keras"):
        with Denoiser(model, engine=engine, device="cpu", size="input") as d:
            results += d.clean([image, 1 - image[:40, :30]])
    for first, second in zip(results[:2], results[2:], strict=True):
        assert np.abs(first.pixels - second.pixels).max() <= 1e-4


# --- auto --------------------------------------------------------------------------------------------------


def test_auto_sends_glyphs_to_digits_and_all_else_to_general() -> None:
    rng = np.random.default_rng(5)
    glyph = generator.digit(rng, 3)
    noisy = np.clip(glyph + rng.normal(0, 0.2, glyph.shape), 0, 1).astype(np.float32)
    photo = generator.scene(rng, (256, 256))[100:140, 60:110].copy()
    with Denoiser() as d:
        chosen = [each.model for each in d.clean([noisy, 1 - noisy, photo, np.tile(noisy, (3, 3))])]
    assert chosen == ["digits", "digits", "general", "general"]


def test_auto_respects_the_mode_asked_for() -> None:
    glyph = generator.digit(np.random.default_rng(6), 7)
    assert denoiser.denoise(glyph, mode="tile").shape == glyph.shape
    page = RNG.random((90, 120), dtype=np.float32)
    assert denoiser.denoise(page, mode="whole", size="model").shape == (28, 28)
    whole, small = (denoiser.denoise(page, mode="whole", size=size) for size in ("input", "model"))
    assert whole.shape == page.shape
    assert whole.std() == pytest.approx(small.std(), rel=0.3)


def test_polarity_is_restored() -> None:
    glyph = generator.digit(np.random.default_rng(7), 1)
    dark = denoiser.denoise(glyph, model="digits")
    light = denoiser.denoise(1 - glyph, model="digits")
    np.testing.assert_allclose(light, 1 - dark, atol=1e-5)
    assert light[0].mean() > 0.9


# --- pages -------------------------------------------------------------------------------------------------


def test_a_colour_page_goes_to_one_model_with_the_plugins_steps_on_each_channel(
    identity: Path, tmp_path: Path
) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "from denoiser import hookimpl\n@hookimpl\ndef preprocess(image, page):\n"
        "    if page.index == 1: raise ValueError('odd')\n    return image / 2\n"
    )
    pixels = RNG.random((30, 40, 3), dtype=np.float32)
    with Denoiser(identity, plugins=[path]) as d:
        result = d.clean_page(pixels, denoiser.Page())
        assert result.pixels.shape == pixels.shape
        np.testing.assert_allclose(result.pixels, pixels / 2, atol=1e-6)
        # A page that fails leaves the others of its batch alone.
        first, second, third = d.clean_pages([(pixels, denoiser.Page(index=index)) for index in range(3)])
        assert isinstance(second, FileError)
        for other in (first, third):
            assert not isinstance(other, Exception)
            np.testing.assert_array_equal(other.pixels, result.pixels)
    rng = np.random.default_rng(5)
    glyph = np.clip(generator.digit(rng, 3) + rng.normal(0, 0.3, (28, 28)), 0, 1).astype(np.float32)
    mixed = np.stack([glyph, glyph, generator.scene(np.random.default_rng(1), (28, 28))], axis=-1)
    with Denoiser() as d:
        assert d.clean_page(np.stack([glyph] * 3, axis=-1), denoiser.Page()).model == "digits"
        assert d.clean_page(mixed, denoiser.Page()).model == "general"


@pytest.mark.parametrize("model", ["general", "document"])
@pytest.mark.parametrize(
    "options", [{}, {"strength": 0.4}, {"strength": 0.0}, {"mode": "whole", "size": "model"}]
)
def test_a_page_in_colour_may_be_overwritten_by_its_result(model: str, options: dict[str, Any]) -> None:
    random = np.random.default_rng(4)
    given = random.uniform(0.0, 1.0, (90, 120, 3)).astype(np.float32)
    with Denoiser(model=model, stride=None if options.get("mode") else 21, **options) as denoiser:
        [wanted] = [result_of(each) for each in denoiser.clean_pages([(given.copy(), Page())])]
        for pixels in (planar_copy(given), given.copy()):
            [made] = [result_of(each) for each in denoiser.clean_pages([(pixels, Page())], overwrite=True)]
            np.testing.assert_array_equal(made, wanted)
            assert np.shares_memory(made, pixels) == (made.shape == pixels.shape)


def test_a_page_in_colour_that_plugins_see_is_not_overwritten(tmp_path: Path) -> None:
    plugin = tmp_path / "both.py"
    plugin.write_text(
        "from denoiser import hookimpl\n"
        "@hookimpl\n"
        "def postprocess(image, original):\n"
        "    assert image is not original\n"
        "    return original * 0.5\n"
    )
    given = planar_copy(np.random.default_rng(4).uniform(0.0, 1.0, (40, 50, 3)).astype(np.float32))
    before = given.copy()
    with Denoiser(model="general", plugins=[str(plugin)]) as denoiser:
        [made] = [result_of(each) for each in denoiser.clean_pages([(given, Page())], overwrite=True)]
    np.testing.assert_array_equal(made, before * np.float32(0.5))
    np.testing.assert_array_equal(given, before)


def result_of(cleaned: Cleaned | Exception) -> Floats:
    assert not isinstance(cleaned, Exception), cleaned
    return cleaned.pixels


def planar_copy(pixels: Floats) -> Floats:
    whole = planar(pixels.shape)
    whole[...] = pixels
    return whole
