"""Full disks: what has its final name is whole, and what has not is said in one line.

A few sizes of disk in the ordinary run; by hand, `pytest tests/faults/test_disks.py --disks 40`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.processes import Commands, Disk
from tests.helpers.reports import Page

WRITABLE: dict[str, dict[str, Any]] = {
    "x.png": {},
    "x.jpg": {"quality": 95},
    "x.bmp": {},
    "x.pgm": {},
    "x.webp": {"lossless": True},
    "x.gif": {},
    "x.jp2": {},
    "raw.tif": {},
    "deflate.tif": {"compression": "tiff_adobe_deflate"},
    "lzw.tif": {"compression": "tiff_lzw"},
    "deep.tif": {"compression": "tiff_adobe_deflate"},
    "deep-raw.tif": {},
    "deep.png": {},
    "pages.tif": {"compression": "tiff_adobe_deflate"},
}


def picture(path: Path, side: int = 160) -> Path:
    """Write noise in the format that the name says, which no encoder makes much smaller."""
    rng = np.random.default_rng(5)
    top, kind = (65536, np.uint16) if path.stem.startswith("deep") else (256, np.uint8)
    first, second = (Image.fromarray(rng.integers(0, top, (side, side)).astype(kind)) for _ in range(2))
    more: dict[str, Any] = {"save_all": True, "append_images": [second]} if path.stem == "pages" else {}
    first.save(path, **WRITABLE[path.name], **more)
    return path


@pytest.mark.parametrize("name", WRITABLE)
def test_no_format_leaves_a_truncated_file_on_a_full_disk(
    command: Commands,
    disk: Disk,
    identity: Path,
    tmp_path: Path,
    name: str,
    repeats: Callable[[str, int], int],
) -> None:
    wanted = repeats("disks", 0)
    source = picture(tmp_path / name, 500 if wanted else 160)
    common = (source, "--model", identity, "--out")
    assert command(*common, tmp_path / "o").code == 0
    whole = (tmp_path / "o" / name).read_bytes()
    fits = len(whole) // 4096 + 3
    sizes = (
        sorted({round(2 + index * (fits - 1) / max(1, wanted - 1)) for index in range(wanted)} | {fits})
        if wanted
        else sorted({2, 4, fits - 4, fits - 3, fits - 2, fits - 1, fits})
    )
    full = 0
    for pages in sizes:
        with disk(4 * pages) as folder:
            ended = command(*common, folder / "o", timeout=20)
            assert not ended.hung
            written = folder / "o" / name
            if ended.code == 0:
                assert written.read_bytes() == whole
            else:
                full += 1
                assert not written.exists()
                assert [line for line in ended.errors if "the disk is full" in line] == ended.errors
                assert len(ended.errors) == 1
                assert name in ended.errors[0]
            assert not list(folder.rglob("*.denoise-tmp*"))
    assert 0 < full < len(sizes)


def test_a_comparison_on_a_full_disk_is_whole_or_not_there(
    command: Commands, disk: Disk, identity: Path, tmp_path: Path
) -> None:
    source = picture(tmp_path / "x.png", 100)
    common = (source, "--model", identity, "--out", tmp_path / "o", "--force", "--compare")
    assert command(*common, tmp_path / "look").code == 0
    whole = (tmp_path / "look/x.png.png").read_bytes()
    for kilobytes in (8, 16, 20, 24, 40):
        with disk(kilobytes) as folder:
            ended = command(*common, folder / "look", timeout=20)
            made = folder / "look/x.png.png"
            if ended.code:
                assert "the disk is full" in ended.errors[0]
                assert not made.exists()
            else:
                assert made.read_bytes() == whole


@pytest.mark.slow
def test_a_report_on_a_full_disk_is_whole_or_leaves_nothing(
    command: Commands, disk: Disk, identity: Path, tmp_path: Path
) -> None:
    """Full from the start, too small for its pictures, for its rows, for its page; and large enough."""
    scans = tmp_path / "scans"
    scans.mkdir()
    rng = np.random.default_rng(1)
    for index in range(3):
        Image.fromarray(rng.integers(0, 256, (200, 200), np.uint8)).save(scans / f"{index}.png")
    common = (scans, "--model", identity, "--out", tmp_path / "o", "--force", "--report")
    ways: list[tuple[object, ...]] = [common, ("report", tmp_path / "o", "--to")]
    codes = set()
    for way in ways:
        for kilobytes in (4, 40, *range(80, 260, 12), 400):
            with disk(kilobytes) as folder:
                if kilobytes == 4:
                    (folder / "full").write_bytes(bytes(4096))
                target = folder / "new" / "look"
                ended = command(*way, target, timeout=20)
                codes.add(ended.code)
                assert not ended.hung
                assert not list(folder.rglob("*.denoise-tmp*"))
                assert (ended.code == 2) == (kilobytes == 4)
                if ended.code == 0:
                    views = [view for row in Page(target / "index.html").rows for view in row["views"]]
                    assert len(views) == 3
                    assert all((target / link).is_file() for view in views for link in view[3:])
                    assert len((target / "results.jsonl").read_text().splitlines()) == 3
                    continue
                assert ended.errors == ended.err.splitlines()[-1:]
                assert "the disk is full" in ended.err
                assert not (folder / "new").exists(), list(folder.rglob("*"))
    assert codes == {0, 1, 2}


@pytest.mark.parametrize("after", range(0, 40, 4))
def test_a_run_that_fills_the_disk_goes_on_where_there_is_room_again(
    command: Commands, disk: Disk, identity: Path, tmp_path: Path, after: int
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for index in range(12):
        picture(scans / "x.png", 40).rename(scans / f"{index:02}.png")
    common = ("./scans", "--model", identity, "--jobs", "1", "--out")
    assert command(*common, tmp_path / "o", cwd=tmp_path).code == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "o").glob("*.png")}
    with disk(4 * (4 + after)) as folder:
        filled = command(*common, folder / "o", cwd=tmp_path)
        assert filled.code in (0, 1)
        assert all("the disk is full" in line for line in filled.errors)
        for path in (folder / "o").glob("*.png"):
            assert path.read_bytes() == whole[path.name]
        subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)
        again = command(*common, folder / "o", cwd=tmp_path)
        assert again.code == 0, again.err
        assert {path.name: path.read_bytes() for path in (folder / "o").glob("*.png")} == whole
        assert command(*common, folder / "o", cwd=tmp_path).err == "12 up to date.\n"


def test_sync_flushes_the_file_and_its_folder_before_and_after_it_has_its_name(
    command: Commands, scans: Path, identity: Path, tmp_path: Path
) -> None:
    watch = f"""
