"""Figures of a network where nobody has clean images: from noisy images that it has not seen.

None of them is a PSNR against clean images. All are measured on the same pixels and noise before and after a
training, so that their differences are more certain than their values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.inference.patches import own
from denoiser.training.metrics import psnr
from denoiser.training.noise_measures import correlation_of

Basis = Literal["another frame", "noise added once more", "masked pixels"]

ALPHA, ALPHA_SKEWED = 0.5, 1.0
"""Strength of the noise that is added once more, relative to the image's own; and that of skewed noise."""

KEPT, WARNED = -0.05, 0.05
"""Gains in dB over the start: below the first a network is worse, below the second it is hardly better."""

_SPACING, _WIDE = 7, 14
_FLOOR = 0.1
"""Least error, as a share of the noise: below it, differences rather than ratios of errors are known."""

_NOTHING = 1e-4
_SUBTRACTED = 0.95
"""Share of the noise that is subtracted: it is known to 5 %, and too much of it would flatter a gain."""


@dataclass(frozen=True)
class Figures:
    """What a network makes of noisy images.

    Attributes:
        masked: Root mean square error at pixels that were hidden from the network, against their noisy
            values, 0..1: it has the noise in it, and can't fall below it.
        residual: Correlation between neighbouring pixels of what the network removes.
        error: Estimated mean squared error against the clean images, perhaps below 0; see `HeldOut`.
    """

    masked: float
    residual: float
    error: float


@dataclass(frozen=True)
class HeldOut:
    """Patches of held-out noisy images, and how the error on them is estimated.

    The error of a network f on an image y = x + n is estimated by one of these:

    - another frame y' = x + n': mean of (f(y) - y')^2, less the noise, which is half the mean of (y - y')^2
      (Lehtinen and others, "Noise2Noise", ICML 2018).
    - noise z like n, added once more: with f = f(y + a z), mean of (f - y)^2 + 2 (f - y) z / a, less the
      noise. This is the error at that noise, which is stronger by the root of 1 + a^2. The noises of
      y + a z and y - z / a are independent if z is distributed as n, and normally (Pang, Zheng, Quan and Ji,
      "Recorrupted-to-Recorrupted", CVPR 2021). With a = 1 the estimate holds for any distribution: n and z
      can then change places in y + z, so that f(y + z) has as much of the one in it as of the other.
    - masked pixels: the masked error, less the noise as far as it is known (Batson and Royer, "Noise2Self",
      ICML 2019).

    Attributes:
        inputs: Noisy patches as the network takes them.
        targets: The same patches, or those of another frame; NaN where pixels are saturated.
        hidden: Inputs with pixels hidden, each filled in from around it.
        hidden_targets: The true values of the hidden pixels, NaN everywhere else.
        noisier: Inputs with noise added once more; None if the basis is another.
        added: That noise, before it was weakened by `alpha`.
        alpha: Its strength, relative to the image's own.
        variance: Mean variance of the noise.
        correlation: Correlation between neighbouring pixels of the noise.
        basis: How the error is estimated.
    """

    inputs: Floats
    targets: Floats
    hidden: Floats
    hidden_targets: Floats
    noisier: Floats | None
    added: Floats | None
    variance: float
    correlation: float
    basis: Basis
    alpha: float = ALPHA

    def figures(self, restore: Callable[[Floats], Floats]) -> Figures:
        """Measure a function that restores patches, (N, 28, 28) from inputs."""
        masked = float(np.nanmean(np.square(restore(self.hidden) - self.hidden_targets)))
        restored = restore(self.inputs)
        residual = np.where(np.isnan(self.targets), np.float32(np.nan), own(self.inputs) - restored)
        variance = _SUBTRACTED * self.variance
        if self.noisier is not None and self.added is not None:
            rest = restore(self.noisier) - self.targets
            error = float(np.nanmean(rest * rest + (2.0 / self.alpha) * rest * self.added)) - variance
        elif self.basis == "another frame":
            error = float(np.nanmean(np.square(restored - self.targets))) - variance
        else:
            error = masked - variance
        return Figures(math.sqrt(masked), neighbouring(residual), error)


def neighbouring(noise: Floats) -> float:
    """Return the correlation between neighbouring pixels of (N, H, W), that with the larger size."""
    with np.errstate(invalid="ignore"):
        centred = noise - np.nanmean(noise)
        if not float(np.nanmax(np.abs(centred), initial=0.0)) > _NOTHING:
            return 0.0
    found = correlation_of(centred, 1)
    return max(float(found[0, 2]), float(found[1, 1]), key=abs)


