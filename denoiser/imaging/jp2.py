"""The resolution of a JPEG 2000 file, which Pillow reads and does not write.

A JP2 file is a row of boxes: length and name in four bytes each, then the content. The resolution is a box
in the box of headers. (ISO/IEC 15444-1, Annex I.)
"""

from __future__ import annotations

import struct

_METRES_AN_INCH = 0.0254
_MOST = 65_535


def with_resolution(content: bytes, dpi: tuple[float, float]) -> bytes:
    """Return a JP2 file with a resolution.

    Args:
        content: The file, as Pillow encodes it.
        dpi: Dots an inch, across and down. Ones that two numbers of 16 bit can't express are left out.
    """
    fractions = [_fraction(side / _METRES_AN_INCH) for side in reversed(dpi)]
    if any(numerator == 0 for numerator, _ in fractions):
        return content
    (down, down_parts), (across, across_parts) = fractions
    capture = struct.pack(">I4sHHHHBB", 18, b"resc", down, down_parts, across, across_parts, 0, 0)
    box = struct.pack(">I4s", 8 + len(capture), b"res ") + capture
    start, length = _header(content)
    end = start + length
    grown = struct.pack(">I", length + len(box))
    return content[:start] + grown + content[start + 4 : end] + box + content[end:]


def _fraction(value: float) -> tuple[int, int]:
    """Return numerator and denominator of the nearest fraction whose numbers fit in 16 bit."""
    parts = max(1, min(_MOST, int(_MOST / value))) if value > 0 else 1
    numerator = round(value * parts)
    return (numerator, parts) if numerator <= _MOST else (0, 1)


def _header(content: bytes) -> tuple[int, int]:
    """Return place and length of the box of headers."""
    place = 0
    while True:
        length, name = struct.unpack_from(">I4s", content, place)
        if name == b"jp2h":
            return place, length
        place += length
