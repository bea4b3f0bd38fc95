"""Give a trained patch network more blocks that change nothing yet.

    python benchmarks/deepen.py START OUT --after 1 3 5

START is a model's name or file, OUT the file to write. A new block follows each block of START that `--after`
names, counted from 0. The kernels that it adds through are zero, so that OUT gives the same pixels, which is
checked; those before them are as in a network from scratch (Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016,
grow networks likewise). A training goes on from it with

    denoise train CLEAN --noisy NOISY --recipe document --from OUT
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from denoiser import models
from denoiser.models import PatchAutoencoder
from denoiser.weights import store


def deepened(start: PatchAutoencoder, after: list[int]) -> PatchAutoencoder:
    """Return a network with a new block after each of those of `start`; it gives the same pixels."""
    arguments = start.config.arguments()
    places: list[int | None] = []
    for block in range(arguments["blocks"]):
        places += [block, *[None] * after.count(block)]
    deeper = PatchAutoencoder(**{**arguments, "blocks": len(places)}, card=start.card)
    old = start.named_weights()
    for name, variable in deeper.named_weights().items():
        part, _, rest = name.partition("/")
        place = places[int(part.removeprefix("block"))] if part.startswith("block") else None
        if place is not None:
            variable.assign(old[f"block{place}/{rest}"])
        elif not part.startswith("block"):
            variable.assign(old[name])
        elif rest not in ("channels_in/kernel", "tokens_in/kernel"):
            variable.assign(np.zeros(variable.shape))
    return deeper


def main() -> None:
    """Write the deeper network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start")
    parser.add_argument("out", type=Path)
    parser.add_argument("--after", type=int, nargs="+", required=True)
    options = parser.parse_args()
    start = models.from_file(store.load(options.start))
    if not isinstance(start, PatchAutoencoder):
        sys.exit(f"benchmarks/deepen.py needs a PatchAutoencoder, and {options.start} is none.")
    config, blocks = start.config, start.config.arguments()["blocks"]
    if not 0 <= min(options.after) <= max(options.after) < blocks:
        sys.exit(f"--after takes numbers from 0 to {blocks - 1}: {options.start} has {blocks} blocks.")
    deeper = deepened(start, options.after)
    patches = np.random.default_rng(0).random((16, *config.input_shape), np.float32)
    np.testing.assert_array_equal(np.asarray(deeper(patches)), np.asarray(start(patches)))
    deeper.save(options.out)
    products = deeper.config.multiply_adds / config.multiply_adds
    print(
        f"{options.out}: {blocks + len(options.after)} blocks instead of {blocks}, {products:.2f} times the"
        f" products, {deeper.config.parameters:,} weights instead of {config.parameters:,}, the same pixels."
    )


if __name__ == "__main__":
    main()
