"""Signs that a training learns, or has learnt, something else than its user meant."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.errors import ImagesError
from denoiser.inference.noise_level import noise
from denoiser.training import without_clean
from denoiser.training.metrics import psnr

LEAST_GAIN = 0.1
"""Gain in dB below which a training is not worth its time."""

LEAST_CLEAN = {"digits": 25.0, "general": 35.0, "document": 30.0}
"""PSNR in dB below which a network damages clean images. A narrow layer and a change of paper cost some."""

WORST_CLEAN = 10.0
"""Distance in dB below `LEAST_CLEAN` from which a network that lowers the SSIM too is refused."""

_WORST_SSIM = 0.05
_LEAST_PAIR = 12.0
_FEW = 5
_SIDE, _MOST_PAIRS = 48, 300
_CLOSER, _SMOOTHER = 0.05, 0.8
_LEAST_NOISE = 0.5 / 255
_WHITER = 0.02

Pair = tuple[Floats, Floats]


def of_copies(taught: Iterable[npt.NDArray[Any]], held: Iterable[npt.NDArray[Any]]) -> list[str]:
    """Return a sentence if images that are held out are also among those that are learnt from."""
    known, images = {_digest(image) for image in taught}, [_digest(image) for image in held]
    copies = sum(image in known for image in images)
    found = f"{copies} of {len(images)} images that are held out are the same as images it learns from"
    return [f"{found}: the figures flatter."] if copies else []


def _digest(image: npt.NDArray[Any]) -> bytes:
    found = hashlib.sha256(repr(image.shape).encode(), usedforsecurity=False)
    found.update(np.ascontiguousarray(image).data)
    return found.digest()


def of_pairs(pairs: Sequence[Pair], *, pages: bool = False) -> list[str]:
    """Return sentences on pairs, noisy and clean, that may not be meant so.

    pages: whether they are scans of pages. A dirty scan is often softer than its clean original, but its
    paper is darker.

    Raises ImagesError if most noisy images resemble the clean image of another pair more than their own.
    """
    texts = []
    stranger, compared = _strangers(pairs)
    if compared > 2 and stranger > compared / 2:
        raise ImagesError(
            f"{stranger} of {compared} noisy images are more like the clean image of another pair than like"
            " their own.",
            "Pairs go by their names: give both images of a pair the same name.",
        )
    if stranger:
        texts.append(
            f"{stranger} of {compared} noisy images are more like the clean image of another pair than like"
            " their own. Are these pairs?"
        )
    error = float(np.mean([np.mean(np.square(noisy - clean)) for noisy, clean in pairs]))
    if psnr(error) < _LEAST_PAIR:
        texts.append(
            f"The noisy images are {psnr(error):.1f} dB from the clean ones, which is far. Are these pairs?"
        )
    if pages:
        paper = [float(np.mean([np.median(pair[half]) for pair in pairs])) for half in (0, 1)]
        if paper[0] > paper[1] + _WHITER:
            texts.append("The noisy pages are whiter than the clean ones. Are the two folders swapped?")
        return texts
    rough = [_roughness([pair[half] for pair in pairs]) for half in (0, 1)]
    if rough[1] > _LEAST_NOISE and rough[0] < _SMOOTHER * rough[1]:
        texts.append("The noisy images are smoother than the clean ones. Are the two folders swapped?")
    return texts


def _strangers(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Count the noisy images that correlate more with another clean image of their size, and all compared."""
    shapes: dict[tuple[int, ...], list[Pair]] = {}
    for pair in pairs[:: -(-len(pairs) // _MOST_PAIRS)]:
        shapes.setdefault(pair[1].shape, []).append(pair)
    stranger = compared = 0
    for group in shapes.values():
        if len(group) > 1:
            noisy, clean = (np.stack([_thumbnail(pair[half]) for pair in group]) for half in (0, 1))
            likeness = noisy @ clean.T
            stranger += int(np.sum(likeness.max(axis=1) > np.diag(likeness) + _CLOSER))
            compared += len(group)
    return stranger, compared


def _thumbnail(image: Floats) -> Floats:
    """Return the means of blocks of an image as a vector of mean 0 and length 1."""
    edges = [np.linspace(0, side, min(side, _SIDE) + 1).astype(int)[:-1] for side in image.shape]
    blocks = np.add.reduceat(np.add.reduceat(image, edges[0], axis=0), edges[1], axis=1)
    areas = [np.diff(np.append(each, side)) for each, side in zip(edges, image.shape, strict=True)]
    values = (blocks / np.outer(*areas)).ravel()
    values = values - values.mean()
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6), dtype=np.float32)


def _roughness(images: Sequence[Floats]) -> float:
    """Return the mean noise of images, 0..1."""
    levels = [noise(image) or 0.0 for image in images]
    return float(np.mean(levels))


def of_result(card: Mapping[str, Any]) -> list[str]:
    """Return sentences on the figures of a model card that ask for a second look."""
    texts, overall = [], card["validation"]
    if overall is None:
        return without_clean.cautions(card["without_clean"])
    gain = _value(overall["output_db"]) - _value(overall["input_db"])
    if gain < LEAST_GAIN:
        texts.append(f"The gain is {gain:.2f} dB: the network has learnt next to nothing.")
    if overall["output_ssim"] < overall["input_ssim"]:
        texts.append(
            f"The SSIM falls from {overall['input_ssim']:.3f} to {overall['output_ssim']:.3f}: structure is"
            " lost."
        )
    clean, least = clean_db(card), LEAST_CLEAN[card["network"]]
    if clean < least:
        texts.append(f"Clean images come back at {clean:.1f} dB, under {least:g}: the network changes them.")
    if texts:
        texts[-1] += " Look at its picture before you use it."
    return texts


def refused(card: Mapping[str, Any]) -> str | None:
    """Return why a network must not be kept, as a sentence without its full stop; None if it may be."""
    overall, clean = card["validation"], clean_db(card)
    if overall is None:
        return without_clean.refused(card["without_clean"])
    gain = _value(overall["output_db"]) - _value(overall["input_db"])
    if not gain > 0:
        than = "worse than" if gain < -0.005 else "no better than"  # 0.00 dB are told
        return f"The trained network is {than} doing nothing ({gain:+.2f} dB on images it has not seen)"
    lost = overall["input_ssim"] - overall["output_ssim"]
    if lost > _WORST_SSIM and clean < LEAST_CLEAN[card["network"]] - WORST_CLEAN:
        return (
            f"The trained network does damage: the SSIM falls from {overall['input_ssim']:.3f} to"
            f" {overall['output_ssim']:.3f}, and clean images come back at {clean:.1f} dB"
        )
    return None


def clean_db(card: Mapping[str, Any]) -> float:
    """Return the PSNR at which clean images come back; infinite if no figure says so."""
    rows = [row for row in card["figures"] if row["input_db"] is None]
    return min((_value(row["output_db"]) for row in rows), default=math.inf)


def of_few(images: int, held: str) -> str | None:
    """Return a sentence if so many held-out images, which `held` describes, are few to judge by."""
    if images >= _FEW:
        return None
    return f"The figures rest on {held}, which is few. Give more images, or hold out more with --validation."


def _value(db: float | None) -> float:
    return math.inf if db is None else db
