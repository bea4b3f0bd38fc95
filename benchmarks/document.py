"""How clean a page comes out, and how well it reads: `document` on NoisyOffice, a real scan and blank paper.

    python benchmarks/document.py [--model document|FILE] [--quality balanced] [--half first|second|all]
        [--no-reading] [--pages N] [--json FILE] [--pictures DIR]

Needs DENOISER_DATA with noisyoffice/ and scans/. The root of the mean squared error is on 0..1, over all
pixels of all pages. `median background` is the known simple method: each page divided by its own median
filter (OpenCV, the size that is best for these pages). Reading is by Tesseract (Debian's tesseract-ocr;
left out where it isn't installed), pages enlarged twice: the edit distance of what is read from the cleaned
page to what is read from the clean original, per character; for the scan, to what is read from the untouched
page. --half takes one half of NoisyOffice's 18 pages under their four kinds of dirt (no page is in both,
though all share one text and the same sheets of paper). --pictures writes the three worst pages: noisy,
cleaned, clean.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

from denoiser import generator

Bytes = npt.NDArray[np.uint8]
Pages = dict[str, Bytes]
GRAYS = (160, 180, 200, 220, 240, 255)


def denoise(folder: Path, out: Path, model: str, quality: str) -> None:
    """Clean a folder with the command."""
    options = ["--model", model, "--quality", quality, "--quiet"]
    subprocess.run([sys.executable, "-m", "denoiser", str(folder), "--out", str(out), *options], check=True)


def read(folder: Path) -> Pages:
    """All pages of a folder as 8-bit gray, by name."""
    return {path.stem: np.asarray(Image.open(path).convert("L")) for path in sorted(folder.glob("*.png"))}


def save(pages: Pages, folder: Path) -> Path:
    """Write pages as PNG."""
    folder.mkdir(parents=True)
    for name, page in pages.items():
        Image.fromarray(page).save(folder / f"{name}.png")
    return folder


def half(pages: Pages, which: str) -> Pages:
    """One half of the 18 pages under all their kinds of dirt: four ids in a row share a page."""
    if which == "all":
        return pages
    kept = {}
    for index, (name, page) in enumerate(sorted(pages.items(), key=lambda item: number(item[0]))):
        if (index // 4 % 2 == 0) == (which == "first"):
            kept[name] = page
    return kept


def number(name: str) -> int:
    """A page's id."""
    return int("".join(letter for letter in name if letter.isdigit()) or 0)


def rmse(first: Pages, second: Pages) -> float:
    """Root of the mean squared error over all pixels, 0..1."""
    errors = [np.square(first[name] / 255.0 - second[name] / 255.0) for name in second]
    return float(np.sqrt(sum(error.sum() for error in errors) / sum(error.size for error in errors)))


def flattened(pages: Pages, clean: Pages) -> Pages:
    """Each page divided by its median-filtered self, at the size that is best for these pages."""
    import cv2

    def divided(page: Bytes, size: int) -> Bytes:
        background = np.maximum(cv2.medianBlur(page, size), 1)
        result: Bytes = np.rint(np.clip(255.0 * page / background, 0, 255)).astype(np.uint8)
        return result

    tries = ({name: divided(page, size) for name, page in pages.items()} for size in (15, 21, 31, 41, 51))
    return min(tries, key=lambda found: rmse(found, clean))


def readings(pages: Pages) -> dict[str, str]:
    """What Tesseract reads from each page, enlarged twice."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def one(item: tuple[str, Bytes]) -> tuple[str, str]:
            name, page = item
            path = Path(folder) / f"{name}.png"
            image = Image.fromarray(page)
            image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC).save(path)
            environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
            command = ["tesseract", str(path), "-", "--psm", "6"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            return name, " ".join(done.stdout.split())

        return dict(pool.map(one, pages.items()))


def distance(first: str, second: str) -> int:
    """Levenshtein's edit distance, a row at a time."""
    letters = np.array([ord(letter) for letter in second])
    steps = np.arange(len(second) + 1)
    row = steps.copy()
    for index, letter in enumerate(first, start=1):
        best = np.empty_like(row)
        best[0] = index
        best[1:] = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(letter)))
        # What is inserted costs one a step: the running minimum of (cost - place) gives all of them at once.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def misread(pages: Pages, wanted: dict[str, str]) -> float:
    """Edits per character of what should be read."""
    found = readings(pages)
    edits = sum(distance(found[name], text) for name, text in wanted.items())
    return edits / max(1, sum(len(text) for text in wanted.values()))


