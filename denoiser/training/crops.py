"""Tiles of images: noise is added to them, then training patches are cut from them.

Grain, folds and JPEG blocks are thus cut off at the edge of a patch, as in a real image, and a network with
context sees the same noise around a patch as inside it. Corrupting one tile for many patches is also cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoiser._types import PATCH, Context, Floats, scales_of
from denoiser.errors import TrainingError
from denoiser.inference.patches import averaged, margin_of

Pair = tuple[Floats, Floats]
#: `source(number, rng)` -> (noisy, clean), float32 (number, side, side) each; equal if noise is added later.
Source = Callable[[int, np.random.Generator], Pair]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of tiles.

    Attributes:
        scales: Range of scales that half of the tiles are resized to.
        turn: Whether tiles are flipped and turned by quarters.
        gain: Share of tiles that get less contrast at another brightness.
        inverted: Share of tiles in which black and white are exchanged.
    """

    scales: tuple[float, float] = (1.0, 1.0)
    turn: bool = True
    gain: float = 0.0
    inverted: float = 0.0


PLAIN = Augmentation(turn=False)


class Images:
    """Tiles from pairs of images; every position in every image is equally likely.

    Args:
        pairs: (noisy, clean) of equal shape; the two may be one array. Images smaller than a tile are
            mirrored at their edges.
        side: Side of a tile in pixels.
        augmentation: Random changes of the tiles.

    Raises:
        TrainingError: There are no pairs.
    """

    def __init__(self, pairs: Sequence[Pair], side: int, augmentation: Augmentation = PLAIN) -> None:
        if not pairs:
            raise TrainingError("There are no images to cut tiles from.")
        self._pairs: list[Pair] = []
        for noisy, clean in pairs:
            padded = at_least(noisy, side)
            self._pairs.append((padded, padded if clean is noisy else at_least(clean, side)))
        self._side, self._augmentation = side, augmentation
        sizes = np.array([noisy.size for noisy, _ in self._pairs], dtype=np.float64)
        self._shares = sizes / sizes.sum()

    def __call__(self, number: int, rng: np.random.Generator) -> Pair:
        """See `Source`."""
        result = np.empty((2, number, self._side, self._side), dtype=np.float32)
        for index, chosen in enumerate(rng.choice(len(self._pairs), number, p=self._shares)):
            noisy, clean = self._pairs[chosen]
            parts = [noisy] if noisy is clean else [noisy, clean]
            for half, part in enumerate(self._cut(parts, rng)):
                result[half:, index] = part
        return result[0], result[1]

    def _cut(self, parts: list[Floats], rng: np.random.Generator) -> list[Floats]:
        augmentation, side = self._augmentation, self._side
        height, width = parts[0].shape
        low, high = augmentation.scales
        scale = float(rng.uniform(low, high)) if low < high and rng.random() < 0.5 else 1.0
        span = min(max(1, round(side / scale)), height, width)
        top, left = int(rng.integers(0, height - span + 1)), int(rng.integers(0, width - span + 1))
        cut = [part[top : top + span, left : left + span] for part in parts]
        if span != side:
            method = Image.Resampling.BOX if span > 1.5 * side else Image.Resampling.BICUBIC
            resized = (Image.fromarray(part).resize((side, side), method) for part in cut)
            cut = [np.clip(np.asarray(part), 0.0, 1.0) for part in resized]
        if augmentation.turn:
            turns, flips = int(rng.integers(4)), bool(rng.integers(2))
            cut = [np.rot90(part[:, ::-1] if flips else part, turns) for part in cut]
        if augmentation.gain and rng.random() < augmentation.gain:
            gain = rng.uniform(0.4, 1.0)
            offset = rng.uniform(0.0, 1.0 - gain)
            cut = [np.float32(offset) + np.float32(gain) * part for part in cut]
        if augmentation.inverted and rng.random() < augmentation.inverted:
            cut = [np.float32(1.0) - part for part in cut]
        return cut


