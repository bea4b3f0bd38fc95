"""`--keep`, `--log-file`, and one file as the output."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import Denoise
from tests.helpers.files import pixels, tree


def test_foreign_files_are_left_alone_and_the_rest_goes_on(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    common = (scans, "--out", out, "--model", identity)
    refused = denoise(*common)
    assert refused.code == 2
    assert "--keep to leave it alone" in refused.err
    (out / "b.png").write_text("mine too")
    assert "a.png (and 1 more) exist and were not written by denoise" in (err := denoise(*common).err)
    assert "--keep to leave them alone" in err
    (out / "b.png").unlink()
    outcome = denoise(*common, "--keep", "--json")
    assert outcome.code == 0
    assert "2 cleaned, 1 left alone as not written by denoise" in outcome.err
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["status"] for row in rows[:-1]] == ["kept", "done", "done"]
    assert rows[-1]["summary"]["kept"] == 1
    assert (out / "a.png").read_text() == "mine"
    assert tree(out) == ["a.png", "b.png", "box/c.tif"]
    assert "2 up to date, 1 left alone" in denoise(*common, "--keep").err


def test_a_log_file_on_a_full_disk_ends_no_run(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    outcome = denoise(scans, "--out", tmp_path / "out", "--model", identity, "--log-file", "/dev/full")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("The log file /dev/full can't be written: the disk is full.") == 1
    assert "3 cleaned" in outcome.err


def test_the_log_file_has_the_messages_and_the_time(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (scans / "bad.png").write_text("no image")
    log = tmp_path / "run.log"
    common = ("--out", tmp_path / "out", "--model", identity, "--log-file", log)
    outcome = denoise(scans, *common)
    assert outcome.code == 1
    lines = log.read_text("utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[20:] for line in lines[1:]] == outcome.err.splitlines()
    assert denoise(scans / "nothing", *common).code == 2
    assert log.read_text("utf-8").splitlines()[-1][20:].startswith("Error: ")
    assert len(log.read_text("utf-8").splitlines()) == len(lines) + 2
    outcome = denoise(scans, *common[:-1], tmp_path / "no" / "run.log")
    assert outcome.code == 2
    assert "--log-file" in outcome.err


def test_a_log_is_never_added_to_an_image_or_a_model(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    common = (scans, "--out", tmp_path / "out", "--model", identity, "--log-file")
    for path in (scans / "a.png", identity, tmp_path / "out" / "a.png"):
        before = path.read_bytes() if path.exists() else None
        outcome = denoise(*common, path)
        assert outcome.code == 2
        assert f"--log-file {path} is no text file. Choose another" in outcome.err
        assert before == (path.read_bytes() if path.exists() else None)
        assert not (tmp_path / "out").exists()


def test_a_log_is_never_added_to_what_the_run_reads(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    texts = {"list.txt": f"{scans / 'a.png'}\n", "denoise.toml": "strength = 0.5\n", "own.py": "\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "link.txt").symlink_to(tmp_path / "list.txt")
    listed = ("--files-from", tmp_path / "list.txt", "--root", scans)
    for arguments, log, option in (
        (listed, "list.txt", "--files-from"),
        (listed, "link.txt", "--files-from"),
        ((scans, "--config", tmp_path / "denoise.toml"), "denoise.toml", "the configuration"),
        ((scans, "--plugin", tmp_path / "own.py"), "own.py", "a --plugin"),
    ):
        common = ("--out", tmp_path / "out", "--model", identity, "--log-file", tmp_path / log)
        outcome = denoise(*arguments, *common)
        assert (outcome.code, outcome.out) == (2, "")
        expected = f"--log-file {tmp_path / log} is also {option}. Choose another, such as run.log."
        assert outcome.err == f"Error: {expected}\n"
    assert {name: (tmp_path / name).read_text() for name in texts} == texts
    assert not (tmp_path / "out").exists()


def test_one_file_goes_to_the_file_that_out_names(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out.png"
    common = (scans / "a.png", "--out", out, "--model", identity)
    outcome = denoise(*common)
    assert outcome.code == 0, outcome.err
    assert f"Cleaning 1 image into {out}" in outcome.err
    assert [path.name for path in out.parent.iterdir()] == ["out.png"]
    assert (pixels(out) == pixels(scans / "a.png")).all()
    before = out.read_bytes()
    assert f"{out} exists. Use --force" in denoise(*common).err
    assert out.read_bytes() == before
    assert denoise(*common, "--force").code == 0
    assert denoise(*common, "--keep").code == 0


def test_its_ending_is_its_format(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    for name, kind in (("x.tif", "TIFF"), ("x.JPG", "JPEG")):
        assert denoise(scans / "a.png", "--out", tmp_path / name, "--model", identity).code == 0
        with Image.open(tmp_path / name) as image:
            assert image.format == kind


def test_the_ending_of_a_plugins_format_is_kept(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((40, 50), np.float32))
    plugin = Path(__file__).parents[2] / "plugins" / "npy_stack.py"
    common = (tmp_path / "a.npy", "--model", identity, "--plugin", plugin, "--out")
    assert denoise(*common, tmp_path / "b.npy").code == 0
    assert np.load(tmp_path / "b.npy").shape == (40, 50)


BAD_NAMES = {
    "itself": ("scans/a.png", "scans/a.png", (), "inputs are never written to"),
    "the format": ("scans/a.png", "x.png", ("--format", "tiff"), "don't go together"),
    "no such format": ("scans/a.png", "x.bmp", (), "x.bmp: .bmp is not written from another format"),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_names_that_can_not_be(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, case: str
) -> None:
    source, out, options, message = BAD_NAMES[case]
    outcome = denoise(tmp_path / source, "--out", tmp_path / out, "--model", identity, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "x.png").exists()


def test_results_in_a_subfolder_are_left_out_with_a_note(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    assert denoise(scans, "--out", scans / "clean", "--model", identity).code == 0
    outcome = denoise(scans, "--out", tmp_path / "again", "--model", identity)
    assert tree(tmp_path / "again") == ["a.png", "b.png", "box/c.tif"]
    assert f"Note: {scans / 'clean'} holds results of denoise and is left out." in outcome.err
    assert denoise(scans / "clean", "--out", tmp_path / "named", "--model", identity).code == 0
    assert len(tree(tmp_path / "named")) == 3
