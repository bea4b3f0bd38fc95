"""`denoise run`, through the command line, on real files, with models whose results are known."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.system import atomic
from tests.helpers import fakes
from tests.helpers.command import Denoise
from tests.helpers.files import pixels, tree


def test_a_folder_is_mirrored_and_an_identity_changes_no_pixel(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    outcome = denoise(scans, "--out", tmp_path / "clean", "--model", identity)
    assert outcome.code == 0, outcome.err
    assert tree(tmp_path / "clean") == tree(scans) == ["a.png", "b.png", "box/c.tif"]
    for name in tree(scans):
        np.testing.assert_array_equal(pixels(tmp_path / "clean" / name), pixels(scans / name))
    assert outcome.out == ""
    assert "3 cleaned" in outcome.err


def test_run_may_be_said_or_left_out(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    for index, arguments in enumerate((("run", scans), (scans,))):
        assert denoise(*arguments, "--out", tmp_path / str(index), "--model", identity).code == 0
    assert denoise("--out", tmp_path / "2", "--model", identity, scans).code == 0
    assert denoise("--quiet", "-o", tmp_path / "3", f"--model={identity}", "--", scans).code == 0
    assert len({tuple(tree(tmp_path / str(index))) for index in range(4)}) == 1


def test_a_file_whose_name_begins_with_a_dash(
    denoise: Denoise, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (30, 30), 9).save("-x.png")
    assert denoise("--out", "clean", "--model", identity, "--", "-x.png").code == 0
    assert (tmp_path / "clean" / "-x.png").exists()


def test_folders_called_like_commands(
    denoise: Denoise, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "plugins"):
        (tmp_path / name).mkdir()
        Image.new("L", (30, 30), 9).save(tmp_path / name / "x.png")
        assert denoise(f"./{name}", "--out", f"clean-{name}", "--model", identity).code == 0
    outcome = denoise("plugins", "--out", "c")
    assert outcome.code == 2
    assert "plugins is a command" in outcome.err
    assert "./plugins" in outcome.err


def test_a_misspelt_command_is_suggested(denoise: Denoise, scans: Path) -> None:
    outcome = denoise("modls", scans, "--out", "x")
    assert outcome.code == 2
    assert "modls: no such file or folder" in outcome.err
    assert "denoise models" in outcome.err


@pytest.mark.parametrize("option", ["--force", "--keep", "--sync", "--fail-fast"])
def test_what_means_nothing_in_a_pipe_is_told(identity: Path, scans: Path, option: str) -> None:
    command = [sys.executable, "-m", "denoiser", "-", "--model", str(identity), option]
    with (scans / "a.png").open("rb") as image:
        done = subprocess.run(command, stdin=image, capture_output=True, check=True)
    assert done.stderr == f"Note: {option} has no effect in a pipe: no file is written.\n".encode()
    assert done.stdout[:4] == b"\x89PNG"


def test_stdin_to_stdout(identity: Path, scans: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "denoiser", "-", "--model", str(identity)]
    done = subprocess.run(command, input=(scans / "a.png").read_bytes(), capture_output=True, check=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(done.stdout))), pixels(scans / "a.png"))
    for content, word in ((b"", b"is empty"), (b"text", b"not an image")):
        done = subprocess.run(command, input=content, capture_output=True, check=False)
        assert done.returncode == 1
        assert done.stdout == b""
        assert word in done.stderr
        assert b"stdin" in done.stderr


# --- again and again ---------------------------------------------------------------------------------------


def test_finished_files_are_skipped_until_something_changes(
    denoise: Denoise, scans: Path, identity: Path, flattener: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clean"
    common = (scans, "--out", out, "--model", identity)
    assert "3 cleaned" in denoise(*common).err
    before = {name: (out / name).stat().st_mtime_ns for name in tree(out)}
    assert "3 up to date" in denoise(*common).err
    assert {name: (out / name).stat().st_mtime_ns for name in tree(out)} == before
    Image.new("L", (40, 40), 3).save(scans / "a.png")
    assert "1 cleaned, 2 up to date" in denoise(*common).err
    (out / "b.png").unlink()
    assert "1 cleaned, 2 up to date" in denoise(*common).err
    assert "3 cleaned" in denoise(*common, "--stride", 14).err
    assert "3 cleaned" in denoise(*common, "--force").err
    assert "3 cleaned" in denoise(scans, "--out", out, "--model", flattener).err


def test_strangers_are_not_overwritten(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    out = tmp_path / "clean"
    out.mkdir()
    (out / "a.png").write_text("precious")
    outcome = denoise(scans, "--out", out, "--model", identity)
    assert outcome.code == 2
    assert "a.png" in outcome.err
    assert "was not written by denoise" in outcome.err
    assert (out / "a.png").read_text() == "precious"
    assert tree(out) == ["a.png"]
    assert denoise(scans, "--out", out, "--model", identity, "--force").code == 0
    assert pixels(out / "a.png").shape == (40, 60)


def test_a_dry_run_does_nothing(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    outcome = denoise(scans, "--out", tmp_path / "clean", "--model", identity, "--dry-run")
    assert outcome.code == 0
    assert f"{scans / 'a.png'} -> {tmp_path / 'clean' / 'a.png'}  (new)" in outcome.out.splitlines()
    assert len(outcome.out.splitlines()) == 3
    assert "3 would be cleaned" in outcome.err
    assert not (tmp_path / "clean").exists()


def test_what_a_dead_run_left_is_removed_and_a_live_ones_is_not(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clean"
    out.mkdir()
    dead = out / f".a.png.0123456789ab{atomic.SUFFIX}"
    dead.write_bytes(b"half")
    with atomic.replacing(out / "other.png") as file:
        file.write(b"half")
        assert denoise(scans, "--out", out, "--model", identity).code == 0
        assert not dead.exists()
        assert len(list(out.glob(f".*{atomic.SUFFIX}"))) == 1
    assert (out / "other.png").read_bytes() == b"half"


# --- what is said ------------------------------------------------------------------------------------------


def test_json_is_all_that_stdout_gets(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    (scans / "broken.png").write_text("text")
    outcome = denoise(scans, "--out", tmp_path / "clean", "--model", identity, "--json")
    assert outcome.code == 1
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    summary = rows.pop()["summary"]
    assert {Path(row["source"]).name: row["status"] for row in rows} == {
        "a.png": "done",
        "b.png": "done",
        "broken.png": "failed",
        "c.tif": "done",
    }
    assert all(Path(row["output"]).exists() == (row["status"] == "done") for row in rows)
    assert summary["done"] == 3
    assert summary["failed"] == 1
    assert summary["exit_code"] == 1
    assert next(row["error"] for row in rows if row["error"]) == "is not an image that can be read."


def test_quiet_says_only_errors_and_verbose_every_file(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    assert denoise(scans, "--out", tmp_path / "1", "--model", identity, "--quiet").err == ""
    (scans / "broken.png").write_text("text")
    lines = denoise(scans, "--out", tmp_path / "2", "--model", identity, "--quiet").err.splitlines()
    assert lines == [f"Error: {scans / 'broken.png'} is not an image that can be read."]
    verbose = denoise(scans, "--out", tmp_path / "3", "--model", identity, "--verbose").err
    assert f"{scans / 'box/c.tif'} -> {tmp_path / '3/box/c.tif'}: done by identity" in verbose


def test_the_first_line_says_the_facts(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    first = denoise(scans, "--out", tmp_path / "clean", "--model", identity).err.splitlines()[0]
    for fact in ("denoise 0.", "identity", "numpy on cpu", "no plugins", "3 images"):
        assert fact in first


def test_a_change_of_kind_is_said_once(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    folder = tmp_path / "colour"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (40, 40), (200, index, 0)).save(folder / f"{index}.png")
    outcome = denoise(folder, "--out", tmp_path / "clean", "--model", identity)
    assert outcome.err.count("colour became gray") == 1
    assert Image.open(tmp_path / "clean/0.png").mode == "L"


# --- options that change the output ------------------------------------------------------------------------


def test_strength_blends(denoise: Denoise, scans: Path, flattener: Path, tmp_path: Path) -> None:
    def run(strength: float) -> np.ndarray:
        out = tmp_path / str(strength)
        assert denoise(scans / "a.png", "--out", out, "--model", flattener, "--strength", strength).code == 0
        return pixels(out / "a.png").astype(float)

    before = pixels(scans / "a.png").astype(float)
    np.testing.assert_array_equal(run(0.0), before)
    full = run(1.0)
    assert full.std() < before.std() / 2
    np.testing.assert_allclose(run(0.5), (before + full) / 2, atol=1.0)


def test_quality_and_stride_decide_the_overlap(
    denoise: Denoise, scans: Path, flattener: Path, tmp_path: Path
) -> None:
    def run(*options: object) -> bytes:
        out = tmp_path / "-".join(map(str, options))
        assert denoise(scans / "a.png", "--out", out, "--model", flattener, *options).code == 0
        return pixels(out / "a.png").tobytes()

    results = [run("--quality", name) for name in ("fast", "balanced", "best")]
    assert len(set(results)) == 3
    assert run("--stride", 14) == run("--quality", "best", "--stride", 14)


@pytest.mark.parametrize(("size", "shape"), [("model", (28, 28)), ("input", (40, 60))])
def test_whole_mode_and_its_size(
    denoise: Denoise, scans: Path, tmp_path: Path, size: str, shape: tuple[int, int]
) -> None:
    model = fakes.ink(tmp_path / "ink.keras", -20.0)
    assert denoise(scans / "a.png", "--out", tmp_path / size, "--model", model, "--size", size).code == 0
    result = pixels(tmp_path / size / "a.png")
    assert result.shape == shape
    assert len(np.unique(result)) == 1


def test_sizes_stay_and_lost_detail_is_said_once(denoise: Denoise, scans: Path, tmp_path: Path) -> None:
    model = fakes.ink(tmp_path / "ink.keras", -20.0)
    outcome = denoise(scans, "--out", tmp_path / "out", "--model", model)
    assert outcome.code == 0
    for path in scans.rglob("*.png"):
        assert pixels(tmp_path / "out" / path.relative_to(scans)).shape == pixels(path).shape
    assert outcome.err.count("detail was reduced to 28x28 pixels (--mode tile keeps it)") == 1
    assert (
        "reduced" not in denoise(scans, "--out", tmp_path / "tiled", "--model", model, "--mode", "tile").err
    )


def test_a_mode_overrides_the_models(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    ink = fakes.ink(tmp_path / "ink.keras")
    assert denoise(scans / "a.png", "--out", tmp_path / "t", "--model", ink, "--mode", "tile").code == 0
    assert pixels(tmp_path / "t/a.png").shape == (40, 60)
    assert denoise(scans / "a.png", "--out", tmp_path / "w", "--model", identity, "--mode", "whole").code == 0
    assert len(np.unique(pixels(tmp_path / "w/a.png"))) > 1
    sizes = ("--out", tmp_path / "m", "--model", identity, "--mode", "whole", "--size", "model")
    assert denoise(scans / "a.png", *sizes).code == 0
    assert pixels(tmp_path / "m/a.png").shape == (28, 28)


def test_formats(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    for name, suffix, kind in (("png", ".png", "PNG"), ("tiff", ".tif", "TIFF"), ("jpeg", ".jpg", "JPEG")):
        out = tmp_path / name
        assert denoise(scans, "--out", out, "--model", identity, "--format", name).code == 0
        assert {Path(each).suffix for each in tree(out)} == {suffix}
        assert {Image.open(out / each).format for each in tree(out)} == {kind}


def test_colour_is_kept_where_asked(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "c.png")
    outcome = denoise(tmp_path / "c.png", "--out", tmp_path / "o", "--model", identity, "--color")
    assert outcome.code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "o/c.png"), colours)


def test_16_bit_and_pages_go_through(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 50), np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.tif", dpi=(300, 300))
    book = [Image.fromarray((deep[:, : 30 + index] >> 8).astype(np.uint8)) for index in range(3)]
    book[0].save(tmp_path / "book.tif", save_all=True, append_images=book[1:], dpi=(200, 200))
    out = tmp_path / "o"
    outcome = denoise(tmp_path / "deep.tif", tmp_path / "book.tif", "--out", out, "--model", identity)
    assert outcome.code == 0, outcome.err
    np.testing.assert_array_equal(pixels(out / "deep.tif"), deep)
    assert Image.open(out / "deep.tif").info["dpi"] == (300, 300)
    with Image.open(out / "book.tif") as result:
        assert result.n_frames == 3  # type: ignore[attr-defined]
        for index, page in enumerate(book):
            result.seek(index)
            np.testing.assert_array_equal(np.asarray(result), np.asarray(page))
            assert result.info["dpi"] == (200, 200)
    assert "(4 pages)" in outcome.err


def test_comparison_shows_before_after_and_difference(
    denoise: Denoise, scans: Path, flattener: Path, tmp_path: Path
) -> None:
    look = tmp_path / "look"
    common = (scans, "--out", tmp_path / "clean", "--model", flattener, "--compare", look)
    assert denoise(*common).code == 0
    assert tree(look) == ["a.png.png", "b.png.png", "box/c.tif.png"]
    shown = pixels(look / "a.png.png")
    assert shown.shape == (40, 3 * 60 + 2 * 2)
    np.testing.assert_array_equal(shown[:, :60], pixels(scans / "a.png"))
    np.testing.assert_array_equal(shown[:, 62:122], pixels(tmp_path / "clean/a.png"))
    assert "3 up to date" in denoise(*common).err
    (look / "a.png.png").unlink()
    assert "1 cleaned, 2 up to date" in denoise(*common).err


def test_which_files(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    def run(*options: object) -> list[str]:
        out = tmp_path / "".join(map(str, options)).translate(str.maketrans("./", "__"))
        assert denoise(scans, "--out", out, "--model", identity, *options).code == 0
        return tree(out)

    (tmp_path / "more").mkdir()
    shutil.copy(scans / "a.png", tmp_path / "more/d.png")
    (scans / "linked").symlink_to(tmp_path / "more")
    assert run("--glob", "*.tif") == ["box/c.tif"]
    assert run("--no-recursive") == ["a.png", "b.png"]
    assert run("--follow-links") == ["a.png", "b.png", "box/c.tif", "linked/d.png"]


def test_the_same_bytes_whatever_the_jobs_the_order_and_the_neighbours(
    denoise: Denoise, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    model = fakes.write_model(
        tmp_path / "random.keras",
        "PatchAutoencoder",
        {"channels": 24, "blocks": 2, "groups": 12, "channel_hidden": 40},
        lambda name, shape: rng.normal(0, 0.2, shape),
    )
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(9):
        shape = rng.integers(10, 120, 2)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / f"{index}.png")
    assert denoise(folder, "--out", tmp_path / "1", "--model", model, "--jobs", 1).code == 0
    assert denoise(folder, "--out", tmp_path / "2", "--model", model, "--jobs", 2).code == 0
    for index in reversed(range(9)):
        assert denoise(folder / f"{index}.png", "--out", tmp_path / "3", "--model", model).code == 0
    for name in tree(folder):
        contents = {(tmp_path / out / name).read_bytes() for out in "123"}
        assert len(contents) == 1, name


@pytest.mark.slow
def test_both_engines_write_the_same(denoise: Denoise, scans: Path, tmp_path: Path) -> None:
    common = (scans, "--model", "general", "--stride", 14, "--device", "cpu")
    assert denoise(*common, "--out", tmp_path / "numpy", "--engine", "numpy").code == 0
    outcome = denoise(*common, "--out", tmp_path / "keras", "--engine", "keras", "--batch-size", 16)
    assert outcome.code == 0, outcome.err
    assert "keras on cpu" in outcome.err
    for name in tree(scans):
        first, second = (pixels(tmp_path / engine / name).astype(int) for engine in ("numpy", "keras"))
        assert np.abs(first - second).max() <= 1  # 1e-4 before rounding can tip it over


@pytest.mark.slow
def test_bfloat16_is_said_and_part_of_what_makes_a_file_up_to_date(
    denoise: Denoise, scans: Path, tmp_path: Path
) -> None:
    common = (scans, "--model", "general", "--stride", 14, "--device", "cpu", "--out")
    assert denoise(*common, tmp_path / "exact").code == 0
    rounded = (*common, tmp_path / "rounded", "--precision", "bfloat16")
    outcome = denoise(*rounded)
    assert outcome.code == 0, outcome.err
    assert "keras on cpu in bfloat16" in outcome.err
    for name in tree(scans):
        first, second = (pixels(tmp_path / way / name).astype(int) for way in ("exact", "rounded"))
        top = 257 if first.max() > 255 else 1
        assert np.abs(first - second).max() <= 4 * top
        assert np.abs(first - second).mean() < 1 * top
    assert "up to date" in denoise(*rounded, "--dry-run").err
    assert "would be cleaned" in denoise(*common, tmp_path / "rounded", "--dry-run").err
    assert "in float32" in denoise(*common, tmp_path / "auto", "--precision", "auto").err


def test_comparisons_of_pages_that_are_gone_go_too(tmp_path: Path, identity: Path, denoise: Denoise) -> None:
    scans, look = tmp_path / "scans", tmp_path / "look"
    pages = [Image.effect_noise((40, 30), 60) for _ in range(3)]
    scans.mkdir()
    look.mkdir()
    (look / "a.tif.page9.png").write_text("somebody's")

    def names(count: int) -> list[str]:
        pages[0].save(scans / "a.tif", save_all=True, append_images=pages[1:count])
        outcome = denoise(scans, "--out", tmp_path / "out", "--model", identity, "--compare", look)
        assert outcome.code == 0, outcome.err
        return sorted(path.name for path in look.glob("*.png") if path.name != "a.tif.page9.png")

    assert names(3) == ["a.tif.page1.png", "a.tif.page2.png", "a.tif.page3.png"]
    assert names(2) == ["a.tif.page1.png", "a.tif.page2.png"]
    assert names(1) == ["a.tif.png"]
    assert names(2) == ["a.tif.page1.png", "a.tif.page2.png"]
    assert (look / "a.tif.page9.png").read_text() == "somebody's"
