"""Time against image size and number of files, and peaks of memory: parts of `speed.py`."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
COUNTS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 50_000)
STRAIGHT = 1.03
"""Twice the work takes at most twice the time to this power: a straight line, and some noise."""


@dataclass(frozen=True)
class Curve:
    """Seconds for each amount of work."""

    unit: str
    amounts: Sequence[float]
    seconds: Sequence[float]

    @property
    def slope(self) -> float:
        """The power of the amount that time grows with, once the start (the first time) is taken off."""
        amounts, seconds = np.asarray(self.amounts), np.asarray(self.seconds)
        spent = seconds[1:] - seconds[0]
        large = spent > 0.1
        if large.sum() < 2:
            return float("nan")
        added = amounts[1:][large] - amounts[0]
        return float(np.polyfit(np.log(added), np.log(spent[large]), 1)[0])

    @property
    def text(self) -> str:
        """A line for each amount, and whether they lie on a straight line."""
        lines = [
            f"{amount:>10,g} {self.unit}: {seconds:8.2f} s, {amount / seconds:10,.2f} {self.unit}/s"
            for amount, seconds in zip(self.amounts, self.seconds, strict=True)
        ]
        found = "too few to tell" if np.isnan(self.slope) else f"{self.slope:.2f} (at most {STRAIGHT})"
        return "\n".join([*lines, f"time grows with the amount to the power of {found}"])


def measure(folder: Path, denoise: Callable[..., float], megapixels: float, files: int) -> list[Curve]:
    """Time pages of growing size, and growing numbers of files, up to these and at these."""
    rng = np.random.default_rng(9)
    sizes = [*(size for size in SIZES if size < megapixels), megapixels]
    seconds = []
    for size in sizes:
        side = math.isqrt(round(size * 1e6))  # no more than said, which the command might refuse
        path = folder / f"page{size}.png"
        wave = np.sin(np.arange(side) / 50)
        page = 128 + 80 * wave[:, None] * wave + rng.integers(-20, 20, side)
        Image.fromarray(page.astype(np.uint8)).save(path, compress_level=1)
        del page
        seconds.append(denoise(path, "--model", "general", "--stride", "28"))
        path.unlink()
    by_size = Curve("megapixels", sizes, seconds)
    counts = [*(count for count in COUNTS if count < files), files]
    source = folder / "counted"
    source.mkdir()
    made, seconds = 0, []
    for count in counts:
        for index in range(made, count):
            Image.fromarray(rng.integers(0, 60, (28, 28), np.uint8)).save(source / f"{index}.png")
        made = count
        seconds.append(denoise(source))
    return [by_size, Curve("files", counts, seconds)]


def plot(curves: Sequence[Curve], path: Path) -> None:
    """Draw the curves; says so and goes on where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is not installed (the extra denoiser[plots] has it)", file=sys.stderr)
        return
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        axes.loglog(curve.amounts, curve.seconds, "o-")
        axes.set_xlabel(curve.unit)
        axes.set_ylabel("seconds")
        axes.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(path)
    print(f"drawn: {path}")


def megabytes(command: Sequence[str], early: Callable[[], bool] = lambda: False) -> tuple[float, float]:
    """Most memory that a command and its processes have while `early` holds, and at any time (Linux).

    What they share is counted once.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    begun = peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_kilobytes, _family(process.pid))))
        if early():
            begun = peak
        time.sleep(0.01)
    if process.returncode:
        errors = process.stderr.read().decode() if process.stderr else ""
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors}")
    return begun * 1024 / 1e6, peak * 1024 / 1e6


def _family(process: int) -> list[int]:
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *map(int, children)]


def _kilobytes(process: int) -> int:
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass  # it has just ended
    return 0