import os
log = open({str(tmp_path / "log")!r}, "a", buffering=1)
sync, replace = os.fsync, os.replace
def fsync(number):
    log.write("sync " + os.path.basename(os.readlink("/proc/self/fd/" + str(number))) + "\\n")
    sync(number)
def renamed(old, new):
    log.write("rename " + os.path.basename(new) + "\\n")
    replace(old, new)
os.fsync, os.replace = fsync, renamed
"""
    ended = command(scans / "a.png", "--out", tmp_path / "o", "--model", identity, "--sync", patches=[watch])
    assert ended.code == 0
    steps = (tmp_path / "log").read_text().splitlines()
    renamed = steps.index("rename a.png")
    assert any(step.startswith("sync .a.png.") for step in steps[:renamed])
    assert "sync o" in steps[renamed:]


def test_a_stack_that_does_not_fit_is_said_and_leaves_nothing(
    command: Commands, disk: Disk, identity: Path, tmp_path: Path
) -> None:
    """A file that is mapped into memory ends the process on a full disk; the plugin writes it instead."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (400, 28, 28), np.uint8))
    plugin = Path(__file__).parents[2] / "plugins" / "npy_stack.py"
    with disk(160) as folder:
        ended = command(tmp_path / "x.npy", "--out", folder / "o", "--model", identity, "--plugin", plugin)
        assert ended.code == 1
        assert "No space left on device" in ended.err
        assert not list((folder / "o").glob("*x.npy*"))
