"""What counts as likely harm, and what doesn't."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser import generator
from denoiser.generator.canvas import blurred
from denoiser.report import harm

Array = npt.NDArray[np.float32]


def noise(seed: int, shape: tuple[int, int] = (160, 160), *, blur: float = 0.0) -> Array:
    white = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if blur:
        white = blurred(white, blur)
    return np.asarray(white / white.std(), np.float32)


def flat(shape: tuple[int, int] = (160, 160)) -> Array:
    return np.full(shape, 0.8, np.float32)


def text(seed: int = 6) -> Array:
    return np.asarray(generator.page(np.random.default_rng(seed), (160, 160), system_fonts=False), np.float32)


def hatching() -> Array:
    y, x = np.mgrid[0:160, 0:160].astype(np.float32)
    return np.asarray(np.sin(2 * np.pi * (x + 0.4 * y) / 4.5), np.float32)


def checks() -> Array:
    y, x = np.mgrid[0:160, 0:160].astype(np.float32)
    return np.asarray(np.sin(2 * np.pi * x / 3.2) * np.sin(2 * np.pi * y / 3.2), np.float32)


def value(before: Array, after: Array) -> float:
    return harm.of(harm.measure(before, after))


LOOK_AT_IT = 0.4
"""The figure that the page's heading names."""


@pytest.mark.parametrize("sigma", [0.02, 0.08])
@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_noise_that_goes_is_no_harm(sigma: float, blur: float) -> None:
    for clean in (flat(), np.asarray(0.2 + 0.6 * text(), np.float32)):
        assert value(clean + np.float32(sigma) * noise(3, blur=blur), clean) < LOOK_AT_IT


@pytest.mark.parametrize(
    "lost",
    [lambda: 0.12 * (text() - 1.0), lambda: 0.1 * hatching(), lambda: 0.1 * checks()],
    ids=["text", "hatching", "checks"],
)
@pytest.mark.parametrize("blur", [0.0, 0.8])
def test_content_that_goes_with_the_noise_is_harm(lost: Callable[[], Array], blur: float) -> None:
    before = np.asarray(flat() + lost() + 0.03 * noise(4, blur=blur), np.float32)
    assert value(before, flat()) > LOOK_AT_IT
    kept = np.asarray(flat() + lost(), np.float32)
    assert value(before, kept) < LOOK_AT_IT


def test_single_pixels_that_go_are_no_harm() -> None:
    clean = np.asarray(0.2 + 0.6 * text(2), np.float32)
    hit = np.random.default_rng(5).random(clean.shape)
    before = np.where(hit < 0.02, 0.0, np.where(hit > 0.98, 1.0, clean)).astype(np.float32)
    assert value(before, clean) < LOOK_AT_IT


def test_paper_made_white_is_no_harm_where_the_ink_stays() -> None:
    ink = text(6)
    before = np.asarray(0.15 + 0.6 * ink + 0.01 * noise(6), np.float32)
    assert value(before, np.asarray(0.05 + 0.95 * ink, np.float32)) < LOOK_AT_IT
    assert value(before, np.ones_like(before)) > LOOK_AT_IT


def test_the_place_is_where_content_was_lost() -> None:
    before = flat((400, 300))
    before[300:340, 100:140] -= 0.2 * np.asarray(1.0 - text()[40:80, 40:80])
    before += 0.01 * noise(7, (400, 300))
    row, column = harm.measure(before, flat((400, 300))).place
    assert 284 <= row < 356
    assert 84 <= column < 156


def test_nothing_changed_is_no_harm() -> None:
    found = harm.measure(text(), text())
    assert (found.change, found.structure, harm.of(found)) == (0.0, 0.0, 0.0)


def test_figures_are_those_of_the_noise() -> None:
    found = harm.measure(flat() + np.float32(0.05) * noise(8), flat())
    assert found.change == pytest.approx(0.05, rel=0.01)
    assert found.noise == pytest.approx(0.05, rel=0.05)


