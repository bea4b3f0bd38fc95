"""The one door out: pages to an image file that is complete or not there.

A file is written by the first plugin that accepts it, else as a plain small PNG, else by Pillow, with all
that a page has besides its pixels. Where a format can't hold that, the change is the smallest possible and a
note says so. Pillow's conversions clip 16-bit images, so values are scaled here, by NumPy.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from denoiser.errors import FileError, reason
from denoiser.imaging import jp2, metadata, plugin_files, small_png
from denoiser.imaging.formats import ALPHA, BILEVEL, LONGEST_SIDE, SIXTEEN_BIT, WRITABLE
from denoiser.imaging.picture import Picture, quantize
from denoiser.plugins.manager import Plugins
from denoiser.system import atomic
from denoiser.system.atomic import Written

_PNG_LEVEL = 4  # of deflate: what Pillow's 6 makes is no smaller, and takes four times as long
_PAGE_NUMBER = 297
_FAX = frozenset(("group3", "group4", "tiff_ccitt", "tiff_thunderscan", "tiff_raw_16"))
_FAX_WRITTEN = frozenset(("group3", "group4", "tiff_ccitt"))
_TILE = 2048
"""Pixels a side of the tiles of large JPEG 2000 pages: in one piece, they take ten times as much memory."""
_GIF_COLOURS = 256
_EXIF_BYTES = 65_533
"""Most that a JPEG's segment holds."""


def save(
    path: Path,
    pages: Iterator[Picture],
    target: str | None,
    *,
    count: int,
    plugins: Plugins | None = None,
    sync: bool = False,
) -> tuple[Written, list[str]]:
    """Write all pages to a file, which takes its place only when it is proved to be whole.

    Args:
        path: the file to write or replace; its folders are made as needed.
        pages: computed one by one, only when there is a file to take them; their pixels may be overwritten.
        target: the format as Pillow names it, where no plugin writes the file; None where one must.
        count: number of pages.
        plugins: asked in load order whether one writes files with this ending.
        sync: whether to wait until the file and its name are on the disk.

    Returns:
        Size and time of the file, and notes on what the format could not hold.

    Raises:
        FileError: the file can't be written in full; whatever was at `path` is still there.

    """
    if os.path.isdir(path):  # noqa: PTH112 - a third of the time, for every file
        raise FileError(f"can't be written: {path} is a folder.", "Remove it, or use another --out.")
    try:
        saved = plugin_files.save(path, plugins, pages, count=count, sync=sync) if plugins else None
        if saved is not None:
            return saved
        if target is None:
            raise FileError(
                f"can't be written: no plugin wrote {path.name}.",
                "Use --format tiff, or a name that ends in .tif.",
            )
        if target == "PNG" and count == 1:
            first = next(pages)
            content = _small_png(first)
            if content is not None:  # without a file object, which takes as long as the encoding
                return atomic.write(path, content, sync=sync), []
            pages = itertools.chain((first,), pages)
        with atomic.replacing(path, sync=sync) as file:
            notes = write(file, pages, target, count=count, overwrite=True)
        return file.written, notes
    except OSError as error:
        raise FileError(f"can't be written to {path}: {reason(error)}.") from error


def write(
    file: IO[bytes], pages: Iterable[Picture], target: str, *, count: int, overwrite: bool = False
) -> list[str]:
    """Encode pages one at a time, so that a long file never lies in memory as a whole.

    Args:
        file: a seekable binary file open for reading and writing.
        pages: the pages.
        target: the format as Pillow names it.
        count: number of pages.
        overwrite: whether pixels may be overwritten by what they are rounded to, which saves memory.

    Returns:
        Notes on what the format could not hold.

    Raises:
        FileError: the format can't hold so many or so large pages, or is not one that is written.

    """
    if target not in WRITABLE:
        raise FileError(f"is {target or 'of an unknown format'}, which is not written.", "Use --format png.")
    if count > 1 and target != "TIFF":
        raise FileError(f"has {count} pages, and {target} holds one.", "A TIFF holds all of them.")
    notes: list[str] = []
    book = _tiff_writer(file) if count > 1 else None
    for page in pages:
        _encode(page, target, file if book is None else book, notes, overwrite=overwrite)
        if book is not None:
            book.newFrame()
    if book is not None:
        book.finalize()
    file.flush()
    return notes


