"""`denoise run`, through the command line, on real files, with models whose results are known."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import atomic, record
from tests import fakes
from tests.conftest import Outcome

Denoise = Callable[..., Outcome]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def tree(folder: Path) -> list[str]:
    """Every file below a folder but the record."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != record.NAME)
    return sorted(path.relative_to(folder).as_posix() for path in found)


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
    assert f"{scans / 'a.png'} -> {tmp_path / 'clean' / 'a.png'}" in outcome.out.splitlines()
    assert len(outcome.out.splitlines()) == 3
    assert "3 would be cleaned" in outcome.err
    assert not (tmp_path / "clean").exists()


def test_what_a_dead_run_left_is_removed_and_a_live_ones_is_not(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clean"
    out.mkdir()
    dead = out / f".a.png.0123{atomic.SUFFIX}"
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


def test_a_mode_overrides_the_models(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    ink = fakes.ink(tmp_path / "ink.keras")
    assert denoise(scans / "a.png", "--out", tmp_path / "t", "--model", ink, "--mode", "tile").code == 0
    assert pixels(tmp_path / "t/a.png").shape == (40, 60)
    assert denoise(scans / "a.png", "--out", tmp_path / "w", "--model", identity, "--mode", "whole").code == 0
    assert pixels(tmp_path / "w/a.png").shape == (28, 28)


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
        out = tmp_path / "".join(map(str, options)).replace("/", "_")
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
        {"channels": 24, "blocks": 2, "token_hidden": 24, "channel_hidden": 40},
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


# --- bad input ---------------------------------------------------------------------------------------------


def float_with_nan(path: Path) -> None:
    values = np.zeros((30, 30), np.float32)
    values[5, 5] = np.nan
    Image.fromarray(values).save(path)


def truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-100])


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "empty": ("x.png", lambda path: path.write_bytes(b""), "is empty"),
    "truncated": ("x.png", truncated, "can't be decoded"),
    "text": ("x.png", lambda path: path.write_text("hello"), "is not an image that can be read"),
    "no pixels": ("x.pgm", lambda path: path.write_bytes(b"P5 0 7 255\n"), "pixels|not an image|damaged"),
    "not a number": ("x.tif", float_with_nan, "holds NaN"),
    "too large": ("x.png", lambda path: Image.new("1", (5000, 4000)).save(path), "--max-megapixels 20"),
    "link to nothing": ("x.png", lambda path: path.symlink_to("nowhere"), "can't be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_fails_alone_in_one_line(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, case: str
) -> None:
    import re

    name, make, reason = BAD[case]
    make(scans / name)
    out = tmp_path / "clean"
    outcome = denoise(scans, "--out", out, "--model", identity, "--max-megapixels", 10)
    assert outcome.code == 1
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert str(scans / name) in errors[0]
    assert re.search(reason, errors[0])
    assert tree(out) == ["a.png", "b.png", "box/c.tif"]
    assert "3 cleaned, 1 failed" in outcome.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions don't bind root")
