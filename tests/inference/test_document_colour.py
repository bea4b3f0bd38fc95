"""Colour and concerns of pages: what is done with the luma of a page, and what is said of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from denoiser import generator
from denoiser._types import Floats
from denoiser.inference import document
from denoiser.inference.denoiser import Denoiser
from denoiser.page import Page
from tests.helpers.command import Denoise
from tests.helpers.fakes import SMALL, write_model

BROWN, BLUE, CREAM = (0.55, 0.4, 0.25), (0.1, 0.2, 0.6), (0.9, 0.86, 0.74)
PART = np.s_[10:30, 10:40]


def planes_of(page: Floats) -> list[Floats]:
    return [np.ascontiguousarray(page[:, :, channel]) for channel in range(3)]


def paper(path: Path, *, white: bool) -> Path:
    """Write a model on absolute intensities that makes everything white, or leaves everything as it is."""
    config = {**SMALL, "residual": not white, "center": False, "gain": 1.0}
    # A pixel lies in up to four overlapping windows, each of which adds the bias.
    return one_tone(path, config, 2.0 if white else 0.0)


def one_tone(path: Path, config: dict[str, Any], level: float) -> Path:
    return write_model(
        path, "PatchAutoencoder", config, lambda name, shape: level if name == "draw/bias" else 0.0
    )


def coloured(part: tuple[float, float, float]) -> tuple[Floats, Floats]:
    """A page of cream paper with a part of another colour, and the luma of white paper."""
    page = np.empty((60, 80, 3), np.float32)
    page[...] = CREAM
    page[PART] = part
    return page, np.ones((60, 80), np.float32)


def test_paper_of_any_tint_comes_out_white() -> None:
    page, clean = coloured(CREAM)
    planes = planes_of(page)
    result = document.recoloured(planes, document.luma(planes), clean)
    assert np.stack(result).min() == 1.0


def test_a_coloured_stain_that_is_gone_leaves_no_colour() -> None:
    page, clean = coloured(BROWN)
    planes = planes_of(page)
    result = document.recoloured(planes, document.luma(planes), clean)
    np.testing.assert_array_equal(np.stack(result), 1.0)


def test_coloured_ink_keeps_its_hue() -> None:
    page, clean = coloured(BLUE)
    planes = planes_of(page)
    luma = document.luma(planes)
    clean[PART] = luma[PART] / luma[0, 0]  # as dark beside white as it was beside the paper
    result = np.stack(document.recoloured(planes, luma, clean), axis=-1)[PART]
    expected = np.array(BLUE) / np.array(CREAM)
    shown = result[5, 5]
    assert np.argmax(shown) == 2
    np.testing.assert_allclose(shown / shown[2], expected / expected[2], atol=0.08)
    assert document.luma(planes_of(result)).mean() == pytest.approx(float(clean[15, 15]), abs=0.02)


def test_a_light_marker_on_paper_keeps_its_colour() -> None:
    """It is hardly darker than paper, so that nearly nothing was removed from it."""
    page, clean = coloured((0.9, 0.88, 0.35))
    planes = planes_of(page)
    result = np.stack(document.recoloured(planes, document.luma(planes), clean), axis=-1)
    assert result[PART][..., 2].max() < 0.8
    assert result[0, 0].min() == 1.0


@pytest.mark.parametrize("gray", [1.0, 0.9, 0.7])
@pytest.mark.parametrize(
    "ink", [(0.0, 0.0, 0.78), (0.07, 0.07, 0.38), (0.16, 0.2, 0.55), (0.55, 0.07, 0.07), (0.0, 0.42, 0.15)]
)
def test_dark_ink_keeps_its_colour_on_gray_paper_though_its_luma_became_black(
    ink: tuple[float, float, float], gray: float
) -> None:
    page, clean = np.full((60, 80, 3), gray, np.float32), np.ones((60, 80), np.float32)
    page[PART] = np.array(ink) * gray
    clean[PART] = 0.0
    planes = planes_of(page)
    result = np.stack(document.recoloured(planes, document.luma(planes), clean), axis=-1)
    np.testing.assert_allclose(result[15, 15], ink, atol=0.02)
    assert result[0, 0].min() == 1.0


def test_black_ink_with_the_colour_noise_of_a_jpeg_becomes_black() -> None:
    page, clean = np.full((60, 80, 3), 0.9, np.float32), np.ones((60, 80), np.float32)
    page[PART] = (0.08, 0.06, 0.095)
    clean[PART] = 0.0
    planes = planes_of(page)
    result = np.stack(document.recoloured(planes, document.luma(planes), clean), axis=-1)
    assert result[PART].max() < 0.05


@pytest.mark.parametrize("colour", [(0.75, 0.88, 1.0), (1.0, 0.8, 0.86), (1.0, 1.0, 0.0), (0.78, 0.98, 0.78)])
@pytest.mark.parametrize("columns", [20, 60, 100])
def test_an_area_of_light_colour_leaves_the_white_paper_white(
    colour: tuple[float, float, float], columns: int
) -> None:
    """A map's sea: it becomes white as paper does, and may cover more of the page."""
    page = np.ones((100, 120, 3), np.float32)
    page[:, :columns] = colour
    planes = planes_of(page)
    result = np.stack(document.recoloured(planes, document.luma(planes), np.ones((100, 120), np.float32)), -1)
    assert result[:, columns:].min() == 1.0
    deviation = result[0, 0] - result[0, 0].mean()
    expected = np.array(colour) - np.mean(colour)
    assert np.corrcoef(deviation, expected)[0, 1] > 0.95
    assert result[0, 0].min() < 0.96