def hidden(tiles: Floats, reach: int, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Hide single pixels of tiles (N, H, W), or squares around them if neighbours have the same noise.

    Args:
        tiles: Noisy tiles.
        reach: Distance in pixels up to which the noise is correlated.
        rng: Source of their places.

    Returns:
        The tiles with each hidden square replaced by the mean of the pixels around it, and the centres.
    """
    reach = min(reach, 3)
    spacing = _SPACING if reach < 2 else _WIDE
    result, centres = tiles.copy(), np.zeros(tiles.shape, bool)
    for index, tile in enumerate(tiles):
        height, width = tile.shape
        first = rng.integers(0, spacing, 2) + reach + 1
        rows, columns = np.meshgrid(
            np.arange(first[0], height - reach - 1, spacing),
            np.arange(first[1], width - reach - 1, spacing),
            indexing="ij",
        )
        size = 2 * reach + 3
        windows = np.lib.stride_tricks.sliding_window_view(tile, (size, size))
        around = windows[rows - reach - 1, columns - reach - 1]
        ring = np.pad(np.zeros((size - 2, size - 2), bool), 1, constant_values=True)
        fill = around[..., ring].mean(axis=-1)
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                result[index, rows + down, columns + right] = fill
        centres[index, rows, columns] = True
    return result, centres


def described(
    method: str, why: str, held: HeldOut, before: Figures, after: Figures, start: str
) -> dict[str, Any]:
    """Return what a model card says of a training without clean images.

    Errors are on the 0..1 scale. `start` names what the training is compared with.
    """
    # Both are raised alike, so that neither their order nor the size of their difference changes.
    raised = max(0.0, max(_FLOOR * held.variance, 1e-9) - min(before.error, after.error))
    was, now = psnr(before.error + raised), psnr(after.error + raised)
    return {
        "method": method,
        "why": why,
        "compared_with": start,
        "masked_pixel_error": round(after.masked, 5),
        "masked_pixel_error_before": round(before.masked, 5),
        "residual_correlation": round(after.residual, 3),
        "residual_correlation_before": round(before.residual, 3),
        "noise_correlation": round(held.correlation, 3),
        "noise": round(math.sqrt(held.variance), 5),
        "estimated_from": held.basis,
        "estimated_db": round(now, 2),
        "estimated_db_before": round(was, 2),
        "gain_db": round(now - was, 3),
    }


def refused(found: dict[str, Any]) -> str | None:
    """Return why a network must not be kept, without a full stop; None if it may be."""
    if found["gain_db"] >= KEPT:
        return None
    return (
        f"The trained network is worse than {found['compared_with']} ({found['gain_db']:+.2f} dB, estimated"
        f" from {found['estimated_from']} on images it has not seen)"
    )


def cautions(found: dict[str, Any]) -> list[str]:
    """Return sentences on figures that ask for a second look."""
    texts = []
    if found["gain_db"] < WARNED:
        texts.append(
            f"It is no better than {found['compared_with']}: {found['gain_db']:+.2f} dB, estimated from"
            f" {found['estimated_from']}."
        )
    left = abs(found["residual_correlation"] - found["noise_correlation"])
    if left > 0.3:
        texts.append(
            f"What it removes is not like the noise: neighbouring pixels correlate by"
            f" {found['residual_correlation']:.2f}, those of the noise by {found['noise_correlation']:.2f}."
            " It may remove structure: look at its picture before you use it."
        )
    return texts


def table(found: dict[str, Any]) -> list[str]:
    """Format the figures as lines of text."""
    rows = [
        ("", found["compared_with"], "trained"),
        (
            "error at masked pixels, against noisy ones",
            f"{found['masked_pixel_error_before']:.4f}",
            f"{found['masked_pixel_error']:.4f}",
        ),
        (
            "correlation of neighbours in what it removes",
            f"{found['residual_correlation_before']:.3f}",
            f"{found['residual_correlation']:.3f}",
        ),
        (
            f"estimated dB, from {found['estimated_from']}",
            f"{found['estimated_db_before']:.2f}",
            f"{found['estimated_db']:.2f}",
        ),
    ]
    width = max(len(row[0]) for row in rows)
    column = max(12, len(found["compared_with"]) + 2)
    lines = [f"{name:<{width}}{before:>{column}}{after:>12}" for name, before, after in rows]
    noise = (
        f"The noise is {found['noise']:.4f}, its neighbours correlate by {found['noise_correlation']:.3f}."
    )
    return [*lines, f"{noise} No clean image was used: none of this is a PSNR against one."]
