"""Clean pages: text in many fonts and sizes, tables, boxes, pictures, stamps, pencil, handwriting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from denoiser._types import Floats
from denoiser.generator import furniture
from denoiser.generator.canvas import Random, Shape, cloud
from denoiser.generator.fonts import Face, choose_font
from denoiser.generator.text import number_text, prose

Box = tuple[int, int, int, int]

_FAINTEST, _FAINT = 12.0, 60.0
"""Range of how much darker than the paper faint print is, in levels of 255."""


def page(rng: Random, shape: Shape, *, system_fonts: bool = True) -> Floats:
    """Draw a clean page, or a piece of one: mostly text, sometimes tables, pictures and other parts.

    On a part of the pages the print or some of it is faint, or there are pencil notes: sharp strokes that are
    only 12 to 60 of 255 levels darker than the paper.

    system_fonts: whether to use the installed fonts beside Pillow's own; the result of a seed then depends on
    the machine. Returns float32 `shape` (H, W): paper exactly 1, ink 0 or somewhat lighter.
    """
    # Letters that are drawn at twice the size and reduced have the soft edges of scanned ones.
    body = float(np.exp(rng.uniform(math.log(9.0), math.log(56.0)))) if rng.random() < 0.35 else 0.0
    body = body or float(np.clip(np.exp(rng.normal(math.log(17.0), 0.3)), 8.0, 40.0))
    scale = 2 if body < 24.0 and rng.random() < 0.6 else 1
    style = _style(rng, body * scale, system_fonts=system_fonts)
    image = Image.new("L", (scale * shape[1], scale * shape[0]), 255)
    _Page(image, rng, style).fill()
    if rng.random() < 0.25:
        image = _bent(image, rng, slanted=rng.random() < 0.4)
    if scale > 1:
        image = image.reduce(scale)
    return _faint(_inked(image, rng), rng, style.body // scale)


def _faint(drawn: Floats, rng: Random, body: int) -> Floats:
    """Make a page faint, or a part of it, or add faint notes; float32 (H, W), a new array or the same."""
    kind = rng.random()
    height, width = drawn.shape
    if kind < 0.2:
        drawn = 1.0 - _depth(rng) * (1.0 - drawn)
    elif kind < 0.42:
        top, left = (int(rng.integers(0, side)) for side in (height, width))
        high, wide = (int(side * rng.uniform(0.2, 1.0)) for side in (height, width))
        part = np.s_[max(0, top - high // 2) : top + high // 2, max(0, left - wide // 2) : left + wide // 2]
        drawn[part] = 1.0 - _depth(rng) * (1.0 - drawn[part])
    if rng.random() < 0.25:
        layer = furniture.notes(rng, (height, width), max(6, body))
        drawn = drawn * (1.0 - _depth(rng) * (1.0 - layer))
    return np.asarray(drawn, dtype=np.float32)


def _depth(rng: Random) -> np.float32:
    """Return how much darker than the paper faint strokes are, on 0..1."""
    return np.float32(rng.uniform(_FAINTEST, _FAINT) / 255.0)


def _bent(image: Image.Image, rng: Random, *, slanted: bool) -> Image.Image:
    """Turn the page a little, or slant its letters."""
    lean = float(rng.uniform(-0.1, 0.35)) if slanted else 0.0
    turn = float(rng.normal(0.0, 0.012))
    width, height = image.size
    matrix = (1.0, turn + lean, -(turn + lean) * height / 2, -turn, 1.0, turn * width / 2)
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=255
    )


def _inked(image: Image.Image, rng: Random) -> Floats:
    """Make letters thinner or bolder by their gray edges, and soften them like a scanner's optics."""
    draw = rng.random(3)
    if draw[0] < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.75))))
    weight = float(np.exp(rng.normal(0.0, 0.3))) if draw[1] < 0.6 else 1.0
    levels = np.arange(256) / 255.0
    cover = 1.0 - (1.0 - levels) ** weight
    if draw[0] < 0.35:
        # Blur makes thin strokes gray; a scanner's software raises the contrast again.
        cover = np.clip((cover - 0.5) * rng.uniform(1.0, 1.5) + 0.5 + rng.uniform(-0.05, 0.1), 0.0, 1.0)
        cover[255] = 1.0
    result = np.asarray(cover, dtype=np.float32)[np.asarray(image)]
    if draw[2] < 0.07:
        # A scan in black and white only: the gray edges become ragged.
        noise = cloud(rng, (image.height, image.width), cell=2.0, octaves=2, rough=1.0)
        result = np.asarray(result > 0.5 + np.clip(0.12 * noise, -0.4, 0.4), dtype=np.float32)
    return np.asarray(result, dtype=np.float32)


