"""What `document` must do to a page, and what it must leave alone: its bundled weights on drawn examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFont

import denoiser
from denoiser import generator
from denoiser._types import Floats
from denoiser.weights import store
from tests.helpers.command import Denoise

pytestmark = pytest.mark.skipif(
    not (store.BUNDLED / "document.keras").exists(), reason="no weights of document are bundled"
)

REGIONS = {
    "text": (slice(15, 150), slice(20, 440)),
    "picture": (slice(175, 365), slice(35, 285)),
    "stamp": (slice(175, 325), slice(300, 460)),
}
PENCIL = {gray: slice(400 + 40 * index, 440 + 40 * index) for index, gray in enumerate((115, 140, 165, 190))}


def drawn() -> Floats:
    """A clean page with text, a picture, a stamp and four strokes of ever lighter pencil."""
    image = Image.new("L", (480, 600), 255)
    draw = ImageDraw.Draw(image)
    for line in range(5):
        text = "The quick brown fox jumps over it."
        draw.text((30, 20 + 26 * line), text, fill=20, font=ImageFont.load_default(18))
    scene = generator.scene(np.random.default_rng(5), (200, 260))
    image.paste(Image.fromarray(np.rint(255 * (0.1 + 0.75 * scene)).astype(np.uint8)), (30, 170))
    draw.ellipse((310, 180, 450, 320), outline=90, width=5)
    draw.text((335, 235), "PAID 1931", fill=90, font=ImageFont.load_default(20))
    for index, gray in enumerate(PENCIL):
        x = np.linspace(30, 440, 60)
        y = 420 + 40 * index + 14 * np.sin(x / (9 + 4 * index) + index)
        draw.line([(float(a), float(b)) for a, b in zip(x, y, strict=True)], fill=gray, width=2)
    return np.asarray(image, np.float32) / np.float32(255.0)


def textured(clean: Floats, gray: float) -> Floats:
    """The same on gray paper with a grain."""
    rng = np.random.default_rng(0)
    shape = clean.shape[0], clean.shape[1]
    paper = 0.04 * (generator.field(rng, shape, cell=80.0, octaves=5) - 0.5) + rng.normal(0, 0.012, shape)
    return np.asarray(np.clip(clean * (gray + paper), 0, 1), dtype=np.float32)


def kept(clean: npt.NDArray[np.floating], result: npt.NDArray[np.floating]) -> float:
    """Contrast of a page as a share of the clean page's: the slope of one over the other."""
    x, y = clean.ravel(), result.ravel()
    return float(np.cov(x, y)[0, 1] / x.var())


@pytest.mark.parametrize("gray", [1.0, 0.85])
def test_pictures_stamps_and_pencil_stay(gray: float) -> None:
    clean = drawn()
    given = clean if gray == 1.0 else textured(clean, gray)
    result = denoiser.denoise(given, model="document")
    for name, region in REGIONS.items():
        # On gray paper everything has less contrast to begin with: what counts is what was there.
        there = kept(clean[region], given[region])
        assert kept(clean[region], result[region]) >= 0.9 * there, name
    for tone, rows in PENCIL.items():
        stroke = clean[rows] < 0.999
        assert (1 - result[rows])[stroke].sum() >= 0.9 * (1 - clean[rows])[stroke].sum(), tone


def test_gray_paper_becomes_white_and_text_stays_where_it_is() -> None:
    clean = drawn()
    dirty = textured(clean, 0.8)
    result = denoiser.denoise(dirty, model="document")
    empty = np.s_[560:, :]
    assert (result[empty] == 1.0).all()
    text = REGIONS["text"]
    before, after = (np.sqrt(np.mean((page[text] - clean[text]) ** 2)) for page in (dirty, result))
    assert after < before / 3


@pytest.mark.parametrize("gray", [160, 190, 220, 255])
def test_blank_paper_of_any_gray_comes_out_white(gray: int, denoise: Denoise, tmp_path: Path) -> None:
    page = textured(np.ones((120, 150), np.float32), gray / 255)
    Image.fromarray(np.rint(255 * page).astype(np.uint8)).save(tmp_path / "page.png")
    outcome = denoise(tmp_path / "page.png", "--model", "document", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert np.asarray(Image.open(tmp_path / "out/page.png")).min() == 255


def test_strength_blends_and_compare_shows_what_went(denoise: Denoise, tmp_path: Path) -> None:
    page = textured(drawn(), 0.8)
    Image.fromarray(np.rint(255 * page).astype(np.uint8)).save(tmp_path / "page.png")
    options = ("--model", "document", "--strength", 0.5, "--compare", tmp_path / "look")
    assert denoise(tmp_path / "page.png", "--out", tmp_path / "out", *options).code == 0
    half = np.asarray(Image.open(tmp_path / "out/page.png"))[560:]
    assert half.mean() / 255 == pytest.approx((1 + page[560:].mean()) / 2, abs=0.005)
    assert Image.open(next((tmp_path / "look").glob("page*.png"))).size[0] > 2 * 480
