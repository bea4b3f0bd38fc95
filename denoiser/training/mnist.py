"""MNIST's digits, from local files, or downloaded at the caller's request."""

from __future__ import annotations

import gzip
import logging
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from denoiser._types import PATCH, Bytes
from denoiser.errors import TrainingError
from denoiser.system import hardware
from denoiser.system.stderr import quietly

log = logging.getLogger(__name__)


Split = Literal["train", "test"]
VARIABLE = "DENOISER_DATA"
_PREFIXES: dict[Split, tuple[str, str]] = {"train": ("train", "x_train"), "test": ("t10k", "x_test")}


def home() -> Path | None:
    """Return the folder of real images that DENOISER_DATA names; None if it is unset or missing."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder and Path(folder).is_dir() else None


def mnist(split: Split, *, folder: Path | None = None, download: bool = False) -> Bytes | None:
    """Read MNIST's digits (LeCun, Cortes, Burges), ink 255 on 0.

    Args:
        split: Training or test digits.
        folder: Folder of the four idx files or `mnist.npz`, or of a folder `mnist` with them. None looks in
            the folder of DENOISER_DATA, then in Keras's cache.
        download: Whether Keras may download the digits if there are no files.

    Returns:
        uint8 (60000, 28, 28) or (10000, 28, 28); None if there are no digits.

    Raises:
        TrainingError: A file is damaged.
    """
    if folder is not None:
        folders = [folder, folder / "mnist"]
    else:
        cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets"
        folders = [data / "mnist", cache] if (data := home()) is not None else [cache]
    for candidate in folders:
        for path in (*sorted(candidate.glob(f"{_PREFIXES[split][0]}-images*")), candidate / "mnist.npz"):
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
        raise TrainingError(f"{path} is not a valid MNIST file: {error}.") from error
    return np.ascontiguousarray(images)


def _read_idx(content: bytes) -> Bytes:
    """Read the idx format: two zero bytes, type 8 (uint8), the number of axes, big-endian sizes, pixels."""
    if content[:4] != b"\0\0\x08\x03" or len(content) < 16:
        raise ValueError("it has no idx header of three axes of bytes")
    shape = tuple(int.from_bytes(content[start : start + 4], "big") for start in (4, 8, 12))
    if len(content) != 16 + math.prod(shape):
        raise ValueError("it is cut short")
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def _download(split: Split) -> Bytes | None:
    hardware.require_keras("Training")
    with quietly():
        import keras

    try:
        (train, _), (test, _) = keras.datasets.mnist.load_data()
    except Exception as error:  # networks, proxies and mirrors fail in many ways
        log.info("MNIST can't be downloaded: %s", error)
        return None
    return np.ascontiguousarray(train if split == "train" else test, dtype=np.uint8)
