"""Arrays in, clean arrays out: the models, the choice between them, and the plugins around them.

The command line and the Python API both end here. A `Denoiser` loads once and is used often, from any number
of threads.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from denoiser._types import PATCH, Floats
from denoiser.errors import ModelError, UsageError
from denoiser.inference import auto, document, patches
from denoiser.inference.engine import Engine, EngineFacts, may_need_keras, open_engine
from denoiser.inference.patches import Size
from denoiser.inference.precision import require_bfloat16_network
from denoiser.page import Page
from denoiser.planes import channels_of, joined
from denoiser.plugins.manager import Plugins, load
from denoiser.system.hardware import cores
from denoiser.weights import store
from denoiser.weights.architectures import MixerConfig
from denoiser.weights.modelfile import ModelFile

Mode = Literal["whole", "tile"]
Result = TypeVar("Result")
Tick = Callable[[int, int], object]
"""Told how many patches are reconstructed, and of how many."""


PIXELS = 4
"""Version of the computation from input to output. An output made by another version is not up to date."""

QUALITIES: Mapping[str, int] = {"fast": 21, "balanced": 11, "best": 5}
"""Pixels between patches, by quality.

None is a multiple of 4: there the borders of all patches' tokens coincide. See `benchmarks/strides.py`.
"""


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
class _Prepared:
    """A page after the plugins' first half.

    Attributes:
        count: Number of planes that a model cleans.
        colour, luma: The planes of a page that is cleaned by its luma alone, and that luma.
    """

    count: int
    colour: list[Floats] | None = None
    luma: Floats | None = None


class Denoiser:
    """Cleans images; loads its models once.

    Args:
        model: "auto", a model's name, a .keras file, or a model that was read already.
        mode: "whole" or "tile"; None: as each model states.
        size: for whole mode, "input" scales the results back to the input's size, "model" gives them as the
            model made them, 28x28.
        quality: "fast", "balanced" or "best": how densely patches overlap in tile mode.
        stride: pixels between patches, 1 to 28, instead of the quality's.
        strength: 0 returns the input, 1 the reconstruction, between them a blend.
        engine: "numpy" or "keras"; None chooses by device.
        device: "auto", "cpu" or "gpu".
        jobs: threads to compute with; None: one for each core this process may use.
        batch_size: patches a batch on the keras engine; None: the engine's own.
        precision: "float32"; "bfloat16", by the keras engine; or "auto", the faster one on the keras engine.
            Networks such as `digits` compute in float32 only; with "auto" as the model, the other one obeys.
        plugins: Python files or module names, in order, or a chain that was loaded already.
        plugin_options: "NAME.KEY" to a value, for the plugins' options.
        work: how many patches the whole job will have, which decides whether a GPU is worth its start;
            None: many.

    Raises:
        UsageError: a value out of its range, or a plugin option that is not one.
        ModelError: an unknown, missing or damaged model.
        DeviceError: no such device.
        PluginError: a plugin that can't be loaded.

    """

    def __init__(
        self,
        model: str | Path | ModelFile = auto.AUTO,
        *,
        mode: Mode | None = None,
        size: Size = "input",
        quality: str = "balanced",
        stride: int | None = None,
        strength: float = 1.0,
        engine: str | None = None,
        device: str = "auto",
        jobs: int | None = None,
        batch_size: int | None = None,
        precision: str = "float32",
        plugins: Iterable[str | Path] | Plugins = (),
        plugin_options: Mapping[str, Any] | None = None,
        work: int | None = None,
    ) -> None:
        _one_of("mode", mode, (None, "whole", "tile"))
        _one_of("size", size, ("model", "input"))
        _one_of("quality", quality, tuple(QUALITIES))
        if stride is not None and not 1 <= stride <= PATCH:
            raise UsageError(f"stride is {stride}; it must be 1 to {PATCH}.")
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"strength is {strength}; it must be 0 to 1.")
        self._mode = mode
        self._size: Size = size
        self._stride = QUALITIES[quality] if stride is None else stride
        self._strength = strength
        self.jobs = jobs or cores()
        self._settings: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "jobs": jobs,
            "batch_size": batch_size,
            "precision": precision,
            "patches": work,
        }
        self._apart = False
        self._facts: dict[str, EngineFacts] = {}
        self._precision = precision
        self._lock = threading.RLock()
        self._engines: dict[str, Engine] = {}
        self.plugins = _chain(plugins)
        self.plugins.configure(plugin_options or {})
        self.auto = model == auto.AUTO
        self.models: dict[str, ModelFile] = {}
        if isinstance(model, ModelFile):
            self._main = model.name
            self.models[model.name] = model
        elif self.auto:
            self._main = auto.PICTURES
        else:
            self._main = self._load(str(model)).name
        if precision == "bfloat16" and not self.auto:
            require_bfloat16_network(self._load(self._main))

    def _load(self, name: str) -> ModelFile:
        """Read a model by name or file, once."""
        with self._lock:
            if name not in self.models:
                # With "auto", one of the two models may never be used, and unpacking takes time.
                model = store.load(name, unpack=not self.auto)
                self.models[name] = self.models[model.name] = model
            return self.models[name]

    def engine(self, name: str | None = None) -> Engine:
        """Return the engine of a model, opened on first use; None is the one for pictures or the only one."""
        name = name or self._main
        with self._lock:
            if name not in self._engines:
                self._engines[name] = open_engine(self._load(name), **self._settings)
            return self._engines[name]

    def keep_apart(self) -> None:
        """Open no engine here whose library starts threads, so that this process can be forked.

        Call it before an engine is open. The processes that are forked open theirs when they need one.
        """
        self._apart = True

    def _probed(self, name: str) -> Engine | EngineFacts:
        """Open the engine of a model, or have another process do so."""
        with self._lock:
            model = self._load(name)
            if not self._apart or not may_need_keras(model, **self._settings):
                return self.engine(name)
            if name not in self._facts:
                from denoiser.inference.engine_apart import facts_of

                facts = facts_of(model, partial(open_engine, **self._settings))
                if facts.name == "numpy":  # no GPU was found
                    self._settings.update(engine="numpy", device="cpu")
                    return self.engine(name)
                self._facts[name] = facts
            return self._facts[name]

    def engines(self) -> list[Engine | EngineFacts]:
        """Open the engines of all models that may be used; see `keep_apart`."""
        return [self._probed(name) for name in (auto.NETWORKS if self.auto else (self._main,))]

    def limit(self, jobs: int | None) -> None:
        """Compute on at most so many threads from now on, in the engines that are open; None: on all."""
        for engine in self._engines.values():
            engine.jobs = min(jobs or self.jobs, self.jobs)

    def probe(self) -> Engine | EngineFacts:
        """Open an engine to see that it can be, with "auto" the smaller one; raises as `Denoiser` does."""
        return self._probed(auto.GLYPHS if self.auto else self._main)

    @property
    def card(self) -> Mapping[str, Any]:
        """The card of the model for pictures, or of the only one."""
        return self._load(self._main).card

    def close(self) -> None:
        """Free the engines; using it again opens them again."""
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def signature(self) -> dict[str, Any]:
        """Everything that decides the pixels, for telling whether an output is up to date."""
        names = auto.NETWORKS if self.auto else (self._main,)
        return {
            "pixels": PIXELS,
            "models": [self._load(name).digest for name in names],
            "mode": self._mode,
            "size": self._size,
            "stride": self._stride,
            "strength": self._strength,
            "precision": self._precision,
            "plugins": self.plugins.signature,
        }

    @overload
    def reconstruct(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]: ...
    @overload
    def reconstruct(self, images: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]: ...

    def reconstruct(self, images: Any) -> Any:
        """Clean one image or several, with the plugins' steps before and after.

        Args:
            images: one (H, W) array, one (N, H, W) array, or a sequence of (H, W) arrays; uint8, uint16,
                bool, or floating point in 0..1.

        Returns:
            The same kind of thing with the same dtype (bool becomes uint8, as gray edges need it). Whole mode
            with size "model" gives 28x28 images.

        Raises:
            UsageError: not such an array, or values that are not finite or out of range.
            FileError: a plugin failed.

        """
        if isinstance(images, np.ndarray):
            if images.ndim == 2:
                return self.reconstruct([images])[0]
            if images.ndim == 3 and images.shape[2] in (3, 4) and min(images.shape[:2]) > 4:
                raise UsageError(
                    f"An array of shape {images.shape} looks like colour, which is not a stack of images.",
                    "Clean its channels one by one.",
                )
            if images.ndim != 3 or not len(images):
                raise UsageError(f"An array of shape {images.shape} is not (H, W) or (N, H, W).")
            results = self.reconstruct(list(images))
            if len({result.shape for result in results}) > 1:
                raise UsageError("The results differ in size.", 'Use size="input", or pass a list.')
            return np.stack(results)
        if not isinstance(images, Iterable) or isinstance(images, str | bytes):
            raise UsageError(
                f"An image must be an array, not {type(images).__name__}.",
                "Use numpy.asarray(image) for a Pillow image, or read the file first.",
            )
        floats = [_as_floats(image) for image in images]
        pages = [
            Page(depth=_DEPTHS.get(image.dtype.kind + str(image.dtype.itemsize), 32)) for image in images
        ]
        cleaned = map(_result, self.clean_pages(list(zip(floats, pages, strict=True))))
        return [_as_dtype(result.pixels, image.dtype) for result, image in zip(cleaned, images, strict=True)]

    def clean_page(self, pixels: Floats, page: Page, *, tick: Tick | None = None) -> Cleaned:
        """Clean one page, with the plugins' steps before and after; all its channels by the same model.

        A model that makes paper white cleans the luma of a colour page, and its gain goes to all channels.

        Args:
            pixels: float32 (H, W) for gray or (H, W, 3) for colour, in 0..1.
            page: its facts, as plugins see them.
            tick: called on this thread after each band of a large page, with the number of patches that are
                reconstructed, and how many there are.

        Raises:
            FileError: a plugin failed.

        """
        return _result(next(self.clean_pages([(pixels, page)], tick=tick)))

    def clean_pages(
        self, pages: Sequence[tuple[Floats, Page]], *, tick: Tick | None = None
    ) -> Iterator[Cleaned | Exception]:
        """Clean pages as `clean_page` does; small ones share batches.

        Returns:
            For each page the result, or the error that this page alone failed with; the plugins' second half
            runs when it is asked for.

        """
        planes: list[Floats] = []
        prepared: list[_Prepared | Exception] = []
        for pixels, page in pages:
            try:
                own = [self.plugins.preprocess(plane, page) for plane in channels_of(pixels)]
            except Exception as error:
                prepared.append(error)
            else:
                if len(own) == 3 and self._cleans_luma:
                    luma = document.luma(own)
                    prepared.append(_Prepared(1, own, luma))
                    own = [luma]
                else:
                    prepared.append(_Prepared(len(own)))
                planes += own
                del own
        channels = [each.count for each in prepared if isinstance(each, _Prepared)]
        cleaned = _handed_out(self.clean(planes, channels=channels, tick=tick))
        planes.clear()  # or a large page would stay in memory while plugins work on the result
        facts = zip(pages, prepared, strict=True)
        return (self._postprocessed(pixels, page, each, cleaned) for (pixels, page), each in facts)

    @cached_property
    def _cleans_luma(self) -> bool:
        """Whether colour pages are cleaned by their luma alone."""
        if self.auto:
            return False
        model = self._load(self._main)
        return document.is_for_paper(model) and (self._mode or model.mode) == "tile"

    def _postprocessed(
        self, pixels: Floats, page: Page, prepared: _Prepared | Exception, cleaned: Iterator[Cleaned]
    ) -> Cleaned | Exception:
        """Apply the plugins' second half to a page's cleaned planes, and put its channels together."""
        try:
            page_of = _result(prepared)
            own = [next(cleaned) for _ in range(page_of.count)]
            if not self.plugins and pixels.ndim == 2:
                return own[0]
            results = [result.pixels for result in own]
            model, reduced, concerns = own[0].model, own[0].reduced, own[0].concerns
            del own  # a large page in colour is to be in memory as rarely as can be
            if page_of.colour is not None and page_of.luma is not None:
                results = document.recoloured(page_of.colour, page_of.luma, results[0])
            for index, original in enumerate(channels_of(pixels)):
                results[index] = self.plugins.postprocess(results[index], original, page)
            return Cleaned(joined(results), model, reduced, concerns)
        except Exception as error:
            return error

    def clean(
        self, images: Sequence[Floats], *, channels: Sequence[int] = (), tick: Tick | None = None
    ) -> list[Cleaned]:
        """Clean float32 (H, W) images in 0..1 without plugins; small ones share batches.

        channels: how many consecutive images are the channels of one picture, for each picture; without it,
        each image is a picture. The channels of a picture go to the same model.
        tick: see `clean_page`.
        """
        results: list[Cleaned | None] = [None] * len(images)
        if self.auto:
            small = auto.small_enough(images)
            self._glyphs(images, small, results, channels or [1] * len(images))
        rest = [index for index, result in enumerate(results) if result is None]
        if rest:
            model = self._load(self._main)
            if (self._mode or model.mode) == "whole":
                self._whole(images, rest, results, model)
            else:
                self._tiled(images, rest, results, model, tick)
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
        model = self._load(auto.GLYPHS)
        given, wholes = patches.wholes_from_images([images[index] for index in indices])
        reconstructed = self._reconstruct(auto.GLYPHS, given)
        found = auto.glyphs_among(images, indices, given, reconstructed, self._picture_patches)
        glyphs = auto.whole_pictures(found, channels)
        if self._mode == "tile":
            self._tiled(images, glyphs, results, model)
            return
        chosen = set(glyphs)
        finished = self._finish_wholes(given, wholes, reconstructed, model)
        for index, result in zip(indices, finished, strict=True):
            if index in chosen:
                results[index] = result

    def _picture_patches(self, given: Floats) -> Floats:
        """Reconstruct whole images of 28x28, (N, 28, 28), by the model for pictures."""
        model = self._load(auto.PICTURES)
        context = model.config.context
        seen = np.stack([patches.with_context(patch, context) for patch in given])
        return np.clip(self._patches(seen, model), 0.0, 1.0)

    def _whole(
        self, images: Sequence[Floats], indices: list[int], results: list[Cleaned | None], model: ModelFile
    ) -> None:
        chosen = [images[index] for index in indices]
        fitted, wholes = patches.wholes_from_images(chosen, darken=model.kind == "Autoencoder")
        context = model.config.context
        given = np.stack([patches.with_context(patch, context) for patch in fitted])
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
            yield Cleaned(patches.whole_to_image(patch, whole, self._size), model.name, reduced)

    def _blend(self, image: Floats, result: Floats) -> Floats:
        """Blend a reconstruction with its image, in place: a large page is in memory no more than twice."""
        np.clip(result, 0.0, 1.0, out=result)  # before it is blended: more than white must not whiten grays
        if self._strength != 1.0:
            np.subtract(result, image, out=result)
            np.multiply(result, np.float32(self._strength), out=result)
            np.add(image, result, out=result)
        return np.clip(result, 0.0, 1.0, out=result)

    def _tiled(
        self,
        images: Sequence[Floats],
        indices: list[int],
        results: list[Cleaned | None],
        model: ModelFile,
        tick: Tick | None = None,
    ) -> None:
        """Large images go band by band; the patches of small ones share a batch."""
        context = model.config.context
        waiting: list[tuple[int, patches.Grid]] = []
        grids = {index: patches.grid(images[index].shape, self._stride) for index in indices}
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
                merged = patches.tile(images[index], grid, reconstruct, context)
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
        pixels = self._blend(image, document.whiten(merged))
        return Cleaned(pixels, model.name, concerns=document.concerns(image, pixels))

    def _reconstruct(self, name: str, given: Floats) -> Floats:
        """Reconstruct patches with a model's engine; ModelError if the result is not finite."""
        result = self.engine(name).reconstruct(given)
        # The sum is finite only if every value is.
        if not np.isfinite(result.sum()):
            raise ModelError(
                f"{self._load(name).path} gives values that are not finite: its weights are far too large.",
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


def _handed_out(results: list[Cleaned]) -> Iterator[Cleaned]:
    """Yield results in order, and keep none that was yielded."""
    results.reverse()
    while results:
        yield results.pop()


def _result(value: Result | Exception) -> Result:
    """Return a result, or raise the error that stands in its place."""
    if isinstance(value, Exception):
        raise value
    return value


def denoise(image: npt.NDArray[Any], **options: Any) -> npt.NDArray[Any]:
    """Clean one image or a stack; `options` are those of `Denoiser`.

    Args:
        image: (H, W) or (N, H, W); uint8, uint16, bool, or floating point in 0..1.
        options: keyword arguments for `Denoiser`.

    Returns:
        An array of the same kind; see `Denoiser.reconstruct`, also for what it raises.

    """
    with Denoiser(**options) as denoiser:
        return denoiser.reconstruct(image)


def _signature() -> inspect.Signature:
    """Return the parameters that `denoise` really takes, for help() and editors."""
    options = list(inspect.signature(Denoiser).parameters.values())
    named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in options]
    own = inspect.signature(denoise)
    return own.replace(parameters=[own.parameters["image"], *named])


