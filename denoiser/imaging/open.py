"""The one door in: a file by the first plugin that accepts it, else as a plain small PNG, else by Pillow."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import IO

from denoiser.errors import FileError
from denoiser.imaging import small_png
from denoiser.imaging.plugin_files import PluginFile
from denoiser.imaging.reader import ImageFile
from denoiser.imaging.small_png import PlainFile
from denoiser.imaging.source import Fingerprint, Source
from denoiser.plugins.manager import Plugins

# Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
_READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_IN_MEMORY = 32 << 20
"""Files up to this many bytes are read at once; larger ones stay on the disk while they are decoded."""

_PLAIN_BYTES = 2 * small_png.MAX_PIXELS


def open_image(
    path: Path,
    plugins: Plugins | None = None,
    *,
    color: bool = False,
    max_megapixels: float = 500.0,
    beside: int = 0,
) -> Source:
    """Open an image file.

    Args:
        path: a regular file.
        plugins: asked in load order whether one reads the file.
        color: keep colour instead of reading gray.
        max_megapixels: pages above this many millions of pixels are refused before anything is decoded.
        beside: memory that they need besides; see `denoiser.imaging.page_size.bytes_a_pixel`.

    Raises:
        FileError: not a file that can be read, no image, a damaged one, or a plugin that fails.

    """
    file, fingerprint = _opened(path)
    source: Source | None = None
    try:
        pages = plugins.read_pages(path) if plugins else None
        if pages is not None:
            with file:
                source = PluginFile(*pages, path, color=color, max_megapixels=max_megapixels)
        else:
            source = open_builtin(file, path, color=color, max_megapixels=max_megapixels, beside=beside)
        source.fingerprint = fingerprint
        return source
    finally:
        if source is None:  # else it closes the file
            file.close()


def open_builtin(
    file: IO[bytes], path: Path, *, color: bool = False, max_megapixels: float = 500.0, beside: int = 0
) -> Source:
    """Open a file of a built-in format; see `ImageFile`."""
    if isinstance(file, io.BytesIO) and file.getbuffer().nbytes <= _PLAIN_BYTES:
        pixels = small_png.decode(file.getvalue())
        if pixels is not None and pixels.size <= max_megapixels * 1e6:
            return PlainFile(pixels, path)
    return ImageFile(file, path, color=color, max_megapixels=max_megapixels, beside=beside)


def _opened(path: Path) -> tuple[IO[bytes], Fingerprint]:
    """Open a file for reading, a smaller one as a copy in memory."""
    try:
        number = os.open(path, _READING)
    except OSError as error:
        raise FileError(f"can't be read: {error.strerror}.") from error
    file: IO[bytes] | None = None
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise FileError("is not a regular file.")
        if status.st_size == 0:
            raise FileError("is empty.")
        if status.st_size > _IN_MEMORY:
            file = os.fdopen(number, "rb")
        else:
            content = _content(number, status.st_size)
    finally:
        if file is None:  # else the file object closes it
            os.close(number)
    if file is None:
        checksum = hashlib.sha256(content).hexdigest()
        file = io.BytesIO(content)
    else:
        checksum = _checksum(file)
    return file, Fingerprint(status.st_size, status.st_mtime_ns, checksum)


def _checksum(file: IO[bytes]) -> str:
    """Hash an open file and go back to its start; it is closed if that fails."""
    try:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it is buffered
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return checksum


def _content(number: int, size: int) -> bytes:
    """Read an open file to its end; `size` is the length that it probably has."""
    content = os.read(number, size + 1)
    if len(content) == size:
        return content  # a file that is longer would have filled what was asked for
    parts = [content]
    while part := os.read(number, size + 1):
        parts.append(part)
    return b"".join(parts)
