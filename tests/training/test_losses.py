"""What training makes small."""

from __future__ import annotations

import numpy as np
import pytest

from denoiser._types import PATCH
from denoiser.training.losses import LOSSES

pytestmark = pytest.mark.slow  # imports Keras


def total(name: str, target: np.ndarray, drawn: np.ndarray) -> float:
    return float(np.mean(np.asarray(LOSSES[name](target, drawn))))


def test_more_than_white_is_white_on_paper() -> None:
    white, gray = np.ones((1, PATCH, PATCH), np.float32), np.full((1, PATCH, PATCH), 0.5, np.float32)
    assert total("paper", white, white + 0.2) == 0.0
    assert total("paper", white, white - 0.1) > 0.01
    assert total("paper", gray, gray + 0.1) == pytest.approx(0.01, rel=1e-4)
    assert total("paper", gray, gray - 0.1) == pytest.approx(0.01, rel=1e-4)
