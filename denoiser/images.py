"""Image files to arrays and back, without changing what was not asked for.

Depth, pages, resolution and the like are read from the file's header and written back; where a format can't
hold what comes out, the change is the smallest possible and a note says so. Pillow does the coding. Its
conversions clip 16-bit images, so values are scaled here, by NumPy.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from denoiser import memory, png
from denoiser.errors import FileError
from denoiser.page import Page
from denoiser.patches import Floats

FORMATS = {
    "png": ("PNG", (".png",)),
    "tiff": ("TIFF", (".tif", ".tiff")),
    "jpeg": ("JPEG", (".jpg", ".jpeg")),
}
"""What `--format` takes: Pillow's name and the endings."""

_QUANTIZED = 1 << 16
"""Pixels that are rounded at a time."""

WRITABLE = frozenset(("PNG", "TIFF", "JPEG", "BMP", "PPM", "WEBP", "GIF", "JPEG2000"))
_SAME_AS = {"MPO": "JPEG", "DIB": "BMP"}
READABLE = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
"""What Pillow may take a file for, whatever it is called: it would hand PostScript to another program.

MPO, a photograph of several views, is opened as the JPEG that it begins as.
"""
_PNG_LEVEL = 4  # of deflate: what Pillow's 6 makes is no smaller, and takes four times as long
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

_BYTES_A_PIXEL = {"JPEG2000": 18, "WEBP": 26}
"""Memory that these take to be read, cleaned and written, where it is more than others'."""

_LONGEST = {"JPEG": 65500, "WEBP": 16383}
_SIXTEEN_BIT = frozenset(("PNG", "TIFF", "PPM", "JPEG2000"))
_ALPHA = frozenset(("PNG", "TIFF", "WEBP", "JPEG2000"))

# TIFF tags that describe the page and not its coding: description, make, model, resolution, page name and
# number, software, date, artist, copyright.
_TIFF_TAGS = (254, 269, 270, 271, 272, 282, 283, 285, 296, 297, 305, 306, 315, 33432)
_IMAGE_WIDTH = 256
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SUBFILE, _SAMPLE_FORMAT, _PAGE_NUMBER = 258, 262, 254, 339, 297
_MIN_IS_WHITE = 0
_UNSIGNED, _SIGNED = 1, 2
_BILEVEL = frozenset(("group3", "group4", "tiff_ccitt", "tiff_thunderscan", "tiff_raw_16"))

BECAME_GRAY = "colour became gray (--color keeps it)"
BECAME_8_BIT = "1 bit became 8 bit, as gray edges need it"
FEW_BITS_BECAME_8 = "few bits became 8 bit, as clean tones lie between them"


@dataclass(frozen=True)
class Picture:
    """A decoded page, and what must survive it.

    Attributes:
        pixels: float32 in 0..1, (H, W) for gray or (H, W, 3) for colour.
        page: its facts.
        alpha: uint8 (H, W), untouched by any of the work.
        span: lowest and highest value of a floating-point file, which 0 and 1 stand for.
        format: the file's format as Pillow names it.
        options: how the file was encoded, for Pillow's `save`.
        notes: what reading changed.

    """

    pixels: Floats
    page: Page
    alpha: npt.NDArray[np.uint8] | None = None
    span: tuple[float, float] = (0.0, 1.0)
    format: str = "PNG"
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def with_pixels(self, pixels: Floats) -> Picture:
        """Return the same page with other pixels; alpha stays only where the size does."""
        if self.alpha is not None and self.alpha.shape != pixels.shape[:2]:
            note = "transparency was left out, as the size changed"
            return replace(self, pixels=pixels, alpha=None, notes=(*self.notes, note))
        return replace(self, pixels=pixels)


def _fault(error: BaseException) -> str:
    """Pillow's message as the end of a sentence."""
    text = str(error).strip().rstrip(".") or type(error).__name__
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


