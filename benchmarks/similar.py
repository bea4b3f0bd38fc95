"""The most similar places around a patch, as further inputs of a network: an experiment of explore.py.

BM3D (Dabov et al., 2007) gains by averaging blocks that look alike. Here each token of 4x4 pixels is
compared, by the 12x12 pixels around it, with the places up to 14 pixels away; the means of the 4 and of the
16 places that fit best are two planes beside the noisy patch. No network that cleans images does this.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from denoiser._types import PATCH, Floats
from denoiser.training import crops

SHAPE: dict[str, Any] = {"context": (2, 3)}
"""The shape of a network with two further planes; what they hold is decided by `cut`."""

_TOKEN = 4
_REACH = 14
_BEST = (4, 16)
_OFFSETS = [
    (down, right)
    for down in range(-_REACH, _REACH + 1, 2)
    for right in range(-_REACH, _REACH + 1, 2)
    if max(abs(down), abs(right)) >= _TOKEN  # nearer ones share the token's own noise
]


def planes(areas: Floats) -> Floats:
    """Find the similar places.

    areas: the patches with 14 pixels around each, float32 (N, 56, 56). Returns float32 (N, 28, 28, 3): the
    patch, and the means of the 4 and the 16 most similar places.
    """
    tokens = PATCH // _TOKEN
    inner = slice(_REACH, _REACH + PATCH)
    own = areas[:, inner, inner]
    add_up = np.eye(tokens, dtype=np.float32).repeat(_TOKEN, axis=0)
    apart = np.empty((len(_OFFSETS), len(areas), tokens, tokens), np.float32)
    for index, (down, right) in enumerate(_OFFSETS):
        top, left = _REACH + down, _REACH + right
        squares = np.square(areas[:, top : top + PATCH, left : left + PATCH] - own)
        across = squares.reshape(-1, PATCH) @ add_up  # a product is the quickest sum of 4 neighbours
        cells = across.reshape(-1, tokens, _TOKEN, tokens).sum(axis=2)
        framed = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
        high = framed[:, :-2] + framed[:, 1:-1] + framed[:, 2:]
        apart[index] = high[:, :, :-2] + high[:, :, 1:-1] + high[:, :, 2:]
    by_token = np.ascontiguousarray(np.moveaxis(apart, 0, -1))
    nearest = np.argpartition(by_token, max(_BEST))[..., : max(_BEST)]
    order = np.argsort(np.take_along_axis(by_token, nearest, -1))
    nearest = np.moveaxis(np.take_along_axis(nearest, order, -1), -1, 0)
    moves = np.array(_OFFSETS)[nearest]  # (places, N, tokens, tokens, 2)
    steps = np.arange(PATCH)
    rows = _REACH + steps[:, None] + _over_pixels(moves[..., 0])
    columns = _REACH + steps + _over_pixels(moves[..., 1])
    found = areas[np.arange(len(areas))[:, None, None], rows, columns]  # (places, N, 28, 28)
    means = [found[:best].mean(axis=0) for best in _BEST]
    return np.stack([own, *means], axis=-1)


def _over_pixels(tokens: Any) -> Any:
    return tokens.repeat(_TOKEN, axis=-2).repeat(_TOKEN, axis=-1)


def cut(noisy: Floats, clean: Floats, number: int, rng: np.random.Generator, **_: Any) -> crops.Pair:
    """Cut patches as `denoiser.training.crops.cut` does, with the planes of similar places."""
    tiles, side, _side = noisy.shape
    mirrored = crops.mirrored_for(side, 2)
    order = rng.permutation(number)
    areas = np.empty((number, 2 * PATCH, 2 * PATCH), np.float32)
    targets = np.empty((number, PATCH, PATCH), np.float32)
    bounds = np.linspace(0, number, tiles + 1).astype(int)
    for index in range(tiles):
        chosen = order[bounds[index] : bounds[index + 1]]
        corners = rng.integers(0, side + 2 * mirrored - 2 * PATCH + 1, (len(chosen), 2))
        around = np.pad(noisy[index], mirrored, mode="reflect")
        for one, (top, left) in zip(chosen, corners.tolist(), strict=True):
            areas[one] = around[top : top + 2 * PATCH, left : left + 2 * PATCH]
            row, column = top + _REACH - mirrored, left + _REACH - mirrored
            targets[one] = clean[index, row : row + PATCH, column : column + PATCH]
    return planes(areas), targets
