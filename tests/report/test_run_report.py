"""`denoise --report`: the page of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.report import build, live
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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "size input, quality balanced, strength 1.0, format keep, device auto"),
        (("--mode", "whole"), "mode whole, size input, strength 1.0, format keep, device auto"),
        (
            ("--stride", 9, "--bilevel", "--strip-metadata", "--color"),
            "size input, stride 9, strength 1.0, color, bilevel, strip-metadata, format keep, device auto",
        ),
    ],
)
def test_its_settings_are_in_it(
    options: tuple[object, ...], expected: str, scans: Path, identity: Path, denoise: Denoise
) -> None:
    look = scans.parent / "look"
    arguments = (scans / "a.png", "--out", scans.parent / "clean", "--model", identity, "--report", look)
    assert denoise(*arguments, *options).code == 0
    text = re.sub("<[^>]*>", " ", (look / "index.html").read_text())
    assert re.search(rf"Settings\s+{re.escape(expected)}\s", text)


def test_notes_of_a_run_before_are_in_it(tmp_path: Path, identity: Path, denoise: Denoise) -> None:
    Image.new("RGB", (60, 60), (200, 40, 40)).save(tmp_path / "a.png")
    arguments = (tmp_path / "a.png", "--out", tmp_path / "clean", "--model", identity)
    assert denoise(*arguments).code == 0
    assert "1 up to date" in denoise(*arguments, "--report", tmp_path / "look").err
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


@pytest.mark.parametrize("place", ["look", "worst.html"])
def test_a_page_that_cant_be_written_is_refused_before_any_work(
    place: str, scans: Path, identity: Path, denoise: Denoise
) -> None:
    (scans.parent / "file").touch()
    target, out = scans.parent / "file" / place, scans.parent / "clean"
    outcome = denoise(scans, "--out", out, "--model", identity, "--report", target)
    assert outcome.code == 2
    assert outcome.err == (
        f"Error: The report {target} can't be written: {scans.parent / 'file'} is a file."
        " Choose another place for it.\n"
    )
    assert not out.exists()


def broken(*_: object, **__: object) -> str:
    raise RuntimeError("a fault\nof our own")


def test_a_page_that_fails_does_not_fail_the_files_and_leaves_nothing(
    scans: Path, identity: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, look = scans.parent / "clean", scans.parent / "new" / "look"
    Image.fromarray(np.full((200, 200), 9, np.uint8)).save(scans / "large.png")
    drawn = []
    write = live.Live._write

    def watched(*arguments: Any) -> Any:
        path = write(*arguments)
        assert isinstance(path, Path)
        drawn.append(path.exists())
        return path

    monkeypatch.setattr(live.Live, "_write", watched)
    monkeypatch.setattr(build, "render", broken)
    outcome = denoise(scans, "--out", out, "--model", identity, "--report", look)
    assert outcome.code == 1
    expected = f"Error: The report {look} can't be written: RuntimeError: a fault\\nof our own."
    assert outcome.err.splitlines()[-1] == expected
    assert (out / "box" / "c.tif").exists()
    assert drawn == [True, True]
    assert not (scans.parent / "new").exists()


def test_an_interrupted_run_leaves_the_page_before_as_it_was(
    scans: Path, identity: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, look = scans.parent / "clean", scans.parent / "look"
    for name in ("large.png", "larger.png"):
        Image.fromarray(np.full((200, 200), 9, np.uint8)).save(scans / name)
    job = (scans, "--out", out, "--model", identity, "--report", look)
    assert denoise(*job).code == 0
    before = {path: path.read_bytes() for path in look.rglob("*") if path.is_file()}
    examined = iter([False, True])
    page = live.Live.page

    def interrupted(*arguments: Any) -> Any:
        if next(examined):
            raise KeyboardInterrupt
        return page(*arguments)

    monkeypatch.setattr(live.Live, "page", interrupted)
    assert denoise(*job, "--force").code == 130
    assert next(examined, None) is None
    assert {path: path.read_bytes() for path in look.rglob("*") if path.is_file()} == before


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
