"""Datasets: real or generated images, with the noise of a recipe.

Without real images, a recipe uses images from `denoiser.generator`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from denoiser.inference.patches import whole_from_image
from denoiser.noise import Corruption, NoCorruption, parse
from denoiser.plugins.manager import Plugins
from denoiser.training import cautions, crops, mnist
from denoiser.training import image_folders as images
from denoiser.training.feed import Refine
from denoiser.training.plan import Plan
from denoiser.training.recipes import CLEAN, DIRT, Recipe
from denoiser.training.without_clean import HeldOut
from denoiser.weights.architectures import MixerConfig

Pair = tuple[Floats, Floats]
_SPLIT_SEED = 12345
_DIGITS_HELD_OUT = 5000
_DRAWN = 24_000
_CROPS_HELD_OUT = 2048
_TILES_HELD_OUT = 256
_PATCHES_FROM = 1100
"""Pixels of a tile for each patch that is cut from it: about every pixel is used once."""
EPOCH = 100_000
"""Patches in an epoch of pictures or pages, which have no natural epoch."""
_CLEAN_SHARE = 0.1
_FLAT = 1 / 255
_PAGE = (480, 384)


@dataclass(frozen=True)
class Dataset:
    """The patches of one training.

    Attributes:
        feed: `feed(number, rng)` returns the network's inputs, float32 (number, 28, 28) or, with context,
            (number, 28, 28, planes), and the clean patches that it should return, (number, 28, 28).
        validation: Such a pair of arrays, from images that `feed` never uses.
        epoch: Number of patches that are one epoch.
        data: The origin of the images in words, for the model card.
        terms: Their licence in words, for the model card.
        levels: Yields the name of each level of the recipe with the validation patches at that level, noisy
            and clean.
        held: The images that were held out for validation, in words.
        held_images: Number of the user's images among them; None if there are none of the user's.
        warnings: Sentences on images that may not be meant so.
        method, why: How the training does without clean images, and the reason; empty if it has some.
        held_out: What its figures are computed from then.
        refine: Changes the targets of `feed`, if the method needs the network for that.
    """

    feed: Callable[[int, np.random.Generator], Pair]
    validation: Pair
    epoch: int
    data: str
    terms: str
    levels: Callable[[], Iterator[tuple[str, Floats, Floats]]]
    held: str = ""
    held_images: int | None = None
    warnings: tuple[str, ...] = ()
    method: str = ""
    why: str = ""
    held_out: HeldOut | None = None
    refine: Refine | None = None


def dataset_for(plan: Plan) -> Dataset:
    """Find or generate the patches of a training.

    A training that is shorter than its recipe gets fewer generated images, since drawing them must not take
    longer than learning from them.

    Raises:
        ImagesError: The folders hold nothing to learn from.
    """
    data, noisy, only_noisy = plan.data.images, plan.data.noisy, plan.data.only_noisy
    if only_noisy is not None:
        from denoiser.training.noisy_images import noisy_dataset

        if not only_noisy.exists():
            raise ImagesError(f"The folder of noisy images {only_noisy} doesn't exist.")
        return noisy_dataset(plan, only_noisy)
    if data is not None and not data.is_dir():
        raise ImagesError(f"The folder of training images {data} {images.no_folder(data)}.")
    if noisy is not None and (data is None or not noisy.is_dir()):
        why = "goes with a folder of clean ones" if data is None else images.no_folder(noisy)
        raise ImagesError(f"The folder of noisy images {noisy} {why}.")
    if plan.recipe.network != "digits":
        return _pictures(plan)
    return _glyphs(plan) if data is None or noisy is None else _glyph_pairs(plan, data)


def _share(plan: Plan) -> float:
    """Return the share of the recipe's generated images that the budget is worth."""
    return 1.0 if plan.minutes is None else min(1.0, max(0.05, plan.minutes / plan.recipe.minutes))


def _glyphs(plan: Plan) -> Dataset:
    """Single glyphs from MNIST, from the user's images, or from the generator."""
    recipe, data, own = plan.recipe, plan.data.images, False
    found = mnist.mnist("train", folder=data, download=plan.data.download and data is None)
    order = None
    if found is not None:
        about = "MNIST, the 60,000 training digits, of which {held} were held out for validation"
        terms = "Yann LeCun, Corinna Cortes and Christopher Burges; freely available for research"
    elif data is not None:
        glyphs = [whole_from_image(image)[0] for image, _ in _pairs(plan, data, least=1)]
        found = np.rint(np.stack(glyphs) * 255.0).astype(np.uint8)
        about, terms, own = f"{len(found)} images of the user's own", "the user's", True
    else:
        generated = generator.glyphs(int(_DRAWN * _share(plan)), np.random.default_rng(plan.seed))
        found = np.rint(generated * 255.0).astype(np.uint8)
        about, terms = f"{len(found):,} glyphs drawn by the built-in generator", "none"
        order = np.arange(len(found))  # already random
    if order is None:
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(found))
    if len(found) < 2:
        raise _too_few(data)
    held_out = min(_DIGITS_HELD_OUT, max(1, int(len(found) * plan.data.validation)))
    held, taught = found[order[:held_out]], found[order[held_out:]]
    clean = held.astype(np.float32) / np.float32(255.0)
    about = about.format(held=f"{held_out:,}")
    dataset = _dataset(recipe, _EpochSampler(taught, recipe), (clean, clean), len(taught), about, terms)
    kind = "images" if own else "glyphs"
    return replace(
        dataset,
        held=f"{held_out:,} of {len(found):,} {kind}",
        held_images=held_out if own else None,
        warnings=tuple(cautions.of_copies(taught, held)) if own else (),
    )


