"""Gray images in, clean gray images out: each as one 28x28 patch, or covered with overlapping patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from denoiser._types import PATCH, Floats
from denoiser.errors import ModelError
from denoiser.inference import auto, document, patches
from denoiser.inference.engines import Engines
from denoiser.inference.patches import Size
from denoiser.weights.architectures import MixerConfig
from denoiser.weights.modelfile import ModelFile

Mode = Literal["whole", "tile"]
Tick = Callable[[int, int], object]
"""Told how many patches are reconstructed, and of how many."""


@dataclass(frozen=True)
class Cleaned:
    """A cleaned image.

    Attributes:
        pixels: float32 (H, W) or (H, W, 3) in 0..1.
        model: Name of the model that cleaned it.
        reduced: Whether the model saw an image of more than 28x28 pixels as 28x28.
        concerns: What the user should know of the result, one sentence each, without a full stop.
    """

    pixels: Floats
    model: str
    reduced: bool = False
    concerns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reconstruction:
    """How images are fitted into patches, and what is made of the patches that a model gives back.

    Args:
        engines: the models.
        mode: "whole" or "tile"; None: as each model states.
        size, strength: see `denoiser.inference.denoiser.Denoiser`.
        stride: pixels between patches, 1 to 28.

    """

    engines: Engines
    mode: Mode | None
    size: Size
    stride: int
    strength: float

    def is_whole(self, model: ModelFile) -> bool:
        """Whether a model sees each image as one patch."""
        return (self.mode or model.mode) == "whole"

    def clean(
        self,
        images: Sequence[Floats],
        *,
        channels: Sequence[int] = (),
        tick: Tick | None = None,
        overwrite: bool = False,
    ) -> list[Cleaned]:
        """Clean images without plugins; small ones share batches.

        Args:
            images: float32 (H, W) each, in 0..1.
            channels: how many consecutive images are the channels of one picture, for each picture; without
                it, each image is a picture. The channels of a picture go to the same model.
            tick: see `denoiser.inference.denoiser.Denoiser.clean_page`.
            overwrite: whether the results of large images may take the place of their pixels.

        Raises:
            ModelError: a model can't be read, or gives values that are not finite.

        """
        results: list[Cleaned | None] = [None] * len(images)
        if self.engines.auto:
            small = auto.small_enough(images)
            self._glyphs(images, small, results, channels or [1] * len(images))
        rest = [index for index, result in enumerate(results) if result is None]
        if rest:
            model = self.engines.model()
            if self.is_whole(model):
                self._whole(images, rest, results, model)
            else:
                self._tiled(images, rest, results, model, tick, overwrite=overwrite)
        return [result for result in results if result is not None]

    def _glyphs(
        self,
        images: Sequence[Floats],
        indices: list[int],
        results: list[Cleaned | None],
        channels: Sequence[int],
    ) -> None:
        """Clean the pictures that look like glyphs with the glyph model; the results of others stay None."""
        if not indices:
            return
        model = self.engines.model(auto.GLYPHS)
        given, wholes = patches.wholes_from_images([images[index] for index in indices])
        reconstructed = self._reconstruct(auto.GLYPHS, given)
        found = auto.glyphs_among(images, indices, given, reconstructed, self._picture_patches)
        glyphs = auto.whole_pictures(found, channels)
        if self.mode == "tile":
            self._tiled(images, glyphs, results, model)
            return
        chosen = set(glyphs)
        finished = self._finish_wholes(given, wholes, reconstructed, model)
        for index, result in zip(indices, finished, strict=True):
            if index in chosen:
                results[index] = result

    def _picture_patches(self, given: Floats) -> Floats:
        """Reconstruct whole images of 28x28, (N, 28, 28), by the model for pictures."""
        model = self.engines.model(auto.PICTURES)
        seen = patches.with_context(given, model.config.context)
        return np.clip(self._patches(seen, model), 0.0, 1.0)

    def _whole(
        self, images: Sequence[Floats], indices: list[int], results: list[Cleaned | None], model: ModelFile
    ) -> None:
        chosen = [images[index] for index in indices]
        fitted, wholes = patches.wholes_from_images(chosen, darken=model.kind == "Autoencoder")
        given = patches.with_context(fitted, model.config.context)
        reconstructed = self._reconstruct(model.name, given)
        finished = self._finish_wholes(fitted, wholes, reconstructed, model)
        for index, result in zip(indices, finished, strict=True):
            results[index] = result

    def _finish_wholes(
        self, given: Floats, wholes: Sequence[patches.Whole], reconstructed: Floats, model: ModelFile
    ) -> Iterator[Cleaned]:
        """Blend patches (N, 28, 28) with their reconstructions, in place; yields the images of both."""
        blended = self._blend(given, reconstructed)
        # A sigmoid never quite reaches 0 or 1: an image of one tone is its own best reconstruction.
        flat = given.max(axis=(1, 2)) == given.min(axis=(1, 2))
        blended[flat] = given[flat]
        for patch, whole in zip(blended, wholes, strict=True):
            reduced = max(whole.shape) > PATCH
            yield Cleaned(patches.whole_to_image(patch, whole, self.size), model.name, reduced)

    def _blend(self, image: Floats, result: Floats) -> Floats:
        """Blend a reconstruction with its image, in place: a large page is in memory no more than twice."""
        np.clip(result, 0.0, 1.0, out=result)  # before it is blended: more than white must not whiten grays
        if self.strength != 1.0:
            np.subtract(result, image, out=result)
            np.multiply(result, np.float32(self.strength), out=result)
            np.add(image, result, out=result)
        return np.clip(result, 0.0, 1.0, out=result)

    def _tiled(
        self,
        images: Sequence[Floats],
        indices: list[int],
        results: list[Cleaned | None],
        model: ModelFile,
        tick: Tick | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Large images go band by band; the patches of small ones share a batch."""
        context = model.config.context
        # Whatever still needs the image when the result is there: a blend of both, or a look at both.
        overwrite = overwrite and self.strength == 1.0 and not document.is_for_paper(model)
        waiting: list[tuple[int, patches.Grid]] = []
        grids = {index: patches.grid(images[index].shape, self.stride) for index in indices}
        of, ticked = sum(grid.patches for grid in grids.values()), 0

        def reconstruct(given: Floats) -> Floats:
            nonlocal ticked
            result = self._patches(given, model)
            ticked = min(of, ticked + len(given))  # where bands overlap, some are computed twice
            if tick is not None:
                tick(ticked, of)
            return result

        def compute() -> None:
            cut = [patches.split(images[index], grid, slice(None), context) for index, grid in waiting]
            done = reconstruct(np.concatenate(cut))
            start = 0
            for index, grid in waiting:
                own = done[start : start + grid.patches]
                start += grid.patches
                merged = patches.OverlapAdd(grid).add(own)[1]
                results[index] = self._finish_tiled(images[index], merged, model)
            waiting.clear()

        for index, grid in grids.items():
            if grid.counts[0] > grid.band_rows or grid.counts[1] > patches.STRIP_PATCHES:
                merged = patches.tile(images[index], grid, reconstruct, context, overwrite=overwrite)
                results[index] = self._finish_tiled(images[index], merged, model)
                continue
            waiting.append((index, grid))
            if sum(grid.patches for _, grid in waiting) >= patches.BAND_PATCHES:
                compute()
        if waiting:
            compute()

    def _finish_tiled(self, image: Floats, merged: Floats, model: ModelFile) -> Cleaned:
        if not document.is_for_paper(model):
            return Cleaned(self._blend(image, merged), model.name)
        paper = document.whiten(document.deepen(merged, image))
        concerns = document.concerns(image, paper, self.strength)
        return Cleaned(self._blend(image, paper), model.name, concerns=concerns)

    def _reconstruct(self, name: str, given: Floats) -> Floats:
        """Reconstruct patches with a model's engine; ModelError if the result is not finite."""
        result = self.engines.engine(name).reconstruct(given)
        # The sum is finite only if every value is.
        if not np.isfinite(result.sum()):
            path = self.engines.model(name).path
            raise ModelError(
                f"{path} gives values that are not finite: its weights are far too large.",
                "Use another copy of it, or train a new one with: denoise train",
            )
        return result

    def _patches(self, given: Floats, model: ModelFile) -> Floats:
        """Reconstruct patches; where a model predicts a residual, a patch of one tone has none."""
        config = model.config
        if not (isinstance(config, MixerConfig) and config.residual and config.center):
            return self._reconstruct(model.name, given)
        own = patches.own(given)
        textured = own.max(axis=(1, 2)) != own.min(axis=(1, 2))
        if textured.all():
            return self._reconstruct(model.name, given)
        result = own.copy()
        if textured.any():
            result[textured] = self._reconstruct(model.name, given[textured])
        return result
