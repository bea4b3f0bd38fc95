"""The plugins to copy do what they say, through the real command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import generator, noise
from denoiser.plugins import manager
from tests.helpers.command import Denoise
from tests.helpers.files import pixels
from tests.helpers.plugins import PLUGINS

PDF = PLUGINS / "denoiser-pdf" / "denoiser_pdf.py"


@pytest.fixture
def page() -> np.ndarray:
    # Not in the machine's fonts: the same page everywhere.
    return generator.page(np.random.default_rng(4), (420, 320), system_fonts=False)


def save(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)).save(path)
    return path


def turned(image: np.ndarray, angle: float) -> np.ndarray:
    page = Image.fromarray(np.asarray(image, np.float32))
    return np.asarray(page.rotate(angle, Image.Resampling.BICUBIC, fillcolor=1.0))


def test_invert_turns_only_what_is_dark_enough(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    save(tmp_path / "dark.png", np.full((40, 40), 0.2))
    save(tmp_path / "light.png", np.full((40, 40), 0.8))
    chain = manager.load([str(PLUGINS / "invert.py")], installed=False, options=["invert.threshold=0.4"])
    from denoiser import Page

    for tone, expected in ((0.2, 0.8), (0.8, 0.8)):
        image = np.full((40, 40), tone, np.float32)
        np.testing.assert_allclose(chain.preprocess(image, Page()), expected, atol=1e-6)
    options = ("--plugin", PLUGINS / "invert.py", "--plugin-option", "invert.threshold=0.4")
    for name in ("dark.png", "light.png"):
        assert denoise(tmp_path / name, "--out", tmp_path / "o", "--model", identity, *options).code == 0
        np.testing.assert_array_equal(pixels(tmp_path / "o" / name), pixels(tmp_path / name))


@pytest.mark.parametrize("angle", [-3.3, 2.0])
def test_deskew_levels_a_page(
    denoise: Denoise, identity: Path, tmp_path: Path, page: np.ndarray, angle: float
) -> None:
    slanted = save(tmp_path / "page.png", turned(page, angle))
    options = ("--model", identity, "--plugin", PLUGINS / "deskew.py")
    assert denoise(slanted, "--out", tmp_path / "o", *options).code == 0
    inside = (slice(60, -60), slice(60, -60))
    levelled = pixels(tmp_path / "o/page.png") / 255
    before = np.abs(turned(page, angle) - page)[inside].mean()
    assert levelled.shape == page.shape
    assert np.abs(levelled - page)[inside].mean() < 0.5 * before


def test_deskew_leaves_what_has_no_slant(
    denoise: Denoise, identity: Path, tmp_path: Path, page: np.ndarray
) -> None:
    options = ("--model", identity, "--plugin", PLUGINS / "deskew.py")
    grain = np.random.default_rng(1).random((200, 160))
    for name, image in (("level", page), ("grain", grain), ("blank", np.ones((50, 50)))):
        path = save(tmp_path / f"{name}.png", image)
        assert denoise(path, "--out", tmp_path / "o", *options).code == 0
        np.testing.assert_array_equal(pixels(tmp_path / "o" / path.name), pixels(path))


def test_whiten_makes_uneven_paper_white_and_keeps_ink(
    denoise: Denoise, identity: Path, tmp_path: Path, page: np.ndarray
) -> None:
    light = np.linspace(0.6, 0.9, page.shape[1])[None, :]
    path = save(tmp_path / "page.png", page * light)
    options = ("--model", identity, "--plugin", PLUGINS / "whiten.py")
    assert denoise(path, "--out", tmp_path / "o", *options).code == 0
    made = pixels(tmp_path / "o/page.png")
    assert (made[page > 0.98] == 255).mean() > 0.95
    ink = page < 0.5
    assert np.abs(made / 255 - page)[ink].mean() < 0.08


def test_whiten_takes_pictures_with_dark_ground(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    dark = np.zeros((100, 100))
    dark[40:60, 40:60] = 1.0
    path = save(tmp_path / "dark.png", dark)
    options = ("--model", identity, "--plugin", PLUGINS / "whiten.py")
    outcome = denoise(path, "--out", tmp_path / "o", *options)
    assert outcome.code == 0, outcome.err
    assert pixels(tmp_path / "o/dark.png").max() == 255


def test_crop_border_cuts_black_edges_and_nothing_else(
    denoise: Denoise, identity: Path, tmp_path: Path, page: np.ndarray
) -> None:
    framed = np.pad(page, ((12, 0), (7, 20)), constant_values=0.05)
    options = ("--model", identity, "--plugin", PLUGINS / "crop_border.py")
    for name, image, shape in (
        ("framed", framed, page.shape),
        ("page", page, page.shape),
        ("dark", np.zeros((50, 50)), (50, 50)),
    ):
        path = save(tmp_path / f"{name}.png", image)
        assert denoise(path, "--out", tmp_path / "o", *options).code == 0
        assert pixels(tmp_path / "o" / path.name).shape == shape


def test_halftone_is_a_noise_that_keeps_the_tone() -> None:
    chain = manager.load([str(PLUGINS / "halftone_noise.py")], installed=False)
    clean = np.full((20, 56, 56), 0.5, np.float32)
    with chain.noises():
        made = noise.parse("halftone:period=3..6,angle=0..90")(clean, np.random.default_rng(2))
        assert noise.parse("halftone:strength=0")(clean, np.random.default_rng(2)).tolist() == clean.tolist()
    assert abs(made.mean() - 0.5) < 0.02
    assert made.std(axis=(1, 2)).min() > 0.2


def test_lines_run_along_rows_and_columns() -> None:
    chain = manager.load([str(PLUGINS / "line_noise.py")], installed=False)
    clean = np.full((20, 64, 64), 0.5, np.float32)
    with chain.noises():
        rows = noise.parse("lines:gain=0.2,offset=0")(clean, np.random.default_rng(2))
        columns = noise.parse("lines:gain=0,offset=0.1")(clean, np.random.default_rng(2))
    assert np.ptp(rows, axis=2).max() < 1e-6
    assert rows.std() == pytest.approx(0.1, rel=0.1)
    assert np.ptp(columns, axis=1).max() < 1e-6
    assert columns.std() == pytest.approx(0.1, rel=0.1)


def test_bars_hide_columns_and_leave_the_rest() -> None:
    chain = manager.load([str(PLUGINS / "bars_noise.py")], installed=False)
    clean = np.full((400, 28, 28), 0.25, np.float32)
    with chain.noises():
        made = noise.parse("bars:number=2,width=2")(clean, np.random.default_rng(2))
        black = noise.parse("bars:number=1..3,width=1..3,tone=0")(clean, np.random.default_rng(2))
        assert noise.parse("bars:number=0")(clean, np.random.default_rng(2)).tolist() == clean.tolist()
    assert set(np.unique(made)) == {np.float32(0.25), np.float32(1.0)}
    assert (made == made[:, :1]).all()
    assert 0.10 < np.mean(made == 1.0) < 0.18
    assert set(np.unique(black)) == {np.float32(0.0), np.float32(0.25)}


@pytest.mark.parametrize("name", ["deskew", "whiten", "crop_border", "invert"])
def test_a_wrong_option_of_an_example_is_refused(denoise: Denoise, name: str) -> None:
    wrong = {"deskew": "limit=90", "whiten": "block=0", "crop_border": "most=2", "invert": "threshold=9"}[
        name
    ]
    options = ("--plugin", PLUGINS / f"{name}.py", "--plugin-option", f"{name}.{wrong}")
    assert denoise("plugins", "--no-plugins", *options).code == 2


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    """Two pages of odd sizes, one gray and one with a red patch."""
    import pypdfium2

    with pypdfium2.PdfDocument.new() as document:
        for size, color in (((200.3, 120.25), (128, 128, 128)), ((90.0, 140.7), (200, 30, 30))):
            page = document.new_page(*size)
            picture = pypdfium2.PdfImage.new(document)
            picture.set_bitmap(pypdfium2.PdfBitmap.from_pil(Image.new("RGB", (20, 20), color)))
            picture.set_matrix(pypdfium2.PdfMatrix().scale(*size))
            page.insert_obj(picture)
            page.gen_content()
        document.save(tmp_path / "scan.pdf")
    return tmp_path / "scan.pdf"


@pytest.mark.parametrize("quality", [0, 90])
def test_a_pdf_keeps_its_pages_their_sizes_and_their_tones(
    denoise: Denoise, identity: Path, tmp_path: Path, pdf: Path, quality: int
) -> None:
    import pypdfium2

    options = ("--model", identity, "--plugin", PDF, "--plugin-option", f"denoiser_pdf.quality={quality}")
    outcome = denoise(pdf, "--out", tmp_path / "o", "--color", *options)
    assert outcome.code == 0, outcome.err
    with pypdfium2.PdfDocument(pdf) as given, pypdfium2.PdfDocument(tmp_path / "o/scan.pdf") as made:
        assert len(made) == len(given)
        for before, after in zip(given, made, strict=True):
            assert after.get_size() == pytest.approx(before.get_size(), abs=0.01)
            was, now = (page.render().to_numpy()[10:-10, 10:-10].astype(float) for page in (before, after))
            assert np.abs(was - now).max() <= 6
    assert "1 up to date" in denoise(pdf, "--out", tmp_path / "o", "--color", *options).err


def test_a_pdf_can_become_a_tiff_and_a_broken_one_is_named(
    denoise: Denoise, identity: Path, tmp_path: Path, pdf: Path
) -> None:
    options = ("--model", identity, "--plugin", PDF, "--plugin-option", "denoiser_pdf.dpi=100")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    outcome = denoise(pdf, tmp_path / "broken.pdf", "--out", tmp_path / "o", "--format", "tiff", *options)
    assert outcome.code == 1
    assert "broken.pdf: plugin denoiser_pdf failed in read_pages" in outcome.err
    assert "colour became gray" in outcome.err
    with Image.open(tmp_path / "o/scan.tif") as made:
        assert getattr(made, "n_frames", 1) == 2
        assert made.size == (279, 168)


STACK = ("--plugin", PLUGINS / "npy_stack.py")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 30, 28), (40, 50)])
def test_a_stack_comes_back_with_its_shape_and_numbers(
    denoise: Denoise, identity: Path, tmp_path: Path, kind: type, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    whole = np.issubdtype(kind, np.integer)
    stack = rng.integers(0, np.iinfo(kind).max, shape) if whole else rng.random(shape)
    np.save(tmp_path / "stack.npy", stack.astype(kind))
    outcome = denoise(tmp_path / "stack.npy", "--out", tmp_path / "o", "--model", identity, *STACK)
    assert outcome.code == 0, outcome.err
    made = np.load(tmp_path / "o/stack.npy")
    assert made.shape == shape
    assert made.dtype == (kind if whole else np.float32)
    np.testing.assert_allclose(made, stack.astype(kind), atol=0 if whole else 1e-6)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 4), np.int32), "int32 numbers"),
        (np.zeros((20, 30, 3), np.uint8), "looks like channels"),
        (np.zeros(9, np.uint8), "shape (9,)"),
        (np.full((2, 30, 30), 7.0), "all in 0..1"),
        (np.full((2, 30, 30), np.nan), "all in 0..1"),
        (np.array([{}]), "Python objects"),
    ],
)
def test_what_is_no_stack_of_gray_images_is_named(
    denoise: Denoise, identity: Path, tmp_path: Path, array: np.ndarray, said: str
) -> None:
    np.save(tmp_path / "x.npy", array)
    outcome = denoise(tmp_path / "x.npy", "--out", tmp_path / "o", "--model", identity, *STACK)
    assert outcome.code == 1
    assert "x.npy" in outcome.err
    assert said in outcome.err
    assert not (tmp_path / "o/x.npy").exists()


def test_an_image_is_no_stack_by_its_output_s_name(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    outcome = denoise(scans / "a.png", "--out", tmp_path / "o.npy", "--model", identity, *STACK)
    assert outcome.code == 2
    assert "o.npy: .npy is not written from another format" in outcome.err
    assert not (tmp_path / "o.npy").exists()


def test_a_stack_that_was_cut_off_is_named(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 30, 30), np.uint8))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-100])
    outcome = denoise(tmp_path / "x.npy", "--out", tmp_path / "o", "--model", identity, *STACK)
    assert outcome.code == 1
    assert "plugin npy_stack" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("content", [b"no stack", b"", b"\x80\x04]\x94."])
def test_what_numpy_did_not_write_is_told_without_its_advice(
    denoise: Denoise, identity: Path, tmp_path: Path, content: bytes
) -> None:
    """NumPy advises to load such a file unsafely."""
    (tmp_path / "x.npy").write_bytes(content)
    outcome = denoise(tmp_path / "x.npy", "--out", tmp_path / "o", "--model", identity, *STACK)
    assert outcome.code == 1
    assert "pickle" not in outcome.err
    assert "x.npy" in outcome.err
