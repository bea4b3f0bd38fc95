"""Folders that can't be listed, or are deeper than Python's calls: each is named, and the rest goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.processes import Commands
from tests.helpers.rights import PERMISSIONS_BIND

LEVELS = 1500


@pytest.fixture
def well(tmp_path: Path) -> Iterator[Path]:
    """A folder that may become deep."""
    folder = tmp_path / "well"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)  # shutil.rmtree calls itself for each level


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights from root as Linux does")
def test_a_folder_that_may_not_be_read_is_named_and_the_rest_is_cleaned(
    command: Commands, scans: Path, identity: Path, tmp_path: Path
) -> None:
    for name in ("box", "shut"):
        (scans / name).mkdir(exist_ok=True)
        (scans / name).chmod(0)

    def run(*more: str) -> tuple[int, list[str], str, str]:
        common = (scans, "--out", tmp_path / "o", "--model", identity)
        ended = command(*common, *more, patches=[PERMISSIONS_BIND])
        return ended.code, ended.errors, ended.err, ended.out

    code, errors, err, _ = run()
    assert code == 1, err
    assert errors == [f"Error: {scans}/{name} can't be read: Permission denied." for name in ("box", "shut")]
    assert err.splitlines()[-1].startswith("2 cleaned, 2 failed")
    assert sorted(path.name for path in (tmp_path / "o").glob("*.png")) == ["a.png", "b.png"]
    code, errors, err, out = run("--json")
    assert code == 1
    assert len(errors) == 2
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["source"] for row in rows if row.get("status") == "failed"] == [
        str(scans / "box"),
        str(scans / "shut"),
    ]
    assert "2 up to date, 2 failed" in err
    code, errors, err, _ = run("--force", "--fail-fast")
    assert (code, len(errors)) == (1, 2)
    assert "cleaned" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="needs long paths")
def test_a_tree_deeper_than_pythons_calls_is_cleaned_as_far_as_the_system_reaches(
    command: Commands, identity: Path, well: Path
) -> None:
    """1,500 folders of one letter are reached; below, names so long that a path can't hold them all."""
    at = os.open(well, os.O_RDONLY)
    try:
        for name in ("in", *["d"] * LEVELS, *["long" * 60] * 6):
            os.mkdir(name, dir_fd=at)
            below = os.open(name, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
    finally:
        os.close(at)
    deep = well / "in" / "/".join("d" * LEVELS)
    for path in (well / "in/a.png", deep / "b.png"):
        Image.effect_noise((20, 20), 50).save(path)
    ended = command(well / "in", "--out", well / "o", "--model", identity, timeout=120)
    assert ended.code == 1, ended.err[-2000:]
    assert len(ended.errors) == 1, ended.err[-2000:]
    assert ended.errors[0].endswith(" can't be read: File name too long.")
    assert "2 cleaned, 1 failed" in ended.err
    assert (well / "o" / deep.relative_to(well / "in") / "b.png").is_file()
    again = command(well / "in", "--out", well / "o", "--model", identity, timeout=120)
    assert "2 up to date, 1 failed" in again.err
    found = command(well / "in" / "**" / "*.png", "--out", well / "p", "--model", identity, timeout=120)
    assert found.code in (1, 2)
    assert len(found.errors) == 1, found.err[-2000:]
    assert "Traceback" not in found.err
