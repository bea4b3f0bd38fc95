"""What the process that plans, asks the record and hands out the work needs for many files: memory, time.

The files are hard links of one tiny PNG, 1,000 a folder unless `--flat`, so that a million can be made
in seconds; nothing is cleaned. Measured are the most memory and the files a second of CPU time, start
included, for each number of files, in processes of their own:

- plan: every job is made, folder by folder, and each folder checked;
- dry run: `denoise --dry-run` into an empty folder, every file listed;
- finished: the same, where all outputs are there and the record (which this program writes) says that they
  are up to date, so that each is looked up in it.

`python benchmarks/scale.py --most 1000000 --folder /dev/shm`

With `--objects`, the same is measured for objects of a storage: its listings and its record are generated as
they are asked for, and no server is there: the figures are those of this process alone, generating included.
They are: nothing is there yet; all is there and up to date; and the same for a part of 100.

`python benchmarks/scale.py --objects --most 1000000`

With `--speed`, it is what a task of a cluster costs, the speed of its workers beside that of one machine, and
that of a bucket beside a folder: `benchmarks/cluster.py` with so few files that two cores need five minutes.

`python benchmarks/scale.py --speed`
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

COUNTS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
EACH = 1_000
PLAN = """
import sys
from pathlib import Path
from denoiser.pipeline.plan import plan
folders = plan(sys.argv[1:2], Path(sys.argv[2]))
print(sum(len(str(job.destination)) > 0 for folder in folders for job in folder))
"""
MADE_WITH = """
import sys
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Output
from denoiser.pipeline.pipeline import made_with
print(made_with(Denoiser(sys.argv[1]), Output()))
"""


MADE_WITH_PLUGIN = """
import sys
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Output
from denoiser.pipeline.pipeline import made_with
from denoiser.plugins import manager
plugins = manager.load([sys.argv[2]], installed=False)
print(made_with(Denoiser(sys.argv[1], plugins=plugins), Output()))
"""
STORAGE = """
import json
from denoiser import hookimpl
from denoiser.storage.base import Entry
EACH, SEGMENT = 1000, 20000


class Generated:
    # So many images, or so many results and their record.

    def __init__(self, url):
        self.url = url
        _, _, self._kind, self._count, self._made_with = url.split("/", 4)
        self._count = int(self._count)

    def _images(self, first, count):
        for number in range(first, first + count):
            yield Entry(f"box{number // EACH:06d}/scan_{number % EACH:06d}.png", 100, f"{number:032x}")

    def list(self):
        if self._kind == "scans":
            yield from self._images(0, self._count)
        elif self._kind == "done":
            for part in range(100):
                yield Entry(f".denoise/{part:020d}-shard-{part}-of-100-00000000-000001.jsonl", 1 << 20, "x")
            yield from self._images(0, self._count)

    def read(self, key):
        part = int(key.split("/")[1].split("-")[0])
        lines = []
        for first in range(part * 64, self._count, 6400):
            for each in self._images(first, min(64, self._count - first)):
                lines.append(json.dumps({"output": each.key, "begun": 1}))
                lines.append(json.dumps({
                    "output": each.key, "source": f"generated://scans/{each.key}", "size": 100, "mtime_ns": 0,
                    "sha256": "0" * 64, "made_with": self._made_with, "output_size": 100,
                    "output_mtime_ns": None, "source_tag": each.tag, "output_tag": each.tag,
                }))
        return "\\n".join(lines).encode()

    def stat(self, key):
        return None


@hookimpl
def open_storage(url):
    return Generated(url) if url.startswith("generated://") else None
