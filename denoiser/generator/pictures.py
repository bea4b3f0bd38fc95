"""Pictures of many kinds: shapes, textures, micrographs, landscapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from denoiser._types import Floats
from denoiser.generator.canvas import (
    Random,
    Shape,
    blurred,
    clipped,
    field,
    filaments,
    pixel_grid,
    soft_step,
    words,
)


def shapes(rng: Random, shape: Shape) -> Floats:
    """Draw polygons, ellipses, lines and letters of all grays on a gradient, with smooth edges; (H, W)."""
    height, width = shape
    fine = Image.new("L", (2 * width, 2 * height), int(rng.integers(0, 256)))
    draw = ImageDraw.Draw(fine)
    for _ in range(int(rng.integers(8, 40))):
        gray = int(rng.integers(0, 256))
        x, y = rng.uniform(0, 2 * width), rng.uniform(0, 2 * height)
        size = rng.uniform(0.02, 0.4) * 2 * min(shape)
        corners = [
            (float(x + size * math.cos(a) * r), float(y + size * math.sin(a) * r))
            for a, r in zip(np.sort(rng.uniform(0, 2 * math.pi, 5)), rng.uniform(0.4, 1.0, 5), strict=True)
        ]
        kind = rng.integers(5)
        if kind == 0:
            draw.polygon(corners, fill=gray)
        elif kind == 1:
            draw.ellipse((x - size, y - size * 0.6, x + size, y + size * 0.6), fill=gray)
        elif kind == 2:
            draw.line([*corners], fill=gray, width=int(rng.integers(1, 12)), joint="curve")
        elif kind == 3:
            draw.rectangle((x, y, x + size, y + size * float(rng.uniform(0.2, 1.5))), fill=gray)
        else:
            text, size = " ".join(words(rng, 2)), float(rng.uniform(16, 70))
            draw.text((x, y), text, fill=gray, font=ImageFont.load_default(size))
    result = np.asarray(fine.reduce(2), dtype=np.float32) / np.float32(255.0)
    light = field(rng, shape, cell=max(shape), octaves=1) - np.float32(0.5)
    result = blurred(result, float(rng.choice([0.0, 0.5, 1.0, 2.0])))
    return clipped(result + np.float32(rng.uniform(0.0, 0.5)) * light)


def textures(rng: Random, shape: Shape) -> Floats:
    """Two textures side by side under a soft mask: clouds, waves, tiles, fibres or cells; (H, W)."""
    makers: tuple[Callable[[Random, Shape], Floats], ...] = (_clouds, _waves, _tiles, _fibres, _voronoi)
    first, second = (makers[index](rng, shape) for index in rng.integers(0, len(makers), 2))
    hills = field(rng, shape, cell=max(shape) / 2, octaves=3)
    mask = soft_step(hills, 0.5, -40.0)
    low, high = np.sort(rng.uniform(0.0, 1.0, 2)) * (1.0, 0.7) + (0.0, 0.3)
    mixed = first * mask + second * (1.0 - mask)
    return clipped(low + (high - low) * mixed)


def _clouds(rng: Random, shape: Shape) -> Floats:
    return field(rng, shape, cell=float(rng.uniform(8, 120)), octaves=7, rough=float(rng.uniform(0.35, 0.75)))


def _waves(rng: Random, shape: Shape) -> Floats:
    """Draw bent stripes, from sine to square waves."""
    y, x = pixel_grid(shape)
    angle, period = rng.uniform(0, math.pi), rng.uniform(4.0, 30.0)
    bend = field(rng, shape, cell=float(rng.uniform(40, 150)), octaves=2) * np.float32(rng.uniform(0, 40))
    phase = 2 * math.pi * (y * math.sin(angle) + x * math.cos(angle) + bend) / period
    return np.asarray(0.5 + 0.5 * np.tanh(np.sin(phase) * rng.uniform(0.5, 5.0)), dtype=np.float32)


def _tiles(rng: Random, shape: Shape) -> Floats:
    """Draw a wall of bricks, each in its own gray."""
    y, x = pixel_grid(shape)
    high, wide = rng.uniform(6, 30), rng.uniform(8, 50)
    row = np.floor(y / high).astype(int)
    column = np.floor(x / wide + 0.5 * (row % 2)).astype(int)
    grays = rng.uniform(0.3, 1.0, (int(row.max()) + 1, int(column.max()) + 1)).astype(np.float32)
    joint = (y % high < 1.5) | ((x + 0.5 * wide * (row % 2)) % wide < 1.5)
    grain = np.float32(0.15) * field(rng, shape, cell=6, octaves=3)
    return blurred(np.where(joint, np.float32(0.05), grays[row, column] * (0.85 + grain)), 0.5)


def _fibres(rng: Random, shape: Shape) -> Floats:
    image = Image.new("L", (2 * shape[1], 2 * shape[0]), 0)
    draw = ImageDraw.Draw(image)
    filaments(draw, rng, shape, number=int(rng.integers(30, 150)), width=6)
    return np.asarray(image.reduce(2), dtype=np.float32) / np.float32(255.0)


def _voronoi(rng: Random, shape: Shape) -> Floats:
    """Draw cells with dark walls, as of plants or cracked mud."""
    y, x = pixel_grid(shape)
    number = int(np.clip(shape[0] * shape[1] / rng.uniform(300, 3000), 4, 60))
    nearest, second = np.full(shape, np.inf, np.float32), np.full(shape, np.inf, np.float32)
    gray = np.zeros(shape, dtype=np.float32)
    for _ in range(number):
        away = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        closer = away < nearest
        second = np.where(closer, nearest, np.minimum(second, away))
        gray[closer] = rng.uniform(0.3, 1.0)
        nearest = np.where(closer, away, nearest)
    wall = np.clip((second - nearest) / np.float32(rng.uniform(1.0, 4.0)), 0.0, 1.0)
    return blurred((gray * wall).astype(np.float32), 0.6)


def micrograph(rng: Random, shape: Shape) -> Floats:
    """Draw a fluorescence micrograph: threads, cells with nuclei, dots, uneven light; (H, W)."""
    threads = Image.new("L", (2 * shape[1], 2 * shape[0]), 0)
    draw = ImageDraw.Draw(threads)
    filaments(draw, rng, shape, number=max(6, shape[0] * shape[1] // 2500), width=4)
    drawn = np.asarray(threads.reduce(2), dtype=np.float32) / np.float32(255.0)
    result = np.float32(0.55) * blurred(drawn, 0.9)
    for _ in range(max(2, shape[0] * shape[1] // 20000)):
        _cell(result, rng, float(rng.uniform(0.05, 0.1) * min(max(shape), 512)))
    dots = np.zeros(shape, dtype=np.float32)
    number = max(3, shape[0] * shape[1] // 4000)
    dots[rng.integers(0, shape[0], number), rng.integers(0, shape[1], number)] = rng.uniform(
        3.0, 12.0, number
    )
    light = np.float32(0.65) + np.float32(0.35) * field(rng, shape, cell=max(shape), octaves=2)
    return clipped((result + blurred(dots, 1.3)) * light + 0.03)


def _cell(image: Floats, rng: Random, size: float) -> None:
    """Draw a cell of about this radius at a random point: a lobed body with a bright, round nucleus."""
    reach = math.ceil(1.7 * size)
    middle = [int(rng.integers(0, side)) for side in image.shape]
    top, left = (max(0, center - reach) for center in middle)
    part = image[top : middle[0] + reach, left : middle[1] + reach]
    y, x = pixel_grid((part.shape[0], part.shape[1]))
    down, right = y - (middle[0] - top), x - (middle[1] - left)
    angle, squeeze = rng.uniform(0, math.pi), rng.uniform(0.6, 1.0)
    along = (right * math.cos(angle) + down * math.sin(angle)) / size
    across = (down * math.cos(angle) - right * math.sin(angle)) / (size * squeeze)
    away = np.hypot(along, across)
    body = soft_step(away + 0.12 * np.sin(3 * np.arctan2(across, along) + angle), 1.0, 14.0)
    nucleus = soft_step(away, 0.4, 26.0)
    grain = field(rng, (part.shape[0], part.shape[1]), cell=size / 3, octaves=4)
    part *= 1.0 - 0.55 * body
    part += 0.3 * body * (0.6 + 0.6 * grain) + 0.45 * nucleus * (0.5 + 0.6 * grain)


def scene(rng: Random, shape: Shape) -> Floats:
    """Draw a landscape: sky, hills in haze, trees, and water that mirrors them; (H, W)."""
    height, width = shape
    shore = int(height * rng.uniform(0.62, 0.72))
    land = (shore, width)
    y, x = pixel_grid(land)
    sun = rng.uniform(0.15, 0.85) * width, rng.uniform(0.1, 0.4) * shore
    away = np.hypot(x - sun[0], y - sun[1]) / max(shape)
    sky = 0.5 + 0.3 * y / shore + 0.3 * np.exp(-away * 5.0) + 0.4 * soft_step(away, 0.035, 400.0)
    clouds = field(rng, land, cell=width / 3, octaves=6)
    above = (sky + 0.35 * np.clip(clouds - 0.45, 0.0, 1.0) * (1.0 - y / shore)).astype(np.float32)
    ridges = 4
    for index in range(ridges):
        near = index / (ridges - 1)
        profile = field(rng, (2, width), cell=width / (2.0 + 2.0 * near), octaves=7, rough=0.48)[0]
        top = shore * (0.38 + 0.42 * near) - shore * (0.3 - 0.12 * near) * (profile - 0.5)
        grain = field(rng, land, cell=24.0 - 14.0 * near, octaves=5, rough=0.7)
        slope = np.gradient(blurred(np.tile(profile, (2, 1)), 2.0)[0]) * width * 0.03
        tone = (
            0.62 - 0.5 * near + (0.1 + 0.18 * near) * (grain - 0.5) + 0.08 * slope + 0.1 * (y - top) / shore
        )
        edge = np.clip(y - top + 0.5, 0.0, 1.0)
        above = (above * (1.0 - edge) + edge * tone).astype(np.float32)
    above = _forest(above, rng)
    water = _mirrored(above, height - shore, rng)
    return clipped(np.concatenate([above, water]))


def _forest(land: Floats, rng: Random) -> Floats:
    """Draw conifers along the shore, dark against the hills."""
    height, width = land.shape
    mask = Image.new("L", (2 * width, 2 * height), 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(max(6, width // 9)):
        x, tall = (
            rng.uniform(0, 2 * width),
            rng.uniform(0.1, 0.34) * height * rng.choice([0.6, 1.0, 1.0, 1.5]),
        )
        foot = 2 * height - rng.uniform(0, 0.04) * height
        branches = 7
        for branch in range(branches):
            low = foot - tall * 1.6 * branch / branches
            half = tall * 0.34 * (1.0 - branch / branches) * rng.uniform(0.8, 1.2)
            lean = rng.normal(0, 1.5)
            draw.polygon(
                [(x - half, low), (x + half, low), (x + lean, low - tall * 0.55)],
                fill=int(rng.integers(200, 256)),
            )
    cover = np.asarray(mask.reduce(2), dtype=np.float32) / np.float32(255.0)
    needles = np.float32(0.05) + np.float32(0.16) * field(rng, land.shape, cell=5, octaves=3, rough=0.8)
    return np.asarray(land * (1.0 - cover) + needles * cover, dtype=np.float32)


def _mirrored(land: Floats, rows: int, rng: Random) -> Floats:
    """Return the land in water: upside down, darker, shifted by ripples that grow towards the viewer."""
    width = land.shape[1]
    y, x = pixel_grid((rows, width))
    ripples = field(rng, (rows, width), cell=max(4.0, rows / 12), octaves=3) - np.float32(0.5)
    ripples = blurred(np.repeat(ripples[:, ::8], 8, axis=1)[:, :width], 2.0)
    far = y / max(rows, 1)
    source_y = land.shape[0] - 1 - np.clip(y * 1.1 + ripples * 26.0 * far, 0, land.shape[0] - 1)
    source_x = np.clip(x + ripples * 10.0 * far, 0, width - 1)
    seen = land[source_y.astype(int), source_x.astype(int)]
    glitter = np.clip(ripples - 0.12, 0.0, 1.0) * far
    return np.asarray(0.72 * seen + 0.04 + 0.5 * glitter, dtype=np.float32)
