"""The fonts of pages: those that are installed, and always Pillow's own."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from denoiser.generator.canvas import Random
from denoiser.generator.text import ACCENTS

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
#: The signs that a font must have, all different, to be used.
_NEEDED = "AaBbEegkQqRx059?&" + "".join(ACCENTS.values())
#: Largest number of fonts: enough for variety, and few enough to be checked quickly.
_MAX_FONTS = 400


@cache
def system_fonts() -> tuple[str, ...]:
    """Return the files of the installed fonts that have Latin letters, in a fixed order.

    The folders are searched once in a process.
    """
    files: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.suffix.lower() in {".ttf", ".otf"}:
                files.setdefault(path.name, path)
    # The order depends on the names alone: the folder of a font must not change what a seed draws.
    usable = (str(files[name]) for name in sorted(files) if _draws_latin(files[name]))
    return tuple(path for _, path in zip(range(_MAX_FONTS), usable, strict=False))


def _folders() -> list[Path]:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home raises an error where there is none
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    own = os.environ.get("XDG_DATA_HOME") or home / ".local/share"
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path(own) / "fonts", home / ".fonts"]


def _draws_latin(path: Path) -> bool:
    try:
        font = ImageFont.truetype(str(path), 24, layout_engine=ImageFont.Layout.BASIC)
        drawn = [bytes(font.getmask(sign)) for sign in (*_NEEDED, "\U0010fffe")]
        high = font.getbbox("x")[3] - font.getbbox("x")[1]
    except (OSError, ValueError):
        return False
    # All missing signs look like the last one. Fonts with tiny or huge letters are not for body text.
    return len(set(drawn)) == len(drawn) and all(map(any, drawn[:-1])) and 6 <= high <= 18


def choose_font(rng: Random, *, system: bool = True) -> str | None:
    """Choose the file of a system font, or None for Pillow's own; always None without `system` fonts."""
    files = system_fonts() if system else ()
    index = int(rng.integers(-max(1, len(files) // 16), len(files))) if files else -1
    return None if index < 0 else files[index]


@lru_cache(maxsize=64)
def sized(path: str | None, size: int) -> Font:
    """Return the font at `size` pixels per em."""
    if path is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@dataclass(frozen=True)
class Face:
    """A font at one size: `path` as in `choose_font`, `size` pixels per em, strokes wider by `bold` pixels.

    Letters take most of the time of a page, so each letter is drawn once and then copied.
    """

    path: str | None
    size: int
    bold: int = 0

    def width(self, text: str) -> float:
        """Return the width of the text in pixels, without kerning."""
        return sum(_advance(sign, self.path, self.size) for sign in text)

    def write(
        self, image: Image.Image, words: Sequence[str], starts: Sequence[float], y: int, ink: int
    ) -> None:
        """Write a line of words, each from its x in `starts` on; `y` is the top of the line."""
        if not words:
            return
        left, reach = math.floor(starts[0]) - self.size, 2 * self.size
        wide = math.ceil(starts[-1] + self.width(words[-1])) - left + self.size
        line = np.zeros((2 * reach, wide), dtype=np.uint8)
        for word, start in zip(words, starts, strict=True):
            x = start - left
            for sign in word:
                glyph = _glyph(sign, self)
                if glyph is not None:
                    ink_of, right, down = glyph
                    right, down = round(x) + right, reach + down
                    # Italic letters reach into the boxes of their neighbours, whose ink must stay.
                    part = line[down : down + ink_of.shape[0], right : right + ink_of.shape[1]]
                    np.maximum(part, ink_of[: part.shape[0], : part.shape[1]], out=part)
                x += _advance(sign, self.path, self.size)
        font = sized(self.path, self.size)
        top = y + (font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else self.size) - reach
        image.paste(ink, (left, top), Image.fromarray(line))


@lru_cache(maxsize=8192)
def _advance(sign: str, path: str | None, size: int) -> float:
    return float(sized(path, size).getlength(sign))


@lru_cache(maxsize=2048)
def _glyph(sign: str, face: Face) -> tuple[npt.NDArray[np.uint8], int, int] | None:
    """Return a letter's ink and its offset from the pen, right and down; None if it has no ink."""
    font = sized(face.path, face.size)
    left, top, right, bottom = (int(side) for side in font.getbbox(sign, anchor="ls", stroke_width=face.bold))
    if right <= left or bottom <= top or top < -2 * face.size or left < -face.size:
        return None
    drawn = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(drawn).text((-left, -top), sign, fill=255, font=font, anchor="ls", stroke_width=face.bold)
    return np.asarray(drawn), left, top
