"""The generator's pages and their dirt."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from denoiser import generator
from denoiser.generator import canvas, creases, fonts, furniture, marks, pages, paper, text

EFFECTS = [
    paper.grain,
    paper.specks,
    paper.uneven_light,
    paper.shadow,
    paper.wear,
    paper.other_side,
    creases.folds,
    creases.wrinkles,
    marks.stains,
    marks.prints,
]
FOLDERS = fonts._folders
"""Where the machine keeps its fonts: while tests run, nowhere is looked."""

#: Those that are shares of light or ink; the others go both ways.
SHARES = [paper.uneven_light, paper.shadow, paper.wear, paper.other_side, marks.stains, marks.prints]


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fonts, "_folders", list)
    fonts.system_fonts.cache_clear()
    yield
    fonts.system_fonts.cache_clear()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 140), width=st.integers(1, 140))
def test_pages_and_dirt_of_any_size(seed: int, height: int, width: int) -> None:
    page, again = (generator.page(np.random.default_rng(seed), (height, width)) for _ in range(2))
    np.testing.assert_array_equal(page, again)
    kept = page.copy()
    dirty, soiled = (generator.dirt(page, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(dirty, soiled)
    np.testing.assert_array_equal(page, kept)
    for image in (page, dirty):
        assert image.shape == (height, width)
        assert image.dtype == np.float32
        assert image.min() >= 0.0
        assert image.max() <= 1.0


@settings(max_examples=30)
@given(
    draw=st.sampled_from(EFFECTS),
    seed=st.integers(0, 2**32),
    height=st.integers(1, 330),
    width=st.integers(1, 330),
)
def test_effects_are_maps(draw: object, seed: int, height: int, width: int) -> None:
    assert callable(draw)
    found, again = (draw(np.random.default_rng(seed), (height, width)) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    assert found.shape == (height, width)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    if draw in SHARES:
        assert found.min() >= 0.0
        assert found.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("draw", EFFECTS)
def test_effects_show(draw: object) -> None:
    assert callable(draw)
    spans = [np.ptp(draw(np.random.default_rng(seed), (220, 180))) for seed in range(6)]
    assert np.median(spans) > 0.5


def test_pages_are_paper_and_ink_and_dirt_makes_them_darker() -> None:
    rng = np.random.default_rng(1)
    pages = [generator.page(rng, (300, 240)) for _ in range(40)]
    ink = np.array([(page < 0.5).mean() for page in pages])
    assert np.median([np.median(page) for page in pages]) == 1.0
    assert 0.04 < np.median(ink) < 0.25
    assert np.mean([(page == 1.0).mean() > 0.5 for page in pages]) > 0.7
    dirty = [generator.dirt(page, rng) for page in pages]
    errors = [float(np.sqrt(np.mean((made - page) ** 2))) for made, page in zip(dirty, pages, strict=True)]
    # Real dirty scans are 0.12 to 0.2 away from clean; a few of these have to be nearly clean.
    assert 0.1 < np.median(errors) < 0.25
    assert min(errors) < 0.08


def test_some_pages_have_faint_print_that_the_clean_page_keeps() -> None:
    """Whole pages, parts of pages and notes: sharp strokes between 12 and 60 levels darker than paper."""
    drawn = [generator.page(np.random.default_rng(seed), (200, 160)) for seed in range(80)]
    faint = [((page > 1 - 61 / 255) & (page < 1 - 11 / 255)).mean() for page in drawn]
    dark = [(page < 0.5).mean() for page in drawn]
    pale = sum(f > 0.02 and d == 0 for f, d in zip(faint, dark, strict=True))
    assert 4 <= pale <= 20, "pages with nothing but faint print"
    assert sum(f > 0.02 and d > 0.02 for f, d in zip(faint, dark, strict=True)) >= 8


def test_faint_strokes_are_as_dark_as_they_are_meant_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_FAINTEST", 20.0)
    monkeypatch.setattr(pages, "_FAINT", 20.0)
    ink = np.ones((60, 60), np.float32)
    ink[20:40] = 0.0

    class Chosen:
        """A generator whose first number makes the whole page faint, and whose second adds no notes."""

        def __init__(self) -> None:
            self._real, self._first = np.random.default_rng(0), [0.0, 0.9]

        def random(self) -> float:
            return self._first.pop(0)

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    made = pages._faint(ink, Chosen(), 12)  # type: ignore[arg-type]
    assert np.rint(255 * made[30]) == pytest.approx(235)
    assert (made[:20] == 1.0).all()


@pytest.mark.parametrize("draw", [furniture.halftone, furniture.engraving])
def test_printed_pictures_are_as_dark_as_their_tones(draw: object) -> None:
    """Seen from afar, dots and lines are gray: darker tones give more ink."""
    assert callable(draw)
    means = []
    for tone in (0.1, 0.3, 0.5, 0.7, 0.9):
        printed = draw(np.random.default_rng(4), np.full((120, 120), tone, np.float32))
        assert printed.dtype == np.float32
        assert printed.min() >= 0.0
        assert printed.max() <= 1.0
        means.append(float(printed.mean()))
    assert means == sorted(means)
    assert means[-1] - means[0] > 0.5
    ramp = draw(np.random.default_rng(4), np.full((120, 120), 0.5, np.float32))
    assert ramp.std() > 0.2, "dots or lines, no even gray"


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 120), width=st.integers(1, 120))
def test_notes_are_strokes_on_nothing(seed: int, height: int, width: int) -> None:
    layer = furniture.notes(np.random.default_rng(seed), (height, width), 14)
    assert layer.shape == (height, width)
    assert layer.max() == 1.0 or layer.min() == 0.0
    assert 0.0 <= layer.min() <= layer.max() <= 1.0


def test_most_print_is_black_itself() -> None:
    grays = [pages._style(np.random.default_rng(seed), 20.0, system_fonts=False).ink for seed in range(300)]
    assert 0.45 < np.mean(np.equal(grays, 0)) < 0.62
    assert 0.1 < np.mean(np.greater(grays, 29)) < 0.3
    assert max(grays) < 120


def test_creased_paper_lifts_all_of_its_ink(monkeypatch: pytest.MonkeyPatch) -> None:
    black, off = np.zeros((40, 40), np.float32), np.zeros((40, 40), np.float32)
    off[:, :5] = 0.3
    cover = np.ones((40, 40), np.float32)
    dirt = importlib.import_module("denoiser.generator.dirt")  # the package has a function of this name
    monkeypatch.setattr(dirt, "_cover", lambda *_: (cover, off))
    monkeypatch.setattr(dirt, "_scanned", lambda image, _: image)
    pages_made = [generator.dirt(black, np.random.default_rng(seed)) for seed in range(60)]
    creased = [page for page in pages_made if page[0, 0] > page[0, 20] + 0.1]
    assert len(creased) > 40
    assert min(float(page[:, 5:].min()) for page in creased) >= 0.04


def test_notes_are_a_few_strokes() -> None:
    layers = [furniture.notes(np.random.default_rng(seed), (200, 200), 14) for seed in range(8)]
    assert all(0.0 < (layer < 0.5).mean() < 0.1 for layer in layers)


def test_text_has_all_that_text_has() -> None:
    words, plain = (
        " ".join(text.prose(np.random.default_rng(0), 3000, accents=accents)) for accents in (True, False)
    )
    assert any(sign.isupper() for sign in words)
    assert any(sign.isdigit() for sign in words)
    assert set(".,;:?!()") <= set(words)
    assert any(ord(sign) > 127 for sign in words)
    assert all(ord(sign) < 128 for sign in plain)


def test_without_fonts_there_is_still_text(no_fonts: None) -> None:
    assert fonts.system_fonts() == ()
    drawn = generator.page(np.random.default_rng(2), (200, 320))
    assert (drawn < 0.5).mean() > 0.03
    np.testing.assert_array_equal(
        drawn, generator.page(np.random.default_rng(2), (200, 320), system_fonts=False)
    )


def test_fonts_that_are_of_no_use_are_left_out(
    no_fonts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path, tmp_path / "not there"])
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    (tmp_path / "notes.txt").write_text("no font either")
    (tmp_path / "folder.otf").mkdir()
    # Pillow's own font, as a file, lacks accented letters.
    (tmp_path / "plain.ttf").write_bytes(_own_font())
    assert fonts.system_fonts() == ()


def _own_font() -> bytes:
    own = ImageFont.load_default(20)
    assert isinstance(own, ImageFont.FreeTypeFont)
    return own.font_bytes


def test_a_system_font_is_used(no_fonts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_folders", FOLDERS)
    fonts.system_fonts.cache_clear()
    there = fonts.system_fonts()
    if not there:
        pytest.skip("no fonts are installed here")
    (tmp_path / "sub").mkdir()
    shutil.copy(there[0], tmp_path / "sub")
    fonts.system_fonts.cache_clear()
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path])
    assert [Path(path).name for path in fonts.system_fonts()] == [Path(there[0]).name]
    rng = np.random.default_rng(0)
    chosen = {fonts.choose_font(rng) for _ in range(40)}
    assert chosen == {None, *fonts.system_fonts()}
    assert {fonts.choose_font(rng, system=False) for _ in range(5)} == {None}


@pytest.mark.parametrize("bold", [0, 1])
def test_letters_stand_where_pillow_would_write_them(bold: int) -> None:
    face = fonts.Face(None, 20, bold)
    ours, pillows = (Image.new("L", (300, 60), 255) for _ in range(2))
    face.write(ours, ["Hamburg", "fonts"], [10.0, 120.0], 12, 30)
    draw = ImageDraw.Draw(pillows)
    for x, word in ((10, "Hamburg"), (120, "fonts")):
        draw.text((x, 12), word, fill=30, font=fonts.sized(None, 20), stroke_width=bold)
    difference = np.abs(np.asarray(ours, dtype=float) - np.asarray(pillows))
    # Kerning and fractions of a pixel are the only differences.
    assert difference.mean() < 0.25 * (255 - np.asarray(pillows, dtype=float)).mean()
    assert face.width("Hamburg") == pytest.approx(draw.textlength("Hamburg", fonts.sized(None, 20)), abs=2)
    face.write(ours, [], [], 0, 0)
    face.write(ours, ["beyond"], [-500.0], 0, 0)
    face.write(ours, ["beyond"], [295.0], 55, 0)


def test_clouds_are_as_high_as_they_say() -> None:
    found = [canvas.cloud(np.random.default_rng(seed), (200, 150), cell=20) for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.0, abs=0.1)
    assert np.std(found) == pytest.approx(1.0, abs=0.3)


def test_enlarging_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = np.random.default_rng(0).standard_normal((20, 30), dtype=np.float32)
    by_matrices = canvas.enlarged(coarse, (77, 140))
    monkeypatch.setattr(canvas, "_SMALL", 0)
    np.testing.assert_allclose(canvas.enlarged(coarse, (77, 140)), by_matrices, atol=1e-5)
