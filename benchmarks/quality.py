"""How near to clean: mean PSNR over images, files in and files out, beside other tools' best.

    python benchmarks/quality.py [--images DIR] [--held-out] [--noise NAME ...] [--model NAME|FILE ...]
        [--quality fast balanced best] [--no-peers] [--json FILE] [--pictures DIR]

Noise with a fixed seed is added to clean images, rounded and clipped to 8 bits and saved as PNG; `denoise`
cleans the folder; what it wrote is compared with the clean images. The images are `set12/` of DENOISER_DATA
unless --images names others; --held-out takes the photographs of `bsds400/` that training leaves out, every
tenth. For the last quality of each model there are also SSIM and the structure that an image has gained: the
correlation of output minus clean with itself one pixel on. An error without structure has none; worms and
blotches have much. Peers (OpenCV's non-local means, a median filter, scikit-image's non-local means, total
variation and wavelets) run where the extra `bench` is installed, each at the setting that is best for it on
these very images, which is more than a user could know. Times are of one run on a machine that may be busy
with other things; see them as orders of magnitude, and benchmarks/speed.py for ratios. --pictures writes, for
each noise, the images that came out best, worst and in the middle: clean, noisy and cleaned side by side.
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

from denoiser import noise
from denoiser.training import metrics

Bytes = npt.NDArray[np.uint8]
Filter = Callable[[Bytes, float], npt.NDArray[Any]]


def psnr(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of 8-bit images in dB."""
    error = np.mean(np.square(first.astype(np.float64) - second))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def named(text: str) -> Callable[[Bytes, np.random.Generator], Bytes]:
    """A noise of the command's own, on the 0..1 scale, rounded and clipped as a saved file is."""

    def spoil(image: Bytes, rng: np.random.Generator) -> Bytes:
        spoilt = noise.parse(text)(image[None].astype(np.float32) / np.float32(255.0), rng)[0]
        rounded: Bytes = np.rint(spoilt * 255.0).astype(np.uint8)
        return rounded

    return spoil


def gaussian(sigma: float) -> Callable[[Bytes, np.random.Generator], Bytes]:
    """Additive white Gaussian noise, sigma of 255, as a saved file has it."""
    return lambda image, rng: np.rint(np.clip(image + rng.normal(0, sigma, image.shape), 0, 255)).astype(
        np.uint8
    )


def untouched(image: Bytes, _rng: np.random.Generator) -> Bytes:
    """No noise: the cleaned image is compared with itself."""
    return image


