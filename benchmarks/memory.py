"""What memory large pages of few bytes take, in each format, in gray and in colour.

    python benchmarks/memory.py [--megapixels N] [--model NAME|FILE] [--only NAME ...]
        [--also OPTIONS] [--json FILE]

Each page is of one tone, so that its file is small, and is cleaned by a process of its own. Beside the most
memory that the process had, in MB of 2^20 bytes: how much more that is than for a page of 300x300 pixels, in
bytes a pixel; and the goal, 500 MB and 12 bytes a pixel.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import describe
from PIL import Image

TONES: dict[str, Any] = {
    "1": 1,
    "L": 200,
    "P": 3,
    "LA": (200, 100),
    "RGB": (200, 100, 50),
    "RGBA": (200, 100, 50, 128),
    "CMYK": (10, 20, 30, 40),
}
PAGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("png", "L", {}),
    ("png", "LA", {}),
    ("png", "P", {}),
    ("png", "RGB", {}),
    ("png", "RGBA", {}),
    ("tif", "1", {"compression": "group4"}),
    ("tif", "RGBA", {"compression": "tiff_adobe_deflate"}),
    ("tif", "CMYK", {"compression": "tiff_adobe_deflate"}),
    ("jpg", "RGB", {"quality": 1}),
    ("jpg", "CMYK", {"quality": 1}),
    ("gif", "P", {}),
    ("webp", "L", {"lossless": True, "quality": 0, "method": 0}),
    ("webp", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
    ("jp2", "L", {}),
    ("jp2", "RGB", {}),
    ("jp2", "RGBA", {}),
)
GRAY = ("1", "L", "LA")
MB = 1 << 20


def drawn(path: Path, mode: str, side: int, options: dict[str, Any]) -> Path:
    """Draw a page in another process: the memory that this one takes would count for those it starts."""
    process = multiprocessing.get_context("fork").Process(target=draw, args=(path, mode, side, options))
    process.start()
    process.join()
    return path


def draw(path: Path, mode: str, side: int, options: dict[str, Any]) -> None:
    """Write a page of one tone."""
    image = Image.new(mode, (side, side), TONES[mode])
    if mode == "P":
        image.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    image.save(path, **options)


def peak(path: Path, model: str, *more: str) -> float:
    """Return the most memory in MB that cleaning a file took."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "denoiser", str(path), "--out", folder, "--model", model, "-q"]
        command += more
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Clean the pages, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    Image.MAX_IMAGE_PIXELS = None
    parser.add_argument("--megapixels", type=float, default=36.0, metavar="N")
    parser.add_argument("--model", default="general", metavar="NAME|FILE")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="formats, such as webp jp2")
    parser.add_argument(
        "--also",
        default="",
        metavar="OPTIONS",
        help="more options of denoise in one argument, in which {} is a folder: '--compare {}/look'",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    side = round((given.megapixels * 1e6) ** 0.5)
    pixels = side**2
    goal = 500 + 12 * pixels / MB
    print(f"{describe()}\n\n{side}x{side} pixels; goal: {goal:.0f} MB\n")
    print("| page | file | in gray | in colour |\n| --- | --- | --- | --- |")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        base = peak(drawn(Path(folder, "small.png"), "L", 300, {}), given.model)
        also = shlex.split(given.also.format(folder))
        for ending, mode, options in PAGES:
            if given.only and ending not in given.only:
                continue
            path = drawn(Path(folder, f"page.{ending}"), mode, side, options)
            size = path.stat().st_size
            told = []
            for color in (False, True):
                if color and mode in GRAY:
                    told.append("-")
                    continue
                most = peak(path, given.model, *also, *(["--color"] if color else []))
                each = (most - base) * MB / pixels
                told.append(f"{most:.0f} MB, {each:.1f} a pixel{'' if most <= goal else ', above'}")
                rows.append({"page": ending, "mode": mode, "color": color, "mb": most, "bytes_a_pixel": each})
            print(f"| {ending} {mode} | {size / 1000:,.1f} KB | {' | '.join(told)} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"side": side, "base_mb": base, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
