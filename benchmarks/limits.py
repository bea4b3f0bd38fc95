"""What a model takes for noise: fine patterns and gentle ramps, clean, and how they come back.

    python benchmarks/limits.py [--model NAME|FILE ...] [--json FILE]

Every picture is drawn here and cleaned as a file, with the defaults of the command. For patterns: PSNR of the
cleaned file to the picture, over the inner part, 28 pixels from the edges. For the ramp of 16 bit, which
rises row by row: by how much of 65,535 the greatest step down falls, where the picture has none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import describe
from PIL import Image

SIDE, EDGE = 256, 28
LIGHT, DARK = 208, 48
RAMP = "ramp of 16 bit, steepest fall of 65,535"


def patterns() -> dict[str, npt.NDArray[Any]]:
    """Draw the pictures, uint8 or uint16 (SIDE, SIDE)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    drawn = {
        "lines, 1 pixel in 4": columns % 4 == 0,
        "lines, 1 pixel in 3": columns % 3 == 0,
        "lines, 1 pixel in 2": columns % 2 == 0,
        "lines, 2 pixels in 4": columns % 4 < 2,
        "slanted lines, 1 pixel in 4": (columns + rows) % 4 == 0,
        "checkerboard of 1 pixel": (columns + rows) % 2 == 0,
        "checkerboard of 2 pixels": (columns // 2 + rows // 2) % 2 == 0,
        "dots, 1 pixel in 4 by 4": (columns % 4 == 0) & (rows % 4 == 0),
    }
    pictures: dict[str, npt.NDArray[Any]] = {
        name: np.where(dark, np.uint8(DARK), np.uint8(LIGHT)) for name, dark in drawn.items()
    }
    pictures[RAMP] = (20_000 + 40 * rows).astype(np.uint16)
    return pictures


def figure(name: str, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> float:
    """Return the PSNR in dB over the inner part; for the ramp its steepest fall."""
    inner = (slice(EDGE, -EDGE), slice(EDGE, -EDGE))
    first, second = before[inner].astype(np.float64), after[inner].astype(np.float64)
    if name == RAMP:
        return float(max(0.0, -np.diff(second, axis=0).min()))
    error = np.mean(np.square(first - second))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def main() -> None:
    """Clean the pictures with each model, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["general"], metavar="NAME|FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    print(f"{describe()}\n")
    pictures = patterns()
    figures: dict[str, dict[str, float]] = {name: {} for name in pictures}
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder, "drawn")
        drawn.mkdir()
        for index, picture in enumerate(pictures.values()):
            Image.fromarray(picture).save(drawn / f"{index}.png")
        for model in given.model:
            cleaned = Path(folder, Path(model).stem)
            command = [sys.executable, "-m", "denoiser", drawn, "--out", cleaned, "--model", model, "-q"]
            subprocess.run([*map(str, command)], check=True)
            for index, (name, picture) in enumerate(pictures.items()):
                with Image.open(cleaned / f"{index}.png") as image:
                    figures[name][model] = figure(name, picture, np.asarray(image))
    print(f"| clean picture | {' | '.join(given.model)} |\n| --- |{' --- |' * len(given.model)}")
    for name, row in figures.items():
        unit = "" if name == RAMP else " dB"
        print(f"| {name} | {' | '.join(f'{value:.1f}{unit}' for value in row.values())} |")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
