"""Pages of text, and the dirt that scans of them have."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from denoiser.generator.canvas import (
    Array,
    Random,
    Shape,
    blurred,
    clipped,
    field,
    load_font,
    pixel_grid,
    soft_step,
    words,
)


def page(rng: Random, shape: Shape) -> Array:
    """Draw a clean page: a heading, paragraphs of made-up words, now and then a table; paper 1, ink near 0.

    Returns float32 `shape` (H, W).
    """
    height, width = shape
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    body = float(rng.uniform(10.0, 22.0)) if min(shape) < 400 else float(rng.uniform(13.0, 20.0))
    ink = int(rng.integers(0, 50))
    margin = round(width * rng.uniform(0.05, 0.11))
    y = margin
    if rng.random() < 0.7:
        draw.text((margin, y), " ".join(words(rng, 3)).title(), fill=ink, font=load_font(body * 1.7))
        y += round(body * 3.0)
    while y < height - margin - body:
        if rng.random() < 0.15:
            y = _table(draw, rng, (margin, y, width - margin, height - margin), body, ink)
        else:
            y = _paragraph(draw, rng, (margin, y, width - margin, height - margin), body, ink)
        y += round(body * rng.uniform(0.8, 1.6))
    if rng.random() < 0.4:
        image = image.rotate(float(rng.normal(0.0, 0.6)), Image.Resampling.BICUBIC, fillcolor=255)
    return np.asarray(image, dtype=np.float32) / np.float32(255.0)


def _paragraph(
    draw: ImageDraw.ImageDraw, rng: Random, box: tuple[int, int, int, int], body: float, ink: int
) -> int:
    """Set lines of words into the box, from its top; returns where they end."""
    left, y, right, bottom = box
    font = load_font(body)
    lines = int(rng.integers(2, 9))
    for line in range(lines):
        if y + body * 1.2 > bottom:
            break
        text = ""
        for word in words(rng, 40):
            longer = f"{text} {word}".strip()
            if draw.textlength(longer, font=font) > (right - left) * (0.6 if line == lines - 1 else 1.0):
                break
            text = longer + ("," if rng.random() < 0.06 else "")
        draw.text((left, y), text.capitalize() + ("." if line == lines - 1 else ""), fill=ink, font=font)
        y += round(body * 1.45)
    return y


def _table(
    draw: ImageDraw.ImageDraw, rng: Random, box: tuple[int, int, int, int], body: float, ink: int
) -> int:
    left, y, right, bottom = box
    columns, row = int(rng.integers(2, 5)), round(body * 1.7)
    rows = min(int(rng.integers(2, 6)), (bottom - y) // row)
    step = (right - left) / columns
    font = load_font(body * 0.9)
    for line in range(rows + 1):
        draw.line((left, y + line * row, right, y + line * row), fill=ink, width=1)
    for column in range(columns + 1):
        x = left + round(column * step)
        draw.line((x, y, x, y + rows * row), fill=ink, width=1)
        if column < columns:
            for line in range(rows):
                text = words(rng, 1)[0][: max(2, int(step / body))]
                draw.text((x + 4, y + line * row + 3), text, fill=ink, font=font)
    return y + max(rows, 1) * row


def dirt(clean: Array, rng: Random) -> Array:
    """Make a page dirty: grayed paper, and some of stains, rings, folds, a shadow, wrinkles, bleed-through.

    clean: float32 (H, W), paper 1. Returns a new float32 (H, W) in 0..1; pixel noise is not part of it.
    """
    shape = clean.shape[0], clean.shape[1]
    cover = np.full(shape, rng.uniform(0.82, 0.98), dtype=np.float32)
    cover -= np.float32(rng.uniform(0.02, 0.1)) * field(
        rng, shape, cell=max(shape) / 3, octaves=6, rough=0.55
    )
    makers = (_stains, _rings, _folds, _shadow, _wrinkles)
    chosen = rng.random(len(makers)) < 0.5
    chosen[rng.integers(len(makers))] = True
    for make, wanted in zip(makers, chosen, strict=True):
        if wanted:
            cover *= make(rng, shape)
    ink = clean
    if rng.random() < 0.5:
        behind = blurred(np.ascontiguousarray(page(rng, shape)[:, ::-1]), float(rng.uniform(0.8, 1.6)))
        ink = ink * (1.0 - np.float32(rng.uniform(0.05, 0.22)) * (1.0 - behind))
    faded = np.float32(rng.uniform(0.0, 0.12))
    return clipped((faded + (1.0 - faded) * ink) * cover)


def _stains(rng: Random, shape: Shape) -> Array:
    """Blots with uneven rims, darker at the edge where they dried."""
    y, x = pixel_grid(shape)
    result = np.ones(shape, dtype=np.float32)
    for _ in range(int(rng.integers(1, 5))):
        size = rng.uniform(0.06, 0.25) * min(shape)
        away = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])) / size
        away += np.float32(0.7) * (field(rng, shape, cell=size, octaves=4) - np.float32(0.5))
        inside = soft_step(away, 1.0, 30.0)
        rim = np.exp(-(((away - 0.96) / 0.06) ** 2))
        result *= (
            1.0 - np.float32(rng.uniform(0.06, 0.25)) * inside - np.float32(rng.uniform(0.05, 0.2)) * rim
        )
    return result


def _rings(rng: Random, shape: Shape) -> Array:
    """What a cup leaves."""
    y, x = pixel_grid(shape)
    result = np.ones(shape, dtype=np.float32)
    for _ in range(int(rng.integers(1, 3))):
        radius = rng.uniform(0.12, 0.28) * min(shape)
        down, right = y - rng.uniform(0.1, 0.9) * shape[0], x - rng.uniform(0.1, 0.9) * shape[1]
        patchy = field(rng, shape, cell=radius, octaves=5)
        width = radius * (0.03 + 0.05 * patchy)
        ring = np.exp(-(((np.hypot(down, right) - radius) / width) ** 2)) * (0.3 + 0.7 * patchy)
        result *= (1.0 - np.float32(rng.uniform(0.25, 0.5)) * ring).astype(np.float32)
    return result


def _folds(rng: Random, shape: Shape) -> Array:
    """Creases across the page: a dark or light line, one side of it in shade."""
    y, x = pixel_grid(shape)
    result = np.ones(shape, dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.choice([0.0, math.pi / 2]) + rng.normal(0.0, 0.06)
        away = (y - rng.uniform(0.15, 0.85) * shape[0]) * math.cos(angle) + (
            x - rng.uniform(0.15, 0.85) * shape[1]
        ) * math.sin(angle)
        shade = np.where(away > 0, np.exp(-away / rng.uniform(8.0, 40.0)), 0.0)
        line = np.exp(-((away / rng.uniform(0.7, 1.6)) ** 2))
        result *= (1.0 - rng.uniform(0.04, 0.16) * shade - rng.uniform(-0.05, 0.3) * line).astype(np.float32)
    return result


def _shadow(rng: Random, shape: Shape) -> Array:
    """Light that falls off towards a side or corner, as near a book's spine."""
    y, x = pixel_grid(shape)
    angle = rng.uniform(0.0, 2 * math.pi)
    along = (y / shape[0] - 0.5) * math.sin(angle) + (x / shape[1] - 0.5) * math.cos(angle) + 0.5
    fall = np.clip(along, 0.0, 1.0) ** np.float32(rng.uniform(1.0, 4.0))
    return (1.0 - np.float32(rng.uniform(0.1, 0.4)) * fall).astype(np.float32)


def _wrinkles(rng: Random, shape: Shape) -> Array:
    """Crumpled paper: ridges of fractal noise, lit from one side."""
    ridges = 1.0 - np.abs(2.0 * field(rng, shape, cell=min(shape) / 3, octaves=4) - 1.0)
    slope = np.gradient(blurred(ridges.astype(np.float32), 1.0), axis=int(rng.integers(2)))
    slope /= np.float32(np.abs(slope).max() + 1e-6)
    return (1.0 - np.float32(rng.uniform(0.1, 0.3)) * np.maximum(slope, -0.3)).astype(np.float32)