@dataclass(frozen=True)
class _Style:
    """The typography of a page."""

    font: str | None
    heading: str | None
    body: int
    leading: float
    ink: int
    bold: int
    justified: bool


def _style(rng: Random, body: float, *, system_fonts: bool) -> _Style:
    font = choose_font(rng, system=system_fonts)
    return _Style(
        font=font,
        heading=choose_font(rng, system=system_fonts) if rng.random() < 0.5 else font,
        body=max(6, round(body)),
        leading=float(rng.choice([1.15, 1.25, 1.4, 1.7, 2.1], p=[0.25, 0.3, 0.25, 0.12, 0.08])),
        ink=_ink(rng),
        bold=1 if body > 15 and rng.random() < 0.12 else 0,
        justified=bool(rng.random() < 0.5),
    )


def _ink(rng: Random) -> int:
    """Return the gray of the print, of 255: mostly black itself, some near it, a fifth up to 119.

    Where dirt has lifted the ink, nothing else tells how black it was. If it were evenly spread, it would
    come out as its mean.
    """
    if rng.random() < 0.8:
        return max(0, 3 * int(rng.integers(0, 30)) - 57)
    return int(rng.integers(30, 120))


def _fitting(text: list[str], face: Face, space: float, room: float) -> list[float]:
    """Return the widths of the words that fit into `room`, at least of one."""
    widths: list[float] = []
    used = 0.0
    for word in text:
        widths.append(face.width(word))
        used += widths[-1] + space
        if used - space > room and len(widths) > 1:
            return widths[:-1]
    return widths


