"""Check what `denoise sample_images --out clean` wrote: a file for each, of the right kind, changed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def check(before: Path, after: Path) -> str | None:
    """Compare an input with its output; returns what is wrong."""
    if not after.is_file():
        return "is missing"
    with Image.open(before) as source, Image.open(after) as result:
        if result.format != source.format:
            return f"is {result.format}, not {source.format}"
        if getattr(result, "n_frames", 1) != getattr(source, "n_frames", 1):
            return "has lost pages"
        for index in range(getattr(source, "n_frames", 1)):
            source.seek(index)
            result.seek(index)
            if result.mode != source.mode:
                return f"has mode {result.mode}, not {source.mode}"
            if result.size not in (source.size, (28, 28)):
                return f"has size {result.size}, not {source.size}"
            if result.size == source.size and np.array_equal(np.asarray(source), np.asarray(result)):
                return "is the same as its input"
    return None


def main(inputs: Path, outputs: Path) -> int:
    """Check every sample; returns how many are wrong, or 1 if there are none."""
    samples = sorted(path for path in inputs.rglob("*") if path.is_file() and path.suffix != ".py")
    wrong = 0
    for sample in samples:
        output = outputs / sample.relative_to(inputs)
        if fault := check(sample, output):
            wrong += 1
            print(f"{output} {fault}", file=sys.stderr)
    print(f"{len(samples)} samples, {wrong} wrong")
    return wrong if samples else 1


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]), Path(sys.argv[2]))))
