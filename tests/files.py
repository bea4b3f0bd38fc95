"""What lies in files and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from denoiser import record


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def recorded(folder: Path) -> list[str]:
    """The lines of the record of an output folder."""
    files = sorted((folder / record.FOLDER).glob("*.jsonl"))
    return [line for path in files for line in path.read_text("ascii").splitlines()]


def tree(folder: Path) -> list[str]:
    """Every file below a folder but the record."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if record.FOLDER not in path.parts)
