"""`denoise --report`: the page of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from denoiser.report import build
from tests.helpers.command import Denoise
from tests.helpers.reports import Page


def test_a_run_writes_its_page(scans: Path, flattener: Path, denoise: Denoise) -> None:
    out, look = scans.parent / "clean", scans.parent / "look"
    (scans / "bad.png").write_bytes(b"no image")
    outcome = denoise(scans, "--out", out, "--model", flattener, "--report", look)
    assert outcome.code == 1  # for the bad file
    assert outcome.err.splitlines()[-1] == f"Report: {look / 'index.html'}"
    page = Page(look / "index.html")
    assert page.rows[0]["name"] == "bad.png"
    assert {row["name"] for row in page.rows} == {"bad.png", "a.png", "b.png", "box/c.tif"}
    assert page.rows[0]["notes"] == "is not an image that can be read."
    assert "<dt>Model</dt><dd>identity" not in page.text
    assert "<dt>Model</dt><dd>flattener" in page.text
    assert "quality balanced, strength 1.0" in page.text
    assert all(row["change"] > 0 for row in page.rows[1:])


def test_files_that_were_up_to_date_are_in_it(scans: Path, identity: Path, denoise: Denoise) -> None:
    out, look = scans.parent / "clean", scans.parent / "worst.html"
    assert denoise(scans, "--out", out, "--model", identity).code == 0
    outcome = denoise(scans, "--out", out, "--model", identity, "--report", look)
    assert outcome.code == 0
    assert "3 up to date" in outcome.err
    assert [row["change"] for row in Page(look).rows] == [0.0, 0.0, 0.0]


def test_notes_of_the_run_are_in_it(tmp_path: Path, identity: Path, denoise: Denoise) -> None:
    Image.new("RGB", (60, 60), (200, 40, 40)).save(tmp_path / "a.png")
    arguments = ("--out", tmp_path / "clean", "--model", identity, "--report", tmp_path / "look", "-q")
    assert denoise(tmp_path / "a.png", *arguments).code == 0
    [row] = Page(tmp_path / "look" / "index.html").rows
    assert row["notes"] == "colour became gray (--color keeps it)"


@pytest.mark.parametrize("place", ["scans/look", "clean/look", "scans/worst.html"])
def test_a_page_inside_inputs_or_outputs_is_refused_before_any_work(
    place: str, scans: Path, identity: Path, denoise: Denoise
) -> None:
    out = scans.parent / "clean"
    outcome = denoise(scans, "--out", out, "--model", identity, "--report", scans.parent / place)
    assert outcome.code == 2
    assert outcome.err.startswith("Error: The report")
    assert not out.exists()


def test_a_page_that_fails_does_not_fail_the_files(
    scans: Path, identity: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, look = scans.parent / "clean", scans.parent / "look"
    (scans.parent / "file").touch()
    outcome = denoise(scans, "--out", out, "--model", identity, "--report", scans.parent / "file" / "look")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("Error: The report")
    assert (out / "box" / "c.tif").exists()

    def broken(*_: object, **__: object) -> int:
        raise RuntimeError("a fault\nof our own")

    monkeypatch.setattr(build, "build", broken)
    outcome = denoise(scans, "--out", out, "--model", identity, "--report", look)
    assert outcome.code == 1
    expected = f"Error: The report {look} can't be written: RuntimeError: a fault\\nof our own."
    assert outcome.err.splitlines()[-1] == expected


def test_a_dry_run_writes_no_page(scans: Path, identity: Path, denoise: Denoise) -> None:
    look = scans.parent / "look"
    arguments = ("--out", scans.parent / "clean", "--model", identity, "--report", look, "--dry-run")
    assert denoise(scans, *arguments).code == 0
    assert not look.exists()


def test_a_pipe_has_no_page(denoise: Denoise, tmp_path: Path) -> None:
    outcome = denoise("-", "--report", tmp_path / "look")
    assert outcome.code == 2
    assert "--report" in outcome.err


def test_a_run_of_one_file_to_one_file_has_a_page_beside_it(
    scans: Path, flattener: Path, denoise: Denoise, tmp_path: Path
) -> None:
    source = sorted(scans.glob("*.png"))[0]
    outcome = denoise(source, "-o", tmp_path / "one.png", "--report", tmp_path / "look", "--model", flattener)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "one.png").is_file()
    assert "one.png" in (tmp_path / "look/index.html").read_text("utf-8")
