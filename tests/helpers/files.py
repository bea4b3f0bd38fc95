"""What lies in files and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from denoiser.pipeline import record


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def tree(folder: Path) -> list[str]:
    """Every file below a folder but the record."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != record.NAME)
    return sorted(path.relative_to(folder).as_posix() for path in found)
