"""Noise cut from blank scans: empty paper or dark frames.

A blank scan shows a smooth background, which is uneven light and the tone of the paper, and the noise of the
scanner or camera. The background is the median of each square of 32 pixels, interpolated between the squares.
The rest is the noise.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoiser._types import Floats
from denoiser.errors import ImagesError
from denoiser.training.crops import at_least
from denoiser.training.image_folders import Reader, held_out, named_images, no_folder

log = logging.getLogger(__name__)


LEAST = 64
"""Smallest side, in pixels, at which noise can be separated from the background."""

_BLOCK = 32
_UNEVEN = 2.0
"""Largest ratio of the spread in busy squares to that in quiet ones, in a blank scan. Grain of 8 pixels
reaches 1.9, nine in ten photographs are above 2, and any text is far above."""

_STRONG = 0.15
_SILENT = 2e-4
_SATURATED = 0.01


class CutNoise:
    """Adds pieces of noise from random places of blank scans, turned and flipped at random.

    Args:
        noises: Deviations from the background, float32 (H, W).
        name: The noise in words, for the model card.
    """

    def __init__(self, noises: Sequence[Floats], name: str) -> None:
        self._noises, self._name = list(noises), name

    @property
    def name(self) -> str:
        """The noise in words, for a model card."""
        return self._name

    def __call__(self, clean: Floats, rng: np.random.Generator) -> Floats:
        """Corrupt float32 (N, H, W) in 0..1; returns a new array of that kind."""
        side = max(clean.shape[1:])
        result = clean.copy()
        # Mirroring a small scan gives more positions to cut from.
        sources = [at_least(noise, side + side // 2) for noise in self._noises]
        sizes = np.array([source.size for source in sources], dtype=np.float64)
        for index, chosen in enumerate(rng.choice(len(sources), len(clean), p=sizes / sizes.sum())):
            source = sources[chosen]
            top, left = (int(rng.integers(0, full - side + 1)) for full in source.shape)
            piece = np.rot90(source[top : top + side, left : left + side], int(rng.integers(4)))
            piece = piece[:, ::-1] if rng.integers(2) else piece
            result[index] += piece[: clean.shape[1], : clean.shape[2]]
        return np.asarray(np.clip(result, 0.0, 1.0, out=result))


def cut_from(
    folder: Path, reader: Reader | None = None, *, validation: float = 0.1
) -> tuple[CutNoise, CutNoise]:
    """Read a folder of blank scans; return the noise for training and the noise for validation.

    The log warns of a scan in which more than one pixel in a hundred is fully black or white, since the noise
    is clipped there.

    Args:
        folder: Folder of blank scans.
        reader: Reads the files with plugins; None reads them without.
        validation: Share of the scans that is held out for validation; a single scan is cut in two.

    Raises:
        ImagesError: A scan, which the message names, is too small, not blank, or without noise.
    """
    if not folder.is_dir():
        raise ImagesError(f"The folder of blank scans {folder} {no_folder(folder)}.")
    noises = []
    for path, image in named_images(folder, reader):
        height, width = image.shape
        if min(height, width) < LEAST:
            raise ImagesError(
                f"{path} is {width}x{height}: too small to tell its noise from its background.",
                f"Both sides must have at least {LEAST} pixels.",
            )
        noises.append(_checked(path, image))
    if len(noises) == 1:
        half = noises[0].shape[0] // 2
        noises = [noises[0][:half], noises[0][half:]]
    validated = set(held_out(len(noises), validation))
    held = [noise for index, noise in enumerate(noises) if index in validated]
    taught = [noise for index, noise in enumerate(noises) if index not in validated]
    digest = hashlib.sha256(b"".join(noise.tobytes() for noise in noises)).hexdigest()[:8]
    name = f"noise cut from {len(noises)} blank scans ({digest})"
    return CutNoise(taught, name), CutNoise(held, name)


def deviation(image: Floats) -> Floats:
    """Subtract the smooth background from a blank image (H, W); float32, mean 0."""
    rows, columns = (max(1, side // _BLOCK) for side in image.shape)
    down, across = (
        np.linspace(0, side, parts + 1).astype(int)
        for side, parts in zip(image.shape, (rows, columns), strict=True)
    )
    medians = np.empty((rows, columns), np.float32)
    for row in range(rows):
        band = image[down[row] : down[row + 1]]
        for column in range(columns):
            medians[row, column] = np.median(band[:, across[column] : across[column + 1]])
    size = (image.shape[1], image.shape[0])
    background = np.asarray(Image.fromarray(medians).resize(size, Image.Resampling.BICUBIC))
    noise = image - background
    return np.asarray(noise - noise.mean(), dtype=np.float32)


def _checked(path: Path, image: Floats) -> Floats:
    """Return the noise of one scan. Raises ImagesError if the scan is not blank or has no noise."""
    saturated = float(np.mean((image <= 0.0) | (image >= 1.0)))
    noise = deviation(image)
    spreads = _spreads(noise)
    if float(np.median(spreads)) < _SILENT:
        why = f" {saturated:.0%} of its pixels are fully black or white." if saturated > _SATURATED else ""
        raise ImagesError(
            f"{path} has no noise in it.{why}", "Scan something a little gray, or a little darker."
        )
    quiet, loud = np.percentile(spreads, (25, 90))
    if loud > _UNEVEN * quiet or _strokes(noise):
        raise ImagesError(
            f"{path} is not blank: some parts of it vary more than others.",
            "Noise is cut from blank scans, such as empty paper or a closed lens.",
        )
    if saturated > _SATURATED:
        log.warning(
            "%s: %.0f %% of its pixels are fully black or white, and their noise can't be seen.",
            path,
            100 * saturated,
        )
    return noise


def _spreads(noise: Floats, share: float = 0.9) -> npt.NDArray[np.float64]:
    """Estimate the standard deviation in each square from the middle `share` of its pixels.

    Leaving out the rest makes it robust to dust and dead pixels. It is exact for normally distributed pixels.
    """
    rows, columns = (side // _BLOCK for side in noise.shape)
    squares = noise[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    pixels = squares.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    low, high = np.percentile(pixels, (50 - 50 * share, 50 + 50 * share), axis=1)
    return np.asarray((high - low) / (2 * NormalDist().inv_cdf(0.5 + share / 2)))


def _strokes(noise: Floats) -> bool:
    """Return True if the whole page is printed: lumps, in squares of strong contrast or mostly one tone.

    Isolated specks are noise, and so is grain, whose tones are spread evenly about the middle.
    """
    lumps = float(np.mean(noise[:, 1:] * noise[:, :-1])) / float(np.mean(np.square(noise)))
    outer, inner = _spreads(noise), _spreads(noise, 0.5)
    return lumps > 0.2 and (float(np.median(outer)) > _STRONG or float(np.median(outer - 2.0 * inner)) > 0)
