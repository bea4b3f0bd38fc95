"""A picture of all noises, each at three settings, to compare with your own images."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from denoiser import generator
from denoiser._types import Floats
from denoiser.errors import UsageError, reason
from denoiser.imaging.picture import quantize
from denoiser.noise import Noise, paper
from denoiser.system import atomic

#: Height and width of a drawing, large enough for the effects of whole pages.
_CELL = (200, 320)
_GAP, _LABEL, _NAMES = 10, 34, 230
_SEED, _TRIES = 12, 8


def write(noises: Sequence[Noise], path: Path, *, force: bool = False) -> None:
    """Draw the noises into a PNG file, written atomically.

    force: whether an existing file is replaced. Raises UsageError if `path` does not end in .png, exists, or
    can't be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(
            f"The preview {path} can't be written.", "It is a PNG: choose a name that ends in .png."
        )
    if path.exists() and not force:
        raise UsageError(f"{path} exists.", "Use --force to overwrite it, or another name.")
    drawn = draw(noises)
    try:
        with atomic.replacing(path) as file:
            drawn.save(file, "PNG")
    except OSError as error:
        raise UsageError(f"The preview {path} can't be written: {reason(error)}.") from error


def draw(noises: Sequence[Noise]) -> Image.Image:
    """Draw a row for each noise, 8-bit gray: its name, and a scene or page at each of its `levels`."""
    scene = generator.scene(np.random.default_rng(3), _CELL)
    page = generator.page(np.random.default_rng(4), _CELL, system_fonts=False)
    height, width = _CELL[0] + _LABEL + _GAP, _CELL[1] + _GAP
    sheet = Image.new("L", (_NAMES + 3 * width, _GAP + height * len(noises)), 255)
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(13)
    for row, noise in enumerate(noises):
        y = _GAP + row * height
        sample = page if noise.name in paper.NAMES else scene
        pen.text((_GAP, y), noise.name, fill=0, font=large)
        pen.text((_GAP, y + 30), "\n".join(textwrap.wrap(noise.help, 28)), fill=80, font=small)
        seed = _seed(noise, sample)
        for column, settings in enumerate(levels(noise)):
            noisy = noise(sample[None], np.random.default_rng(seed), **settings)
            x = _NAMES + column * width
            sheet.paste(Image.fromarray(quantize(noisy[0], 8)), (x, y))
            text = ", ".join(f"{key}={value:.3g}" for key, value in settings.items()) or "no settings"
            pen.text((x, y + _CELL[0] + 3), "\n".join(textwrap.wrap(text, 50)), fill=0, font=small)
    return sheet


def _seed(noise: Noise, sample: Floats) -> int:
    """Return the first seed with which the noise can be seen; drawings depend on the machine's fonts."""
    for seed in range(_SEED, _SEED + _TRIES):
        # The print of the other side, for one, has blank parts as large as a drawing.
        if np.abs(noise(sample[None], np.random.default_rng(seed))[0] - sample).mean() > 1 / 255:
            return seed
    return _SEED


def levels(noise: Noise) -> list[dict[str, float]]:
    """Return low, default and high settings: half of the default, the default and its double, within bounds.

    A default of 0 has no double: its bounds are used if they are finite.
    """
    low, high = {}, {}
    for key, parameter in noise.parameters.items():
        ends = sorted((parameter.default / 2, parameter.default * 2))
        if parameter.default == 0:
            ends = [bound if math.isfinite(bound) else 0.0 for bound in (parameter.low, parameter.high)]
        low[key], high[key] = (float(np.clip(end, parameter.low, parameter.high)) for end in ends)
    return [low, {key: parameter.default for key, parameter in noise.parameters.items()}, high]
