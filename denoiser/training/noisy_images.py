"""Datasets of noisy images alone: which method suits them, and the patches that it learns from.

Every method makes pairs of a noisy input and a noisy target whose noise is independent and of mean 0. A
network that minimizes the squared error to such targets learns the clean image (Lehtinen and others,
"Noise2Noise: learning image restoration without clean data", ICML 2018). The methods differ in where the
second noise comes from:

- frames: another frame of the same scene.
- flat: noise as it is in flat areas of the images is added once more. Where an image shows no noise, the
  image is the target; elsewhere input and target get the noise with opposite signs (Pang, Zheng, Quan and Ji,
  "Recorrupted-to-Recorrupted: unsupervised deep learning for image denoising", CVPR 2021).
- neighbours: neighbouring pixels of 2x2 cells (Huang, Li, Jia, Lu and Liu, "Neighbor2Neighbor:
  self-supervised denoising from single noisy images", CVPR 2021).
- masked: pixels that are hidden from the network (Krull, Buchholz and Jug, "Noise2Void", CVPR 2019).

The last two take it that the noise of neighbouring pixels is independent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser._types import PATCH, Context, Floats
from denoiser.errors import ImagesError
from denoiser.inference import patches
from denoiser.inference.noise_level import noise_of
from denoiser.training import crops, frames, image_folders, noise_measures, without_clean
from denoiser.training import feed as feeder
from denoiser.training.datasets import EPOCH, Dataset, Pair
from denoiser.training.feed import Feed
from denoiser.training.metrics import restored
from denoiser.training.noise_measures import Measured, Sampler
from denoiser.training.plan import Plan
from denoiser.training.without_clean import ALPHA, HeldOut
from denoiser.weights import architectures
from denoiser.weights.architectures import MixerConfig

log = logging.getLogger(__name__)

FIGURES_FROM = 2048
"""Held-out patches that figures are computed from."""

_SEED = 12345
_TILES = 96
_PER_TILE = 1100
_RANGE = (0.1, 0.9)
_WEAK, _WEAK_GRAIN = 1.2 / 255, 2.5 / 255
"""Noise that is too weak to learn from; if it is correlated, texture may well be taken for it."""

_DIFFERENT = 2.0
_MUCH_SATURATED = 0.2
_MASKED = 1 / 16
_REGULARIZE = 2.0
_REGULARIZED = 4_000_000
_STRIDE = 13
_VISIBLE = 0.3
_SHRINK = (2, 3, 4)
_LEFT = 0.35
_SHRUNK_SHARE = 0.25

Make = Callable[[Floats, Floats, int, np.random.Generator], Pair]


@dataclass(frozen=True)
class Shot:
    """An image to learn from.

    Attributes:
        image: The noisy image, float32 (H, W).
        target: What is to be predicted: this image or another frame; NaN where pixels are saturated.
        number: Its number in `Measured.ratios`.
    """

    image: Floats
    target: Floats
    number: int


class Tiles:
    """Tiles of shots with the pairs that a method makes of them; every position is equally likely.

    Args:
        shots: The images.
        side: Side of a tile in pixels.
        make: `make(image, target, number, rng)` returns input and target of a cut-out.
        span: Side of what is cut out for a tile.
        turned: Whether tiles are turned by quarters too; they are always mirrored and turned by halves.
    """

    def __init__(self, shots: Sequence[Shot], side: int, make: Make, *, span: int, turned: bool) -> None:
        self._shots, self._side, self._make = list(shots), side, make
        self._span, self._turned = span, turned
        sizes = np.array([shot.image.size for shot in shots], dtype=np.float64)
        self._shares = sizes / sizes.sum()

    def __call__(self, number: int, rng: np.random.Generator) -> Pair:
        """See `crops.Source`; targets are NaN where nothing is known."""
        shape = (number, self._side, self._side)
        made = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for index, chosen in enumerate(rng.choice(len(self._shots), number, p=self._shares)):
            shot = self._shots[chosen]
            height, width = (min(self._span, side) for side in shot.image.shape)
            top, left = (
                int(rng.integers(0, full - part + 1))
                for full, part in zip(shot.image.shape, (height, width), strict=True)
            )
            place = np.s_[top : top + height, left : left + width]
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            turns = turns if self._turned else 2 * (turns % 2)
            for half, part in enumerate(self._make(shot.image[place], shot.target[place], shot.number, rng)):
                turned = np.rot90(part[:, ::-1] if flip else part, turns)
                made[half][index] = crops.at_least(turned, self._side)
        return made


def as_it_is(image: Floats, target: Floats, number: int, rng: np.random.Generator) -> Pair:  # noqa: ARG001
    """Return the image, and the other frame that is its target."""
    return image, target


def neighbours(image: Floats, target: Floats, number: int, rng: np.random.Generator) -> Pair:  # noqa: ARG001
    """Return two images of half the size, with neighbouring pixels of each cell of 2x2 pixels."""
    rows, columns = (side // 2 for side in image.shape)
    chosen = rng.integers(0, len(_NEIGHBOURS[0]), (rows, columns))
    made: list[Floats] = []
    for part, picks in zip((image, target), _NEIGHBOURS, strict=True):
        pairs = part[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
        cells = pairs.transpose(0, 2, 1, 3).reshape(rows, columns, 4)
        made.append(np.take_along_axis(cells, picks[chosen][..., None], axis=2)[..., 0])
    return made[0], made[1]


_NEIGHBOURS = (np.array([0, 1, 0, 2, 1, 3, 2, 3]), np.array([1, 0, 2, 0, 3, 1, 3, 2]))
"""Pixels of a cell, row by row, that lie beside or above each other: of the input, and of the target."""


def masked(image: Floats, target: Floats, number: int, rng: np.random.Generator) -> Pair:  # noqa: ARG001
    """Replace some pixels by others within two pixels of them; they alone are the target."""
    hidden = rng.random(image.shape) < _MASKED
    rows, columns = np.nonzero(hidden)
    step = rng.integers(0, 24, len(rows))
    step += step >= 12  # the twelfth of 5x5 is the pixel itself
    given = image.copy()
    near = np.abs(rows + step // 5 - 2), np.abs(columns + step % 5 - 2)
    near_rows, near_columns = (
        np.where(places < side, places, 2 * side - 2 - places)
        for places, side in zip(near, image.shape, strict=True)
    )
    given[hidden] = image[near_rows, near_columns]
    return given, np.where(hidden, target, np.float32(np.nan))


class NoiseAgain:
    """Adds noise once more to tiles: see the module."""

    def __init__(self, measured: Measured, side: int) -> None:
        self._measured, self._sampler = measured, Sampler(measured, side)

    def noise(self, image: Floats, number: int, rng: np.random.Generator) -> Floats:
        """Return noise as this image has it, float32 (H, W)."""
        height, width = image.shape
        sigma = self._measured.sigma(noise_measures.tone_of(image, 3), number)
        return sigma * self._sampler(rng)[:height, :width]

    def __call__(self, image: Floats, target: Floats, number: int, rng: np.random.Generator) -> Pair:
        """Return input and target, float32 (H, W) each."""
        noise = self.noise(image, number, rng)
        own, added = noise_of(np.stack([image, noise]))
        if own < _VISIBLE * added:
            return image + noise, target
        return image + np.float32(ALPHA) * noise, target - noise / np.float32(ALPHA)


@dataclass
class _Found:
    """The user's images, with what is said of them."""

    shots: list[Shot]
    held: list[Shot]
    measured: Measured
    about: str
    kept: str
    held_images: int
    texts: list[str]
    smallest: int
    in_frames: bool


