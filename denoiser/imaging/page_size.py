"""Which pages are too large: for the limit that is set, for the file that they are in, or for the memory."""

from __future__ import annotations

from denoiser.errors import FileError
from denoiser.system import memory

_CHECKED_PIXELS = 4_000_000
"""Pages up to this size are decoded whatever their file's size: they can't take much."""

_INFLATED = 1032
"""Bytes that one byte of deflate can stand for at most."""

_PIXELS_A_BYTE: dict[str | None, int] = {
    "BMP": 128,  # run lengths
    "PPM": 8,
    "GIF": 4096,  # LZW, whose codes of 12 bits stand for 4,096 pixels at most
    "JPEG": 4096,  # a bit a block of 64, in Huffman's codes; eight times that for the arithmetic ones
    "raw": 8,
    "packbits": 512,
    "tiff_lzw": 8 * 4096,
    "tiff_adobe_deflate": 8 * _INFLATED,
    "tiff_deflate": 8 * _INFLATED,
    "jpeg": 4096,
}
"""More pixels than one byte of a file can stand for, by format or TIFF compression; others know no limit."""

_BYTES_A_PIXEL = {"JPEG2000": (19, 50), "WEBP": (20, 35), "GIF": (12, 36)}
_BYTES_ELSE, _BYTES_OF_ALPHA = (12, 31), 5
"""Memory that a page takes to be read, cleaned, seen with its result, and written, in gray and in colour:
these codecs need more.

Measured with pages of 36 megapixels (`benchmarks/memory.py`).
"""


def bytes_a_pixel(name: str, bands: tuple[str, ...], *, color: bool, beside: int = 0) -> int:
    """Return how many bytes of memory a large page takes for each pixel.

    Args:
        name: its format.
        bands: its channels, as Pillow names them.
        color: whether colour is kept.
        beside: bytes that each of its channels takes besides, for what is done with page and result.

    """
    coloured = len(bands) > 2 or bands == ("P",)
    own = _BYTES_A_PIXEL.get(name, _BYTES_ELSE)[color and coloured]
    return own + beside * (3 if coloured else 1) + _BYTES_OF_ALPHA * ("A" in bands)


def require_pixels(size: tuple[int, int], max_megapixels: float) -> None:
    """Raise FileError for a page, width and height, of no pixels or of more than that many millions."""
    width, height = size
    if width < 1 or height < 1:
        raise FileError("has no pixels.")
    if width * height > max_megapixels * 1e6:
        raise too_large(f"is {width}x{height},", width * height, max_megapixels)


def too_large(what: str, pixels: int, max_megapixels: float) -> FileError:
    """Return the error of a page, whose number of pixels `what` says, or "has" if nobody knows it."""
    return FileError(
        f"{what} more than {max_megapixels:g} megapixels.",
        f"If it is meant to be that large, use --max-megapixels {-(-pixels // 1_000_000)}.",
    )


def require_whole(size: tuple[int, int], kind: str | None, bits: int, length: int) -> None:
    """Raise FileError for a page that its file is too short for, before memory is taken for the pixels.

    Args:
        size: width and height.
        kind: the format, or the compression of a TIFF.
        bits: of a PNG's pixel.
        length: of the file, in bytes.

    """
    width, height = size
    most = 8 * _INFLATED // bits if kind == "PNG" else _PIXELS_A_BYTE.get(kind)
    if most is not None and width * height > max(most * length, _CHECKED_PIXELS):
        raise FileError(
            f"is damaged: {width}x{height} pixels can't be in {length:,} bytes.",
            "Copy or download it again.",
        )


def require_memory(size: tuple[int, int], each: int) -> None:
    """Raise FileError for a page that would end the whole run, as the system kills what takes all memory.

    Args:
        size: width and height.
        each: bytes that a pixel takes; see `bytes_a_pixel`.

    """
    width, height = size
    needed, there = width * height * each, memory.available() if width * height > _CHECKED_PIXELS else None
    if there is not None and needed > there:
        raise FileError(
            f"is {width}x{height}, which takes about {needed / 1e9:.1f} GB of memory, "
            f"and {there / 1e9:.1f} GB are free.",
            "Free some, or do it on a larger machine.",
        )
