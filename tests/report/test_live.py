"""Rows that are made while a run has the pixels: the same as those of the files, and none read again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from denoiser.report import examine, live, place
from denoiser.report.entry import DONE, FAILED, Entry, View
from denoiser.report.rows import Rows
from tests.helpers.command import Denoise
from tests.helpers.reports import Page

RNG = np.random.default_rng(5)


def noisy(*shape: int) -> np.ndarray:
    ramp = np.linspace(40, 200, shape[1])
    return np.clip(ramp + RNG.normal(0, 12, shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Large and small images, 16 bit, and a file of several pages of which one is worse."""
    source = tmp_path / "in"
    (source / "box").mkdir(parents=True)
    Image.fromarray(noisy(600, 700)).save(source / "large.png")
    Image.fromarray(noisy(28, 28)).save(source / "small.png")
    Image.fromarray(noisy(60, 300).astype(np.uint16) * 100).save(source / "deep.tif")
    pages = [Image.fromarray(noisy(200, 200)) for _ in range(3)]
    lines = np.full((200, 200), 200, np.uint8)
    lines[::4] = 60
    pages[1] = Image.fromarray(lines)
    pages[0].save(source / "box" / "book.tif", save_all=True, append_images=pages[1:])
    return source


def test_no_file_is_read_again_and_the_figures_are_the_same(
    folder: Path, flattener: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, look = folder.parent / "out", folder.parent / "look"
    with monkeypatch.context() as patch:
        patch.delattr(examine, "open_builtin")  # whoever reads a file again fails
        outcome = denoise(folder, "--out", out, "--model", flattener, "--report", look)
    assert outcome.code == 0, outcome.err
    rows = {row["name"]: row for row in Page(look / "index.html").rows}
    assert rows.keys() == {"large.png", "small.png", "deep.tif", "box/book.tif"}
    assert denoise("report", out, "--to", folder.parent / "again").code == 0
    for row in Page(folder.parent / "again" / "index.html").rows:
        own = rows[row["name"]]
        for field in ("status", "pages", "megapixels", "said"):
            assert own[field] == row[field]
        for field in ("harm", "noise", "change", "structure"):
            assert own[field] == pytest.approx(row[field], abs=0.02), (row["name"], field)
        assert [view[:3] for view in own["views"]] == [view[:3] for view in row["views"]]
    assert "page 2 of 3, the worst" in rows["box/book.tif"]["said"]
    for row in rows.values():
        for view in row["views"]:
            for link in view[3:]:
                assert link.startswith("data:") or (look / link).is_file(), link
    lines = [json.loads(line) for line in (look / "results.jsonl").read_text().splitlines()]
    assert {line["name"] for line in lines} == rows.keys()


def test_colour_that_becomes_gray_is_shown_in_colour(
    tmp_path: Path, identity: Path, denoise: Denoise
) -> None:
    Image.new("RGB", (300, 300), (200, 40, 40)).save(tmp_path / "a.png")
    look = tmp_path / "look"
    job = (tmp_path / "a.png", "--out", tmp_path / "o", "--model", identity, "--report", look)
    assert denoise(*job).code == 0
    [row] = Page(look / "index.html").rows
    with Image.open(look / row["views"][0][3]) as before:
        red, green, _ = np.asarray(before.convert("RGB"))[5, 5]
        assert red > 150
        assert green < 80


def test_every_field_of_a_line_is_documented(folder: Path, identity: Path, denoise: Denoise) -> None:
    look = folder.parent / "look"
    job = (folder, "--out", folder.parent / "o", "--model", identity, "--report", look)
    assert denoise(*job).code == 0
    text = (Path(__file__).parents[2] / "docs/reference/json.md").read_text("utf-8")
    part = text.split("## results.jsonl")[1].split("## ")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE))
    for line in (look / "results.jsonl").read_text().splitlines():
        assert json.loads(line).keys() == described


def test_what_a_killed_run_drew_is_replaced(folder: Path, identity: Path, denoise: Denoise) -> None:
    look = folder.parent / "look"
    (look / "img").mkdir(parents=True)
    (look / "img" / f"{'0' * 24}.webp").write_bytes(b"old")
    job = (folder, "--out", folder.parent / "o", "--model", identity, "--report", look)
    assert denoise(*job).code == 0
    assert not (look / "img" / f"{'0' * 24}.webp").exists()
    other = folder.parent / "other"
    (other / "img").mkdir(parents=True)
    (other / "img" / "holiday.webp").write_bytes(b"mine")
    outcome = denoise(*job[:-1], other)
    assert outcome.code == 2
    assert "holds other files" in outcome.err


def test_the_disk_that_a_report_takes_is_said_before(
    folder: Path, identity: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (folder, "--out", folder.parent / "o", "--model", identity, "--report", folder.parent / "look")
    monkeypatch.setattr(place, "_ROW_BYTES", 10**18)
    outcome = denoise(*job)
    assert outcome.code == 2
    assert "The report of 4 files may take 4000000000.0 GB" in outcome.err
    assert not (folder.parent / "o").exists()
    monkeypatch.setattr(place, "_ROW_BYTES", 250_000)
    monkeypatch.setattr(place, "_LITTLE_BYTES", 1)
    outcome = denoise(*job)
    assert outcome.code == 0
    assert "Note: the pictures of the report may take up to 0.0 GB in" in outcome.err


def entry(number: int, harm: float | None, picture: Path | None = None) -> Entry:
    views = () if picture is None else (View("whole", 9, 9, picture, picture),)
    return Entry(str(number), None, None, DONE if harm is not None else FAILED, harm, pages=1, views=views)


@given(st.lists(st.one_of(st.none(), st.floats(0, 4, width=32)), max_size=60), st.integers(1, 9))
def test_the_worst_are_kept_and_all_are_counted(harms: list[float | None], most: int) -> None:
    rows = Rows(most, None)
    entries = [entry(number, harm) for number, harm in enumerate(harms)]
    for each in entries:
        rows.add(each)
    assert rows.worst() == sorted(entries, key=lambda each: each.order)[:most]
    assert (rows.count, rows.pages) == (len(harms), len(harms))
    assert sorted(rows.harm) == sorted(harm for harm in harms if harm is not None)
    rows.close()


def test_pictures_of_rows_that_are_dropped_go(tmp_path: Path) -> None:
    rows = Rows(2, tmp_path)
    paths = [tmp_path / f"{number}.webp" for number in range(9)]
    for number, path in enumerate(paths):
        path.touch()
        rows.add(entry(number, float(number), path))
    rows.worst()
    assert [path for path in paths if path.exists()] == paths[-2:]
    live.discard(entry(8, 1.0, Path("/elsewhere/9.webp")), tmp_path)
    rows.close()
