"""The user's folders of images to learn from, read as `denoise` reads them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiser._types import Floats
from denoiser.errors import FileError, ImagesError
from denoiser.imaging.formats import SUFFIXES
from denoiser.imaging.open import open_image

log = logging.getLogger(__name__)


_UNREADABLE = (FileError, OSError)
_TAKEN = "It takes what denoise takes: PNG, JPEG, TIFF, BMP, PGM and more."


@dataclass(frozen=True)
class Reader:
    """Reads images: `read(path)` returns float32 (H, W) pages in 0..1, for files with these `suffixes`."""

    read: Callable[[Path], list[Floats]]
    suffixes: frozenset[str]


def read(path: Path) -> list[Floats]:
    """Read every page of an image file as gray float32 (H, W) in 0..1, as `denoise` does.

    Raises FileError for a file that `denoise` refuses, and OSError.
    """
    with open_image(path) as source:
        return [picture.pixels for picture in source.pages()]


_BUILT_IN = Reader(read, SUFFIXES)


def _files(folder: Path, reader: Reader) -> Iterator[Path]:
    """The images of a folder and its subfolders, in order; hidden ones are left out, as `denoise` does."""
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix.lower() in reader.suffixes and path.is_file():
            yield path


def _why(error: Exception) -> str:
    """Return the message of an error without its hint, which may name an option that training lacks."""
    return error.message if isinstance(error, FileError) else str(error)


def images(folder: Path, reader: Reader | None = None, *, least: int = 1) -> list[Floats]:
    """Read every image of a folder and its subfolders as gray.

    Hidden files are skipped. A file that can't be read or is too small is left out, and logged.

    Args:
        folder: Folder of images.
        reader: Reads the files with plugins; None reads them without.
        least: Smallest width and height in pixels.

    Returns:
        Every page, float32 (H, W) in 0..1, in the order of the paths; 16-bit images keep their levels.

    Raises:
        ImagesError: No image is left.
    """
    return [image for _, image in named_images(folder, reader, least=least)]


def named_images(folder: Path, reader: Reader | None = None, *, least: int = 1) -> list[tuple[Path, Floats]]:
    """Read images like `images`, each page with the path of its file."""
    found: list[tuple[Path, Floats]] = []
    reader, left_out = reader or _BUILT_IN, 0
    for path in _files(folder, reader):
        try:
            pages = reader.read(path)
        except _UNREADABLE as error:
            log.warning("%s is left out of training: %s", path, _why(error))
            left_out += 1
            continue
        for page in pages:
            height, width = page.shape
            if min(page.shape) < least:
                log.warning(
                    "%s is left out of training: it is %dx%d, smaller than %d pixels.",
                    path,
                    width,
                    height,
                    least,
                )
                left_out += 1
            else:
                found.append((path, page))
    if not found:
        why = f"; {left_out} had to be left out" if left_out else ""
        raise ImagesError(f"There are no images to learn from in {folder}{why}.", _TAKEN)
    return found


def pairs(clean: Path, noisy: Path, reader: Reader | None = None) -> list[tuple[Floats, Floats]]:
    """Read each noisy image of a folder with the clean one of the same relative name.

    The suffixes may differ if the names are unambiguous.

    Returns:
        Pairs (noisy, clean), float32 (H, W) in 0..1 each, in the order of their names.

    Raises:
        ImagesError: A file, which the message names, has no partner, can't be read, or differs from its
            partner in size or number of pages.
    """
    reader = reader or _BUILT_IN
    wanted, given = _named(clean, reader), _named(noisy, reader)
    if not wanted or not given:
        raise ImagesError(
            f"There are no images to learn from in {noisy if wanted else clean}.",
            _TAKEN,
        )
    for folder, other, here, there in ((clean, noisy, wanted, given), (noisy, clean, given, wanted)):
        for name in sorted(here.keys() - there.keys()):
            raise ImagesError(
                f"{folder / here[name]} has no partner in {other}.", "Pairs have equal relative names."
            )
    found: list[tuple[Floats, Floats]] = []
    for name in sorted(wanted):
        first, second = noisy / given[name], clean / wanted[name]
        both = _read_both(first, second, reader)
        shapes = [[page.shape for page in pages] for pages in both]
        if shapes[0] != shapes[1]:
            sizes = [", ".join(f"{width}x{height}" for height, width in each) for each in shapes]
            raise ImagesError(f"{first} is {sizes[0]}, and {second} is {sizes[1]}.", "Pairs are of one size.")
        found.extend(zip(*both, strict=True))
    return found


def _read_both(first: Path, second: Path, reader: Reader) -> list[list[Floats]]:
    pages = []
    for path in (first, second):
        try:
            pages.append(reader.read(path))
        except _UNREADABLE as error:
            raise ImagesError(f"{path} can't be read: {_why(error)}") from error
    return pages


def _named(folder: Path, reader: Reader) -> dict[str, Path]:
    """Map relative names without suffix to paths. Raises ImagesError if two images share a name."""
    found: dict[str, Path] = {}
    for path in _files(folder, reader):
        relative = path.relative_to(folder)
        name = relative.with_suffix("").as_posix()
        if name in found:
            raise ImagesError(f"{path} and {found[name]} in {folder} differ only in their endings.")
        found[name] = relative
    return found


def held_out(number: int, share: float) -> list[int]:
    """Return the indices of the held-out images: evenly spread, at least the last one."""
    due = np.floor(np.arange(number + 1) * share + 1e-9)
    return [int(index) for index in np.flatnonzero(np.diff(due))] or [number - 1]
