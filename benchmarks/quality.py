"""How near to clean: mean PSNR over images, files in and files out, beside other tools' best.

    python benchmarks/quality.py [--images DIR] [--quality fast balanced best] [--model NAME] [--json FILE]

Noise with a fixed seed is added to clean images, rounded and clipped to 8 bits and saved as PNG; `denoise`
cleans the folder; what it wrote is compared with the clean images. The images are `set12/` of DENOISER_DATA
unless --images names others. Peers (OpenCV's non-local means, a median filter, scikit-image's non-local
means, total variation and wavelets) run where the extra `bench` is installed, each at the setting that is
best for it on these very images, which is more than a user could know. Times are of one run on a machine
that may be busy with other things; see them as orders of magnitude.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

Bytes = npt.NDArray[np.uint8]
Filter = Callable[[Bytes, float], npt.NDArray[Any]]


def psnr(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of 8-bit images in dB."""
    error = np.mean(np.square(first.astype(np.float64) - second))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def gaussian(sigma: float) -> Callable[[Bytes, np.random.Generator], Bytes]:
    """Additive white Gaussian noise, sigma of 255, as a saved file has it."""
    return lambda image, rng: np.rint(np.clip(image + rng.normal(0, sigma, image.shape), 0, 255)).astype(
        np.uint8
    )


NOISES: dict[str, Callable[[Bytes, np.random.Generator], Bytes]] = {
    "sigma 15": gaussian(15),
    "sigma 25": gaussian(25),
    "sigma 50": gaussian(50),
}


def peers() -> dict[str, tuple[Filter, tuple[float, ...]]]:
    """Other tools that are installed, with the settings to try."""
    found: dict[str, tuple[Filter, tuple[float, ...]]] = {}
    try:
        import cv2

        found["OpenCV NLM 7/21"] = (
            lambda image, h: cv2.fastNlMeansDenoising(image, None, h, 7, 21),
            (6, 10, 14, 18, 24, 30, 40, 50, 60),
        )
        found["median"] = (lambda image, size: cv2.medianBlur(image, int(size)), (3, 5, 7))
    except ImportError:
        pass
    try:
        from skimage import restoration

        def as_bytes(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
            rounded: npt.NDArray[Any] = np.rint(255 * np.clip(image, 0, 1))
            return rounded

        found["scikit-image TV"] = (
            lambda image, weight: as_bytes(restoration.denoise_tv_chambolle(image / 255.0, weight=weight)),
            (0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3),
        )
        found["scikit-image NLM, told sigma"] = (
            lambda image, sigma: as_bytes(
                restoration.denoise_nl_means(
                    image / 255.0,
                    patch_size=5,
                    patch_distance=6,
                    h=0.8 * sigma / 255,
                    sigma=sigma / 255,
                    fast_mode=True,
                )
            ),
            (15, 25, 50),
        )
        found["wavelet (BayesShrink)"] = (
            lambda image, _: as_bytes(restoration.denoise_wavelet(image / 255.0, rescale_sigma=True)),
            (0.0,),
        )
    except ImportError:
        pass
    return found


def best_of(
    filtering: Filter, settings: Iterable[float], noisy: list[Bytes], clean: list[Bytes]
) -> tuple[float, float]:
    """Mean PSNR at the best of the settings, and the seconds that one took."""
    best = (-1.0, 0.0)
    for setting in settings:
        started = time.perf_counter()
        results = [filtering(image, setting) for image in noisy]
        seconds = time.perf_counter() - started
        figure = float(np.mean([psnr(*pair) for pair in zip(results, clean, strict=True)]))
        best = max(best, (figure, seconds))
    return best


def denoise(folder: Path, out: Path, *options: str) -> float:
    """Clean a folder with the command; returns the seconds it took, start included."""
    command = [sys.executable, "-m", "denoiser", str(folder), "--out", str(out), "--quiet", *options]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def read(folder: Path) -> dict[str, Bytes]:
    """All images of a folder as 8-bit gray, by name."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".tif"))
    return {path.stem: np.asarray(Image.open(path).convert("L")) for path in found}


def measure(
    images: dict[str, Bytes], qualities: list[str], model: str
) -> dict[str, dict[str, tuple[float, float]]]:
    """Figures and seconds by noise and method."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    clean = list(images.values())
    with tempfile.TemporaryDirectory() as root:
        for noise, spoil in NOISES.items():
            rng = np.random.default_rng(0)
            noisy = [spoil(image, rng) for image in clean]
            folder = Path(root) / noise
            folder.mkdir()
            for name, image in zip(images, noisy, strict=True):
                Image.fromarray(image).save(folder / f"{name}.png")
            row = {"noisy": (float(np.mean([psnr(*pair) for pair in zip(noisy, clean, strict=True)])), 0.0)}
            for quality in qualities:
                out = Path(root) / f"{noise}-{quality}"
                seconds = denoise(folder, out, "--model", model, "--quality", quality)
                results = read(out)
                row[f"denoise {quality}"] = (
                    float(np.mean([psnr(results[name], image) for name, image in images.items()])),
                    seconds,
                )
            for peer, (filtering, settings) in peers().items():
                row[peer] = best_of(filtering, settings, noisy, clean)
            table[noise] = row
        whole = Path(root) / "clean"
        whole.mkdir()
        for name, image in images.items():
            Image.fromarray(image).save(whole / f"{name}.png")
        row = {}
        for quality in qualities:
            seconds = denoise(whole, Path(root) / f"clean-{quality}", "--model", model, "--quality", quality)
            results = read(Path(root) / f"clean-{quality}")
            row[f"denoise {quality}"] = (
                float(np.mean([psnr(results[name], image) for name, image in images.items()])),
                seconds,
            )
        table["no noise, to itself"] = row
    return table


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--quality", nargs="+", default=["fast", "balanced", "best"])
    parser.add_argument("--model", default="general")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = options.images or Path(os.environ.get("DENOISER_DATA", "")) / "set12"
    if not folder.is_dir():
        sys.exit("benchmarks/quality.py needs --images DIR, or DENOISER_DATA with set12/ in it.")
    images = read(folder)
    table = measure(images, options.quality, options.model)
    print(describe("opencv-python-headless", "scikit-image"))
    megapixels = sum(image.size for image in images.values()) / 1e6
    print(f"{len(images)} images of {folder.name}, {megapixels:.1f} megapixels; PSNR in dB (seconds)\n")
    methods = list(next(iter(table.values())))
    print("| noise | " + " | ".join(methods) + " |")
    print("| --- |" + " --- |" * len(methods))
    for noise, row in table.items():
        cells = [f"{row[name][0]:.2f} ({row[name][1]:.1f})" if name in row else "" for name in methods]
        print(f"| {noise} | " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
