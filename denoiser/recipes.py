"""How each known network is taught: its noise, its data, and the settings found by validation.

A recipe is what a released network was made with, so that the same call makes it again. Where real images
are missing, the same recipe takes what `denoiser.generator` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from denoiser import data as images
from denoiser import generator
from denoiser.errors import TrainingError
from denoiser.networks import Kind
from denoiser.noise import Chain, Mixture, Spoiler, parse
from denoiser.store import NETWORKS

Array = npt.NDArray[np.float32]
Pair = tuple[Array, Array]

_SPLIT_SEED = 12345
_DIGITS_HELD_OUT = 5000
_DRAWN = 24_000
_CROPS_HELD_OUT = 2048
_PAGE = (480, 360)


@dataclass(frozen=True)
class Recipe:
    """The settings of one network's training.

    network: a name of `denoiser.store.NETWORKS`, which says what is built; `config` overrides its arguments.
    floor: see `denoiser.training.weights_of`. shift: half of the glyphs are moved by up to so many pixels, as
    crops in real life are not centred. minutes: the budget when none is given. precision: of the published
    weights. levels: the noises whose figures go on the model card. reader: what reads the user's images,
    where plugins have a say in it.
    """

    network: str
    noise: Spoiler
    config: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 256
    learning_rate: float = 2e-3
    floor: float = 3 / 255
    shift: int = 0
    minutes: float = 20.0
    precision: Literal["float32", "float16"] = "float16"
    levels: tuple[str, ...] = ()
    reader: images.Reader | None = None

    @property
    def kind(self) -> Kind:
        """The class of the network."""
        return NETWORKS[self.network].kind

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is made with."""
        return {**NETWORKS[self.network].config, **self.config}


@dataclass(frozen=True)
class Lesson:
    """A recipe's data, ready to learn from.

    feed: `feed(number, rng)` -> (noisy, clean) float32 (number, 28, 28). validation: such a pair from images
    that `feed` never shows. epoch: how many patches are one epoch. data, terms: for the model card.
    levels(): (name, noisy, clean) of the validation patches at each level of the recipe.
    """

    feed: Callable[[int, np.random.Generator], Pair]
    validation: Pair
    epoch: int
    data: str
    terms: str
    levels: Callable[[], Iterator[tuple[str, Array, Array]]]


def _mixed(*noises: tuple[str, float], levels: int | None = None) -> Mixture:
    parsed: list[tuple[Chain, float]] = [(parse(text), share) for text, share in noises]
    return Mixture(parsed, clean=0.1, levels=levels)