@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
@settings(max_examples=40)
def test_strength_blends_the_picture_with_its_result(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    planes = planes_of(rng.random((9, 12, 3), dtype=np.float32))
    before, clean = document.luma(planes), rng.random((9, 12), dtype=np.float32)
    clean[rng.random(clean.shape) < 0.5] = 1.0
    whole = document.recoloured(planes, before, clean)
    strength = round(strength, 2)
    blended = before + np.float32(strength) * (clean - before)
    result = document.recoloured(planes, before, blended, strength)
    for plane, given_plane, whole_plane in zip(result, planes, whole, strict=True):
        expected = given_plane + strength * (whole_plane - given_plane)
        np.testing.assert_allclose(plane, expected, atol=2e-3)


def test_without_strength_a_page_in_colour_stays_as_it_is(denoise: Denoise, tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.array([255, 253, 240], np.uint8), (80, 90, 1))).save(tmp_path / "cream.png")
    options = ("--model", paper(tmp_path / "white.keras", white=True), "--color", "--strength", 0)
    assert denoise(tmp_path / "cream.png", *options, "--out", tmp_path / "out.png").code == 0
    assert np.ptp(np.asarray(Image.open(tmp_path / "out.png")), axis=(0, 1)).max() == 0
    assert np.asarray(Image.open(tmp_path / "out.png"))[0, 0].tolist() == [255, 253, 240]


@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
@settings(max_examples=40)
def test_gray_stays_gray_and_in_range(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    gray, clean = (rng.random((9, 12), dtype=np.float32) for _ in range(2))
    clean[rng.random(clean.shape) < share] = 1.0
    result = document.recoloured([gray, gray.copy(), gray.copy()], gray, clean)
    for plane in result:
        np.testing.assert_allclose(plane, clean, atol=1e-5)
    colour = planes_of(rng.random((9, 12, 3), dtype=np.float32))
    result = document.recoloured(colour, document.luma(colour), clean)
    assert all(plane.min() >= 0.0 and plane.max() <= 1.0 for plane in result)
    assert all(plane.dtype == np.float32 for plane in result)


def test_a_page_that_is_left_alone_keeps_its_colours(denoise: Denoise, tmp_path: Path) -> None:
    """Through the command: a map on white paper, and a network that finds it clean."""
    page = np.ones((90, 120, 3))
    page[20:70, 20:60], page[20:70, 70:110] = (0.7, 0.85, 0.6), (0.55, 0.7, 0.9)
    page[40:44] = (0.8, 0.1, 0.1)
    Image.fromarray(np.rint(255 * page).astype(np.uint8)).save(tmp_path / "map.png")
    model = paper(tmp_path / "identity.keras", white=False)
    done = denoise(tmp_path / "map.png", "--model", model, "--color", "--out", tmp_path / "out.png")
    assert done.code == 0, done.err
    result = np.asarray(Image.open(tmp_path / "out.png"))
    assert result.shape == (90, 120, 3)
    assert np.abs(result.astype(int) - np.rint(255 * page)).max() <= 1


def test_luma_is_cleaned_once_with_the_plugins_around_it(tmp_path: Path) -> None:
    plugin = tmp_path / "half.py"
    plugin.write_text(
        "from denoiser import hookimpl\n"
        "@hookimpl\ndef preprocess(image):\n    return image * 0.5\n"
        "@hookimpl\ndef postprocess(image, original):\n    return image * 0.5 + 0.25 * original\n"
    )
    page = np.full((40, 40, 3), 0.8, np.float32)
    page[10:20] = (0.2, 0.4, 0.8)
    with Denoiser(paper(tmp_path / "white.keras", white=True), plugins=[plugin]) as white:
        cleaned = white.clean_page(page, Page())
    np.testing.assert_allclose(cleaned.pixels[0, 0], 0.5 + 0.25 * 0.8, atol=1e-6)
    assert cleaned.pixels.shape == page.shape
    assert cleaned.model == "white"


def test_sixteen_bits_come_out_as_eight_do(denoise: Denoise, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint16)
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(levels.astype(np.uint8)).save(folder / "eight.png")
    Image.fromarray(levels * np.uint16(257)).save(folder / "sixteen.png")
    model = paper(tmp_path / "identity.keras", white=False)
    assert denoise(folder, "--model", model, "--out", tmp_path / "out").code == 0
    eight, sixteen = (
        np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) for name in ("eight", "sixteen")
    )
    np.testing.assert_array_equal(np.rint(sixteen / 257.0), eight)