class Drawn:
    """Tiles from a pool of generated pairs, which are replaced one by one.

    Args:
        draw: `draw(rng)` returns (noisy, clean) of equal shape.
        side: Side of a tile in pixels.
        augmentation: Random changes of the tiles.
        pool: Number of pairs in the pool.
        uses: Number of tiles cut for each new pair.
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator], Pair],
        side: int,
        augmentation: Augmentation = PLAIN,
        *,
        pool: int = 32,
        uses: int = 8,
    ) -> None:
        self._draw, self._side, self._augmentation = draw, side, augmentation
        self._pool, self._uses = pool, uses
        self._pairs: list[Pair] = []
        self._due = 0.0

    def __call__(self, number: int, rng: np.random.Generator) -> Pair:
        """See `Source`."""
        while len(self._pairs) < self._pool:
            self._pairs.append(self._draw(rng))
        self._due += number / self._uses
        for _ in range(min(int(self._due), self._pool)):
            self._pairs.pop(0)
            self._pairs.append(self._draw(rng))
        self._due -= int(self._due)
        return Images(self._pairs, self._side, self._augmentation)(number, rng)


class Mixed:
    """Tiles from several sources, by weight."""

    def __init__(self, sources: Sequence[tuple[Source, float]]) -> None:
        weights = np.array([weight for _, weight in sources], dtype=np.float64)
        self._sources, self._weights = [source for source, _ in sources], weights / weights.sum()

    def __call__(self, number: int, rng: np.random.Generator) -> Pair:
        """See `Source`."""
        counts = rng.multinomial(number, self._weights)
        drawn = zip(self._sources, counts, strict=True)
        parts = [source(int(count), rng) for source, count in drawn if count]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def cut(
    noisy: Floats,
    clean: Floats,
    number: int,
    rng: np.random.Generator,
    *,
    context: Context = 1,
    mirrored: int = 0,
) -> Pair:
    """Cut patches from tiles, an equal number from each, at random positions and in random order.

    Args:
        noisy: Tiles to cut inputs from, float32 (tiles, side, side).
        clean: Tiles to cut clean patches from, of the same shape.
        number: Number of patches.
        rng: Source of the positions and of the order.
        context: Widths of the context in patches; 1 for none.
        mirrored: Number of pixels by which a context may reach beyond the tile, where it sees the tile
            mirrored; see `mirrored_for`.

    Returns:
        Inputs, float32 (number, 28, 28), or with context (number, 28, 28, planes) as
        `denoiser.inference.patches.split` returns them; and clean patches (number, 28, 28).
    """
    tiles, side, _ = noisy.shape
    scales = scales_of(context)
    widest = max(scales, default=1)
    margin = margin_of(widest)
    positions = side + 2 * mirrored - widest * PATCH + 1
    order = rng.permutation(number)
    shape = (number, PATCH, PATCH)
    inputs = np.empty((*shape, 1 + len(scales)) if scales else shape, np.float32)
    targets = np.empty(shape, np.float32)
    bounds = np.linspace(0, number, tiles + 1).astype(int)
    for index in range(tiles):
        chosen = order[bounds[index] : bounds[index + 1]]
        tops, lefts = rng.integers(0, positions, (2, len(chosen)))
        corners = (tops + margin - mirrored, lefts + margin - mirrored)
        targets[chosen] = _windows(clean[index], 1)[corners]
        own = _windows(noisy[index], 1)[corners]
        if not scales:
            inputs[chosen] = own
            continue
        inputs[chosen, ..., 0] = own
        around = np.pad(noisy[index], mirrored, mode="reflect") if mirrored else noisy[index]
        for plane, scale in enumerate(scales, start=1):
            inside = margin - margin_of(scale)
            areas = _windows(averaged(around[inside:, inside:], scale), scale)
            inputs[chosen, ..., plane] = areas[tops, lefts]
    return inputs, targets


def _windows(image: Floats, step: int) -> npt.NDArray[np.float32]:
    span = (PATCH - 1) * step + 1
    return np.lib.stride_tricks.sliding_window_view(image, (span, span))[:, :, ::step, ::step]


def mirrored_for(side: int, context: Context) -> int:
    """Return how far a context may reach beyond tiles of this side, at least 28, in pixels.

    Where it fits well into the tile, that is 0. A context that is nearly as wide as the tile would leave few
    positions for patches.
    """
    widest = max(scales_of(context), default=1)
    missing = widest * PATCH - side
    if missing <= -side // 4:
        return 0
    return min(margin_of(widest), max(side // 4, (missing + 1) // 2 + side // 8))


def at_least(image: Floats, size: int) -> Floats:
    """Return the image (H, W), mirrored at its lower and right edges until both sides have `size` pixels."""
    missing = [max(0, size - side) for side in image.shape]
    if not any(missing):
        return image
    return np.pad(image, [(0, missing[0]), (0, missing[1])], mode="symmetric")


def shifted(patches: Floats, rng: np.random.Generator, *, pixels: int, share: float = 0.5) -> Floats:
    """Move a share of the patches (N, H, W) by up to `pixels` each way, edges wrapping; a new array."""
    result = patches.copy()
    moves = rng.integers(-pixels, pixels + 1, (len(patches), 2))
    moves[rng.random(len(patches)) >= share] = 0
    for down, right in np.unique(moves[moves.any(axis=1)], axis=0).tolist():
        moved = np.flatnonzero((moves[:, 0] == down) & (moves[:, 1] == right))
        result[moved] = np.roll(patches[moved], (down, right), axis=(1, 2))
    return result