RECIPES: dict[str, Recipe] = {
    # Width, rate, batch and floor are the best on the 5,000 held-out digits: see benchmarks/digits.py.
    "digits": Recipe(
        network="digits",
        noise=_mixed(
            ("gaussian:sigma=0..0.6", 0.8), ("salt_pepper:amount=0..0.4", 0.1), ("speckle:sigma=0..0.6", 0.1)
        ),
        batch_size=128,
        learning_rate=3e-3,
        floor=0.2,
        shift=2,
        minutes=2.0,
        levels=tuple(f"gaussian:sigma={sigma}" for sigma in (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    ),
    "general": Recipe(
        network="general",
        noise=_mixed(
            ("gaussian:sigma=0..0.22", 0.6),
            ("poisson:peak=5..50", 0.05),
            ("poisson:peak=50..500", 0.05),
            ("speckle:sigma=0..0.35", 0.05),
            ("correlated:sigma=0..0.12,blur=0.3..1.2", 0.08),
            ("jpeg:quality=15..90", 0.05),
            ("gaussian:sigma=0..0.1+jpeg:quality=30..95", 0.04),
            ("salt_pepper:amount=0..0.06", 0.04),
            ("quantize:levels=8..64", 0.02),
            ("stripes:sigma=0..0.06", 0.02),
            levels=256,
        ),
        levels=tuple(f"gaussian:sigma={sigma / 255:.4f}" for sigma in (15, 25, 50)),
    ),
    "document": Recipe(
        network="document",
        noise=Mixture(
            [(parse("gaussian:sigma=0..0.08"), 0.5), (parse("jpeg:quality=30..95"), 0.2)], clean=0.3
        ),
        learning_rate=1e-3,
        floor=0.05,
        levels=(),
    ),
}


def lesson_for(
    recipe: Recipe, *, data: Path | None, seed: int, minutes: float | None = None, download: bool = False
) -> Lesson:
    """Find or draw what a recipe's network learns from.

    data: the user's folder, or None. minutes: the budget, as drawing for longer than learning would be
    waste; None means plenty. Raises TrainingError where that folder has nothing to learn from.
    """
    if data is not None and not data.is_dir():
        raise TrainingError(f"The folder of training images {data} doesn't exist.")
    share = 1.0 if minutes is None else min(1.0, max(0.05, minutes / recipe.minutes))
    if recipe.network == "digits":
        return _digits(recipe, data, seed, share, download=download)
    if recipe.network == "document":
        return _document(recipe, data, seed, share)
    return _general(recipe, data, seed, share)


def _digits(recipe: Recipe, data: Path | None, seed: int, share: float, *, download: bool) -> Lesson:
    found = images.mnist("train", folder=data, download=download and data is None)
    if found is not None:
        about = "MNIST, the 60,000 training digits, of which 5,000 were held out for validation"
        terms = "Yann LeCun, Corinna Cortes and Christopher Burges; freely available for research"
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(found))
    elif data is not None:
        glyphs = [_glyph_sized(image) for image in images.images(data, recipe.reader)]
        found = np.rint(np.stack(glyphs) * 255.0).astype(np.uint8)
        about, terms = f"{len(found)} images of the user's own", "the user's"
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(found))
    else:
        drawn = generator.glyphs(int(_DRAWN * share), np.random.default_rng(seed))
        found = np.rint(drawn * 255.0).astype(np.uint8)
        about, terms = f"{len(found):,} glyphs drawn by the built-in generator", "none"
        order = np.arange(len(found))
    held_out = min(_DIGITS_HELD_OUT, max(1, len(found) // 10))
    if len(found) < 2:
        raise TrainingError(f"One image in {data} is too little to learn from.")
    held, taught = found[order[:held_out]], found[order[held_out:]]
    state = {"order": np.empty(0, dtype=np.int64)}

    def feed(number: int, rng: np.random.Generator) -> Pair:
        while len(state["order"]) < number:
            state["order"] = np.append(state["order"], rng.permutation(len(taught)))
        chosen, state["order"] = state["order"][:number], state["order"][number:]
        clean = taught[chosen].astype(np.float32) / np.float32(255.0)
        if recipe.shift:
            clean = images.shifted(clean, rng, pixels=recipe.shift)
        return recipe.noise(clean, rng), clean

    return _lesson(recipe, feed, held.astype(np.float32) / np.float32(255.0), len(taught), about, terms)


def _glyph_sized(image: Array) -> Array:
    from denoiser.patches import whole_from_image

    return whole_from_image(image)[0]


def _general(recipe: Recipe, data: Path | None, seed: int, share: float) -> Lesson:
    if data is not None:
        found = images.images(data, recipe.reader)
        about, terms = f"{len(found)} images of the user's own", "the user's"
    else:
        rng = np.random.default_rng(seed)
        draw = (generator.textures, generator.shapes, generator.scene, generator.page, generator.micrograph)
        found = [draw[index % len(draw)](rng, (256, 256)) for index in range(max(10, int(120 * share)))]
        about, terms = f"{len(found)} pictures drawn by the built-in generator", "none"
    taught, held = _split(found)

    def feed(number: int, rng: np.random.Generator) -> Pair:
        clean = images.crops(taught, number, rng)
        return recipe.noise(clean, rng), clean

    clean = images.crops(held, _CROPS_HELD_OUT, np.random.default_rng(_SPLIT_SEED))
    return _lesson(recipe, feed, clean, 100_000, about, terms)


def _document(recipe: Recipe, data: Path | None, seed: int, share: float) -> Lesson:
    rng = np.random.default_rng(seed)
    if data is not None:
        pages = images.images(data, recipe.reader)
        about, terms = f"{len(pages)} clean pages of the user's own, with drawn dirt", "the user's"
    else:
        pages = [generator.page(rng, _PAGE) for _ in range(max(10, int(60 * share)))]
        about, terms = f"{len(pages)} pages drawn by the built-in generator, with drawn dirt", "none"
    taught, held = _split([(generator.dirt(page, rng), page) for page in pages for _ in range(2)])

    def feed(number: int, rng: np.random.Generator) -> Pair:
        dirty, clean = images.pair_crops(taught, number, rng)
        return recipe.noise(dirty, rng), clean

    fixed = np.random.default_rng(_SPLIT_SEED)
    dirty, clean = images.pair_crops(held, _CROPS_HELD_OUT, fixed)
    validation = recipe.noise(dirty, fixed), clean
    return Lesson(feed, validation, 100_000, about, terms, lambda: iter(()))


def _split(found: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Every tenth for validation; a single image has to serve for both."""
    held = list(found[9::10]) or list(found[-1:])
    taught = (
        [item for index, item in enumerate(found) if index % 10 != 9]
        if len(found) >= 10
        else list(found[:-1])
    )
    return taught or held, held


def _lesson(
    recipe: Recipe,
    feed: Callable[[int, np.random.Generator], Pair],
    clean: Array,
    epoch: int,
    about: str,
    terms: str,
) -> Lesson:
    def levels() -> Iterator[tuple[str, Array, Array]]:
        for text in recipe.levels:
            yield text, parse(text)(clean, np.random.default_rng(_SPLIT_SEED)), clean

    validation = recipe.noise(clean, np.random.default_rng(_SPLIT_SEED)), clean
    return Lesson(feed, validation, epoch, about, terms, levels)
