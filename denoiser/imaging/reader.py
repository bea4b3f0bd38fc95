"""Image files to pages, without changing what was not asked for.

Depth, pages, resolution and the like are read from the file's header, to be written back. Pillow does the
decoding. Its conversions clip 16-bit images, so values are scaled here, by NumPy.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from denoiser._types import Floats
from denoiser.errors import FileError
from denoiser.imaging.formats import SAME_AS
from denoiser.imaging.picture import BECAME_GRAY, Picture
from denoiser.page import Page

# TIFF tags that describe the page and not its coding: description, make, model, resolution, page name and
# number, software, date, artist, copyright.
_TIFF_TAGS = (254, 269, 270, 271, 272, 282, 283, 285, 296, 297, 305, 306, 315, 33432)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SUBFILE, _SAMPLE_FORMAT = 258, 262, 254, 339
_MIN_IS_WHITE = 0
_UNSIGNED, _SIGNED = 1, 2

BECAME_8_BIT = "1 bit became 8 bit, as gray edges need it"
FEW_BITS_BECAME_8 = "few bits became 8 bit, as clean tones lie between them"


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
        # Pillow's own guard would warn at 89 and stop at 179 megapixels; ours comes before any decoding too.
        Image.MAX_IMAGE_PIXELS = None
        try:
            self._image: Image.Image = Image.open(file)
        except UnidentifiedImageError:
            raise FileError("is not an image that can be read.") from None
        except Exception as error:  # decoders raise nearly anything on damaged headers
            raise FileError(f"is damaged: {_fault(error)}.") from error
        self.format = SAME_AS.get(self._image.format or "", self._image.format or "")
        self._frames = self._find_pages()
        self.count = len(self._frames)

    def _find_pages(self) -> list[int]:
        """Frames that are pages: a TIFF's but for thumbnails and reduced copies; else the first."""
        if self.format != "TIFF":
            return [0]
        try:
            total = getattr(self._image, "n_frames", 1)
            if total == 1:
                return [0]
            pages = []
            for frame in range(total):
                self._image.seek(frame)
                if not self._tag(_SUBFILE, 0) & 1:
                    pages.append(frame)
            pages = pages or [0]
            self._image.seek(pages[0])
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
            raise FileError(
                f"is {width}x{height}, more than {self._limit:g} megapixels.",
                f"If it is meant to be that large, use --max-megapixels {-(-width * height // 1_000_000)}.",
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
        image = self._plain(image, notes)
        alpha = None
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
        if self.format == "PNG" and _png_depth(image) == 16:
            raise FileError(
                "has 16-bit colour or transparency, which can't be read without loss.",
                "Convert it to 16-bit gray.",
            )
        return 8

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
        elif self.format == "PNG" and mode == "L" and _png_depth(self._image) < 8:
            notes.append(FEW_BITS_BECAME_8)
        elif mode == "L" and "transparency" in image.info:
            return image.convert("LA")
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
