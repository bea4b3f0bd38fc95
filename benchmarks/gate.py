"""Whether `--model auto` gives each small image to the better of `digits` and `general`.

    python benchmarks/gate.py [--fit] [--json FILE]

Needs DENOISER_DATA, with `mnist/` and `bsds400/`. Three tables:

- where small images go: MNIST's digits of sigma 0.1 to 0.4, in both polarities, belong to `digits`; crops of
  12 to 56 pixels from photographs, icons and text belong to `general`, with noise and without;
- clean glyphs: how close to themselves they come back;
- glyphs of every kind with noise: PSNR of the mean error of `digits`, of `general` and of `auto`. The goal is
  that `auto` is at no noise level more than 0.3 dB below the better of the two.

`--fit` fits the gate's two rules anew and prints their weights, for `denoiser/inference/glyph_gate.py`. The
rules are fitted on MNIST's training digits, the first 200 photographs and one stream of random numbers. The
tables use the test digits, the other photographs and another stream.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from machine import describe
from PIL import Image

from denoiser import generator, noise
from denoiser._types import PATCH
from denoiser.generator.scripts import SCRIPTS, sign
from denoiser.inference import glyph_gate
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.patches import whole_from_image, whole_to_image
from denoiser.training import image_folders, mnist

Array = npt.NDArray[np.float32]

COUNT = 300
SIDES = (12, 57)
SIGMAS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
RIDGE = 1e-3
UPRIGHT = ("digits", "digits, resized")
OTHER_WEIGHT = 3.0
"""A small picture that is no glyph counts so many times."""
DIGIT_WEIGHT = 10.0
"""Upright digits are what `digits` is for: the fit counts each so many times."""


def main() -> None:
    """Fit the rules, or measure them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", action="store_true", help="fit the rules and print their weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    if mnist.mnist("test") is None or mnist.home() is None:
        sys.exit("benchmarks/gate.py needs DENOISER_DATA: a folder with mnist/ and bsds400/.")
    print(f"python {' '.join(sys.argv)}\n{describe()}\n")
    sets = Sets(fitting=given.fit)
    with Denoiser("digits") as digits, Denoiser("general") as general, Denoiser() as auto:
        if given.fit:
            fit(sets, digits, general)
            return
        figures = {
            "shares": shares(sets, auto),
            "clean": clean(sets, auto),
            "noisy": noisy(sets, digits, general, auto),
        }
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


class Sets:
    """Clean images of every kind, drawn from one half of the data."""

    def __init__(self, *, fitting: bool) -> None:
        self.rng = np.random.default_rng(1 if fitting else 101)
        found = mnist.mnist("train" if fitting else "test")
        home = mnist.home()
        assert found is not None
        assert home is not None
        chosen = found[self.rng.choice(len(found), 4 * COUNT, replace=False)]
        upright, turned, mirrored, cut = np.split(chosen.astype(np.float32) / np.float32(255.0), 4)
        self.glyphs: Mapping[str, Array] = {
            "digits": upright,
            "digits, rotated": np.stack([self._rotated(image) for image in turned]),
            "digits, mirrored": mirrored[:, :, ::-1].copy(),
            "digits, cut and moved": np.stack([self._cut(image) for image in cut]),
            **{name: np.stack([sign(self.rng, name) for _ in range(COUNT)]) for name in SCRIPTS},
        }
        files = sorted((home / "bsds400").glob("*.jpg"))
        photographs = [image_folders.read(path)[0] for path in (files[:200] if fitting else files[200:])[::4]]
        self.others: Mapping[str, list[Array]] = {
            "photographs": [
                self._crop(photographs[self.rng.integers(len(photographs))]) for _ in range(COUNT)
            ],
            "icons": [generator.icon(self.rng, self._sides()) for _ in range(COUNT)],
            "text": [self._text() for _ in range(COUNT)],
        }

    def spoilt(self, image: Array, sigma: float) -> Array:
        """With Gaussian noise, clipped and rounded as an 8-bit file is."""
        spoil = noise.parse(f"gaussian:sigma={sigma}")
        return np.asarray(np.rint(spoil(image[None], self.rng)[0] * 255.0) / 255.0, dtype=np.float32)

    def resized(self, images: Array) -> list[Array]:
        """Square images at sides of 20 to 56 pixels."""
        sides = self.rng.integers(20, 57, len(images))
        return [scaled(image, int(side)) for image, side in zip(images, sides, strict=True)]

    def _sides(self) -> tuple[int, int]:
        high, wide = self.rng.integers(*SIDES, size=2)
        return int(high), int(wide)

    def _crop(self, image: Array) -> Array:
        high, wide = self._sides()
        top = self.rng.integers(0, image.shape[0] - high + 1)
        left = self.rng.integers(0, image.shape[1] - wide + 1)
        return image[top : top + high, left : left + wide]

    def _text(self) -> Array:
        """A crop of a drawn page, at least a tenth of it ink."""
        while True:
            crop = self._crop(generator.page(self.rng, (240, 240)))
            if np.mean(crop < 0.5) >= 0.1:
                return crop

    def _rotated(self, image: Array) -> Array:
        turned = Image.fromarray(image).rotate(self.rng.uniform(30, 330), Image.Resampling.BICUBIC)
        return np.asarray(np.clip(np.asarray(turned), 0.0, 1.0), dtype=np.float32)

    def _cut(self, image: Array) -> Array:
        """Half of a digit, off the middle."""
        moved = np.roll(image, tuple(self.rng.integers(-9, 10, 2)), (0, 1))
        halves = np.s_[:14, :], np.s_[14:, :], np.s_[:, :14], np.s_[:, 14:]
        moved[halves[self.rng.integers(4)]] = 0.0
        return moved


