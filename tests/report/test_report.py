"""`denoise report`: through the command line, with real files."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.imaging.picture import BECAME_8_BIT
from denoiser.report import build
from denoiser.report.page import MARK
from tests.helpers.command import Denoise
from tests.helpers.reports import HOSTILE, Page, cleaned, noisy_and_clean, striped


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """An output folder of a few files, one of which lost content."""
    images = {
        "box/page10.png": striped(1),
        "box/page9.png": noisy_and_clean(2),
        "plain.png": noisy_and_clean(3),
    }
    cleaned(tmp_path / "scans", tmp_path / "clean", images)
    return tmp_path / "clean"


def file_of(page: Path, link: str) -> Path:
    """The file that a link of a page leads to."""
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(os.path.join(page.parent, link))))  # noqa: PTH118


def test_the_worst_comes_first(done: Path, denoise: Denoise) -> None:
    outcome = denoise("report", done, "--to", done.parent / "look")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == f"Wrote {done.parent / 'look' / 'index.html'}: 3 files, the worst first.\n"
    rows = Page(done.parent / "look" / "index.html").rows
    assert rows[0]["name"] == "box/page10.png"
    assert rows[0]["harm"] > 0.4 > rows[1]["harm"]
    assert rows[1]["noise"] == pytest.approx(8.0, rel=0.15)
    assert rows[1]["change"] == pytest.approx(8.0, rel=0.05)
    lines = (done.parent / "look" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [row["name"] for row in rows]


def test_quiet_says_nothing(done: Path, denoise: Denoise) -> None:
    assert denoise("report", done, "--to", done.parent / "look", "-q").err == ""


def test_links_lead_to_both_files(done: Path, denoise: Denoise) -> None:
    denoise("report", done, "--to", done.parent / "a b" / "look")
    page = done.parent / "a b" / "look" / "index.html"
    for row in Page(page).rows:
        assert file_of(page, row["source"]).samefile(done.parent / "scans" / row["name"])
        assert file_of(page, row["result"]).samefile(done / row["name"])


def test_small_files_are_shown_themselves_and_large_ones_as_previews(
    tmp_path: Path, denoise: Denoise
) -> None:
    images = {
        "small.png": noisy_and_clean(1, (128, 100)),
        "small.tif": noisy_and_clean(2, (128, 100)),
        "large.png": noisy_and_clean(3, (300, 1500)),
    }
    cleaned(tmp_path / "scans", tmp_path / "clean", images)
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    page = tmp_path / "look" / "index.html"
    rows = {row["name"]: row for row in Page(page).rows}
    [[name, width, height, before, after]] = rows["small.png"]["views"]
    assert (name, width, height) == ("whole", 100, 128)
    assert file_of(page, before) == tmp_path / "look" / "../scans/small.png"
    assert file_of(page, after) == tmp_path / "look" / "../clean/small.png"
    assert rows["small.tif"]["views"][0][3].startswith("data:image/png;base64,")  # no browser shows TIFF
    whole, detail = rows["large.png"]["views"]
    assert whole[:3] == ["whole", 1500, 300]
    assert detail[:3] == ["detail", 512, 300]
    assert Image.open(file_of(page, whole[3])).size == (512, 102)
    assert Image.open(file_of(page, detail[4])).size == (512, 300)
    assert {path.parent.name for path in (file_of(page, each) for each in whole[3:])} == {"img"}


def test_the_detail_is_where_content_was_lost(tmp_path: Path, denoise: Denoise) -> None:
    before, after = noisy_and_clean(1, (1400, 1400), 2.0)
    before[1100:1200, 60:160] = striped(1, (100, 100))[0]
    cleaned(tmp_path / "scans", tmp_path / "clean", {"a.png": (before, after)})
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    page = tmp_path / "look" / "index.html"
    detail = np.asarray(Image.open(file_of(page, Page(page).rows[0]["views"][1][3])).convert("L"), float)
    assert detail.shape == (512, 512)
    busy = np.abs(np.diff(detail, axis=1)) > 8
    assert busy.sum() > 3000  # the stripes are in it


def test_one_file_holds_everything(done: Path, denoise: Denoise) -> None:
    denoise("report", done, "--to", done.parent / "one" / "worst.html")
    page = Page(done.parent / "one" / "worst.html")
    assert [path.name for path in (done.parent / "one").iterdir()] == ["worst.html"]
    for row in page.rows:
        for view in row["views"]:
            assert all(each.startswith("data:image/") for each in view[3:])


def test_one_file_stays_below_its_limit(
    tmp_path: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"{index}.png": noisy_and_clean(index, (300, 300), 40.0) for index in range(9)}
    cleaned(tmp_path / "scans", tmp_path / "clean", images)
    monkeypatch.setattr(build, "ALONE_BYTES", 200_000)
    monkeypatch.setattr(build, "ALONE_ROWS", 7)
    assert denoise("report", tmp_path / "clean", "--to", tmp_path / "worst.html").code == 0
    assert (tmp_path / "worst.html").stat().st_size <= 200_000
    page = Page(tmp_path / "worst.html")
    assert len(page.rows) == 7
    assert "The 7 worst of 9 are listed." in page.text
    assert page.rows[0]["views"]
    assert not page.rows[6]["views"]


def test_a_folder_lists_the_worst_and_counts_all(
    tmp_path: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"{index}.png": noisy_and_clean(index, (200, 200)) for index in range(8)}
    cleaned(tmp_path / "scans", tmp_path / "clean", {**images, "lost.png": striped(1, (200, 200))})
    monkeypatch.setattr(build, "MOST_ROWS", 3)
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    page = Page(tmp_path / "look" / "index.html")
    assert [row["name"] for row in page.rows][:1] == ["lost.png"]
    assert len(page.rows) == 3
    assert all(len(row["views"]) == 1 for row in page.rows)
    assert "The 3 worst of 9 are listed. results.jsonl has all of them." in page.text
    assert "Change, of 255: 9 values" in page.text
    assert len((tmp_path / "look" / "results.jsonl").read_text().splitlines()) == 9
    assert len(list((tmp_path / "look" / "img").iterdir())) <= 6


def test_failed_files_come_first_and_say_why(tmp_path: Path, denoise: Denoise) -> None:
    scans, clean = tmp_path / "scans", tmp_path / "clean"
    cleaned(scans, clean, {"a.png": striped(1)}, failed={"b.png": str(scans / "b.png"), "c.png": ""})
    (scans / "b.png").write_bytes(b"no image")
    denoise("report", clean, "--to", tmp_path / "look")
    rows = Page(tmp_path / "look" / "index.html").rows
    assert [row["status"] for row in rows] == ["failed", "failed", "done"]
    assert rows[0]["notes"] == "is damaged."
    assert rows[0]["result"] is None
    assert rows[0]["views"] == []


def test_a_run_that_failed_is_known_from_its_record(scans: Path, identity: Path, denoise: Denoise) -> None:
    out, look = scans.parent / "clean", scans.parent / "look"
    (scans / "bad\nname.png").write_bytes(b"no image")
    assert denoise(scans, "--out", out, "--model", identity, "-q").code == 1
    assert denoise("report", out, "--to", look).code == 0
    first = Page(look / "index.html").rows[0]
    assert first["name"] == "bad\\nname.png"
    assert (first["status"], first["notes"]) == ("failed", "is not an image that can be read.")
    assert file_of(look / "index.html", first["source"]).samefile(scans / "bad\nname.png")
    Image.fromarray(noisy_and_clean(1)[0]).save(scans / "bad\nname.png")
    assert denoise(scans, "--out", out, "--model", identity, "-q").code == 0
    assert denoise("report", out, "--to", look).code == 0
    assert "failed" not in {row["status"] for row in Page(look / "index.html").rows}


def test_what_a_run_noted_is_known_from_its_record(scans: Path, identity: Path, denoise: Denoise) -> None:
    Image.effect_noise((60, 60), 90).convert("1").save(scans / "fax.tif", compression="group4")
    out = scans.parent / "out"
    assert denoise(scans, "--out", out, "--model", identity).code == 0
    denoise("report", out, "--to", out.parent / "look")
    rows = {row["name"]: row for row in Page(out.parent / "look" / "index.html").rows}
    assert BECAME_8_BIT in rows["fax.tif"]["notes"]
    assert rows["a.png"]["notes"] == ""


def test_a_failure_without_a_reason_is_listed(tmp_path: Path, denoise: Denoise) -> None:
    cleaned(tmp_path / "scans", tmp_path / "clean", {"a.png": noisy_and_clean(1)})
    with (tmp_path / "clean" / ".denoise" / "00000000.jsonl").open("a") as file:
        file.write('{"output":"old.png","begun":1}\n{"output":"old.png","failed":true}\n')
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    assert [row["name"] for row in Page(tmp_path / "look" / "index.html").rows] == ["old.png", "a.png"]


def test_what_is_gone_or_changed_is_said(done: Path, denoise: Denoise) -> None:
    (done / "box" / "page9.png").unlink()
    source = done.parent / "scans" / "plain.png"
    Image.fromarray(noisy_and_clean(5)[0]).save(source)
    os.utime(source, ns=(1, 1))
    denoise("report", done, "--to", done.parent / "look")
    rows = {row["name"]: row for row in Page(done.parent / "look" / "index.html").rows}
    assert rows["box/page9.png"]["status"] == "missing"
    assert rows["box/page9.png"]["notes"] == "its output is gone"
    assert rows["plain.png"]["status"] == "input changed"
    (done.parent / "scans" / "plain.png").unlink()
    denoise("report", done, "--to", done.parent / "look")
    rows = {row["name"]: row for row in Page(done.parent / "look" / "index.html").rows}
    assert rows["plain.png"]["notes"] == "its input is gone"


def test_a_later_try_that_failed_is_said(scans: Path, identity: Path, denoise: Denoise) -> None:
    out, look = scans.parent / "clean", scans.parent / "look"
    arguments = (scans, "--out", out, "--model", identity, "-q")
    kept = [(scans / name).read_bytes() for name in ("a.png", "b.png")]
    assert denoise(*arguments).code == 0

    def row(name: str) -> dict[str, Any]:
        assert denoise("report", out, "--to", look).code == 0
        return {row["name"]: row for row in Page(look / "index.html").rows}[name]

    (scans / "a.png").write_bytes(b"no image")
    assert denoise(*arguments).code == 1
    assert (row("a.png")["status"], row("a.png")["notes"]) == ("failed", "is not an image that can be read.")
    (scans / "a.png").write_bytes(kept[0])  # as it was, and its result is there: nothing is done
    assert denoise(*arguments).code == 0
    assert row("a.png")["status"] == "done"
    assert row("a.png")["notes"] == "a later try failed: is not an image that can be read."
    (scans / "a.png").write_bytes(kept[1])
    assert denoise(*arguments).code == 0
    assert (row("a.png")["status"], row("a.png")["notes"]) == ("done", "")


def test_a_failure_of_which_no_time_is_known_is_not_called_later(done: Path, denoise: Denoise) -> None:
    # Earlier versions wrote none, and files of the record are in no order of time.
    with (done / ".denoise" / "ffffffff.jsonl").open("w") as file:
        file.write('{"output":"plain.png","failed":true,"error":"is damaged."}\n')
    denoise("report", done, "--to", done.parent / "look")
    rows = {row["name"]: row for row in Page(done.parent / "look" / "index.html").rows}
    assert (rows["plain.png"]["status"], rows["plain.png"]["notes"]) == ("done", "")


def test_an_input_whose_name_no_disk_can_have_stops_no_report(done: Path, denoise: Denoise) -> None:
    record = done / ".denoise" / "00000000.jsonl"
    record.write_text(record.read_text().replace("scans/plain.png", "scans/" + 300 * "n"))
    assert denoise("report", done, "--to", done.parent / "look").code == 0
    row = {row["name"]: row for row in Page(done.parent / "look" / "index.html").rows}["plain.png"]
    assert row["source"] is None
    assert "File name too long" in row["notes"]


def test_what_failed_and_was_removed_is_no_failure_any_more(
    scans: Path, identity: Path, denoise: Denoise
) -> None:
    out, look = scans.parent / "clean", scans.parent / "look"
    (scans / "bad.png").write_bytes(b"no image")
    assert denoise(scans, "--out", out, "--model", identity, "-q").code == 1
    (scans / "bad.png").unlink()
    assert denoise("report", out, "--to", look).code == 0
    row = {row["name"]: row for row in Page(look / "index.html").rows}["bad.png"]
    assert (row["status"], row["notes"]) == ("missing", "it failed. its input is gone")
    assert (row["source"], row["result"]) == (None, None)  # links that would lead nowhere


def test_inputs_in_a_storage_are_listed_and_not_compared(done: Path, denoise: Denoise) -> None:
    record = done / ".denoise" / "00000000.jsonl"
    at = "s3://bucket/scans/plain.png"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    changed = [{**line, "source": at} if line["output"] == "plain.png" else line for line in lines]
    record.write_text("".join(json.dumps(line) + "\n" for line in changed))
    assert denoise("report", done, "--to", done.parent / "look").code == 0
    row = {row["name"]: row for row in Page(done.parent / "look" / "index.html").rows}["plain.png"]
    assert (row["status"], row["source"]) == ("done", None)
    assert row["notes"] == f"it is not compared, as its input is {at}"
    assert file_of(done.parent / "look" / "index.html", row["result"]).samefile(done / "plain.png")
    told = [json.loads(line) for line in (done.parent / "look" / "results.jsonl").read_text().splitlines()]
    assert {line["name"]: line["source"] for line in told}["plain.png"] == at


def test_the_worst_page_of_several_is_shown(tmp_path: Path, denoise: Denoise) -> None:
    scans, clean = tmp_path / "scans", tmp_path / "clean"
    cleaned(scans, clean, {"a.tif": noisy_and_clean(0, (150, 150))})
    pages = [noisy_and_clean(1, (150, 150)), striped(2, (150, 160)), noisy_and_clean(3, (150, 150))]
    for folder, which in ((scans, 0), (clean, 1)):
        frames = [Image.fromarray(page[which]) for page in pages]
        frames[0].save(folder / "a.tif", save_all=True, append_images=frames[1:])
    denoise("report", clean, "--to", tmp_path / "look")
    [row] = Page(tmp_path / "look" / "index.html").rows
    assert row["pages"] == 3
    assert row["said"] == "page 2 of 3, the worst; 160 x 150 pixels, 8 bit"
    assert row["views"][0][1:3] == [160, 150]


def test_deep_images_are_scaled_for_the_eye(tmp_path: Path, denoise: Denoise) -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(1000, 3000, 200)[None, :].repeat(150, 0)
    before, after = (ramp + rng.normal(0, 20, ramp.shape)).astype(np.uint16), ramp.astype(np.uint16)
    cleaned(tmp_path / "scans", tmp_path / "clean", {"a.tif": (before, after)})
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    page = tmp_path / "look" / "index.html"
    [row] = Page(page).rows
    assert "shown scaled for the eye: 9" in row["notes"]
    assert "of 65,535 is black" in row["notes"]
    shown = np.asarray(Image.open(file_of(page, row["views"][0][3])).convert("L"))
    assert shown.min() < 20
    assert shown.max() > 235


def test_colour_is_shown_and_compared_with_gray(tmp_path: Path, denoise: Denoise) -> None:
    noisy, _ = noisy_and_clean(1, (150, 150))
    coloured = np.stack([noisy, np.full_like(noisy, 40), noisy], axis=2)
    gray = np.asarray(Image.fromarray(coloured).convert("L"))
    cleaned(
        tmp_path / "scans", tmp_path / "clean", {"a.png": (coloured, gray), "b.png": (coloured, coloured)}
    )
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    page = tmp_path / "look" / "index.html"
    rows = {row["name"]: row for row in Page(page).rows}
    assert rows["a.png"]["notes"] == "colour became gray (--color keeps it)"
    assert rows["a.png"]["change"] < 1.0
    assert Image.open(file_of(page, rows["a.png"]["views"][0][3])).mode == "RGB"
    assert rows["b.png"]["change"] == 0.0


def test_results_of_another_size_are_shown(tmp_path: Path, denoise: Denoise) -> None:
    noisy, clean = noisy_and_clean(1, (60, 60))
    images = {"model.png": (noisy, clean[:28, :28]), "cut.png": (noisy, clean[:40, :50])}
    cleaned(tmp_path / "scans", tmp_path / "clean", images)
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    rows = {row["name"]: row for row in Page(tmp_path / "look" / "index.html").rows}
    assert rows["model.png"]["notes"] == "its size was 60x60 and is 28x28"
    assert rows["model.png"]["harm"] is not None
    assert rows["cut.png"]["harm"] is None
    assert len(rows["cut.png"]["views"]) == 1


def test_a_damaged_output_is_listed(done: Path, denoise: Denoise) -> None:
    (done / "plain.png").write_bytes(b"\x89PNG nothing")
    assert denoise("report", done, "--to", done.parent / "look").code == 0
    rows = {row["name"]: row for row in Page(done.parent / "look" / "index.html").rows}
    assert rows["plain.png"]["notes"] == "it can't be shown: is not an image that can be read"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_hostile_names_are_text_alone(tmp_path: Path, denoise: Denoise) -> None:
    images = {name: noisy_and_clean(index) for index, name in enumerate(HOSTILE)}
    cleaned(tmp_path / "scans <b>", tmp_path / "clean", images)
    for target in (tmp_path / "look", tmp_path / "worst.html"):
        assert denoise("report", tmp_path / "clean", "--to", target).code == 0
        path = target if target.suffix else target / "index.html"
        page = Page(path)  # which asserts that elements nest as they should
        assert len(page.rows) == len(HOSTILE)
        assert [tag for tag, _ in page.elements if tag == "script"] == ["script", "script"]
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert "\u202e" not in page.text
        found = {os.path.relpath(file_of(path, row["source"]), tmp_path / "scans <b>") for row in page.rows}
        assert found == set(HOSTILE)
    lines = (tmp_path / "look" / "results.jsonl").read_text().splitlines()
    assert {json.loads(line)["name"] for line in lines} == set(HOSTILE)  # as they are, for programs


def test_the_policy_names_what_is_inline_and_nothing_else(done: Path, denoise: Denoise) -> None:
    denoise("report", done, "--to", done.parent / "look")
    page = Page(done.parent / "look" / "index.html")
    [style] = page.inline["style"]
    script = page.inline["script"][1]
    for name, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src 'self' file: data:;")
    assert "unsafe" not in page.policy
    assert "http" not in page.text.replace("http-equiv", "")
    assert not any("style" in attributes for _, attributes in page.elements)


def test_a_report_is_written_again_and_old_pictures_go(tmp_path: Path, denoise: Denoise) -> None:
    cleaned(tmp_path / "scans", tmp_path / "clean", {"a.png": noisy_and_clean(1, (200, 200))})
    denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    first = {path.name for path in (tmp_path / "look" / "img").iterdir()}
    (tmp_path / "look" / "img" / "mine.webp").touch()
    cleaned(tmp_path / "scans", tmp_path / "clean", {"a.png": noisy_and_clean(2, (200, 200))})
    assert denoise("report", tmp_path / "clean", "--to", tmp_path / "look").code == 0
    now = {path.name for path in (tmp_path / "look" / "img").iterdir()}
    assert "mine.webp" in now
    assert len(now) == 3
    assert len(now & first) <= 1  # the clean one is the same


@pytest.mark.parametrize(
    "place", ["scans/look", "scans/box/look", "scans/worst.html", "clean/look", "clean", ".", "clean/w.html"]
)
def test_a_report_inside_inputs_or_outputs_is_refused(place: str, done: Path, denoise: Denoise) -> None:
    before = sorted(done.parent.rglob("*"))
    outcome = denoise("report", done, "--to", done.parent / place)
    assert outcome.code == 2
    assert outcome.err.startswith("Error: The report")
    assert len(outcome.err.splitlines()) == 1
    assert sorted(done.parent.rglob("*")) == before


def test_inputs_named_one_by_one_leave_room_beside_them(tmp_path: Path, denoise: Denoise) -> None:
    cleaned(tmp_path, tmp_path / "clean", {"a.png": noisy_and_clean(1), "b.png": noisy_and_clean(2)})
    assert (
        denoise("report", tmp_path / "clean", "--to", tmp_path / "look").code == 2
    )  # the folder may be an input
    Image.fromarray(noisy_and_clean(3)[0]).save(tmp_path / "c.png")
    assert denoise("report", tmp_path / "clean", "--to", tmp_path / "look").code == 0


def test_foreign_files_are_left_alone(done: Path, denoise: Denoise) -> None:
    mine = done.parent / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("<p>mine</p>")
    outcome = denoise("report", done, "--to", mine)
    assert outcome.code == 2
    assert "is no report of denoise" in outcome.err
    (mine / "index.html").rename(mine / "other.html")
    assert "holds other files" in denoise("report", done, "--to", mine).err
    assert denoise("report", done, "--to", mine / "other.html").code == 2
    assert (mine / "other.html").read_text() == "<p>mine</p>"
    assert sorted(path.name for path in mine.iterdir()) == ["other.html"]


def test_a_folder_without_a_record_is_an_error(tmp_path: Path, denoise: Denoise) -> None:
    outcome = denoise("report", tmp_path, "--to", tmp_path.parent / "look")
    assert outcome.code == 2
    assert "holds no results of denoise" in outcome.err
    assert denoise("report", tmp_path / "no", "--to", tmp_path / "look").code == 2


@pytest.mark.parametrize("place", ["look", "worst.html"])
def test_a_report_that_cant_be_written_is_one_line(place: str, done: Path, denoise: Denoise) -> None:
    (done.parent / "file").touch()
    target = done.parent / "file" / place
    outcome = denoise("report", done, "--to", target)
    assert outcome.code == 2
    assert outcome.err == (
        f"Error: The report {target} can't be written: {done.parent / 'file'} is a file."
        " Choose another place for it.\n"
    )


def test_help_needs_no_numpy() -> None:
    import subprocess

    code = (
        "import sys; from denoiser.commands.cli import cli\n"
        "try: cli(['report', '--help'])\n"
        "except SystemExit: assert 'numpy' not in sys.modules\n"
    )
    assert MARK  # what `build` writes
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "denoise report ./clean --to ./look" in result.stdout
