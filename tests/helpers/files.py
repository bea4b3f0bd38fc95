"""What lies in files and folders."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from denoiser.pipeline import record


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def noise_images(
    folder: Path,
    number: int,
    name: Callable[[int], str] = "{}.png".format,
    larger: Mapping[int, int] | None = None,
) -> Path:
    """Write so many images of 28x28 pixels of noise; `larger` gives some of them another side."""
    rng = np.random.default_rng(11)
    for index in range(number):
        side = (larger or {}).get(index, 28)
        path = folder / name(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(path)
    return folder


def recorded(folder: Path) -> list[str]:
    """The lines of the record of an output folder."""
    files = sorted((folder / record.FOLDER).glob("*.jsonl"))
    return [line for path in files for line in path.read_text("ascii").splitlines()]


def tree(folder: Path) -> list[str]:
    """Every file below a folder but the record."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if record.FOLDER not in path.parts)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