def _encode(picture: Picture, target: str, file: Any, notes: list[str], *, overwrite: bool) -> None:
    """Encode one page into a file or Pillow's writer of several pages."""
    content = _small_png(picture) if target == "PNG" else None
    if content is not None:
        file.write(content)
        return
    image = _encodable(picture, target, notes, overwrite=overwrite)
    options = _save_options(picture, target, notes)
    longest = LONGEST_SIDE.get(target)
    if longest is not None and max(image.size) > longest:
        raise FileError(f"is {image.width}x{image.height}, and {target} holds {longest} pixels a side.")
    if target == "JPEG2000":
        # OpenJPEG tries again for ever where its file takes nothing more.
        memory = io.BytesIO()
        if max(image.size) > _TILE:
            options["tile_size"] = (_TILE, _TILE)
        image.save(memory, target, **options)
        dpi = picture.page.dpi
        file.write(memory.getbuffer() if dpi is None else jp2.with_resolution(memory.getvalue(), dpi))
    else:
        image.save(file, target, **options)


def _encodable(picture: Picture, target: str, notes: list[str], *, overwrite: bool) -> Image.Image:
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
    image = Image.fromarray(quantize(picture.pixels, depth, overwrite=overwrite))
    if target == "GIF" and image.mode == "RGB" and image.getcolors(_GIF_COLOURS) is None:
        notes.append("colours were reduced to 256, as GIF holds no more")
    if picture.bilevel and _one_bit(picture, target):
        return image.convert("1", dither=Image.Dither.NONE)
    if picture.bilevel:
        why = f"{target} has none" if target not in BILEVEL else "transparency needs it"
        notes.append(f"1 bit became 8 bit, as {why}")
    if picture.alpha is not None:
        if target in ALPHA and depth <= 8:
            image.putalpha(Image.fromarray(picture.alpha))
        elif target in ALPHA:
            notes.append(f"transparency was left out, as {target} is written without it in 16 bit")
        else:
            notes.append(f"transparency was left out, as {target} holds none")
    return image


def _small_png(picture: Picture) -> bytes | None:
    """Encode a picture as a plain small PNG; None where a PNG of it needs more than `small_png` writes."""
    page, pixels = picture.page, picture.pixels
    extras = picture.alpha, page.dpi, page.icc, page.exif
    plain = page.depth <= 8 and pixels.ndim == 2 and pixels.size <= small_png.MAX_PIXELS
    if not plain or picture.bilevel or picture.metadata or any(extra is not None for extra in extras):
        return None
    return small_png.encode(quantize(pixels, 8))


def _one_bit(picture: Picture, target: str) -> bool:
    """Whether a page that is to have 1 bit can have it."""
    return target in BILEVEL and picture.alpha is None and picture.pixels.ndim == 2


def _save_options(picture: Picture, target: str, notes: list[str]) -> dict[str, Any]:
    same = picture.format == target
    options: dict[str, Any] = dict(picture.options) if same else {}
    page = picture.page
    if target == "TIFF":
        compression = options.get("compression")
        bilevel = picture.bilevel and _one_bit(picture, target)
        if compression in (_FAX - _FAX_WRITTEN if bilevel else _FAX):
            notes.append("CCITT compression can't hold gray; deflate is used")
            compression = None
        elif compression == "jpeg" and (page.depth > 8 or bilevel):
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
        if target == "JPEG" and len(page.exif) > _EXIF_BYTES:
            notes.append("EXIF left out, as JPEG holds 64 KB of it")
        else:
            options["exif"] = page.exif
    elif page.exif is not None:
        notes.append(f"EXIF left out, as it is not written to {target}")
    options.update(metadata.save_options(picture.metadata, target, options.get("tiffinfo"), notes))
    return options


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