@given(st.integers(1, 600), st.integers(1, 9))
@settings(max_examples=30)
def test_paper_that_is_nearly_white_becomes_white_and_no_tone_jumps(rows: int, columns: int) -> None:
    tones = np.linspace(0.0, 1.2, 600 * 9, dtype=np.float32)
    image = tones.reshape(600, 9)[600 - rows :, :columns].copy()
    before = image.copy()
    result = document.whiten(image)
    assert result is image
    np.testing.assert_array_equal(result[before >= 0.9801], 1.0)
    np.testing.assert_array_equal(result[before <= 0.955], before[before <= 0.955])
    assert (result >= np.minimum(before, 1.0)).all()
    line = np.linspace(0.9, 1.0, 1000, dtype=np.float32)[:, None].copy()
    steps = np.diff(document.whiten(line), axis=0)
    assert steps.min() >= 0.0
    assert steps.max() < 2.0 * 0.1 / 999 + 1e-6


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=3),
)
def test_the_light_edges_of_letters_keep_their_gray(
    height: int, width: int, rows_at_once: int, ink: list[tuple[int, int]]
) -> None:
    page = np.full((height, width), 0.985, np.float32)
    wanted = np.ones_like(page)
    dots = [(y, x) for y, x in ink if y < height and x < width]
    for y, x in dots:
        page[y, x] = 0.2
        wanted[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = 0.985
    for y, x in dots:
        wanted[y, x] = 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_ROWS", rows_at_once)  # ink in other bands counts too
        np.testing.assert_array_equal(document.whiten(page), wanted.astype(np.float32))


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_ink_that_dirt_had_lifted_gets_darker_and_all_else_stays(
    height: int, rows_at_once: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    page, result = random.uniform(0.0, 1.0, (2, height, 11)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_ROWS", rows_at_once)  # ink in other bands counts too
        deeper = document.deepen(result.copy(), page)
    assert deeper.min() >= 0.0
    assert (deeper <= result).all()
    kept = (result >= 0.3) | (result >= page)
    for y, x in zip(*np.nonzero(page <= 0.05), strict=True):  # a stroke that is black at its core
        kept[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = True
    np.testing.assert_array_equal(deeper[kept], result[kept])
    around = np.pad(page, 2, constant_values=1.0)
    darkest = np.lib.stride_tricks.sliding_window_view(around, (5, 5)).min(axis=(2, 3))
    assert (deeper < result)[~kept & (page - result > 0.01) & (darkest > 0.06) & (result < 0.29)].all()


def test_lifted_ink_keeps_the_order_of_its_grays_and_black_print_on_clean_paper_its_pixels() -> None:
    grays = np.linspace(0.0, 1.0, 400, dtype=np.float32)[:, None].repeat(6, axis=1)
    lifted = np.maximum(grays, np.float32(0.2))
    deeper = document.deepen(grays.copy(), lifted)
    assert np.diff(deeper, axis=0).min() >= 0.0
    page = text()
    np.testing.assert_array_equal(document.deepen(page.copy(), page), page)


def test_a_page_of_lifted_ink_comes_out_darker_than_the_network_makes_it(tmp_path: Path) -> None:
    config = {**SMALL, "residual": False, "center": False, "gain": 1.0}
    model = one_tone(tmp_path / "dark.keras", config, 0.03)  # 0.12 in the middle of tokens
    page = np.full((40, 40), 0.3, np.float32)
    result = Denoiser(model=model).clean_page(page, Page()).pixels
    assert result[20, 20] == pytest.approx(0.12 - 0.5 * (0.3 - 0.12) * (1 - 0.12 / 0.3), abs=1e-3)


def photograph() -> Floats:
    return generator.scene(np.random.default_rng(3), (200, 260)) * np.float32(0.8) + np.float32(0.1)


def text() -> Floats:
    return generator.page(np.random.default_rng(30), (200, 260), system_fonts=False)


def test_what_is_said_of_a_page() -> None:
    gray = np.full((200, 260), 0.7, np.float32)
    assert document.concerns(photograph(), photograph()) == (document.PHOTOGRAPH,)
    assert document.concerns(text(), text()) == ()
    assert document.concerns(text() * np.float32(0.7), text()) == ()
    assert document.concerns(gray, np.ones_like(gray)) == ()
    halves = np.concatenate([np.ones((200, 260), np.float32), photograph()[:120]])
    assert document.concerns(halves, np.ones_like(halves)) == (document.TONES_REMOVED,)
    assert document.concerns(np.zeros((5, 300), np.float32), np.ones((5, 300), np.float32)) == ()
    white = np.ones((200, 260), np.float32)
    shaded = white - np.float32(0.25) * (np.linspace(0, 2, 200, dtype=np.float32)[:, None] % 1)
    assert document.concerns(shaded, white) == (document.TONES_REMOVED,)
    huge = np.kron(photograph(), np.ones((9, 9), np.float32))
    assert document.concerns(huge, huge) == (document.PHOTOGRAPH,)


def test_files_with_photographs_are_named(denoise: Denoise, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(7):
        Image.fromarray(np.rint(255 * photograph()).astype(np.uint8)).save(folder / f"photo{index}.png")
    Image.fromarray(np.rint(255 * text()).astype(np.uint8)).save(folder / "text.png")
    model = paper(tmp_path / "identity.keras", white=False)
    options = ("--model", model, "--jobs", 1, "--json")
    done = denoise(folder, "--out", tmp_path / "out", *options)
    assert done.code == 0, done.err
    named = [line for line in done.err.splitlines() if document.PHOTOGRAPH in line]
    assert len(named) == 5
    assert all("photo" in line and "--model general" in line for line in named)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[-1]["summary"]["notes"] == {document.PHOTOGRAPH: 7}
    # Other models leave tones alone, so that nothing is said.
    centred = write_model(tmp_path / "centred.keras", "PatchAutoencoder", SMALL, lambda name, shape: 0.0)
    done = denoise(folder, "--out", tmp_path / "out2", "--model", centred)
    assert document.PHOTOGRAPH not in done.err


@pytest.mark.parametrize("paper", [0.01, 0.03, 0.1, 0.16])
def test_a_black_page_and_light_print_on_dark_paper_are_no_photographs(paper: float) -> None:
    rng = np.random.default_rng(2)
    grain = rng.normal(0, 0.012, (200, 260)).astype(np.float32)
    black = np.clip(paper + grain, 0, 1)
    assert document.concerns(black, black) == ()
    negative = np.clip(paper + (0.95 - paper) * (1 - text()) + grain, 0, 1)
    assert document.concerns(negative, negative) == ()


def test_a_photograph_that_is_light_beside_its_sky_is_one() -> None:
    """Most of its tones count as paper; what the network has left of them does not."""
    light = np.float32(0.55) + np.float32(0.25) * generator.scene(np.random.default_rng(3), (200, 260))
    assert document.concerns(light, light) == (document.PHOTOGRAPH,)


def test_grain_is_no_tone_that_was_removed() -> None:
    grainy = np.clip(0.63 + np.random.default_rng(1).normal(0, 0.08, (200, 260)), 0, 1).astype(np.float32)
    assert document.concerns(grainy, np.ones_like(grainy)) == ()


@pytest.mark.parametrize(("strength", "told"), [(1.0, True), (0.95, True), (0.5, False), (0.0, False)])
def test_what_is_removed_is_told_unless_half_is_kept(
    strength: float, told: bool, denoise: Denoise, tmp_path: Path
) -> None:
    stained = np.ones((200, 260))
    stained[:, :80] = 0.5
    Image.fromarray(np.rint(255 * stained).astype(np.uint8)).save(tmp_path / "page.png")
    model = paper(tmp_path / "white.keras", white=True)
    options = ("--model", model, "--strength", strength, "--out", tmp_path / "out.png")
    done = denoise(tmp_path / "page.png", *options)
    assert done.code == 0, done.err
    assert ("much that is neither ink nor paper became white" in done.err) == told
