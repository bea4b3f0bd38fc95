"""Signs of scripts that are no digits: letters, kana-like signs, and two invented scripts."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from denoiser._types import Floats
from denoiser.generator.canvas import Random, curve, draw_stroke
from denoiser.generator.glyphs import CANVAS, bent, boxed, print_sign

Points = npt.NDArray[np.float64]


def sign(rng: Random, script: str) -> Floats:
    """Draw one sign, half of them in a box of 20 pixels as MNIST has its digits, half of them larger.

    Args:
        rng: Decides everything.
        script: A name in `SCRIPTS`.

    Returns:
        float32 (28, 28), ink 1 on 0.
    """
    image = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(image)
    SCRIPTS[script](draw, rng)
    return boxed(bent(image, rng), rng, (18.5, 20.5) if rng.random() < 0.5 else (20.5, 28.0))


def _letter(draw: ImageDraw.ImageDraw, rng: Random) -> None:
    print_sign(draw, rng, string.ascii_letters)


def _kana(draw: ImageDraw.ImageDraw, rng: Random) -> None:
    """Two to seven bars, posts and bows, of which most cross or touch."""
    width = float(rng.uniform(3.0, 8.0))
    for kind in rng.choice(("bar", "post", "bow", "hook", "dot"), size=int(rng.integers(2, 8))):
        x, y = rng.uniform(0.2, 0.8, 2)
        if kind == "bar":
            points = [(0.1, y), (0.5, y - rng.uniform(0, 0.1)), (0.9, y)]
        elif kind == "post":
            points = [(x, 0.05), (x + rng.normal(0, 0.03), 0.5), (x + rng.normal(0, 0.1), 0.95)]
        elif kind == "bow":
            points = [(x, 0.1), (x - 0.1, 0.5), (x - rng.uniform(0.2, 0.5), 0.95)]
        elif kind == "hook":
            points = [(0.15, y), (0.8, y), (0.85, y + 0.2), (0.4, 0.95)]
        else:
            points = [(x, y), (x + 0.08, y + 0.08), (x + 0.12, y + 0.15)]
        _stroke(draw, np.array(points), width)


def _rune(draw: ImageDraw.ImageDraw, rng: Random) -> None:
    """A stave, and straight branches that leave it at a slant."""
    width = float(rng.uniform(4.0, 8.0))
    stave = rng.uniform(0.3, 0.7)
    _stroke(draw, np.array([(stave, 0.05), (stave, 0.5), (stave, 0.95)]), width)
    for _ in range(int(rng.integers(1, 4))):
        start, side, rise = rng.uniform(0.05, 0.95), rng.choice((-1, 1)), rng.uniform(-0.4, 0.4)
        points = np.linspace((stave, start), (stave + 0.4 * side, start + rise), 3)
        _stroke(draw, points, width)


def _loop(draw: ImageDraw.ImageDraw, rng: Random) -> None:
    """One or two closed loops that touch, and a tail with a curl."""
    width = float(rng.uniform(4.0, 8.0))
    centres = rng.uniform(0.3, 0.7, (int(rng.integers(1, 3)), 2))
    for centre in centres:
        turns = np.linspace(0, 2 * np.pi, 7) + rng.uniform(0, 6)
        radius = rng.uniform(0.12, 0.28) * rng.uniform(0.7, 1.2, 7)
        radius[-1] = radius[0]
        _stroke(draw, centre + radius[:, None] * np.stack((np.cos(turns), np.sin(turns)), 1), width)
    towards = rng.uniform(0, 2 * np.pi)
    path = [centres[-1] + rng.uniform(0.15, 0.2) * np.array((np.cos(towards), np.sin(towards)))]
    for _ in range(3):
        towards += rng.uniform(-1.2, 1.2)
        path.append(path[-1] + 0.2 * np.array((np.cos(towards), np.sin(towards))))
    _stroke(draw, np.array(path), width)


def _stroke(draw: ImageDraw.ImageDraw, points: Points, width: float) -> None:
    """Draw a smooth stroke through points in 0..1."""
    draw_stroke(draw, curve(points) * 60.0 + 12.0, width)


SCRIPTS: Mapping[str, Callable[[ImageDraw.ImageDraw, Random], None]] = {
    "letters": _letter,
    "kana": _kana,
    "runes": _rune,
    "loops": _loop,
}
