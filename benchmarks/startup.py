"""How long a person waits before anything happens, as ratios to the floor.

    python benchmarks/startup.py [--runs 10]

Two floors, measured in the same run, alternating with what is compared to them: what Python needs to import
what the command can't do without. Goals: `denoise --help` at most 2x `import click`; one 28x28 PNG from cold
at most 1.4x `import numpy, PIL.Image, h5py, click`. Loading three file plugins should cost under 50 ms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

PLUGIN = """
from denoiser import hookimpl

@hookimpl
def preprocess(image):
    return image
"""


def seconds(command: Sequence[str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def medians(commands: dict[str, Sequence[str]], runs: int) -> dict[str, float]:
    """Median time of each command; they alternate, so that a noisy moment meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            times[name].append(seconds(command))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    denoise = [sys.executable, "-m", "denoiser"]
    entry = Path(sys.executable).with_name("denoise")
    if entry.exists():
        denoise = [str(entry)]
    with tempfile.TemporaryDirectory() as folder:
        digit = Path(folder) / "digit.png"
        pixels = np.zeros((28, 28), np.uint8)
        pixels[6:22, 13:16] = 255
        Image.fromarray(pixels).save(digit)
        plugins = []
        for index in range(3):
            path = Path(folder) / f"plugin{index}.py"
            path.write_text(PLUGIN)
            plugins += ["--plugin", str(path)]
        os.environ["DENOISER_HOME"] = folder
        job = [*denoise, str(digit), "--out", f"{folder}/out", "--force", "--quiet"]
        python = [sys.executable, "-c"]
        times = medians(
            {
                "import click": [*python, "import click"],
                "denoise --help": [*denoise, "--help"],
                "import numpy, PIL.Image, h5py, click": [*python, "import numpy, PIL.Image, h5py, click"],
                "denoise digit.png --out DIR": job,
                "the same with 3 plugins": [*job, *plugins],
            },
            runs,
        )
    print(describe())
    for name, value in times.items():
        print(f"{name:<40} {1000 * value:7.1f} ms")
    names = list(times)
    print(f"help / floor: {times[names[1]] / times[names[0]]:.2f} (goal 2.00)")
    print(f"first result / floor: {times[names[3]] / times[names[2]]:.2f} (goal 1.40)")
    print(f"3 plugins: {1000 * (times[names[4]] - times[names[3]]):.0f} ms (goal 50)")


if __name__ == "__main__":
    main()