denoise.__signature__ = _signature()  # type: ignore[attr-defined]  # functions take attributes

_DEPTHS = {"u1": 8, "u2": 16, "b1": 1}
_TOPS = {"u1": 255.0, "u2": 65535.0, "b1": 1.0}


def _one_of(name: str, value: str | None, allowed: Sequence[str | None]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{name} is {value!r}; it must be one of {', '.join(str(each) for each in allowed)}."
        )


def _chain(given: Iterable[str | Path] | Plugins) -> Plugins:
    if isinstance(given, Plugins):
        return given
    # From Python, only what is named runs: a script's result must not depend on what else is installed.
    return load([str(each) for each in given], installed=False)


def _as_floats(image: Any) -> Floats:
    if not isinstance(image, np.ndarray) or image.ndim != 2 or not image.size:
        shape = getattr(image, "shape", type(image).__name__)
        raise UsageError(
            f"An image must be an array of shape (H, W), not {shape}.",
            None if isinstance(image, np.ndarray) else "Use numpy.asarray(image) for a Pillow image.",
        )
    kind = image.dtype.kind + str(image.dtype.itemsize)
    if kind in _TOPS:
        return image.astype(np.float32) / np.float32(_TOPS[kind])
    if image.dtype.kind != "f":
        raise UsageError(
            f"An image of {image.dtype} has no known range.", "Use uint8, uint16, or floats in 0..1."
        )
    if not np.isfinite(image).all() or image.min() < 0.0 or image.max() > 1.0:
        raise UsageError("A floating-point image must be finite and within 0..1.", "Scale it first.")
    return np.ascontiguousarray(image, np.float32)


def _as_dtype(image: Floats, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return image.astype(dtype)
    kind = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    rounded: npt.NDArray[Any] = np.rint(image * np.float32(np.iinfo(kind).max)).astype(kind)
    return rounded
