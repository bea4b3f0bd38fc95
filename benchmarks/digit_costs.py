"""Where the microseconds of one digit go, in a run of many small PNGs over processes.

    python benchmarks/digit_costs.py [--files 10000] [--runs 3] [--json FILE]

The real command runs as a child of this one, with a probe around each function that does one kind of work. A
probe stops the clock of what was at work and starts its own, so each moment counts once, and what no probe
names is `other`. `second opinion` is what the gate asks of `general` where it doubts. The clock is the
processor time of the thread: waiting doesn't count, and other work on the machine disturbs it little. What a
probe itself takes is measured first and left out.

A figure is microseconds a file: the median over groups of 64 files of one run, and of those the median over
the runs. A file is in one worker; the parent's share comes on top, and runs on the same cores. Below stands
what runs without a probe take of processor time, start and end left out: the difference between all files
and a tenth of them. MNIST comes from DENOISER_DATA; without it, digits are drawn.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import describe
from speed import Bench

from denoiser.pipeline.pipeline import GROUP_FILES

OTHER = "other"
PARTS = {
    "worker": (
        "receive the job",
        "open",
        "read",
        "hash",
        "decode",
        "fit",
        "network product",
        "gate",
        "second opinion",
        "encode",
        "signals",
        "create",
        "lock",
        "write",
        "check",
        "rename",
        "tell the parent",
        OTHER,
    ),
    "parent": (
        "plan",
        "size",
        "hand out",
        "record the beginning",
        "receive the outcome",
        "record the end",
        "tell and count",
        OTHER,
    ),
}
"""The kinds of work in each process, in their order."""

Figures = dict[str, float]

_clock = time.thread_time_ns


class Clock:
    """Charges processor time to the kind of work that is being done."""

    def __init__(self) -> None:
        self.inner = self.outer = 0.0
        """Nanoseconds of each probe that land in its own work, and in the work around it."""
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a process that was forked does."""
        self.spent: dict[str, float] = defaultdict(float)
        self.stack = [OTHER]
        self.since = _clock()
        self.samples: list[dict[str, float]] = []
        self.files = 0

    def enter(self, name: str) -> None:
        """Begin one kind of work."""
        now = _clock()
        self.spent[self.stack[-1]] += now - self.since - self.outer
        self.spent[name] -= self.inner
        self.stack.append(name)
        self.since = now

    def leave(self) -> None:
        """Go on with the one before."""
        now = _clock()
        self.spent[self.stack.pop()] += now - self.since
        self.since = now

    def sample(self, files: int) -> None:
        """Keep the microseconds a file since the last sample; what follows is of so many files."""
        now = _clock()
        self.spent[self.stack[-1]] += now - self.since
        self.since = now
        if self.files == GROUP_FILES:
            self.samples.append({name: ns / 1e3 / self.files for name, ns in self.spent.items()})
        self.spent.clear()
        self.files = files

    def calibrate(self) -> None:
        """Measure what a probe takes."""
        empty, count = self.timed("nothing", int), 50_000
        self.reset()
        for _ in range(count):
            self.enter("nothing")
            self.leave()
        self.inner = self.spent["nothing"] / count
        begun = _clock()
        for _ in range(count):
            empty()
        whole = (_clock() - begun) / count
        self.outer = whole - self.inner
        self.reset()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that charges its time to one kind of work."""

        @functools.wraps(function)
        def probe(*args: Any, **options: Any) -> Any:
            self.enter(name)
            try:
                return function(*args, **options)
            finally:
                self.leave()

        return probe

    def timed_items(self, name: str, function: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        """Likewise for what returns an iterator: each of its steps."""

        @functools.wraps(function)
        def probe(*args: Any, **options: Any) -> Iterator[Any]:
            following = self.timed(name, functools.partial(next, iter(function(*args, **options)), None))
            while (item := following()) is not None:
                yield item

        return probe


# --- in the process that is looked at ----------------------------------------------------------------------


def _with(module: types.ModuleType, **changed: Any) -> Any:
    """Return what looks like a module to its importer, with some functions changed."""
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__, **changed)
    return copy


def look(results: Path, arguments: Sequence[str]) -> None:
    """Run the command with probes, and leave the figures of each process in a folder. Doesn't return."""
    from denoiser import __main__ as command
    from denoiser.commands import run_batch, telling
    from denoiser.commands.run_progress import RunProgress
    from denoiser.imaging import open as opening
    from denoiser.imaging import small_png, writer
    from denoiser.inference import auto, patches
    from denoiser.inference.reconstruction import Reconstruction
    from denoiser.pipeline import pipeline, process_pool, record
    from denoiser.system import atomic

    clock = Clock()
    clock.calibrate()

    put: Callable[[Any, str, Any], None] = setattr

    def probe(name: str, owner: Any, *attributes: str) -> None:
        for attribute in attributes:
            setattr(owner, attribute, clock.timed(name, getattr(owner, attribute)))

    def items(name: str, owner: Any, attribute: str) -> None:
        setattr(owner, attribute, clock.timed_items(name, getattr(owner, attribute)))

    probe("open", opening, "_opened")
    probe("read", opening, "_content")
    put(opening, "hashlib", _with(hashlib, sha256=clock.timed("hash", hashlib.sha256)))
    probe("decode", small_png, "decode")
    items("decode", small_png.PlainFile, "pages")
    probe("fit", patches, "wholes_from_images")
    items("fit", Reconstruction, "_finish_wholes")
    probe("gate", auto, "glyphs_among")
    probe("second opinion", Reconstruction, "_picture_patches")
    probe("encode", writer, "_small_png")
    probe("create", atomic, "_create")
    probe("lock", atomic, "lock")
    probe("signals", atomic, "_mask")
    probe("check", atomic, "_flush")
    renamed, written = clock.timed("rename", os.replace), clock.timed("write", os.write)
    put(atomic, "os", _with(os, replace=renamed, write=written))
    probe("tell the parent", process_pool._Sender, "send", "flush")
    items("plan", run_batch.Batch, "_jobs")
    items("size", pipeline, "_by_size")
    probe("hand out", process_pool._Worker, "give")
    probe("record the beginning", record.Record, "begin")
    probe("receive the outcome", process_pool.ProcessPool, "_receive")
    probe("record the end", pipeline.Pipeline, "_record_outcomes")
    probe("tell and count", run_batch.Batch, "_tell")
    probe("tell and count", RunProgress, "told")
    probe("tell and count", telling.Telling, "tell")

    network = Reconstruction._reconstruct

    def reconstruct(own: Any, name: str, patches: Any) -> Any:
        work = "network product" if name == auto.GLYPHS else "second opinion"
        return clock.timed(work, network)(own, name, patches)

    put(Reconstruction, "_reconstruct", reconstruct)
    unpack, serve, begin = process_pool._unpacked, process_pool._serve, record.Record.begin

    def unpacked(packed: Any) -> Any:
        jobs = clock.timed("receive the job", unpack)(packed)
        clock.sample(len(jobs))
        return jobs

    def served(*args: Any) -> None:
        clock.reset()
        try:
            serve(*args)
        finally:
            (results / f"worker-{os.getpid()}.json").write_text(json.dumps({"samples": clock.samples}))

    def begun(own: Any, outputs: Any) -> None:
        clock.sample(GROUP_FILES)
        begin(own, outputs)

    put(process_pool, "_unpacked", unpacked)
    put(process_pool, "_serve", served)
    put(record.Record, "begin", begun)
    sys.argv = ["denoise", *arguments]
    try:
        command.main()
    finally:
        (results / "parent.json").write_text(json.dumps({"samples": clock.samples}))


