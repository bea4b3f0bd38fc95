"""The fonts that pages are set in: the machine's own where it has some, Pillow's always."""

from __future__ import annotations

import os
import sys
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

from denoiser.generator.canvas import Random, load_font
from denoiser.generator.text import ACCENTS

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
#: What a font must be able to draw, each sign unlike the others, to be of use here.
_NEEDED = "AaBbEegkQqRx059?&" + "".join(ACCENTS.values())
#: Enough for variety; a machine with thousands of fonts is not searched for minutes.
_MOST = 400


@cache
def system_fonts() -> tuple[str, ...]:
    """Files of the installed fonts that draw Latin letters, in a fixed order; empty where there are none.

    The folders are searched once in the life of the process.
    """
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.suffix.lower() in {".ttf", ".otf"}:
                found.setdefault(path.name, path)
    # The order follows the names alone: where a font lies must not change what a seed draws.
    usable = (str(found[name]) for name in sorted(found) if _draws_latin(found[name]))
    return tuple(path for _, path in zip(range(_MOST), usable, strict=False))


def _folders() -> list[Path]:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  Path.home raises where there is none
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
    # Missing signs all look like the last one; scripts with tiny or huge letters are no body text.
    return len(set(drawn)) == len(drawn) and all(map(any, drawn[:-1])) and 6 <= high <= 18


def choose_font(rng: Random, *, system: bool = True) -> str | None:
    """A system font's file, or None for Pillow's own; always None without `system` fonts."""
    files = system_fonts() if system else ()
    index = int(rng.integers(-max(1, len(files) // 16), len(files))) if files else -1
    return None if index < 0 else files[index]


@lru_cache(maxsize=64)
def sized(path: str | None, size: int) -> Font:
    """The font at `size` pixels an em."""
    if path is None:
        return load_font(size)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