def shares(sets: Sets, auto: Denoiser) -> dict[str, float]:
    """Where images go."""
    upright = sets.glyphs["digits"]
    dark = [1.0 - image for image in upright]
    cases: list[tuple[str, str, list[Array], tuple[float, float]]] = [
        ("digits, light on dark", "digits", list(upright), (0.1, 0.4)),
        ("digits, dark on light", "digits", dark, (0.1, 0.4)),
        ("digits of 20 to 56 pixels", "digits", sets.resized(upright), (0.1, 0.4)),
    ]
    for name, images in sets.others.items():
        cases += [
            (f"{name}, clean", "general", images, (0.0, 0.0)),
            (f"{name}, noisy", "general", images, (0.0, 0.4)),
        ]
    print("| images | sigma | belong to | went there | goal |\n| --- | --- | --- | --- | --- |")
    result = {}
    for name, owner, images, (low, high) in cases:
        noisy_images = [sets.spoilt(image, sets.rng.uniform(low, high)) for image in images]
        result[name] = float(np.mean([each.model == owner for each in auto.clean(noisy_images)]))
        goal = "97 %" if owner == "digits" else "98 %"
        print(f"| {name} | {low} to {high} | {owner} | {100 * result[name]:.1f} % | {goal} |", flush=True)
    return result


def clean(sets: Sets, auto: Denoiser) -> dict[str, float]:
    """How close to themselves clean glyphs come back."""
    print("\n| clean glyphs | worst | median | share of 40 dB or better |\n| --- | --- | --- | --- |")
    result = {}
    for name, glyphs in sets.glyphs.items():
        found = np.stack([each.pixels for each in auto.clean(list(glyphs))])
        each = -10.0 * np.log10(np.mean(np.square(found - glyphs), axis=(1, 2)) + 1e-9)
        result[name] = float(np.median(each))
        print(f"| {name} | {each.min():.1f} dB | {result[name]:.1f} dB | {100 * np.mean(each >= 40):.1f} % |")
    return result


def noisy(sets: Sets, digits: Denoiser, general: Denoiser, auto: Denoiser) -> dict[str, list[float]]:
    """How far `auto` is from the better of the two."""
    print(f"\n| `digits` / `general` / `auto`, dB | {' | '.join(map(str, SIGMAS))} | worst |")
    print("| --- |" + " --- |" * (1 + len(SIGMAS)))
    result = {}
    for name, glyphs in sets.glyphs.items():
        cells, losses = [], []
        for sigma in SIGMAS:
            images = [sets.spoilt(image, sigma) for image in glyphs]
            three = [decibels(model, images, glyphs) for model in (digits, general, auto)]
            losses.append(three[2] - max(three[:2]))
            cells.append(" / ".join(f"{value:.1f}" for value in three))
        result[name] = losses
        print(f"| {name} | {' | '.join(cells)} | {min(losses):+.2f} |", flush=True)
    return result


