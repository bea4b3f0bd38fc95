"""What training gains, and whether anything keeps it waiting.

    python benchmarks/train.py feeder [--network digits|general|document] [--seconds 15] [--rounds 3]
    python benchmarks/train.py digits|halftone|bars|pairs|noise-from [--minutes N] [--images N] [--json FILE]
    python benchmarks/train.py alone|frames|lines|grain|counts|micrographs [--minutes N | --epochs N]
                               [--images N] [--method NAME] [--json FILE]

`feeder`: patches a second of a training, noise made while it learns, beside those of the bare training step
on tensors that are ready, in one run; the goal is 85 %.

The others run `denoise train` as a user would, in a store of their own, and measure on images that were not
learnt from, noise rounded and clipped to 8 bits as files have it. They need DENOISER_DATA (mnist/, bsds400/,
noisyoffice/). Each prints its figures, its goal and whether it was met:

- digits: from scratch in two minutes, everything included; at sigma 0.3 within 0.2 dB of the bundled weights.
- halftone, bars: a noise of a plugin that no bundled model ever saw, on photographs and on MNIST; five
  minutes from the bundled weights gain at least 3 dB, and cost clean images at most 0.3 dB.
- pairs: 12 of NoisyOffice's 18 pages learnt from, the others measured; RMSE at most 0.03 after twenty
  minutes. All pages share one text, and sheets of paper, so this leaks and flatters. It starts from scratch,
  as the bundled weights have seen all 18; --from FILE starts from others.
- noise-from: five blank scans with correlated noise on uneven light; within 0.5 dB of being told the noise.

The last six learn from noisy images alone (`denoise train --only-noisy`). An epoch is 100,000 patches:

- alone: the twelve images of Set12 with white noise of sigma 25, and nothing else. From scratch at least
  0.7 dB over OpenCV's non-local means at its best setting; from `general` at most 0.05 dB worse than it.
- frames: two frames of each photograph; within 0.3 dB of learning from the same photographs clean.
- lines, grain, counts: row gain and column offsets; grain of 2 pixels; photons of a gain and offset that
  nobody knows, in 16-bit counts (PSNR on the scale of the counts' range). At least 3 dB over `general`, or
  within 0.7 dB of learning from the same photographs clean with this noise. --images N measures on so many.
- micrographs: the generator's, with Poisson-Gaussian noise of unknown gain and offset; at least 0.5 dB over
  `general`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

import denoiser
from denoiser import generator, noise
from denoiser.plugins import manager
from denoiser.training import datasets, image_folders, loop, mnist, recipes
from denoiser.training.metrics import psnr
from denoiser.training.plan import DataRequest, Plan

Array = npt.NDArray[np.float32]
Spoil = Callable[[Array, np.random.Generator], Array]

ROOT = Path(__file__).parent.parent
HALFTONE, BARS = "halftone:period=3..6", "bars:number=1..3,width=1..3"
CORRELATED = "correlated:sigma=0.08,blur=0.8"
WARM, SEED = 100, 11
SIGMA = 25 / 255


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["feeder", *MEASURES])
    parser.add_argument("--network", choices=sorted(recipes.RECIPES), default="general")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--from", dest="start", default="scratch", help="weights that `pairs` starts from")
    parser.add_argument("--images", type=int, help="measure on so many images only")
    parser.add_argument(
        "--epochs", type=int, help="budget of those without clean images, instead of --minutes"
    )
    parser.add_argument("--method", help="method of those without clean images")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(f"python {' '.join(sys.argv)}")
    print(describe("keras", "tensorflow"), flush=True)
    if given.what == "feeder":
        figures = feeder(given.network, given.seconds, given.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["DENOISER_HOME"] = f"{folder}/home"
            more: tuple[Any, ...] = (given.start,) if given.what == "pairs" else ()
            if given.what in ALONE:
                more = (given.epochs, given.method)
            figures = MEASURES[given.what](Path(folder), given.minutes, given.images, *more)
    for name, value in figures.items():
        print(f"{name}: {value:,.3f}" if isinstance(value, float) else f"{name}: {value}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


def feeder(network: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Patches a second of `fit` and of the bare step, in turns; medians."""
    import keras

    from denoiser import models
    from denoiser.training import losses

    recipe = recipes.RECIPES[network]
    home = mnist.home()
    images = home / "bsds400" if home and network == "general" else None
    dataset = datasets.dataset_for(Plan(recipe, Path("never written"), DataRequest(images)))
    size = recipe.optimization.batch_size
    inputs, clean = dataset.feed(size, np.random.default_rng(0))
    ready = [keras.ops.convert_to_tensor(each) for each in (inputs, clean, np.ones((size, 28), np.float32))]
    bare, whole = [], []
    for _ in range(rounds):
        model = getattr(models, recipe.kind)(**recipe.arguments)
        model.compile(**losses.compile_settings(recipe.optimization))
        for _ in range(WARM):
            model.train_on_batch(*ready)
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            model.train_on_batch(*ready)
            count += 1
        bare.append(count * size / (time.perf_counter() - begun))
        whole.append(_fitting(recipe, dataset, seconds))
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds / 2:
        count += len(dataset.feed(25 * size, np.random.default_rng(count))[1])
    feed = count / (time.perf_counter() - begun)
    share = float(np.median(whole) / np.median(bare))
    return {
        "network": network,
        "bare step, patches/s": float(np.median(bare)),
        "training, patches/s": float(np.median(whole)),
        "making patches alone, patches/s": feed,
        "share": share,
        "goal": 0.85,
        "met": share >= 0.85,
    }


