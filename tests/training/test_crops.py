"""Tiles and the patches cut from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser._types import Context, Floats
from denoiser.errors import TrainingError
from denoiser.inference import patches
from denoiser.training import crops

SIDE = 120


def ramp(height: int = 150, width: int = 180) -> Floats:
    """An image in which every pixel differs."""
    values = np.arange(height * width, dtype=np.float32) / (height * width)
    return np.asarray(values.reshape(height, width), np.float32)


def pieces(image: Floats) -> set[float]:
    return set(image.ravel().tolist())


@settings(max_examples=25)
@given(
    seed=st.integers(0, 99), turn=st.booleans(), shape=st.tuples(st.integers(20, 200), st.integers(20, 200))
)
def test_tiles_are_pieces_of_their_image(seed: int, turn: bool, shape: tuple[int, int]) -> None:
    image = ramp(*shape)
    source = crops.Images([(image, 1 - image)], SIDE, crops.Augmentation(turn=turn))
    first, second = source(3, np.random.default_rng(seed))
    assert first.shape == second.shape == (3, SIDE, SIDE)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(second, 1 - first)
    assert pieces(first) <= pieces(image)
    again, _ = source(3, np.random.default_rng(seed))
    np.testing.assert_array_equal(again, first)


def test_looks_vary_in_size_gain_and_sign() -> None:
    image = ramp()
    augmentation = crops.Augmentation(scales=(0.7, 1.4), gain=0.5, inverted=0.5)
    given, clean = crops.Images([(image, image)], SIDE, augmentation)(60, np.random.default_rng(0))
    np.testing.assert_array_equal(given, clean)
    assert given.min() >= 0.0
    assert given.max() <= 1.0
    plain, _ = crops.Images([(image, image)], SIDE, crops.Augmentation(turn=False))(
        60, np.random.default_rng(0)
    )
    spans = np.ptp(plain, axis=(1, 2))
    assert np.ptp(spans) < 1e-3
    assert np.ptp(np.ptp(given, axis=(1, 2))) > 0.1
    rising = given[:, -1, 0] > given[:, 0, 0]
    assert 0 < rising.sum() < len(rising)


def test_an_image_smaller_than_a_scaled_tile_is_taken_whole() -> None:
    image = ramp(130, 125)
    found, _ = crops.Images([(image, image)], SIDE, crops.Augmentation(scales=(0.5, 0.6), turn=False))(
        20, np.random.default_rng(0)
    )
    assert found.shape == (20, SIDE, SIDE)
    # A ramp from 0 to 1 down the image: a tile of the image's own scale would show 120 of its 130 rows.
    assert (np.ptp(found, axis=(1, 2)) > 0.95).sum() > 5


def test_no_images_no_tiles() -> None:
    with pytest.raises(TrainingError, match="no images"):
        crops.Images([], SIDE)


def test_drawings_are_used_a_few_times_and_replaced() -> None:
    made: list[int] = []

    def draw(rng: np.random.Generator) -> crops.Pair:
        made.append(len(made))
        image = np.full((SIDE, SIDE), len(made) / 100, np.float32)
        return image, image

    source = crops.Drawn(draw, SIDE, pool=4, uses=5)
    rng = np.random.default_rng(0)
    source(2, rng)
    assert len(made) == 4
    for _ in range(9):
        source(2, rng)
    assert len(made) == 4 + 20 // 5
    assert float(source(50, rng)[0].min()) > 0.04


def test_sources_are_mixed_by_weight() -> None:
    black, white = (
        crops.Images([(np.full((SIDE, SIDE), tone, np.float32),) * 2], SIDE) for tone in (0.0, 1.0)
    )
    found, _ = crops.Mixed([(black, 1.0), (white, 3.0)])(400, np.random.default_rng(0))
    assert 0.7 < found.mean() < 0.8
    assert len(crops.Mixed([(black, 1.0), (white, 0.0)])(5, np.random.default_rng(0))[0]) == 5


@pytest.mark.parametrize("context", [1, 2, 4])
def test_patches_are_cut_with_what_lies_around_them(context: int) -> None:
    clean = np.random.default_rng(0).random((3, SIDE, SIDE), dtype=np.float32)
    given = clean * 0.5
    inputs, targets = crops.cut(given, clean, 50, np.random.default_rng(1), context=context)
    assert inputs.shape == ((50, 28, 28) if context == 1 else (50, 28, 28, 2))
    assert targets.shape == (50, 28, 28)
    np.testing.assert_array_equal(patches.own(inputs), targets * 0.5)
    assert len({target.tobytes() for target in targets}) > 40
    if context == 1:
        return
    for patch in inputs[:5]:
        tile, top, left = next(
            (tile, *place)
            for tile in range(3)
            for place in np.argwhere(given[tile] == patch[0, 0, 0])
            if np.array_equal(given[tile][place[0] :, place[1] :][:28, :28], patch[..., 0])
        )
        margin = (context - 1) * 14
        area = given[tile, top - margin :, left - margin :][: context * 28, : context * 28]
        expected = area.reshape(28, context, 28, context).mean(axis=(1, 3))
        np.testing.assert_allclose(patch[..., 1], expected, atol=1e-6)


@pytest.mark.parametrize(("context", "mirrored"), [(4, 0), ((2, 4), 0), ((2, 4, 8), 56), ((2, 8), 98)])
def test_training_and_cleaning_cut_alike(context: Context, mirrored: int) -> None:
    """What a network learns from must be what it is shown later."""
    image = np.random.default_rng(0).random((112, 112), dtype=np.float32)
    rng = np.random.default_rng(0)
    inputs, clean = crops.cut(image[None], image[None], 5, rng, context=context, mirrored=mirrored)
    where = patches.grid((112, 112), 1)
    every = patches.split(image, where, slice(None), context)
    for patch, target in zip(inputs, clean, strict=True):
        assert any(np.array_equal(patch, other) for other in every)
        np.testing.assert_array_equal(patch[..., 0], target)


@given(st.integers(28, 400), st.integers(1, 8))
@settings(max_examples=60)
def test_surroundings_of_any_width_leave_positions_for_patches(side: int, scale: int) -> None:
    mirrored = crops.mirrored_for(side, scale)
    reach = 14 * (scale - 1)
    positions = side + 2 * mirrored - 28 * scale + 1
    assert 0 <= mirrored <= reach
    assert positions > side // 5 or mirrored == reach
    assert mirrored == 0 or 28 * scale > side // 2


def test_shifted_patches_lose_nothing() -> None:
    clean = np.random.default_rng(0).random((400, 9, 9), dtype=np.float32)
    moved = crops.shifted(clean, np.random.default_rng(1), pixels=2, share=0.5)
    np.testing.assert_allclose(np.sort(moved.reshape(400, -1)), np.sort(clean.reshape(400, -1)))
    stayed = (moved == clean).all(axis=(1, 2))
    assert 0.4 < stayed.mean() < 0.65
    ways = [(np.roll(clean[0], (a, b), (0, 1))) for a in range(-2, 3) for b in range(-2, 3)]
    assert any(np.array_equal(moved[0], way) for way in ways)
