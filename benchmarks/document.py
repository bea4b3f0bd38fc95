"""How clean a page comes out, how well it reads, and what stays that must stay.

    python benchmarks/document.py [--model document|FILE] [--quality balanced] [--part third|all]
        [--no-reading] [--pages N] [--json FILE] [--pictures DIR]

Needs DENOISER_DATA with noisyoffice/; uses scans/, set12/ and bsds400/ if they are there. The root of the
mean squared error is on 0..1, over all pixels of all pages. `median background` is the known simple method:
each page divided by its own median filter (OpenCV, the size best for these pages). Reading is by Tesseract
(Debian's tesseract-ocr; left out where it isn't installed), pages enlarged twice: the edit distance of what
is read from the cleaned page to what is read from the clean original, per character; for the scan, to what is
read from the untouched page.

--part third takes six of NoisyOffice's 18 pages under their four kinds of dirt, each in its own font,
which `benchmarks/document_pairs.py` keeps out of training. All pages share one text and the same sheets of
paper, so that even these figures flatter. --pictures writes the best, a typical and the three worst pages:
noisy, cleaned, clean.

Black ink is the mean of what is 0 to 4 of 255 on the clean pages: above 0 it came out too light. Light edges
are what is 240 to 254 on them: above 0, their mean change says that they went white with the paper.

Faint text is drawn in Pillow's own font on paper of gray 215, 235 and 255 with a grain of 2 levels; what is
kept is its mean contrast beside the clean page's, 1 if it is as far from white as it was from the paper.
Pictures are those of Set12 on white pages, as they are, as halftones and as engravings of the generator; the
PSNR is that of the picture's own pixels to those before.
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
from PIL import Image, ImageDraw, ImageFont, ImageSequence

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

import denoiser as library
from denoiser import generator
from denoiser.generator import furniture

Bytes = npt.NDArray[np.uint8]
Pages = dict[str, Bytes]
GRAYS = (160, 180, 200, 220, 240, 255)
KINDS = ("coffee", "folds", "footprints", "wrinkles")
DARKER = (12, 20, 30, 45, 60)
PAPERS = (215, 235, 255)
BORDER = 60
BLACK = 5


def denoise(folder: Path, out: Path, model: str, quality: str) -> None:
    """Clean a folder with the command."""
    options = ["--model", model, "--quality", quality, "--quiet"]
    subprocess.run([sys.executable, "-m", "denoiser", str(folder), "--out", str(out), *options], check=True)


def named(pages: Pages, model: str, quality: str) -> float:
    """The share of pages of which a note says that they are photographs or have lost much."""
    with library.Denoiser(model, quality=quality) as opened:
        page = library.Page(depth=8)
        floats = (np.asarray(pixels / 255, np.float32) for pixels in pages.values())
        return float(np.mean([bool(opened.clean_page(each, page).concerns) for each in floats]))


def read(folder: Path) -> Pages:
    """All pages of a folder as 8-bit gray, by name."""
    return {path.stem: np.asarray(Image.open(path).convert("L")) for path in sorted(folder.glob("*.png"))}


def save(pages: Pages, folder: Path) -> Path:
    """Write pages as PNG."""
    folder.mkdir(parents=True)
    for name, page in pages.items():
        Image.fromarray(page).save(folder / f"{name}.png")
    return folder


def ordered(names: Iterable[str]) -> list[str]:
    """Names by their ids: four in a row share a page, under coffee, folds, footprints and wrinkles."""
    return sorted(names, key=number)


def held(names: Iterable[str]) -> set[str]:
    """Names of every third page under all its kinds of dirt, which no training may see."""
    return {name for index, name in enumerate(ordered(names)) if index // 4 % 3 == 2}


def part(pages: Pages, which: str) -> Pages:
    """The held third of the pages, or all."""
    kept = held(pages) if which == "third" else set(pages)
    return {name: page for name, page in pages.items() if name in kept}


def number(name: str) -> int:
    """A page's id."""
    return int("".join(letter for letter in name if letter.isdigit()) or 0)