def _glyph_pairs(plan: Plan, data: Path) -> Dataset:
    """Pairs of glyphs; every tenth pair is clean on both sides."""
    recipe, pairs = plan.recipe, _pairs(plan, data)
    sized = []
    for given, clean in pairs:
        # The noisy image decides whether the ink is dark or light, as when cleaning.
        patch, how = whole_from_image(given)
        other = whole_from_image(clean, darken=False)[0]
        sized.append((patch, 1.0 - other if how.inverted else other))
    if len(sized) < 2:
        raise _too_few(data)
    taught, held = (
        tuple(np.stack([pair[half] for pair in part]) for half in (0, 1))
        for part in _split(sized, plan.data.validation)
    )

    def feed(number: int, rng: np.random.Generator) -> Pair:
        chosen = rng.integers(0, len(taught[0]), number)
        given, clean = taught[0][chosen], taught[1][chosen]
        given[::10] = clean[::10]
        return recipe.noise(given, rng), clean

    about = f"{len(sized)} pairs of noisy and clean images of the user's own"
    return replace(
        _dataset(recipe, feed, (held[0], held[1]), len(taught[0]), about, "the user's"),
        held=f"{len(held[0]):,} of {len(sized):,} pairs",
        held_images=len(held[0]),
        warnings=(*cautions.of_pairs(pairs), *cautions.of_copies(taught[1], held[1])),
    )


def _too_few(data: Path | None) -> ImagesError:
    return ImagesError(
        f"One image in {data} is too few: training needs one, and validation another.", "Add more."
    )


class _EpochSampler:
    """Returns each of the glyphs, uint8 (N, 28, 28), once before any of them again."""

    def __init__(self, glyphs: Bytes, recipe: Recipe) -> None:
        self._glyphs, self._recipe = glyphs, recipe
        self.memory = {"order": np.empty(0, dtype=np.int64)}
        """The glyphs left in this epoch; a checkpoint saves them, so that a training can resume."""

    def __call__(self, number: int, rng: np.random.Generator) -> Pair:
        order = self.memory["order"]
        while len(order) < number:
            order = np.append(order, rng.permutation(len(self._glyphs)))
        chosen, self.memory["order"] = order[:number], order[number:]
        clean = self._glyphs[chosen].astype(np.float32) / np.float32(255.0)
        if self._recipe.shift:
            clean = crops.shifted(clean, rng, pixels=self._recipe.shift)
        return self._recipe.noise(clean, rng), clean


@dataclass
class _Tiles:
    """Tiles to learn from, with their shares; tiles to validate with; and the words of `Dataset` on them."""

    learnt: list[tuple[crops.Source, float]] = field(default_factory=list)
    held: list[crops.Source] = field(default_factory=list)
    abouts: list[str] = field(default_factory=list)
    terms: str = "none"
    kept: list[str] = field(default_factory=list)
    own: int | None = None
    warnings: list[str] = field(default_factory=list)


