"""How fast it is and how much memory it takes, beside floors and peers measured in the same run.

    python benchmarks/speed.py [--quick] [--only PART ...] [--json FILE] [--plot FILE]

Every figure is a ratio inside one run: the floor or peer and `denoise` alternate, and medians of at least
five count. `denoise` is timed as a whole command, from its start to its end, from files to files on tmpfs
where there is one. `--only` takes parts by name; scaling is timed once for each size and number. MNIST, Set12
and a scan come from DENOISER_DATA; without it, drawn pictures stand in, and the scan is left out.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt
import scaling
from machine import describe
from PIL import Image

from denoiser import generator
from denoiser._types import Bytes
from denoiser.imaging import writer
from denoiser.imaging.picture import Picture
from denoiser.inference import patches
from denoiser.inference.denoiser import QUALITIES
from denoiser.inference.mixer import sizes
from denoiser.page import Page
from denoiser.system.hardware import cores
from denoiser.training import mnist
from denoiser.weights import modelfile, store
from denoiser.weights.architectures import MixerConfig

A4 = (3508, 2480)
PATCHES_TIMED = 3072
NLM = "OpenCV NLM 7/21"


@dataclass(frozen=True)
class Row:
    """One line of the table: what was timed, both figures, and their ratio beside its goal."""

    work: str
    peer: str
    theirs: float
    ours: float
    unit: str
    ratio: float
    goal: float
    at_least: bool

    @property
    def text(self) -> str:
        """The line as Markdown."""
        reached = self.ratio >= self.goal if self.at_least else self.ratio <= self.goal
        goal = f"{'at least' if self.at_least else 'at most'} {self.goal:g}"
        figures = " | ".join(f"{value:,.{0 if value >= 100 else 2}f} {self.unit}" for value in self.figures)
        said = "yes" if reached else "no"
        return f"| {self.work} | {self.peer} | {figures} | {self.ratio:.2f} | {goal} | {said} |"

    @property
    def figures(self) -> tuple[float, float]:
        """Theirs and ours."""
        return self.theirs, self.ours


class Bench:
    """One run: where files go, how often each thing is timed, and what was asked for."""

    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        self.folder = folder
        self.quick = given.quick
        self.runs = max(1, given.runs)
        self.files = given.files or (2_000 if given.quick else 50_000)
        self.megapixels = given.megapixels or (4.0 if given.quick else 100.0)
        data = os.environ.get("DENOISER_DATA")
        self.data = Path(data) if data else None
        self.rng = np.random.default_rng(8)
        self._fresh = 0

    def fresh(self) -> Path:
        """Name a folder that is not there yet, and remove the one before."""
        subprocess.run(["rm", "-rf", str(self.folder / f"out{self._fresh}")], check=True)
        self._fresh += 1
        return self.folder / f"out{self._fresh}"

    def denoise(self, source: Path, *options: str) -> float:
        """Seconds that the command takes for a file or folder."""
        begun = time.perf_counter()
        subprocess.run(self.command(source, *options), check=True, capture_output=True)
        return time.perf_counter() - begun

    def command(self, source: Path, *options: str) -> list[str]:
        """The command line."""
        tool = [sys.executable, "-m", "denoiser", str(source), "--out", str(self.fresh()), "--quiet"]
        return [*tool, *options]

    def medians(self, *timed: Callable[[], float]) -> list[float]:
        """Median of each figure; they alternate, so that a noisy moment meets all of them."""
        figures = [[each() for each in timed] for _ in range(self.runs)]
        return [statistics.median(column) for column in zip(*figures, strict=True)]

    def digits(self, count: int, name: str = "digits") -> Path:
        """Noisy digits of 28x28 pixels, each a PNG: MNIST's, or drawn ones."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir()
            found = mnist.mnist("train") if self.data else None
            if found is None:
                drawn = [generator.digit(self.rng) for _ in range(min(count, 2_000))]
                found = np.rint(255 * np.stack(drawn)).astype(np.uint8)
            for index in range(count):
                noisy = found[index % len(found)] / 255 + self.rng.normal(0, 0.2, (28, 28))
                save(noisy, folder / f"{index}.png")
        return folder

    def pictures(self) -> Path:
        """Large noisy pictures: Set12 tiled to 1024x1024, and a page of A4 at 300 dpi."""
        folder = self.folder / "pictures"
        if folder.exists():
            return folder
        folder.mkdir()
        found = sorted((self.data / "set12").glob("*.png")) if self.data else []
        for index in range(2 if self.quick else 6):
            if found:
                with Image.open(found[index % len(found)]) as image:
                    small: npt.NDArray[Any] = np.asarray(image.convert("L"), np.float32) / 255
            else:
                small = generator.scene(self.rng, (256, 256))
            large = np.tile(small, (-(-1024 // small.shape[0]), -(-1024 // small.shape[1])))[:1024, :1024]
            save(large + self.rng.normal(0, 25 / 255, large.shape), folder / f"{index}.png")
        if self.quick:
            return folder
        page = generator.page(self.rng, A4)
        save(page + self.rng.normal(0, 25 / 255, page.shape), folder / "a4.png")
        return folder


def save(pixels: npt.NDArray[np.floating], path: Path) -> None:
    """Round and save floats in 0..1, as any file has them."""
    Image.fromarray(np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)).save(path)


# --- parts -------------------------------------------------------------------------------------------------


def _recode(names: Sequence[str], source: str, destination: str) -> None:
    """The floor's work: decode and encode, a temporary name and a rename."""
    Image.init()
    for name in names:
        with Image.open(f"{source}/{name}") as image:
            image.load()
            image.save(f"{destination}/.{name}.tmp", "PNG")
        os.replace(f"{destination}/.{name}.tmp", f"{destination}/{name}")  # noqa: PTH105 - the floor is fast


def many_files(bench: Bench) -> list[Row]:
    """Small files, beside processes that only decode and encode them."""
    source = bench.digits(bench.files)
    names = sorted(os.listdir(source))  # noqa: PTH208
    count = cores()

    def floor() -> float:
        out = bench.fresh()
        out.mkdir()
        begun = time.perf_counter()
        workers = [
            multiprocessing.Process(target=_recode, args=(names[index::count], str(source), str(out)))
            for index in range(count)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return len(names) / (time.perf_counter() - begun)

    theirs, ours = bench.medians(floor, lambda: len(names) / bench.denoise(source))
    peer = f"{count} processes that decode and encode with Pillow"
    work = f"{len(names):,} PNGs of 28x28"
    return [Row(work, peer, theirs, ours, "/s", ours / theirs, 0.85, at_least=True)]


def stack(bench: Bench) -> list[Row]:
    """The same digits in one file, beside the products of `digits` alone on every core."""
    source = bench.digits(bench.files)
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(source.iterdir())])
    arrays, pages = bench.folder / "stack.npy", bench.folder / "stack.tif"
    np.save(arrays, images)
    with pages.open("w+b") as file:  # Pillow's `save_all` takes time with the square of the number of pages
        pictures = (
            Picture(image / np.float32(255), Page(depth=8), format="TIFF", options={"compression": "raw"})
            for image in images
        )
        writer.write(file, pictures, "TIFF", count=len(images))
    plugin = ("--plugin", str(Path(__file__).parents[1] / "plugins" / "npy_stack.py"))
    jobs = [
        functools.partial(bench.denoise, path, "--model", "digits", *options)
        for path, options in ((arrays, plugin), (pages, ()))
    ]
    timed = [functools.partial(rate, job, len(images)) for job in jobs]
    theirs, *ours = bench.medians(functools.partial(digit_products, len(images)), *timed)
    peer = "the products of `digits` alone"
    return [
        Row(
            f"{len(images):,} digits in one {name}",
            peer,
            theirs,
            mine,
            "/s",
            mine / theirs,
            0.7,
            at_least=True,
        )
        for name, mine in zip((".npy (a plugin)", ".tif"), ours, strict=True)
    ]


def digit_products(count: int, together: int = 128) -> float:
    """Digits a second through nothing but the two products, on all cores, so many digits at once."""
    weights = store.load("digits").weights
    into, out = (np.ascontiguousarray(weights[f"{name}/kernel"].T) for name in ("latent", "pixels"))

    def work() -> None:
        columns = np.random.default_rng(0).random((into.shape[1], together), dtype=np.float32)
        latent, drawn = (
            np.empty((len(into), together), np.float32),
            np.empty((len(out), together), np.float32),
        )
        for _ in range(count // together):
            np.matmul(into, columns, out=latent)
            np.matmul(out, latent, out=drawn)

    threads = [threading.Thread(target=work) for _ in range(cores())]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return cores() * (count // together) * together / (time.perf_counter() - begun)


def products(bench: Bench) -> list[Row]:
    """Large pictures with `general`, beside its matrix products alone on every core."""
    source = bench.pictures()
    model = store.load("general")
    rows = []
    for quality in ("balanced", "fast"):
        count = sum(
            patches.grid(image.size[::-1], QUALITIES[quality]).patches
            for image in map(Image.open, sorted(source.iterdir()))
        )
        job = functools.partial(bench.denoise, source, "--model", "general", "--quality", quality)
        theirs, ours = bench.medians(
            functools.partial(bare_products, model), functools.partial(rate, job, count)
        )
        work = f"`general`, `{quality}`, {len(list(source.iterdir()))} large pictures"
        peer = "its matrix products alone"
        rows.append(Row(work, peer, theirs, ours, "patches/s", ours / theirs, 0.8, at_least=True))
    return rows


def rate(job: Callable[[], float], count: int) -> float:
    """How many of them a second."""
    return count / job()


def bare_products(model: modelfile.ModelFile) -> float:
    """Patches a second through nothing but the products, on all cores, arranged as the engine does."""
    config = model.config
    assert isinstance(config, MixerConfig)
    channels, groups, wide = config.channels, config.groups, config.channel_hidden
    tokens, pixels = config.tokens, config.window**2
    together = sizes(config)[0]
    count = max(1, PATCHES_TIMED // together)
    width = channels // groups

    def array(*shape: int) -> npt.NDArray[np.float32]:
        return np.random.default_rng(0).random(shape, dtype=np.float32)

    def work() -> None:
        windows, state = array(pixels * config.planes, tokens * together), array(channels, tokens * together)
        embed, draw = array(channels, pixels * config.planes), array(pixels, channels)
        drawn, along = array(pixels, tokens * together), array(wide, tokens * together)
        up, down = array(wide, channels), array(channels, wide)
        kernels = [array(groups, 1, outputs, inputs) for inputs, outputs in config.token_kernels.values()]
        counts = [kernels[0].shape[-1], *(kernel.shape[-2] for kernel in kernels)]
        columns = [array(groups, width, count, together) for count in counts]
        ready.wait()
        for _ in range(count):
            np.matmul(embed, windows, out=state)
            for _ in range(config.blocks):
                for kernel, given, made in zip(kernels, columns, columns[1:], strict=False):
                    np.matmul(kernel, given, out=made)
                np.matmul(up, state, out=along)
                np.matmul(down, along, out=state)
                state.fill(0.5)  # products of products would soon be infinite
            np.matmul(draw, state, out=drawn)

    ready = threading.Barrier(cores() + 1)
    threads = [threading.Thread(target=work) for _ in range(cores())]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return cores() * count * together / (time.perf_counter() - begun)


def nlm(pages: Sequence[Bytes]) -> float:
    """Seconds that OpenCV's non-local means takes for these pages."""
    import cv2

    begun = time.perf_counter()
    for page in pages:
        cv2.fastNlMeansDenoising(page, None, 20, 7, 21)
    return time.perf_counter() - begun


def means(bench: Bench) -> list[Row]:
    """The same pictures beside OpenCV's non-local means."""
    source = bench.pictures()
    pages = [np.asarray(Image.open(path)) for path in sorted(source.iterdir())]
    jobs = [
        functools.partial(bench.denoise, source, "--model", "general", "--quality", quality)
        for quality in ("fast", "balanced")
    ]
    theirs, *ours = bench.medians(functools.partial(nlm, pages), *jobs)
    return [
        Row(f"the same, `{quality}`", NLM, theirs, mine, "s", mine / theirs, goal, at_least=False)
        for quality, mine, goal in zip(("fast", "balanced"), ours, (0.8, 2.0), strict=True)
    ]


def scan(bench: Bench) -> list[Row]:
    """Pages of a real scan, most of them blank paper."""
    given = bench.data / "scans" / "aim916.tiff" if bench.data else None
    if given is None or not given.exists():
        print("scan: left out, as DENOISER_DATA names no scans/aim916.tiff", file=sys.stderr)
        return []
    source = bench.folder / "scan.tiff"
    pages = []
    with Image.open(given) as image:
        for index in np.linspace(0, getattr(image, "n_frames", 1) - 1, 1 if bench.quick else 3):
            image.seek(int(index))
            pages.append(image.copy())
    pages[0].save(source, save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    arrays = [np.asarray(page.convert("L")) for page in pages]
    job = functools.partial(bench.denoise, source, "--model", "general", "--quality", "fast")
    theirs, ours = bench.medians(functools.partial(nlm, arrays), job)
    work = f"{len(pages)} pages of a scan, `fast`"
    return [Row(work, NLM, theirs, ours, "s", ours / theirs, 0.25, at_least=False)]


def memory(bench: Bench) -> list[Row]:
    """Peaks of memory: a huge page, and ten thousand files."""
    megapixels = min(100.0, bench.megapixels)
    side = round(math.sqrt(megapixels * 1e6))
    page = bench.folder / "huge.tif"
    wave = np.sin(np.arange(side) / 200)
    deep = (30_000 + 20_000 * wave[:, None] * wave + bench.rng.integers(0, 2_000, side)).astype(np.uint16)
    Image.fromarray(deep).save(page)
    del deep
    _, peak = scaling.megabytes(bench.command(page, "--model", "general", "--stride", "28"))
    floats = side * side * 4 / 1e6
    page.unlink()
    count = min(10_000, bench.files)
    command = bench.command(bench.digits(count, f"digits{count}"))
    out = Path(command[command.index("--out") + 1])
    early, late = scaling.megabytes(command, lambda: out.is_dir() and len(os.listdir(out)) <= 101)  # noqa: PTH208
    return [
        Row(
            f"memory, {megapixels:g} megapixels of 16 bit", "3 times its float32 + 200 MB", 3 * floats + 200,
            peak, "MB", peak / (3 * floats + 200), 0.5, at_least=False,
        ),
        Row(
            f"memory, {count:,} files", "after 100 files + 20 MB", early + 20,
            late, "MB", late / (early + 20), 1.0, at_least=False,
        ),
    ]  # fmt: skip


PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "files": many_files,
    "stack": stack,
    "products": products,
    "nlm": means,
    "scan": scan,
    "memory": memory,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer files, smaller pages")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "scaling"], help="these parts alone")
    parser.add_argument("--runs", type=int, default=5, help="how often each thing is timed")
    parser.add_argument("--files", type=int, help="how many small files, 50,000 if not said")
    parser.add_argument("--megapixels", type=float, help="the largest page, 100 if not said")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time against size and number there")
    given = parser.parse_args()
    wanted = given.only or [*PARTS, "scaling"]
    described = describe("opencv-python-headless")
    print(f"{described}\n\n| work | beside | theirs | ours | ratio | goal | reached |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    shm = Path("/dev/shm")
    rows: list[Row] = []
    curves: list[scaling.Curve] = []
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        os.environ["DENOISER_HOME"] = f"{folder}/home"
        bench = Bench(Path(folder), given)
        for name, part in PARTS.items():
            for row in part(bench) if name in wanted else ():
                rows.append(row)
                print(row.text, flush=True)
        if "scaling" in wanted:
            curves = scaling.measure(bench.folder, bench.denoise, bench.megapixels, bench.files)
    for curve in curves:
        print(f"\n{curve.text}")
    if given.plot and curves:
        scaling.plot(curves, given.plot)
    if given.json:
        figures = {"machine": described, "rows": list(map(asdict, rows)), "curves": list(map(asdict, curves))}
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
