"""Clean images to learn from: MNIST, folders of photographs, and patches cut from either.

What is drawn instead of read is in `denoiser.generator`, so that training works with no data at all.
Nothing here is fetched from a network unless the caller asks for it.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from denoiser.errors import FileError, ImagesError, PluginError, TrainingError
from denoiser.imaging.formats import SUFFIXES
from denoiser.imaging.open import open_image
from denoiser.imaging.picture import Picture
from denoiser.imaging.reader import ImageFile
from denoiser.inference.patches import Floats
from denoiser.plugins.manager import Plugins
from denoiser.system.stderr import quietly

if TYPE_CHECKING:
    from denoiser.training.recipes import Recipe

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Split = Literal["train", "test"]

VARIABLE = "DENOISER_DATA"
PATCH = 28
_PREFIXES: dict[Split, tuple[str, str]] = {"train": ("train", "x_train"), "test": ("t10k", "x_test")}
_UNREADABLE = (FileError, OSError)
_TAKEN = "It takes what denoise takes: PNG, JPEG, TIFF, BMP, PGM and more."


def home() -> Path | None:
    """The folder of real images that DENOISER_DATA names, or None where it is unset or missing."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named and Path(named).is_dir() else None


def mnist(split: Split, *, folder: Path | None = None, download: bool = False) -> Bytes | None:
    """MNIST's digits (LeCun, Cortes, Burges), ink 255 on 0.

    Looks for the four idx files or `mnist.npz` in `folder` and its `mnist` folder; without a folder, in
    DENOISER_DATA's and then in Keras's cache. `download` lets Keras fetch them as a last resort.
    Returns uint8 (60000, 28, 28) or (10000, 28, 28), or None where there are none.
    Raises TrainingError for a file that is there but damaged.
    """
    if folder is not None:
        places = [folder, folder / "mnist"]
    else:
        cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets"
        places = [named / "mnist", cache] if (named := home()) is not None else [cache]
    for place in places:
        for path in (*sorted(place.glob(f"{_PREFIXES[split][0]}-images*")), place / "mnist.npz"):
            if path.is_file():
                log.info("MNIST from %s", path)
                return _read_mnist(path, split)
    return _download(split) if download else None


def _read_mnist(path: Path, split: Split) -> Bytes:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                images = arrays[_PREFIXES[split][1]]
        else:
            content = path.read_bytes()
            images = _read_idx(gzip.decompress(content) if path.suffix == ".gz" else content)
        if images.ndim != 3 or images.shape[1:] != (PATCH, PATCH) or images.dtype != np.uint8:
            raise ValueError(f"it holds {images.dtype} {images.shape}")
    except (OSError, EOFError, KeyError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} is not the MNIST file it is named as: {error}.") from error
    return np.ascontiguousarray(images)


def _read_idx(content: bytes) -> Bytes:
    """The idx format: two zero bytes, type 8 (uint8), the number of axes, then each as a big-endian int."""
    if content[:4] != b"\0\0\x08\x03" or len(content) < 16:
        raise ValueError("it has no idx header of three axes of bytes")
    shape = tuple(int.from_bytes(content[place : place + 4], "big") for place in (4, 8, 12))
    if len(content) != 16 + math.prod(shape):
        raise ValueError("it is cut short")
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def _download(split: Split) -> Bytes | None:
    with quietly():
        import keras

    try:
        (train, _), (test, _) = keras.datasets.mnist.load_data()
    except Exception as error:  # whatever the network, proxy or mirror came up with: there is no MNIST
        log.info("MNIST can't be had: %s", error)
        return None
    return np.ascontiguousarray(train if split == "train" else test, dtype=np.uint8)


@dataclass(frozen=True)
class Reader:
    """How the user's images are read: `read(path)` gives float32 (H, W) pages in 0..1; and the endings."""

    read: Callable[[Path], list[Array]]
    suffixes: frozenset[str]


