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


def test_close_to_ink_paper_need_not_be_far_above_white() -> None:
    target = np.ones((1, PATCH, PATCH), np.float32)
    target[0, 10:14, 10] = 0.0
    close = np.zeros(target.shape, bool)
    close[0, 7:17, 7:14] = True  # up to 3 pixels from the ink
    little, much = np.float32(1.01) * target, np.float32(1.2) * target
    assert total("paper", target, np.where(close, little, much)) == 0.0
    assert total("paper", target, np.where(close, much, little)) > 0.0
