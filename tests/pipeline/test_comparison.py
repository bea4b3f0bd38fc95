"""Pictures of before, after and difference: what they take of memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from denoiser.pipeline.comparison import compare


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_comparison_of_a_large_page_takes_less_memory_than_the_page(channels: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    before, after = random.uniform(0.0, 1.0, (2, 6000, 300, *channels)).astype(np.float32)
    tracemalloc.start()
    try:
        image = compare(before, after)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.8 * before.nbytes
    assert image.size == (3 * 300 + 2 * 60, 6000)
    shown = np.asarray(image)
    np.testing.assert_array_equal(shown[:, :300], np.rint(before * 255.0))
    np.testing.assert_array_equal(shown[:, 360:660], np.rint(after * 255.0))
    assert (shown[:, 300:360] == 255).all()
