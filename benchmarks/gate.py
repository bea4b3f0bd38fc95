"""Whether `--model auto` tells glyphs from everything else that is small.

    python benchmarks/gate.py [--tuning]

Needs DENOISER_DATA, with `mnist/` and `bsds400/`. Measures the share of 2,000 MNIST test digits (half of them
clean, half with Gaussian noise up to sigma 0.4, half of them dark on light) that go to `digits`, and of 2,000
crops with sides of 12 to 56 pixels (half from photographs, a quarter each icons and text by the generator)
that go to `general`; then the same crops with noise. The rule was tuned on MNIST's training digits and on the
first 200 photographs (`--tuning` measures those); what is printed here comes from the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np
import numpy.typing as npt
from machine import describe
from PIL import Image

from denoiser import generator, noise
from denoiser.inference.engine import open_engine
from denoiser.inference.glyph_gate import looks_like_glyph
from denoiser.inference.patches import whole_from_image
from denoiser.training import image_folders, mnist
from denoiser.weights import modelfile

Array = npt.NDArray[np.float32]

COUNT = 2000
SIDES = (12, 57)
GOAL = 0.97


def main() -> None:
    """Measure and print the shares."""
    tuning = "--tuning" in sys.argv[1:]
    weights = Path(__file__).parent.parent / "denoiser" / "weights" / "digits.keras"
    engine = open_engine(modelfile.read(weights, name="digits"), engine="numpy")
    print(f"python {' '.join(sys.argv)}")
    print(describe())
    print("\n| what | goes to | share | goal |\n| --- | --- | --- | --- |")
    for name, wanted, images in cases(tuning=tuning):
        given = np.stack([whole_from_image(image)[0] for image in images])
        right = looks_like_glyph(given, engine.reconstruct(given)) == wanted
        goal = f"{GOAL:.0%}" if name.startswith("all") else ""
        print(f"| {name} | {'digits' if wanted else 'general'} | {right.mean():.2%} | {goal} |", flush=True)
    engine.close()


def cases(*, tuning: bool, seed: int = 77) -> Iterator[tuple[str, bool, list[Array]]]:
    """Sets of images: (name, whether they are glyphs, images)."""
    rng = np.random.default_rng(seed + tuning)
    digits = mnist.mnist("train" if tuning else "test")
    if digits is None or (home := mnist.home()) is None:
        sys.exit("benchmarks/gate.py needs DENOISER_DATA: a folder with mnist/ and bsds400/.")
    chosen = digits[rng.choice(len(digits), COUNT, replace=False)].astype(np.float32) / np.float32(255.0)
    spoilt = with_noise(list(chosen), rng, share=0.5)
    glyphs = [1.0 - image if index % 2 else image for index, image in enumerate(spoilt)]
    yield "all digits, clean to sigma 0.4, both polarities", True, glyphs
    yield "of these, dark on light", True, glyphs[1::2]
    resized = with_noise(
        [scaled(image, int(side)) for image, side in zip(chosen, rng.integers(20, 57, COUNT), strict=True)],
        rng,
        share=0.5,
    )
    yield "digits of 20 to 56 pixels, clean to sigma 0.4", True, resized
    photographs = [image_folders.read(path)[0] for path in sorted((home / "bsds400").glob("*.jpg"))]
    others = crops(photographs[:200] if tuning else photographs[200:], rng)
    yield "all crops, clean", False, others
    yield "of these, photographs", False, others[: COUNT // 2]
    yield "of these, icons", False, others[COUNT // 2 : 3 * COUNT // 4]
    yield "of these, text", False, others[3 * COUNT // 4 :]
    noisy = with_noise(others, rng, share=1.0)
    yield "crops with noise of sigma 0 to 0.4", False, noisy
    yield "of these, photographs", False, noisy[: COUNT // 2]
    yield "of these, icons", False, noisy[COUNT // 2 : 3 * COUNT // 4]
    yield "of these, text", False, noisy[3 * COUNT // 4 :]


def scaled(image: Array, side: int) -> Array:
    """A square image at another size."""
    resized = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return np.asarray(np.clip(resized, 0.0, 1.0), dtype=np.float32)


def with_noise(images: list[Array], rng: np.random.Generator, *, share: float) -> list[Array]:
    """Gaussian noise of sigma 0 to 0.4 on a share of the images, clipped to 0..1."""
    spoil = noise.parse("gaussian:sigma=0..0.4")
    return [spoil(image[None], rng)[0] if rng.random() < share else image for image in images]


def crops(photographs: list[Array], rng: np.random.Generator) -> list[Array]:
    """Small images that are no glyphs: photographs, then icons, then text."""
    found = [cut(photographs[rng.integers(len(photographs))], rng) for _ in range(COUNT // 2)]
    found += [generator.icon(rng, sides(rng)) for _ in range(COUNT // 4)]
    return found + [text(rng) for _ in range(COUNT // 4)]


def sides(rng: np.random.Generator) -> tuple[int, int]:
    """Height and width."""
    high, wide = rng.integers(*SIDES, size=2)
    return int(high), int(wide)


def cut(image: Array, rng: np.random.Generator) -> Array:
    """A random crop."""
    high, wide = sides(rng)
    top, left = rng.integers(0, image.shape[0] - high + 1), rng.integers(0, image.shape[1] - wide + 1)
    return image[top : top + high, left : left + wide]


def text(rng: np.random.Generator) -> Array:
    """A crop of a drawn page that has at least a tenth of ink, so not bare paper."""
    found = cut(generator.page(rng, (240, 240)), rng)
    while np.mean(found < 0.5) < 0.1:
        found = cut(generator.page(rng, (240, 240)), rng)
    return found


if __name__ == "__main__":
    main()
