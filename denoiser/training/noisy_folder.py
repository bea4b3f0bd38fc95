"""A folder of noisy images: read, measured, brought to one scale, and some of it held out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from denoiser._types import PATCH, Floats
from denoiser.errors import ImagesError
from denoiser.training import frames, image_folders, noise_measures
from denoiser.training.cautions import of_copies
from denoiser.training.noise_measures import Measured
from denoiser.training.noisy_pairs import Shot
from denoiser.training.plan import Plan
from denoiser.weights import architectures
from denoiser.weights.architectures import MixerConfig

log = logging.getLogger(__name__)

_RANGE = (0.1, 0.9)
_WEAK, _WEAK_GRAIN = 1.2 / 255, 2.5 / 255
"""Noise that is too weak to learn from; if it is correlated, texture may well be taken for it."""

_DIFFERENT = 2.0
_MUCH_SATURATED = 0.2


@dataclass
class NoisyFolder:
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


def read(plan: Plan, folder: Path) -> NoisyFolder:
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
        firsts: tuple[list[Floats], list[Floats]] = ([], [])
        for index, group in enumerate(groups):
            firsts[index in chosen].append(group[0])
        texts += of_copies(*firsts)
        kept, number = f"{len(chosen):,} of {count:,} noisy {what}", len(chosen)
    about = f"{count:,} noisy {what if count > 1 else what[:-1]} of the user's own"
    if plan.data.frames:
        about += f", {sum(map(len, groups)):,} frames"
    about += unit
    smallest = min(min(frame.shape) for group in groups for frame in group)
    return NoisyFolder(taught, held, measured, about, kept, number, texts, smallest, plan.data.frames)


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


def cautions(measured: Measured) -> list[str]:
    """Return sentences about what makes learning from these images doubtful."""
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
