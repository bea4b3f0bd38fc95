"""Image files to pages, without changing what was not asked for.

Depth, pages, resolution and the like are read from the file's header, to be written back. Pillow does the
decoding. Its conversions clip 16-bit images, so values are scaled here, by NumPy.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from numbers import Rational
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from denoiser._types import Floats
from denoiser.errors import FileError
from denoiser.imaging import metadata, page_size
from denoiser.imaging.formats import READABLE, SAME_AS
from denoiser.imaging.picture import BECAME_8_BIT, BECAME_GRAY, Picture
from denoiser.imaging.source import Source
from denoiser.page import Page
from denoiser.planes import planar

_FLOATING = 3
"""Of a TIFF's sample format."""
_PILLOWS_OWN = 89_478_485
"""Pillow's limit where nobody sets one; below it our own check is early enough."""

_SHORT, _LARGEST_DPI = 65535, 65535.0
# TIFF tags of the page's place and size, and what they may be: kind of page, resolution and its unit, page
# number. Anything else stops Pillow or libtiff when it is written.
_TIFF_TAGS: dict[int, Callable[[Any], bool]] = {
    254: lambda value: _is_short(value),
    282: lambda value: _is_rational(value),
    283: lambda value: _is_rational(value),
    296: lambda value: value in (1, 2, 3),
    297: lambda value: isinstance(value, tuple) and len(value) == 2 and all(map(_is_short, value)),
}
_ORIENTATION = 274
_ON_ITS_SIDE = (5, 6, 7, 8)
"""Orientations that exchange width and height (EXIF 2.32, 4.6.4)."""
_RESOLUTIONS = (282, 283)
_EXIF_DIRECTORY, _SIDES = 0x8769, (0xA002, 0xA003)
"""EXIF's own directory, and its tags PixelXDimension and PixelYDimension."""
_CONVERTED = 1 << 20
"""Pixels that are converted at a time."""
_BLOCK = 1 << 20
"""Bytes that are read at a time; even."""
_IMAGE_WIDTH = 256
_REDUCED = 1
"""Of a page's kind: it is a smaller copy of another page."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SUBFILE, _SAMPLE_FORMAT = 258, 262, 254, 339
_MIN_IS_WHITE = 0
_UNSIGNED, _SIGNED = 1, 2

_OTHER_COLOURS = {"CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "P": "a palette", "PA": "a palette"}
FEW_BITS_BECAME_8 = "few bits became 8 bit, as clean tones lie between them"


def _unknown(file: IO[bytes]) -> FileError:
    """Say why Pillow does not know a file: no image, or a TIFF of numbers that it has no mode for."""
    from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLEFORMAT, ImageFileDirectory_v2

    with contextlib.suppress(Exception):  # whatever the bytes of something else make of a directory
        file.seek(0)
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        bits = tags[BITSPERSAMPLE][0]
        if tags[SAMPLEFORMAT][0] == _FLOATING and bits != 32:
            return FileError(
                f"has {bits}-bit floating-point pixels, which can't be read.",
                "Convert it to 32-bit floating point.",
            )
    return FileError("is not an image that can be read.")


def _fault(error: BaseException) -> str:
    """Pillow's message as the end of a sentence."""
    text = str(error).strip().rstrip(".") or type(error).__name__
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


