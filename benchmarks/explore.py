"""Which shape of `general` learns most from equally many patches, and how trained models compare.

    python benchmarks/explore.py [--patches 300000] [--only NAME ...] [--precision bfloat16] [--json FILE]
    python benchmarks/explore.py --judge general FILE.keras ... [--merged]

Every shape starts from scratch by the recipe of `general` (bsds400/ in DENOISER_DATA). Shapes and models are
judged alike: by 2,048 patches of photographs that training leaves out, a tenth of them drawn instead, under
every noise of `NOISES`, which the networks see patch by patch; nothing is merged. `--judge` trains nothing.
With `--merged` it cleans the middles of the photographs that training leaves out instead, as the command does
at balanced quality: a network whose patches err alike gains less from their mean.
Short trainings favour what learns fast: they say which shapes deserve a long one. The last digit of a figure
is not certain.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import similar
import strides
from machine import describe

from denoiser.noise import parse
from denoiser.training import crops, recipes
from denoiser.training.datasets import EPOCH, dataset_for
from denoiser.training.evaluation import figure, look
from denoiser.training.plan import DataRequest, Plan
from denoiser.training.run import train_network
from denoiser.weights import modelfile, store
from denoiser.weights.architectures import Config, make_config

SIMILAR = "the most similar places"
SHAPES: dict[str, dict[str, Any]] = {
    "as chosen": {},
    "as in 0.1": {"window": 4, "groups": 1, "token_hidden": 96, "blocks": 4, "channel_hidden": 192},
    "windows of 12": {"window": 12},
    "6 groups": {"groups": 6},
    "24 groups": {"groups": 24},
    "48 groups": {"groups": 48},
    "a hidden layer across tokens": {"token_hidden": 49},
    "5 blocks, wider": {"blocks": 5, "channel_hidden": 192},
    "9 blocks, narrower": {"blocks": 9, "channel_hidden": 96},
    "12 blocks, narrower": {"blocks": 12, "channel_hidden": 64},
    "64 channels, 12 blocks": {"channels": 64, "groups": 8, "blocks": 12, "channel_hidden": 96},
    "128 channels, 5 blocks": {"channels": 128, "groups": 16, "blocks": 5, "channel_hidden": 128},
    "with context": {"context": 2},
    "with additive constants": {"use_bias": True},
    SIMILAR: similar.SHAPE,
}
NOISES = (
    *(f"gaussian:sigma={sigma / 255:.4f}" for sigma in (15, 25, 50)),
    *(f"correlated:sigma=0.08,blur={blur}" for blur in (0.8, 1.5, 3)),
    "poisson:peak=30",
    "speckle:sigma=0.2",
    "jpeg:quality=30",
    "salt_pepper:amount=0.02",
    "stripes:sigma=0.04",
    "quantize:levels=16",
    recipes.CLEAN,
)


def main() -> None:
    """Train or judge them all and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", type=int, default=300_000, help="learnt from, to the next 100,000")
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--judge", nargs="+", metavar="MODEL", help="judge these instead of training")
    parser.add_argument("--merged", action="store_true", help="judge whole images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    folder = os.environ.get("DENOISER_DATA")
    if not folder:
        parser.error("DENOISER_DATA must name a folder with bsds400/ in it")
    photographs = Path(folder, "bsds400")
    names = [noise.replace(":", " ").replace("sigma=", "").replace("0.", ".") for noise in NOISES]
    print(f"{describe('keras', 'tensorflow')}\n")
    print(f"| what | multiply-adds | weights | patches | all | {' | '.join(names)} |")
    print("| --- |" + " --- |" * (4 + len(names)), flush=True)
    if given.judge:
        judged = _merged if given.merged else _judged
        rows = [judged(name, photographs) for name in given.judge]
    else:
        rows = [_trained(name, photographs, given.patches, given.precision) for name in given.only]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


def _judged(name: str, photographs: Path) -> dict[str, Any]:
    from denoiser import models

    model = modelfile.read(store.find(name) or Path(name), name=name)
    recipe = dataclasses.replace(
        recipes.RECIPES["general"], config=dataclasses.asdict(model.config), levels=NOISES
    )
    dataset = dataset_for(Plan(recipe, Path("never written"), DataRequest(photographs)))
    network = models.from_file(model)
    everything = figure("all", look(network, *dataset.validation))["output_db"]
    each = [figure(noise, look(network, *pair))["output_db"] for noise, *pair in dataset.levels()]
    return _row(name, model.config, int(model.card.get("patches", 0)), everything, each)


def _merged(name: str, photographs: Path) -> dict[str, Any]:
    from denoiser import Denoiser

    model = modelfile.read(store.find(name) or Path(name), name=name)
    clean = np.stack(strides.middles(photographs)) / np.float32(255)
    each = []
    with Denoiser(model) as denoiser:
        for noise in NOISES:
            noisy = clean
            if noise != recipes.CLEAN:
                noisy = parse(noise)(clean, np.random.default_rng(7))
            noisy = np.asarray(np.rint(255 * np.clip(noisy, 0, 1)), np.uint8)
            errors = denoiser.reconstruct(list(noisy)) - 255 * clean
            each.append(float(np.mean(10 * np.log10(255**2 / np.mean(np.square(errors), axis=(1, 2))))))
    return _row(name, model.config, int(model.card.get("patches", 0)), float(np.mean(each)), each)


def _trained(name: str, photographs: Path, patches: int, precision: str) -> dict[str, Any]:
    recipe = dataclasses.replace(
        recipes.RECIPES["general"], config={"use_bias": False, **SHAPES[name]}, levels=NOISES
    )
    with tempfile.TemporaryDirectory() as place, _cutting(name):
        plan = Plan(
            recipe,
            Path(place, "explored.keras"),
            DataRequest(photographs),
            epochs=-(-patches // EPOCH),
            precision=precision,
        )
        card = train_network(plan, keep_anyway=True)
    each = [row["output_db"] for row in card["figures"]]
    config = make_config("PatchAutoencoder", recipe.arguments)
    return _row(name, config, card["patches"], card["validation"]["output_db"], each)


@contextlib.contextmanager
def _cutting(name: str) -> Iterator[None]:
    """Have patches come with the planes of their shape."""
    before = crops.cut
    if name == SIMILAR:
        crops.cut = similar.cut
    try:
        yield
    finally:
        crops.cut = before


def _row(name: str, config: Config, patches: int, everything: float, each: list[float]) -> dict[str, Any]:
    macs, weights = config.multiply_adds, config.parameters
    row = {
        "shape": name,
        "macs": macs,
        "weights": weights,
        "patches": patches,
        "all": everything,
        "each": dict(zip(NOISES, each, strict=True)),
    }
    figures = " | ".join(f"{value:.2f}" for value in (everything, *each))
    print(
        f"| {name} | {macs / 1e6:.1f} M | {weights / 1e6:.2f} M | {patches / 1e6:.1f} M | {figures} |",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
