"""The pairs that `document` learns from: NoisyOffice, drawn pages on its paper, and some with photographs.

    python benchmarks/document_pairs.py OUT [--pages 40] [--laid 40] [--blank 10] [--seed 7]

Needs DENOISER_DATA with noisyoffice/ and bsds400/. Writes OUT/clean and OUT/noisy, and OUT/held/clean and
OUT/held/noisy: six of NoisyOffice's 18 pages (every third one, each in its own font) under their four kinds
of dirt, which no training may see. All pages share one text and the same sheets of paper, so that figures on
the held pages flatter: they say whether a font is learnt by heart, not what other paper gives.

The `--blank` sheets have no ink, and teach that all of such a sheet becomes white. The photographs lie on
pages of the generator. Half of those pages are left clean, the others get its dirt. Others, `--laid` of them,
lie on NoisyOffice's own sheets of paper, turned, enlarged, weaker or stronger: its
four kinds of dirt under other fonts and texts, most of them in black. A sheet is the median of the learnt
pages, without their ink. Ink lies on it as it does there: on folded and wrinkled paper it is lighter where
the paper is darker (its correlation with the paper is -0.4 and -0.7; on the others there is none), and
blurred by about as much as a Gaussian of 0.45 pixels, which the paper is not. Train with

    denoise train OUT/clean --noisy OUT/noisy --recipe document --name document
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from document import KINDS, Pages, held, ordered, read, save

from denoiser import generator
from denoiser._types import Floats
from denoiser.generator import furniture
from denoiser.generator.canvas import blurred

SHAPE = (480, 400)
BLACK = 8 / 255
"""What most black print of a page is at most; on NoisyOffice's pages it is 0."""
BLUR = (0.3, 0.6)
"""Of the ink on NoisyOffice's sheets: each of the four kinds is fitted best by 0.45 pixels."""


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


def blank(rng: np.random.Generator) -> Floats:
    """Draw a sheet of gray paper, textured and grainy, without ink; float32 in 0..1."""
    texture = generator.field(rng, SHAPE, cell=float(rng.uniform(20, 100)), octaves=6) - 0.5
    grain = rng.normal(0, rng.uniform(0, 0.02), SHAPE)
    sheet = rng.uniform(0.55, 1.0) + rng.uniform(0.0, 0.05) * texture + grain
    return np.asarray(np.clip(sheet, 0, 1), np.float32)


def sheets_of(noisy: Pages, clean: Pages) -> list[tuple[str, Floats]]:
    """The paper behind pages, by kind of dirt and size: float32 in 0..1, without ink."""
    alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for index, name in enumerate(ordered(clean)):
        alike.setdefault((KINDS[index % len(KINDS)], clean[name].shape), []).append(name)
    sheets = []
    for (kind, _), names in alike.items():
        pages = np.stack([noisy[name] for name in names]).astype(np.float32) / np.float32(255)
        inked = np.stack([clean[name] for name in names]) < 250
        paper = np.ma.median(np.ma.masked_array(pages, inked), axis=0)  # type: ignore[no-untyped-call]
        # Where every page has ink, the paper is guessed from around it.
        sheet = cv2.inpaint(
            np.rint(255 * paper.filled(0)).astype(np.uint8), np.ma.getmaskarray(paper).astype(np.uint8), 3, 0
        )
        sheets.append((kind, np.asarray(sheet, np.float32) / np.float32(255)))
    return sheets


def printed(rng: np.random.Generator) -> Floats:
    """Draw a page of which four in five are printed in black, as NoisyOffice has them; float32 in 0..1."""
    page = generator.page(rng, SHAPE)
    while rng.random() < 0.8 and np.quantile(page, 0.02) > BLACK:
        page = generator.page(rng, SHAPE)
    return page


def laid(page: Floats, rng: np.random.Generator, sheets: list[tuple[str, Floats]]) -> Floats:
    """A drawn page on one of the sheets, or on two that lie on each other; float32 in 0..1."""
    paper, lift = np.ones_like(page), np.zeros_like(page)
    for _ in range(1 if rng.random() < 0.7 else 2):
        kind, sheet = sheets[rng.integers(len(sheets))]
        sheet = np.rot90(sheet[:, ::-1] if rng.random() < 0.5 else sheet, int(rng.integers(4)))
        scale = max(
            float(np.exp(rng.uniform(-0.35, 0.5))),
            *(a / b for a, b in zip(page.shape, sheet.shape, strict=True)),
        )
        wide, high = (max(1, round(scale * side)) for side in sheet.shape[::-1])
        sheet = np.asarray(Image.fromarray(sheet).resize((wide, high), Image.Resampling.BICUBIC))
        top, left = (int(rng.integers(0, a - b + 1)) for a, b in zip(sheet.shape, page.shape, strict=True))
        shade = 1 - sheet[top : top + page.shape[0], left : left + page.shape[1]]
        shade = shade * np.float32(rng.uniform(0.6, 1.3))
        paper *= 1 - shade
        creased = kind in ("folds", "wrinkles")
        lift += np.float32(rng.uniform(0.06, 0.16) if creased else rng.uniform(0.0, 0.07))
        lift += np.float32(rng.uniform(0.3, 1.3) if creased else 0) * np.maximum(shade, 0)
    lift = np.clip(lift, 0, 0.5)
    page = blurred(page, float(rng.uniform(*BLUR)))
    return np.clip((lift + (1 - lift) * page) * paper, 0, 1).astype(np.float32)


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--laid", type=int, default=40)
    parser.add_argument("--blank", type=int, default=10)
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
    learnt = {
        kind: {name: page for name, page in pages.items() if name not in kept_apart}
        for kind, pages in both.items()
    }
    sheets = sheets_of(learnt["noisy"], learnt["clean"])
    for index in range(options.laid):
        page = printed(rng)
        for kind, image in (("clean", page), ("noisy", laid(page, rng, sheets))):
            drawn[kind][f"laid-{index:03}"] = np.rint(255 * image).astype(np.uint8)
    for index in range(options.blank):
        for kind, image in (("clean", np.ones(SHAPE, np.float32)), ("noisy", blank(rng))):
            drawn[kind][f"blank-{index:03}"] = np.rint(255 * image).astype(np.uint8)
    for kind, pages in both.items():
        save(learnt[kind] | drawn[kind], options.out / kind)
        save({name: pages[name] for name in kept_apart}, options.out / "held" / kind)
    print(
        f"{len(learnt['clean'])} pairs of NoisyOffice, {options.laid} drawn ones on its paper,"
        f" {options.pages} with photographs, {options.blank} without ink; {len(kept_apart)} held out"
    )


if __name__ == "__main__":
    main()
