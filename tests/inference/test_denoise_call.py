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
