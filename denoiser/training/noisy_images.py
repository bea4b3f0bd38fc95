"""Datasets of noisy images alone: which method suits them, and the patches that it learns from.

Every method makes pairs of a noisy input and a noisy target whose noise is independent and of mean 0. A
network that minimizes the squared error to such targets learns the clean image (Lehtinen and others,
"Noise2Noise: learning image restoration without clean data", ICML 2018). The methods differ in where the
second noise comes from:

- frames: another frame of the same scene.
- flat: noise as it is in flat areas of the images is added once more. Where an image shows no noise, the
  image is the target; elsewhere input and target get the noise with opposite signs (Pang, Zheng, Quan and Ji,
  "Recorrupted-to-Recorrupted: unsupervised deep learning for image denoising", CVPR 2021). Skewed noise,
  as counts of photons have, is added as skewed, and at full strength: see `HeldOut`.
- neighbours: neighbouring pixels of 2x2 cells (Huang, Li, Jia, Lu and Liu, "Neighbor2Neighbor:
  self-supervised denoising from single noisy images", CVPR 2021).
- masked: pixels that are hidden from the network (Krull, Buchholz and Jug, "Noise2Void", CVPR 2019).

The last two take it that the noise of neighbouring pixels is independent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from denoiser._types import PATCH, Context, Floats
from denoiser.errors import ImagesError
from denoiser.inference.patches import own
from denoiser.training import crops, noise_measures, noisy_folder, noisy_pairs, without_clean
from denoiser.training.datasets import EPOCH, Dataset, Pair
from denoiser.training.feed import Feed
from denoiser.training.noise_measures import Measured, Sampler
from denoiser.training.noisy_folder import NoisyFolder
from denoiser.training.noisy_pairs import Make, NoiseAgain, Shot, Tiles
from denoiser.training.plan import Plan
from denoiser.training.without_clean import ALPHA, HeldOut
from denoiser.weights.architectures import MixerConfig

log = logging.getLogger(__name__)

FIGURES_FROM = 2048
"""Held-out patches that figures are computed from."""

_SEED = 12345
_TILES = 96
_PER_TILE = 1100
_SHRINK = (2, 3, 4)
_LEFT = 0.35
_SHRUNK_SHARE = 0.25


def noisy_dataset(plan: Plan, folder: Path) -> Dataset:
    """Read noisy images, choose a method for them, and return the patches that it learns from.

    Raises:
        ImagesError: There is nothing to learn from, or the method does not suit the images.
    """
    found = noisy_folder.read(plan, folder)
    method, why = choose(plan.data.method, found.measured, smallest=found.smallest, in_frames=found.in_frames)
    measured, recipe = found.measured, plan.recipe
    context = MixerConfig(**plan.config).context
    side = max(recipe.side, PATCH)
    span = side
    make: Make
    if method == "frames":
        make = noisy_pairs.as_it_is
    elif method == "flat":
        make = NoiseAgain(measured, side)
    elif method == "neighbours":
        make, side = noisy_pairs.neighbours, int(np.clip(found.smallest // 2, PATCH, side))
        span = 2 * side
    else:
        make = noisy_pairs.masked
    cut = partial(crops.cut, context=context, mirrored=crops.mirrored_for(side, context))

    def tiles(shots: Sequence[Shot]) -> Tiles:
        return Tiles(shots, side, make, span=span, turned=measured.turned)

    source: crops.Source = tiles(found.shots)
    if method == "flat":
        source = _with_shrunk(source, found, side)
    refine = None
    if method == "neighbours":
        refine = noisy_pairs.Regularizer(found.shots, context, lambda shots: _feed(tiles(shots), side, cut))
    held = held_out(
        found.held,
        measured,
        side=max(recipe.side, PATCH),
        context=context,
        frames=method == "frames",
    )
    if method == "masked" or (method == "neighbours" and held.noisier is None):
        fixed = Tiles(found.held, side, make, span=span, turned=False)
        rng = np.random.default_rng(_SEED)
        validation = cut(*fixed(_TILES, rng), FIGURES_FROM, rng)
    elif held.noisier is not None and held.added is not None:
        validation = held.noisier, held.targets - held.added / np.float32(held.alpha)
    else:
        validation = held.inputs, held.targets
    return Dataset(
        _feed(source, side, cut),
        validation,
        EPOCH,
        found.about,
        "the user's",
        lambda: iter(()),  # without clean images there are no figures by level
        found.kept,
        found.held_images,
        (*found.texts, *noisy_folder.cautions(measured)),
        method=method,
        why=why,
        held_out=held,
        refine=refine,
    )


def _feed(source: crops.Source, side: int, cut: Callable[..., Pair]) -> Feed:
    """Return the feed that cuts patches from tiles of this side."""
    per_tile = max(1, side**2 // _PER_TILE)

    def feed(number: int, rng: np.random.Generator) -> Pair:
        return cut(*source(-(-number // per_tile), rng), number, rng)

    return feed


def choose(wanted: str | None, measured: Measured, *, smallest: int, in_frames: bool) -> tuple[str, str]:
    """Choose how to learn from noisy images.

    Args:
        wanted: The method that the user asks for, if any.
        measured: The noise of the images.
        smallest: Smallest side of an image in pixels.
        in_frames: Whether the images are frames of scenes.

    Returns:
        The method, and why, as a sentence without a full stop.

    Raises:
        ImagesError: The method asked for assumes what these images don't have.
    """
    strongest = f"{measured.strongest:.2f}"
    area = f"{measured.areas:,} flat areas"
    if in_frames and wanted in (None, "frames"):
        return "frames", "each frame is the target of another one, whose noise is independent of it"
    if wanted == "frames":
        raise ImagesError("The method frames needs frames of one scene.", "Add --frames if these are frames.")
    if wanted == "flat" and not measured.enough:
        raise ImagesError(
            f"The method flat needs flat areas, and there are only {measured.areas} in these images.",
            "Give more images, or blank scans with --noise-from, or leave out --method.",
        )
    if measured.enough and not measured.independent:
        if wanted in ("neighbours", "masked"):
            raise ImagesError(
                f"The noise is correlated ({strongest} between pixels, in {area}), and the method {wanted}"
                " would learn to keep it.",
                "Use --method flat, or leave out --method.",
            )
        return "flat", f"the noise is correlated ({strongest} between pixels), as {area} show"
    asked = "it was asked for; " if wanted else ""
    if not measured.enough:
        why = f"{asked}there are too few flat areas ({measured.areas}) to measure the noise in"
        return wanted or ("neighbours" if smallest >= 2 * PATCH else "masked"), why
    shown = f"the noise is independent between pixels ({strongest} in {area})"
    if measured.impulsive:
        shown = (
            f"the noise is single black or white pixels ({100 * measured.impulses:.2g} % of all), independent"
        )
    if wanted:
        return wanted, asked + shown
    if measured.normal:
        what = f"skewed by {measured.skewness:.2f}, as counts are" if measured.skewed else "about normal"
        return "flat", f"{shown} and {what}"
    if smallest >= 2 * PATCH:
        return "neighbours", f"{shown} and not normal"
    return "masked", f"{shown}, not normal, and the images are smaller than {2 * PATCH} pixels"


def _with_shrunk(source: crops.Source, found: NoisyFolder, side: int) -> crops.Source:
    """Add shrunken images, in which no noise is left to see, as targets without noise."""
    measured = found.measured
    sampler, rng = Sampler(measured, side), np.random.default_rng(_SEED)
    tiles = [sampler(rng) for _ in range(8)]
    for factor in _SHRINK:
        if float(np.std([shrunk(tile, factor) for tile in tiles])) < _LEFT:
            break
    else:
        return source
    shots = []
    for shot in found.shots:
        if min(shot.image.shape) >= factor * PATCH:
            image, target = (crops.at_least(shrunk(each, factor), side) for each in (shot.image, shot.target))
            shots.append(Shot(image, target, shot.number))
    if not shots:
        return source
    again = NoiseAgain(measured, side)

    def make(image: Floats, target: Floats, number: int, rng: np.random.Generator) -> Pair:
        return image + again.noise(image, number, rng), target

    small = Tiles(shots, side, make, span=side, turned=measured.turned)
    return crops.Mixed([(source, 1.0 - _SHRUNK_SHARE), (small, _SHRUNK_SHARE)])


def shrunk(image: Floats, factor: int) -> Floats:
    """Return the means of squares of `factor` pixels, float32; NaN where one of them is NaN."""
    rows, columns = (side // factor for side in image.shape)
    cells = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(cells.mean(axis=(1, 3)), dtype=np.float32)


def held_out(
    shots: Sequence[Shot], measured: Measured, *, side: int, context: Context, frames: bool
) -> HeldOut:
    """Cut the patches that a network's figures are computed from."""
    # The noise has a generator of its own, so that tiles are the same whatever the basis is.
    rng, noise_rng = (np.random.default_rng((_SEED, part)) for part in (0, 1))
    noises: list[Floats] = []
    again = NoiseAgain(measured, side) if measured.enough and measured.normal and not frames else None

    def make(image: Floats, target: Floats, number: int, _: np.random.Generator) -> Pair:
        sigma = measured.sigma(noise_measures.tone_of(image, 3), number)
        added = sigma if again is None else again.noise(image, number, noise_rng)
        # The measured deviation in place of the noise that a tile gets, if it gets none.
        noises.append(crops.at_least(added, side))
        variances.append(float(np.mean(np.square(sigma))))
        return image, target

    variances: list[float] = []
    tiles, targets = Tiles(shots, side, make, span=side, turned=False)(_TILES, rng)
    added = np.stack(noises)
    hidden, centres = without_clean.hidden(tiles, measured.reach if measured.enough else 0, rng)
    usable = np.isnan(targets) | measured.limits.saturated(tiles)
    hidden_targets = np.where(centres & ~usable, tiles, np.float32(np.nan))

    def cut(given: Floats, wanted: Floats) -> Pair:
        rng, mirrored = np.random.default_rng(_SEED), crops.mirrored_for(side, context)
        return crops.cut(given, wanted, FIGURES_FROM, rng, context=context, mirrored=mirrored)

    inputs, known = cut(tiles, targets)
    differences = own(inputs) - known
    if frames:
        variance, between = float(np.nanvar(differences)) / 2.0, without_clean.neighbouring(differences)
    else:
        variance = float(np.mean(variances))
        lags = measured.lags
        beside = measured.correlation[0, lags + 1] * (1 - measured.rows - measured.columns) + measured.rows
        above = measured.correlation[1, lags] * (1 - measured.rows - measured.columns) + measured.columns
        between = float(max(beside, above, key=abs))
    return HeldOut(
        inputs,
        known,
        *cut(hidden, hidden_targets),
        noisier=None if again is None else cut(tiles + np.float32(again.alpha) * added, targets)[0],
        added=None if again is None else cut(tiles, added)[1],
        variance=variance,
        correlation=between,
        basis="another frame" if frames else "masked pixels" if again is None else "noise added once more",
        alpha=ALPHA if again is None else again.alpha,
    )
