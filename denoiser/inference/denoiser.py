"""Arrays in, clean arrays out: the models, and the plugins around them.

The command line and the Python API both end here. A `Denoiser` loads once and is used often, from any number
of threads.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from denoiser._types import PATCH, Floats
from denoiser.checks import require_number
from denoiser.errors import UsageError
from denoiser.inference import auto, document
from denoiser.inference.engine import Engine, EngineFacts
from denoiser.inference.engines import Engines
from denoiser.inference.patches import Size
from denoiser.inference.precision import require_bfloat16_network
from denoiser.inference.reconstruction import Cleaned, Mode, Reconstruction, Tick
from denoiser.page import Page
from denoiser.planes import channels_of, joined
from denoiser.plugins.manager import Plugins, load, named
from denoiser.system.hardware import cores
from denoiser.weights.modelfile import ModelFile

Result = TypeVar("Result")

PIXELS = 5
"""Version of the computation from input to output. An output made by another version is not up to date."""

BALANCED = "balanced"
QUALITIES: Mapping[str, int] = {"fast": 21, BALANCED: 11, "best": 5}
"""Pixels between patches, by quality.

None is a multiple of 4: there the borders of all patches' tokens coincide. See `benchmarks/strides.py`.
"""


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
        plugins: Python files or module names, one or several in order, or a chain that was loaded already.
        plugin_options: "NAME.KEY" to a value, for the plugins' options.
        work: how many patches the whole job will have, which decides whether a GPU is worth its start;
            None: many.

    Raises:
        UsageError: a value out of its range, two that exclude each other, or a plugin option that is not one.
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
        quality: str = BALANCED,
        stride: int | None = None,
        strength: float = 1.0,
        engine: str | None = None,
        device: str = "auto",
        jobs: int | None = None,
        batch_size: int | None = None,
        precision: str = "float32",
        plugins: str | Path | Iterable[str | Path] | Plugins = (),
        plugin_options: Mapping[str, Any] | None = None,
        work: int | None = None,
    ) -> None:
        _one_of("mode", mode, (None, "whole", "tile"))
        _one_of("size", size, ("model", "input"))
        _one_of("quality", quality, tuple(QUALITIES))
        if stride is not None:
            require_number("stride", stride, whole=True)
            if not 1 <= stride <= PATCH:
                raise UsageError(f"stride is {stride}; it must be 1 to {PATCH}.")
            if quality != BALANCED:
                raise UsageError(
                    f"stride is {stride} and quality is {quality!r}: both say how densely patches overlap.",
                    "Give one.",
                )
        require_number("strength", strength)
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"strength is {strength}; it must be 0 to 1.")
        if work is not None:
            require_number("work", work)
        self.plugins = _chain(plugins)
        self.plugins.configure({} if plugin_options is None else plugin_options)
        self.jobs = jobs or cores()
        settings = {
            "engine": engine,
            "device": device,
            "jobs": jobs,
            "batch_size": batch_size,
            "precision": precision,
            "patches": work,
        }
        self._engines = Engines(model, settings)
        if precision == "bfloat16" and not self.auto:
            require_bfloat16_network(self._engines.model())
        stride = QUALITIES[quality] if stride is None else stride
        self._reconstruction = Reconstruction(self._engines, mode, size, stride, strength)
        self._decides = {
            "mode": mode,
            "size": size,
            "stride": stride,
            "strength": strength,
            "precision": precision,
        }

    @property
    def auto(self) -> bool:
        """Whether each picture's model is chosen."""
        return self._engines.auto

    @property
    def models(self) -> dict[str, ModelFile]:
        """The models that were read, by name and by the name of the file."""
        return self._engines.models

    def engine(self, name: str | None = None) -> Engine:
        """Return the engine of a model, opened on first use; None is the one for pictures or the only one."""
        return self._engines.engine(name)

    def keep_apart(self) -> None:
        """Open no engine here whose library starts threads, so that this process can be forked.

        Call it before an engine is open. The processes that are forked open theirs when they need one.
        """
        self._engines.keep_apart()

    def engines(self) -> list[Engine | EngineFacts]:
        """Open the engines of all models that may be used; see `keep_apart`."""
        return [self._engines.probed(name) for name in self._engines.names]

    def probe(self) -> Engine | EngineFacts:
        """Open an engine to see that it can be, with "auto" the smaller one; raises as `Denoiser` does."""
        return self._engines.probed(self._engines.names[0])

    def limit(self, jobs: int | None) -> None:
        """Compute on at most so many threads from now on, in the engines that are open; None: on all."""
        self._engines.limit(min(jobs or self.jobs, self.jobs))

    @property
    def card(self) -> Mapping[str, Any]:
        """The card of the model for pictures, or of the only one."""
        return self._engines.model().card

    def close(self) -> None:
        """Free the engines; using it again opens them again."""
        self._engines.close()

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def signature(self) -> dict[str, Any]:
        """Everything that decides the pixels, for telling whether an output is up to date."""
        return {
            "pixels": PIXELS,
            "models": [self._engines.model(name).digest for name in self._engines.names],
            **self._decides,
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
            if images.ndim != 2:
                return self._stack(images)
            _require_image(images, "The image")
            return self._list([images])[0]
        if not isinstance(images, Iterable) or isinstance(images, str | bytes):
            raise UsageError(
                f"An image must be an array, not {type(images).__name__}.",
                "Use numpy.asarray(image) for a Pillow image, or read the file first.",
            )
        given = list(images)
        for index, image in enumerate(given):
            _require_image(image, f"Image {index}")
        return self._list(given)

    def _list(self, images: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Clean (H, W) images, some at a time, as floats take more memory than what they are made of."""
        results: list[npt.NDArray[Any]] = []
        for some in _slices(images):
            cleaned = self._cleaned([(_as_floats(image), _depth(image.dtype)) for image in some])
            results += [_as_dtype(result, image.dtype) for result, image in zip(cleaned, some, strict=True)]
        return results

    def _stack(self, stack: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Clean a stack (N, H, W) likewise."""
        if not stack.size:
            raise UsageError(f"An array of shape {stack.shape} is empty.")
        if stack.ndim != 3:
            raise UsageError(f"An array of shape {stack.shape} is not (H, W) or (N, H, W).")
        channels = stack.shape[2]
        if channels <= 4 and min(stack.shape[:2]) > 4:
            raise UsageError(
                f"An array of shape {stack.shape} looks like an image with channels, not like a stack.",
                "Use image[..., 0]." if channels == 1 else "Clean its channels one by one.",
            )
        _require_numbers(stack, "The stack")
        depth = _depth(stack.dtype)
        parts: list[npt.NDArray[Any]] = []
        for first in range(0, len(stack), _AT_ONCE):
            some = stack[first : first + _AT_ONCE]
            results = self._cleaned([(image, depth) for image in _as_floats(some)])
            if len({result.shape for result in (*results, *(part[0] for part in parts))}) > 1:
                raise UsageError("The results differ in size.", 'Use size="input", or pass a list.')
            parts.append(_as_dtype(np.stack(results), stack.dtype))
        joined = np.concatenate(parts)
        return joined.astype(parts[0].dtype, copy=False)  # NumPy joins in the machine's byte order

    def _cleaned(self, images: Sequence[tuple[Floats, int]]) -> list[Floats]:
        """Clean float32 (H, W) images, each with the bits a sample that it had."""
        pages = [(pixels, Page(depth=depth)) for pixels, depth in images]
        return [_result(cleaned).pixels for cleaned in self.clean_pages(pages)]

    def clean_page(self, pixels: Floats, page: Page, *, tick: Tick | None = None) -> Cleaned:
        """Clean one page, with the plugins' steps before and after; all its channels by the same model.

        A model that makes paper white cleans the luma of a colour page, whose hues stay; see
        `denoiser.inference.document.recoloured`.

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
        self, pages: Sequence[tuple[Floats, Page]], *, tick: Tick | None = None, overwrite: bool = False
    ) -> Iterator[Cleaned | Exception]:
        """Clean pages as `clean_page` does; small ones share batches.

        Args:
            pages: the pixels and the facts of each, as there.
            tick: as there.
            overwrite: whether the results of large pages may take the place of their pixels, where no plugin
                is to see both.

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
                if len(own) == 3 and self.cleans_luma:
                    luma = document.luma(own)
                    prepared.append(_Prepared(1, own, luma))
                    own = [luma]
                else:
                    prepared.append(_Prepared(len(own)))
                planes += own
                del own
        channels = [each.count for each in prepared if isinstance(each, _Prepared)]
        overwrite = overwrite and not self.plugins
        cleaned = _handed_out(self.clean(planes, channels=channels, tick=tick, overwrite=overwrite))
        planes.clear()  # or a large page would stay in memory while plugins work on the result
        facts = zip(pages, prepared, strict=True)
        return (
            self._postprocessed(pixels, page, each, cleaned, overwrite=overwrite)
            for (pixels, page), each in facts
        )

    @cached_property
    def cleans_luma(self) -> bool:
        """Whether colour pages are cleaned by their luma alone."""
        if self.auto:
            return False
        model = self._engines.model()
        return document.is_for_paper(model) and not self._reconstruction.is_whole(model)

    def _postprocessed(
        self,
        pixels: Floats,
        page: Page,
        prepared: _Prepared | Exception,
        cleaned: Iterator[Cleaned],
        *,
        overwrite: bool,
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
                strength = self._reconstruction.strength
                results = document.recoloured(
                    page_of.colour, page_of.luma, results[0], strength, overwrite=overwrite
                )
            for index, original in enumerate(channels_of(pixels)):
                results[index] = self.plugins.postprocess(results[index], original, page)
            return Cleaned(joined(results, pixels if overwrite else None), model, reduced, concerns)
        except Exception as error:
            return error

    def clean(
        self,
        images: Sequence[Floats],
        *,
        channels: Sequence[int] = (),
        tick: Tick | None = None,
        overwrite: bool = False,
    ) -> list[Cleaned]:
        """Clean float32 (H, W) images in 0..1 without plugins; see `Reconstruction.clean`."""
        return self._reconstruction.clean(images, channels=channels, tick=tick, overwrite=overwrite)


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

_AT_ONCE = 1024
"""Images of a stack that are cleaned at once: small ones stay in the cache."""
_DEPTHS = {"u1": 8, "u2": 16, "b1": 1}
_TOPS = {"u1": 255.0, "u2": 65535.0, "b1": 1.0}


def _one_of(name: str, value: str | None, allowed: Sequence[str | None]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{name} is {value!r}; it must be one of {', '.join(str(each) for each in allowed)}."
        )


def _chain(given: str | Path | Iterable[str | Path] | Plugins) -> Plugins:
    # From Python, only what is named runs: a script's result must not depend on what else is installed.
    return given if isinstance(given, Plugins) else load(named(given), installed=False)


def _slices(items: Sequence[Result]) -> Iterator[Sequence[Result]]:
    return (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))


def _require_image(image: Any, name: str) -> None:
    """Raise UsageError for what is no (H, W) array of a known range."""
    if not isinstance(image, np.ndarray) or image.ndim != 2:
        shape = getattr(image, "shape", type(image).__name__)
        raise UsageError(
            f"{name} must be an array of shape (H, W), not {shape}.",
            None if isinstance(image, np.ndarray) else "Use numpy.asarray(image) for a Pillow image.",
        )
    if not image.size:
        raise UsageError(f"{name}, an array of shape {image.shape}, is empty.")
    _require_numbers(image, name)


def _require_numbers(pixels: npt.NDArray[Any], name: str) -> None:
    """Raise UsageError for pixels whose range is not known or exceeded."""
    if isinstance(pixels, np.ma.MaskedArray):
        raise UsageError(f"{name} is a masked array.", "Fill it first: image.filled(1.0).")
    if pixels.dtype.kind + str(pixels.dtype.itemsize) in _TOPS:
        return
    if pixels.dtype.kind != "f":
        raise UsageError(
            f"{name} is of {pixels.dtype}, which has no known range.",
            "Use uint8, uint16, or floats in 0..1.",
        )
    if not np.isfinite(pixels).all() or pixels.min() < 0.0 or pixels.max() > 1.0:
        raise UsageError(f"{name} is of floats, which must be finite and within 0..1.", "Scale it first.")


def _depth(dtype: np.dtype[Any]) -> int:
    return _DEPTHS.get(dtype.kind + str(dtype.itemsize), 32)


def _as_floats(pixels: npt.NDArray[Any]) -> Floats:
    """Return pixels of any shape as float32 in 0..1."""
    top = _TOPS.get(pixels.dtype.kind + str(pixels.dtype.itemsize))
    if top is not None:
        return pixels.astype(np.float32) / np.float32(top)
    return np.ascontiguousarray(pixels, np.float32)


def _as_dtype(image: Floats, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return image.astype(dtype)
    kind = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    rounded: npt.NDArray[Any] = np.rint(image * np.float32(np.iinfo(kind).max)).astype(kind)
    return rounded