def _fitting(recipe: recipes.Recipe, dataset: datasets.Dataset, seconds: float) -> float:
    """Patches a second of the second half of a training, when what was made ahead is used up.

    Its checks, ten whatever its length, are put off until after that.
    """
    from denoiser import models

    model = getattr(models, recipe.kind)(**recipe.arguments)
    begins: list[float] = []
    step = model.train_on_batch

    def timed(*given: Any, **settings: Any) -> Any:
        begins.append(time.perf_counter())
        return step(*given, **settings)

    model.train_on_batch = timed
    loop.CHECKS = 1
    # The schedule is left at its default: the rate is measured, not the result.
    optimization = replace(recipe.optimization, schedule="cosine", averaging=0.999, branch_every=None)
    loop.fit(model, dataset.feed, dataset.validation, optimization, minutes=2.0 * seconds / 60.0)
    late = [begin for begin in begins if begin - begins[0] >= seconds]
    return (len(late) - 1) * optimization.batch_size / (late[-1] - late[0])


def train(*arguments: object) -> float:
    """Run `denoise train`; returns how many seconds it took."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "denoiser", "train", *map(str, arguments)]
    print("+ denoise train", *arguments, flush=True)
    subprocess.run(command, check=True)
    return time.monotonic() - begun


def as_file(images: Iterable[Array]) -> Iterator[Array]:
    """Images as an 8-bit file has them."""
    for image in images:
        yield np.rint(np.clip(image, 0, 1) * 255.0).astype(np.float32) / np.float32(255.0)


def measured(model: str, clean: list[Array], given: list[Array], **options: Any) -> float:
    """Mean PSNR over images, cleaned and rounded to 8 bits."""
    with denoiser.Denoiser(model=model, **options) as cleaner:
        made = as_file(cleaner.reconstruct(given))
        errors = [float(np.mean(np.square(a - b))) for a, b in zip(made, clean, strict=True)]
    return float(np.mean([psnr(max(error, 1e-7)) for error in errors]))


def needed(folder: str) -> Path:
    """A folder of real images."""
    home = mnist.home()
    if home is None or not (home / folder).is_dir():
        sys.exit(f"benchmarks/train.py needs DENOISER_DATA: a folder with {folder}/ in it.")
    return home / folder


def photographs(folder: Path, limit: int | None) -> tuple[Path, list[Array]]:
    """A folder with the photographs to learn from, and every tenth, which is not in it."""
    files = sorted(needed("bsds400").glob("*.jpg"))
    taught = folder / "taught"
    taught.mkdir()
    for index, path in enumerate(files):
        if index % 10 != 9:
            (taught / path.name).symlink_to(path)
    return taught, [image_folders.read(path)[0] for path in files[9::10]][:limit]


def digits(folder: Path, minutes: float | None, limit: int | None) -> dict[str, Any]:  # noqa: ARG001
    """From scratch, beside the bundled weights."""
    needed("mnist")
    seconds = train("--model", "digits", "--from", "scratch", "--name", "new", "--minutes", minutes or 1.7)
    clean = test_digits(limit)
    noisy = spoiled(noise.parse("gaussian:sigma=0.3"), clean)
    new, bundled = (over_all(name, clean, noisy) for name in ("new", "digits"))
    met = bundled - new <= 0.2 and seconds < 120
    return {"new, dB": new, "bundled, dB": bundled, "seconds": seconds, "met": met}


def test_digits(limit: int | None) -> list[Array]:
    """MNIST's test digits."""
    found = mnist.mnist("test")
    if found is None:
        sys.exit("benchmarks/train.py needs DENOISER_DATA: a folder with mnist/ in it.")
    return list((found.astype(np.float32) / np.float32(255.0))[:limit])


