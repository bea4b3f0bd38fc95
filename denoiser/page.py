"""The properties of a page, as plugins receive them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """One page of an image file.

    Attributes:
        path: The file; None for an array from the Python API.
        index: Number of the page in the file, from 0.
        count: Number of pages in the file.
        depth: Bits per sample in the file: 1, 8, 16 or 32 (floating point).
        mode: Pixel layout of the file by Pillow's name, such as "L", "RGB" or "I;16".
        dpi: Resolution across and down in dots per inch, if the file has it.
        icc: Bytes of the ICC profile, if the file has one.
        exif: Bytes of the EXIF block, if the file has one.
    """

    path: Path | None = None
    index: int = 0
    count: int = 1
    depth: int = 32
    mode: str = "F"
    dpi: tuple[float, float] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
