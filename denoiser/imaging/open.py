"""The one door in: a file by the first plugin that is for it, else as a plain small PNG, else by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

from denoiser.imaging import reader, small_png
from denoiser.imaging.plugin_files import PluginFile
from denoiser.imaging.small_png import PlainFile
from denoiser.plugins.manager import Plugins

_PLAIN_BYTES = 2 * small_png.MAX_PIXELS


def open_builtin(
    file: IO[bytes], path: Path, *, color: bool = False, max_megapixels: float = 500.0
) -> reader.ImageFile | PlainFile:
    """Open a file of a built-in format; see `reader.ImageFile`."""
    if isinstance(file, io.BytesIO) and file.getbuffer().nbytes <= _PLAIN_BYTES:
        pixels = small_png.decode(file.getvalue())
        if pixels is not None and pixels.size <= max_megapixels * 1e6:
            return PlainFile(pixels, path)
    return reader.ImageFile(file, path, color=color, max_megapixels=max_megapixels)


def open_image(
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
