"""Pictograms, as on buttons and maps: small images that are not glyphs."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from denoiser._types import Floats
from denoiser.generator.canvas import Random, Shape

_FINE = 4

#: Each icon is a list of strokes: the tool, the gray (`ink` or `ground`), and the points, x right and y down,
#: in hundredths of the icon's side.
_ICONS: dict[str, tuple[str, ...]] = {
    "house": ("area ink 0,50 50,0 100,50", "box ink 15,50 85,100", "box ground 40,65 60,100"),
    "envelope": ("frame ink 0,20 100,80", "line ink 0,20 50,55 100,20"),
    "folder": ("area ink 0,15 40,15 50,28 100,28 100,88 0,88", "line ground 0,42 100,42"),
    "gear": (
        "bold ink 50,2 50,98", "bold ink 2,50 98,50", "bold ink 16,16 84,84", "bold ink 84,16 16,84",
        "disc ink 16,16 84,84", "disc ground 36,36 64,64",
    ),
    "magnifier": ("ring ink 0,0 68,68", "bold ink 58,58 100,100"),
    "arrow": ("area ink 0,35 50,35 50,5 100,50 50,95 50,65 0,65",),
    "star": ("area ink 50,0 62,34 98,35 69,56 79,90 50,70 21,90 31,56 2,35 38,34",),
    "bars": ("box ink 0,60 18,100", "box ink 26,30 44,100", "box ink 52,45 70,100", "box ink 78,0 96,100"),
    "menu": ("bold ink 0,20 100,20", "bold ink 0,50 100,50", "bold ink 0,80 100,80"),
    "picture": ("frame ink 0,10 100,90", "disc ink 62,20 82,40", "area ink 5,85 35,40 55,65 70,55 95,85"),
    "tiles": tuple(f"box ink {x},{y} {x + 26},{y + 26}" for x in (0, 36, 72) for y in (0, 36, 72)),
    "play": ("disc ink 0,0 100,100", "area ground 38,25 38,75 78,50"),
    "clock": ("ring ink 0,0 100,100", "line ink 50,15 50,50 75,65"),
    "lock": ("ring ink 22,0 78,70", "box ink 10,42 90,100", "disc ground 40,58 60,78"),
    "flag": ("line ink 12,0 12,100", "area ink 12,5 95,25 12,50"),
    "save": ("box ink 0,0 100,100", "box ground 25,0 75,30", "disc ground 30,46 70,86"),
}  # fmt: skip


def icon(rng: Random, shape: Shape) -> Floats:
    """Draw one of sixteen pictograms in random grays and size, dark on light or light on dark.

    Returns float32 `shape` (H, W), 0..1.
    """
    height, width = shape
    grays = [int(gray) for gray in rng.permutation([rng.integers(0, 90), rng.integers(165, 256)])]
    gray = {"ground": grays[0], "ink": grays[1]}
    image = Image.new("L", (_FINE * width, _FINE * height), gray["ground"])
    draw = ImageDraw.Draw(image)
    side = _FINE * min(shape) * rng.uniform(0.6, 0.95)
    corner = np.array([_FINE * width - side, _FINE * height - side]) / 2
    pen = max(2, round(side * rng.uniform(0.05, 0.12)))
    for stroke in list(_ICONS.values())[rng.integers(len(_ICONS))]:
        tool, color, *pairs = stroke.split()
        known = np.array([pair.split(",") for pair in pairs], dtype=np.float64) / 100.0
        _draw(draw, tool, [(float(x), float(y)) for x, y in corner + side * known], gray[color], pen)
    return np.asarray(image.reduce(_FINE), dtype=np.float32) / np.float32(255.0)


def _draw(
    draw: ImageDraw.ImageDraw, tool: str, points: list[tuple[float, float]], gray: int, pen: int
) -> None:
    if tool == "area":
        draw.polygon(points, fill=gray)
    elif tool == "box":
        draw.rectangle(points, fill=gray)
    elif tool == "frame":
        draw.rectangle(points, outline=gray, width=pen)
    elif tool == "disc":
        draw.ellipse(points, fill=gray)
    elif tool == "ring":
        draw.ellipse(points, outline=gray, width=pen)
    else:
        draw.line(points, fill=gray, width=2 * pen if tool == "bold" else pen, joint="curve")
