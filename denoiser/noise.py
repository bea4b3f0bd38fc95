"""The named noises, so that a command line, a recipe and a test all mean the same thing by one word.

Every noise is a function of clean images and a NumPy generator, vectorised over a batch. A noise is
written as text, `gaussian:sigma=0..0.6+speckle:sigma=0.1`: noises applied one after another, each with
its parameters, and a parameter given as a range is drawn anew for every image. All values are on the
0..1 scale of pixels. Plugins add noises with `register`.

Only NumPy and Pillow are needed here: the command reads this module without paying for Keras.
"""

from __future__ import annotations

import difflib
import inspect
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoiser.errors import UsageError

Array = npt.NDArray[np.float32]
#: A parameter as a noise function gets it: one number, or an array (N, 1, 1) with one number per image.
Value = float | Array
Function = Callable[..., npt.NDArray[Any]]


class Register(Protocol):
    """What a plugin's `register_noise` is given: see `register`."""

    def __call__(
        self,
        name: str,
        function: Function,
        help: str = "",  # noqa: A002  as in `register`
        *,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        """Add a noise."""
        ...


class Spoiler(Protocol):
    """Something that makes clean images noisy; `name` says what it does in the syntax of `parse`."""

    @property
    def name(self) -> str:
        """What it does, in the syntax of `parse` or in words."""
        ...

    def __call__(self, clean: Array, rng: np.random.Generator) -> Array:
        """Spoil float32 (N, H, W) in 0..1; returns a new array of that kind."""
        ...


@dataclass(frozen=True)
class Parameter:
    """A noise's parameter: its default, the range it may take, and a line of help."""

    default: float
    low: float
    high: float
    help: str


STRENGTH = Parameter(1.0, 0.0, 1.0, "how much of the noise is kept: 0 is the clean image")


@dataclass(frozen=True)
class Noise:
    """A named noise. `function(clean, rng, **parameters)` gets float32 (N, H, W) and returns that shape."""

    name: str
    function: Function
    parameters: Mapping[str, Parameter]
    help: str

    def __call__(
        self, clean: Array, rng: np.random.Generator, *, strength: Value = 1.0, **values: Value
    ) -> Array:
        """Spoil a batch.

        clean: float32 (N, H, W), 0..1, not changed. strength: 0..1, number or (N, 1, 1); 0 gives `clean`
        back exactly. values: the noise's own parameters. Returns a new float32 (N, H, W), clipped to 0..1.
        """
        settings: dict[str, Value] = {key: parameter.default for key, parameter in self.parameters.items()}
        result = np.asarray(self.function(clean, rng, **(settings | values)), dtype=np.float32)
        if result.shape != clean.shape:
            raise UsageError(
                f"The noise {self.name!r} returned an array of shape {result.shape} for {clean.shape}."
            )
        if not (np.isscalar(strength) and strength == 1.0):
            result = clean + np.asarray(strength, dtype=np.float32) * (result - clean)
        clipped: Array = np.clip(result, np.float32(0.0), np.float32(1.0))
        return clipped


_NOISES: dict[str, Noise] = {}


def register(
    name: str,
    function: Function,
    help: str = "",  # noqa: A002  plugins call it by this name
    *,
    parameters: Mapping[str, Parameter] | None = None,
) -> None:
    """Add a noise, or replace the one of that name.

    function: `function(clean, rng, **parameters)`, clean float32 (N, H, W) in 0..1, which it must not
    change; returns the same shape, and is clipped to 0..1 afterwards. A parameter arrives as one number,
    or as an array (N, 1, 1) when it was given as a range. parameters: what it takes; without it, the
    function's own numeric defaults are taken, unbounded.
    Raises UsageError if the name could not be written on a command line.
    """
    if not name.isidentifier():
        raise UsageError(f"A noise can't be called {name!r}.", "Use letters, digits and underscores.")
    if parameters is None:
        parameters = {
            key: Parameter(float(found.default), -math.inf, math.inf, "")
            for key, found in inspect.signature(function).parameters.items()
            if isinstance(found.default, int | float)
        }
    _NOISES[name] = Noise(name, function, dict(parameters), help)


def unregister(name: str) -> None:
    """Take a noise away; nothing happens if there is none of that name."""
    _NOISES.pop(name, None)


def names() -> list[str]:
    """All names that `get` knows, in alphabetical order."""
    return sorted(_NOISES)


def get(name: str) -> Noise:
    """The noise of that name. Raises UsageError, with the nearest name, if there is none."""
    if name in _NOISES:
        return _NOISES[name]
    near = difflib.get_close_matches(name, names(), 1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known noises: {', '.join(names())}."
    raise UsageError(f"There is no noise called {name!r}.", hint)


@dataclass(frozen=True)
class Step:
    """One noise with its settings; a setting is (low, high), equal for a fixed value."""

    noise: Noise
    settings: Mapping[str, tuple[float, float]]

    @property
    def name(self) -> str:
        """The step as `parse` reads it."""
        texts = [
            f"{key}={low:g}" if low == high else f"{key}={low:g}..{high:g}"
            for key, (low, high) in self.settings.items()
        ]
        return f"{self.noise.name}:{','.join(texts)}" if texts else self.noise.name

    def __call__(self, clean: Array, rng: np.random.Generator) -> Array:
        """Spoil float32 (N, H, W) in 0..1; returns a new array of that kind."""
        values: dict[str, Any] = {}
        for key, (low, high) in self.settings.items():
            if low == high:
                values[key] = low
            else:
                values[key] = rng.uniform(low, high, (len(clean), 1, 1)).astype(np.float32)
        return self.noise(clean, rng, **values)


@dataclass(frozen=True)
class Chain:
    """Noises applied one after another, each to the last one's clipped result."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """The chain as `parse` reads it."""
        return "+".join(step.name for step in self.steps)

    def __call__(self, clean: Array, rng: np.random.Generator) -> Array:
        """Spoil float32 (N, H, W) in 0..1; returns a new array of that kind."""
        result = clean
        for step in self.steps:
            result = step(result, rng)
        return result


def parse(text: str) -> Chain:
    """Read a noise as users write it: `name[:key=value[,key=value...]][+name...]`.

    A value is a number or a range `low..high`, drawn uniformly for every image. Every noise also takes
    `strength`, 0..1. Raises UsageError, naming what is wrong and what is allowed.
    """
    return Chain(tuple(_step(part.strip(), text) for part in text.split("+")))


def _step(part: str, text: str) -> Step:
    name, _, rest = part.partition(":")
    if not name:
        raise UsageError(f"A noise is missing in {text!r}.", "Write for example gaussian:sigma=0.1.")
    noise = get(name.strip())
    settings = {}
    for item in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals or not value:
            raise UsageError(f"{item!r} in {text!r} is not of the form key=value.")
        settings[key] = _range(noise, key, value)
    return Step(noise, settings)


def _range(noise: Noise, key: str, value: str) -> tuple[float, float]:
    """Low and high of one setting, checked against what the noise allows."""
    parameter = STRENGTH if key == "strength" else noise.parameters.get(key)
    if parameter is None:
        known = [*noise.parameters, "strength"]
        near = difflib.get_close_matches(key, known, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It takes {', '.join(known)}."
        raise UsageError(f"The noise {noise.name!r} has no parameter {key!r}.", hint)
    first, dots, last = value.partition("..")
    try:
        low = float(first)
        high = float(last) if dots else low
    except ValueError:
        raise UsageError(f"{key}={value} is neither a number nor a range such as 0..0.5.") from None
    if math.isnan(low) or math.isnan(high) or low > high:
        raise UsageError(f"{key}={value}: a range goes from a lower to a higher number.")
    if low < parameter.low or high > parameter.high:
        hint = f"It may be {parameter.low:g} to {parameter.high:g}."
        if key == "sigma" and high > 1.0:
            hint = f"Pixels are 0..1 here: {key}={high:g} of 255 is {key}={high / 255:.3g}, {high:g}/255."
        raise UsageError(f"{key}={value} is out of range for the noise {noise.name!r}.", hint)
    return low, high


class Mixture:
    """One of several noises for every image, drawn by weight; the noise of training recipes."""

    def __init__(
        self, noises: Sequence[tuple[Spoiler, float]], *, clean: float = 0.0, levels: int | None = None
    ) -> None:
        """Weights need not add up to 1.

        noises: what to draw from, with weights. clean: the share of images, 0..1, left as they are.
        levels: quantise the result to that many levels, as a file does (256 for 8 bits); None keeps it.
        """
        weights = np.array([weight for _, weight in noises], dtype=np.float64)
        self._noises = [noise for noise, _ in noises]
        self._edges = np.cumsum(np.append(clean, (1.0 - clean) * weights / weights.sum()))
        self._levels = levels

    @property
    def name(self) -> str:
        """Shares and noises in words, for a model card."""
        shares = np.diff(self._edges, prepend=0.0)
        parts = [f"{shares[0]:.0%} clean"] if shares[0] else []
        parts += [f"{share:.0%} {noise.name}" for share, noise in zip(shares[1:], self._noises, strict=True)]
        return ", ".join(parts) + (f"; {self._levels} levels" if self._levels else "")

    def __call__(self, clean: Array, rng: np.random.Generator) -> Array:
        """Spoil float32 (N, H, W) in 0..1; returns a new array of that kind."""
        kinds = np.searchsorted(self._edges[:-1], rng.random(len(clean)), side="right")
        result = clean.copy()
        for kind, noise in enumerate(self._noises, start=1):
            chosen = np.flatnonzero(kinds == kind)
            if len(chosen):
                result[chosen] = noise(clean[chosen], rng)
        if self._levels:
            steps = np.float32(self._levels - 1)
            np.multiply(result, steps, out=result)
            np.rint(result, out=result)
            np.divide(result, steps, out=result)
        return result


# The noises. Each gets float32 (N, H, W) in 0..1 and returns that shape; `Noise` clips.


def _gaussian(clean: Array, rng: np.random.Generator, *, sigma: Value) -> Array:
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    noise *= np.asarray(sigma, dtype=np.float32)
    noise += clean
    return noise


def _salt_pepper(clean: Array, rng: np.random.Generator, *, amount: Value, salt: Value) -> Array:
    draw = rng.random(clean.shape, dtype=np.float32)
    amount, salt = np.asarray(amount, dtype=np.float32), np.asarray(salt, dtype=np.float32)
    result = np.where(draw < amount, np.float32(0.0), clean)
    return np.where(draw < amount * salt, np.float32(1.0), result)


def _speckle(clean: Array, rng: np.random.Generator, *, sigma: Value) -> Array:
    return _gaussian(clean, rng, sigma=clean * np.asarray(sigma, dtype=np.float32))


def _poisson(clean: Array, rng: np.random.Generator, *, peak: Value) -> Array:
    level = np.asarray(peak, dtype=np.float64)
    counts = rng.poisson(np.maximum(clean, 0.0) * level)
    return np.asarray(counts / level, dtype=np.float32)


def _correlated(clean: Array, rng: np.random.Generator, *, sigma: Value, blur: Value) -> Array:
    """White noise under a Gaussian blur, scaled so that `sigma` is its deviation after the blur."""
    widths = np.asarray(np.maximum(blur, 1e-3), dtype=np.float32).reshape(-1)
    margin = math.ceil(3.0 * float(widths.max()))
    height, width = clean.shape[1:]
    white = rng.standard_normal((len(clean), height + 2 * margin, width + 2 * margin), dtype=np.float32)
    rows, columns = _blur_matrix(height, margin, widths), _blur_matrix(width, margin, widths)
    noise = np.asarray(rows @ white @ columns.transpose(0, 2, 1), dtype=np.float32)
    return np.asarray(clean + np.asarray(sigma) * noise, dtype=np.float32)


def _blur_matrix(size: int, margin: int, widths: Array) -> Array:
    """(len(widths), size, size + 2 margin): rows of unit energy, so white noise keeps its deviation."""
    offsets = np.arange(size + 2 * margin) - margin - np.arange(size)[:, None]
    kernel = np.exp(-0.5 * (offsets.astype(np.float32) / widths[:, None, None]) ** 2)
    return np.asarray(kernel / np.sqrt(np.sum(kernel**2, axis=2, keepdims=True)), dtype=np.float32)


def _jpeg(clean: Array, rng: np.random.Generator, *, quality: Value) -> Array:
    """Encode and decode with Pillow, the 8x8 blocks starting anywhere in the image, as crops have them."""
    number, height, width = clean.shape
    high, wide = (math.ceil((side + 7) / 8) * 8 for side in (height, width))
    qualities = np.broadcast_to(np.rint(np.asarray(quality).reshape(-1)).astype(int), (number,))
    tops, lefts = rng.integers(0, 8, (2, number))
    result = np.empty_like(clean)
    pixels = np.rint(clean * 255.0).astype(np.uint8)
    # Blocks are coded independently, so images side by side, each on the block grid, come out as if
    # encoded alone: one call per quality instead of one per image.
    longest = max(1, 60_000 // wide)
    for level in np.unique(qualities):
        same = np.flatnonzero(qualities == level)
        for start in range(0, len(same), longest):
            chosen = same[start : start + longest]
            strip = np.empty((high, len(chosen) * wide), dtype=np.uint8)
            for place, index in enumerate(chosen):
                top, left = int(tops[index]), int(lefts[index])
                padding = ((top, high - height - top), (left, wide - width - left))
                strip[:, place * wide : (place + 1) * wide] = np.pad(pixels[index], padding, mode="edge")
            buffer = io.BytesIO()
            Image.fromarray(strip).save(buffer, "JPEG", quality=int(level))
            with Image.open(buffer) as decoded:
                strip = np.asarray(decoded)
            for place, index in enumerate(chosen):
                top, left = int(tops[index]), int(lefts[index]) + place * wide
                result[index] = strip[top : top + height, left : left + width] / np.float32(255.0)
    return result


def _stripes(clean: Array, rng: np.random.Generator, *, sigma: Value) -> Array:
    """One offset for every row or, in the other half of the images, every column."""
    number, height, width = clean.shape
    rows = rng.standard_normal((number, height, 1), dtype=np.float32)
    columns = rng.standard_normal((number, 1, width), dtype=np.float32)
    lines = np.where(rng.random((number, 1, 1)) < 0.5, rows, columns)
    return np.asarray(clean + np.asarray(sigma, dtype=np.float32) * lines, dtype=np.float32)


def _quantize(clean: Array, _rng: np.random.Generator, *, levels: Value) -> Array:
    steps = np.rint(np.asarray(levels, dtype=np.float32)) - np.float32(1.0)
    return np.asarray(np.rint(clean * steps) / steps, dtype=np.float32)


_SIGMA = Parameter(0.1, 0.0, 1.0, "standard deviation, 0..1 (0.1 is 25/255)")

register(
    "gaussian", _gaussian, "sensor noise: an independent normal offset for every pixel",
    parameters={"sigma": _SIGMA},
)  # fmt: skip
register(
    "salt_pepper", _salt_pepper, "dead and hot pixels: some become black or white",
    parameters={
        "amount": Parameter(0.05, 0.0, 1.0, "share of pixels hit"),
        "salt": Parameter(0.5, 0.0, 1.0, "share of those that become white"),
    },
)  # fmt: skip
register(
    "speckle", _speckle, "noise that grows with brightness, as in radar and ultrasound",
    parameters={"sigma": Parameter(0.2, 0.0, 1.0, "standard deviation where the image is white")},
)  # fmt: skip
register(
    "poisson", _poisson, "photon counts, as in low light and microscopy",
    parameters={"peak": Parameter(30.0, 0.1, 1e6, "photons where the image is white; fewer is noisier")},
)  # fmt: skip
register(
    "correlated", _correlated, "grain: noise blurred over neighbouring pixels",
    parameters={"sigma": _SIGMA, "blur": Parameter(0.8, 0.0, 8.0, "the blur's deviation in pixels")},
)  # fmt: skip
register(
    "jpeg", _jpeg, "compression artefacts",
    parameters={"quality": Parameter(30.0, 1.0, 100.0, "JPEG quality; lower is worse")},
)  # fmt: skip
register(
    "stripes", _stripes, "rows or columns of uneven brightness, as scanner lines leave",
    parameters={"sigma": Parameter(0.05, 0.0, 1.0, "standard deviation of the lines' offsets")},
)  # fmt: skip
register(
    "quantize", _quantize, "too few gray levels",
    parameters={"levels": Parameter(16.0, 2.0, 65536.0, "number of gray levels left")},
)  # fmt: skip
