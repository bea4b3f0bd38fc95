"""Cutting and merging: what comes apart comes together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser._types import PATCH, Context, Floats, scales_of
from denoiser.inference import patches

shapes = st.tuples(st.integers(1, 90), st.integers(1, 90))


def noise(shape: tuple[int, ...], seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@given(shapes, st.integers(1, PATCH))
@settings(max_examples=60)
def test_tiling_with_a_network_that_does_nothing_is_the_identity(shape: tuple[int, int], stride: int) -> None:
    if stride < 4 and shape[0] * shape[1] > 900:
        shape = (min(shape[0], 30), min(shape[1], 30))
    image = noise(shape)
    result = patches.tile(image, patches.grid(shape, stride), lambda cut: cut)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, image, atol=1e-5)


def naive(image: Floats, where: patches.Grid) -> Floats:
    """The definition, one patch at a time: a network that halves every patch's left part."""
    height, width = ((count - 1) * where.stride + PATCH for count in where.counts)
    above, left = where.lead
    beyond = ((above, height - above - image.shape[0]), (left, width - left - image.shape[1]))
    padded = np.pad(image, beyond, mode="reflect")
    weight = np.outer(patches.window(), patches.window())
    total, weights = np.zeros((height, width)), np.zeros((height, width))
    for row in range(where.counts[0]):
        for column in range(where.counts[1]):
            place = np.s_[row * where.stride :, column * where.stride :]
            patch = halved(padded[place][:PATCH, :PATCH][None])[0]
            total[place][:PATCH, :PATCH] += patch * weight
            weights[place][:PATCH, :PATCH] += weight
    return (total / weights)[above : above + image.shape[0], left : left + image.shape[1]].astype(np.float32)


def halved(given_patches: Floats) -> Floats:
    result = given_patches.copy()
    result[:, :, :14] /= 2
    return result


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (28, 28), (61, 47), (170, 900)])
@pytest.mark.parametrize("stride", [5, 9, 14, 28])
def test_banded_merge_equals_the_definition(shape: tuple[int, int], stride: int) -> None:
    where = patches.grid(shape, stride)
    image = noise(shape, 1)
    np.testing.assert_allclose(patches.tile(image, where, halved), naive(image, where), atol=1e-5)


@pytest.mark.parametrize("context", [1, 2, 4, (2, 4, 8)])
def test_whole_images_get_the_surroundings_that_split_gives_each(context: Context) -> None:
    images = noise((5, PATCH, PATCH), 3)
    each = [patches.split(image, patches.grid(image.shape, PATCH), slice(None), context) for image in images]
    np.testing.assert_array_equal(patches.with_context(images, context), np.concatenate(each))


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 60)),
    st.integers(3, PATCH),
    st.sampled_from([1, 2, 4, (2, 4, 8)]),
    st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_result_may_take_the_place_of_its_image(
    shape: tuple[int, int], stride: int, context: Context, rows: int
) -> None:
    where, image = patches.grid(shape, stride), noise(shape, 4)

    def blurred(cut: Floats) -> Floats:
        planes = cut if cut.ndim == 4 else cut[..., None]
        return np.asarray(planes.mean(axis=3) * 0.5 + planes.mean(axis=(1, 2, 3))[:, None, None], np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "BAND_PATCHES", rows * where.counts[1])  # many bands, as of a large image
        expected = patches.tile(image, where, blurred, context)
        made = patches.tile(image, where, blurred, context, overwrite=True)
    assert made is image
    np.testing.assert_array_equal(made, expected)


def test_a_very_wide_image_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "STRIP_PATCHES", 8)
    image = noise((60, 300))
    before = image.copy()
    made = patches.tile(image, patches.grid(image.shape, 9), halved, overwrite=True)
    assert made is not image
    np.testing.assert_array_equal(image, before)


def test_a_large_image_takes_several_bands() -> None:
    where = patches.grid((170, 9000), 9)
    assert len(list(patches.bands(where))) > 1


@given(shapes, st.integers(1, PATCH))
def test_every_pixel_is_covered(shape: tuple[int, int], stride: int) -> None:
    where = patches.grid(shape, stride)
    for length, count, lead in zip(shape, where.counts, where.lead, strict=True):
        assert lead >= 0
        assert (count - 1) * stride + PATCH - lead >= length


def test_impossible_strides_are_refused() -> None:
    for stride in (0, 29):
        with pytest.raises(ValueError, match="stride"):
            patches.grid((10, 10), stride)


@given(shapes, st.booleans())
def test_whole_keeps_the_aspect_and_darkens_the_background(shape: tuple[int, int], light: bool) -> None:
    image = np.full(shape, 0.9 if light else 0.1, np.float32)
    patch, whole = patches.whole_from_image(image)
    assert patch.shape == (PATCH, PATCH)
    assert whole.inverted == light
    np.testing.assert_allclose(patch, 0.1, atol=1e-3)
    _, _, rows, cols = whole.box
    assert max(rows, cols) == PATCH
    assert abs(rows / cols - shape[0] / shape[1]) <= max(shape) / min(shape) * 0.6 or min(rows, cols) == 1
    assert patches.whole_to_image(patch, whole, "input").shape == shape
    np.testing.assert_allclose(patches.whole_to_image(patch, whole), 0.9 if light else 0.1, atol=1e-3)


