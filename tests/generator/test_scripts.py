"""Signs that are no digits."""

from __future__ import annotations

import numpy as np
import pytest

from denoiser.generator.scripts import SCRIPTS, sign


@pytest.mark.parametrize("script", SCRIPTS)
def test_signs_differ_fill_the_patch_and_follow_from_the_seed(script: str) -> None:
    signs = np.stack([sign(np.random.default_rng(seed), script) for seed in range(40)])
    assert signs.dtype == np.float32
    assert signs.shape == (40, 28, 28)
    assert signs.min() == 0.0
    assert 0.5 < signs.max() <= 1.0
    assert (signs.mean(axis=(1, 2)) > 0.02).all()
    assert len({image.tobytes() for image in signs}) == 40
    np.testing.assert_array_equal(signs[3], sign(np.random.default_rng(3), script))
