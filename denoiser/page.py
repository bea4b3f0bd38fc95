"""The facts about one page of one image file, as plugins see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """One page of an image file.

    Attributes:
        path: the file; None for an array given to the Python API.
        index: the page's number in the file, from 0.
        count: how many pages the file has.
        depth: bits a sample in the file: 1, 8, 16 or 32 (floating point).
        mode: the file's own pixel layout as Pillow names it, such as "L", "RGB" or "I;16".
        dpi: resolution across and down in dots an inch, where the file states one.
        icc: the ICC profile's bytes, where there is one.
        exif: the EXIF block's bytes, where there is one.

    """

    path: Path | None = None
    index: int = 0
    count: int = 1
    depth: int = 32
    mode: str = "F"
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
