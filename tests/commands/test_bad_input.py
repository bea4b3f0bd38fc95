"""Bad files, models and arguments of `denoise run`: one clear line each, and nothing half done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import fakes
from tests.helpers.command import Denoise
from tests.helpers.files import pixels, tree


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
    outcome = denoise(scans, "--out", tmp_path / "new", "--model", identity, "--fail-fast", "--json")
    *lines, last = map(json.loads, outcome.out.splitlines())
    assert last["summary"]["not_tried"] == 4 - len(lines)
    (scans / "0.png").unlink()
    for options in (("--dry-run",), (), (), ("--dry-run",)):  # the last two find all up to date
        outcome = denoise(scans, "--out", tmp_path / "new", "--model", identity, "--json", *options)
        assert json.loads(outcome.out.splitlines()[-1])["summary"]["not_tried"] == 0


def test_an_error_that_ends_the_run_leaves_no_summary(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "new", tmp_path / "new" / "box"):
        outcome = denoise(scans, "--out", out, "--model", identity, "--json")
        assert outcome.code == 2
        assert outcome.out == ""
        assert (
            f"The folder {out} of --out can't be made: {tmp_path / 'new'} is a link that leads nowhere."
            in outcome.err
        )


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
        "mine is not one",
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
    from denoiser.system import hardware

    monkeypatch.setattr(hardware, "may_have_gpu", lambda: False)
    outcome = denoise(scans, "--out", tmp_path / "out", "--device", "gpu")
    assert outcome.code == 3
    assert "GPU" in outcome.err