class ImageFile:
    """An opened image file, whose pages are decoded one at a time.

    Args:
        file: a seekable binary file.
        path: what to call it.
        color: keep colour instead of reading gray.
        max_megapixels: pages above this many millions of pixels are refused before anything is decoded.

    Raises:
        FileError: no image, a damaged one, or one this tool must not touch.

    """

    def __init__(
        self, file: IO[bytes], path: Path, *, color: bool = False, max_megapixels: float = 500.0
    ) -> None:
        self.path = path
        self._color = color
        self._limit = max_megapixels
        # Pillow stops at twice its limit, also where it looks before we can; ours comes before any decoding.
        Image.MAX_IMAGE_PIXELS = max(1, int(max_megapixels * 1e6))
        self._file = file
        self._bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            self._image: Image.Image = Image.open(file, formats=READABLE)
        except UnidentifiedImageError:
            raise FileError("is not an image that can be read.") from None
        except Image.DecompressionBombError as error:
            found = re.search(r"\d{6,}", str(error))
            raise self._too_large("has", int(found[0]) if found else 0) from None
        except Exception as error:  # decoders raise nearly anything on damaged headers
            raise FileError(f"is damaged: {_fault(error)}.") from error
        self.format = _SAME_AS.get(self._image.format or "", self._image.format or "")
        self._png_bits = _png_depth(self._image) if self.format == "PNG" else 8
        self._frames = self._find_pages()
        self.count = len(self._frames)

    def _find_pages(self) -> list[int]:
        """Frames that are pages: a TIFF's but for thumbnails and reduced copies; else the first."""
        if self.format != "TIFF":
            return [0]
        try:
            directories = _directories(self._file)
            total = getattr(self._image, "n_frames", 1)
            if total < directories:
                raise FileError(f"is damaged: only {total} of its {directories} pages can be found.")
            if total == 1:
                return [0]
            pages = []
            for frame in range(total):
                self._image.seek(frame)
                if not self._tag(_SUBFILE, 0) & 1:
                    pages.append(frame)
            pages = pages or [0]
            self._image.seek(pages[0])
        except FileError:
            raise
        except Exception as error:
            raise FileError(f"is damaged: {_fault(error)}.") from error
        return pages

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first page in pixels."""
        return self._image.size

    def _tag(self, number: int, default: Any) -> Any:
        return getattr(self._image, "tag_v2", {}).get(number, default)

    def pages(self) -> Iterator[Picture]:
        """Decode page after page; raises FileError where one can't be."""
        for index, frame in enumerate(self._frames):
            where = f"page {index + 1} " if self.count > 1 else ""
            try:
                if self.count > 1:
                    self._image.seek(frame)
                self._check_size()
                yield self._decode(index)
            except FileError as error:
                raise FileError(where + error.message, error.hint) from error
            except MemoryError:
                raise
            except Exception as error:  # as above: decoders raise nearly anything
                raise FileError(f"{where}can't be decoded: {_fault(error)}.") from error

    def _check_size(self) -> None:
        width, height = self._image.size
        if width < 1 or height < 1:
            raise FileError("has no pixels.")
        if width * height > self._limit * 1e6:
            raise self._too_large(f"is {width}x{height},", width * height)
        if width * height > _CHECKED_PIXELS:
            self._check_bytes(width, height)
            self._check_memory(width, height)

    def _too_large(self, what: str, pixels: int) -> FileError:
        return FileError(
            f"{what} more than {self._limit:g} megapixels.",
            f"If it is meant to be that large, use --max-megapixels {-(-pixels // 1_000_000)}.",
        )

    def _check_bytes(self, width: int, height: int) -> None:
        """Refuse a page that its file is too short for, before memory is taken for the pixels."""
        most = _PIXELS_A_BYTE.get(
            self._image.info.get("compression") if self.format == "TIFF" else self.format
        )
        if self.format == "PNG":
            most = 8 * _INFLATED // (self._png_bits * len(self._image.getbands()))
        if most is not None and width * height > most * self._bytes:
            raise FileError(
                f"is damaged: {width}x{height} pixels can't be in {self._bytes:,} bytes.", "Get it anew."
            )

    def _check_memory(self, width: int, height: int) -> None:
        """Refuse a page that would end the whole run, as the system kills what takes all of its memory."""
        a_pixel = 30 if self._color and len(self._image.getbands()) > 2 else 10
        needed = width * height * max(a_pixel, _BYTES_A_PIXEL.get(self.format, 0))
        there = memory.available()
        if there is not None and needed > there:
            raise FileError(
                f"is {width}x{height}, which takes about {needed / 1e9:.1f} GB of memory, "
                f"and {there / 1e9:.1f} GB are free.",
                "Free some, or do it on a larger machine.",
            )

    def _decode(self, index: int) -> Picture:
        image, notes = self._image, []
        mode, info = image.mode, dict(image.info)
        depth = self._depth()
        options = self._options()
        dpi = info.get("dpi")
        icc = info.get("icc_profile")
        exif, image = self._upright(image)
        if getattr(self._image, "is_animated", False) and self.format != "TIFF":
            notes.append(f"only the first frame of several in a {self.format} was cleaned")
        alpha = self._keyed(image)
        image = self._plain(image, notes)
        if image.mode in ("LA", "RGBA"):
            alpha = np.asarray(image.getchannel("A"))
            image = image.convert(image.mode[:-1])
        if image.mode == "RGB":
            if icc:
                image, icc = _to_srgb(image, icc, notes), None
            if not self._color:
                image = image.convert("L")
        elif icc and mode not in ("L", "LA", "I;16", "I;16B", "1", "F"):
            icc = None
        pixels, span = self._scaled(image, depth, notes)
        page = Page(self.path, index, self.count, depth, mode, _dpi(dpi), icc, exif)
        return Picture(pixels, page, alpha, span, self.format, options, tuple(notes))

    def _upright(self, image: Image.Image) -> tuple[bytes | None, Image.Image]:
        """Apply the EXIF orientation; returns the EXIF block without it."""
        if "exif" not in image.info and self.format != "TIFF":
            return None, image
        from PIL import ImageOps

        image.load()
        upright = ImageOps.exif_transpose(image)
        if self.format == "TIFF":
            return None, upright
        return upright.info.get("exif"), upright

    def _depth(self) -> int:
        """Bits a sample, from the header; refuses what Pillow would reduce to 8 bits in silence."""
        image = self._image
        mode = image.mode
        if self._tag(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _SIGNED:
            raise FileError(
                "has signed pixels, half of whose range has no gray.", "Convert it to unsigned 16 bit."
            )
        if mode == "1":
            return 1
        if mode.startswith("I;16"):
            return 16
        if mode == "F":
            return 32
        bits = self._tag(_BITS_PER_SAMPLE, None)
        if mode == "I":
            if self.format == "PPM" or bits == (16,):
                return 16
            raise FileError("has 32-bit integer pixels, which are not supported.", "Convert it to 16 bit.")
        if bits and max(bits) > 8:
            raise FileError(
                f"has {max(bits)}-bit samples in {len(bits)} channels, which can't be read without loss.",
                "Convert it to 16-bit gray.",
            )
        tile = getattr(image, "tile", None)
        args = tile[0].args if self.format == "PPM" and tile else ()
        if isinstance(args, tuple) and any(isinstance(each, int) and each > 255 for each in args):
            raise FileError(
                "has 16-bit colour, which can't be read without loss.", "Convert it to 16-bit gray."
            )
        if self.format == "PNG" and self._png_bits == 16:
            raise FileError(
                "has 16-bit colour or transparency, which can't be read without loss.",
                "Convert it to 16-bit gray.",
            )
        return 8

    def _keyed(self, image: Image.Image) -> npt.NDArray[np.uint8] | None:
        """Opacity, uint8 (H, W), where one gray or one colour is said to be transparent; else None."""
        key = image.info.get("transparency")
        if image.mode not in ("1", "L", "I;16", "RGB") or not isinstance(key, int | tuple):
            return None
        raw = np.asarray(image)
        if self.format == "PNG" and image.mode == "L":
            key *= 255 // ((1 << self._png_bits) - 1)  # Pillow scales the pixels, and not this
        clear = raw == np.asarray(key, raw.dtype)
        if clear.ndim == 3:
            clear = clear.all(axis=2)
        return np.where(clear, np.uint8(0), np.uint8(255))

    def _plain(self, image: Image.Image, notes: list[str]) -> Image.Image:
        """Bring any layout to 1, L, LA, I;16, I, F, RGB or RGBA."""
        mode = image.mode
        if mode == "1":
            notes.append(BECAME_8_BIT)
            return image.convert("L")
        if mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            red, green, blue = (np.asarray(image.getchannel(band)) for band in "RGB")
            if np.array_equal(red, green) and np.array_equal(red, blue):
                return image.convert("LA" if image.mode == "RGBA" else "L")
        elif self.format == "PNG" and mode == "L" and self._png_bits < 8:
            notes.append(FEW_BITS_BECAME_8)
        elif mode in ("PA", "RGBa", "La"):
            image = image.convert("LA" if mode == "La" else "RGBA")
        elif mode == "CMYK" and image.info.get("icc_profile"):
            pass  # its profile says what its colours are
        elif mode not in ("L", "LA", "I", "F", "RGB", "RGBA") and not mode.startswith("I;16"):
            image = image.convert("RGB")
        if image.mode == "CMYK":
            image = _to_srgb(image, image.info["icc_profile"], notes)
        if image.mode in ("RGB", "RGBA") and not self._color:
            notes.append(BECAME_GRAY)
        return image

    def _scaled(self, image: Image.Image, depth: int, notes: list[str]) -> tuple[Floats, tuple[float, float]]:
        raw = np.asarray(image)
        if depth == 32:
            if not np.isfinite(raw).all():
                raise FileError("holds NaN or infinite values.", "Replace them first.")
            low, high = float(raw.min()), float(raw.max())
            if high - low > np.finfo(np.float32).max:
                raise FileError(
                    f"holds values from {low:.3g} to {high:.3g}, whose range is beyond 32 bits.", "Scale it."
                )
            # Floating-point files state no range; values outside of 0..1 are taken on their own scale.
            span = (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high if high > low else low + 1.0)
            if span != (0.0, 1.0):
                notes.append("values outside of 0..1 were taken on their own scale")
            return np.asarray((raw - span[0]) / (span[1] - span[0]), np.float32), span
        top = np.float32(65535.0 if depth == 16 else 255.0)
        pixels = np.empty(raw.shape, np.float32)
        np.divide(raw, top, out=pixels, casting="unsafe", dtype=np.float32)
        if depth == 16 and self.format == "TIFF" and self._tag(_PHOTOMETRIC, 1) == _MIN_IS_WHITE:
            pixels = 1.0 - pixels  # Pillow turns 8-bit MinIsWhite around, but not 16-bit
        return pixels, (0.0, 1.0)

    def _options(self) -> dict[str, Any]:
        """How this page was encoded, in the words of Pillow's `save`."""
        image = self._image
        if self.format == "TIFF":
            from PIL.TiffImagePlugin import ImageFileDirectory_v2

            tags = ImageFileDirectory_v2()
            for number in _TIFF_TAGS:
                if (value := self._tag(number, None)) is not None:
                    tags[number] = value
            return {"compression": image.info.get("compression"), "tiffinfo": tags}
        if self.format == "JPEG":
            from PIL import JpegImagePlugin

            return {
                "qtables": getattr(image, "quantization", None),
                "subsampling": JpegImagePlugin.get_sampling(image),
                "progressive": bool(image.info.get("progressive")),
            }
        if self.format == "WEBP":
            return {"lossless": True}
        return {}


def _directories(file: IO[bytes]) -> int:
    """Count a TIFF's directories, one for each page; FileError where their chain is broken.

    Pillow takes the end of what it can follow for the end of the file. (TIFF 6.0, Adobe 1992, section 2.)
    """
    start = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = 43 in (head[2], head[3])
    number, entry, width = (8, 20, 8) if big else (2, 12, 4)

    def at(place: int, length: int) -> int:
        file.seek(place)
        return int.from_bytes(file.read(length), order)

    seen: set[int] = set()
    place = at(8 if big else 4, width)
    while place:
        count = at(place, number)
        after = place + number + entry * count
        file.seek(place + number)
        tags = file.read(entry * min(count, 1 << 16))[: after - place]
        names = {int.from_bytes(tags[step : step + 2], order) for step in range(0, len(tags), entry)}
        if place in seen or after > size or _IMAGE_WIDTH not in names:
            file.seek(start)
            raise FileError(f"is damaged: the directory of page {len(seen) + 1} is none.", "Get it anew.")
        seen.add(place)
        place = at(after, width) if after + width <= size else 0
    file.seek(start)
    return len(seen)


def _png_depth(image: Image.Image) -> int:
    """Bit depth from a PNG's IHDR, which Pillow does not tell."""
    file = getattr(image, "fp", None)
    if file is None:
        return 8
    position = file.tell()
    file.seek(24)
    depth = file.read(1)
    file.seek(position)
    return depth[0] if depth else 8


def _dpi(value: Any) -> tuple[float, float] | None:
    """Resolution as stated; PNG keeps whole pixels a metre, so 299.9994 was meant as 300."""
    try:
        pair = (float(value[0]), float(value[1]))
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    if not all(np.isfinite(pair)) or min(pair) <= 0:
        return None
    across, down = (float(round(side)) if abs(side - round(side)) < 0.02 else side for side in pair)
    return across, down


def _to_srgb(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Manage colours from the file's profile to sRGB."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        managed = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("an unusable colour profile was ignored")
        return image.convert("RGB")
    return managed if managed is not None else image


def quantize(pixels: Floats, depth: int) -> npt.NDArray[Any]:
    """Round float values in 0..1 to uint8 (depth 1 and 8) or uint16 (16)."""
    top, kind = (65535.0, np.uint16) if depth == 16 else (255.0, np.uint8)
    result: npt.NDArray[Any] = np.empty(pixels.shape, kind)
    rows = max(1, _QUANTIZED // max(1, pixels[:1].size))
    for start in range(0, len(pixels), rows):
        # A part at a time stays in the cache, and a large page is never in memory once more.
        scaled = np.multiply(pixels[start : start + rows], np.float32(top))
        np.rint(scaled, out=scaled)
        np.minimum(np.maximum(scaled, 0.0, out=scaled), np.float32(top), out=scaled)
        result[start : start + rows] = scaled
    return result


def _encodable(picture: Picture, target: str, notes: list[str]) -> Image.Image:
    """Turn a picture into the Pillow image nearest to it that the format can hold."""
    depth = picture.page.depth
    if depth == 32:
        if target == "TIFF":
            low, high = picture.span
            return Image.fromarray(np.asarray(picture.pixels * (high - low) + low, np.float32))
        notes.append(f"floating point became {16 if target in _SIXTEEN_BIT else 8} bit, as {target} has none")
        depth = 16 if target in _SIXTEEN_BIT else 8
    if depth == 16 and target not in _SIXTEEN_BIT:
        notes.append(f"16 bit became 8 bit, as {target} holds no more")
        depth = 8
    image = Image.fromarray(quantize(picture.pixels, depth))
    if picture.alpha is not None:
        if target in _ALPHA and depth <= 8:
            image.putalpha(Image.fromarray(picture.alpha))
        elif target in _ALPHA:
            notes.append(f"transparency was left out, as {target} is written without it in 16 bit")
        else:
            notes.append(f"transparency was left out, as {target} holds none")
    return image


def _is_plain(picture: Picture) -> bool:
    """Whether a PNG of it needs no more than `png.encode` writes."""
    page, pixels = picture.page, picture.pixels
    told = picture.alpha, page.dpi, page.icc, page.exif
    return (
        page.depth <= 8
        and pixels.ndim == 2
        and pixels.size <= png.MAX_PIXELS
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
        longest = _LONGEST.get(self._target)
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

    return Writer(file, new=True)


def encoded(picture: Picture, target: str) -> bytes | None:
    """Encode a small picture that any format could hold; None where it needs more care than that."""
    if target == "PNG" and _is_plain(picture):
        return png.encode(quantize(picture.pixels, 8))
    return None


def write(file: IO[bytes], pictures: Iterable[Picture], target: str, *, count: int) -> list[str]:
    """Write all pages; returns notes on what the format could not hold."""
    writer = ImageWriter(file, target, count=count)
    for picture in pictures:
        writer.add(picture)
    writer.close()
    file.flush()
    return writer.notes
