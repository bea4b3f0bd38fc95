"""Digits and letters, written by hand and printed, in the way MNIST has its digits."""

from __future__ import annotations

import math
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from denoiser._types import PATCH, Floats
from denoiser.generator.canvas import Random, curve, draw_stroke

CANVAS = 84
"""Side in pixels of the canvas that signs are drawn on."""

#: The digits as a hand writes them: the points a stroke passes, x right and y down, in hundredths.
_STROKES: dict[str, list[list[str]]] = {
    "0": [["50,05 22,30 22,70 50,95 78,70 78,30 50,05"]],
    "1": [["50,05 50,50 50,95"], ["33,25 52,05 52,50 52,95"]],
    "2": [["20,25 38,06 70,10 74,35 45,68 20,93 50,90 84,93"]],
    "3": [["20,14 50,04 74,20 46,47 76,66 62,92 34,95 20,86"]],
    "4": [["60,05 40,35 20,62 50,62 85,60", "66,35 62,95"], ["30,08 25,45 45,52 75,47", "75,05 70,50 66,95"]],
    "5": [["34,08 28,44 55,40 78,63 60,92 20,90", "34,08 80,06"]],
    "6": [["66,05 38,30 25,68 48,95 74,74 52,52 28,70"]],
    "7": [["20,10 50,08 80,08 58,48 42,95"], ["20,10 80,08 55,50 42,95", "34,50 72,48"]],
    "8": [["50,48 27,28 50,05 73,26 50,48 24,73 50,95 76,73 50,48"]],
    "9": [["72,28 48,06 27,30 50,50 72,28 70,60 60,95"]],
}


def glyphs(number: int, rng: Random) -> Floats:
    """Draw digits and letters as MNIST has its digits: in a box of 20 pixels, their mass in the middle.

    Two thirds are digits written by hand (strokes through jittered points), the rest digits and letters of
    Pillow's font, bent, slanted and thickened. Returns float32 (number, 28, 28), ink 1 on 0.
    """
    result = np.empty((number, PATCH, PATCH), dtype=np.float32)
    for index in range(number):
        drawn = _written(rng) if rng.random() < 2 / 3 else _printed(rng)
        result[index] = boxed(bent(drawn, rng), rng)
    return result


def digit(rng: Random, value: int | None = None) -> Floats:
    """Draw one handwritten digit, the given one or any; float32 (28, 28), ink 1 on 0."""
    return boxed(bent(_written(rng, value), rng), rng)


def _written(rng: Random, value: int | None = None) -> Image.Image:
    forms = _STROKES[str(rng.integers(10) if value is None else value)]
    image = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(image)
    width = float(rng.uniform(4.0, 11.0))
    squeeze = rng.uniform(0.55, 1.0)
    for stroke in forms[rng.integers(len(forms))]:
        known = np.array([pair.split(",") for pair in stroke.split()], dtype=np.float64) / 100.0
        points = known + rng.normal(0.0, 0.028, known.shape)
        points[:, 0] = 0.5 + (points[:, 0] - 0.5) * squeeze
        draw_stroke(draw, curve(points) * 60.0 + 12.0, width)
    return image


def _printed(rng: Random) -> Image.Image:
    signs = string.digits if rng.random() < 0.5 else string.ascii_letters
    image = Image.new("L", (CANVAS, CANVAS))
    print_sign(ImageDraw.Draw(image), rng, signs)
    return image


def print_sign(draw: ImageDraw.ImageDraw, rng: Random, signs: str) -> None:
    """Print one of the signs in Pillow's own font, in the middle of the canvas."""
    sign, font = signs[rng.integers(len(signs))], ImageFont.load_default(56)
    middle, bold = (CANVAS // 2, CANVAS // 2), int(rng.integers(0, 4))
    draw.text(middle, sign, fill=255, font=font, anchor="mm", stroke_width=bold)


def bent(image: Image.Image, rng: Random) -> Image.Image:
    """Turn, slant and stretch about the middle."""
    turn, slant = rng.normal(0.0, 0.12), rng.normal(0.0, 0.22)
    wide, high = rng.uniform(0.8, 1.2, 2)
    cos, sin = math.cos(turn), math.sin(turn)
    a, b, d, e = cos / wide, (sin + slant) / wide, -sin / high, cos / high
    middle = CANVAS / 2
    shift = (middle - a * middle - b * middle, middle - d * middle - e * middle)
    return image.transform(
        image.size, Image.Transform.AFFINE, (a, b, shift[0], d, e, shift[1]), Image.Resampling.BILINEAR
    )


def boxed(image: Image.Image, rng: Random, longest: tuple[float, float] = (18.5, 20.5)) -> Floats:
    """The ink scaled to about `longest` pixels, its centre of mass as near the middle of 28x28 as it fits."""
    box = image.getbbox() or (0, 0, CANVAS, CANVAS)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = rng.uniform(*longest) / max(width, height)
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    ink = np.asarray(image.resize(size, Image.Resampling.BOX, box), dtype=np.float32) / np.float32(255.0)
    ink = np.minimum(ink * np.float32(rng.uniform(0.9, 1.25)), np.float32(1.0))
    total = float(ink.sum()) + 1e-6
    mass = (
        float((ink.sum(1) * np.arange(size[1])).sum()) / total,
        float((ink.sum(0) * np.arange(size[0])).sum()) / total,
    )
    top, left = (
        int(np.clip(round(13.5 - middle), 0, PATCH - side))
        for middle, side in zip(mass, (size[1], size[0]), strict=True)
    )
    result = np.zeros((PATCH, PATCH), dtype=np.float32)
    result[top : top + size[1], left : left + size[0]] = ink
    return result
