"""Which parts of the generator `document` learns real pages from, and which surroundings it needs.

    python benchmarks/ablation.py [--patches N] [--only NAME ...] [--seed N] [--precision bfloat16]
                                  [--json FILE]

Each row is a network that starts from scratch by the recipe of `document` and learns from drawn pages alone,
equally many patches each: with everything, with one part of the generator taken out, or with other
surroundings. It is judged at `fast` on all of NoisyOffice (DENOISER_DATA), of which it has seen nothing: the
root of the mean squared error on 0..1, by kind of dirt, and of the clean pages to themselves; then what must
stay, as in `benchmarks/document.py`: the contrast of text 20 levels darker than its paper, and photographs,
if DENOISER_DATA has set12/. `everything` with several seeds tells what chance alone does. Such short
trainings end far above the bundled network's errors: they say what teaches, not how well it can be learnt.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import document
import numpy as np
import numpy.typing as npt
from machine import describe

from denoiser import Denoiser
from denoiser.generator import furniture, pages
from denoiser.training import recipes
from denoiser.training.datasets import EPOCH
from denoiser.training.plan import Plan
from denoiser.training.run import train_network

dirt = importlib.import_module("denoiser.generator.dirt")  # the package has a function of this name
Floats = npt.NDArray[np.float32]
COLUMNS = ("all", *document.KINDS, "clean", "text 20 darker", "photographs")


def _none(_rng: object, shape: tuple[int, int], **_options: object) -> Floats:
    return np.zeros(shape, np.float32)


def _same(drawn: Any, *_more: object, **_options: object) -> Any:
    return drawn


def _nothing(*_given: object) -> None:
    return None


def _weak(effect: Callable[..., Floats]) -> tuple[object, ...]:
    """Return the effects on the paper, one of them without strength."""
    return tuple(
        (draw, odds, *((0, 0) if draw is effect else range_)) for draw, odds, *range_ in dirt._EFFECTS
    )


Part = tuple[object, str, object]
PARTS: dict[str, Part] = {
    **{effect.__name__: (dirt, "_EFFECTS", _weak(effect)) for effect, *_ in dirt._EFFECTS},
    "ink off at creases": (dirt, "_CREASES", ()),
    "grain": (dirt, "grain", _none),
    "show-through": (dirt, "other_side", _none),
    "worn print": (dirt, "wear", _none),
    "specks": (dirt, "specks", _none),
    "blur of the scanner": (dirt, "soft", _same),
    "faint print": (pages, "_faint", _same),
    "pictures": (furniture, "picture", _nothing),
    "stamps and pencil": (furniture, "overlay", _nothing),
    "bent pages": (pages, "_bent", _same),
}
SURROUNDINGS = {"none": 1, "56x56": 2, "112x112": 4, "56x56 and 112x112": (2, 4)}
CASES = (
    "everything",
    *(f"without {part}" for part in PARTS),
    *(f"surroundings: {wide}" for wide in SURROUNDINGS),
)


def main() -> None:
    """Train and judge them all, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", type=int, default=EPOCH, help="learnt from, to the next 100,000")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    data = Path(os.environ.get("DENOISER_DATA", ""))
    if not (data / "noisyoffice").is_dir():
        parser.error("DENOISER_DATA must name a folder with noisyoffice/ in it")
    print(f"{describe('keras', 'tensorflow')}\n")
    print(f"| what | {' | '.join(COLUMNS)} |\n| --- |{' --- |' * len(COLUMNS)}", flush=True)
    rows = {}
    for case in given.only:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder, "tried.keras")
            with _changed(case):
                _train(model, case, -(-given.patches // EPOCH), given.seed, given.precision)
            rows[case] = _judged(model, data)
        print(f"| {case} | {' | '.join(f'{value:.4g}' for value in rows[case].values())} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


@contextlib.contextmanager
def _changed(case: str) -> Iterator[None]:
    """Take a part out of the generator."""
    module, name, instead = PARTS.get(case.removeprefix("without "), (dirt, "_EFFECTS", dirt._EFFECTS))
    with mock.patch.object(module, name, instead):
        yield


def _train(model: Path, case: str, epochs: int, seed: int, precision: str) -> None:
    recipe = recipes.RECIPES["document"]
    wide = SURROUNDINGS.get(case.removeprefix("surroundings: "))
    if wide is not None:
        recipe = dataclasses.replace(recipe, config={**recipe.config, "context": wide})
    train_network(Plan(recipe, model, epochs=epochs, seed=seed, precision=precision), keep_anyway=True)


def _judged(model: Path, data: Path) -> dict[str, float]:
    with Denoiser(model, quality="fast") as cleaner:

        def cleaned(given: document.Pages) -> document.Pages:
            return dict(zip(given, cleaner.reconstruct(list(given.values())), strict=True))

        noisy, clean = (document.read(data / "noisyoffice" / half) for half in ("noisy", "clean"))
        made = cleaned(noisy)
        figures = [document.rmse(made, clean), *document.by_kind(made, clean).values()]
        figures += [document.rmse(cleaned(clean), clean), document.kept(cleaned(document.faint()))[20]]
        pictures = document.pictures(data / "set12", "photographs")
        figures.append(document.psnr(cleaned(pictures), pictures) if pictures else np.nan)
    return dict(zip(COLUMNS, map(float, figures), strict=True))


if __name__ == "__main__":
    main()
