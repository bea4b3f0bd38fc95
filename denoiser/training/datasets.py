"""What each network learns from: images found or drawn, made noisy as its recipe says.

Where real images are missing, the same recipe takes what `denoiser.generator` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from denoiser import generator
from denoiser._types import PATCH, Bytes, Floats
from denoiser.errors import FileError, ImagesError, PluginError
from denoiser.imaging.formats import SUFFIXES
from denoiser.imaging.open import open_image
from denoiser.imaging.picture import Picture
from denoiser.imaging.reader import ImageFile
from denoiser.inference.patches import whole_from_image
from denoiser.noise import Corruption, NoCorruption, parse
from denoiser.plugins.manager import Plugins
from denoiser.training import crops, mnist
from denoiser.training import image_folders as images
from denoiser.training.recipes import CLEAN, DIRT, Recipe

Pair = tuple[Floats, Floats]
_SPLIT_SEED = 12345
_DIGITS_HELD_OUT = 5000
_DRAWN = 24_000
_CROPS_HELD_OUT = 2048
_TILES_HELD_OUT = 256
_PATCHES_FROM = 1100
"""One patch for so many pixels of a tile: about each is seen once, and the next tile looks different."""
EPOCH = 100_000
"""Pictures and pages have no natural epoch: so many patches count as one."""
_CLEAN_SHARE = 0.1
_FLAT = 1 / 255
_PAGE = (480, 384)


@dataclass(frozen=True)
class Dataset:
    """A recipe's data, ready to learn from.

    feed: `feed(number, rng)` -> (inputs, clean): what the network is shown, float32 (number, 28, 28) or, with
    context, (number, 28, 28, 2), and what it should answer, (number, 28, 28). validation: such a pair from
    images that `feed` never shows. epoch: how many patches are one epoch. data, terms: for the model card.
    levels(): (name, inputs, clean) of the validation patches at each level of the recipe.
    """

    feed: Callable[[int, np.random.Generator], Pair]
    validation: Pair
    epoch: int
    data: str
    terms: str
    levels: Callable[[], Iterator[tuple[str, Floats, Floats]]]


def dataset_for(
    recipe: Recipe,
    *,
    data: Path | None,
    noisy: Path | None = None,
    seed: int,
    minutes: float | None = None,
    validation: float = 0.1,
    download: bool = False,
) -> Dataset:
    """Find or draw what a recipe's network learns from.

    data: the user's folder, or None. noisy: a folder with a noisy image for each clean one in `data`, of the
    same relative name. minutes: the budget, as drawing for longer than learning would be waste; None means
    plenty. validation: the share of images held out, of glyphs at most 5,000. Raises ImagesError where those
    folders have nothing to learn from.
    """
    if data is not None and not data.is_dir():
        raise ImagesError(f"The folder of training images {data} doesn't exist.")
    if noisy is not None and (data is None or not noisy.is_dir()):
        why = "goes with a folder of clean ones" if data is None else "doesn't exist"
        raise ImagesError(f"The folder of noisy images {noisy} {why}.")
    share = 1.0 if minutes is None else min(1.0, max(0.05, minutes / recipe.minutes))
    if recipe.network == "digits":
        return _digits(recipe, data, noisy, seed, share, validation=validation, download=download)
    return _pictures(recipe, data, noisy, share=share, validation=validation)


def _digits(
    recipe: Recipe,
    data: Path | None,
    noisy: Path | None,
    seed: int,
    share: float,
    *,
    validation: float,
    download: bool,
) -> Dataset:
    if data is not None and noisy is not None:
        return _glyph_pairs(recipe, data, noisy, validation)
    found = mnist.mnist("train", folder=data, download=download and data is None)
    if found is not None:
        about = "MNIST, the 60,000 training digits, of which {held} were held out for validation"
        terms = "Yann LeCun, Corinna Cortes and Christopher Burges; freely available for research"
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(found))
    elif data is not None:
        glyphs = [whole_from_image(image)[0] for image, _ in _pairs(recipe, data, None, least=1)]
        found = np.rint(np.stack(glyphs) * 255.0).astype(np.uint8)
        about, terms = f"{len(found)} images of the user's own", "the user's"
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(found))
    else:
        drawn = generator.glyphs(int(_DRAWN * share), np.random.default_rng(seed))
        found = np.rint(drawn * 255.0).astype(np.uint8)
        about, terms = f"{len(found):,} glyphs drawn by the built-in generator", "none"
        order = np.arange(len(found))
    if len(found) < 2:
        raise _too_few(data)
    held_out = min(_DIGITS_HELD_OUT, max(1, int(len(found) * validation)))
    held, taught = found[order[:held_out]], found[order[held_out:]]
    feed = _EpochSampler(taught, recipe)
    clean = held.astype(np.float32) / np.float32(255.0)
    about = about.format(held=f"{held_out:,}")
    return _dataset(recipe, feed, (clean, clean), len(taught), about, terms)


def _glyph_pairs(recipe: Recipe, data: Path, noisy: Path, validation: float) -> Dataset:
    """Pairs of glyphs, every tenth of them clean on both sides."""
    pairs = _pairs(recipe, data, noisy)
    sized = []
    for given, clean in pairs:
        # Which of dark and light is ink shows in the noisy one, as in use.
        patch, how = whole_from_image(given)
        other = whole_from_image(clean, darken=False)[0]
        sized.append((patch, 1.0 - other if how.inverted else other))
    if len(sized) < 2:
        raise _too_few(data)
    taught, held = (
        tuple(np.stack([pair[half] for pair in part]) for half in (0, 1))
        for part in _split(sized, validation)
    )

    def feed(number: int, rng: np.random.Generator) -> Pair:
        chosen = rng.integers(0, len(taught[0]), number)
        given, clean = taught[0][chosen], taught[1][chosen]
        given[::10] = clean[::10]
        return recipe.noise(given, rng), clean

    about = f"{len(sized)} pairs of noisy and clean images of the user's own"
    return _dataset(recipe, feed, (held[0], held[1]), len(taught[0]), about, "the user's")


def _too_few(data: Path | None) -> ImagesError:
    return ImagesError(
        f"One image in {data} is too little: one part is for learning, and another for judging.", "Add more."
    )


class _EpochSampler:
    """Glyphs, uint8 (N, 28, 28), each shown once before any is shown again."""

    def __init__(self, glyphs: Bytes, recipe: Recipe) -> None:
        self._glyphs, self._recipe = glyphs, recipe
        self.memory = {"order": np.empty(0, dtype=np.int64)}
        """What it remembers, so that a training can go on where it was."""

    def __call__(self, number: int, rng: np.random.Generator) -> Pair:
        order = self.memory["order"]
        while len(order) < number:
            order = np.append(order, rng.permutation(len(self._glyphs)))
        chosen, self.memory["order"] = order[:number], order[number:]
        clean = self._glyphs[chosen].astype(np.float32) / np.float32(255.0)
        if self._recipe.shift:
            clean = crops.shifted(clean, rng, pixels=self._recipe.shift)
        return self._recipe.noise(clean, rng), clean


def _pictures(
    recipe: Recipe, data: Path | None, noisy: Path | None, *, share: float, validation: float
) -> Dataset:
    """Tiles of the user's pictures or pages, or of drawn ones, or of both."""
    learnt: list[tuple[crops.Source, float]] = []
    held: list[crops.Source] = []
    abouts, terms = [], "none"
    if data is not None:
        pairs = _pairs(recipe, data, noisy)
        if len(pairs) < 2:
            raise _too_few(data)
        taught, kept = _split(pairs, validation)
        dirty = recipe.dirt and noisy is None
        learnt.append(
            (_tiles(recipe, taught, recipe.augmentation, dirty=dirty), 1.0 - recipe.generated_share)
        )
        if noisy is not None:  # so that what is clean stays so
            unspoiled = [(clean, clean) for _, clean in taught]
            learnt.append((crops.Images(unspoiled, recipe.side, recipe.augmentation), _CLEAN_SHARE))
        held.append(_tiles(recipe, kept, crops.PLAIN, dirty=dirty))
        what = "pairs of noisy and clean images" if noisy is not None else "images"
        abouts.append(f"{len(pairs)} {what} of the user's own" + (", made dirty" if dirty else ""))
        terms = "the user's"
    if data is None or recipe.generated_share:
        draw = _drawn_page if recipe.dirt else _drawn_picture
        pool = max(8, int(60 * share))
        drawn = crops.Drawn(draw, recipe.side, recipe.augmentation, pool=pool, uses=32 if recipe.dirt else 16)
        learnt.append((drawn, recipe.generated_share or 1.0))
        # A single odd page among few would decide which weights are the best.
        held.append(crops.Drawn(draw, recipe.side, pool=pool))
        abouts.append("pictures drawn by the built-in generator")
    context = int(recipe.arguments.get("context", 1))
    source = crops.Mixed(learnt)
    per_tile = max(1, recipe.side**2 // _PATCHES_FROM)

    def feed(number: int, rng: np.random.Generator) -> Pair:
        given, clean = source(-(-number // per_tile), rng)
        return crops.cut(recipe.noise(given, rng), clean, number, rng, context=context)

    # What is held out is drawn from a seed of its own, so that every run is judged by the same patches.
    fixed = np.random.default_rng(_SPLIT_SEED)
    parts = [each(_TILES_HELD_OUT // len(held), fixed) for each in held]
    given, clean = (np.concatenate([part[half] for part in parts]) for half in (0, 1))

    def spoiled(noise: Corruption, given: Floats = given) -> Pair:
        chance = np.random.default_rng(_SPLIT_SEED)
        return crops.cut(noise(given, chance), clean, _CROPS_HELD_OUT, chance, context=context)

    def levels() -> Iterator[tuple[str, Floats, Floats]]:
        for text in recipe.levels:
            if text in (CLEAN, DIRT):
                yield text, *spoiled(NoCorruption(), clean if text == CLEAN else given)
            else:
                yield text, *spoiled(parse(text))

    return Dataset(
        feed, spoiled(recipe.validation_noise or recipe.noise), EPOCH, " and ".join(abouts), terms, levels
    )


def _pairs(recipe: Recipe, data: Path, noisy: Path | None, *, least: int = PATCH) -> list[Pair]:
    """The user's images, noisy and clean, refused where they teach nothing; least: as in `image_folders`."""
    if noisy is not None:
        pairs = images.pairs(data, noisy, recipe.reader)
        if all(np.array_equal(given, clean) for given, clean in pairs):
            raise ImagesError(
                f"The images in {noisy} are equal to those in {data}: there is no noise to learn.",
                "Give the folder of the noisy ones.",
            )
        hint = "Pairs go from noisy images of something to clean ones."
    else:
        pairs = [(image, image) for image in images.images(data, recipe.reader, least=least)]
        hint = "Noise is added to clean images of something. Scans of nothing go with --noise-from."
    if all(float(image.max() - image.min()) < _FLAT for _, image in pairs):
        raise ImagesError(
            f"The images in {data} are each of one tone: there is nothing to learn from them.", hint
        )
    return pairs


def _tiles(
    recipe: Recipe, pairs: Sequence[Pair], augmentation: crops.Augmentation, *, dirty: bool
) -> crops.Source:
    if dirty:
        return crops.Drawn(partial(_dirty, pairs), recipe.side, augmentation, pool=min(40, 2 * len(pairs)))
    return crops.Images(pairs, recipe.side, augmentation)


def _dirty(pages: Sequence[Pair], rng: np.random.Generator) -> Pair:
    clean = pages[int(rng.integers(len(pages)))][1]
    return generator.dirt(clean, rng), clean


def _drawn_page(rng: np.random.Generator) -> Pair:
    clean = generator.page(rng, _PAGE)
    return generator.dirt(clean, rng), clean


def _drawn_picture(rng: np.random.Generator) -> Pair:
    draw = (generator.textures, generator.shapes, generator.scene, generator.page, generator.micrograph)
    image = draw[rng.integers(len(draw))](rng, (256, 256))
    return image, image


def _split(found: Sequence[Any], share: float = 0.1) -> tuple[list[Any], list[Any]]:
    """Part for training and part for validation, by image. found: at least two."""
    kept = set(images.held_out(len(found), share))
    return (
        [item for index, item in enumerate(found) if index not in kept],
        [item for index, item in enumerate(found) if index in kept],
    )


def _dataset(
    recipe: Recipe,
    feed: Callable[[int, np.random.Generator], Pair],
    held: Pair,
    epoch: int,
    about: str,
    terms: str,
) -> Dataset:
    given, clean = held

    def levels() -> Iterator[tuple[str, Floats, Floats]]:
        for text in recipe.levels:
            noisy = clean if text == CLEAN else parse(text)(given, np.random.default_rng(_SPLIT_SEED))
            yield text, noisy, clean

    noise = recipe.validation_noise or recipe.noise
    validation = noise(given, np.random.default_rng(_SPLIT_SEED)), clean
    return Dataset(feed, validation, epoch, about, terms, levels)


def prepared(recipe: Recipe, plugins: Plugins) -> Recipe:
    """Have the user's images read, and changed by plugins, for training as for use.

    A file that can't be read is left out of the training; a step that fails is a PluginError, as a network
    must not learn from other images than those it will be used on.
    """

    def load(path: Path) -> list[Floats]:
        with path.open("rb") as file:
            found = open_image(path, plugins, lambda: ImageFile(file, path))
            return [_preprocessed(plugins, picture) for picture in found.pages()]

    return replace(recipe, reader=images.Reader(load, SUFFIXES | plugins.suffixes("read_pages")))


def _preprocessed(plugins: Plugins, picture: Picture) -> Floats:
    try:
        return plugins.preprocess(picture.pixels, picture.page)
    except FileError as error:
        raise PluginError(f"{picture.page.path}: {error.message}") from error