def _pictures(plan: Plan) -> Dataset:
    """Patches of the user's pictures or pages, of generated ones, or of both."""
    recipe, tiles = plan.recipe, _Tiles()
    if plan.data.images is not None:
        _add_own(tiles, plan, plan.data.images)
    if plan.data.images is None or recipe.generated_share:
        _add_generated(tiles, plan)
    context = MixerConfig(**plan.config).context
    cut = partial(crops.cut, context=context, mirrored=crops.mirrored_for(recipe.side, context))
    source = crops.Mixed(tiles.learnt)
    per_tile = max(1, recipe.side**2 // _PATCHES_FROM)

    def feed(number: int, rng: np.random.Generator) -> Pair:
        given, clean = source(-(-number // per_tile), rng)
        return cut(recipe.noise(given, rng), clean, number, rng)

    # The validation patches have a seed of their own, so that every run is evaluated on the same ones.
    fixed = np.random.default_rng(_SPLIT_SEED)
    parts = [held(_TILES_HELD_OUT // len(tiles.held), fixed) for held in tiles.held]
    given, clean = (np.concatenate([part[half] for part in parts]) for half in (0, 1))

    def corrupted(noise: Corruption, given: Floats = given) -> Pair:
        rng = np.random.default_rng(_SPLIT_SEED)
        return cut(noise(given, rng), clean, _CROPS_HELD_OUT, rng)

    def levels() -> Iterator[tuple[str, Floats, Floats]]:
        for text in recipe.levels:
            if text in (CLEAN, DIRT):
                yield text, *corrupted(NoCorruption(), clean if text == CLEAN else given)
            else:
                yield text, *corrupted(parse(text))

    validation = corrupted(recipe.validation_noise or recipe.noise)
    about, kept = (" and ".join(texts) for texts in (tiles.abouts, tiles.kept))
    return Dataset(
        feed, validation, EPOCH, about, tiles.terms, levels, kept, tiles.own, tuple(tiles.warnings)
    )


def _add_own(tiles: _Tiles, plan: Plan, data: Path) -> None:
    """Add tiles of the user's images."""
    recipe, paired = plan.recipe, plan.data.noisy is not None
    pairs = _pairs(plan, data)
    if len(pairs) < 2:
        raise _too_few(data)
    taught, kept = _split(pairs, plan.data.validation)
    tiles.own = len(kept)
    tiles.kept.append(f"{len(kept):,} of {len(pairs):,} {'pairs' if paired else 'images'}")
    tiles.warnings += cautions.of_pairs(pairs, pages=recipe.dirt) if paired else []
    tiles.warnings += cautions.of_copies((clean for _, clean in taught), (clean for _, clean in kept))
    dirty = recipe.dirt and not paired
    tiles.learnt.append(
        (_tiles(recipe, taught, recipe.augmentation, dirty=dirty), 1.0 - recipe.generated_share)
    )
    if paired:  # the network must also leave clean images unchanged
        clean = [(image, image) for _, image in taught]
        tiles.learnt.append((crops.Images(clean, recipe.side, recipe.augmentation), _CLEAN_SHARE))
    tiles.held.append(_tiles(recipe, kept, crops.PLAIN, dirty=dirty))
    kind = "pairs of noisy and clean images" if paired else "images"
    tiles.abouts.append(f"{len(pairs)} {kind} of the user's own" + (", made dirty" if dirty else ""))
    tiles.terms = "the user's"


def _add_generated(tiles: _Tiles, plan: Plan) -> None:
    """Add tiles of generated pages or pictures."""
    recipe = plan.recipe
    draw, uses = (_drawn_page, 32) if recipe.dirt else (_drawn_picture, 16)
    pool = max(8, int(60 * _share(plan)))
    generated = crops.Drawn(draw, recipe.side, recipe.augmentation, pool=pool, uses=uses)
    tiles.learnt.append((generated, recipe.generated_share or 1.0))
    # In a small pool, a single odd page would decide which weights are the best.
    tiles.held.append(crops.Drawn(draw, recipe.side, pool=pool))
    tiles.abouts.append("pictures drawn by the built-in generator")
    tiles.kept.append(f"{pool} generated pictures")


def _pairs(plan: Plan, data: Path, *, least: int = PATCH) -> list[Pair]:
    """Read the user's images as pairs, noisy and clean.

    Raises ImagesError if a network can't learn from them. least: see `image_folders.images`.
    """
    noisy, reader = plan.data.noisy, plan.data.reader
    if noisy is not None:
        pairs = images.pairs(data, noisy, reader)
        if all(np.array_equal(given, clean) for given, clean in pairs):
            raise ImagesError(
                f"The images in {noisy} are equal to those in {data}: there is no noise to learn.",
                "Give the folder of the noisy ones.",
            )
        hint = "Pairs go from noisy images of something to clean ones."
    else:
        pairs = [(image, image) for image in images.images(data, reader, least=least)]
        hint = "Noise is added to clean images of something. Blank scans go with --noise-from."
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


def reader_for(plugins: Plugins, *, counts: bool = False) -> images.Reader:
    """Return a reader of the user's images that applies the plugins, as cleaning does.

    With `counts` the pixels of a floating-point file keep their own unit, so that noise is alike in all
    files; otherwise each such file is scaled to 0..1.

    A file that can't be read is left out of the training. A plugin's step that fails is a PluginError, since
    a network must learn from the images that it will be used on.
    """

    def load(path: Path) -> list[Floats]:
        with open_image(path, plugins) as source:
            return [_preprocessed(plugins, picture, counts=counts) for picture in source.pages()]

    return images.Reader(load, SUFFIXES | plugins.suffixes("read_pages"))


def _preprocessed(plugins: Plugins, picture: Picture, *, counts: bool) -> Floats:
    try:
        pixels = plugins.preprocess(picture.pixels, picture.page)
        low, high = picture.span if counts else (0.0, 1.0)
        return pixels if (low, high) == (0.0, 1.0) else np.asarray(low + (high - low) * pixels, np.float32)
    except FileError as error:
        raise PluginError(f"{picture.page.path}: {error.message}") from error