def spoiled(spoil: Spoil, clean: list[Array]) -> list[Array]:
    """Each image with the noise on it, as a file has it."""
    rng = np.random.default_rng(SEED)
    return list(as_file(spoil(image[None], rng)[0] for image in clean))


def over_all(model: str, clean: list[Array], given: list[Array]) -> float:
    """PSNR of the mean error over all digits, as papers have it: of what the network itself draws."""
    from denoiser.inference.engine import open_engine
    from denoiser.weights import store

    engine = open_engine(store.load(model), engine="numpy")
    made = np.clip(engine.reconstruct(np.stack(given)), 0.0, 1.0)
    return psnr(float(np.mean(np.square(made - np.stack(clean)))))


def halftone(folder: Path, minutes: float | None, limit: int | None) -> dict[str, Any]:
    """A screen of print on photographs."""
    taught, clean = photographs(folder, limit)
    train(taught, "--name", "new", *plugged("halftone_noise", HALFTONE), "--minutes", minutes or 5)
    with manager.load([str(ROOT / "plugins" / "halftone_noise.py")], installed=False).noises():
        noisy = spoiled(noise.parse(HALFTONE), clean)
    return gained("general", measured, clean, noisy)


def bars(folder: Path, minutes: float | None, limit: int | None) -> dict[str, Any]:  # noqa: ARG001
    """Bars in front of digits."""
    needed("mnist")
    wish = ("--model", "digits", "--name", "new", *plugged("bars_noise", BARS))
    train(*wish, "--minutes", minutes or 5)
    clean = test_digits(limit)
    with manager.load([str(ROOT / "plugins" / "bars_noise.py")], installed=False).noises():
        noisy = spoiled(noise.parse(BARS), clean)
    return gained("digits", over_all, clean, noisy)


def plugged(plugin: str, text: str) -> tuple[str, ...]:
    """Options for a plugin's noise."""
    return ("--noise", text, "--plugin", str(ROOT / "plugins" / f"{plugin}.py"))


def gained(
    bundled: str,
    measure: Callable[[str, list[Array], list[Array]], float],
    clean: list[Array],
    noisy: list[Array],
) -> dict[str, Any]:
    """The new model beside the bundled one, on the noise and on clean images."""
    figures: dict[str, Any] = {}
    for name, images in (("noisy", noisy), ("clean", list(as_file(clean)))):
        for model in (bundled, "new"):
            figures[f"{name} by {model}, dB"] = measure(model, clean, images)
    gain = figures["noisy by new, dB"] - figures[f"noisy by {bundled}, dB"]
    cost = figures[f"clean by {bundled}, dB"] - figures["clean by new, dB"]
    return {**figures, "gain, dB": gain, "cost, dB": cost, "met": gain >= 3.0 and cost <= 0.3}