def read(path: Path) -> list[Array]:
    """Every page of an image file, gray, float32 (H, W) in 0..1, as `denoise` reads it before it cleans.

    Raises FileError for what `denoise` refuses, and OSError.
    """
    with path.open("rb") as file:
        return [picture.pixels for picture in ImageFile(file, path).pages()]


_BUILT_IN = Reader(read, SUFFIXES)


def _files(folder: Path, reader: Reader) -> Iterator[Path]:
    """The images of a folder and its subfolders, in order; hidden ones are left out, as `denoise` does."""
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix.lower() in reader.suffixes and path.is_file():
            yield path


def _why(error: Exception) -> str:
    """What is wrong with a file; the hint is left out, as it may name an option that training lacks."""
    return error.message if isinstance(error, FileError) else str(error)


def images(folder: Path, reader: Reader | None = None, *, least: int = 1) -> list[Array]:
    """Every image of a folder and its subfolders, as gray.

    reader: what reads a file, where plugins have a say in it; its FileError means a file that can't be read.
    least: pixels that both sides must have. Returns every page, float32 (H, W) arrays in 0..1, in the order
    of their paths; 16-bit images keep their levels. Hidden files are passed over. A file that can't be read
    or is too small is left out, with a warning in the log.
    Raises ImagesError where there is none to learn from.
    """
    return [image for _, image in named_images(folder, reader, least=least)]


def named_images(folder: Path, reader: Reader | None = None, *, least: int = 1) -> list[tuple[Path, Array]]:
    """Like `images`, each with its path; a file with many pages comes with each of them."""
    found: list[tuple[Path, Array]] = []
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


