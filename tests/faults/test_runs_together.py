"""Several runs into one folder, and people at work in it: the record never disagrees with what lies there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.processes import ROOT, Commands

FAILING = "from denoiser import hookimpl\n@hookimpl\ndef preprocess(image): raise ValueError('no')\n"


@pytest.fixture
def bitmaps(tmp_path: Path) -> Path:
    """Three BMP files, whose outputs have the same size whatever is in them."""
    folder = tmp_path / "bitmaps"
    folder.mkdir()
    rng = np.random.default_rng(11)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (60, 60), np.uint8)).save(folder / f"{name}.bmp")
    return folder


def meanwhile(where: str, *arguments: object) -> str:
    """Code that lets another run take place when a method of this one is called for the first time."""
    module, owner, method = where.rsplit(".", 2)
    call = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "denoiser", *map(str, arguments)]
    return f"""
import subprocess
from {module} import {owner}
before, calls = {owner}.{method}, []
def method(*arguments, **options):
    if not calls:
        calls.append(subprocess.run({call!r}))
        assert calls[0].returncode == 0
    return before(*arguments, **options)
{owner}.{method} = method
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.bmp")}


def test_a_file_made_with_other_settings_meanwhile_is_not_up_to_date(
    command: Commands, bitmaps: Path, flattener: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    common = (bitmaps, "--model", flattener, "--out")
    half = ("--strength", 0.5)
    assert command(*common, tmp_path / "alone").code == 0
    other = meanwhile("denoiser.pipeline.record.Record.done", *common, out, *half, "--force")
    assert command(*common, out, patches=[other]).code == 0
    mixed = contents(out)
    wanted = contents(tmp_path / "alone")
    assert mixed != wanted
    again = command(*common, out)
    assert again.code == 0
    assert contents(out) == wanted
    assert "1 cleaned, 2 up to date" in again.err


def test_a_users_edit_of_the_same_size_is_theirs(
    command: Commands, bitmaps: Path, flattener: Path, tmp_path: Path
) -> None:
    common = (bitmaps, "--model", flattener, "--out", tmp_path / "o")
    assert command(*common).code == 0
    edited = tmp_path / "o/b.bmp"
    content = edited.read_bytes()[:-1] + b"!"
    edited.write_bytes(content)
    ended = command(*common, "--strength", 0.5)
    assert ended.code == 2
    assert "b.bmp exists and was not written by denoise" in ended.err
    assert edited.read_bytes() == content
    assert command(*common, "--strength", 0.5, "--force").code == 0


def test_a_run_that_fails_takes_nothing_from_one_that_does_not(
    command: Commands, bitmaps: Path, flattener: Path, tmp_path: Path
) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    common = (bitmaps, "--model", flattener, "--out", tmp_path / "o")
    good = meanwhile("denoiser.pipeline.record.Record.failed", *common)
    ended = command(*common, "--plugin", tmp_path / "failing.py", patches=[good])
    assert "3 failed" in ended.err
    again = command(*common)
    assert again.code == 0
    assert "3 up to date" in again.err
    assert command(*common, "--strength", 0.5).code == 0


def test_a_run_that_is_slow_to_start_knows_the_files_of_the_one_before(
    command: Commands, bitmaps: Path, flattener: Path, tmp_path: Path
) -> None:
    common = (bitmaps, "--model", flattener, "--out", tmp_path / "o")
    other = meanwhile("denoiser.inference.denoiser.Denoiser.probe", *common)
    ended = command(*common, patches=[other])
    assert ended.code == 0
    assert ended.errors == []
    assert "3 up to date" in ended.err


def test_a_comparison_shows_the_file_that_is_there(
    command: Commands, bitmaps: Path, flattener: Path, tmp_path: Path
) -> None:
    common = (bitmaps, "--model", flattener, "--out", tmp_path / "o")
    compare = ("--compare", tmp_path / "look")
    look = tmp_path / "look/a.bmp.png"
    assert command(*common, *compare).code == 0
    before = look.read_bytes()
    assert "3 up to date" in command(*common, *compare).err
    assert command(*common, "--strength", 0.2).code == 0
    ended = command(*common, "--strength", 0.2, *compare)
    assert "3 cleaned" in ended.err
    assert look.read_bytes() != before
    assert "3 up to date" in command(*common, "--strength", 0.2, *compare).err
    drawn = look.read_bytes()[:-1] + b"!"
    look.write_bytes(drawn)
    ended = command(*common, *compare)
    assert "a.bmp.png exists and was not written by denoise" in ended.err
    assert look.read_bytes() == drawn


def test_a_folder_that_is_removed_in_the_middle_is_begun_anew(
    command: Commands, bitmaps: Path, flattener: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    for index in range(200):
        Image.new("L", (30, 30), index).save(bitmaps / f"more{index}.bmp")
    removing = f"""
import shutil
from denoiser.pipeline.record import Record
before, calls = Record.done, []
def done(*arguments, **options):
    calls.append(0)
    if len(calls) == 70:
        shutil.rmtree({str(out)!r})
    before(*arguments, **options)
Record.done = done
"""
    common = (bitmaps, "--model", flattener, "--out", out)
    assert command(*common, patches=[removing]).code == 0
    left = len(list(out.glob("*.bmp")))
    again = command(*common)
    assert again.code == 0
    assert f"{203 - left} cleaned, {left} up to date" in again.err