"""


def names(count: int, each: int) -> Iterator[str]:
    """Yield the paths of so many images below their folder."""
    for number in range(count):
        yield f"box{number // each:06d}/scan_{number % each:06d}.png"


def make(folder: Path, count: int, each: int) -> None:
    """Make so many images."""
    for first in range(0, count, each):
        box = folder / f"box{first // each:06d}"
        box.mkdir(parents=True)
        original = box / "scan_000000.png"
        Image.new("L", (28, 28), 40).save(original)
        for index in range(min(each, count - first)):
            name = f"scan_{index:06d}.png"
            if index and index % 30_000 == 0:  # file systems allow so many links, and some more
                original = box / name
                Image.new("L", (28, 28), 40).save(original)
            elif index:
                os.link(original, box / name)


def record(out: Path, source: Path, outputs: Iterator[str], made_with: str) -> None:
    """Write the record of a run that cleaned all of them, in its order."""
    (out / ".denoise").mkdir()
    with (out / ".denoise/00000000.jsonl").open("w", encoding="ascii") as file:
        while chunk := list(itertools.islice(outputs, 64)):
            for name in chunk:
                file.write(json.dumps({"output": name, "begun": 1}, separators=(",", ":")) + "\n")
            for name in chunk:
                before, after = (source / name).stat(), (out / name).stat()
                entry = {
                    "output": name,
                    "source": str(source / name),
                    "size": before.st_size,
                    "mtime_ns": before.st_mtime_ns,
                    "sha256": "0" * 64,
                    "made_with": made_with,
                    "output_size": after.st_size,
                    "output_mtime_ns": after.st_mtime_ns,
                }
                file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def measure(command: list[str], wanted: str) -> tuple[float, float]:
    """Run a command, whose output must have these words; returns its CPU seconds, and its MB of memory."""
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        memory, ended = 0, 0
        while not ended:
            memory = _most(process.pid) or memory
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(max(0, output.seek(0, os.SEEK_END) - 1000))
        text = output.read().decode()
    if process.returncode or wanted not in text:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {text}")
    return usage.ru_utime + usage.ru_stime, memory * 1024 / 1e6


def _most(process: int) -> int:
    """KiB that a process had at most (Linux). What `wait4` tells may be of the process that started it."""
    try:
        found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) if found else 0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=1_000_000, help="files, at most")
    parser.add_argument("--least", type=int, default=1_000, help="files, at least")
    parser.add_argument("--flat", action="store_true", help="all files in one folder")
    parser.add_argument("--folder", type=Path, help="where the files are made")
    parser.add_argument("--objects", action="store_true", help="objects of a storage instead of files")
    parser.add_argument("--speed", action="store_true", help="clusters and buckets instead of memory")
    arguments = parser.parse_args()
    if arguments.speed:
        import cluster  # beside this file

        cluster.measure(digits=4_000, pages=4, rounds=2)
        return
    if arguments.objects:
        objects([count for count in COUNTS if arguments.least <= count <= arguments.most])
        return
    print("| files | plan | dry run | finished |", "| --- | --- | --- | --- |", sep="\n")
    for count in [count for count in COUNTS if arguments.least <= count <= arguments.most]:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
            scans, clean = Path(place, "scans"), Path(place, "clean")
            each = count if arguments.flat else EACH
            make(scans, count, each)
            python = [sys.executable, "-c"]
            run = [
                sys.executable,
                "-m",
                "denoiser",
                str(scans),
                "--model",
                "general",
                "--dry-run",
                "--no-plugins",
            ]
            print(f"| {count:,} |", end="", flush=True)
            show(measure([*python, PLAN, str(scans), str(clean)], f"{count}"), count)
            show(measure([*run, "--out", str(clean)], f"{count} would be cleaned"), count)
            make(clean, count, each)
            made_with = subprocess.check_output([*python, MADE_WITH, "general"], text=True).strip()
            record(clean, scans, names(count, each), made_with)
            show(measure([*run, "--out", str(clean)], f"{count} up to date"), count)
            print(flush=True)


def objects(counts: list[int]) -> None:
    """Measure for objects, and print a table."""
    print("| objects | new | finished | finished, a part of 100 |", "| --- | --- | --- | --- |", sep="\n")
    with tempfile.TemporaryDirectory() as place:
        plugin = Path(place, "generated_storage.py")
        plugin.write_text(STORAGE)
        run = [sys.executable, "-m", "denoiser"]
        options = ["--model", "general", "--dry-run", "--no-plugins", "--plugin", str(plugin)]
        python = [sys.executable, "-c", MADE_WITH_PLUGIN, "general", str(plugin)]
        made_with = subprocess.check_output(python, text=True).strip()
        for count in counts:
            print(f"| {count:,} |", end="", flush=True)
            scans, done = f"generated://scans/{count}/", f"generated://done/{count}/{made_with}"
            show(measure([*run, scans, "--out", "generated://new/0/", *options], f"{count} would be"), count)
            show(measure([*run, scans, "--out", done, *options], f"{count} up to date"), count)
            part = [*run, scans, "--out", done, *options, "--shard", "3/100"]
            show(measure(part, "up to date" if count > 192 else "othing"), count)
            print(flush=True)


def show(result: tuple[float, float], count: int) -> None:
    """Print a cell of the table."""
    seconds, memory = result
    print(f" {memory:.0f} MB, {count / seconds:,.0f} /s |", end="", flush=True)


if __name__ == "__main__":
    main()