def pairs(clean: Path, noisy: Path, reader: Reader | None = None) -> list[tuple[Array, Array]]:
    """Every noisy image of a folder beside the clean one of the same relative name.

    The endings may differ where the name is clear all the same. Returns (noisy, clean), float32 (H, W) in
    0..1 each, in the order of their names. Raises ImagesError, naming the file, for one without a partner,
    two of unequal size or number of pages, and one that can't be read.
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
    found: list[tuple[Array, Array]] = []
    for name in sorted(wanted):
        first, second = noisy / given[name], clean / wanted[name]
        both = _read_both(first, second, reader)
        shapes = [[page.shape for page in pages] for pages in both]
        if shapes[0] != shapes[1]:
            sizes = [", ".join(f"{width}x{height}" for height, width in each) for each in shapes]
            raise ImagesError(f"{first} is {sizes[0]}, and {second} is {sizes[1]}.", "Pairs are of one size.")
        found.extend(zip(*both, strict=True))
    return found


def _read_both(first: Path, second: Path, reader: Reader) -> list[list[Array]]:
    pages = []
    for path in (first, second):
        try:
            pages.append(reader.read(path))
        except _UNREADABLE as error:
            raise ImagesError(f"{path} can't be read: {_why(error)}") from error
    return pages


def _named(folder: Path, reader: Reader) -> dict[str, Path]:
    """The images of a folder by relative name without ending; raises ImagesError where two share one."""
    found: dict[str, Path] = {}
    for path in _files(folder, reader):
        relative = path.relative_to(folder)
        name = relative.with_suffix("").as_posix()
        if name in found:
            raise ImagesError(f"{path} and {found[name]} in {folder} differ only in their endings.")
        found[name] = relative
    return found


def held_out(number: int, share: float) -> list[int]:
    """Which of so many are kept for validation: the share, spread evenly, and at least the last."""
    due = np.floor(np.arange(number + 1) * share + 1e-9)
    return [int(index) for index in np.flatnonzero(np.diff(due))] or [number - 1]


def crops(
    sources: Sequence[Array], number: int, rng: np.random.Generator, *, size: int = PATCH, turn: bool = True
) -> Array:
    """Cut random square patches, each place of all the images equally likely.

    sources: (H, W) arrays; one smaller than `size` is mirrored at its edges until it is large enough.
    turn: also flip and turn each patch at random (8 ways). Returns float32 (number, size, size).
    Raises TrainingError if there are no images.
    """
    return pair_crops([(source, source) for source in sources], number, rng, size=size, turn=turn)[1]


def pair_crops(
    pairs: Sequence[tuple[Array, Array]],
    number: int,
    rng: np.random.Generator,
    *,
    size: int = PATCH,
    turn: bool = True,
) -> tuple[Array, Array]:
    """Like `crops`, from the same places of two images of equal shape; returns (first, second)."""
    if not pairs:
        raise TrainingError("There are no images to cut patches from.")
    grown = [(at_least(first, size), at_least(second, size)) for first, second in pairs]
    places = np.array([(a.shape[0] - size + 1) * (a.shape[1] - size + 1) for a, _ in grown], dtype=np.float64)
    # Sorted, so that every image is visited once; the patches are shuffled at the end.
    chosen = np.sort(rng.choice(len(grown), number, p=places / places.sum()))
    result = np.empty((2, number, size, size), dtype=np.float32)
    bounds = np.searchsorted(chosen, np.arange(len(grown) + 1))
    for index in np.unique(chosen):
        start, stop = int(bounds[index]), int(bounds[index + 1])
        height, width = grown[index][0].shape
        tops = rng.integers(0, height - size + 1, stop - start)
        lefts = rng.integers(0, width - size + 1, stop - start)
        for half, source in enumerate(grown[index]):
            windows = np.lib.stride_tricks.sliding_window_view(source, (size, size))
            result[half, start:stop] = windows[tops, lefts]
    order = rng.permutation(number)
    result = np.ascontiguousarray(result[:, order])
    if turn:
        way = rng.integers(0, 8, number)
        for turned in range(1, 8):
            which = np.flatnonzero(way == turned)
            patches = np.rot90(result[:, which], turned % 4, axes=(2, 3))
            result[:, which] = patches[..., ::-1] if turned >= 4 else patches
    return result[0], result[1]


def at_least(image: Array, size: int) -> Array:
    """The image (H, W), mirrored at its lower and right edge until both sides have `size` pixels."""
    missing = [max(0, size - side) for side in image.shape]
    if not any(missing):
        return image
    return np.pad(image, [(0, missing[0]), (0, missing[1])], mode="symmetric")


def shifted(patches: Array, rng: np.random.Generator, *, pixels: int, share: float = 0.5) -> Array:
    """Move a share of the patches (N, H, W) by up to `pixels` each way, edges wrapping; a new array."""
    result = patches.copy()
    moves = rng.integers(-pixels, pixels + 1, (len(patches), 2))
    moves[rng.random(len(patches)) >= share] = 0
    for down, right in np.unique(moves[moves.any(axis=1)], axis=0).tolist():
        which = np.flatnonzero((moves[:, 0] == down) & (moves[:, 1] == right))
        result[which] = np.roll(patches[which], (down, right), axis=(1, 2))
    return result


def prepared(recipe: Recipe, plugins: Plugins) -> Recipe:
    """Have the user's images read, and changed by plugins, for training as for use.

    A file that can't be read is left out of the training; a step that fails is a PluginError, as a network
    must not learn from other images than those it will be used on.
    """

    def load(path: Path) -> list[Floats]:
        with path.open("rb") as file:
            found = open_image(path, plugins, lambda: ImageFile(file, path))
            return [_preprocessed(plugins, picture) for picture in found.pages()]

    return replace(recipe, reader=Reader(load, SUFFIXES | plugins.suffixes("read_pages")))


def _preprocessed(plugins: Plugins, picture: Picture) -> Floats:
    try:
        return plugins.preprocess(picture.pixels, picture.page)
    except FileError as error:
        raise PluginError(f"{picture.page.path}: {error.message}") from error
