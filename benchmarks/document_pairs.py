"""The pairs that `document` learns from: two thirds of NoisyOffice, and drawn pages with photographs on them.

    python benchmarks/document_pairs.py OUT [--pages 32] [--seed 7]

Needs DENOISER_DATA with noisyoffice/ and bsds400/. Writes OUT/clean and OUT/noisy, and OUT/held/clean and
OUT/held/noisy: six of NoisyOffice's 18 pages (every third one, each in its own font) under their four kinds
of dirt, which no training may see. All pages share one text and the same sheets of paper, so that figures on
the held pages flatter: they say whether a font is learnt by heart, not what other paper gives.

The photographs lie on pages of the generator. Half of those pages are left clean, the others get its dirt.
Train with

    denoise train OUT/clean --noisy OUT/noisy --recipe document --name document
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from document import Pages, held, read, save

from denoiser import generator
from denoiser._types import Floats
from denoiser.generator import furniture

SHAPE = (480, 400)


def page_with_photographs(rng: np.random.Generator, files: list[Path]) -> Floats:
    """Draw a page and put one or two photographs on it; float32 in 0..1."""
    page = generator.page(rng, SHAPE)
    for _ in range(int(rng.integers(1, 3))):
        with Image.open(files[rng.integers(len(files))]) as opened:
            photograph = opened.convert("L")
        scale = float(rng.uniform(0.35, 0.85))
        wide, high = (
            min(side, max(40, round(scale * length)))
            for side, length in zip((SHAPE[1], SHAPE[0]), photograph.size, strict=True)
        )
        resized = photograph.resize((wide, high), Image.Resampling.LANCZOS)
        tones = np.asarray(resized, np.float32) / np.float32(255)
        kind = rng.random()
        if kind < 0.25:
            tones = (furniture.halftone if kind < 0.12 else furniture.engraving)(rng, tones)
        top, left = int(rng.integers(0, SHAPE[0] - high + 1)), int(rng.integers(0, SHAPE[1] - wide + 1))
        page[top : top + high, left : left + wide] = tones
    return page


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--pages", type=int, default=32)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    data = Path(os.environ.get("DENOISER_DATA", ""))
    if not (data / "noisyoffice").is_dir() or not (data / "bsds400").is_dir():
        sys.exit("benchmarks/document_pairs.py needs DENOISER_DATA with noisyoffice/ and bsds400/ in it.")
    both = {kind: read(data / "noisyoffice" / kind) for kind in ("clean", "noisy")}
    kept_apart = held(list(both["clean"]))
    files = sorted((data / "bsds400").rglob("*.jpg"))
    rng = np.random.default_rng(options.seed)
    drawn: dict[str, Pages] = {"clean": {}, "noisy": {}}
    for index in range(options.pages):
        page = page_with_photographs(rng, files)
        dirty = generator.dirt(page, rng) if index % 2 else page
        for kind, image in (("clean", page), ("noisy", dirty)):
            drawn[kind][f"photographs-{index:03}"] = np.rint(255 * image).astype(np.uint8)
    for kind, pages in both.items():
        learnt = {name: page for name, page in pages.items() if name not in kept_apart}
        save(learnt | drawn[kind], options.out / kind)
        save({name: pages[name] for name in kept_apart}, options.out / "held" / kind)
    print(
        f"{len(both['clean']) - len(kept_apart)} pairs of NoisyOffice, {options.pages} with photographs;"
        f" {len(kept_apart)} held out"
    )


if __name__ == "__main__":
    main()