class _Page:
    """A page being drawn, from top to bottom."""

    def __init__(self, image: Image.Image, rng: Random, style: _Style) -> None:
        self.image, self.rng, self.style = image, rng, style
        self.draw = ImageDraw.Draw(image)

    def fill(self) -> None:
        """Draw the parts of the page."""
        rng, (width, height) = self.rng, self.image.size
        kind = rng.random()
        # Half of the pages are pieces of larger ones: their lines go on beyond the left and right edges.
        margins = (
            rng.uniform(-0.3, 0.05, 2) if rng.random() < 0.5 else rng.uniform(0.02, 0.12, 1).repeat(2)
        ) * width
        left, right = round(margins[0]), round(width - margins[1])
        top = round(rng.uniform(-1.0, 2.0) * self.style.body)
        if kind < 0.1:
            return
        if kind < 0.12:
            # A plate: one picture, and text under it.
            foot = round(height * rng.uniform(0.6, 1.1))
            furniture.picture(self.image, rng, (max(0, left), max(0, top), min(width, right), foot))
            self._column((left, foot + self.style.body, right, height), other=0.0)
            return
        if kind < 0.62:
            self._column((left, top, right, height), other=0.0)
        elif kind < 0.9:
            self._column((left, top, right, height), other=0.45)
        elif kind < 0.95:
            gap, middle = self.style.body, (left + right) // 2
            self._column((left, top, middle - gap, height), other=0.2)
            self._column((middle + gap, top, right, height), other=0.2)
        else:
            self._column((left, top, right, round(rng.uniform(0.1, 0.5) * height)), other=0.4)
        if rng.random() < 0.15:
            for _ in range(int(rng.integers(1, 3))):
                furniture.overlay(self.image, rng, self.style.body)

    def _column(self, box: Box, *, other: float) -> None:
        """Fill a column; `other` is the share of parts that are not paragraphs."""
        left, y, right, bottom = box
        rng, body = self.rng, self.style.body
        while y < bottom:
            if rng.random() < other:
                y = self._other((left, y, right, bottom))
            else:
                y = self._paragraph((left, y, right, bottom), heading=rng.random() < 0.12)
            y += round(body * rng.uniform(0.2, 1.3))

    def _other(self, box: Box) -> int:
        left, y, right, bottom = box
        rng, body = self.rng, self.style.body
        if right - left < 2 * body:
            return y + body  # too narrow for any part
        kind = int(rng.integers(7))
        if kind == 0:
            return self._table(box)
        if kind in (1, 2):
            high = min(bottom - y, round(body * rng.uniform(4, 14 if rng.random() < 0.7 else 30)))
            wide = round((right - left) * rng.uniform(0.25, 1.0))
            x = int(rng.integers(left, max(left + 1, right - wide)))
            furniture.picture(self.image, rng, (x, y, x + wide, y + high))
            return y + high
        if kind == 3:
            return self._panel(box)
        if kind == 4:
            return furniture.written(self.image, rng, box, body)
        if kind == 5:
            return furniture.rules(self.image, rng, box, body, self.style.ink)
        return furniture.graph(self.image, rng, box, body, self.style.ink)

    def _panel(self, box: Box) -> int:
        """Draw text in a frame, on gray, or white on black."""
        left, y, right, bottom = box
        rng, body = self.rng, self.style.body
        high = min(bottom - y, round(body * rng.uniform(2.0, 8.0)))
        kind = rng.random()
        ground = (
            255 if kind < 0.3 else int(rng.integers(150, 245)) if kind < 0.7 else int(rng.integers(0, 70))
        )
        line = round(body * rng.uniform(0.04, 0.15)) if kind < 0.5 else 0
        self.draw.rectangle((left, y, right, y + high), fill=ground, outline=self.style.ink, width=line)
        pad = body // 2
        inner = (left + pad, y + pad, right - pad, y + high - pad)
        self._paragraph(inner, ink=255 if ground < 100 else None, cut=True)
        return y + high

    def _paragraph(
        self, box: Box, *, heading: bool = False, ink: int | None = None, cut: bool = False
    ) -> int:
        """Write lines of words into the box, from its top; returns the y of their end."""
        left, y, right, bottom = box
        style, rng = self.style, self.rng
        size = round(style.body * rng.uniform(1.2, 2.2)) if heading else style.body
        bold = max(style.bold, 1 if heading and size > 14 and rng.random() < 0.4 else 0)
        face = Face(style.heading if heading else style.font, size, bold)
        step = max(4, round(size * style.leading))
        lines = 1 if heading else int(rng.integers(2, 12))
        space = face.width(" ") * (1.0 if heading else float(rng.uniform(0.9, 1.4)))
        usual = max(1.0, face.width("anetisoruc") / 10)
        count = max(2, math.ceil(1.2 * lines * (right - left) / (6.0 * usual)))
        text = prose(rng, count, accents=face.path is not None)
        if heading and rng.random() < 0.3:
            text = [word.upper() for word in text]
        indent = size * int(rng.integers(0, 4)) if not heading else 0
        used = 0  # the number of words that are written
        for number in range(lines):
            if y >= bottom or (cut and y + size > bottom) or used >= len(text):
                break
            last = number == lines - 1
            begin = left + (indent if number == 0 else 0)
            room = (right - begin) * (float(rng.uniform(0.2, 0.9)) if last else 1.0)
            widths = _fitting(text[used:], face, space, room)
            line = text[used : used + len(widths)]
            used += len(line)
            gap = space
            if style.justified and not last and len(line) > 1:
                gap = min(max(space * 0.7, (room - sum(widths)) / (len(line) - 1)), 4.0 * space)
            starts = (begin + np.cumsum([0.0, *widths[:-1]]) + gap * np.arange(len(line))).tolist()
            # Words beyond the edge need not be drawn.
            seen = sum(start < self.image.width for start in starts)
            face.write(self.image, line[:seen], starts[:seen], y, style.ink if ink is None else ink)
            y += step
        return y

    def _table(self, box: Box) -> int:
        left, y, right, bottom = box
        rng, style = self.rng, self.style
        columns, row = int(rng.integers(2, 7)), round(style.body * rng.uniform(1.4, 2.2))
        rows = max(1, min(int(rng.integers(2, 9)), (bottom - y) // row))
        face, width = (
            Face(style.font, style.body, style.bold),
            max(1, round(style.body * rng.uniform(0.03, 0.12))),
        )
        edges = np.linspace(left, right, columns + 1)
        kind = rng.random()
        if rng.random() < 0.4:
            shade = int(rng.integers(170, 245))
            for line in range(0, rows, int(rng.integers(1, 3)) if kind > 0.3 else rows):
                self.draw.rectangle((left, y + line * row, right, y + (line + 1) * row), fill=shade)
        for line in range(rows + 1):
            if kind < 0.7 or line in (0, 1, rows):
                self.draw.line((left, y + line * row, right, y + line * row), fill=style.ink, width=width)
        for x in edges if kind < 0.5 else []:
            self.draw.line((x, y, x, y + rows * row), fill=style.ink, width=width)
        for line in range(rows):
            cells = prose(rng, columns, accents=style.font is not None)
            for x, cell in zip(edges, cells, strict=False):
                text = number_text(int(rng.integers(1 << 30))) if rng.random() < 0.5 else cell
                while len(text) > 1 and face.width(text) > edges[1] - edges[0] - 6:
                    text = text[:-1]
                face.write(self.image, [text], [x + 4.0], y + round((line + 0.15) * row), style.ink)
        return y + rows * row
