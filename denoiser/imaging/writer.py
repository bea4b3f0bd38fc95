"""Pages to image files, with all that a page has besides its pixels.

Where a format can't hold what comes out, the change is the smallest possible and a note says so. Pillow does
the coding. Its conversions clip 16-bit images, so values are scaled here, by NumPy.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
from PIL import Image

from denoiser.errors import FileError
from denoiser.imaging import small_png
from denoiser.imaging.formats import ALPHA, LONGEST_SIDE, SIXTEEN_BIT, WRITABLE
from denoiser.imaging.picture import Picture, quantize

_PNG_LEVEL = 4  # of deflate: what Pillow's 6 makes is no smaller, and takes four times as long
_PAGE_NUMBER = 297
_BILEVEL = frozenset(("group3", "group4", "tiff_ccitt", "tiff_thunderscan", "tiff_raw_16"))


def _encodable(picture: Picture, target: str, notes: list[str]) -> Image.Image:
    """Turn a picture into the Pillow image nearest to it that the format can hold."""
    depth = picture.page.depth
    if depth == 32:
        if target == "TIFF":
            low, high = picture.span
            return Image.fromarray(np.asarray(picture.pixels * (high - low) + low, np.float32))
        notes.append(f"floating point became {16 if target in SIXTEEN_BIT else 8} bit, as {target} has none")
        depth = 16 if target in SIXTEEN_BIT else 8
    if depth == 16 and target not in SIXTEEN_BIT:
        notes.append(f"16 bit became 8 bit, as {target} holds no more")
        depth = 8
    image = Image.fromarray(quantize(picture.pixels, depth))
    if picture.alpha is not None:
        if target in ALPHA and depth <= 8:
            image.putalpha(Image.fromarray(picture.alpha))
        elif target in ALPHA:
            notes.append(f"transparency was left out, as {target} is written without it in 16 bit")
        else:
            notes.append(f"transparency was left out, as {target} holds none")
    return image


def _is_plain(picture: Picture) -> bool:
    """Whether a PNG of it needs no more than `small_png.encode` writes."""
    page, pixels = picture.page, picture.pixels
    told = picture.alpha, page.dpi, page.icc, page.exif
    return (
        page.depth <= 8
        and pixels.ndim == 2
        and pixels.size <= small_png.MAX_PIXELS
        and not any(each is not None for each in told)
    )


def _save_options(picture: Picture, target: str, notes: list[str]) -> dict[str, Any]:
    same = picture.format == target
    options: dict[str, Any] = dict(picture.options) if same else {}
    page = picture.page
    if target == "TIFF":
        compression = options.get("compression")
        if compression in _BILEVEL:
            notes.append("CCITT compression can't hold gray; deflate is used")
            compression = None
        elif compression == "jpeg" and page.depth > 8:
            compression = None
        options["compression"] = compression or "tiff_adobe_deflate"
        if options["compression"] != "raw" and _PAGE_NUMBER in options.get("tiffinfo", ()):
            # Pillow hands libtiff this pair of numbers in a way that writes rubbish; the order says it too.
            del options["tiffinfo"][_PAGE_NUMBER]
    elif target == "JPEG":
        tables = options.pop("qtables", None)
        if not tables or options.get("subsampling", -1) < 0:
            options.pop("subsampling", None)
        if tables:
            gray = picture.pixels.ndim == 2
            ordered = [tables[name] for name in sorted(tables)]  # a file may number them as it likes
            options["qtables"] = dict(enumerate(ordered[:1] if gray else ordered))
            if gray:
                options.pop("subsampling", None)
        else:
            options["quality"] = 95
    elif target == "WEBP" and not same:
        options["lossless"] = True
    elif target == "PNG":
        options["compress_level"] = _PNG_LEVEL
    if page.dpi is not None and (target in ("PNG", "JPEG", "BMP") or not same):
        options["dpi"] = page.dpi
    if page.icc is not None and target not in ("BMP", "PPM", "GIF"):
        options["icc_profile"] = page.icc
    if page.exif is not None and target in ("PNG", "JPEG", "WEBP"):
        options["exif"] = page.exif
    return options


class ImageWriter:
    """Writes pages one at a time, so that a long file never lies in memory as a whole.

    Args:
        file: a seekable binary file open for reading and writing.
        target: the format as Pillow names it.
        count: how many pages will come.

    Raises:
        FileError: the format can't hold so many pages, or is not one that this tool writes.

    """

    def __init__(self, file: IO[bytes], target: str, *, count: int = 1) -> None:
        if target not in WRITABLE:
            raise FileError(
                f"is {target or 'of an unknown format'}, which is not written.", "Use --format png."
            )
        if count > 1 and target != "TIFF":
            raise FileError(f"has {count} pages, and {target} holds one.", "Use --format tiff, or keep.")
        self.notes: list[str] = []
        self._file = file
        self._target = target
        self._pages: Any = None
        if count > 1:
            self._pages = _tiff_writer(file)

    def add(self, picture: Picture) -> None:
        """Encode the next page."""
        content = encoded(picture, self._target)
        if content is not None:
            self._file.write(content)
            return
        image = _encodable(picture, self._target, self.notes)
        options = _save_options(picture, self._target, self.notes)
        longest = LONGEST_SIDE.get(self._target)
        if longest is not None and max(image.size) > longest:
            raise FileError(
                f"is {image.width}x{image.height}, and {self._target} holds {longest} pixels a side."
            )
        if self._target == "JPEG2000":
            # OpenJPEG tries again for ever where its file takes nothing more.
            memory = io.BytesIO()
            image.save(memory, self._target, **options)
            self._file.write(memory.getbuffer())
        elif self._pages is None:
            image.save(self._file, self._target, **options)
        else:
            image.save(self._pages, self._target, **options)
            self._pages.newFrame()

    def close(self) -> None:
        """Write what is left of the file; the file itself stays open."""
        if self._pages is not None:
            self._pages.finalize()


def _tiff_writer(file: IO[bytes]) -> Any:
    from PIL.TiffImagePlugin import AppendingTiffWriter

    class Writer(AppendingTiffWriter):
        """Pillow's, which walks all directories again for each new page; the last one is known."""

        def newFrame(self) -> None:  # noqa: N802 - Pillow's name
            if self.isFirst:
                super().newFrame()
                return
            self.finalize()
            # Where fixing a directory ends is the place of the next one's offset, still 0.
            self.whereToWriteNewIFDOffset = self.f.tell()
            self.goToEnd()

        def close(self) -> None:
            """Leave the file alone: after a failed page Python calls this, on a file closed already."""

    return Writer(file, new=True)


def encoded(picture: Picture, target: str) -> bytes | None:
    """Encode a small picture that any format could hold; None where it needs more care than that."""
    if target == "PNG" and _is_plain(picture):
        return small_png.encode(quantize(picture.pixels, 8))
    return None


def write(file: IO[bytes], pictures: Iterable[Picture], target: str, *, count: int) -> list[str]:
    """Write all pages; returns notes on what the format could not hold."""
    writer = ImageWriter(file, target, count=count)
    for picture in pictures:
        writer.add(picture)
    writer.close()
    file.flush()
    return writer.notes
