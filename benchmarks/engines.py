"""How fast the engines are beside one another, and how far their results differ.

    python benchmarks/engines.py [--model NAME|FILE] [--rounds N] [--json FILE]

Needs DENOISER_DATA with set12/: its photographs with white noise of sigma 25, rounded and clipped to 8 bits.
The engines take turns on the same patches, and the median of the rounds counts. The differences are those of
whole results to the numpy engine's, in levels of 255, after rounding.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from machine import describe
from PIL import Image

from denoiser import Denoiser
from denoiser._types import Bytes
from denoiser.inference import patches
from denoiser.inference.engine import Engine, open_engine
from denoiser.weights import modelfile, store

WAYS = (("numpy", "float32"), ("keras", "float32"), ("keras", "bfloat16"))
TIMED = 2048


def noisy() -> list[Bytes]:
    """Return the photographs with noise, uint8 (H, W)."""
    rng = np.random.default_rng(25)
    images = []
    for path in sorted(Path(os.environ["DENOISER_DATA"], "set12").glob("*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"), np.float32)
        images.append(np.rint(np.clip(pixels + rng.normal(0, 25, pixels.shape), 0, 255)).astype(np.uint8))
    return images


def main() -> None:
    """Time the engines in turn, compare their results, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="general", metavar="NAME|FILE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    if not os.environ.get("DENOISER_DATA"):
        parser.error("DENOISER_DATA must name a folder with set12/ in it")
    print(f"{describe('keras', 'tensorflow')}\n")
    images = noisy()
    model = modelfile.read(store.find(given.model) or Path(given.model), name=given.model)
    floats = images[-1].astype(np.float32) / np.float32(255)
    grid = patches.grid(floats.shape, 11)
    cut = patches.split(floats, grid, slice(None), model.config.context)[:TIMED]
    engines: dict[str, Engine] = {
        f"{kind}, {precision}": open_engine(model, engine=kind, device="cpu", precision=precision)
        for kind, precision in WAYS
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.reconstruct(cut)  # compiles
    for _ in range(given.rounds):
        for name, engine in engines.items():
            begun = time.perf_counter()
            engine.reconstruct(cut)
            times[name].append(time.perf_counter() - begun)
    results = {}
    for kind, precision in WAYS:
        with Denoiser(model, engine=kind, device="cpu", precision=precision, quality="fast") as denoiser:
            results[f"{kind}, {precision}"] = denoiser.reconstruct(images)
    rows = {}
    usual = statistics.median(times["numpy, float32"])
    print("| engine | patches/s | beside numpy | largest difference | mean difference |\n|" + " --- |" * 5)
    for name in engines:
        seconds = statistics.median(times[name])
        pairs = zip(results[name], results["numpy, float32"], strict=True)
        apart = np.concatenate([np.abs(one.astype(int) - two).ravel() for one, two in pairs])
        row = {
            "patches a second": len(cut) / seconds,
            "beside numpy": usual / seconds,
            "largest difference": int(apart.max()),
            "mean difference": float(apart.mean()),
        }
        rows[name] = row
        print(
            f"| {name} | {row['patches a second']:,.0f} | {row['beside numpy']:.2f} "
            f"| {row['largest difference']} | {row['mean difference']:.3f} |"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