def blank(rng: np.random.Generator) -> Pages:
    """Sheets of textured paper with nothing on them."""
    pages = {}
    for gray in GRAYS:
        texture = 0.03 * (generator.field(rng, (300, 400), cell=60.0, octaves=6) - 0.5)
        grain = rng.normal(0, 0.012, (300, 400))
        pages[f"gray {gray}"] = np.rint(255 * np.clip(gray / 255 + texture + grain, 0, 1)).astype(np.uint8)
    return pages


def scan(path: Path, wanted: Iterable[int]) -> Pages:
    """Pages of a multi-page TIFF as 8-bit gray."""
    chosen = set(wanted)
    with Image.open(path) as image:
        return {
            f"page {index}": np.asarray(frame.convert("L"))
            for index, frame in enumerate(ImageSequence.Iterator(image))
            if index in chosen
        }


def draw(folder: Path, noisy: Pages, results: Pages, clean: Pages) -> None:
    """Write the three worst pages: noisy, cleaned, clean."""
    folder.mkdir(parents=True, exist_ok=True)
    worst = sorted(clean, key=lambda name: -rmse(results, {name: clean[name]}))[:3]
    for name in worst:
        row = np.concatenate([noisy[name], results[name], clean[name]], axis=1)
        Image.fromarray(row).save(folder / f"{name}.png")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="document")
    parser.add_argument("--quality", default="balanced")
    parser.add_argument("--half", choices=["first", "second", "all"], default="all")
    parser.add_argument("--no-reading", action="store_true")
    parser.add_argument("--pages", type=int, default=4, help="pages of the scan to read")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    data = Path(os.environ.get("DENOISER_DATA", ""))
    if not (data / "noisyoffice").is_dir():
        sys.exit("benchmarks/document.py needs DENOISER_DATA with noisyoffice/ in it.")
    noisy, clean = (half(read(data / "noisyoffice" / kind), options.half) for kind in ("noisy", "clean"))
    reads = not options.no_reading and shutil.which("tesseract") is not None
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:

        def cleaned(pages: Pages, name: str) -> Pages:
            out = Path(root) / f"{name}-out"
            denoise(save(pages, Path(root) / name), out, options.model, options.quality)
            return read(out)

        results = cleaned(noisy, "noisy")
        flat = flattened(noisy, clean)
        figures["RMSE"] = [rmse(each, clean) for each in (noisy, flat, results)]
        figures["RMSE of clean pages to themselves"] = [None, None, rmse(cleaned(clean, "clean"), clean)]
        sheets = cleaned(blank(np.random.default_rng(0)), "blank")
        darkest = {name: int(page.min()) for name, page in sheets.items()}
        figures["blank paper: share of pixels at 255"] = [
            None,
            None,
            float(np.mean([np.mean(page == 255) for page in sheets.values()])),
        ]
        if reads:
            wanted = readings(clean)
            figures["edits per character"] = [misread(each, wanted) for each in (noisy, flat, results)]
            path = data / "scans" / "aim916.tiff"
            if options.pages and path.is_file():
                untouched = scan(path, range(1, 28, 28 // options.pages))
                again = cleaned(untouched, "scan")
                figures["edits per character, real scan"] = [0.0, None, misread(again, readings(untouched))]
        if options.pictures:
            draw(options.pictures, noisy, results, clean)
    print(describe("opencv-python-headless"))
    print(f"{len(clean)} pages of NoisyOffice ({options.half}), {options.model}, {options.quality}\n")
    print("| measure | untouched | median background | denoise |\n| --- | --- | --- | --- |")
    for measure, row in figures.items():
        print(f"| {measure} | " + " | ".join("" if cell is None else f"{cell:.4f}" for cell in row) + " |")
    print(f"\nDarkest pixel of blank paper: {darkest}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
