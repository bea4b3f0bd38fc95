"""`denoiser.denoise` as a newcomer calls it."""

from __future__ import annotations

import inspect
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser.errors import DenoiserError, UsageError


def test_help_shows_the_parameters() -> None:
    own = inspect.signature(denoiser.denoise).parameters
    assert list(own) == ["image", *inspect.signature(denoiser.Denoiser).parameters]
    assert own["quality"].default == "balanced"
    assert all(each.kind is each.KEYWORD_ONLY for name, each in own.items() if name != "image")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"must be an array, not NoneType"),
        ("scan.png", r"must be an array, not str"),
        (Image.new("L", (30, 30)), r"must be an array, not Image. Use numpy.asarray"),
        ([Image.new("L", (30, 30))], r"shape \(H, W\), not \(?\w+\)?. Use numpy.asarray"),
        ([np.zeros((30, 30), np.uint8), None], r"not NoneType. Use numpy.asarray"),
    ],
)
def test_what_is_no_array_is_one_clear_error(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        denoiser.denoise(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": "a"}, r"strength is 'a'; it must be a number\."),
        ({"strength": None}, r"strength is None; it must be a number\."),
        ({"strength": float("nan")}, r"strength is nan; it must be 0 to 1\."),
        ({"stride": "7"}, r"stride is '7'; it must be a whole number\."),
        ({"stride": 7.5}, r"stride is 7.5; it must be a whole number\."),
        ({"stride": 29}, r"stride is 29; it must be 1 to 28\."),
        ({"stride": 7, "quality": "best"}, r"stride is 7 and quality is 'best': .* Give one\."),
        ({"batch_size": "x"}, r"batch size is 'x'; it must be a whole number\."),
        ({"jobs": True}, r"jobs is True; it must be a whole number\."),
    ],
)
def test_a_wrong_value_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        denoiser.denoise(np.zeros((30, 30), np.uint8), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, r"model called ''"),
        ({"model": None}, r"model is None; it must be a name, a \.keras file, or a model that was read\."),
        ({"plugins": 5}, r"plugins is 5; it must be Python files or names of modules\."),
        ({"plugins": [None]}, r"plugins is \[None\]; it must be"),
        ({"plugin_options": ["a.b=1"]}, r"plugin options are \['a.b=1'\]\. Use a dict"),
        ({"plugin_options": {1: 1}}, r"'?1'? is not of the form NAME\.KEY"),
        ({"work": "a"}, r"work is 'a'; it must be a number\."),
    ],
)
def test_what_names_nothing_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DenoiserError, match=message):
        denoiser.denoise(np.zeros((30, 30), np.uint8), **options)


def test_one_plugin_needs_no_list(identity: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text(
        "from denoiser import hookimpl\n@hookimpl\ndef preprocess(image):\n    return image / 2\n"
    )
    for given in (path, str(path), iter([path])):
        result = denoiser.denoise(np.full((30, 30), 200, np.uint8), model=identity, plugins=given)
        assert (result == 100).all()


MASKED = np.ma.masked_array(np.zeros((30, 30), np.uint8), mask=np.eye(30, dtype=bool))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MASKED, r"The image is a masked array\. Fill it first"),
        (MASKED[None], r"The stack is a masked array"),
        ([np.zeros((30, 30), np.uint8), MASKED], r"Image 1 is a masked array"),
        (np.zeros((30, 30, 1), np.uint8), r"\(30, 30, 1\) looks like .* Use image\[\.\.\., 0\]"),
        (np.zeros((30, 30, 2), np.uint8), r"looks like an image with channels"),
        (np.zeros((0, 5), np.uint8), r"The image, an array of shape \(0, 5\), is empty"),
        ([np.zeros((5, 5), np.int32)], r"Image 0 is of int32, which has no known range"),
    ],
)
def test_an_array_that_is_no_image_is_named(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        denoiser.denoise(given)


def test_what_yields_images_is_taken_as_a_list(identity: Path) -> None:
    image = np.full((30, 30), 200, np.uint8)
    ways: tuple[Any, ...] = ((each for each in [image, image]), map(np.array, [image, image]))
    for given in ways:
        results = denoiser.denoise(given, model=identity)
        assert [result.tolist() for result in results] == [image.tolist()] * 2


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4", ">f8"])
def test_the_byte_order_stays(identity: Path, dtype: str) -> None:
    image = np.full((30, 30), 0.5 if "f" in dtype else 300).astype(dtype)
    for given in (image, np.stack([image, image]).astype(dtype)):
        result = denoiser.denoise(given, model=identity)
        assert result.dtype == np.dtype(dtype)
        np.testing.assert_allclose(result, given, rtol=1e-6)


@pytest.mark.slow
def test_a_stack_takes_no_memory_of_floats(identity: Path) -> None:
    """Its numbers became floats all at once, and so did the results."""
    stack = np.full((20_000, 28, 28), 200, np.uint8)
    with denoiser.Denoiser(identity) as opened:
        opened.reconstruct(stack[:10])
        tracemalloc.start()
        result = opened.reconstruct(stack)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert np.array_equal(result, stack)
    assert peak < 4 * stack.nbytes


def test_numbers_of_numpy_are_numbers() -> None:
    image = np.full((30, 30), 200, np.uint8)
    result = denoiser.denoise(image, strength=np.float32(0), stride=np.int64(7))
    assert np.array_equal(result, image)
