"""Pairs of a noisy input and a noisy target, made of noisy images: see `denoiser.training.noisy_images`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser._types import Context, Floats
from denoiser.inference import patches
from denoiser.inference.noise_level import noise_of
from denoiser.training import crops, noise_measures
from denoiser.training import feed as feeder
from denoiser.training.datasets import Pair
from denoiser.training.feed import Feed
from denoiser.training.metrics import restored
from denoiser.training.noise_measures import Measured, Sampler
from denoiser.training.without_clean import ALPHA, ALPHA_SKEWED

_MASKED = 1 / 16
_REGULARIZE = 2.0
_REGULARIZED = 4_000_000
_STRIDE = 13
_VISIBLE = 0.3

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
    """Adds noise once more to tiles: see the module.

    Attributes:
        alpha: Strength of what is added, relative to the noise of the images; see `HeldOut`.
    """

    def __init__(self, measured: Measured, side: int) -> None:
        self._measured, self._sampler = measured, Sampler(measured, side)
        self.alpha = ALPHA_SKEWED if measured.skewed else ALPHA

    def noise(self, image: Floats, number: int, rng: np.random.Generator) -> Floats:
        """Return noise as this image has it, float32 (H, W)."""
        height, width = image.shape
        tone = noise_measures.tone_of(image, 3)
        sigma = self._measured.sigma(tone, number)
        if self._measured.lines is None:
            return sigma * self._sampler(rng)[:height, :width]
        rest, in_rows, in_columns = (part[:height, :width] for part in self._sampler.parts(rng))
        rows, columns = self._measured.shares(tone)
        own = np.sqrt(np.maximum(1.0 - rows - columns, 0.0))
        return np.asarray(sigma * (own * rest + np.sqrt(rows) * in_rows + np.sqrt(columns) * in_columns))

    def __call__(self, image: Floats, target: Floats, number: int, rng: np.random.Generator) -> Pair:
        """Return input and target, float32 (H, W) each."""
        noise = self.noise(image, number, rng)
        own, added = noise_of(np.stack([image, noise]))
        if own < _VISIBLE * added:
            return image + noise, target
        return image + np.float32(self.alpha) * noise, target - noise / np.float32(self.alpha)


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
        return block.clean + np.float32(weight / (1.0 + weight)) * (patches.own(first) - second)