# --- in the process that looks -----------------------------------------------------------------------------


def run(tool: Sequence[str], source: Path) -> float:
    """Run a command over a folder; returns the seconds of processor time of all its processes."""
    with tempfile.TemporaryDirectory(dir=source.parent) as out:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, *tool, str(source), "--out", f"{out}/out", "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def probed(source: Path) -> dict[str, Figures]:
    """Microseconds a file by process and kind of work, of one run."""
    with tempfile.TemporaryDirectory() as results:
        run([__file__, "--look", results], source)
        samples: dict[str, list[Figures]] = {name: [] for name in PARTS}
        for path in Path(results).iterdir():
            samples[path.stem.partition("-")[0]] += json.loads(path.read_text())["samples"]
    if not all(samples.values()):
        raise SystemExit("There were too few files, or one processor: no worker was started.")
    return {
        process: {part: statistics.median(each.get(part, 0.0) for each in samples[process]) for part in parts}
        for process, parts in PARTS.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=10_000, help="how many digits")
    parser.add_argument("--runs", type=int, default=3, help="how many runs with probes, and without")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    described = describe()
    print(described, flush=True)
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        os.environ["DENOISER_HOME"] = f"{folder}/home"
        bench = Bench(Path(folder), argparse.Namespace(quick=True, runs=1, files=given.files, megapixels=1.0))
        few, many = bench.digits(given.files // 10, "few"), bench.digits(given.files, "many")
        runs, wholes = [], []
        for _ in range(given.runs):
            runs.append(probed(many))
            seconds = run(["-m", "denoiser"], many) - run(["-m", "denoiser"], few)
            wholes.append(1e6 * seconds / (given.files - given.files // 10))
    figures = {
        process: {part: statistics.median(each[process][part] for each in runs) for part in parts}
        for process, parts in PARTS.items()
    }
    whole = statistics.median(wholes)
    total = sum(sum(parts.values()) for parts in figures.values())
    print("\n| process | work | microseconds a file | share |\n| --- | --- | ---: | ---: |")
    for process, parts in figures.items():
        for part, spent in (*parts.items(), ("**together**", sum(parts.values()))):
            print(f"| {process} | {part} | {spent:.1f} | {spent / total:.0%} |")
    print(f"\nAll parts: {total:.0f} microseconds a file; runs without probes: {whole:.0f}.")
    if given.json:
        told = {"machine": described, "files": given.files, "parts": figures, "without_probes": whole}
        given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--look"]:
        look(Path(sys.argv[2]), sys.argv[3:])
    main()
