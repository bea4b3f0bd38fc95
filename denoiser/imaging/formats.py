"""Names of the formats, and what each can hold."""

from __future__ import annotations

FORMATS = {
    "png": ("PNG", (".png",)),
    "tiff": ("TIFF", (".tif", ".tiff")),
    "jpeg": ("JPEG", (".jpg", ".jpeg")),
}
"""Values of `--format`: Pillow's name and the endings."""

SAVED_AS = {ending: name for name, endings in FORMATS.values() for ending in endings}
"""Pillow's name of what `--format` writes, by ending."""

WRITABLE = frozenset(("PNG", "TIFF", "JPEG", "BMP", "PPM", "WEBP", "GIF", "JPEG2000"))
SAME_AS = {"MPO": "JPEG", "DIB": "BMP"}
READABLE = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
"""Formats that Pillow may open, whatever the file's ending: it would hand PostScript to another program.

MPO, a photograph of several views, is opened as the JPEG that it begins as.
"""
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
SIXTEEN_BIT = frozenset(("PNG", "TIFF", "PPM", "JPEG2000"))
BILEVEL = frozenset(("PNG", "TIFF", "PPM", "BMP"))
ALPHA = frozenset(("PNG", "TIFF", "WEBP", "JPEG2000"))

_KNOWN = "png apng tif tiff jpg jpeg jpe jfif bmp dib pgm ppm pbm pnm webp gif jp2 j2k"
NO_FOLDERS = frozenset((".pdf", ".txt", ".json", ".csv", ".zip", ".docx", ".svg", ".keras", ".html"))
"""Endings of files that are no images: whoever gives such a name hardly means a folder."""

SUFFIXES = frozenset(f".{ending}" for ending in _KNOWN.split())
"""Endings that make a file in a folder an image. A file named by itself may be called anything."""

UNWRITTEN = ".tiff"
"""The ending of an output whose input only a plugin can read: TIFF holds any page that it yields."""