def rmse(first: Pages, second: Pages) -> float:
    """Root of the mean squared error over all pixels, 0..1."""
    errors = [np.square(first[name] / 255.0 - second[name] / 255.0) for name in second]
    return float(np.sqrt(sum(error.sum() for error in errors) / sum(error.size for error in errors)))


def by_kind(pages: Pages, clean: Pages) -> dict[str, float]:
    """The RMSE of the pages under each kind of dirt."""
    names = ordered(clean)
    return {
        kind: rmse(pages, {name: clean[name] for name in names[index :: len(KINDS)]})
        for index, kind in enumerate(KINDS)
    }


def on_ink(pages: Pages, clean: Pages) -> float:
    """The RMSE over those pixels that are darker than gray 128 on the clean pages."""
    masks = {name: page < 128 for name, page in clean.items()}
    return rmse(*({name: side[name][mask] for name, mask in masks.items()} for side in (pages, clean)))


def black_ink(pages: Pages, clean: Pages) -> dict[str, float]:
    """Mean of those pixels that are black (0 to 4 of 255) on the clean pages, by kind of dirt, on 0..1."""
    names = ordered(clean)
    means = {}
    for index, kind in enumerate(KINDS):
        found = [pages[name][clean[name] < BLACK] for name in names[index :: len(KINDS)]]
        means[kind] = float(np.concatenate(found).mean()) / 255
    return means


def change_of_edges(pages: Pages, clean: Pages) -> float:
    """Mean change of those pixels that are 240 to 254 of 255 on the clean pages, on 0..1."""
    edges = {name: (page >= 240) & (page < 255) for name, page in clean.items()}
    changes = [pages[name][mask].astype(float) - clean[name][mask] for name, mask in edges.items()]
    return float(np.concatenate(changes).mean()) / 255


def faint() -> Pages:
    """Text a little darker than its paper, by `darker-paper`."""
    pages = {}
    for darker in DARKER:
        for paper in PAPERS:
            image = Image.new("L", (400, 220), paper)
            draw = ImageDraw.Draw(image)
            for line in range(8):
                words = "The quick brown fox jumps over the lazy dog 0123"
                draw.text((12, 8 + 26 * line), words, fill=paper - darker, font=ImageFont.load_default(17))
            noise = np.random.default_rng(darker).normal(0, 2, (220, 400))
            noisy = np.rint(np.clip(np.asarray(image) + noise, 0, 255)).astype(np.uint8)
            pages[f"{darker}-{paper}"] = noisy
    return pages


def kept(results: Pages) -> dict[int, float]:
    """The contrast of faint text as a share of what it was, by how much darker than the paper it is."""
    black = Image.new("L", (400, 220), 255)
    draw = ImageDraw.Draw(black)
    for line in range(8):
        words = "The quick brown fox jumps over the lazy dog 0123"
        draw.text((12, 8 + 26 * line), words, fill=0, font=ImageFont.load_default(17))
    strokes = np.asarray(black) < 30
    return {
        darker: float(
            np.mean([(255.0 - results[f"{darker}-{paper}"][strokes].mean()) / darker for paper in PAPERS])
        )
        for darker in DARKER
    }


def pictures(folder: Path, kind: str) -> Pages:
    """Set12 on white pages: as photographs, as halftones or as engravings."""
    pages: Pages = {}
    for path in sorted(folder.glob("*.png")):
        picture = Image.open(path).convert("L")
        if picture.width > 256:
            picture = picture.reduce(2)
        tones = np.asarray(picture, np.float32) / np.float32(255)
        if kind != "photographs":
            draw = furniture.halftone if kind == "halftones" else furniture.engraving
            tones = draw(np.random.default_rng(len(pages)), tones)
        pages[path.stem] = np.pad(np.rint(255 * tones).astype(np.uint8), BORDER, constant_values=255)
    return pages