class ImageFile(Source):
    """An opened image file, whose pages are decoded one at a time.

    Args:
        file: a seekable binary file; closing the source closes it.
        path: the name that pages carry.
        color: keep colour instead of reading gray.
        max_megapixels: pages above this many millions of pixels are refused before anything is decoded.
        beside: see `page_size.bytes_a_pixel`.

    Raises:
        FileError: no image, a damaged one, or one this tool must not touch.

    """

    def __init__(
        self,
        file: IO[bytes],
        path: Path,
        *,
        color: bool = False,
        max_megapixels: float = 500.0,
        beside: int = 0,
    ) -> None:
        self.path = path
        self._color = color
        self._beside = beside
        self._limit = max_megapixels
        self._file = file
        self._bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            with _pillows_limit(max_megapixels):
                self._image: Image.Image = Image.open(file, formats=READABLE)
        except UnidentifiedImageError:
            raise _unknown(file) from None
        except Image.DecompressionBombError as error:
            found = re.search(r"\d{6,}", str(error))
            raise page_size.too_large("has", int(found[0]) if found else 0, max_megapixels) from None
        except Exception as error:  # decoders raise nearly anything on damaged headers
            raise FileError(f"is damaged: {_fault(error)}.") from error
        self.format = SAME_AS.get(self._image.format or "", self._image.format or "")
        self._png_bits = _png_depth(self._image) if self.format == "PNG" else 8
        self._frames = self._find_pages()
        self.count = len(self._frames)
        self.size = self._image.size

    def _find_pages(self) -> list[int]:
        """Frames that are pages: a TIFF's but for thumbnails and reduced copies; else the first."""
        if self.format != "TIFF":
            return [0]
        try:
            kinds = _directories(self._file)
            total = getattr(self._image, "n_frames", 1)
            if total < len(kinds):
                raise FileError(f"is damaged: only {total} of its {len(kinds)} pages can be found.")
            pages = [frame for frame, kind in enumerate(kinds) if not kind & _REDUCED] or [0]
            self._image.seek(pages[0])
        except FileError:
            raise
        except Exception as error:
            raise FileError(f"is damaged: {_fault(error)}.") from error
        return pages

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
                decoded = [self._decode(index)]
                if index == self.count - 1:
                    self._image = Image.Image()  # frees what the decoder holds, as much as the pixels again
                yield decoded.pop()  # and nothing here keeps it
            except FileError as error:
                raise FileError(where + error.message, error.hint) from error
            except MemoryError:
                raise
            except Exception as error:  # as above: decoders raise nearly anything
                raise FileError(f"{where}can't be decoded: {_fault(error)}.") from error

    def close(self) -> None:
        """Close the file; pages that were decoded stay."""
        self._file.close()

    def _check_size(self) -> None:
        size, bands = self._image.size, self._image.getbands()
        kind = self._image.info.get("compression") if self.format == "TIFF" else self.format
        each = page_size.bytes_a_pixel(self.format, bands, color=self._color, beside=self._beside)
        page_size.require_pixels(size, self._limit)
        page_size.require_whole(size, kind, self._png_bits * len(bands), self._bytes)
        page_size.require_memory(size, each)

    def _decode(self, index: int) -> Picture:
        image, notes = self._image, []
        metadata.settle(image)
        animated = getattr(image, "is_animated", False)
        if self.format == "WEBP":
            self._image = image = image.copy()  # frees the decoder, which holds the pixels twice more
        mode, info = image.mode, dict(image.info)
        depth = self._depth()
        self._check_maximum()
        options = self._options()
        dpi = info.get("dpi")
        icc = info.get("icc_profile")
        if not isinstance(icc, bytes):  # a damaged TIFF may have numbers there
            icc = None
        exif, xmp, image, on_its_side = self._upright(image)
        if on_its_side:
            dpi = _swapped(dpi)
            _swap_resolution(options.get("tiffinfo"))
        if animated and self.format != "TIFF":
            notes.append(f"only the first frame of several in a {self.format} was cleaned")
        alpha = self._keyed(image)
        image = self._plain(image, notes)
        if image.mode in ("LA", "RGBA"):
            alpha = np.asarray(image.getchannel("A"))
            image = image.convert(image.mode[:-1])
        if image.mode == "RGB":
            # Colour that is kept stays as it is, with the profile that says what it means.
            if icc and not (self._color and _is_of_rgb(icc)):
                image, icc = _to_srgb(image, icc, notes), None
            if not self._color:
                image = image.convert("L")
        elif icc and mode not in ("L", "LA", "I;16", "I;16B", "1", "F"):
            icc = None
        pixels, span = self._scaled(image, depth, notes)
        page = Page(self.path, index, self.count, depth, mode, _dpi(dpi), icc, exif)
        self._image.load()  # texts may stand after the pixels
        told = metadata.read(self._image, self.format, xmp, notes)
        return Picture(pixels, page, alpha, span, self.format, options, tuple(notes), told)

    def _upright(self, image: Image.Image) -> tuple[bytes | None, bytes | None, Image.Image, bool]:
        """Apply the EXIF orientation; returns the EXIF block and the XMP packet without it.

        Also returns whether it exchanged width and height.
        """
        if "exif" not in image.info and self.format != "TIFF":
            return None, image.info.get("xmp"), image, False
        from PIL import ImageOps

        stated = self._tag(_ORIENTATION, 1)  # which Pillow applies to a TIFF while it decodes
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        on_its_side = (stated if self.format == "TIFF" else orientation) in _ON_ITS_SIDE
        upright = ImageOps.exif_transpose(image) if orientation != 1 else image  # which would be a copy
        xmp = metadata.upright(image.info.get("xmp"))
        if self.format == "TIFF":
            return None, xmp, upright, on_its_side
        exif = upright.info.get("exif")
        return _with_sides_swapped(exif) if exif and on_its_side else exif, xmp, upright, on_its_side

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

    def _check_maximum(self) -> None:
        """Refuse a PGM or PPM with samples above the maximum in its header, which Pillow would clip."""
        tile = getattr(self._image, "tile", None)
        if self.format != "PPM" or not tile or tile[0].codec_name != "ppm":
            return
        most = tile[0].args[-1]
        kind = np.dtype(">u2" if most > 255 else "u1")
        left = self._image.width * self._image.height * len(self._image.getbands()) * kind.itemsize
        self._file.seek(tile[0].offset)
        highest = 0
        while left and (block := self._file.read(min(left, _BLOCK))):
            left -= len(block)
            whole = len(block) // kind.itemsize  # a file that ends too early is refused when it is decoded
            highest = max(highest, int(np.frombuffer(block, kind, whole).max(initial=0)))
        if highest > most:
            raise FileError(
                f"is damaged: its header says that {most} is white, and it has values up to {highest}.",
                "Correct the header.",
            )

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
        elif mode in _OTHER_COLOURS and image.mode in ("RGB", "RGBA") and self.format != "GIF":
            notes.append(f"{_OTHER_COLOURS[mode]} became RGB")
        return image

    def _scaled(self, image: Image.Image, depth: int, notes: list[str]) -> tuple[Floats, tuple[float, float]]:
        if depth == 32:
            raw = np.asarray(image)
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
        width, height = image.size
        bands = len(image.getbands())
        pixels = planar((height, width) if bands == 1 else (height, width, bands))
        rows = max(1, _CONVERTED // width)
        for start in range(0, height, rows):
            # NumPy gets copies of what Pillow holds: of a large page, a part at a time.
            stop = min(start + rows, height)
            part = image if rows >= height else image.crop((0, start, width, stop))
            np.divide(np.asarray(part), top, out=pixels[start:stop], casting="unsafe", dtype=np.float32)
        if depth == 16 and self.format == "TIFF" and self._tag(_PHOTOMETRIC, 1) == _MIN_IS_WHITE:
            np.subtract(1.0, pixels, out=pixels)  # Pillow turns 8-bit MinIsWhite around, but not 16-bit
        return pixels, (0.0, 1.0)

    def _options(self) -> dict[str, Any]:
        """How this page was encoded, in the words of Pillow's `save`."""
        image = self._image
        if self.format == "TIFF":
            from PIL.TiffImagePlugin import ImageFileDirectory_v2

            tags = ImageFileDirectory_v2()
            for number, valid in _TIFF_TAGS.items():
                if valid(value := self._tag(number, None)):
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


def _is_short(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= _SHORT


def _is_rational(value: Any) -> bool:
    return isinstance(value, Rational | float) and 0.0 <= float(value) < float(1 << 32)


@contextlib.contextmanager
def _pillows_limit(megapixels: float) -> Iterator[None]:
    """Let Pillow refuse what it would allocate before our own check; other users of Pillow keep their limit.

    Some of its decoders take memory while they open a file. Pillow stops at twice its limit.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max(_PILLOWS_OWN, int(megapixels * 1e6))
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _directories(file: IO[bytes]) -> list[int]:
    """Return the kind of each page of a TIFF (`NewSubfileType`); FileError where their chain is broken.

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
    kinds = []
    place = at(8 if big else 4, width)
    while place:
        count = at(place, number)
        after = place + number + entry * count
        file.seek(place + number)
        tags = file.read(entry * min(count, 1 << 16))[: after - place]
        places = {int.from_bytes(tags[step : step + 2], order): step for step in range(0, len(tags), entry)}
        if place in seen or after > size or _IMAGE_WIDTH not in places:
            file.seek(start)
            raise FileError(
                f"is damaged: the directory of page {len(seen) + 1} is none.", "Copy or download it again."
            )
        seen.add(place)
        kind = places.get(_SUBFILE)
        kinds.append(0 if kind is None else _number(tags[kind : kind + entry], order))
        place = at(after, width) if after + width <= size else 0
    file.seek(start)
    return kinds


def _number(entry: bytes, order: Literal["little", "big"]) -> int:
    """Return the number in an entry of a TIFF's directory: a byte, a short, or a long."""
    length = {1: 1, 3: 2}.get(int.from_bytes(entry[2:4], order), 4)
    value = entry[12:] if len(entry) == 20 else entry[8:]
    return int.from_bytes(value[:length], order)


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
    if not all(np.isfinite(pair)) or min(pair) <= 0 or max(pair) > _LARGEST_DPI:
        return None
    across, down = (float(round(side)) if abs(side - round(side)) < 0.02 else side for side in pair)
    return across, down


def _swapped(pair: Any) -> Any:
    return pair[::-1] if isinstance(pair, tuple) and len(pair) == 2 else pair


def _swap_resolution(tags: Any) -> None:
    """Exchange the resolutions across and down among the tags of a TIFF that is written anew."""
    across, down = _RESOLUTIONS
    if tags is not None and across in tags and down in tags:
        tags[across], tags[down] = tags[down], tags[across]


def _with_sides_swapped(block: bytes) -> bytes:
    """Return an EXIF block whose resolutions, and width and height, are exchanged."""
    exif = Image.Exif()
    try:
        exif.load(block)
        for tags, pair in ((exif, _RESOLUTIONS), (exif.get_ifd(_EXIF_DIRECTORY), _SIDES)):
            if all(tag in tags for tag in pair):
                tags[pair[0]], tags[pair[1]] = tags[pair[1]], tags[pair[0]]
        return exif.tobytes()
    except Exception:  # as Pillow's decoders, it raises nearly anything where a block is damaged
        return block


def _is_of_rgb(profile: bytes) -> bool:
    """Return True if this is a readable profile of red, green and blue."""
    from PIL import ImageCms

    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() == "RGB"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False


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
