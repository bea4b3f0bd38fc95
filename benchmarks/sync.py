"""What `--sync` costs: whole commands with and without it, alternated, on the disk that is named.

    python benchmarks/sync.py --on DIR [--runs N] [--files N] [--pictures N] [--json FILE]

DIR must lie on the disk that is meant: tmpfs, which has nothing to wait for, is refused. Two jobs are timed,
small files (28x28 by `digits`) and pictures (512x512 by `general`), from files to files below DIR. Each pair
is one run with `--sync` and one without, in turns; what an earlier run left to write is flushed before each.
Printed are the medians, and the medians of the pairs' ratios and differences.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe
from PIL import Image

from denoiser import generator

JOBS = {"small files": ("digits", 28), "pictures": ("general", 512)}


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder lies on; "unknown" where Linux doesn't tell."""
    try:
        lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    place = folder.resolve()
    fitting = [(len(line[1]), line[2]) for line in lines if place.is_relative_to(line[1])]
    return max(fitting)[1] if fitting else "unknown"


def draw(folder: Path, count: int, side: int) -> Path:
    """Write noisy pictures."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    scene = 255 * generator.scene(rng, (side, side))
    for index in range(count):
        noisy = np.clip(scene + rng.normal(0, 15, scene.shape), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{index}.png")
    return folder


def timed(source: Path, out: Path, model: str, *, sync: bool) -> float:
    """Clean a folder into a new one; returns the seconds of the whole command."""
    os.sync()
    command = [sys.executable, "-m", "denoiser", source, "--out", out, "--model", model, "-q"]
    started = time.perf_counter()
    subprocess.run([*map(str, command), *(["--sync"] if sync else [])], check=True)
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return seconds


def main() -> None:
    """Time both jobs, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--on", type=Path, required=True, metavar="DIR", help="a folder on the disk to measure"
    )
    parser.add_argument("--runs", type=int, default=5, help="pairs of each job")
    parser.add_argument("--files", type=int, default=600, help="how many small files")
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    kind = file_system(given.on)
    if kind in ("tmpfs", "ramfs"):
        raise SystemExit(
            f"{given.on} lies on {kind}, which has no disk to wait for. Name a folder on a disk."
        )
    print(f"{describe()}\nfile system: {kind}\n")
    print("| job | without | with `--sync` | ratio | a file |\n| --- | --- | --- | --- | --- |")
    rows = []
    with tempfile.TemporaryDirectory(dir=given.on) as folder:
        for job, (model, side) in JOBS.items():
            count = given.files if job == "small files" else given.pictures
            source, out = draw(Path(folder, job), count, side), Path(folder, "out")
            timed(source, out, model, sync=False)
            pairs = []
            for turn in range(given.runs):
                order = (False, True) if turn % 2 else (True, False)
                seconds = {sync: timed(source, out, model, sync=sync) for sync in order}
                pairs.append((seconds[False], seconds[True]))
            without, with_sync = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(synced / plain for plain, synced in pairs)
            each = 1000 * statistics.median(synced - plain for plain, synced in pairs) / count
            print(
                f"| {count} {job} | {without:.2f} s | {with_sync:.2f} s | {ratio:.2f} | {each:+.1f} ms |",
                flush=True,
            )
            rows.append({"job": job, "count": count, "pairs": pairs, "ratio": ratio})
    if given.json:
        given.json.write_text(json.dumps({"file_system": kind, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
