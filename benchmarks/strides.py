"""What the distance between patches costs and gains: PSNR, visible borders, and number of patches.

    python benchmarks/strides.py [--model NAME|FILE] [--strides N ...] [--json FILE]

Needs DENOISER_DATA with bsds400/: the middle 160x160 pixels of each photograph that training leaves out, with
white noise, rounded and clipped to 8 bits. "patches" is their number beside that of stride 21. "lines": how
much the error (result minus clean) changes from one pixel to the next at the place that shows most, beside
the median of all places that come again with the patches; borders of patches and of tokens are such places,
and 1 is no seam at all. A stride is worth having if no other is both cheaper and better.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from machine import describe
from PIL import Image

from denoiser import Denoiser
from denoiser._types import Floats
from denoiser.inference import patches
from denoiser.training import image_folders
from denoiser.weights import modelfile, store

SIDE = 160
SIGMAS = (15, 25, 50)
STRIDES = (5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26)


def middles(photographs: Path) -> list[Floats]:
    """Return the middles of the photographs that training leaves out, float32 (SIDE, SIDE) in 0..255."""
    paths = sorted(photographs.glob("*.jpg"))
    found = []
    for index in image_folders.held_out(len(paths), 0.1):
        with Image.open(paths[index]) as image:
            gray = np.asarray(image.convert("L"), np.float32)
        top, left = ((length - SIDE) // 2 for length in gray.shape)
        found.append(gray[top : top + SIDE, left : left + SIDE])
    return found


def by_place(errors: Floats, stride: int) -> Floats:
    """Return how much errors, float32 (N, SIDE, SIDE), change at each place: float32 (stride,)."""
    steps = np.abs(np.diff(errors, axis=2)).mean(axis=(0, 1))
    places = (np.arange(1, SIDE) + patches.grid((SIDE, SIDE), stride).lead[1]) % stride
    means = np.bincount(places, steps, stride) / np.bincount(places, minlength=stride)
    return means.astype(np.float32)


def row(model: str, stride: int, clean: list[Floats]) -> dict[str, float]:
    """Return PSNR at each sigma, and the most relative change of the error at a place."""
    figures: dict[str, float] = {}
    changes = np.zeros(stride)
    with Denoiser(model=model, stride=stride) as denoiser:
        for sigma in SIGMAS:
            rng = np.random.default_rng(sigma)
            noisy = [
                np.rint(np.clip(each + rng.normal(0, sigma, each.shape), 0, 255)).astype(np.uint8)
                for each in clean
            ]
            errors = [
                result.astype(np.float32) - each
                for result, each in zip(denoiser.reconstruct(noisy), clean, strict=True)
            ]
            each_db = [10 * np.log10(255**2 / np.mean(np.square(error))) for error in errors]
            figures[f"sigma {sigma}"] = float(np.mean(each_db))
            changes += by_place(np.stack(errors), stride)
    figures["patches"] = (21 / stride) ** 2
    figures["lines"] = float(changes.max() / np.median(changes))
    return figures


def main() -> None:
    """Measure each stride, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="general", metavar="NAME|FILE")
    parser.add_argument("--strides", nargs="+", type=int, default=list(STRIDES), metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    if not os.environ.get("DENOISER_DATA"):
        parser.error("DENOISER_DATA must name a folder with bsds400/ in it")
    model = modelfile.read(store.find(given.model) or Path(given.model), name=given.model)
    print(f"{describe()}\n{given.model}: {model.config.multiply_adds / 1e6:.1f} M multiply-adds a patch\n")
    print("| stride | patches | sigma 15 | sigma 25 | sigma 50 | lines |\n|" + " --- |" * 6, flush=True)
    clean, rows = middles(Path(os.environ["DENOISER_DATA"], "bsds400")), {}
    for stride in given.strides:
        rows[stride] = figures = row(given.model, stride, clean)
        each = " | ".join(f"{figures[f'sigma {sigma}']:.2f}" for sigma in SIGMAS)
        print(f"| {stride} | {figures['patches']:.2f} | {each} | {figures['lines']:.3f} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
