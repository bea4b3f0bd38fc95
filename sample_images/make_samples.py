"""Draw the sample images of this folder again, byte for byte, with the project's own generator.

    python sample_images/make_samples.py                 writes the noisy samples beside this script
    python sample_images/make_samples.py --clean DIR     writes what they were before the noise to DIR

Nothing here is a photograph or a scan: pictures, dirt and noise all follow from the seeds below, so the
files are free of anyone's rights. Clean versions have the names, sizes and depths of the noisy ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoiser import generator, noise

Array = npt.NDArray[np.float32]
Drawing = Callable[[np.random.Generator], Array]


@dataclass(frozen=True)
class Sample:
    """One file: what is drawn (one or more pages), what spoils it, and how it is stored."""

    name: str
    seed: int
    draw: Drawing
    noise: str
    pages: int = 1
    dirty: bool = False
    bits: int = 8
    dpi: int | None = None
    quality: int | None = None


def glyph(value: int, *, height: int = 28, width: int = 28, dark: bool = False) -> Drawing:
    """A handwritten digit, scaled to the longer side and cut at the other."""

    def draw(rng: np.random.Generator) -> Array:
        ink = generator.digit(rng, value)
        side = max(height, width)
        large = Image.fromarray(ink).resize((side, side), Image.Resampling.BICUBIC)
        top, left = (side - height) // 2, (side - width) // 2
        ink = np.clip(np.asarray(large), 0.0, 1.0)[top : top + height, left : left + width]
        return np.asarray(1.0 - ink if dark else ink, dtype=np.float32)

    return draw


def page(height: int, width: int) -> Drawing:
    """A page in Pillow's own font alone, so that it is the same on every machine."""
    return lambda rng: generator.page(rng, (height, width), system_fonts=False)


def picture(kind: Callable[[np.random.Generator, tuple[int, int]], Array], *shape: int) -> Drawing:
    """One of the generator's pictures, (height, width)."""
    return lambda rng: kind(rng, (shape[0], shape[1]))


SAMPLES = (
    Sample("digits/three.png", 1, glyph(3), "gaussian:sigma=0.25"),
    Sample("digits/five.png", 5, glyph(5), "gaussian:sigma=0.45"),
    Sample("digits/eight-on-paper.png", 7, glyph(8, dark=True), "gaussian:sigma=0.2+salt_pepper:amount=0.06"),
    Sample("digits/form-field.png", 19, glyph(2, height=48, width=40, dark=True), "gaussian:sigma=0.3"),
    Sample("digits/tall-crop.png", 9, glyph(7, height=56, width=40), "salt_pepper:amount=0.2"),
    Sample("dirty-page.png", 120, page(800, 600), "gaussian:sigma=0.04", dirty=True, dpi=100),
    Sample("letter-3-pages.tiff", 340, page(480, 360), "gaussian:sigma=0.1", pages=3, dpi=150),
    Sample(
        "micrograph.png", 41, picture(generator.micrograph, 512, 512), "poisson:peak=25+gaussian:sigma=0.03"
    ),
    Sample(
        "micrograph-16bit.tiff", 43, picture(generator.micrograph, 320, 320), "gaussian:sigma=0.06", bits=16
    ),
    Sample("landscape.png", 52, picture(generator.scene, 384, 512), "gaussian:sigma=0.1"),
    Sample(
        "landscape-old.jpg",
        57,
        picture(generator.scene, 360, 480),
        "speckle:sigma=0.25+gaussian:sigma=0.03",
        quality=95,
    ),
)


def pages_of(sample: Sample) -> Iterator[tuple[Array, Array]]:
    """Clean and noisy page by page; float32 (H, W), 0..1."""
    rng = np.random.default_rng(sample.seed)
    spoil = noise.parse(sample.noise)
    for _ in range(sample.pages):
        clean = sample.draw(rng)
        spoilt = generator.dirt(clean, rng, system_fonts=False) if sample.dirty else clean
        yield clean, spoil(spoilt[None], rng)[0]


def write(sample: Sample, pages: list[Array], path: Path) -> None:
    """Store float32 pages at the sample's depth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top = 2**sample.bits - 1
    stored = np.uint8 if sample.bits == 8 else np.uint16
    images = [Image.fromarray(np.rint(page * top).astype(stored)) for page in pages]
    settings: dict[str, Any] = {"dpi": (sample.dpi, sample.dpi)} if sample.dpi else {}
    if path.suffix == ".tiff":
        settings |= {"save_all": True, "append_images": images[1:], "compression": "tiff_adobe_deflate"}
    if path.suffix == ".png":
        settings["optimize"] = True
    if sample.quality:
        settings["quality"] = sample.quality
    images[0].save(path, **settings)


def main(arguments: list[str]) -> None:
    """Write all samples, or with `--clean DIR` their clean versions."""
    if arguments and (len(arguments) != 2 or arguments[0] != "--clean"):
        sys.exit("usage: make_samples.py [--clean DIR]")
    folder = Path(arguments[1]) if arguments else Path(__file__).parent
    for sample in SAMPLES:
        pages = list(pages_of(sample))
        write(sample, [clean if arguments else noisy for clean, noisy in pages], folder / sample.name)


if __name__ == "__main__":
    main(sys.argv[1:])