def test_an_unreadable_file_fails_alone(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (scans / "b.png").chmod(0)
    outcome = denoise(scans, "--out", tmp_path / "clean", "--model", identity)
    assert outcome.code == 1
    assert "b.png can't be read: Permission denied" in outcome.err


def test_an_output_that_can_not_be_written_fails_alone(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clean"
    (out / "a.png").mkdir(parents=True)
    outcome = denoise(scans, "--out", out, "--model", identity, "--force")
    assert outcome.code == 1
    assert "a.png is a folder" in outcome.err
    assert tree(out) == ["b.png", "box/c.tif"]


def test_fail_fast_stops_at_the_first(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    (scans / "0.png").write_text("text")
    outcome = denoise(scans, "--out", tmp_path / "clean", "--model", identity, "--fail-fast")
    assert outcome.code == 1
    assert "1 failed" in outcome.err
    assert "3 cleaned" not in outcome.err


USAGE: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": (("--out", "{out}"), "Nothing to clean"),
    "no out": (("{scans}",), "--out DIR"),
    "no such path": (("{scans}/nope", "--out", "{out}"), "nope: no such file or folder"),
    "no images": (("{empty}", "--out", "{out}"), "No images found"),
    "no match": (("{scans}", "--out", "{out}", "--glob", "*.xyz"), "matching \\*.xyz"),
    "out is in": (("{scans}", "--out", "{scans}"), "is the input folder"),
    "one output": (("{scans}/a.png", "{scans}/box/a.png", "--out", "{out}"), "both be written"),
    "unknown option": (("{scans}", "--out", "{out}", "--no-such"), "--no-such"),
    "unknown mode": (("{scans}", "--out", "{out}", "--mode", "half"), "whole"),
    "stride": (("{scans}", "--out", "{out}", "--stride", "29"), "1<=x<=28"),
    "strength": (("{scans}", "--out", "{out}", "--strength", "1.5"), "0.0<=x<=1.0"),
    "jobs": (("{scans}", "--out", "{out}", "--jobs", "0"), "x>=1"),
    "weights of none": (("{scans}", "--out", "{out}", "--weights", "w.keras"), "--model digits"),
    "weights of a file": (
        ("{scans}", "--out", "{out}", "--weights", "w.keras", "--model", "mine"),
        "mine is none",
    ),
    "quiet and verbose": (("{scans}", "--out", "{out}", "-q", "-v"), "exclude each other"),
    "- and more": (("-", "{scans}"), "can't be mixed"),
    "- and json": (("-", "--json"), "--json"),
    "- and out": (("-", "--out", "{out}"), "--out has no use"),
    "gpu engine": (("{scans}", "--out", "{out}", "--device", "gpu", "--engine", "numpy"), "numpy"),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_are_one_line_and_exit_2(
    denoise: Denoise, scans: Path, tmp_path: Path, case: str
) -> None:
    import re

    (tmp_path / "empty").mkdir()
    Image.new("L", (30, 30)).save(scans / "box" / "a.png")
    arguments, reason = USAGE[case]
    places = {"scans": scans, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    outcome = denoise(*(argument.format(**places) for argument in arguments))
    assert outcome.code == 2, outcome.err
    assert re.search(reason, outcome.err), outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_suggests_the_nearest(denoise: Denoise, scans: Path, tmp_path: Path) -> None:
    outcome = denoise(scans, "--out", tmp_path / "out", "--model", "genral")
    assert outcome.code == 3
    assert "general" in outcome.err
    assert not (tmp_path / "out").exists()


def test_model_files_that_can_not_be(denoise: Denoise, scans: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(fakes.identity(tmp_path / "whole.keras").read_bytes()[:-700])
    for model in (tmp_path / "missing.keras", damaged):
        outcome = denoise(scans, "--out", tmp_path / "out", "--model", model)
        assert outcome.code == 3
        assert model.name in outcome.err
        assert len(outcome.err.splitlines()) == 1


def test_weights_of_another_kind_are_refused(denoise: Denoise, scans: Path, tmp_path: Path) -> None:
    ink = fakes.ink(tmp_path / "ink.keras")
    outcome = denoise(scans, "--out", tmp_path / "out", "--model", "general", "--weights", ink)
    assert outcome.code == 3
    assert "Autoencoder" in outcome.err


def test_weights_by_file_for_a_named_network(
    denoise: Denoise, scans: Path, flattener: Path, tmp_path: Path
) -> None:
    common = ("--out", tmp_path / "out", "--model", "general", "--weights", flattener)
    assert denoise(scans, *common).code == 0
    assert pixels(tmp_path / "out/a.png").std() < pixels(scans / "a.png").std() / 2


def test_no_gpu_is_said(
    denoise: Denoise, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoiser import engines

    monkeypatch.setattr(engines, "may_have_gpu", lambda: False)
    outcome = denoise(scans, "--out", tmp_path / "out", "--device", "gpu")
    assert outcome.code == 3
    assert "GPU" in outcome.err


# --- interruption ------------------------------------------------------------------------------------------

SLOW_PLUGIN = """
import time
from denoiser import hookimpl

@hookimpl
def preprocess(image):
    time.sleep(0.4)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_loses_nothing_and_goes_on(tmp_path: Path, identity: Path, how: int) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(8):
        Image.new("L", (200, 200), 20 * index).save(folder / f"{index}.png")
    (tmp_path / "slow.py").write_text(SLOW_PLUGIN)
    command = [sys.executable, "-m", "denoiser", str(folder), "--out", str(out), "--model", str(identity)]
    command += ["--plugin", str(tmp_path / "slow.py")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "1.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "The same command goes on from here" in errors
    finished = tree(out)
    assert 2 <= len(finished) < 8
    assert not list(out.rglob(f"*{atomic.SUFFIX}"))
    for name in finished:
        assert pixels(out / name).shape == (200, 200)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{8 - len(finished)} cleaned, {len(finished)} up to date" in done.stderr


def test_a_killed_run_leaves_no_half_file_that_counts(tmp_path: Path, identity: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(6):
        Image.new("L", (200, 200), 20 * index).save(folder / f"{index}.png")
    (tmp_path / "slow.py").write_text(SLOW_PLUGIN)
    command = [sys.executable, "-m", "denoiser", str(folder), "--out", str(out), "--model", str(identity)]
    command += ["--plugin", str(tmp_path / "slow.py")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "1.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "failed" not in done.stderr
    assert tree(out) == [f"{index}.png" for index in range(6)]


# --- what must not be lost, or taken for success -----------------------------------------------------------


def test_comparisons_never_meet_inputs_outputs_or_strangers(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clean"
    for compare in (scans, tmp_path, out / "look", tmp_path / "clean"):
        outcome = denoise(scans, "--out", out, "--model", identity, "--compare", compare)
        assert outcome.code == 2, compare
        assert "--compare" in outcome.err
    look = tmp_path / "look"
    look.mkdir()
    (look / "a.png.png").write_text("precious")
    outcome = denoise(scans, "--out", out, "--model", identity, "--compare", look)
    assert outcome.code == 1
    assert "a.png.png exists and was not written by denoise" in outcome.err
    assert (look / "a.png.png").read_text() == "precious"
    assert denoise(scans, "--out", out, "--model", identity, "--compare", look, "--force").code == 0
    assert pixels(look / "a.png.png").ndim == 2


def test_pages_with_comparisons_are_up_to_date_too(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    pages = [Image.new("L", (40, 40), 50 * index) for index in range(3)]
    pages[0].save(tmp_path / "book.tif", save_all=True, append_images=pages[1:])
    common = (
        tmp_path / "book.tif",
        "--out",
        tmp_path / "o",
        "--model",
        identity,
        "--compare",
        tmp_path / "l",
    )
    assert denoise(*common).code == 0
    assert tree(tmp_path / "l") == [f"book.tif.page{index}.png" for index in (1, 2, 3)]
    assert "1 up to date" in denoise(*common).err


def test_a_strangers_file_is_not_ours_because_a_run_failed(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    good = (scans / "a.png").read_bytes()
    (scans / "a.png").write_bytes(good[:-100])
    common = (scans, "--out", tmp_path / "o", "--model", identity)
    assert denoise(*common).code == 1
    (tmp_path / "o/a.png").write_text("precious")
    (scans / "a.png").write_bytes(good)
    assert denoise(*common).code == 2
    assert (tmp_path / "o/a.png").read_text() == "precious"


def test_an_emptied_output_is_made_again(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    common = (scans, "--out", tmp_path / "o", "--model", identity)
    assert denoise(*common).code == 0
    (tmp_path / "o/a.png").write_bytes(b"")
    assert "1 cleaned, 2 up to date" in denoise(*common).err


def test_an_unset_variable_is_not_the_current_folder(
    denoise: Denoise, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans)
    assert denoise("", "--out", tmp_path / "o").code == 2
    assert denoise(scans, "--out", "").code == 2
    assert not (scans / record.NAME).exists()


def test_names_that_are_no_text(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(b"bad\xff\xfe.png")
    try:
        Image.new("L", (30, 30), 9).save(folder / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    common = (folder, "--out", tmp_path / "o", "--model", identity)
    assert denoise(*common, "--dry-run").code == 0
    outcome = denoise(*common, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out.splitlines()[0])["source"] == str(folder / name)
    assert "1 up to date" in denoise(*common).err


@pytest.mark.parametrize("where", ["file in the way", "loop", "record"])
def test_folders_that_can_not_be_are_one_line(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "odd" / record.NAME).mkdir(parents=True)
    out = {"file in the way": tmp_path / "file/sub", "loop": tmp_path / "loop", "record": tmp_path / "odd"}[
        where
    ]
    outcome = denoise(scans, "--out", out, "--model", identity)
    assert outcome.code in (2, 3)
    assert "Traceback" not in outcome.err
    assert str(out) in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2


def test_odd_things_in_a_folder_fail_alone(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (scans / "self.png").symlink_to("self.png")
    os.mkfifo(scans / "pipe.png")
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity)
    assert outcome.code == 1
    assert "pipe.png is not a regular file" in outcome.err
    assert "self.png can't be read" in outcome.err
    assert "3 cleaned, 2 failed" in outcome.err


def test_a_model_of_the_wrong_kind_under_a_networks_name(
    denoise: Denoise, store: Path, scans: Path, tmp_path: Path
) -> None:
    fakes.ink(store / "models" / "general.keras")
    outcome = denoise(scans, "--out", tmp_path / "o")
    assert outcome.code == 3
    assert "is of kind Autoencoder, and general of kind PatchAutoencoder" in outcome.err


def test_results_come_in_order(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(6):
        side = 200 if index % 2 else 40
        Image.new("L", (side, side), 9).save(folder / f"{index}.png")
    outcome = denoise(folder, "--out", tmp_path / "o", "--model", identity, "--json")
    names = [Path(json.loads(line)["source"]).name for line in outcome.out.splitlines()[:-1]]
    assert names == sorted(names)


@pytest.mark.parametrize("options", [("--max-megapixels", "nan"), ("--engine", "numpy", "--batch-size", "4")])
def test_values_that_can_not_be_meant(
    denoise: Denoise, scans: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    assert denoise(scans, "--out", tmp_path / "o", *options).code == 2
