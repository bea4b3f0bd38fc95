"""Read the user's folders of training images as `denoise` reads them."""

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
_FORMATS = "Training reads the formats that denoise reads: PNG, JPEG, TIFF, BMP, PGM and more."


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


def no_folder(path: Path) -> str:
    """Say why a path is no folder, as the end of a sentence."""
    return "is a file" if path.exists() else "doesn't exist"


def _files(folder: Path, reader: Reader) -> Iterator[Path]:
    """Yield the image files of a folder and its subfolders in order, without hidden ones, like `denoise`.

    A file in place of a folder is yielded itself.
    """
    if folder.is_file():
        yield folder
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        # A link to nothing can't be read, and is told as any other file that can't.
        if path.suffix.lower() in reader.suffixes and (path.is_file() or not path.exists()):
            yield path


def _why(error: Exception, subject: str = "") -> str:
    """Return the message of an error without its hint, which may name an option that training lacks.

    subject: what is written before a message that says something of the file.
    """
    if not isinstance(error, FileError):
        return str(error)
    return error.message if error.message.startswith(("plugin ", "page ")) else subject + error.message


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
    pages_read: list[tuple[Path, Floats]] = []
    reader, left_out, small = reader or _BUILT_IN, 0, False
    for path in _files(folder, reader):
        try:
            pages = reader.read(path)
        except _UNREADABLE as error:
            log.warning("%s is left out of training: %s", path, _why(error, "it "))
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
                left_out, small = left_out + 1, True
            else:
                pages_read.append((path, page))
    if not pages_read:
        why = f"; {left_out} had to be left out" if left_out else ""
        hint = f"A patch has {least}x{least} pixels, and images may not be smaller." if small else _FORMATS
        raise ImagesError(f"There are no images to learn from in {folder}{why}.", hint)
    return pages_read


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
    clean_files, noisy_files = _named(clean, reader), _named(noisy, reader)
    if not clean_files or not noisy_files:
        raise ImagesError(
            f"There are no images to learn from in {noisy if clean_files else clean}.",
            _FORMATS,
        )
    directions = (clean, noisy, clean_files, noisy_files), (noisy, clean, noisy_files, clean_files)
    for folder, other, files, partners in directions:
        for name in sorted(files.keys() - partners.keys()):
            raise ImagesError(
                f"{folder / files[name]} has no partner in {other}.",
                "The images of a pair must have the same relative name.",
            )
    result: list[tuple[Floats, Floats]] = []
    for name in sorted(clean_files):
        first, second = noisy / noisy_files[name], clean / clean_files[name]
        both = _read_both(first, second, reader)
        shapes = [[page.shape for page in pages] for pages in both]
        if shapes[0] != shapes[1]:
            sizes = [", ".join(f"{width}x{height}" for height, width in pages) for pages in shapes]
            raise ImagesError(
                f"{first} is {sizes[0]}, and {second} is {sizes[1]}.",
                "The images of a pair must be equally large.",
            )
        result.extend(zip(*both, strict=True))
    return result


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
    files: dict[str, Path] = {}
    for path in _files(folder, reader):
        relative = path.relative_to(folder)
        name = relative.with_suffix("").as_posix()
        if name in files:
            raise ImagesError(f"{path} and {files[name]} in {folder} differ only in their endings.")
        files[name] = relative
    return files


def held_out(number: int, share: float) -> list[int]:
    """Return the indices of the held-out images: evenly spread, at least the last one."""
    due = np.floor(np.arange(number + 1) * share + 1e-9)
    return [int(index) for index in np.flatnonzero(np.diff(due))] or [number - 1]