def noisy_dataset(plan: Plan, folder: Path) -> Dataset:
    """Read noisy images, choose a method for them, and return the patches that it learns from.

    Raises:
        ImagesError: There is nothing to learn from, or the method does not suit the images.
    """
    found = _read(plan, folder)
    method, why = choose(plan.data.method, found.measured, smallest=found.smallest, in_frames=found.in_frames)
    measured, recipe = found.measured, plan.recipe
    context = MixerConfig(**plan.config).context
    side = max(recipe.side, PATCH)
    span = side
    make: Make
    if method == "frames":
        make = as_it_is
    elif method == "flat":
        make = NoiseAgain(measured, side)
    elif method == "neighbours":
        make, side = neighbours, int(np.clip(found.smallest // 2, PATCH, side))
        span = 2 * side
    else:
        make = masked
    source: crops.Source = Tiles(found.shots, side, make, span=span, turned=measured.turned)
    if method == "flat":
        source = _with_shrunk(source, found, side)
    per_tile = max(1, side**2 // _PER_TILE)

    cut = partial(crops.cut, context=context, mirrored=crops.mirrored_for(side, context))

    def feed(number: int, rng: np.random.Generator) -> Pair:
        return cut(*source(-(-number // per_tile), rng), number, rng)

    refine = None
    if method == "neighbours":
        refine = Regularizer(found.shots, context, lambda shots: _feed_of(shots, side, cut, measured))
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
        validation = held.noisier, held.targets - held.added / np.float32(ALPHA)
    else:
        validation = held.inputs, held.targets
    return Dataset(
        feed,
        validation,
        EPOCH,
        found.about,
        "the user's",
        _no_levels,
        found.kept,
        found.held_images,
        (*found.texts, *_cautions(measured)),
        method=method,
        why=why,
        held_out=held,
        refine=refine,
    )


def _feed_of(shots: Sequence[Shot], side: int, cut: Callable[..., Pair], measured: Measured) -> Feed:
    """Return the feed of the method neighbours for these shots."""
    source = Tiles(shots, side, neighbours, span=2 * side, turned=measured.turned)
    per_tile = max(1, side**2 // _PER_TILE)

    def feed(number: int, rng: np.random.Generator) -> Pair:
        return cut(*source(-(-number // per_tile), rng), number, rng)

    return feed


class Regularizer:
    """The regulariser of Neighbor2Neighbor, which keeps neighbouring pixels of the clean image different.

    To the error (f(g1) - g2)^2 of a network f it adds w (f(g1) - g2 - (d1 - d2))^2, where d1 and d2 are the
    pixels that g1 and g2 have in the denoised image, which is no variable. Up to a factor and a constant that
    is the error to one target, g2 + w / (1 + w) (d1 - d2). The weight w grows from 0 to 2.

    Args:
        shots: The images of the feed.
        context: Context of the network.
        feed_of: Returns the feed for other images of the same sizes, which draws the same pixels from them.
    """

    def __init__(
        self, shots: Sequence[Shot], context: Context, feed_of: Callable[[list[Shot]], Feed]
    ) -> None:
        self.memory: dict[str, npt.NDArray[Any]] = {}
        self._shots, self._context, self._feed_of = list(shots), context, feed_of
        self._feed: Feed | None = None

    def refresh(self, model: Any) -> None:
        """See `denoiser.training.feed.Refine`."""
        weights = [np.array(value, dtype=np.float32) for value in model.get_weights()]
        self.memory = {f"{feeder.REFINED}{number}": value for number, value in enumerate(weights)}
        left, made = _REGULARIZED, []
        for shot in self._shots:
            left -= shot.image.size
            # Where there is too much to denoise, no difference of neighbours is taken for known.
            clean = self._denoised(model, shot.image) if left >= 0 else np.zeros_like(shot.image)
            made.append(Shot(clean, clean, shot.number))
        self._feed = self._feed_of(made)

    def _denoised(self, model: Any, image: Floats) -> Floats:
        grid = patches.grid(image.shape, _STRIDE)
        return patches.tile(image, grid, lambda given: restored(model, given), self._context)

    def resume(self, model: Any) -> None:
        """See `denoiser.training.feed.Refine`."""
        current = model.get_weights()
        model.set_weights([self.memory[f"{feeder.REFINED}{number}"] for number in range(len(current))])
        self.refresh(model)
        model.set_weights(current)

    def targets(self, block: feeder.Block, fraction: float) -> Floats:
        """See `denoiser.training.feed.Refine`."""
        weight = _REGULARIZE * fraction
        if self._feed is None or weight <= 0.0:
            return block.clean
        rng = feeder.rewind(self._feed, block.before)
        first, second = self._feed(len(block.clean), rng)
        return block.clean + np.float32(weight / (1.0 + weight)) * (crops.own(first) - second)


def _no_levels() -> Iterator[tuple[str, Floats, Floats]]:
    """Yield nothing: without clean images there are no figures by level."""
    yield from ()


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
    if wanted:
        return wanted, asked + shown
    if measured.normal:
        return "flat", f"{shown} and about normal"
    if smallest >= 2 * PATCH:
        return "neighbours", f"{shown} and not normal"
    return "masked", f"{shown}, not normal, and the images are smaller than {2 * PATCH} pixels"


def _read(plan: Plan, folder: Path) -> _Found:
    """Read the images, measure their noise, and hold some out."""
    pages = image_folders.named_images(folder, plan.data.reader, least=PATCH)
    flat = [index for index, (_, page) in enumerate(pages) if float(np.ptp(page)) <= 0.0]
    for index in flat:
        log.warning("%s is left out of training: all its pixels are equal.", pages[index][0])
    pages = [page for index, page in enumerate(pages) if index not in flat]
    if not pages:
        raise ImagesError(
            f"The images in {folder} are each of one tone: there is nothing to learn from them.",
            "Give noisy images of something.",
        )
    texts: list[str] = []
    if plan.data.frames:
        scenes, texts = frames.scenes(pages, folder)
        groups = [scene.frames for scene in scenes]
        names = [scene.name for scene in scenes]
    else:
        groups, names = [[page] for _, page in pages], [str(path) for path, _ in pages]
    unit = ""
    if equivariant(plan):
        groups, unit = scaled(groups)
    measured = noise_measures.measure([frame for group in groups for frame in group][:: _every(groups)])
    measured = _by_group(measured, groups)
    least = _WEAK if measured.independent else _WEAK_GRAIN
    if measured.enough and measured.typical < least and not (measured.impulsive or plan.data.frames):
        raise ImagesError(
            f"The noise in {folder} is too weak to learn from: {measured.typical:.4f} of 0..1.",
            "These images are nearly clean: use them as clean images, with --noise.",
        )
    texts += _different(measured, names)
    paired = plan.data.method in (None, "frames")
    count, what = len(groups), "scenes" if plan.data.frames else "images"
    if count == 1:
        taught, held = (
            _part(_shots(groups[0], measured, 0, paired=paired, single=last), last=last)
            for last in (False, True)
        )
        kept, number = f"a quarter of the one {what[:-1]}", 1
        texts.append(f"There is one {what[:-1]} only: a quarter of it is held out for the figures.")
    else:
        chosen = set(image_folders.held_out(count, plan.data.validation))
        parts: tuple[list[Shot], list[Shot]] = ([], [])
        for index, group in enumerate(groups):
            last = index in chosen
            parts[last].extend(_shots(group, measured, index, paired=paired, single=last))
        taught, held = parts
        kept, number = f"{len(chosen):,} of {count:,} noisy {what}", len(chosen)
    about = f"{count:,} noisy {what if count > 1 else what[:-1]} of the user's own"
    if plan.data.frames:
        about += f", {sum(map(len, groups)):,} frames"
    about += unit
    smallest = min(min(frame.shape) for group in groups for frame in group)
    return _Found(taught, held, measured, about, kept, number, texts, smallest, plan.data.frames)


def _every(groups: Sequence[Sequence[Floats]]) -> int:
    """Return the step between frames that are measured; without frames every image is."""
    return 1 if all(len(group) == 1 for group in groups) else max(1, sum(map(len, groups)) // 100)


def _by_group(measured: Measured, groups: Sequence[Sequence[Floats]]) -> Measured:
    """Give each scene the ratio of its first frame; only ratios that stand out count."""
    if any(len(group) > 1 for group in groups):
        return replace(measured, ratios=(1.0,) * len(groups))
    # Fine texture raises the ratio of single images.
    middle = float(np.median(measured.ratios))
    ratios = [ratio if max(ratio / middle, middle / ratio) > _DIFFERENT else 1.0 for ratio in measured.ratios]
    return replace(measured, ratios=tuple(ratios))


def equivariant(plan: Plan) -> bool:
    """Return True if the network gives an image in another unit the same result in that unit."""
    config = architectures.make_config(plan.recipe.kind, plan.config)
    return isinstance(config, MixerConfig) and config.center and config.residual and not config.use_bias


def scaled(groups: Sequence[Sequence[Floats]]) -> tuple[list[list[Floats]], str]:
    """Bring images of any unit to a usual range, all by one factor and offset, for an equivariant network.

    The weights learnt are the same at every scale, but the settings of the training are made for this one.
    Images that use most of the range 0..1 stay as they are. Returns the images, and what was done in words,
    as all figures are on the new scale.
    """
    ends = [np.percentile(frame, (0.1, 99.9)) for group in groups for frame in group]
    low, high = min(float(end[0]) for end in ends), max(float(end[1]) for end in ends)
    if (low >= -0.5 and high <= 1.5 and high - low > 0.4) or high <= low:
        return [list(group) for group in groups], ""
    gain = (_RANGE[1] - _RANGE[0]) / (high - low)
    result = [
        [np.asarray((frame - low) * gain + _RANGE[0], dtype=np.float32) for frame in group]
        for group in groups
    ]
    return result, f", whose values {low:.4g} to {high:.4g} count as {_RANGE[0]} to {_RANGE[1]}"


def _shots(
    group: Sequence[Floats], measured: Measured, number: int, *, paired: bool, single: bool
) -> list[Shot]:
    """Return the shots of one image, or of the frames of one scene.

    The target of a frame is the mean of the others, or, if `single`, one of them; itself if not `paired`.
    """
    known = [np.where(measured.limits.unusable(frame), np.float32(np.nan), frame) for frame in group]
    if len(group) == 1 or not paired:
        return [Shot(frame, own, number) for frame, own in zip(group, known, strict=True)]
    if single:
        return [Shot(frame, known[index - 1], number) for index, frame in enumerate(group)]
    total = np.sum(known, axis=0, dtype=np.float64)
    others = [np.asarray((total - own) / (len(group) - 1), dtype=np.float32) for own in known]
    return [Shot(frame, other, number) for frame, other in zip(group, others, strict=True)]


def _part(shots: Sequence[Shot], *, last: bool) -> list[Shot]:
    """Return the last quarter of the only image, or of every frame of the only scene; or the rest of it."""
    height, width = shots[0].image.shape
    at = (3 * max(height, width)) // 4
    span = slice(at, None) if last else slice(None, at)
    place = (span, slice(None)) if height >= width else (slice(None), span)
    return [Shot(shot.image[place], shot.target[place], shot.number) for shot in shots]


def _different(measured: Measured, names: Sequence[str]) -> list[str]:
    """Return a sentence if the noise of the images differs much."""
    ratios = measured.ratios
    if len(ratios) != len(names) or not measured.enough:
        return []
    weak, strong = int(np.argmin(ratios)), int(np.argmax(ratios))
    if ratios[strong] < _DIFFERENT * ratios[weak]:
        return []
    times = f"{ratios[strong] / ratios[weak]:.1f}"
    text = (
        f"The noise differs between the images: in {names[strong]} it is {times} times as strong as in"
        f" {names[weak]}. One network learns all of it; folders of equal noise give better ones."
    )
    return [text]


def _cautions(measured: Measured) -> list[str]:
    texts = []
    if measured.saturated > _MUCH_SATURATED:
        texts.append(
            f"{measured.saturated:.0%} of the pixels are saturated. What lies there can't be learnt: expose"
            " less, or leave such images out."
        )
    if not measured.enough:
        texts.append(
            f"There are only {measured.areas} flat areas: whether the noise is independent between pixels"
            " could not be tested."
        )
    return texts


def _with_shrunk(source: crops.Source, found: _Found, side: int) -> crops.Source:
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
    differences = crops.own(inputs) - known
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
        noisier=None if again is None else cut(tiles + np.float32(ALPHA) * added, targets)[0],
        added=None if again is None else cut(tiles, added)[1],
        variance=variance,
        correlation=between,
        basis="another frame" if frames else "masked pixels" if again is None else "noise added once more",
    )