def test_an_image_of_the_models_size_is_not_resampled() -> None:
    image = noise((PATCH, PATCH)) * 0.4
    patch, whole = patches.whole_from_image(image)
    np.testing.assert_array_equal(patch, image)
    np.testing.assert_array_equal(patches.whole_to_image(patch, whole, "input"), image)


def test_what_is_left_over_has_the_background() -> None:
    image = np.full((28, 10), 0.2, np.float32)
    image[8:20, 3:7] = 0.9
    patch, whole = patches.whole_from_image(image)
    assert whole.box == (0, 9, 28, 10)
    np.testing.assert_allclose(patch[:, :9], 0.2)
    np.testing.assert_allclose(patch[:, 19:], 0.2)


@given(shapes, st.integers(5, PATCH), st.sampled_from([2, 4, (2, 4, 8), (3, 5)]))
@settings(max_examples=30)
def test_context_is_the_mean_of_what_lies_around(
    shape: tuple[int, int], stride: int, context: Context
) -> None:
    """Against blocks averaged one by one, in whatever bands the rows are cut."""
    image, where = noise(shape), patches.grid(shape, stride)
    both = patches.split(image, where, slice(None), context)
    assert both.shape == (where.patches, PATCH, PATCH, 1 + len(scales_of(context)))
    np.testing.assert_array_equal(both[..., 0], patches.split(image, where, slice(None)))
    down, across = where.counts
    for plane, scale in enumerate(scales_of(context), start=1):
        margin = (scale - 1) * PATCH // 2
        padding = [
            (lead + margin, (count - 1) * stride + PATCH - side - lead + margin)
            for side, lead, count in zip(shape, where.lead, where.counts, strict=True)
        ]
        padded = np.pad(image, padding, mode="reflect")
        for index in {0, across - 1, (down // 2) * across, down * across - 1}:
            top, left = (index // across) * stride, (index % across) * stride
            area = padded[top : top + scale * PATCH, left : left + scale * PATCH]
            expected = area.reshape(PATCH, scale, PATCH, scale).mean(axis=(1, 3))
            np.testing.assert_allclose(both[index, ..., plane], expected, atol=1e-5)
    banded = [patches.split(image, where, slice(row, row + 1), context) for row in range(down)]
    assert np.concatenate(banded).tobytes() == both.tobytes()
    assert patches.split(np.ones(shape, np.float32), where, slice(0, 1), context).min() == 1.0


@pytest.mark.parametrize("stride", [5, 11, 21, 28])
@pytest.mark.parametrize("context", [1, 2, (2, 3)])
def test_a_wide_page_in_strips_is_the_page_in_one(
    monkeypatch: pytest.MonkeyPatch, stride: int, context: Context
) -> None:
    rng = np.random.default_rng(3)
    for shape in ((1, 700), (30, 901), (90, 1203)):
        image = rng.random(shape, dtype=np.float32)
        where = patches.grid(shape, stride)

        def reconstruct(given: np.ndarray) -> np.ndarray:
            own = given if given.ndim == 3 else given[..., 0] - given[..., 1]
            squared: np.ndarray = (own * own).astype(np.float32)
            return squared

        # As for any page that is cut, a band is one row of patches.
        monkeypatch.setattr(patches, "BAND_PATCHES", 4)
        monkeypatch.setattr(patches, "STRIP_PATCHES", 10_000)
        whole = patches.tile(image, where, reconstruct, context)
        for width in (5, 8):
            monkeypatch.setattr(patches, "STRIP_PATCHES", width)
            assert len(list(patches.strips(where))) > 2
            np.testing.assert_array_equal(patches.tile(image, where, reconstruct, context), whole)


@given(
    sides=st.lists(st.sampled_from([(28, 28), (28, 28), (28, 27), (40, 12)]), min_size=1, max_size=5),
    alike=st.booleans(),
    light=st.lists(st.booleans(), min_size=5, max_size=5),
    darken=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_images_are_fitted_together_as_each_alone(
    sides: list[tuple[int, int]], alike: bool, light: list[bool], darken: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shapes = [(28, 28)] * len(sides) if alike else sides
    images = [
        rng.random(shape, dtype=np.float32) * np.float32(0.6) + np.float32(0.4 * on)
        for shape, on in zip(shapes, light, strict=False)
    ]
    before = [image.copy() for image in images]
    given, wholes = patches.wholes_from_images(images, darken=darken)
    singly = [patches.whole_from_image(image, darken=darken) for image in images]
    assert [patch.tobytes() for patch in given] == [patch.tobytes() for patch, _ in singly]
    assert wholes == [whole for _, whole in singly]
    assert all(map(np.array_equal, before, images))
