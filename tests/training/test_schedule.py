from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.training.schedule import Schedule, share

LONG = 10_000


@given(st.sampled_from(["cosine", "constant"]), st.integers(0, LONG), st.floats(0.0, 1.0))
def test_a_share_is_a_share(schedule: Schedule, step: int, fraction: float) -> None:
    assert 0.0 <= share(schedule, step, fraction) <= 1.0


def test_constant_rises_stays_and_falls_to_nothing() -> None:
    assert share("constant", 0, 0.0) == pytest.approx(1 / 200)
    assert share("constant", LONG, 0.2) == share("constant", LONG, 0.84) == 1.0
    assert share("constant", LONG, 0.925) == pytest.approx(0.5)
    assert share("constant", LONG, 1.0) == 0.0


def test_cosine_falls_all_the_way_to_a_hundredth() -> None:
    shares = [share("cosine", LONG, fraction / 100) for fraction in range(101)]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], shares[-1]) == (1.0, pytest.approx(0.01))
