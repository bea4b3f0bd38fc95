"""Image files that a plugin reads or writes, page by page.

Pages from plugins are checked here, so that the rest of the package need not know where a page came from.
"""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from denoiser._types import Floats
from denoiser.errors import FileError
from denoiser.imaging import page_size
from denoiser.imaging.picture import BECAME_GRAY, Picture
from denoiser.imaging.source import Source
from denoiser.page import Page
from denoiser.plugins.checks import blamed, checked, read_only
from denoiser.plugins.manager import Plugins
from denoiser.system import atomic
from denoiser.system.atomic import Written

_DEPTHS = (1, 8, 16, 32)
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


class PluginFile(Source):
    """A file that a plugin reads.

    The first page is read at once, as it states the number of pages and their size.
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
        self._first: Picture | None = first
        self.count = first.page.count
        if self.count < 1:
            raise self._fault(f"said that there are {self.count} pages")
        self.size = (first.pixels.shape[1], first.pixels.shape[0])

    def _fault(self, what: str) -> FileError:
        return FileError(f"plugin {self._plugin} {what} in read_pages.")

    def _next(self, index: int) -> Picture | None:
        """Read and check the next page; None where there is none."""
        with blamed(self._plugin, "read_pages"):
            item = next(self._given, None)
        if item is None:
            return None
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[1], Page):
            raise self._fault("gave something that is not an image and a Page")
        self._check_facts(item[1])
        pixels = checked(item[0], self._plugin, "read_pages", channels=True)
        height, width = pixels.shape[:2]
        if height * width > self._limit * 1e6:
            raise page_size.too_large(f"page {index + 1} is {width}x{height},", width * height, self._limit)
        notes: tuple[str, ...] = ()
        if pixels.ndim == 3 and not self._color:
            pixels, notes = np.ascontiguousarray(pixels @ _GRAY), (BECAME_GRAY,)
        page = replace(item[1], path=self.path, index=index)
        return Picture(pixels, page, format="", notes=notes)

    def _check_facts(self, page: Page) -> None:
        """Raise FileError for facts that the page can't have, which would fail later, or change the depth."""
        two = isinstance(page.dpi, tuple | list) and len(page.dpi) == 2
        facts = {
            "count": (isinstance(page.count, numbers.Integral), "a whole number"),
            "depth": (page.depth in _DEPTHS, "1, 8, 16 or 32"),
            "mode": (isinstance(page.mode, str), "text"),
            "dpi": (
                page.dpi is None or (two and all(map(_is_resolution, page.dpi))),
                "two numbers above 0, or None",
            ),
            "icc": (isinstance(page.icc, bytes | None), "bytes, or None"),
            "exif": (isinstance(page.exif, bytes | None), "bytes, or None"),
        }
        for name, (right, wanted) in facts.items():
            if not right:
                raise FileError(
                    f"plugin {self._plugin} gave a Page in read_pages whose {name} is"
                    f" {getattr(page, name)!r}; it must be {wanted}."
                )

    def pages(self) -> Iterator[Picture]:
        """Yield page after page; FileError where the plugin fails or yields more or fewer than it said."""
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

    def close(self) -> None:
        """End the plugin's generator; an error that it raises now no longer concerns a page."""
        close = getattr(self._given, "close", None)
        if close is not None:
            with contextlib.suppress(FileError), blamed(self._plugin, "read_pages"):
                close()


class _Handed:
    """Pages for a plugin, which must take all of them and can't hide an error that one of them raises."""

    def __init__(self, pictures: Iterator[Picture]) -> None:
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


def _is_resolution(value: Any) -> bool:
    return isinstance(value, numbers.Real) and 0.0 < float(value) < math.inf


class _Declined(Exception):  # noqa: N818 - not an error
    """Raised inside `replacing_path` to discard the temporary file when no plugin accepts the file."""


def save(
    path: Path, plugins: Plugins, pages: Iterator[Picture], *, count: int, sync: bool = False
) -> tuple[Written, list[str]] | None:
    """Let a plugin write all pages; returns what `writer.save` does, or None if no plugin accepts the file.

    FileError names a plugin that fails, leaves pages out or writes nothing; an error of a page that is being
    computed is raised unchanged, whatever the plugin does about it.
    """
    if not plugins.writes(path):
        return None
    with contextlib.suppress(_Declined), atomic.replacing_path(path, sync=sync) as temporary:
        notes = _write(temporary, plugins, pages, count)
        status = temporary.stat()
        return Written(status.st_size, status.st_mtime_ns), notes
    return None


def _write(path: Path, plugins: Plugins, pages: Iterator[Picture], count: int) -> list[str]:
    handed = _Handed(pages)
    try:
        plugin = plugins.write_pages(path, handed)
    except Exception:
        if handed.error is not None:
            raise handed.error from None
        raise
    if handed.error is not None:
        raise handed.error
    if plugin is None:
        raise _Declined
    if handed.taken < count:
        raise FileError(f"plugin {plugin} wrote {handed.taken} pages of {count} in write_pages.")
    if not path.is_file() or not path.stat().st_size:
        raise FileError(f"plugin {plugin} wrote nothing in write_pages.")
    return ["transparency was left out, as the plugin's format holds none"] if handed.lost_alpha else []
