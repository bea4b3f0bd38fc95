"""An open image file, whatever reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from denoiser.imaging.picture import Picture


class Fingerprint(NamedTuple):
    """An input file's state: size in bytes, modification time in nanoseconds, and SHA-256 of its content."""

    size: int
    mtime_ns: int
    sha256: str | None = None


class Source:
    """An open image file; as a context manager, it is closed at the end of the block.

    Attributes:
        format: the file's format as Pillow names it; for a plugin's file, the format to write instead.
        count: number of pages.
        size: width and height of the first page in pixels.
        fingerprint: state of the file when it was opened; None if it was opened from memory.

    """

    format: str
    count: int
    size: tuple[int, int]
    fingerprint: Fingerprint | None = None

    def pages(self) -> Iterator[Picture]:
        """Decode page after page; raises FileError where one can't be decoded."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the file."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
