"""Which shape of `general` learns most, at equal cost of inference and from equally many patches.

    python benchmarks/explore.py [--patches 200000] [--only NAME ...] [--json FILE]

Every network starts from scratch by the recipe of `general` (bsds400/ in DENOISER_DATA) and is judged on
photographs that the recipe holds out: by its patches under all noises of the recipe, and by eight whole ones
with sigma 25, cleaned at `balanced`. Short trainings favour what learns fast: this says which shapes deserve
a long one. The rate is that of the NumPy engine on all cores, so leave the machine alone to compare rates.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from machine import describe

from denoiser._types import PATCH
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.numpy_engine import NumpyEngine
from denoiser.training import datasets, image_folders, recipes
from denoiser.training.run import train_network
from denoiser.weights import modelfile
from denoiser.weights.architectures import input_shape, parameters, planes, validate

SHAPES: dict[str, dict[str, Any]] = {
    "as released": {},
    "without context": {"context": 1},
    "wider context": {"context": 4},
    "wide and shallow": {"channels": 144, "blocks": 2, "channel_hidden": 288},
    "narrow and deep": {"channels": 64, "blocks": 8, "token_hidden": 80, "channel_hidden": 128},
    "more mixing of tokens": {"token_hidden": 192, "channel_hidden": 96},
    "large tokens": {"token": 7, "channels": 192, "token_hidden": 64, "channel_hidden": 384},
    "small tokens": {"token": 2, "channels": 48, "blocks": 3, "token_hidden": 128, "channel_hidden": 64},
    "with additive constants": {"use_bias": True},
}
TIMED, PHOTOGRAPHS = 1536, 8
HEAD = """\
| what | multiply-adds | weights | validation patches | photographs | rate |
| --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Train them all and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", type=int, default=200_000, help="so many are learnt from, to the epoch")
    parser.add_argument("--only", nargs="+", choices=sorted(SHAPES), default=list(SHAPES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    folder = os.environ.get("DENOISER_DATA")
    if not folder:
        parser.error("DENOISER_DATA must name a folder with bsds400/ in it")
    print(f"{describe('keras', 'tensorflow')}\n\n{HEAD}", flush=True)
    rows = [_row(name, Path(folder, "bsds400"), given.patches) for name in given.only]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


def _row(name: str, photographs: Path, patches: int) -> dict[str, Any]:
    recipe = dataclasses.replace(recipes.RECIPES["general"], config=SHAPES[name])
    config = validate("PatchAutoencoder", recipe.arguments)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "explored.keras")
        card = train_network(
            "general",
            path,
            data=photographs,
            recipe=recipe,
            epochs=max(1, round(patches / datasets.EPOCH)),
            keep_anyway=True,
        )
        whole = _whole(path, photographs)
        rate = _rate(modelfile.read(path, name="explored"))
    row = {
        "shape": name,
        "macs": multiply_adds(config),
        "weights": parameters("PatchAutoencoder", config),
        "patches": card["patches"],
        "db": card["validation"]["output_db"],
        "whole_db": whole,
        "rate": rate,
    }
    print(
        f"| {name} | {row['macs'] / 1e6:.1f} M | {row['weights'] / 1e6:.2f} M | {row['db']:.2f} dB"
        f" | {whole:.2f} dB | {rate:,.0f} patches/s |",
        flush=True,
    )
    return row


def multiply_adds(config: dict[str, Any]) -> int:
    """Count the multiplications of one patch's matrix products."""
    pixels, channels = config["token"] ** 2, config["channels"]
    tokens = PATCH**2 // pixels
    mixed = 2 * tokens * channels * (config["token_hidden"] + config["channel_hidden"])
    ends = tokens * pixels * channels * (planes(config) + 1)
    return int(config["blocks"] * mixed + ends)


def _whole(model: Path, photographs: Path) -> float:
    """Mean PSNR in dB of held-out photographs."""
    found = image_folders.images(photographs)
    kept = [found[index] for index in image_folders.held_out(len(found), 0.1)[:PHOTOGRAPHS]]
    rng = np.random.default_rng(25)
    noisy = [np.rint(255 * np.clip(each + rng.normal(0, 25 / 255, each.shape), 0, 1)) for each in kept]
    with Denoiser(model) as denoiser:
        cleaned = denoiser.reconstruct([each.astype(np.uint8) for each in noisy])
    return statistics.mean(
        float(-10 * np.log10(np.mean(np.square(one / 255 - other))))
        for one, other in zip(cleaned, kept, strict=True)
    )


def _rate(model: modelfile.ModelFile) -> float:
    engine = NumpyEngine(model)
    given = np.random.default_rng(0).random((TIMED, *input_shape(model.config)), dtype=np.float32)
    seconds = []
    for _ in range(6):
        begun = time.perf_counter()
        engine.reconstruct(given)
        seconds.append(time.perf_counter() - begun)
    return TIMED / statistics.median(seconds[1:])  # the first makes the buffers


if __name__ == "__main__":
    main()
