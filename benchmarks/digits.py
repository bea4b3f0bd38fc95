"""How well `digits` cleans the 10,000 MNIST test digits, beside doing nothing and the best linear map.

    python benchmarks/digits.py [MODEL.keras]

Needs DENOISER_DATA, a folder with MNIST in `mnist/`. Figures are the PSNR of the mean squared error over all
test digits, with Gaussian noise clipped to 0..1 as the file of an image has it. The network is blind: one
set of weights for all levels. The linear map is fitted to each level by least squares on the 60,000 training
digits, so it knows the level.

The bundled weights are what this made in 20 minutes on two busy cores:

    denoise train mnist --recipe digits --epochs 120

Width, floor and moves were chosen on 5,000 of the 60,000 training digits, held out (dB by sigma), with Adam
at 3e-3, batches of 128 and no preconditioning; the last row is today's recipe:

| latent_dim | epochs | moved by up to | 0.0 | 0.1 | 0.2 | 0.3 | 0.4 | 0.5 | file |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 512 | 20 | 0 px | 28.50 | 27.30 | 24.79 | 22.40 | 20.40 | 18.81 | 1.4 MB |
| 1024 | 20 | 0 px | 28.75 | 27.45 | 24.95 | 22.65 | 20.73 | 19.17 | 2.8 MB |
| 1792 | 20 | 0 px | 28.79 | 27.45 | 25.00 | 22.77 | 20.90 | 19.37 | 4.9 MB |
| 1024 | 20 | 1 px | 29.09 | 27.69 | 25.06 | 22.67 | 20.70 | 19.10 | 2.8 MB |
| 1024 | 150 | 0 px | 29.40 | 27.82 | 25.16 | 22.96 | 21.18 | 19.69 | 2.8 MB |
| 1024 | 120 | 2 px | 30.15 | 28.28 | 25.33 | 22.98 | 21.09 | 19.51 | 2.8 MB |
| 1024, bundled | 120 | 2 px | 30.09 | 28.31 | 25.41 | 23.08 | 21.25 | 19.71 | 2.8 MB |

1024 is the widest that stays under 3 MB; rounding its weights to float16 costs less than 0.01 dB. Moving half
of the digits while learning costs little on centred ones and keeps those that are not: two pixels off centre,
test digits without noise come back at 28.6 dB instead of 23.8.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np
import numpy.typing as npt
from machine import describe

from denoiser import noise
from denoiser.inference.engine import open_engine
from denoiser.training import mnist
from denoiser.weights import modelfile

Array = npt.NDArray[np.float32]

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
GOALS = (28.0, 26.8, 24.7, 22.7, 20.8, 19.1)
SEED = 2024


def main() -> None:
    """Measure and print the table."""
    train, test = (mnist.mnist("train"), mnist.mnist("test"))
    if train is None or test is None:
        sys.exit("benchmarks/digits.py needs DENOISER_DATA: a folder with MNIST in mnist/.")
    default = Path(__file__).parent.parent / "denoiser" / "weights" / "digits.keras"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    model = modelfile.read(path, name="digits")
    engine = open_engine(model, engine="numpy")
    print(f"python {' '.join(sys.argv)}")
    print(describe())
    size = path.stat().st_size
    print(f"{path.name}: {model.parameters:,} weights, {size:,} bytes, sha256 {model.digest[:12]}")
    print(f"config {asdict(model.config)}")
    clean, learnt = as_float(test), as_float(train)
    print("\n| sigma | input | best linear map | digits | goal |\n| --- | --- | --- | --- | --- |")
    seconds = 0.0
    for level, goal in zip(LEVELS, GOALS, strict=True):
        spoil = noise.parse(f"gaussian:sigma={level}")
        noisy = spoil(clean, np.random.default_rng(SEED))
        linear = Linear(spoil(learnt, np.random.default_rng(SEED + 1)), learnt)(noisy) if level else noisy
        begun = time.perf_counter()
        result = np.clip(engine.reconstruct(noisy), 0.0, 1.0)
        seconds += time.perf_counter() - begun
        figures = " | ".join(decibels(image, clean) for image in (noisy, linear, result))
        print(f"| {level} | {figures} | {goal} |", flush=True)
    print(f"\n{len(LEVELS) * len(clean) / seconds:,.0f} digits a second on {engine.name} ({engine.device})")
    engine.close()


def as_float(images: npt.NDArray[np.uint8]) -> Array:
    """Bytes to float32 in 0..1."""
    return images.astype(np.float32) / np.float32(255.0)


def decibels(image: Array, clean: Array) -> str:
    """PSNR of the mean squared error over all digits."""
    error = float(np.mean(np.square(image - clean, dtype=np.float64)))
    return f"{-10 * math.log10(error):.2f}" if error else "exact"


class Linear:
    """The affine map of 784 pixels to 784 that has the least squared error on its examples."""

    def __init__(self, noisy: Array, clean: Array) -> None:
        inputs, outputs = noisy.reshape(len(noisy), -1), clean.reshape(len(clean), -1)
        self._mean_in, self._mean_out = inputs.mean(0), outputs.mean(0)
        inputs, outputs = inputs - self._mean_in, outputs - self._mean_out
        moments = inputs.T @ inputs + 1e-3 * np.eye(inputs.shape[1], dtype=np.float32)
        self._map = np.linalg.solve(moments.astype(np.float64), (inputs.T @ outputs).astype(np.float64))

    def __call__(self, noisy: Array) -> Array:
        """Apply it; the result is clipped, as the network's is."""
        flat = (noisy.reshape(len(noisy), -1) - self._mean_in) @ self._map + self._mean_out
        return np.asarray(np.clip(flat, 0.0, 1.0), dtype=np.float32).reshape(noisy.shape)


if __name__ == "__main__":
    main()