NOISES: dict[str, Callable[[Bytes, np.random.Generator], Bytes]] = {
    "sigma 15": gaussian(15),
    "sigma 25": gaussian(25),
    "sigma 50": gaussian(50),
    "poisson, peak 30": named("poisson:peak=30"),
    "speckle, sigma 0.2": named("speckle:sigma=0.2"),
    "JPEG, quality 30": named("jpeg:quality=30"),
    "salt and pepper, 2 %": named("salt_pepper:amount=0.02"),
    "correlated, sigma 20": named(f"correlated:sigma={20 / 255},blur=0.8"),
    "none, to itself": untouched,
}
NLM = "scikit-image NLM"


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
        found[NLM] = (
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
            (4, 8, 12, 15, 20, 25, 35, 50),
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


def held_out(folder: Path) -> dict[str, Bytes]:
    """The photographs that training keeps for validation: every tenth, in the order of their names."""
    return dict(list(read(folder).items())[9::10])


Row = dict[str, tuple[float, float]]


def ssim(first: Bytes, second: Bytes) -> float:
    """Structural similarity of two 8-bit images, 1 where they are equal; see `denoiser.training.metrics`."""
    one, other = (image[None].astype(np.float32) / np.float32(255.0) for image in (first, second))
    return float(metrics.ssim(one, other)[0])


def structure(result: Bytes, clean: Bytes) -> float:
    """Correlation of output minus clean with itself one pixel to the right and one down, mean of both."""
    error = result.astype(np.float64) - clean
    error -= error.mean()
    power = float(np.mean(np.square(error)))
    if power == 0.0:
        return 0.0
    right, down = error[:, 1:] * error[:, :-1], error[1:] * error[:-1]
    return float((right.mean() + down.mean()) / 2 / power)


def measure(images: dict[str, Bytes], chosen: argparse.Namespace) -> dict[str, Row]:
    """Figures and seconds by noise and method."""
    table: dict[str, Row] = {}
    clean = list(images.values())
    with tempfile.TemporaryDirectory() as root:
        for number, noise_name in enumerate(chosen.noise):
            rng = np.random.default_rng(0)
            noisy = [NOISES[noise_name](image, rng) for image in clean]
            folder = Path(root) / str(number)
            folder.mkdir()
            for name, image in zip(images, noisy, strict=True):
                Image.fromarray(image).save(folder / f"{name}.png")
            row = {}
            if NOISES[noise_name] is not untouched:
                row["noisy"] = (mean_psnr(noisy, clean), 0.0)
            for model in chosen.model:
                for quality in chosen.quality:
                    out = Path(root) / f"{number}-{Path(model).stem}-{quality}"
                    seconds = denoise(folder, out, "--model", model, "--quality", quality)
                    found = read(out)
                    results = [found[name] for name in images]
                    label = "denoise" if len(chosen.model) == 1 else Path(model).stem
                    row[f"{label} {quality}"] = (mean_psnr(results, clean), seconds)
                pairs = list(zip(results, clean, strict=True))
                row[f"{label} SSIM"] = (float(np.mean([ssim(*pair) for pair in pairs])), 0.0)
                row[f"{label} structure"] = (float(np.mean([structure(*pair) for pair in pairs])), 0.0)
            if chosen.pictures:
                draw(chosen.pictures, noise_name, images, noisy, results)
            if not chosen.no_peers and NOISES[noise_name] is not untouched:
                for peer, (filtering, settings) in peers().items():
                    row[peer] = best_of(filtering, settings, noisy, clean)
            table[noise_name] = row
            print(noise_name, {name: round(value[0], 2) for name, value in row.items()}, file=sys.stderr)
    return table


def mean_psnr(results: list[Bytes], clean: list[Bytes]) -> float:
    """Mean over images, those that are equal counting as 100 dB."""
    return float(np.mean([min(100.0, psnr(*pair)) for pair in zip(results, clean, strict=True)]))


def draw(
    folder: Path, noise_name: str, images: dict[str, Bytes], noisy: list[Bytes], results: list[Bytes]
) -> None:
    """Write the best, a typical and the worst image: clean, noisy, cleaned."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(images)
    order = np.argsort([-psnr(results[index], images[name]) for index, name in enumerate(names)])
    for word, index in (("best", order[0]), ("typical", order[len(order) // 2]), ("worst", order[-1])):
        row = np.concatenate([images[names[index]], noisy[index], results[index]], axis=1)
        plain = "".join(letter if letter.isalnum() else "-" for letter in noise_name)
        Image.fromarray(row).save(folder / f"{plain}-{word}-{names[index]}.png")


def cell(method: str, value: float, seconds: float) -> str:
    """One figure of the table: dB and seconds, or what has neither."""
    if method.endswith(("SSIM", "structure")):
        return f"{value:.3f}"
    return f"{value:.2f} ({seconds:.1f})" if seconds else f"{value:.2f}"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--noise", nargs="+", default=list(NOISES), choices=list(NOISES), metavar="NAME")
    parser.add_argument("--quality", nargs="+", default=["fast", "balanced", "best"])
    parser.add_argument("--model", nargs="+", default=["general"])
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    data = Path(os.environ.get("DENOISER_DATA", ""))
    folder = options.images or data / ("bsds400" if options.held_out else "set12")
    if not folder.is_dir():
        sys.exit("benchmarks/quality.py needs --images DIR, or DENOISER_DATA with set12/ and bsds400/ in it.")
    images = held_out(folder) if options.held_out else read(folder)
    table = measure(images, options)
    print(describe("opencv-python-headless", "scikit-image"))
    megapixels = sum(image.size for image in images.values()) / 1e6
    print(f"{len(images)} images of {folder.name}, {megapixels:.1f} megapixels; PSNR in dB (seconds)\n")
    methods = list(dict.fromkeys(name for row in table.values() for name in row))
    print("| noise | " + " | ".join(methods) + " |")
    print("| --- |" + " --- |" * len(methods))
    for noise_name, row in table.items():
        cells = [cell(name, *row[name]) if name in row else "" for name in methods]
        print(f"| {noise_name} | " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
