"""`denoiser.denoise` as a newcomer calls it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser.errors import UsageError


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


def test_numbers_of_numpy_are_numbers() -> None:
    image = np.full((30, 30), 200, np.uint8)
    result = denoiser.denoise(image, strength=np.float32(0), stride=np.int64(7))
    assert np.array_equal(result, image)