def psnr(results: Pages, given: Pages) -> float:
    """The mean PSNR of the pictures' own pixels, dB."""
    inside = slice(BORDER, -BORDER)
    errors = [rmse({"": results[name][inside, inside]}, {"": given[name][inside, inside]}) for name in given]
    return float(np.mean([-20 * np.log10(max(error, 1e-6)) for error in errors]))


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
    """Write the best, a typical and the three worst pages: noisy, cleaned, clean."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(clean, key=lambda name: rmse(results, {name: clean[name]}))
    chosen = {"best": names[0], "typical": names[len(names) // 2]}
    chosen |= {f"worst-{rank}": name for rank, name in enumerate(reversed(names[-3:]), start=1)}
    for rank, name in chosen.items():
        row = np.concatenate([noisy[name], results[name], clean[name]], axis=1)
        Image.fromarray(row).save(folder / f"{rank}-{name}.png")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="document")
    parser.add_argument("--quality", default="balanced")
    parser.add_argument("--part", choices=["third", "all"], default="all")
    parser.add_argument("--no-reading", action="store_true")
    parser.add_argument("--pages", type=int, default=4, help="pages of the scan to read")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    data = Path(os.environ.get("DENOISER_DATA", ""))
    if not (data / "noisyoffice").is_dir():
        sys.exit("benchmarks/document.py needs DENOISER_DATA with noisyoffice/ in it.")
    noisy, clean = (part(read(data / "noisyoffice" / kind), options.part) for kind in ("noisy", "clean"))
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
        for kind in KINDS:
            rows = [by_kind(each, clean)[kind] for each in (noisy, flat, results)]
            figures[f"RMSE, {kind}"] = rows
        figures["RMSE of ink pixels"] = [on_ink(each, clean) for each in (noisy, flat, results)]
        blacks = [black_ink(each, clean) for each in (noisy, flat, results)]
        figures |= {f"black ink, mean, {kind}": [row[kind] for row in blacks] for kind in KINDS}
        again = cleaned(clean, "clean")
        figures["RMSE of clean pages to themselves"] = [None, None, rmse(again, clean)]
        figures["light edges of clean pages, mean change"] = [None, None, change_of_edges(again, clean)]
        sheets = cleaned(blank(np.random.default_rng(0)), "blank")
        darkest = {name: int(page.min()) for name, page in sheets.items()}
        figures["blank paper: share of pixels at 255"] = [
            None,
            None,
            float(np.mean([np.mean(page == 255) for page in sheets.values()])),
        ]
        for darker, share in kept(cleaned(faint(), "faint")).items():
            figures[f"text {darker} levels darker than its paper, contrast kept"] = [1.0, None, share]
        if (data / "set12").is_dir():
            for kind in ("photographs", "halftones", "engravings"):
                given = pictures(data / "set12", kind)
                figures[f"{kind} on a page, dB to themselves"] = [
                    None,
                    None,
                    psnr(cleaned(given, kind), given),
                ]
            whole = read(data / "set12")
            for path in sorted((data / "bsds400").glob("*.jpg"))[::12]:
                whole[path.stem] = np.asarray(Image.open(path).convert("L"))
            share = named(whole, options.model, options.quality)
            figures[f"{len(whole)} photographs without a page, share that a note names"] = [None, None, share]
        share = named(noisy, options.model, options.quality)
        figures["pages under dirt, share that a note names"] = [None, None, share]
        if reads:
            wanted = readings(clean)
            figures["edits per character"] = [misread(each, wanted) for each in (noisy, flat, results)]
            path = data / "scans" / "aim916.tiff"
            if options.pages and path.is_file():
                untouched = scan(path, range(1, 28, 28 // options.pages))
                found = misread(cleaned(untouched, "scan"), readings(untouched))
                figures["edits per character, real scan"] = [0.0, None, found]
        if options.pictures:
            draw(options.pictures, noisy, results, clean)
    print(describe("opencv-python-headless"))
    print(f"{len(clean)} pages of NoisyOffice ({options.part}), {options.model}, {options.quality}\n")
    print("| measure | untouched | median background | denoise |\n| --- | --- | --- | --- |")
    for measure, row in figures.items():
        print(f"| {measure} | " + " | ".join("" if cell is None else f"{cell:.4f}" for cell in row) + " |")
    print(f"\nDarkest pixel of blank paper: {darkest}")
    if not reads:
        print(
            "Reading was left out: " + ("--no-reading" if options.no_reading else "tesseract isn't installed")
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
