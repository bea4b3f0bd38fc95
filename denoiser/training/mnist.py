"""MNIST's digits, from files that are there; fetched only where the caller asks for it."""

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
    hardware.require_keras("Training")
    with quietly():
        import keras

    try:
        (train, _), (test, _) = keras.datasets.mnist.load_data()
    except Exception as error:  # whatever the network, proxy or mirror came up with: there is no MNIST
        log.info("MNIST can't be had: %s", error)
        return None
    return np.ascontiguousarray(train if split == "train" else test, dtype=np.uint8)
