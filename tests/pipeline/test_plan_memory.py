"""Neither a plan nor the record takes memory for each file: one folder is held, in few bytes a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from denoiser.pipeline.plan import plan
from denoiser.pipeline.record import FOLDER, Record
from tests.helpers.processes import ROOT


def peak(work: Callable[[], object]) -> int:
    """Bytes that were allocated at most during some work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def archive(root: Path, folders: int, each: int) -> Path:
    for number in range(folders):
        folder = root / f"box{number:03d}"
        folder.mkdir(parents=True)
        (folder / "scan_000000.png").write_bytes(b"x")
        for index in range(1, each):
            os.link(folder / "scan_000000.png", folder / f"scan_{index:06d}.png")
    return root


def planned(root: Path, out: Path) -> int:
    count = 0
    for folder in plan([str(root)], out):
        for job in folder:
            count += bool(job.relative)
    return count


PEAKS = """
import sys
from pathlib import Path
from tests.pipeline.test_plan_memory import peak, planned
out, few, many = map(Path, sys.argv[1:])
assert planned(few, out) == 600  # and all that is loaded once is loaded
print(peak(lambda: planned(few, out)), peak(lambda: planned(many, out)))
"""


@pytest.mark.skipif(os.name == "nt", reason="makes hard links")
def test_a_plan_holds_one_folder_at_a_time(tmp_path: Path) -> None:
    few, many = archive(tmp_path / "few", 3, 200), archive(tmp_path / "many", 60, 200)
    # In a process of its own: Python's table of the names in paths, which grows by doubling, is small there.
    done = subprocess.run(
        [sys.executable, "-c", PEAKS, str(tmp_path / "out"), str(few), str(many)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(int, done.stdout.split())
    # All jobs would be 14 MB.
    assert large < small + 4_000_000


@pytest.mark.skipif(os.name == "nt", reason="makes hard links")
def test_a_flat_folder_takes_few_bytes_a_file(tmp_path: Path) -> None:
    small, large = archive(tmp_path / "small", 1, 500), archive(tmp_path / "large", 1, 10_500)
    sizes = []
    for root in (small, small, large):
        folders = iter(plan([str(root)], tmp_path / "out"))
        sizes.append(peak(lambda folders=folders: next(folders)))  # type: ignore[misc]
    assert (sizes[2] - sizes[1]) / 10_000 < 110  # and 40 for what else is known of a file


def recorded(out: Path, folders: int, each: int) -> Path:
    (out / FOLDER).mkdir(parents=True)
    entry = {"source": "/s", "size": 1, "mtime_ns": 1, "sha256": "0" * 64, "made_with": "m"}
    entry |= {"output_size": 1, "output_mtime_ns": 1}
    with (out / FOLDER / "0.jsonl").open("w") as file:
        for number in range(folders):
            for index in range(each):
                file.write(json.dumps({"output": f"box{number:03d}/scan_{index:06d}.png", **entry}) + "\n")
    return out


def asked(out: Path, folders: int, each: int) -> int:
    record = Record(out)
    names = (f"box{number:03d}/scan_{index:06d}.png" for number in range(folders) for index in range(each))
    count = sum(record.is_recorded(name) for name in names)
    record.close()
    return count


@pytest.mark.slow
def test_the_record_stays_on_the_disk(tmp_path: Path) -> None:
    few, many = recorded(tmp_path / "few", 3, 400), recorded(tmp_path / "many", 60, 400)
    assert asked(few, 3, 400) == 1200
    small = peak(lambda: asked(few, 3, 400))
    large = peak(lambda: asked(many, 60, 400))
    assert (many / FOLDER / "0.jsonl").stat().st_size > 5_000_000
    assert large < small + 1_500_000  # entries in memory would be 10 MB
