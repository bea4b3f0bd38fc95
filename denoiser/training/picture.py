"""A picture of what a network does: patches it was not taught, noisy, reconstructed and clean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from denoiser.system.atomic import replacing
from denoiser.training.evaluation import Seen
from denoiser.training.metrics import psnr

EACH = 4
SOFTWARE = "denoiser train"
_SCALE, _GAP, _MARGIN, _HEAD = 4, 8, 110, 44


def chosen(found: Seen) -> tuple[list[int], list[int]]:
    """Which patches to show, by their error: the nearest to the median, and the worst, worst first."""
    order = np.argsort(found.errors, kind="stable")
    worst = order[::-1][:EACH]
    rest = order[: max(0, len(order) - len(worst))]
    middle = len(order) // 2
    first = max(0, min(middle - EACH // 2, len(rest) - EACH))
    return [int(place) for place in rest[first : first + EACH]], [int(place) for place in worst]


def draw(found: Seen) -> Image.Image:
    """Draw typical and worst patches, each noisy, reconstructed and clean, with their dB."""
    typical, worst = chosen(found)
    places = typical + worst
    side = found.clean.shape[1] * _SCALE
    size = (_MARGIN + len(places) * (side + _GAP) + _GAP, _HEAD + 3 * (side + _GAP))
    picture = Image.new("L", size, 255)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for row, (text, patches) in enumerate(
        (("noisy", found.noisy), ("reconstructed", found.restored), ("clean", found.clean))
    ):
        top = _HEAD + row * (side + _GAP)
        pen.text((_GAP, top + side // 2 - 8), text, fill=0, font=font)
        for column, place in enumerate(places):
            pixels = np.rint(255.0 * np.clip(patches[place], 0.0, 1.0)).astype(np.uint8)
            patch = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            picture.paste(patch, (_MARGIN + column * (side + _GAP), top))
    for column, place in enumerate(places):
        left = _MARGIN + column * (side + _GAP)
        kind = "typical" if column < len(typical) else "worst"
        before = psnr(float(np.mean(np.square(found.noisy[place] - found.clean[place]))))
        after = psnr(float(found.errors[place]))
        pen.text((left, 4), kind, fill=0, font=font)
        pen.text((left, 22), f"{before:.1f} to {after:.1f} dB", fill=0, font=font)
    return picture


def write(path: Path, found: Seen) -> None:
    """Write the picture as PNG, atomically. Raises OSError."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", SOFTWARE)
    with replacing(path) as file:
        draw(found).save(file, "PNG", pnginfo=note)
