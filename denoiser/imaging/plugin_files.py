"""Image files by their pages, whoever reads and writes them: a plugin, or the built-in formats.

What plugins give is checked here, so that the rest of the way need not know where a page came from.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from denoiser.errors import FileError, PluginError
from denoiser.imaging import reader, small_png
from denoiser.inference.patches import Floats
from denoiser.page import Page
from denoiser.pipeline.plan import SUFFIXES
from denoiser.plugins.manager import Plugins, blamed, checked, read_only

if TYPE_CHECKING:
    from denoiser.training.recipes import Recipe

UNWRITTEN = ".tiff"
"""The ending of an output whose input's format only a reading plugin knows: TIFF holds whatever it gives."""

_PLAIN_BYTES = 2 * small_png.MAX_PIXELS
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


class PluginFile:
    """A file that a plugin reads, with the face of an `images.ImageFile`.

    The first page is read at once, as it tells how many there are and how large they are.
    """

    format = "TIFF"

    def __init__(
        self, plugin: str, given: Iterator[Any], path: Path, *, color: bool, max_megapixels: float
    ) -> None:
        self.path = path
        self._plugin = plugin
        self._given = given
        self._color = color
        self._limit = max_megapixels
        first = self._next(0)
        if first is None:
            raise self._fault("gave no pages")
        self._first: reader.Picture | None = first
        self.count = first.page.count
        self.size = (first.pixels.shape[1], first.pixels.shape[0])

    def _fault(self, what: str) -> FileError:
        return FileError(f"plugin {self._plugin} {what} in read_pages.")

    def _next(self, index: int) -> reader.Picture | None:
        """Read and check the next page; None where there is none."""
        with blamed(self._plugin, "read_pages"):
            item = next(self._given, None)
        if item is None:
            return None
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[1], Page):
            raise self._fault("gave something that is not an image and a Page")
        pixels = checked(item[0], self._plugin, "read_pages", channels=True)
        height, width = pixels.shape[:2]
        if height * width > self._limit * 1e6:
            raise FileError(
                f"page {index + 1} is {width}x{height}, more than {self._limit:g} megapixels.",
                f"If it is meant to be that large, use --max-megapixels {-(-width * height // 1_000_000)}.",
            )
        notes: tuple[str, ...] = ()
        if pixels.ndim == 3 and not self._color:
            pixels, notes = np.ascontiguousarray(pixels @ _GRAY), (reader.BECAME_GRAY,)
        page = replace(item[1], path=self.path, index=index)
        return reader.Picture(pixels, page, format="", notes=notes)

    def pages(self) -> Iterator[reader.Picture]:
        """Give page after page; FileError where the plugin fails or gives more or fewer than it said."""
        for index in range(self.count):
            picture, self._first = self._first or self._next(index), None
            if picture is None:
                raise self._fault(f"gave {index} pages of {self.count}")
            if picture.page.count != self.count:
                raise self._fault(f"said {self.count} pages and then {picture.page.count}")
            if index == self.count - 1:
                with blamed(self._plugin, "read_pages"):
                    more = next(self._given, None)
                if more is not None:
                    raise self._fault(f"gave more than the {self.count} pages that it said")
            yield picture


class PlainFile:
    """A small gray PNG that lies in memory, with the face of an `images.ImageFile`."""

    format = "PNG"
    count = 1

    def __init__(self, pixels: small_png.Bytes, path: Path) -> None:
        self.path = path
        self._pixels = pixels
        self.size = (pixels.shape[1], pixels.shape[0])

    def pages(self) -> Iterator[reader.Picture]:
        """Give the one page."""
        pixels = self._pixels.astype(np.float32)
        pixels /= np.float32(255.0)
        yield reader.Picture(pixels, Page(self.path, 0, 1, 8, "L"))


def builtin(
    file: IO[bytes], path: Path, *, color: bool = False, max_megapixels: float = 500.0
) -> reader.ImageFile | PlainFile:
    """Open a file of a built-in format; see `images.ImageFile`."""
    if isinstance(file, io.BytesIO) and file.getbuffer().nbytes <= _PLAIN_BYTES:
        pixels = small_png.decode(file.getvalue())
        if pixels is not None and pixels.size <= max_megapixels * 1e6:
            return PlainFile(pixels, path)
    return reader.ImageFile(file, path, color=color, max_megapixels=max_megapixels)


def read(
    path: Path,
    plugins: Plugins,
    builtin: Callable[[], reader.ImageFile | PlainFile],
    *,
    color: bool = False,
    max_megapixels: float = 500.0,
) -> reader.ImageFile | PlainFile | PluginFile:
    """Open a file by the first plugin that is for it, else by `builtin`; FileError names one at fault."""
    found = plugins.read_pages(path)
    if found is None:
        return builtin()
    return PluginFile(*found, path, color=color, max_megapixels=max_megapixels)


class _Handed:
    """Pages on their way into a plugin, which must take all of them and may not hide an error of theirs."""

    def __init__(self, pictures: Iterator[reader.Picture]) -> None:
        self._pictures = pictures
        self.taken = 0
        self.error: Exception | None = None
        self.lost_alpha = False

    def __iter__(self) -> Iterator[tuple[Floats, Page]]:
        return self

    def __next__(self) -> tuple[Floats, Page]:
        try:
            picture = next(self._pictures)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise
        self.taken += 1
        self.lost_alpha = self.lost_alpha or picture.alpha is not None
        return read_only(picture.pixels), picture.page


def write(
    path: Path, plugins: Plugins, pictures: Iterator[reader.Picture], *, count: int
) -> list[str] | None:
    """Let a plugin write all pages to a temporary file; returns notes, or None if no plugin wanted to.

    FileError names a plugin that fails, leaves pages out or writes nothing; what a page raises while it is
    made is raised as it is, whatever the plugin does about it.
    """
    handed = _Handed(pictures)
    try:
        plugin = plugins.write_pages(path, handed)
    except Exception:
        if handed.error is not None:
            raise handed.error from None
        raise
    if handed.error is not None:
        raise handed.error
    if plugin is None:
        return None
    if handed.taken < count:
        raise FileError(f"plugin {plugin} wrote {handed.taken} pages of {count} in write_pages.")
    if not path.is_file() or not path.stat().st_size:
        raise FileError(f"plugin {plugin} wrote nothing in write_pages.")
    return ["transparency was left out, as the plugin's format holds none"] if handed.lost_alpha else []


def prepared(recipe: Recipe, plugins: Plugins) -> Recipe:
    """Have the user's images read, and changed by plugins, for training as for use.

    A file that can't be read is left out of the training; a step that fails is a PluginError, as a network
    must not learn from other images than those it will be used on.
    """
    from denoiser.training.image_folders import Reader

    def load(path: Path) -> list[Floats]:
        with path.open("rb") as file:
            found = read(path, plugins, lambda: reader.ImageFile(file, path))
            return [_preprocessed(plugins, picture) for picture in found.pages()]

    return replace(recipe, reader=Reader(load, SUFFIXES | plugins.suffixes("read_pages")))


def _preprocessed(plugins: Plugins, picture: reader.Picture) -> Floats:
    try:
        return plugins.preprocess(picture.pixels, picture.page)
    except FileError as error:
        raise PluginError(f"{picture.page.path}: {error.message}") from error
