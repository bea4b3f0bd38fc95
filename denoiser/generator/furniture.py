"""The parts of pages that are not text: pictures, graphs, rules, handwriting, stamps, pencil."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from denoiser._types import Floats
from denoiser.generator.canvas import Random, Shape, cloud, curve, draw_stroke, pixel_grid
from denoiser.generator.fonts import sized
from denoiser.generator.text import prose

Box = tuple[int, int, int, int]


def photograph(rng: Random, shape: Shape) -> Floats:
    """Draw forms in the gray tones of a photograph, under light from one side; float32 (H, W) in 0..1."""
    y, x = pixel_grid(shape)
    low, high = np.sort(rng.uniform(0.0, 1.0, 2))
    if high - low < 0.45:
        low, high = max(0.0, low - 0.3), min(1.0, high + 0.3)
    down, right = rng.normal(0.0, 0.8, 2)
    result = cloud(
        rng, shape, cell=max(shape) / rng.uniform(1, 4), octaves=7, rough=float(rng.uniform(0.5, 0.75))
    )
    result += np.float32(down / shape[0]) * y + np.float32(right / shape[1]) * x
    for _ in range(int(rng.integers(0, 7))):
        middle, radius = rng.uniform(0, 1, 2) * shape, rng.uniform(0.05, 0.4) * max(shape)
        form = np.abs((y - middle[0]) * rng.uniform(0.6, 1.6)) ** 2 + (x - middle[1]) ** 2 < radius**2
        if rng.random() < 0.4:
            form = (np.abs(y - middle[0]) < radius) & (np.abs(x - middle[1]) < radius * rng.uniform(0.2, 1.0))
        result[form] += np.float32(rng.normal(0.0, 1.0))
    result -= result.min()
    result *= np.float32((high - low) / max(float(result.max()), 1e-6))
    return result + np.float32(low)


def halftone(rng: Random, tones: Floats) -> Floats:
    """Print gray tones as dots on a turned grid, larger where it is darker; float32 (H, W) in 0..1."""
    y, x = pixel_grid((tones.shape[0], tones.shape[1]))
    wave, turn = 2.0 * math.pi / float(rng.uniform(2.6, 8.0)), float(rng.uniform(0.0, math.pi / 2))
    along = x * np.float32(wave * math.cos(turn)) + y * np.float32(wave * math.sin(turn))
    across = y * np.float32(wave * math.cos(turn)) - x * np.float32(wave * math.sin(turn))
    # The mean of the two waves has a peak where a dot is, and a valley between four dots.
    dots = np.float32(0.5) + np.float32(0.25) * (np.cos(along) + np.cos(across))
    return _printed(rng, tones - dots)


def engraving(rng: Random, tones: Floats) -> Floats:
    """Draw gray tones by bent lines, wider where it is darker, and crossed in the shadows; 0..1."""
    shape = tones.shape[0], tones.shape[1]
    y, x = pixel_grid(shape)
    bend = cloud(rng, shape, cell=max(shape) / float(rng.uniform(1.0, 4.0)), octaves=3)
    pitch, turn = float(rng.uniform(2.8, 9.0)), float(rng.uniform(0.0, math.pi))
    lines = np.zeros(shape, dtype=np.float32)
    for crossed in range(2):
        angle = turn + crossed * float(rng.uniform(0.7, 1.6))
        phase = x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle)) + bend * np.float32(pitch)
        wave = np.float32(0.5) + np.float32(0.5) * np.cos(phase * np.float32(2.0 * math.pi / pitch))
        # Only the darker half of the tones has the second set of lines.
        np.maximum(lines, wave * np.float32(1.0 - 0.5 * crossed), out=lines)
    return _printed(rng, tones - lines)


def _printed(rng: Random, above: Floats) -> Floats:
    """Return ink where `above` is negative and paper where it is positive, with soft edges."""
    ink = np.float32(rng.uniform(0.0, 0.2))
    cover = np.clip(0.5 + above * np.float32(rng.uniform(1.5, 4.0)), 0.0, 1.0)
    return np.asarray(ink + (1.0 - ink) * cover, dtype=np.float32)


def picture(image: Image.Image, rng: Random, box: Box) -> None:
    """Draw a photograph, a halftone or an engraving into the box, with or without a frame."""
    width, height = box[2] - box[0], box[3] - box[1]
    if width < 8 or height < 8:
        return
    half = photograph(rng, ((height + 1) // 2, (width + 1) // 2))
    gray = Image.fromarray(np.rint(half * 255.0).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    kind = rng.random()
    if kind < 0.4:
        draw = halftone if kind < 0.2 else engraving
        printed = draw(rng, np.asarray(gray, dtype=np.float32) / np.float32(255.0))
        gray = Image.fromarray(np.rint(printed * 255.0).astype(np.uint8))
    image.paste(gray, box[:2])
    if rng.random() < 0.4:
        ImageDraw.Draw(image).rectangle(box, outline=int(rng.integers(0, 120)), width=int(rng.integers(1, 4)))


def rules(image: Image.Image, rng: Random, box: Box, body: int, ink: int) -> int:
    """Draw a rule, dotted line, solid bar or form lines; returns the y of their end."""
    left, y, right, _ = box
    draw = ImageDraw.Draw(image)
    kind = rng.random()
    if kind < 0.3:
        draw.line((left, y, right, y), fill=ink, width=max(1, round(body * rng.uniform(0.04, 0.25))))
        return y + body // 2
    if kind < 0.5:
        high = round(body * rng.uniform(0.3, 2.0))
        draw.rectangle((left, y, right, y + high), fill=ink)
        return y + high
    if kind < 0.65:
        for x in range(left, right, max(2, body // 4)):
            draw.line((x, y, x + max(1, body // 10), y), fill=ink, width=max(1, body // 12))
        return y + body // 2
    step = round(body * rng.uniform(1.3, 2.0))
    gray = int(rng.integers(ink, 200))
    for _ in range(int(rng.integers(2, 7))):
        draw.line((left, y, right, y), fill=gray, width=max(1, body // 16))
        y += step
    return y


def graph(image: Image.Image, rng: Random, box: Box, body: int, ink: int) -> int:
    """Draw axes with curves or bars; returns the y of their end."""
    left, y, right, _ = box
    draw = ImageDraw.Draw(image)
    high, wide = round(body * rng.uniform(5, 10)), max(1, round((right - left) * rng.uniform(0.4, 1.0)))
    line = max(1, body // 12)
    draw.line((left, y, left, y + high, left + wide, y + high), fill=ink, width=line)
    if rng.random() < 0.4:
        number = int(rng.integers(4, 12))
        for index, level in enumerate(rng.uniform(0.1, 1.0, number)):
            x = left + wide * (index + 0.2) / number
            fill = int(rng.integers(0, 220))
            draw.rectangle(
                (x, y + high * (1 - level), x + 0.6 * wide / number, y + high), fill=fill, outline=ink
            )
        return y + high
    for _ in range(int(rng.integers(1, 4))):
        along = np.linspace(left, left + wide, 9)
        heights = y + high * np.clip(0.5 + np.cumsum(rng.normal(0, 0.13, 9)), 0.0, 1.0)
        draw_stroke(
            draw,
            curve(np.stack([along, heights], axis=1)),
            line * rng.uniform(1, 2),
            int(rng.integers(0, 150)),
        )
    return y + high


def written(image: Image.Image, rng: Random, box: Box, body: int) -> int:
    """Draw a few words as if written by hand; returns the y of their end."""
    left, y, right, bottom = box
    draw = ImageDraw.Draw(image)
    ink, width = int(rng.integers(0, 130)), body * rng.uniform(0.04, 0.12)
    for _ in range(int(rng.integers(1, 3))):
        x = left + body * rng.uniform(0, 3)
        while x < right - 4 * body and y < bottom:
            letters = int(rng.integers(2, 9))
            points = _scrawl(rng, letters) * (body * 0.55, body * 0.6) + (x, y + body)
            draw_stroke(draw, curve(points, fine=6), width, ink)
            x = float(points[:, 0].max()) + body * rng.uniform(0.5, 1.0)
            if rng.random() < 0.25:
                break
        y += round(1.9 * body)
    return y


def _scrawl(rng: Random, letters: int) -> npt.NDArray[np.float64]:
    """Return the points of a joined-up word about 1 high: loops, some of them reaching up or down."""
    number = 4 * letters
    x = np.arange(number) * 0.25 + rng.normal(0.0, 0.08, number)
    y = np.where(np.arange(number) % 2, 0.0, -0.8) + rng.normal(0.0, 0.08, number)
    tall = rng.random(number) < 0.12
    y[tall] += np.where(rng.random(int(tall.sum())) < 0.6, -0.9, 0.8)
    return np.stack([x + 0.15 * y, y], axis=1)


def notes(rng: Random, shape: Shape, body: int) -> Floats:
    """Draw thin notes, lines and circles as of a pencil; float32 (H, W), strokes 0 on 1."""
    image = Image.new("L", (shape[1], shape[0]), 255)
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() < 0.6:
            y = int(rng.integers(0, shape[0]))
            left = int(rng.integers(-2 * body, max(1, shape[1] - 2 * body)))
            written(image, rng, (left, y, shape[1] + 4 * body, shape[0]), body)
        else:
            _pencil(image, rng, body)
    strokes = 1.0 - np.asarray(image, dtype=np.float32) / np.float32(255.0)
    # All strokes are equally dark here: what is drawn with them decides how dark they are.
    return np.asarray(1.0 - strokes / max(float(strokes.max()), 1e-6), dtype=np.float32)


def overlay(image: Image.Image, rng: Random, body: int) -> None:
    """Draw a stamp, pencil strokes or a signature over the page."""
    kind = rng.random()
    if kind < 0.4:
        _stamp(image, rng, body)
    elif kind < 0.8:
        _pencil(image, rng, body)
    else:
        y = int(rng.integers(0, image.height))
        written(
            image, rng, (int(rng.integers(0, image.width)), y, image.width + 6 * body, image.height), 2 * body
        )


def _darken(image: Image.Image, layer: Image.Image, at: tuple[int, int]) -> None:
    """Put a layer of ink (255 is none) over the image; the darker pixel of the two stays."""
    ground = image.crop((*at, at[0] + layer.width, at[1] + layer.height))
    darker = np.minimum(np.asarray(ground), np.asarray(layer))
    image.paste(Image.fromarray(darker), at)


def _stamp(image: Image.Image, rng: Random, body: int) -> None:
    size = round(body * rng.uniform(4, 8))
    layer = Image.new("L", (size, size), 255)
    draw = ImageDraw.Draw(layer)
    ink, line = int(rng.integers(60, 170)), max(1, size // 24)
    font = sized(None, max(6, size // 6))
    text = prose(rng, 2, accents=False)
    if rng.random() < 0.5:
        draw.ellipse((line, line, size - line, size - line), outline=ink, width=line)
        if rng.random() < 0.6:
            draw.ellipse((size // 6, size // 6, size - size // 6, size - size // 6), outline=ink, width=line)
    else:
        draw.rectangle((line, size // 4, size - line, size - size // 4), outline=ink, width=line)
    draw.text((size / 2, size / 2), "\n".join(text).upper(), fill=ink, font=font, anchor="mm", align="center")
    turned = layer.rotate(float(rng.normal(0, 15)), Image.Resampling.BICUBIC, fillcolor=255)
    at = (int(rng.integers(0, max(1, image.width - size))), int(rng.integers(0, max(1, image.height - size))))
    _darken(image, turned, at)


def _pencil(image: Image.Image, rng: Random, body: int) -> None:
    """Draw light strokes: lines under and beside text, and circles."""
    layer = Image.new("L", image.size, 255)
    draw = ImageDraw.Draw(layer)
    gray, width = int(rng.integers(100, 205)), max(1.0, body * rng.uniform(0.04, 0.12))
    for _ in range(int(rng.integers(1, 6))):
        start = rng.uniform(0, 1, 2) * image.size
        reach = body * rng.uniform(2, 12)
        if rng.random() < 0.3:
            turn = np.linspace(0, 2.1 * math.pi, 12)
            points = start + np.stack([np.cos(turn) * reach, np.sin(turn) * reach * 0.4], axis=1)
        else:
            angle = rng.choice([0.0, 0.0, 0.8, math.pi / 2]) + rng.normal(0, 0.05)
            points = start + np.linspace(0, 1, 5)[:, None] * reach * np.array(
                [math.cos(angle), math.sin(angle)]
            )
        draw_stroke(draw, curve(points + rng.normal(0, 0.06 * body, points.shape)), width, gray)
    _darken(image, layer, (0, 0))
