"""Folders are planned, checked and cleaned one after the other, and what is said stays true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.commands import run_batch
from denoiser.system import atomic
from tests.helpers.command import Denoise
from tests.helpers.files import tree


@pytest.fixture
def boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four folders of two images, only the first of which are known before the work begins."""
    rng = np.random.default_rng(5)
    for box in "abcd":
        (tmp_path / "boxes" / box).mkdir(parents=True)
        for name in "12":
            pixels = rng.integers(0, 256, (20, 20), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "boxes" / box / f"{name}.png")
    monkeypatch.setattr(run_batch, "HEAD_FILES", 1)
    return tmp_path / "boxes"


def rows(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_later_folder_is_refused_after_those_before_it_are_cleaned(
    denoise: Denoise, boxes: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "c").mkdir(parents=True)
    (out / "c/2.png").write_text("mine")
    common = (boxes, "--out", out, "--model", identity)
    outcome = denoise(*common, "--json")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith(
        f"Error: {out}/c/2.png exists and was not written by denoise."
    )
    assert outcome.err.splitlines()[-2].startswith("4 cleaned; ")
    assert tree(out) == ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "c/2.png"]
    assert (out / "c/2.png").read_text() == "mine"
    *each, last = rows(outcome.out)
    assert [row["status"] for row in each] == ["done"] * 4
    assert last["summary"]["exit_code"] == 2
    outcome = denoise(*common, "--keep")
    assert outcome.code == 0
    assert "3 cleaned, 4 up to date, 1 left alone" in outcome.err
    assert denoise(*common, "--force").code == 0
    assert "8 up to date" in denoise(*common).err


def test_what_is_known_before_the_work_is_refused_before_it(
    denoise: Denoise, boxes: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    (out / "b/2.png").write_text("mine")
    outcome = denoise(boxes, "--out", out, "--model", identity)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert tree(out) == ["b/2.png"]


def test_a_collision_in_a_later_folder_ends_the_run_there(
    denoise: Denoise, boxes: Path, identity: Path, tmp_path: Path
) -> None:
    Image.new("L", (20, 20)).save(boxes / "d/1.bmp")
    common = (boxes, "--out", tmp_path / "out", "--model", identity, "--format", "png")
    outcome = denoise(*common)
    assert outcome.code == 2
    assert "would both be written" in outcome.err
    assert "6 cleaned; " in outcome.err
    (boxes / "d/1.bmp").unlink()
    assert "2 cleaned, 6 up to date" in denoise(*common).err


def test_numbers_that_are_not_known_yet_are_said_to_be_so(
    denoise: Denoise, boxes: Path, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (boxes, "--out", tmp_path / "out", "--model", identity, "--force")
    assert "Cleaning up to 8 images into" in denoise(*common).err
    monkeypatch.setattr(run_batch, "COUNT_SECONDS", 0.0)
    assert "Cleaning 4 images so far into" in denoise(*common).err
    told: list[str] = []

    class Shown:
        def start(self, total: float, unit: str, text: str) -> None:
            assert total > 0

        def update(self, done: float, text: str = "") -> None:
            told.append(text)

        def finish(self) -> None:
            pass

    monkeypatch.setattr(run_batch, "progress_for", lambda **_: Shown())
    monkeypatch.setattr(run_batch, "COUNT_EVERY", 0.0)
    assert denoise(*common).code == 0
    assert told[0] == "0 of 4 images so far"
    assert told[-1] == "8 of 8 images"


def test_a_run_that_goes_on_counts_what_is_there(
    denoise: Denoise, boxes: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = (boxes, "--out", out, "--model", identity)
    assert denoise(*common).code == 0
    for name in ("a/1.png", "c/2.png", "d/1.png"):
        (out / name).unlink()
    outcome = denoise(*common, "--dry-run")
    assert [line.rpartition("(")[2] for line in outcome.out.splitlines()] == ["its result is missing)"] * 3
    outcome = denoise(*common)
    assert "3 cleaned, 5 up to date" in outcome.err
    assert "8 up to date" in denoise(*common).err


def test_left_overs_in_later_folders_go(
    denoise: Denoise, boxes: Path, identity: Path, tmp_path: Path
) -> None:
    common = (boxes, "--out", tmp_path / "out", "--model", identity)
    assert denoise(*common).code == 0
    for box in "ad":
        (tmp_path / "out" / box / f".1.png.0123456789ab{atomic.SUFFIX}").write_bytes(b"half")
    assert "8 up to date" in denoise(*common).err
    assert not list((tmp_path / "out").rglob(f"*{atomic.SUFFIX}"))


def test_an_output_folder_that_is_made_while_its_parent_is_searched_is_no_input(
    denoise: Denoise, boxes: Path, identity: Path
) -> None:
    for out, look in (("bb", "cc"), ("e", "f")):
        outcome = denoise(boxes, "--out", boxes / out, "--compare", boxes / look, "--model", identity)
        assert outcome.code == 0, outcome.err
        assert "8 cleaned" in outcome.err
        assert len(tree(boxes / out)) == 8


def test_a_folder_that_is_gone_when_it_is_its_turn_fails_alone(
    denoise: Denoise, boxes: Path, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = run_batch.Batch._stale

    def check(self: run_batch.Batch, pipeline: Any, folder: Any) -> Any:
        if (boxes / "d").is_dir():
            (boxes / "d").rename(tmp_path / "away")
        return stale(self, pipeline, folder)

    monkeypatch.setattr(run_batch.Batch, "_stale", check)
    outcome = denoise(boxes, "--out", tmp_path / "out", "--model", identity)
    assert outcome.code == 1
    assert f"Error: {boxes / 'd'} can't be read: No such file or directory." in outcome.err
    assert "6 cleaned, 1 failed" in outcome.err
