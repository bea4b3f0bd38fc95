"""`read_pages` and `write_pages`: formats that plugins add, and what they may get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.pipeline import record
from tests.helpers.command import Denoise
from tests.helpers.files import pixels
from tests.helpers.plugins import plugin

# A format of our own: npy files, a page each row of the first axis.
READ = """
    from denoiser import Page

    SUFFIXES = (".npy",)

    @hookimpl
    def read_pages(path):
        pages = np.load(path)
        for image in pages:
            yield image, Page(count=len(pages), depth=8, dpi=(150.0, 150.0))
    """
WRITE = """
    @hookimpl
    def write_pages(path, pages):
        assert path.suffix == ".npy" and path.exists()
        kept = []
        for image, page in pages:
            assert not image.flags.writeable
            kept.append(image)
        np.save(path, np.stack(kept))
        return True
    """


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for name, count in (("one", 1), ("three", 3)):
        np.save(folder / f"{name}.npy", rng.random((count, 40, 50)))
    Image.fromarray(np.full((30, 30), 100, np.uint8)).save(folder / "plain.png")
    return folder


def test_a_plugins_files_are_found_and_keep_their_ending(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path
) -> None:
    numpy_files = plugin(tmp_path, "numpy_files", READ + WRITE)
    common = (stacks, "--out", tmp_path / "o", "--model", identity, "--plugin", numpy_files)
    outcome = denoise(*common)
    assert outcome.code == 0, outcome.err
    assert "3 cleaned" in outcome.err
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "one.npy",
        "three.npy",
        "plain.png",
        record.FOLDER,
    }
    for name in ("one", "three"):
        given, made = np.load(stacks / f"{name}.npy"), np.load(tmp_path / f"o/{name}.npy")
        np.testing.assert_allclose(made, given, atol=1e-6)
    assert "3 up to date" in denoise(*common).err
    without = denoise(stacks, "--out", tmp_path / "p", "--model", identity)
    assert "1 cleaned" in without.err


def test_what_no_plugin_writes_becomes_a_tiff(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path
) -> None:
    reader = plugin(tmp_path, "reader", READ)
    common = (stacks / "three.npy", "--model", identity, "--plugin", reader)
    assert denoise(*common, "--out", tmp_path / "o").code == 0
    with Image.open(tmp_path / "o/three.tiff") as made:
        assert getattr(made, "n_frames", 1) == 3
        assert made.info["dpi"] == (150, 150)
        assert made.mode == "L"
    assert denoise(*common, "--out", tmp_path / "p", "--format", "tiff").code == 0
    assert (tmp_path / "p/three.tif").exists()
    outcome = denoise(*common, "--out", tmp_path / "q", "--format", "png")
    assert outcome.code == 1
    assert "3 pages" in outcome.err


def test_other_steps_work_on_a_plugins_pages_and_colour_is_kept_if_wanted(
    denoise: Denoise, identity: Path, tmp_path: Path
) -> None:
    red = np.zeros((1, 40, 40, 3))
    red[..., 0] = 1.0
    np.save(tmp_path / "red.npy", red)
    steps = plugin(
        tmp_path, "steps", "@hookimpl\ndef preprocess(image, page):\n    assert page.path.name == 'red.npy'\n"
    )
    both = plugin(tmp_path, "numpy_files", READ + WRITE)
    common = (tmp_path / "red.npy", "--model", identity, "--plugin", both, "--plugin", steps)
    outcome = denoise(*common, "--out", tmp_path / "o")
    assert outcome.code == 0
    assert "colour became gray" in outcome.err
    np.testing.assert_allclose(np.load(tmp_path / "o/red.npy"), 0.299, atol=1e-5)
    assert denoise(*common, "--out", tmp_path / "p", "--color").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "p/red.npy"), red, atol=1e-5)


def test_the_next_plugin_is_asked_and_at_last_the_built_in_formats(
    denoise: Denoise, stacks: Path, scans: Path, identity: Path, tmp_path: Path
) -> None:
    shy = "SUFFIXES = ('.npy', '.PNG')\n@hookimpl\ndef {}: return None\n"
    first = plugin(
        tmp_path, "first", shy.format("read_pages(path)") + "@hookimpl\ndef write_pages(path): pass\n"
    )
    both = plugin(tmp_path, "numpy_files", READ + WRITE)
    outcome = denoise(
        stacks, "--out", tmp_path / "o", "--model", identity, "--plugin", first, "--plugin", both
    )
    assert outcome.code == 0, outcome.err
    assert (pixels(tmp_path / "o/plain.png") == 100).all()
    assert np.load(tmp_path / "o/three.npy").shape == (3, 40, 50)
    assert not list((tmp_path / "o").glob(".*tmp*"))


def test_alpha_and_resolution_stay_with_plugins_and_lost_alpha_is_said(
    denoise: Denoise, identity: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    image = Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8))
    alpha = Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8))
    image.putalpha(alpha)
    image.save(tmp_path / "a.png", dpi=(300, 300))
    half = plugin(tmp_path, "half", "@hookimpl\ndef preprocess(image):\n    return image / 2\n")
    common = (tmp_path / "a.png", "--model", identity, "--plugin")
    assert denoise(*common, half, "--out", tmp_path / "o").code == 0
    with Image.open(tmp_path / "o/a.png") as made:
        assert made.mode == "LA"
        np.testing.assert_array_equal(np.asarray(made.getchannel("A")), np.asarray(alpha))
        assert round(made.info["dpi"][0]) == 300
    body = """
    SUFFIXES = [".png"]

    @hookimpl
    def write_pages(path, pages):
        path.write_text(str(len(list(pages))))
        return True
    """
    outcome = denoise(*common, plugin(tmp_path, "text", body), "--out", tmp_path / "p")
    assert "transparency was left out" in outcome.err
    assert (tmp_path / "p/a.png").read_text() == "1"


PAGE = "from denoiser import Page\nSUFFIXES = ('.npy',)\n@hookimpl\ndef read_pages(path):\n"
READ_FAULTS = {
    "raises": ("    raise ValueError('torn')", "failed in read_pages: ValueError: torn"),
    "raises later": ("    yield np.ones((9, 9)), Page(count=2)\n    1 / 0", "failed in read_pages: ZeroDiv"),
    "nothing": ("    return iter(())", "gave no pages"),
    "a count of none": ("    yield np.ones((9, 9)), Page(count=0)", "said that there are 0 pages"),
    "a count in words": ("    yield np.ones((9, 9)), Page(count='1')", "whose count is '1'"),
    "depth": ("    yield np.ones((9, 9)), Page(depth=12)", "whose depth is 12; it must be 1, 8, 16 or 32"),
    "one resolution": ("    yield np.ones((9, 9)), Page(dpi=300)", "whose dpi is 300; it must be two"),
    "no resolution": ("    yield np.ones((9, 9)), Page(dpi=(0, 9))", "it must be two numbers above 0"),
    "a resolution that is no number": ("    yield np.ones((9, 9)), Page(dpi=(9, np.nan))", "whose dpi is"),
    "a profile by name": ("    yield np.ones((9, 9)), Page(icc='sRGB')", "whose icc is 'sRGB'"),
    "fewer": ("    yield np.ones((9, 9)), Page(count=2)", "gave 1 pages of 2"),
    "more": ("    for _ in range(2): yield np.ones((9, 9)), Page()", "more than the 1 pages"),
    "no page": ("    yield np.ones((9, 9))", "not an image and a Page"),
    "shape": ("    yield np.ones(9), Page()", "an array of shape (9,)"),
    "integers": ("    yield np.ones((9, 9), np.uint8), Page()", "an array of uint8"),
    "nan": ("    yield np.full((9, 9), np.nan), Page()", "NaN"),
    "no iterator": ("    return 3", "'int' object is not iterable"),
    "huge": ("    yield np.ones((900, 900)), Page()", "--max-megapixels"),
}


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_a_reader_at_fault_fails_its_file_alone(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path, fault: str
) -> None:
    body, reason = READ_FAULTS[fault]
    (stacks / "three.npy").unlink()
    bad = plugin(tmp_path, "bad", PAGE + body + "\n")
    options = ("--max-megapixels", 0.5) if fault == "huge" else ()
    outcome = denoise(stacks, "--out", tmp_path / "o", "--model", identity, "--plugin", bad, *options)
    assert outcome.code == 1
    assert reason in outcome.err, outcome.err
    assert fault == "huge" or "plugin bad" in outcome.err
    assert [path.name for path in sorted((tmp_path / "o").iterdir())] == [record.FOLDER, "plain.png"]


def test_no_tiff_gets_the_ending_of_a_format_that_plugins_write(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path
) -> None:
    (stacks / "three.npy").unlink()
    declines = "SUFFIXES = ('.npy',)\n@hookimpl\ndef write_pages(path, pages):\n    return None\n"
    reader, writer = plugin(tmp_path, "reader", READ), plugin(tmp_path, "writer", declines)
    common = ("--model", identity, "--plugin", reader)
    outcome = denoise(stacks, "--out", tmp_path / "o", *common, "--plugin", writer)
    assert outcome.code == 1
    assert "one.npy can't be written: no plugin wrote one.npy. Use --format tiff" in outcome.err
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [record.FOLDER, "plain.png"]
    assert denoise(stacks, "--out", tmp_path / "o", *common, "--format", "tiff").code == 0
    assert Image.open(tmp_path / "o/one.tif").format == "TIFF"

    outcome = denoise(stacks / "one.npy", "--out", tmp_path / "x.npy", *common)
    assert outcome.code == 1
    assert "no plugin wrote x.npy" in outcome.err
    assert not (tmp_path / "x.npy").exists()
    assert denoise(stacks / "one.npy", "--out", tmp_path / "x.tif", *common).code == 0


def test_an_image_of_a_built_in_format_may_be_called_anything(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path
) -> None:
    """Whether or not a plugin writes files with that ending, and declines this one."""
    (stacks / "plain.png").rename(stacks / "plain.npy")
    declines = "SUFFIXES = ('.npy',)\n@hookimpl\ndef write_pages(path, pages):\n    return None\n"
    for plugins in ((), ("--plugin", plugin(tmp_path, "writer", declines))):
        common = (stacks / "plain.npy", "--out", tmp_path / "x.npy", "--model", identity, "--force")
        outcome = denoise(*common, *plugins)
        assert outcome.code == 0, outcome.err
        assert Image.open(tmp_path / "x.npy").format == "PNG"


WRITE_FAULTS = {
    "raises": ("    next(pages)\n    raise OSError('full')", "failed in write_pages: OSError: full"),
    "forgets to say": ("    np.save(path, [image for image, page in pages])", "it must return True"),
    "leaves pages out": ("    next(pages)\n    path.write_text('x')\n    return True", "wrote 1 pages of 3"),
    "writes nothing": ("    list(pages)\n    return True", "wrote nothing"),
    "writes elsewhere": ("    list(pages)\n    path.unlink()\n    return True", "wrote nothing"),
    "in place": ("    for image, page in pages: image[:] = 0", "read-only"),
}


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_writer_at_fault_leaves_no_output(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path, fault: str
) -> None:
    body, reason = WRITE_FAULTS[fault]
    reader = plugin(tmp_path, "reader", READ)
    bad = plugin(tmp_path, "bad", f"SUFFIXES = ('.npy',)\n@hookimpl\ndef write_pages(path, pages):\n{body}\n")
    steps = ("--plugin", reader, "--plugin", bad)
    outcome = denoise(stacks / "three.npy", "--out", tmp_path / "o", "--model", identity, *steps)
    assert outcome.code == 1
    assert "plugin bad" in outcome.err
    assert reason in outcome.err, outcome.err
    assert [path.name for path in (tmp_path / "o").iterdir()] == [record.FOLDER]


@pytest.mark.parametrize("hiding", ["return True", "raise ValueError('something')"])
def test_a_writer_can_not_hide_a_page_that_failed(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path, hiding: str
) -> None:
    reader = plugin(tmp_path, "reader", READ)
    step = plugin(tmp_path, "step", "@hookimpl\ndef preprocess(image, page):\n    assert page.index < 2\n")
    writer = plugin(
        tmp_path,
        "writer",
        f"""
        SUFFIXES = (".npy",)

        @hookimpl
        def write_pages(path, pages):
            path.write_text("half a file")
            try:
                list(pages)
            except Exception:
                {hiding}
            return True
        """,
    )
    steps = ("--plugin", reader, "--plugin", writer, "--plugin", step)
    outcome = denoise(stacks / "three.npy", "--out", tmp_path / "o", "--model", identity, *steps)
    assert outcome.code == 1
    assert "plugin step failed in preprocess: AssertionError" in outcome.err
    assert [path.name for path in (tmp_path / "o").iterdir()] == [record.FOLDER]


@pytest.mark.parametrize("declared", ["", "SUFFIXES = 'npy'\n", "SUFFIXES = ('npy',)\n"])
def test_a_reader_must_say_for_which_files(
    denoise: Denoise, stacks: Path, tmp_path: Path, declared: str
) -> None:
    bad = plugin(tmp_path, "bad", declared + "@hookimpl\ndef read_pages(path): ...\n")
    outcome = denoise(stacks, "--out", tmp_path / "o", "--plugin", bad)
    assert outcome.code == 3
    assert "SUFFIXES = (" in outcome.err


def test_what_a_killed_writer_left_is_removed(
    denoise: Denoise, stacks: Path, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o/.three.npy.0123456789ab.denoise-tmp.npy").write_text("half a file")
    both = plugin(tmp_path, "numpy_files", READ + WRITE)
    assert denoise(stacks, "--out", tmp_path / "o", "--model", identity, "--plugin", both).code == 0
    assert not list((tmp_path / "o").glob(".*denoise-tmp*"))