def pairs(folder: Path, minutes: float | None, limit: int | None, start: str) -> dict[str, Any]:
    """Two thirds of NoisyOffice's pages learnt from, the rest measured."""
    source = needed("noisyoffice")
    names = sorted((path.name for path in (source / "noisy").glob("*.png")), key=lambda name: int(name[:-4]))
    # Four ids in a row, three apart, are one page under four kinds of dirt: they stay on one side.
    held = [name for index, name in enumerate(names) if index // 4 % 3 == 2][:limit]
    for half in ("noisy", "clean"):
        (folder / half).mkdir()
        for index, name in enumerate(names):
            if index // 4 % 3 != 2:
                (folder / half / name).symlink_to(source / half / name)
    wish = ("--noisy", folder / "noisy", "--model", "document", "--name", "new", "--from", start)
    train(folder / "clean", *wish, "--minutes", minutes or 20)
    given, wanted = (
        [image_folders.read(source / half / name)[0] for name in held] for half in ("noisy", "clean")
    )
    figures = {"untouched, RMSE": rmse(given, wanted)}
    for model in ("document", "new"):
        with denoiser.Denoiser(model=model) as cleaner:
            figures[f"{model}, RMSE"] = rmse(list(as_file(cleaner.reconstruct(given))), wanted)
    return {**figures, "goal": 0.03, "met": figures["new, RMSE"] <= 0.03}


def rmse(made: list[Array], wanted: list[Array]) -> float:
    """Root of the mean squared error over all pixels."""
    squares = [np.square(a - b).ravel() for a, b in zip(made, wanted, strict=True)]
    return float(np.sqrt(np.mean(np.concatenate(squares))))


def noise_from(folder: Path, minutes: float | None, limit: int | None) -> dict[str, Any]:
    """Noise cut from blank scans, beside the true noise."""
    taught, clean = photographs(folder, limit)
    spoil, rng = noise.parse(CORRELATED), np.random.default_rng(SEED + 1)
    (folder / "blanks").mkdir()
    for index in range(5):
        down, across = np.mgrid[0:1:600j, 0:1:800j]
        light = 0.6 + 0.1 * np.sin(2 * down + index) - 0.1 * across**2
        scan = spoil(light[None].astype(np.float32), rng)[0]
        Image.fromarray(np.rint(255 * scan).astype(np.uint8)).save(folder / "blanks" / f"{index}.png")
    budget = ("--minutes", minutes or 5)
    train(taught, "--name", "cut", "--noise-from", folder / "blanks", *budget)
    train(taught, "--name", "told", "--noise", CORRELATED, *budget)
    noisy = spoiled(spoil, clean)
    figures = {f"{name}, dB": measured(name, clean, noisy) for name in ("general", "told", "cut")}
    lost = figures["told, dB"] - figures["cut, dB"]
    return {**figures, "lost, dB": lost, "met": lost <= 0.5}


def saved(folder: Path, images: Iterable[Array], *, bits: int = 8) -> list[Array]:
    """Save images, and return them as the files have them."""
    folder.mkdir(parents=True)
    top, kind, result = 2**bits - 1, np.uint8 if bits == 8 else np.uint16, []
    for index, image in enumerate(images):
        pixels = np.rint(top * np.clip(image, 0, 1)).astype(kind)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
        result.append(pixels.astype(np.float32) / np.float32(top))
    return result


def white(image: Array, rng: np.random.Generator) -> Array:
    """An image with white noise of sigma 25."""
    return image + np.float32(SIGMA) * rng.standard_normal(image.shape, np.float32)


def budget_of(minutes: float | None, epochs: int | None, usual: float) -> tuple[object, ...]:
    """Options for the length of a training."""
    return ("--epochs", epochs) if epochs else ("--minutes", minutes or usual)


def only_noisy(
    folder: Path, name: str, budget: tuple[object, ...], method: str | None, *more: object
) -> None:
    """Learn from noisy images alone."""
    asked = () if method is None else ("--method", method)
    train("--only-noisy", folder, "--name", name, "--keep-anyway", *budget, *asked, *more)


def alone(
    folder: Path, minutes: float | None, limit: int | None, epochs: int | None, method: str | None
) -> dict[str, Any]:
    """Twelve noisy images, which are cleaned afterwards."""
    import cv2

    clean = [image_folders.read(path)[0] for path in sorted(needed("set12").glob("*.png"))][:limit]
    rng = np.random.default_rng(SEED)
    given = saved(folder / "noisy", (white(c, rng) for c in clean))
    budget = budget_of(minutes, epochs, 15)
    only_noisy(folder / "noisy", "new", budget, method, "--from", "scratch")
    only_noisy(folder / "noisy", "tuned", budget, method)
    figures = {f"{name}, dB": measured(name, clean, given) for name in ("general", "new", "tuned")}
    best = -np.inf
    for strength in range(15, 41, 2):
        made = [
            cv2.fastNlMeansDenoising(np.rint(255 * image).astype(np.uint8), None, strength, 7, 21)
            for image in given
        ]
        found = [psnr(float(np.mean(np.square(m / 255 - c)))) for m, c in zip(made, clean, strict=True)]
        best = max(best, float(np.mean(found)))
    over, lost = figures["new, dB"] - best, figures["general, dB"] - figures["tuned, dB"]
    figures |= {
        "OpenCV's non-local means, dB": best,
        "from scratch over it, dB": over,
        "lost by tuning, dB": lost,
    }
    return {**figures, "met": over >= 0.7 and lost <= 0.05}


def frames(
    folder: Path, minutes: float | None, limit: int | None, epochs: int | None, method: str | None
) -> dict[str, Any]:
    """Two frames of each photograph, beside the clean photographs."""
    taught, clean = photographs(folder, limit)
    rng = np.random.default_rng(SEED)
    for path in sorted(taught.iterdir()):
        image = image_folders.read(path)[0]
        saved(folder / "noisy" / path.stem, (white(image, rng) for _ in range(2)))
    budget = (*budget_of(minutes, epochs, 10), "--from", "scratch")
    only_noisy(folder / "noisy", "new", budget, method, "--frames")
    train(taught, "--name", "told", "--noise", f"gaussian:sigma={SIGMA:.4f}", "--keep-anyway", *budget)
    given = list(as_file(white(c, rng) for c in clean))
    figures = {f"{name}, dB": measured(name, clean, given) for name in ("general", "told", "new")}
    lost = figures["told, dB"] - figures["new, dB"]
    return {**figures, "lost, dB": lost, "met": lost <= 0.3}


def unlisted(
    folder: Path, limit: int | None, budget: tuple[object, ...], method: str | None, *wish: str
) -> dict[str, Any]:
    """A noise of photographs that `general` never saw, beside learning it from the clean ones."""
    taught, clean = photographs(folder, limit)
    plugins = [str(ROOT / "plugins" / "line_noise.py")]
    rng = np.random.default_rng(SEED)
    with manager.load(plugins, installed=False).noises():
        spoil = noise.parse(wish[0])
        sources = [image_folders.read(path)[0] for path in sorted(taught.iterdir())]
        saved(folder / "noisy", (spoil(image[None], rng)[0] for image in sources))
        given = list(as_file(spoil(image[None], rng)[0] for image in clean))
    only_noisy(folder / "noisy", "new", budget, method)
    train(taught, "--name", "told", "--noise", *wish, "--keep-anyway", *budget)
    figures = {f"{name}, dB": measured(name, clean, given) for name in ("general", "told", "new")}
    gain, lost = (
        figures["new, dB"] - figures["general, dB"],
        figures["told, dB"] - figures["new, dB"],
    )
    return {**figures, "gain, dB": gain, "lost, dB": lost, "met": gain >= 3.0 or lost <= 0.7}


def lines(
    folder: Path, minutes: float | None, limit: int | None, epochs: int | None, method: str | None
) -> dict[str, Any]:
    """Row gain and column offsets."""
    plugin = str(ROOT / "plugins" / "line_noise.py")
    wish = ("lines:gain=0.1,offset=0.05", "--plugin", plugin)
    return unlisted(folder, limit, budget_of(minutes, epochs, 10), method, *wish)


def grain(
    folder: Path, minutes: float | None, limit: int | None, epochs: int | None, method: str | None
) -> dict[str, Any]:
    """Grain of 2 pixels."""
    return unlisted(folder, limit, budget_of(minutes, epochs, 10), method, "correlated:sigma=0.1,blur=2")


def photons(image: Array, rng: np.random.Generator) -> Array:
    """Counts of a camera, as a share of 65,535: 40 for each of up to 60 photons, offset, read noise."""
    counts = rng.poisson(60.0 * image) * 40.0 + rng.normal(400.0, 30.0, image.shape)
    return np.asarray(counts / 65535.0, dtype=np.float32)


def in_counts(
    folder: Path, sources: Iterable[Array], clean: list[Array], budget: tuple[object, ...], method: str | None
) -> dict[str, Any]:
    """Learn from counts, and measure on others, on the scale of what the camera counts without noise."""
    rng = np.random.default_rng(SEED)
    saved(folder / "noisy", (photons(image, rng) for image in sources), bits=16)
    given = [np.rint(65535 * photons(image, rng)).astype(np.float32) / np.float32(65535) for image in clean]
    only_noisy(folder / "noisy", "new", budget, method)
    figures = {}
    for name in ("general", "new"):
        with denoiser.Denoiser(model=name) as cleaner:
            made = [(image * np.float32(65535) - 400) / 2400 for image in cleaner.reconstruct(given)]
        errors = [float(np.mean(np.square(m - c))) for m, c in zip(made, clean, strict=True)]
        figures[f"{name}, dB"] = float(np.mean([psnr(error) for error in errors]))
    return figures


def counts(
    folder: Path, minutes: float | None, limit: int | None, epochs: int | None, method: str | None
) -> dict[str, Any]:
    """Signal-dependent noise in 16-bit counts, beside learning it clean, in the unit that it then has."""
    taught, clean = photographs(folder, limit)
    budget = budget_of(minutes, epochs, 10)
    sources = [image_folders.read(path)[0] for path in sorted(taught.iterdir())]
    figures = in_counts(folder, sources, clean, budget, method)
    train(
        taught, "--name", "told", "--noise", "poisson:peak=60+gaussian:sigma=0.0125", "--keep-anyway", *budget
    )
    rng = np.random.default_rng(SEED)
    in_photons = ((65535 * photons(image, rng) - 400) / 2400 for image in clean)
    noisy = [np.clip(image, 0, 1).astype(np.float32) for image in in_photons]  # as files in that unit have it
    figures["told, dB"] = measured("told", clean, noisy)
    gain, lost = (
        figures["new, dB"] - figures["general, dB"],
        figures["told, dB"] - figures["new, dB"],
    )
    return {**figures, "gain, dB": gain, "lost, dB": lost, "met": gain >= 3.0 or lost <= 0.7}


def micrographs(
    folder: Path, minutes: float | None, limit: int | None, epochs: int | None, method: str | None
) -> dict[str, Any]:
    """Generated micrographs, in counts."""
    rng = np.random.default_rng(SEED + 2)
    drawn = [np.clip(generator.micrograph(rng, (384, 384)), 0, 1) for _ in range(24 + (limit or 8))]
    figures = in_counts(folder, drawn[:24], drawn[24:], budget_of(minutes, epochs, 10), method)
    gain = figures["new, dB"] - figures["general, dB"]
    return {**figures, "gain, dB": gain, "met": gain >= 0.5}


ALONE: dict[str, Callable[..., dict[str, Any]]] = {
    "alone": alone,
    "frames": frames,
    "lines": lines,
    "grain": grain,
    "counts": counts,
    "micrographs": micrographs,
}
MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "digits": digits,
    "halftone": halftone,
    "bars": bars,
    "pairs": pairs,
    "noise-from": noise_from,
    **ALONE,
}

if __name__ == "__main__":
    main()
