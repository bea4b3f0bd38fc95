"""The README's pictures: parts of the sample images, as they are and cleaned.

    python benchmarks/picture.py

Cleans `sample_images` with the command line into temporary folders, once with its defaults and the page once
more with `--model document`, cuts the same window out of each input and output, and writes
benchmarks/before_after.png and benchmarks/page_before_after.png.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "sample_images"
SIDE, GAP = 200, 6

PAGE, PAGE_WINDOW = "dirty-page.png", (140, 380, 560, 700)

WINDOWS = {
    "landscape.png": (180, 60),
    "landscape-old.jpg": (160, 80),
    "micrograph.png": (250, 250),
    "letter-3-pages.tiff": (40, 40),
    "digits/five.png": None,
}
"""Left and top of each window; None shows the whole image, enlarged."""


def window(path: Path, corner: tuple[int, int] | None) -> Image.Image:
    """Cut a window out of an image's first page, as 8-bit gray."""
    with Image.open(path) as image:
        page = image.convert("L")
    if corner is None:
        return page.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    left, top = corner
    return page.crop((left, top, left + SIDE, top + SIDE))


def page() -> Image.Image:
    """The dirty page, and beside it what `document` makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "denoiser", str(SAMPLES / PAGE), "--model", "document"]
        subprocess.run([*command, "--out", folder, "--quiet"], check=True)
        halves = []
        for root in (SAMPLES, Path(folder)):
            with Image.open(root / PAGE) as image:
                halves.append(np.asarray(image.convert("L").crop(PAGE_WINDOW)))
    gap = np.full((halves[0].shape[0], GAP), 128, np.uint8)
    return Image.fromarray(np.concatenate([halves[0], gap, halves[1]], axis=1))


def main() -> None:
    """Clean, cut, and write the pictures."""
    page().save(HERE / "page_before_after.png", optimize=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "denoiser", str(SAMPLES), "--out", folder, "--quiet"]
        subprocess.run(command, check=True)
        columns = []
        for name, corner in WINDOWS.items():
            pair = [np.asarray(window(root / name, corner)) for root in (SAMPLES, Path(folder))]
            gap = np.full((GAP, SIDE), 255, np.uint8)
            columns += [
                np.concatenate([pair[0], gap, pair[1]]),
                np.full((2 * SIDE + GAP, GAP), 255, np.uint8),
            ]
    Image.fromarray(np.concatenate(columns[:-1], axis=1)).save(HERE / "before_after.png", optimize=True)


if __name__ == "__main__":
    main()