def decibels(model: Denoiser, images: list[Array], clean_images: Array) -> float:
    """PSNR of the mean error."""
    found = np.stack([each.pixels for each in model.clean(images)])
    return float(-10.0 * np.log10(np.mean(np.square(found - clean_images))))


def scaled(image: Array, side: int) -> Array:
    """An image at another size, square."""
    resized = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return np.asarray(np.clip(resized, 0.0, 1.0), dtype=np.float32)


def fit(sets: Sets, digits: Denoiser, general: Denoiser) -> None:
    """Fit both rules to every kind of image at every noise level, and print them.

    An image counts as much as is lost by the wrong choice, in dB.
    """
    first, second, gains, weights, resized = [], [], [], [], []
    for name, images in _all(sets):
        for sigma in SIGMAS:
            spoilt = [sets.spoilt(image, sigma) for image in images]
            cut = [whole_from_image(image) for image in spoilt]
            patches = np.stack([patch for patch, _ in cut])
            scales = np.array([PATCH / max(image.shape) for image in images], np.float32)
            resized.append(scales != 1.0)
            drawn = digits.engine().reconstruct(patches)
            others = np.stack([each.pixels for each in general.clean(list(patches))])
            first.append(glyph_gate.first_features(patches, drawn, scales))
            second.append(glyph_gate.second_features(patches, drawn, others, scales))
            ends = [each.pixels for each in general.clean(spoilt)]
            back = [
                whole_to_image(patch, whole, "input") for patch, (_, whole) in zip(drawn, cut, strict=True)
            ]
            gains.append(10.0 * np.log10(_errors(ends, images) / _errors(back, images)))
            other = name.split(",")[0] in sets.others
            weights.append(
                np.full(len(images), DIGIT_WEIGHT if name in UPRIGHT else OTHER_WEIGHT if other else 1.0)
            )
    gain, weight, others_size = np.concatenate(gains), np.concatenate(weights), np.concatenate(resized)
    weight *= np.abs(gain) + 0.1
    for name, features in (("FIRST", first), ("SECOND", second)):
        print(f"{name} = (")
        for rows in (~others_size, others_size):
            values = np.concatenate(features).astype(np.float64)[rows]
            found = logistic(values, gain[rows] > 0, weight[rows])
            print(f"    ({', '.join(f'{value:.4g}' for value in found)}),", flush=True)
        print(")")


def _errors(images: list[Array], clean_images: list[Array]) -> npt.NDArray[np.float64]:
    pairs = zip(images, clean_images, strict=True)
    return np.array([np.mean(np.square(image - own)) + 1e-5 for image, own in pairs])


def _all(sets: Sets) -> Iterator[tuple[str, list[Array]]]:
    for name, glyphs in sets.glyphs.items():
        yield name, list(glyphs)
        yield f"{name}, resized", sets.resized(glyphs[: COUNT // 2])
    for name, images in sets.others.items():
        yield name, images
        yield f"{name}, 28 pixels", [scaled(image, PATCH) for image in images[: COUNT // 2]]


def logistic(
    features: npt.NDArray[np.float64], target: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Fit a logistic regression by Newton's method, its first feature constant; returns its weights."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    mean[0], deviation[deviation == 0.0] = 0.0, 1.0
    scaled_features = (features - mean) / deviation
    weights = weights / weights.mean()
    result = np.zeros(features.shape[1])
    ridge = RIDGE * len(target)
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-scaled_features @ result))
        slope = scaled_features.T @ (weights * (target - chance)) - ridge * result
        bend = (scaled_features * (weights * chance * (1.0 - chance))[:, None]).T @ scaled_features
        result = result + np.linalg.solve(bend + ridge * np.eye(len(result)), slope)
    result = result / deviation
    result[0] -= float(np.sum(result[1:] * mean[1:]))
    return np.asarray(result)


if __name__ == "__main__":
    main()