def test_colour_is_measured_too() -> None:
    lost = np.asarray(flat() + 0.1 * hatching() + 0.02 * noise(9), np.float32)
    before, after = (np.repeat(image[:, :, None], 3, axis=2) for image in (lost, flat()))
    assert value(before, after) == pytest.approx(value(lost, flat()), rel=1e-3)


def test_a_large_page_is_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = flat((600, 200))
    before[500:560, 40:120] -= 0.2 * np.asarray(1.0 - text()[:60, :80])
    before += 0.01 * noise(10, (600, 200))
    whole = harm.measure(before, flat((600, 200)))
    monkeypatch.setattr(harm, "_PART", 200 * 128)
    parts = harm.measure(before, flat((600, 200)))
    assert parts.change == pytest.approx(whole.change, rel=1e-5)
    assert parts.ratio >= whole.ratio
    assert abs(parts.place[0] - whole.place[0]) < 64


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 3]))
def test_any_two_images_can_be_measured(rows: int, columns: int, seed: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (rows, columns, channels) if channels else (rows, columns)
    before, after = (rng.random(shape, np.float32) * rng.integers(0, 2) for _ in range(2))
    found = harm.measure(before, after)
    assert np.isfinite(harm.of(found))
    assert 0 <= found.place[0] < rows
    assert 0 <= found.place[1] < columns


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 1, 3])), max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_images_measured_together_have_the_figures_of_each_alone(
    shapes: list[tuple[int, int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pairs = []
    for rows, columns, channels in [*shapes, *shapes, (28, 28, 0), (28, 28, 0), (130, 20, 0)]:
        shape = (rows, columns, channels) if channels else (rows, columns)
        before = rng.random(shape, np.float32)
        after = before * np.float32(rng.choice([0.0, 0.6, 1.0])) + rng.random(shape, np.float32) / 8
        pairs.append((np.asarray(np.round(before * 8) / 8, np.float32), after.astype(np.float32)))
    for pair, found in zip(pairs, harm.measure_all(pairs), strict=True):
        alone = harm.measure(*pair)
        assert found.place == alone.place
        for field in ("change", "structure", "ratio"):
            assert getattr(found, field) == pytest.approx(getattr(alone, field), rel=1e-4, abs=1e-6)
        assert found.noise == (
            None if alone.noise is None else pytest.approx(alone.noise, rel=1e-4, abs=1e-6)
        )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 48), st.integers(1, 48), st.integers(0, 2**32 - 1))
def test_sums_by_products_are_the_sums(rows: int, columns: int, seed: int) -> None:
    """Small images are summed by matrix products, others by NumPy's sums."""
    images = np.random.default_rng(seed).random((3, rows, columns), np.float32)
    assert max(rows, columns) <= harm._PRODUCT_SIDE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harm, "_PRODUCT_SIDE", 0)
        windows, *sums = harm._windows(images), harm._sums(images), harm._sums(images, harm._SMALL)
    np.testing.assert_allclose(harm._windows(images), windows, rtol=1e-5)
    np.testing.assert_allclose(harm._sums(images), sums[0], rtol=1e-5)
    np.testing.assert_allclose(harm._sums(images, harm._SMALL), sums[1], rtol=1e-5)


def test_content_of_small_images_is_found_among_others() -> None:
    clean = [np.asarray(generator.digit(np.random.default_rng(seed)), np.float32) for seed in range(12)]
    before = [
        np.asarray(np.clip(each + 0.05 * noise(seed, (28, 28)), 0, 1), np.float32)
        for seed, each in enumerate(clean)
    ]
    after = [*clean[:6], clean[7], *clean[7:]]  # the seventh became another digit
    found = [harm.of(each) for each in harm.measure_all(list(zip(before, after, strict=True)))]
    changed = found.pop(6)
    assert changed > 1.5 * max(found)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="can't be compared"):
        harm.measure(flat((8, 8)), flat((8, 9)))
    with pytest.raises(ValueError, match="can't be compared"):
        harm.measure(flat((0, 8)), flat((0, 8)))
